"""Every queue has its consumer, every message its task, and every task somebody who calls it."""

import inspect
import json
import os
import subprocess
import sys

import pytest

from domain import messages
from domain.messages import QUEUES, TIER_QUEUE_PREFIX, Message
from tools.stack.environment import ROOT

MESSAGES = [kind for kind in vars(messages).values() if isinstance(kind, type) and Message in kind.__bases__]

WHAT_A_PROCESS_KNOWS = """
import importlib, inspect, json, sys
app = importlib.import_module(sys.argv[1]).app
app.loader.import_default_modules()
tasks = {name: task for name, task in app.tasks.items() if not name.startswith("celery.")}
print(json.dumps({
    "queues": [queue.name for queue in app.conf.task_queues],
    "tasks": {name: list(inspect.signature(task.run).parameters) for name, task in tasks.items()},
    "modules": {name: task.run.__module__ for name, task in tasks.items()},
    "beat": [[entry["task"], entry["options"]["queue"]] for entry in app.conf.beat_schedule.values()],
    "steps": [step.__name__ for step in app.steps["consumer"]],
}))
"""


def ask(module, environment):
    """Return what a process started with this app declares and registers: importing it here would change both apps."""
    command = [sys.executable, "-c", WHAT_A_PROCESS_KNOWS, module]
    known = subprocess.run(command, cwd=ROOT, env={**os.environ, **environment}, check=True, capture_output=True)
    return json.loads(known.stdout)


@pytest.fixture(scope="module")
def workers(environment):
    return ask("workers.app", environment)


@pytest.fixture(scope="module")
def allocator(environment):
    return ask("workers.allocator", environment)


@pytest.fixture(params=["local_commands", "compose_commands"])
def worker_commands(request):
    """Return the Celery workers of one table of processes: the queues that each is given, or nothing, and its app."""
    commands = request.getfixturevalue(request.param)
    return [
        (command[command.index("-Q") + 1].split(",") if "-Q" in command else None, command[command.index("-A") + 1])
        for _, command in commands
        if command[0] == "celery" and "worker" in command
    ]


def test_there_are_messages():
    assert {messages.ServeTier, messages.OpenPayment, messages.NotifyOffer} <= set(MESSAGES)


def test_what_is_declared_is_what_the_messages_name(workers):
    assert tuple(workers["queues"]) == QUEUES
    used = {kind.base_queue for kind in MESSAGES} | {queue for _, queue in workers["beat"]}
    assert used == {*QUEUES, TIER_QUEUE_PREFIX}


def test_every_declared_queue_has_exactly_one_consumer(worker_commands):
    consumed = [queue for queues, _ in worker_commands for queue in queues or []]
    assert sorted(consumed) == sorted(QUEUES)


def test_only_allocators_are_given_no_queue(worker_commands):
    # A worker without -Q consumes every declared queue; the allocator's app takes none but its tiers'.
    without = [app for queues, app in worker_commands if queues is None]
    assert without
    assert set(without) == {"workers.allocator"}
    assert {app for queues, app in worker_commands if queues is not None} == {"workers.app"}


def test_tiers_are_consumed_by_allocators_only(worker_commands, workers, allocator):
    assert [
        queues for queues, _ in worker_commands if queues and any(TIER_QUEUE_PREFIX in name for name in queues)
    ] == []
    assert allocator["steps"] == ["ConsumeOwnedTiers"]
    assert workers["steps"] == []


@pytest.mark.parametrize("kind", MESSAGES, ids=lambda kind: kind.__name__)
def test_every_message_has_its_task_where_it_travels(kind, workers, allocator):
    process = allocator if kind.base_queue == TIER_QUEUE_PREFIX else workers
    assert process["modules"][kind.task].startswith("workers.")
    assert process["tasks"][kind.task] == ([kind.shared] if kind.shared else list(inspect.signature(kind).parameters))


def test_every_task_name_is_a_noun_and_a_verb_of_its_queue():
    assert [kind.task for kind in MESSAGES if kind.task.count(".") != 1] == []
    named_by_queue = [kind for kind in MESSAGES if kind.base_queue != TIER_QUEUE_PREFIX]
    assert [kind.task for kind in named_by_queue if kind.task.split(".")[0] != kind.base_queue] == []


def test_no_two_messages_share_a_task():
    names = [kind.task for kind in MESSAGES]
    assert len(set(names)) == len(names)


def test_every_task_is_called_by_a_message_or_by_beat(workers, allocator):
    called = {kind.task for kind in MESSAGES} | {task for task, _ in workers["beat"]}
    assert workers["tasks"].keys() | allocator["tasks"].keys() == called


def test_beat_calls_tasks_that_exist_and_want_nothing(workers):
    assert workers["beat"]
    assert {task: workers["tasks"].get(task) for task, _ in workers["beat"]} == {
        task: [] for task, _ in workers["beat"]
    }
    assert {queue for _, queue in workers["beat"]} <= set(QUEUES)


def test_an_allocator_runs_nothing_else(allocator):
    assert list(allocator["tasks"]) == [messages.ServeTier.task]
