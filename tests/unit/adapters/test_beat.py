import pickle
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from adapters.beat import Staggered
from celeryconfig import beat_schedule

MIDNIGHT = datetime(2030, 1, 1, tzinfo=UTC)
WAKES_EARLY = 0.01
"""As `celery.beat.Scheduler.adjust` has it."""


def runs(job, start, seconds):
    """Return when beat would run a job, in seconds after its start, and how often it would look at it."""
    now = last_run = start
    found, looks = [], 0
    job.nowfun = lambda: now
    while now < start + timedelta(seconds=seconds):
        looks += 1
        is_due, after = job.is_due(last_run)
        if is_due:
            last_run = now
            found.append((now - start).total_seconds())
        now += timedelta(seconds=max(after - WAKES_EARLY, 0.0001))
    return found, looks


@pytest.mark.parametrize("begins", [0, 0.4, 1.99, 2.0, 3.2, 4.9])
def test_a_job_runs_once_a_period_at_its_moment(begins):
    found, looks = runs(Staggered(5, after=2), MIDNIGHT + timedelta(seconds=begins), 60)
    assert len(found) in {11, 12}
    assert all((begins + second - 2 + 0.02) % 5 < 0.04 for second in found)
    assert looks <= len(found) + 2, "beat sleeps until a job is due"


@pytest.mark.parametrize(("late", "then"), [(3, 4), (4.9, 2.1), (6.9, 0.1)])
def test_a_job_that_comes_late_comes_again_at_its_next_moment(late, then):
    job, now = Staggered(5, after=2), MIDNIGHT + timedelta(seconds=late)
    job.nowfun = lambda: now
    for last_run in (MIDNIGHT - timedelta(hours=3), MIDNIGHT - timedelta(seconds=3)):
        assert job.is_due(last_run) == (True, pytest.approx(then))


def test_a_job_does_not_come_again_when_the_clock_is_put_back_a_little():
    job, now = Staggered(5, after=2), MIDNIGHT + timedelta(seconds=1.98)
    job.nowfun = lambda: now
    assert job.is_due(MIDNIGHT + timedelta(seconds=1.99)) == (False, pytest.approx(5.02))


def test_a_job_says_when_it_is_due():
    job, now = Staggered(60, after=1.5), MIDNIGHT + timedelta(seconds=31)
    job.nowfun = lambda: now
    assert job.is_due(MIDNIGHT + timedelta(seconds=1.5)) == (False, pytest.approx(30.5))


def test_beat_keeps_it_in_its_file():
    kept = pickle.loads(pickle.dumps(Staggered(5, after=2)))
    assert (kept.seconds, kept.after) == (5, 2)


def test_no_two_jobs_of_ours_fall_together():
    jobs = [entry["schedule"] for entry in beat_schedule.values() if isinstance(entry["schedule"], Staggered)]
    found = [runs(job, MIDNIGHT, 2 * 3600)[0] for job in jobs]
    moments = sorted(moment for each in found for moment in each)
    assert len(jobs) > 8
    assert all(found)
    assert min(later - earlier for earlier, later in pairwise(moments)) > 0.3
