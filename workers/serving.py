"""Serving tiers whose locks are held: rounds until a slice ends, and the search for what makes a round fail.

Who owns which tier, and whose turn it is, is in `fence.py`.
"""

import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

import structlog
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.orm import Session, sessionmaker

from domain import allocation, tier_work
from domain.ports import Clock
from domain.rules.clocks import Clocks
from domain.rules.service_rate import ServiceRate
from domain.turns import Outcome

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Pace:
    """How many orders one round takes on, and for how many seconds tiers are served before the next ones' turn."""

    batch: int
    slice_seconds: float


class TierServer:
    """Serves tiers on the connection that holds their locks."""

    def __init__(
        self, connection: Connection, sessions: sessionmaker[Session], clock: Clock, clocks: Clocks, pace: Pace
    ) -> None:
        self._connection = connection
        self._sessions = sessions
        self._clock = clock
        self._clocks = clocks
        self._pace = pace
        self._rates: defaultdict[UUID, ServiceRate] = defaultdict(ServiceRate)
        self._apart: set[UUID] = set()

    def must_be_alone(self, tier_id: UUID) -> bool:
        """Tell whether the tier was in a round that failed, so that it has its next turn alone."""
        return tier_id in self._apart

    def serve_slice(self, tier_ids: Sequence[UUID]) -> list[UUID]:
        """Serve tiers together until nothing waits or their slice ends; return those that have work left."""
        ends = time.monotonic() + self._pace.slice_seconds
        if len(tier_ids) == 1:
            self._apart.discard(tier_ids[0])
        while True:
            started = time.monotonic()
            outcomes = self._serve_batch(tier_ids)
            ended = time.monotonic()
            for tier_id, outcome in outcomes.items():
                self._rates[tier_id].note(outcome.decided, began=started, ended=ended, has_more=outcome.more)
            self._report(outcomes, ended - started)
            tier_ids = [tier_id for tier_id, outcome in outcomes.items() if outcome.more]
            if not tier_ids or self._apart.intersection(tier_ids) or time.monotonic() >= ends:
                return tier_ids

    def _serve_batch(self, tier_ids: Sequence[UUID]) -> dict[UUID, Outcome]:
        """Serve one batch, of which each tier has its share."""
        share = max(self._pace.batch // len(tier_ids), 1)
        rates = {tier_id: rate for tier_id in tier_ids if (rate := self._rates[tier_id].per_second)}
        try:
            with self._sessions.begin() as session:
                return allocation.serve_together(
                    session, tier_ids, self._clock.now(), self._clocks, batch=share, rates=rates
                )
        except Exception as error:  # noqa: BLE001 whatever one order provokes, the others must be served
            self._require_connection(error)
            if len(tier_ids) > 1:
                log.warning("allocation.parted", tiers=len(tier_ids), error=reason_of(error))
                self._apart.update(tier_ids)
                return {tier_id: Outcome(more=True) for tier_id in tier_ids}
            if self._is_at_fault(error, tier_ids[0]):
                self._narrow_down(tier_ids[0], error)
        return {}

    def _require_connection(self, error: Exception) -> None:
        """Raise the error again if the connection went, and its locks with it.

        To go on after that would be to write without a fence: SQLAlchemy opens another connection by itself.
        """
        if self._connection.invalidated:
            raise error

    def _is_at_fault(self, error: Exception, tier_id: UUID) -> bool:
        """Tell whether the rows made a round fail; raise the error again if the connection went."""
        self._require_connection(error)
        if isinstance(error, OperationalError):
            # Somebody holds a lock for too long, or a deadlock chose us: nobody's order is at fault, so try again.
            log.warning("allocation.postponed", tier_id=str(tier_id), error=reason_of(error))
            return False
        return True

    def _narrow_down(self, tier_id: UUID, error: Exception) -> None:
        """Find the orders that make a batch fail by trial rounds, halving it, and set those aside.

        Trials are rolled back: the next real round serves the others, in sequence and with the waitlist among them.
        """
        log.error("allocation.failed", tier_id=str(tier_id), error=reason_of(error))
        with self._sessions() as session:
            wishes, line = tier_work.find_batch(session, tier_id, self._pace.batch)
        # First nobody at all: a tier that fails without any order is not failed by one.
        suspects: list[list[UUID]] = [line, wishes, []]
        outcasts: set[UUID] = set()
        while suspects:
            part = suspects.pop()
            part_error = self._try(tier_id, part)
            if part_error is None:
                continue
            if not part:
                return
            middle = len(part) // 2
            if middle:
                suspects.extend([part[middle:], part[:middle]])
            elif not self._quarantine(tier_id, part[0], part_error):
                outcasts.add(part[0])
        if outcasts:
            # They would make every real round fail: the others are served without them, and without the waitlist.
            self._try(tier_id, [item for item in (*wishes, *line) if item not in outcasts], for_real=True)

    def _try(self, tier_id: UUID, part: list[UUID], *, for_real: bool = False) -> Exception | None:
        """Serve these alone, and roll back unless it is for real; return what went wrong, if it was their fault."""
        try:
            with self._sessions() as session:
                allocation.serve(
                    session, tier_id, self._clock.now(), self._clocks, batch=len(part) or self._pace.batch, only=part
                )
                if for_real:
                    session.commit()
        except Exception as error:  # noqa: BLE001 as above
            return error if self._is_at_fault(error, tier_id) else None
        return None

    def _quarantine(self, tier_id: UUID, item_id: UUID, error: Exception) -> bool:
        """Set the order of an item aside; tell whether that was possible."""
        try:
            with self._sessions.begin() as session:
                order_id = allocation.quarantine(session, item_id, self._clock.now())
        except Exception as trouble:  # noqa: BLE001 as above
            if self._is_at_fault(trouble, tier_id):
                log.critical("quarantine.failed", item_id=str(item_id), tier_id=str(tier_id), error=reason_of(trouble))
            return False
        log.critical("order.quarantined", order_id=str(order_id), tier_id=str(tier_id), error=reason_of(error))
        return order_id is not None

    def _report(self, outcomes: Mapping[UUID, Outcome], seconds: float) -> None:
        """Log what a round did; one line for all of its tiers, as there may be many rounds a second."""
        moved = {tier_id: outcome for tier_id, outcome in outcomes.items() if outcome.did_something}
        if not moved:
            return
        log.info(
            "allocation.served",
            tiers=[str(tier_id) for tier_id in moved],
            served=sum(outcome.served for outcome in moved.values()),
            refused=sum(outcome.refused for outcome in moved.values()),
            offered=sum(outcome.offered for outcome in moved.values()),
            granted=sum(outcome.granted for outcome in moved.values()),
            milliseconds=round(seconds * 1000, 1),
            request_ids=[request_id for outcome in moved.values() for request_id in outcome.request_ids],
        )


def reason_of(error: Exception) -> str:
    """Return the driver's own words: SQLAlchemy's would repeat the statement's parameters, which may be personal."""
    return str(error.orig if isinstance(error, DBAPIError) else error)
