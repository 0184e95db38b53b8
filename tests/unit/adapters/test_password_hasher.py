import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import bcrypt
import pytest

from adapters import password_hasher
from adapters.password_hasher import PasswordHasher
from domain.errors import BusyError


@pytest.fixture
def hasher():
    hasher = PasswordHasher(rounds=4, threads=2, queue=1)
    yield hasher
    hasher.close()


def test_the_right_password_matches_and_another_does_not(hasher):
    stored = hasher.hash("correct horse")
    assert hasher.verify("correct horse", stored)
    assert not hasher.verify("correct horse ", stored)
    assert not hasher.verify("", stored)


def test_the_stored_value_is_bcrypt_with_the_rounds_asked_for(hasher):
    assert hasher.hash("x").startswith("$2b$04$")
    assert len(hasher.hash("x")) == 60


def test_the_same_password_is_stored_differently_each_time(hasher):
    assert hasher.hash("x") != hasher.hash("x")


@pytest.mark.parametrize("shared", ["a" * 72, "ж" * 64, "a\x00b" * 30])
def test_what_stands_behind_the_72nd_byte_counts(hasher, shared):
    stored = hasher.hash(shared + "1")
    assert hasher.verify(shared + "1", stored)
    assert not hasher.verify(shared + "2", stored)


def test_a_letter_typed_in_two_ways_is_one_letter(hasher):
    assert hasher.verify("cafe\N{COMBINING ACUTE ACCENT}", hasher.hash("café"))


@pytest.mark.parametrize("stored", ["", "plain", "$2b$04$short", "$2b$04$" + "é" * 53])
def test_a_stored_value_that_is_no_hash_matches_nothing(hasher, stored):
    assert not hasher.verify("x", stored)


def test_a_lone_surrogate_is_a_password_like_any_other(hasher):
    assert hasher.verify("\ud800", hasher.hash("\ud800"))


def test_a_full_pool_refuses_at_once_and_recovers(hasher, monkeypatch):
    release, working = threading.Event(), threading.Semaphore(0)

    def wait(*_):
        working.release()
        assert release.wait(10)
        return b"$2b$"

    monkeypatch.setattr(bcrypt, "hashpw", wait)
    with ThreadPoolExecutor(3) as callers:
        running = [callers.submit(hasher.hash, "x") for _ in range(3)]
        assert all(working.acquire(timeout=10) for _ in range(2))
        until_taken = threading.Event()
        while hasher._places._value and not until_taken.wait(0.01):
            pass
        with pytest.raises(BusyError) as refusal:
            hasher.verify("x", "y")
        release.set()
        assert [call.result(10) for call in running] == ["$2b$"] * 3
    assert refusal.value.retry_after >= 1
    assert hasher.hash("x") == "$2b$"


def test_no_more_than_its_threads_work_at_a_time(hasher, monkeypatch):
    both, most = threading.Barrier(2, timeout=10), []

    def meet(*_):
        most.append(threading.current_thread().name)
        both.wait()
        return b"$2b$"

    monkeypatch.setattr(bcrypt, "hashpw", meet)
    with ThreadPoolExecutor(2) as callers:
        list(callers.map(hasher.hash, "xy"))
    assert len(set(most)) == 2
    assert all(name.startswith("bcrypt") for name in most)


def test_it_goes_on_after_being_closed(hasher):
    stored = hasher.hash("x")
    hasher.close()
    assert hasher.verify("x", stored)


def test_a_forked_child_has_a_pool_of_its_own():
    script = """
import os, sys, warnings
warnings.simplefilter("ignore")
from adapters.password_hasher import PasswordHasher
hasher = PasswordHasher(rounds=4)
stored = hasher.hash("x")
with hasher._lock:
    child = os.fork()
    if child == 0:
        os._exit(0 if hasher.verify("x", stored) else 1)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=20)


def test_the_digest_is_not_the_plain_hash_of_other_sites():
    assert len(password_hasher._digest("x" * 500)) == 44
    assert password_hasher._digest("x") != password_hasher._digest("y")
