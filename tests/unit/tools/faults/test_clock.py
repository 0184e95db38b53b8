import os
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from tools.faults.clock import VARIABLE, Clocks
from tools.stack.environment import ROOT
from tools.stack.supervisor import Part

SWEEP = Part(
    name="sweep",
    command=lambda: ["setpriv", "python", "-m", "celery", "-A", "workers.app", "worker"],
    environment={"REDIS_URL": "redis://broker"},
    is_ready=lambda _: True,
)
ASK = """
from adapters.clock import SystemClock
from tools.faults import clock
clock.install()
print(SystemClock().now())
"""


def time_of(clocks):
    given = clocks.give(SWEEP).environment[VARIABLE]
    told = subprocess.run(
        [sys.executable, "-c", ASK], cwd=ROOT, env={**os.environ, VARIABLE: given}, check=True, capture_output=True
    )
    return datetime.fromisoformat(told.stdout.decode().strip())


def test_a_part_is_started_through_the_clock_and_keeps_its_environment(tmp_path):
    part = Clocks(tmp_path / "clocks").give(SWEEP)
    assert list(part.command()) == [
        *("setpriv", "python", "-m", "tools.faults.clock", "celery", "-A", "workers.app", "worker")
    ]
    assert part.environment["REDIS_URL"] == "redis://broker"


def test_the_web_is_told_by_its_application(tmp_path):
    web = replace(SWEEP, name="web", command=lambda: ["python", "-m", "granian", "--factory", "web.app:create_app"])
    given = Clocks(tmp_path / "clocks").give(web)
    assert list(given.command()) == ["python", "-m", "granian", "--factory", "tools.faults.clock:create_app"]


def test_who_asks_for_no_time_is_left_alone(tmp_path):
    postgres = replace(SWEEP, name="postgres")
    assert Clocks(tmp_path / "clocks").give(postgres) is postgres


def test_a_step_moves_the_time_and_is_undone(tmp_path):
    clocks = Clocks(tmp_path / "clocks")
    clocks.step("sweep", -3600)
    assert abs(time_of(clocks) - datetime.now(UTC) + timedelta(hours=1)) < timedelta(minutes=1)
    clocks.right("sweep")
    assert abs(time_of(clocks) - datetime.now(UTC)) < timedelta(minutes=1)
