import os
import subprocess
import sys
import time

import pytest

from tools.bench.processes import HERE, Meter, Usage, cpu_between, read_usage

pytestmark = pytest.mark.skipif(not HERE, reason="only Linux has /proc")

# A process that works, and a child of its own that worked and has ended.
WORKS = """
import subprocess, sys, time
def work():
    ends = time.process_time() + 0.1
    while time.process_time() < ends: pass
subprocess.run([sys.executable, "-c", "import time\\nwhile time.process_time() < 0.1: pass"])
work()
print("done", flush=True)
sys.stdin.read()
"""


def test_the_work_of_a_process_and_of_its_children_counts():
    with subprocess.Popen([sys.executable, "-c", WORKS], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        before = read_usage({"worker": process.pid})
        assert process.stdout.readline() == b"done\n"
        after = read_usage({"worker": process.pid})
        process.stdin.close()
    assert cpu_between(before, after)["worker"] >= 0.19
    assert after["worker"].processes == 1
    assert after["worker"].largest_bytes > 1_000_000


def test_a_living_child_belongs_to_its_parent():
    with subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE) as child:
        mine = read_usage({"us": os.getpid(), "child": child.pid})
        child.stdin.close()
    assert mine["us"].processes > mine["child"].processes == 1


def test_a_process_that_is_gone_used_nothing():
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    deadline = time.monotonic() + 5
    while read_usage({"gone": ended.pid})["gone"].processes and time.monotonic() < deadline:
        time.sleep(0.01)
    assert read_usage({"gone": ended.pid})["gone"].cpu_seconds == 0


def test_a_meter_tells_what_was_used_until_any_moment(monkeypatch):
    seconds = iter([0.0, 4.0, 8.0])
    meter = Meter(lambda: {"web": Usage(next(seconds), 1, 1)})
    monkeypatch.setattr("tools.bench.processes.time.time", iter([10.0, 12.0, 13.0]).__next__)
    for _ in range(3):
        meter._glance()
    assert [meter.used_until(moment)["web"] for moment in (9, 10, 11, 12, 12.5, 14)] == [0, 0, 2, 4, 6, 8]
    assert meter.used() == {"web": 8.0}


def test_a_meter_reads_at_both_ends_of_its_block():
    with Meter(lambda: read_usage({"us": os.getpid()})) as meter:
        ends = time.process_time() + 0.1
        while time.process_time() < ends:
            pass
    assert meter.used()["us"] >= 0.09
    assert meter.last["us"].processes >= 1
