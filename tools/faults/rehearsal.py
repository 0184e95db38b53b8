"""A rehearsal: acts of a sale, in which faults strike in an order that the seed makes, and what is checked between."""

import time
from collections import Counter, defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from random import Random

from sqlalchemy.exc import SQLAlchemyError

from tools.faults import invariants, rest
from tools.faults.client import LostError
from tools.faults.deck import Deck
from tools.faults.faults import Fault
from tools.faults.invariants import Scene
from tools.faults.load import Load
from tools.faults.probe import LostProbeError, Probe
from tools.faults.world import World

ACT_SECONDS = 150.0
CALM_SECONDS = 1.0
SPREAD_SECONDS = 2.0
"""Faults of one round begin within so many seconds of each other."""


@dataclass
class Record:
    """What happened, for the report."""

    seed: int
    struck: Counter[str] = field(default_factory=Counter)
    slowest: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    slowest_alone: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    rests: list[float] = field(default_factory=list)
    requests: int = 0
    answers: Counter[str] = field(default_factory=Counter)
    ends: Counter[str] = field(default_factory=Counter)
    acts: Counter[str] = field(default_factory=Counter)
    money: Counter[str] = field(default_factory=Counter)
    broken: list[str] = field(default_factory=list)


class Rehearsal:
    """One run: `play` it, then read its record."""

    def __init__(self, world: World, seed: int, minutes: float, say: Callable[[str], None]) -> None:
        self.record = Record(seed)
        self._world = world
        self._random = Random(f"{seed} faults")  # noqa: S311 to be repeated, not to be secret
        self._ends = time.monotonic() + 60 * minutes
        self._say = say
        self._deck = Deck(self._random)
        self._load = Load(world, seed)
        self._probe = Probe(world, self._load.promoter, Random(f"{seed} probe"))  # noqa: S311

    def play(self) -> None:
        """Play acts until the time is over or something broke."""
        try:
            while self._goes_on() and time.monotonic() < self._ends:
                self._play_act()
        finally:
            self._load.close()

    def _goes_on(self) -> bool:
        return not self.record.broken and not self._world.ending.is_set()

    def _play_act(self) -> None:
        sale, book = self._load.begin()
        ends = min(time.monotonic() + ACT_SECONDS, self._ends)
        while self._goes_on() and time.monotonic() < ends:
            self._world.wait(self._random.uniform(CALM_SECONDS, 3 * CALM_SECONDS))
            self._play_round()
            self._load.check()
        self._load.end()
        if self._world.ending.is_set():
            self.record.broken.append("it was interrupted before anything could be judged")
            return
        try:
            self._judge(Scene(self._world, self._load, sale, book))
        except (LostError, SQLAlchemyError) as error:
            self.record.broken.append(f"the act could not be judged: {error}")

    def _judge(self, scene: Scene) -> None:
        """Let everything come to rest, and look at all that has been promised."""
        seconds, wrongs = rest.wait_for_rest(self._world)
        self.record.rests.append(seconds)
        wrongs += invariants.check(scene)
        self.record.broken += wrongs
        self._count(scene)
        self._say(f"act {self._load.acts}: at rest after {seconds:.0f} s, {len(wrongs) or 'nothing'} wrong")

    def _play_round(self) -> None:
        faults = self._deck.deal()
        names = " + ".join(fault.name for fault in faults)
        began = time.monotonic()
        # Chance is drawn here, in one thread, so that the seed makes all of it.
        plans = [(fault, self._random.uniform(0, SPREAD_SECONDS), self._random.getrandbits(64)) for fault in faults]
        within = sum(fault.within for fault in faults) + self._world.start_seconds
        self.record.struck.update(fault.name for fault in faults)
        try:
            with ThreadPoolExecutor(len(faults)) as pool:
                list(pool.map(lambda plan: self._strike(*plan), plans))
            lasted = time.monotonic() - began
            seconds = self._probe.measure(within)
        except LostProbeError as error:
            self.record.broken.append(f"after: {names}: {error}")
            self._say(f"  BROKEN after {names}: {error}")
            return
        self._say(f"  {names:<60} lasted {lasted:5.1f} s, over in {seconds:5.1f} s (promised {within:.0f})")
        for fault in faults:
            self.record.slowest[fault.name] = max(self.record.slowest[fault.name], seconds)
        if len(faults) == 1:
            self.record.slowest_alone[names] = max(self.record.slowest_alone[names], seconds)
        if seconds > within:
            self.record.broken.append(
                f"{names}: it took {seconds:.1f} s until all moved again, and {within:.0f} are promised"
            )

    def _strike(self, fault: Fault, delay: float, chance: int) -> None:
        self._world.wait(delay)
        self._probe.get_caught()
        fault.strike(self._world, Random(chance))  # noqa: S311

    def _count(self, scene: Scene) -> None:
        record, book = self.record, scene.book
        record.requests += sum(request.sent for request in book.requests)
        record.answers.update(f"{request.status} {request.code}".strip() for request in book.requests)
        record.acts.update(book.acts)
        ended = scene.world.rows(
            "SELECT status, reason, count(*) AS number FROM orders WHERE event_id = :id GROUP BY status, reason",
            id=scene.sale.event_id,
        )
        record.ends.update({f"{row.status} {row.reason or ''}".strip(): row.number for row in ended})
        for charge in scene.world.charges():
            if charge["metadata"].get("event_id") == scene.sale.event_id:
                record.money["charges"] += 1
                record.money["refunded in whole"] += charge["refunded"]
                record.money["refunded in part"] += 0 < charge["amount_refunded"] < charge["amount"]
