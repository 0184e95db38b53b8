"""What breaks. Each function strikes, holds for a while where that is its nature, and heals what it stopped itself.

What a person would have to do stands nowhere here: dead parts are started again by their supervisor, the rest is the
product's own business. `within` is the promise: so many seconds after it, not counting what a process takes to start, a
buyer who comes gets a ticket and a mail, and whoever was caught in it has what was bought.
"""

import os
import signal
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from random import Random

from tools.faults.world import World

ALLOCATORS = ("allocator-1", "allocator-2")
FENCE_SECONDS = 6.0
"""Longer than a stopped allocator keeps its tiers."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One kind of trouble. Two that touch the same thing never strike together: one would heal the other."""

    strike: Callable[[World, Random], None]
    within: float
    touches: str

    @property
    def name(self) -> str:
        """Its name in reports."""
        return self.strike.__name__.replace("_", " ")


def _hold(world: World, random: Random, least: float = 3, most: float = 8) -> None:
    world.wait(random.uniform(least, most))


def kill_an_allocator(world: World, random: Random) -> None:
    """Kill -9."""
    world.kill(random.choice(ALLOCATORS))


def kill_both_allocators(world: World, _: Random) -> None:
    """Nobody stands by."""
    for name in ALLOCATORS:
        world.kill(name)


def stop_an_allocator(world: World, random: Random) -> None:
    """Stop one in the middle of what it does; it wakes after its tiers have moved."""
    with world.stopped(random.choice(ALLOCATORS)):
        _hold(world, random, FENCE_SECONDS, FENCE_SECONDS + 3)


def stop_both_allocators(world: World, random: Random) -> None:
    """Both lose their tiers; one wakes before the other."""
    with ExitStack() as both:
        for name in random.sample(ALLOCATORS, 2):
            both.enter_context(world.stopped(name))
        _hold(world, random, FENCE_SECONDS, FENCE_SECONDS + 2)


def start_a_rival(world: World, random: Random) -> None:
    """Start a third allocator for the same tiers: it takes over from two dead ones, and dies when they are back."""
    options = ("-A", "workers.allocator", "worker", "--pool", "solo", "--hostname", "rival@%h")
    with world.started(*options, "--without-mingle", "--without-gossip"):
        kill_both_allocators(world, random)
        _hold(world, random, 5, 8)


def kill_the_payments_worker(world: World, random: Random) -> None:
    """Kill it between a charge and its record: Stripe has the money, and holds its answer back."""
    calls = random.choice(("payment_intent.confirm", "payment_intent.create", "refund.create", "payment_intent.cancel"))
    world.stripe("faults", call=calls, when="after", outcome="none", latency_seconds=3)
    for _ in range(60):
        if not world.stripe_trouble_left() or world.ending.is_set():
            break
        world.wait(0.1)
    world.wait(0.3)
    world.kill("payments")
    world.stripe_is_well("faults")


def kill_a_worker(world: World, random: Random) -> None:
    """Kill -9 whoever draws, mails, offers, sweeps, or tells promoters' own systems."""
    world.kill(random.choice(("tickets", "notifications", "waitlist", "sweep", "webhooks")))


def kill_beat(world: World, _: Random) -> None:
    """Kill the clock of the sweeps."""
    world.kill("beat")


def kill_a_web_worker(world: World, random: Random) -> None:
    """Kill one of the web's processes; the others go on."""
    workers = world.children("web")
    if workers:
        with suppress(ProcessLookupError):
            os.kill(random.choice(workers), signal.SIGKILL)
    else:
        kill_the_web(world, random)


def kill_the_web(world: World, _: Random) -> None:
    """Kill -9 all of the web."""
    world.kill("web")


def kill_postgresql(world: World, _: Random) -> None:
    """Kill -9: it recovers from its log."""
    world.kill("postgres")


def restart_postgresql(world: World, _: Random) -> None:
    """Stop it as an operator does; every session is cut off."""
    world.kill("postgres", signal.SIGINT)


def kill_redis(world: World, _: Random) -> None:
    """Kill -9: up to a second of messages is lost."""
    world.kill("valkey")


def stop_redis(world: World, random: Random) -> None:
    """Stop it: it neither answers nor hangs up."""
    with world.stopped("valkey"):
        _hold(world, random)


def wipe_redis(world: World, _: Random) -> None:
    """FLUSHALL."""
    world.wipe_broker()


def double_webhooks(world: World, random: Random) -> None:
    """Stripe tells everything twice, or more often."""
    world.stripe("webhooks", copies=random.randint(2, 3))
    _hold(world, random)
    world.stripe("webhooks", copies=1)


def delay_webhooks(world: World, random: Random) -> None:
    """Stripe tells everything late."""
    world.stripe("webhooks", delay_seconds=random.randint(3, 6))
    _hold(world, random)
    world.stripe("webhooks", delay_seconds=0)


def reorder_webhooks(world: World, random: Random) -> None:
    """Stripe tells the newest first."""
    world.stripe("webhooks", newest_first=True, delay_seconds=2)
    _hold(world, random)
    world.stripe("webhooks", newest_first=False, delay_seconds=0)


def lose_webhooks(world: World, random: Random) -> None:
    """Stripe tells nothing, and never will."""
    world.stripe("webhooks", deliver=False)
    _hold(world, random)
    world.stripe("webhooks", deliver=True)


def cut_off_stripe(world: World, random: Random) -> None:
    """Stripe is down: it hangs up, or does not answer at all."""
    seconds = random.randint(4, 9)
    world.stripe("outage", seconds=seconds, outcome=random.choice(("cut", "hang")))
    world.wait(seconds)


def let_stripe_fail(world: World, random: Random) -> None:
    """Stripe answers 500, or that it is asked too often."""
    seconds = random.randint(4, 9)
    world.stripe("outage", seconds=seconds, outcome="error", status=random.choice((500, 503, 429)))
    world.wait(seconds)


def slow_stripe_down(world: World, random: Random) -> None:
    """Stripe takes seconds for every call."""
    world.stripe("faults", call="*", outcome="none", latency_seconds=1, latency_jitter_seconds=2, times=1000)
    _hold(world, random)
    world.stripe_is_well("faults")


def lose_stripes_answers(world: World, random: Random) -> None:
    """Stripe does what it is asked, and the answer is lost, or is a 500 that the key repeats."""
    for call in ("payment_intent.confirm", "payment_intent.create", "refund.create", "payment_intent.cancel"):
        outcome = random.choice(("cut", "error"))
        world.stripe("faults", call=call, when="after", outcome=outcome, times=random.randint(1, 4))
    _hold(world, random)
    world.stripe_is_well("faults")


def let_payments_come_late(world: World, random: Random) -> None:
    """Stripe cancels nothing, so that what has expired here can still be paid there."""
    world.stripe("faults", call="payment_intent.cancel", outcome="error", times=1000)
    _hold(world, random, 8, 14)
    world.stripe_is_well("faults")


def cut_off_sendgrid(world: World, _: Random) -> None:
    """Kill -9 SendGrid's stand-in."""
    world.kill("sendgrid")


def let_sendgrid_fail(world: World, random: Random) -> None:
    """SendGrid answers 500."""
    world.sendgrid(fail_next=1000, status=random.choice((500, 503)))
    _hold(world, random)
    world.sendgrid()


def slow_sendgrid_down(world: World, random: Random) -> None:
    """SendGrid takes its time, tells what became of mails late, and twice."""
    world.sendgrid(latency=1.5, webhooks_paused=True, webhook_duplicates=1)
    _hold(world, random)
    world.sendgrid()


def step_a_clock(world: World, random: Random) -> None:
    """Step a part's clock forwards or backwards by up to 20 seconds, and then back."""
    part = random.choice(("web", *ALLOCATORS, "payments", "notifications", "waitlist", "sweep"))
    world.clocks.step(part, random.choice((-1, 1)) * random.uniform(2, 20))
    _hold(world, random, 4, 10)
    world.clocks.right(part)


FAULTS = (
    Fault(kill_an_allocator, 15, "allocators"),
    Fault(kill_both_allocators, 20, "allocators"),
    Fault(stop_an_allocator, 15, "allocators"),
    Fault(stop_both_allocators, 15, "allocators"),
    Fault(start_a_rival, 20, "allocators"),
    Fault(kill_the_payments_worker, 30, "stripe"),
    Fault(kill_a_worker, 30, "workers"),
    Fault(kill_beat, 20, "beat"),
    Fault(kill_a_web_worker, 15, "web"),
    Fault(kill_the_web, 20, "web"),
    Fault(kill_postgresql, 40, "postgres"),
    Fault(restart_postgresql, 40, "postgres"),
    Fault(kill_redis, 40, "redis"),
    Fault(stop_redis, 40, "redis"),
    Fault(wipe_redis, 20, "redis"),
    Fault(double_webhooks, 15, "webhooks"),
    Fault(delay_webhooks, 20, "webhooks"),
    Fault(reorder_webhooks, 20, "webhooks"),
    Fault(lose_webhooks, 20, "webhooks"),
    Fault(cut_off_stripe, 60, "stripe"),
    Fault(let_stripe_fail, 60, "stripe"),
    Fault(slow_stripe_down, 30, "stripe"),
    Fault(lose_stripes_answers, 60, "stripe"),
    Fault(let_payments_come_late, 30, "stripe"),
    Fault(cut_off_sendgrid, 20, "sendgrid"),
    Fault(let_sendgrid_fail, 20, "sendgrid"),
    Fault(slow_sendgrid_down, 20, "sendgrid"),
    Fault(step_a_clock, 40, "clock"),
)
