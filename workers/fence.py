"""Tier ownership: one thread, one connection, one advisory lock per tier; only here are tiers served.

The server ends the session when it falls silent, so an allocator that was stopped, cut off or stuck has lost its
tiers before another can own them, and cannot write when it wakes. Celery's messages only ring; the thread also looks
for waiting rows by itself every second, so that a sale goes on without a broker.
"""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from uuid import UUID

import structlog
from sqlalchemy import Connection, Engine
from sqlalchemy.orm import Session, sessionmaker

from domain import tier_work
from domain.ports import Clock
from domain.rules.clocks import Clocks
from workers.serving import Pace, TierServer, reason_of
from workers.sharing import Sharing

log = structlog.get_logger()

LOOK_SECONDS = 1.0
SOON_SECONDS = 0.2
"""The time to the next look while tiers are on their way here: a line stands still while it moves."""
RECONNECT_SECONDS = 0.5
STUCK_SECONDS = 10.0
"""An owner whose oldest waiting order has not moved for so long gives the tier up to somebody healthier."""
REST_SECONDS = 0.2
"""When nobody is left over, the thread rests before it heeds the next ring, so that a round serves many at once."""
TOGETHER = 50
"""So many tiers may be served in one transaction: what a round costs is shared by all of them."""


@dataclass(slots=True)
class _Head:
    """The first number in a tier's line, and since when it has stood still though its tier had its turn."""

    sequence: int
    stands_since: float | None = None


class TierOwner(threading.Thread):
    """Owns tiers and serves them until it is told to stop."""

    def __init__(
        self,
        engine: Engine,
        open_sessions: Callable[[Connection], sessionmaker[Session]],
        clock: Clock,
        clocks: Clocks,
        pace: Pace,
    ) -> None:
        super().__init__(name="tier-owner", daemon=True)
        self._engine = engine
        self._open_sessions = open_sessions
        self._clock = clock
        self._clocks = clocks
        self._pace = pace
        self._bell = threading.Condition()
        self._rung: set[UUID] = set()
        self._stopping = False
        self._owned: frozenset[UUID] = frozenset()
        self._heads: dict[UUID, _Head] = {}
        self._sharing = Sharing()
        self._next_look = 0.0

    @property
    def owned(self) -> frozenset[UUID]:
        """The tiers whose locks this process holds now."""
        return self._owned

    def ring(self, tier_id: UUID) -> None:
        """Say that something waits for a tier; one that is not owned here is somebody else's business."""
        with self._bell:
            if tier_id in self._owned:
                self._rung.add(tier_id)
                self._bell.notify()

    def stop(self, timeout: float) -> None:
        """Finish the current round, give every tier up, and end."""
        with self._bell:
            self._stopping = True
            self._bell.notify()
        self.join(timeout)

    def run(self) -> None:
        """Own and serve; after any trouble with the connection start again from nothing."""
        while not self._stopping:
            try:
                with self._engine.connect() as connection:
                    self._own(connection)
            except Exception as error:  # noqa: BLE001 a thread that ends would own its tiers no more, and nobody would notice
                log.warning("fence.lost", tiers=len(self._owned), error=reason_of(error))
            finally:
                self._owned = frozenset()
                self._heads.clear()
            with self._bell:
                self._bell.wait_for(lambda: self._stopping, RECONNECT_SECONDS)

    def _own(self, connection: Connection) -> None:
        sessions = self._open_sessions(connection)
        with sessions.begin() as session:
            tier_work.join(session)
        server = TierServer(connection, sessions, self._clock, self._clocks, self._pace)
        # A queue in which each tier stands once.
        due: dict[UUID, None] = {}
        self._next_look = 0.0
        while not self._stopping:
            if time.monotonic() >= self._next_look:
                due |= dict.fromkeys(self._look(sessions))
            due |= dict.fromkeys(self._take_rung())
            if turn := self._take_turn(due, server):
                due |= dict.fromkeys(server.serve_slice(turn))
                if not due:
                    self._rest()
            else:
                self._wait_for_bell(self._next_look - time.monotonic())

    def _take_turn(self, due: dict[UUID, None], server: TierServer) -> list[UUID]:
        """Take out whose turn it is: the next tier, with those behind it that can be served in the same transaction."""
        turn: list[UUID] = []
        for tier_id in list(due):
            if len(turn) == TOGETHER or (turn and any(map(server.must_be_alone, (turn[0], tier_id)))):
                break
            del due[tier_id]
            if tier_id in self._owned:
                turn.append(tier_id)
                if (head := self._heads.get(tier_id)) and not head.stands_since:
                    head.stands_since = time.monotonic()
        return turn

    def _rest(self) -> None:
        with self._bell:
            self._bell.wait_for(lambda: self._stopping, REST_SECONDS)

    def _take_rung(self) -> set[UUID]:
        with self._bell:
            rung, self._rung = self._rung, set()
        return rung

    def _wait_for_bell(self, seconds: float) -> None:
        with self._bell:
            self._bell.wait_for(lambda: self._rung or self._stopping, max(seconds, 0))

    def _look(self, sessions: sessionmaker[Session]) -> Sequence[UUID]:
        """Adopt and give up tiers, and return those with work; this also keeps the session from falling silent."""
        now = time.monotonic()
        with sessions.begin() as session:
            wanted = tier_work.find_wanted(session)
            work = tier_work.find(session, wanted)
            heads = {tier.tier_id: tier.head for tier in work if tier.head is not None}
            change = self._sharing.look(session, wanted=wanted, waiting=heads, owned=self._owned)
            owned = self._owned | change.adopted
            stuck = self._find_stuck({tier_id: heads[tier_id] for tier_id in heads.keys() & owned}, now)
            left = (owned - wanted) | change.surplus | stuck
            self._sharing.shun(stuck)
            for tier_id in stuck:
                log.error("fence.stuck", tier_id=str(tier_id))
            # First ours no more, then anybody's: whoever takes one may serve it before this look has ended.
            self._owned = owned - left
            tier_work.give_up(session, left)
        self._next_look = time.monotonic() + (LOOK_SECONDS if change.is_settled else SOON_SECONDS)
        return [tier.tier_id for tier in work if tier.tier_id in self._owned]

    def _find_stuck(self, heads: dict[UUID, int], now: float) -> frozenset[UUID]:
        """Return the tiers whose head has stood still since a turn that should have moved it.

        A head's time begins with its tier's turn (`_take_turn`): waiting for the turn is no fault of this owner's.
        """
        self._heads = {tier_id: self._heads.get(tier_id, _Head(head)) for tier_id, head in heads.items()}
        for tier_id, head in heads.items():
            if self._heads[tier_id].sequence != head:
                self._heads[tier_id] = _Head(head)
        stood = {tier_id: head.stands_since for tier_id, head in self._heads.items()}
        return frozenset(tier_id for tier_id, since in stood.items() if since and now - since > STUCK_SECONDS)
