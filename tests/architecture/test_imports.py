"""What a process imports at its start it keeps in memory for good, so what few need is imported where it is used."""

import subprocess
import sys

import pytest

from tools.stack.environment import ROOT

HEAVY = {"stripe", "sendgrid", "typst", "qrcode", "PIL", "icalendar", "xlsxwriter"}
"""Together some 35 MB before they do anything. wiring.py imports them, and `write_xlsx` of adapters/spreadsheets.py."""
SHOW_MODULES = "import sys; print(*{name.partition('.')[0] for name in sys.modules})"
WEB = "from web.app import create_app; create_app().test_client().get('/healthz')"
WORKER = "from workers.app import app; app.loader.import_default_modules()"
ALLOCATOR = "from workers.allocator import app; app.loader.import_default_modules()"


def imported_by(start, environment):
    """Return the packages that a fresh process has once it has started."""
    command = [sys.executable, "-c", f"{start}; {SHOW_MODULES}"]
    shown = subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True, text=True).stdout
    return set(shown.splitlines()[-1].split())


@pytest.mark.parametrize(
    ("start", "needs", "never_needs"),
    [
        (WEB, {"flask", "web"}, set()),
        (WORKER, {"celery", "workers"}, {"flask", "web"}),
        (ALLOCATOR, {"celery", "workers"}, {"flask", "web"}),
    ],
)
def test_a_process_starts_without_what_few_requests_need(environment, start, needs, never_needs):
    found = imported_by(start, environment)
    assert found >= needs
    assert found & (HEAVY | never_needs) == set()


def test_each_heavy_library_is_one_that_the_product_has():
    lock = "\n" + (ROOT / "requirements.lock").read_text().lower()
    assert {name for name in HEAVY if f"\n{name.lower().replace('pil', 'pillow')}==" not in lock} == set()
