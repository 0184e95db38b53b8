import asyncio
import functools
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from tools.stack import supervisor as supervising
from tools.stack.environment import ROOT
from tools.stack.leash import Leash, tether
from tools.stack.supervisor import Part, PartError, Supervisor

PATIENCE_SECONDS = 20

# A server in miniature: it has a child of its own, says when it serves, and goes when told.
SERVER = """
import signal, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
def stop(*_):
    child.terminate()
    print("going", flush=True)
    sys.exit(0)
signal.signal(signal.SIGTERM, stop)
print("serving", flush=True)
while True:
    time.sleep(600)
"""
STUBBORN = SERVER.replace("signal.signal(signal.SIGTERM, stop)", "signal.signal(signal.SIGTERM, signal.SIG_IGN)")

# A whole `./dev run` in miniature, for a test that kills it.
OWNER = """
import asyncio, sys
from pathlib import Path
from tools.stack.leash import Leash
from tools.stack.supervisor import Part, Supervisor
async def main():
    folder, program = Path(sys.argv[1]), sys.argv[2]
    command = lambda: [sys.executable, "-c", program]
    parts = [Part(name, command, {}, lambda logged: "serving" in logged) for name in ("one", "two")]
    supervisor = Supervisor(parts, folder, folder, Leash(), print)
    await supervisor.start()
    print("all up", flush=True)
    await supervisor.unless_failing(asyncio.Event().wait())
asyncio.run(main())
"""


def in_a_loop(test):
    @functools.wraps(test)
    def run(*arguments, **named):
        asyncio.run(test(*arguments, **named))

    return run


def part(name, program=SERVER, **more):
    return Part(
        name=name,
        command=lambda: tether([sys.executable, "-c", program]),
        environment={"PATH": os.environ["PATH"]},
        is_ready=lambda logged: "serving" in logged,
        **more,
    )


class Stage:
    """Runs a supervisor in a loop of its own and remembers what it said."""

    def __init__(self, folder, *parts):
        self.said = []
        self.logs = folder
        self.supervisor = Supervisor(parts, folder, folder, Leash(), self.said.append)

    async def until_said(self, words):
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not any(words in sentence for sentence in self.said):
            assert time.monotonic() < deadline, f"never said {words!r}, only {self.said}"
            await asyncio.sleep(0.02)

    def pid(self, name):
        return self.supervisor._running[name].process.pid


def members(group):
    """Return the living processes of a group."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            state, _, its_group, *_ = stat.read_text().rpartition(")")[2].split()
            if int(its_group) == group and state != "Z":
                found.append(int(stat.parent.name))
    return found


def wait_until(condition):
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@in_a_loop
async def test_parts_start_in_their_order_and_stop_in_the_opposite_one(tmp_path):
    stage = Stage(tmp_path, part("web", after=("database",)), part("database"))
    await stage.supervisor.start()
    assert [sentence.split()[0] for sentence in stage.said] == ["database", "web"]
    groups = [stage.pid("web"), stage.pid("database")]
    await stage.supervisor.stop()
    assert not any(members(group) for group in groups)


@in_a_loop
async def test_a_part_that_dies_is_started_again_and_said_so(tmp_path):
    stage = Stage(tmp_path, part("web"))
    await stage.supervisor.start()
    group = stage.pid("web")
    os.kill(group, signal.SIGKILL)
    await stage.until_said("web was killed by SIGKILL; starting it again in 0.5 s")
    await stage.until_said("again up")
    assert not members(group), "what the dead one left behind must be gone"
    assert stage.pid("web") != group
    await stage.supervisor.stop()


@in_a_loop
async def test_a_part_that_cannot_start_ends_the_run_with_its_log(tmp_path):
    stage = Stage(tmp_path, part("web", "import sys; print('no such setting'); sys.exit(3)"), part("database"))
    with pytest.raises(PartError, match=r"web could not start: it ended with exit code 3(?s:.*)no such setting"):
        await stage.supervisor.start()
    await stage.supervisor.stop()


@in_a_loop
async def test_a_part_whose_nature_it_is_gets_more_tries(tmp_path):
    program = f"import pathlib; p = pathlib.Path({str(tmp_path / 'tried')!r}); tried = p.exists(); p.touch()\n"
    stage = Stage(tmp_path, part("database", program + "assert tried\n" + SERVER, first_deaths=1))
    await stage.supervisor.start()
    assert "starting it again" in stage.said[0]
    await stage.supervisor.stop()


@in_a_loop
async def test_a_part_that_keeps_dying_ends_the_run(tmp_path, monkeypatch):
    monkeypatch.setattr(supervising, "FIRST_PAUSE_SECONDS", 0.01)
    stage = Stage(tmp_path, part("web", "import time; print('serving', flush=True); time.sleep(0.5)"))
    await stage.supervisor.start()
    with pytest.raises(PartError, match=r"web died 5 times in a row"):
        await asyncio.wait_for(stage.supervisor.unless_failing(asyncio.Event().wait()), PATIENCE_SECONDS)
    await stage.supervisor.stop()


@in_a_loop
async def test_a_step_that_fails_ends_the_run_and_one_that_succeeds_lets_others_go_on(tmp_path):
    stage = Stage(tmp_path, part("migrate", "pass", once=True), part("web", after=("migrate",)))
    await stage.supervisor.start()
    assert [sentence.split()[:2] for sentence in stage.said] == [["migrate", "done"], ["web", "up"]]
    await stage.supervisor.stop()
    failing = Stage(tmp_path, part("migrate", "1 / 0", once=True), part("web", after=("migrate",)))
    with pytest.raises(PartError, match="ZeroDivisionError"):
        await failing.supervisor.start()
    await failing.supervisor.stop()


@in_a_loop
async def test_a_part_that_does_not_stop_is_killed_with_its_children(tmp_path, monkeypatch):
    monkeypatch.setattr(supervising, "STOP_SECONDS", 0.2)
    stage = Stage(tmp_path, part("web", STUBBORN))
    await stage.supervisor.start()
    group = stage.pid("web")
    await stage.supervisor.stop()
    assert "web does not stop; killing it" in stage.said
    assert not members(group)


@in_a_loop
async def test_the_log_of_the_run_before_is_kept(tmp_path):
    (tmp_path / "web.log").write_text("yesterday\n")
    stage = Stage(tmp_path, part("web"))
    await stage.supervisor.start()
    await stage.supervisor.stop()
    assert (tmp_path / "web.log.1").read_text() == "yesterday\n"
    assert (tmp_path / "web.log").read_text() == "serving\ngoing\n"


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("victims", [("owner",), ("companion", "owner")])
def test_nothing_outlives_a_killed_supervisor(tmp_path, victims):
    command = [sys.executable, "-c", OWNER, str(tmp_path), SERVER]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as owner:
        lines = [owner.stdout.readline() for _ in range(3)]
        assert lines[-1] == "all up\n"
        companion, *groups = children = _children(owner.pid)
        assert all(len(members(group)) == 2 for group in groups)
        if victims[0] == "companion":
            os.kill(companion, signal.SIGKILL)
            wait_until(lambda: len(_children(owner.pid)) == 3 and _children(owner.pid) != children)
            companion = (set(_children(owner.pid)) - set(groups)).pop()
        owner.kill()
        wait_until(lambda: not any(members(group) for group in [*groups, companion]))


def _children(pid):
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
