"""What a process imports or builds at its start it keeps in memory for good: what few need is made where it is used."""

import subprocess
import sys

import pytest

from tools.stack.environment import ROOT

HEAVY = {"stripe", "sendgrid", "typst", "qrcode", "PIL", "icalendar", "xlsxwriter"}
"""Together some 35 MB before they do anything. wiring.py imports them, and `write_xlsx` of adapters/spreadsheets.py."""
SHOW_MODULES = "import sys; print(*sys.modules)"
WEB = "from web.app import create_app; app = create_app(); app.test_client().get('/healthz')"
WORKER = "from workers.app import app; app.loader.import_default_modules()"
ALLOCATOR = "from workers.allocator import app; app.loader.import_default_modules()"
BUILT_AT_START = {"Alive", "AudienceRequest", "Page"}
"""Of some two hundred: the answer to `/healthz`, one that is a default value, and what lists are made from."""
SHOW_BUILT = """
from web.schemas import base
schemas = [base.ResponseBody, base.RequestBody, base.QueryArguments, base.PathArguments]
for schema in schemas:
    schemas += schema.__subclasses__()
print(*{schema.__name__ for schema in schemas if schema.__pydantic_complete__})
"""
SHOW_DESCRIBED = "print(*app.paths, *app.components_schemas)"

SHOW_SEARCHES = """
import gc
before = gc.get_stats()[2]["collections"]
kept = [[] for _ in range(5_000)]
for _ in range(200_000):
    cycle = []
    cycle.append(cycle)
print(gc.get_stats()[2]["collections"] - before)
"""


def shown_by(start, show, environment):
    """Return what a fresh process shows once it has started."""
    command = [sys.executable, "-c", f"{start}\n{show}"]
    shown = subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True, text=True).stdout
    return set(shown.splitlines()[-1].split())


@pytest.mark.parametrize(
    ("start", "needs", "never_needs"),
    [
        (WEB, {"flask", "web"}, {"celery.worker"}),
        (WORKER, {"celery", "workers"}, {"flask", "web"}),
        (ALLOCATOR, {"celery", "workers"}, {"flask", "web"}),
    ],
)
def test_a_process_starts_without_what_few_requests_need(environment, start, needs, never_needs):
    found = shown_by(start, SHOW_MODULES, environment)
    assert found >= needs
    assert found & (HEAVY | never_needs) == set()


def test_a_web_process_builds_no_schema_before_a_request_needs_it(environment):
    assert shown_by(WEB, SHOW_BUILT, environment) <= BUILT_AT_START


def test_a_web_process_gathers_nothing_for_the_description_before_somebody_asks(environment):
    assert shown_by(WEB, SHOW_DESCRIBED, environment) == set()


def test_a_web_process_searches_what_requests_left_as_if_nothing_had_been_there_before_them(environment):
    assert shown_by(WEB, SHOW_SEARCHES, environment) != {"0"}


def test_each_heavy_library_is_one_that_the_product_has():
    lock = "\n" + (ROOT / "requirements.lock").read_text().lower()
    assert {name for name in HEAVY if f"\n{name.lower().replace('pil', 'pillow')}==" not in lock} == set()
