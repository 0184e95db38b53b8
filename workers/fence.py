"""Tier ownership: one thread, one connection, one advisory lock per tier; only here are tiers served.

The server ends the session when it falls silent, so an allocator that was stopped, cut off or stuck has lost its
tiers before another can own them, and cannot write when it wakes. Celery's messages only ring; the thread also looks
for waiting rows by itself every second, so that a sale goes on without a broker.
"""

import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from uuid import UUID

import structlog
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.orm import Session, sessionmaker

from domain import allocation, tier_work
from domain.allocation import Outcome
from domain.ports import Clock
from domain.rules.clocks import Clocks
from domain.rules.service_rate import ServiceRate

log = structlog.get_logger()

LOOK_SECONDS = 1.0
RECONNECT_SECONDS = 0.5
STUCK_SECONDS = 10.0
"""An owner whose oldest waiting order has not moved for so long gives the tier up to somebody healthier."""
SHUNNED_SECONDS = 3.0
"""And does not take it again for so long: others look every second, and where there is nobody the tier comes back."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How much one round takes on, and for how many seconds a tier is served before the next tier's turn."""

    batch: int
    slice_seconds: float


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
        self._shunned: dict[UUID, float] = {}
        self._rates: defaultdict[UUID, ServiceRate] = defaultdict(ServiceRate)
        self._connection: Connection | None = None

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
                log.warning("fence.lost", tiers=len(self._owned), error=_reason(error))
            finally:
                self._owned = frozenset()
                self._heads.clear()
            with self._bell:
                self._bell.wait_for(lambda: self._stopping, RECONNECT_SECONDS)

    def _own(self, connection: Connection) -> None:
        self._connection = connection
        sessions = self._open_sessions(connection)
        due: deque[UUID] = deque()
        next_look = 0.0
        while not self._stopping:
            if time.monotonic() >= next_look:
                due.extend(tier_id for tier_id in self._look(sessions) if tier_id not in due)
                next_look = time.monotonic() + LOOK_SECONDS
            due.extend(tier_id for tier_id in self._take_rung() if tier_id not in due)
            if due:
                tier_id = due.popleft()
                if tier_id in self._owned and self._serve_slice(sessions, tier_id):
                    due.append(tier_id)
            else:
                self._wait_for_bell(next_look - time.monotonic())

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
        shunned = {tier_id for tier_id, until in self._shunned.items() if until > now}
        with sessions.begin() as session:
            wanted = tier_work.find_wanted(session)
            adopted = tier_work.adopt(session, wanted - self._owned - shunned)
            self._owned |= adopted
            work = tier_work.find(session, self._owned)
            stuck = self._find_stuck({tier.tier_id: tier.head for tier in work if tier.head is not None}, now)
            finished = self._owned - wanted
            tier_work.give_up(session, finished | stuck)
        self._owned -= finished | stuck
        self._shunned.update(dict.fromkeys(stuck, now + SHUNNED_SECONDS))
        for tier_id in stuck:
            log.error("fence.stuck", tier_id=str(tier_id))
        if adopted:
            log.info("fence.adopted", tiers=[str(tier_id) for tier_id in adopted])
        return [tier.tier_id for tier in work if tier.tier_id in self._owned]

    def _find_stuck(self, heads: dict[UUID, int], now: float) -> frozenset[UUID]:
        """Return the tiers whose head has stood still since a turn that should have moved it.

        A head's time begins with its tier's turn (`_serve_slice`): waiting for the turn is no fault of this owner's.
        """
        self._heads = {tier_id: self._heads.get(tier_id, _Head(head)) for tier_id, head in heads.items()}
        for tier_id, head in heads.items():
            if self._heads[tier_id].sequence != head:
                self._heads[tier_id] = _Head(head)
        stood = {tier_id: head.stands_since for tier_id, head in self._heads.items()}
        return frozenset(tier_id for tier_id, since in stood.items() if since and now - since > STUCK_SECONDS)

    def _serve_slice(self, sessions: sessionmaker[Session], tier_id: UUID) -> bool:
        """Serve a tier until nothing waits or its slice ends; tell whether it has work left."""
        if (head := self._heads.get(tier_id)) and not head.stands_since:
            head.stands_since = time.monotonic()
        ends = time.monotonic() + self._pace.slice_seconds
        while True:
            started = time.monotonic()
            outcome = self._serve_batch(sessions, tier_id)
            ended = time.monotonic()
            self._rates[tier_id].note(outcome.decided, began=started, ended=ended, has_more=outcome.more)
            if outcome.decided or outcome.granted or outcome.offered:
                self._report(tier_id, outcome, ended - started)
            if not outcome.more:
                return False
            if time.monotonic() >= ends:
                return True

    def _serve_batch(self, sessions: sessionmaker[Session], tier_id: UUID) -> Outcome:
        try:
            with sessions.begin() as session:
                return allocation.serve(
                    session,
                    tier_id,
                    self._clock.now(),
                    self._clocks,
                    batch=self._pace.batch,
                    service_rate=self._rates[tier_id].per_second,
                )
        except Exception as error:  # noqa: BLE001 whatever one order provokes, the others must be served
            if self._is_at_fault(error, tier_id):
                self._narrow_down(sessions, tier_id, error)
        return Outcome()

    def _is_at_fault(self, error: Exception, tier_id: UUID) -> bool:
        """Tell whether the rows made a round fail; raise the error again if the connection went, and its locks with it.

        To go on after that would be to write without a fence: SQLAlchemy opens another connection by itself.
        """
        if self._connection is None or self._connection.invalidated:
            raise error
        if isinstance(error, OperationalError):
            # Somebody holds a lock for too long, or a deadlock chose us: nobody's order is at fault, so try again.
            log.warning("allocation.postponed", tier_id=str(tier_id), error=_reason(error))
            return False
        return True

    def _narrow_down(self, sessions: sessionmaker[Session], tier_id: UUID, error: Exception) -> None:
        """Find the orders that make a batch fail by trial rounds, halving it, and set those aside.

        Trials are rolled back: the next real round serves the others, in sequence and with the waitlist among them.
        """
        log.error("allocation.failed", tier_id=str(tier_id), error=_reason(error))
        with sessions() as session:
            wishes, line = tier_work.find_batch(session, tier_id, self._pace.batch)
        # First nobody at all: a tier that fails without any order is not failed by one.
        suspects: list[list[UUID]] = [line, wishes, []]
        outcasts: set[UUID] = set()
        while suspects:
            part = suspects.pop()
            part_error = self._try(sessions, tier_id, part)
            if part_error is None:
                continue
            if not part:
                return
            middle = len(part) // 2
            if middle:
                suspects.extend([part[middle:], part[:middle]])
            elif not self._quarantine(sessions, tier_id, part[0], part_error):
                outcasts.add(part[0])
        if outcasts:
            # They would make every real round fail: the others are served without them, and without the waitlist.
            self._try(sessions, tier_id, [item for item in (*wishes, *line) if item not in outcasts], for_real=True)

    def _try(
        self, sessions: sessionmaker[Session], tier_id: UUID, part: list[UUID], *, for_real: bool = False
    ) -> Exception | None:
        """Serve these alone, and roll back unless it is for real; return what went wrong, if it was their fault."""
        try:
            with sessions() as session:
                allocation.serve(
                    session, tier_id, self._clock.now(), self._clocks, batch=len(part) or self._pace.batch, only=part
                )
                if for_real:
                    session.commit()
        except Exception as error:  # noqa: BLE001 as above
            return error if self._is_at_fault(error, tier_id) else None
        return None

    def _quarantine(self, sessions: sessionmaker[Session], tier_id: UUID, item_id: UUID, error: Exception) -> bool:
        """Set the order of an item aside; tell whether that was possible."""
        try:
            with sessions.begin() as session:
                order_id = allocation.quarantine(session, item_id)
        except Exception as trouble:  # noqa: BLE001 as above
            if self._is_at_fault(trouble, tier_id):
                log.critical("quarantine.failed", item_id=str(item_id), tier_id=str(tier_id), error=_reason(trouble))
            return False
        log.critical("order.quarantined", order_id=str(order_id), tier_id=str(tier_id), error=_reason(error))
        return order_id is not None

    def _report(self, tier_id: UUID, outcome: Outcome, seconds: float) -> None:
        log.info(
            "allocation.served",
            tier_id=str(tier_id),
            served=outcome.served,
            refused=outcome.refused,
            offered=outcome.offered,
            granted=outcome.granted,
            milliseconds=round(seconds * 1000, 1),
            request_ids=outcome.request_ids,
        )


def _reason(error: Exception) -> str:
    """Return the driver's own words: SQLAlchemy's would repeat the statement's parameters, which may be personal."""
    return str(error.orig if isinstance(error, DBAPIError) else error)
