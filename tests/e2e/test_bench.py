import json
import os
import subprocess
import sys

import pytest

from settings import Settings
from tools.stack.environment import ROOT

pytestmark = pytest.mark.slow


def bench(*arguments, **variables):
    names = {name.upper() for name in Settings.model_fields}
    clean = {name: value for name, value in os.environ.items() if name not in names}
    return subprocess.run(
        [sys.executable, "-m", "tools.bench.run", *map(str, arguments)],
        cwd=ROOT,
        env={**clean, **variables},
        capture_output=True,
        text=True,
        check=False,
        timeout=110,
    )


def test_a_tiny_rush_and_backlog_are_measured_and_reported(tmp_path):
    out, options = tmp_path / "report", ("--scale", "0.005", "--rounds", "1", "--data", tmp_path / "state")
    answer = bench("rush", "backlog", *options, "--seed", "7", "--out", out)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert "seed 7" in answer.stdout
    found = json.loads((out / "report.json").read_text())
    rush, backlog = (found["scenarios"][name]["measures"] for name in ("rush", "backlog"))
    assert rush["decided"]["median"] + rush["refused at the edge"]["median"] == 100
    assert rush["decided"]["median"] >= 25
    assert rush["decided per second"]["median"] > 0
    assert backlog["decided per second"]["median"] > 0
    page = (out / "report.md").read_text()
    assert str(tmp_path) not in page
    # What the bench writes itself is whole, else the sweep would heal it while others are measured.
    assert "invariant." not in (tmp_path / "state" / "logs" / "sweep.log").read_text()
    assert all((out / name).is_file() for name in ("rush-rate-over-time.svg", "rush-orders-waiting.svg"))


@pytest.mark.parametrize(
    ("arguments", "variables", "reason"),
    [
        (["--compare", "nowhere.json"], {}, "nowhere.json is no report to compare with"),
        ([], {"DATABASE_URL": "postgresql://127.0.0.1/shop"}, "take DATABASE_URL out of the environment"),
        (["marathon"], {}, "there is no scenario 'marathon'"),
        (["--scale", "2"], {}, "--scale is above 0 and at most 1"),
    ],
)
def test_a_start_that_fails_says_why(arguments, variables, reason):
    answer = bench(*arguments, **variables)
    assert answer.returncode != 0
    assert reason in answer.stdout + answer.stderr
