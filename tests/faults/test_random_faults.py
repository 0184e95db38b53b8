import os
import secrets
import signal
import subprocess
import sys

import pytest

from settings import Settings
from tools.stack.environment import ROOT

pytestmark = pytest.mark.timeout(420)

MINUTES = 0.5


def test_whatever_breaks_in_whatever_order_nothing_is_lost(tmp_path):
    seed = secrets.randbelow(1 << 31)
    names = {name.upper() for name in Settings.model_fields}
    environment = {name: value for name, value in os.environ.items() if name not in names}
    options = ("--minutes", str(MINUTES), "--seed", str(seed), "--data", str(tmp_path / "faults"))
    with subprocess.Popen(
        [sys.executable, "-m", "tools.faults.run", *options],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as rehearsal:
        try:
            said, _ = rehearsal.communicate(timeout=400)
        finally:
            rehearsal.send_signal(signal.SIGTERM)
    sys.stdout.write(said)
    assert rehearsal.returncode == 0, f"./dev faults --minutes {MINUTES} --seed {seed}\n{said}"
    assert "nothing broke" in said
