import os
import subprocess
import sys
import time

import pytest

from tools.bench.processes import HERE, cpu_between, read_usage

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
