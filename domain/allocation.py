"""The consumer of a tier: one round locks what waits, decides by the rule, and writes it down in sets.

Only this module changes a tier's counters and an item's inventory state, and only on the connection that holds the
tier's advisory lock (`workers/fence.py`). Everybody else writes wishes and rings.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Row, select
from sqlalchemy.orm import Session

from domain import allocation_records as records
from domain import offers, whole_line
from domain.messages import ConcludeLatePayment, OpenPayment, ServeTier, announce
from domain.models import Event, OrderItem, TicketTier
from domain.rules.allocation import Claim, Decision, Kind, Verdict, allocate
from domain.rules.clocks import Clocks
from domain.rules.states import EventStatus, InventoryState, OrderReason, OrderStage

Rows = Sequence[Row[Any]]

REASONS = {Verdict.SOLD_OUT: OrderReason.SOLD_OUT, Verdict.LIMIT_EXCEEDED: OrderReason.LIMIT_EXCEEDED}


@dataclass(slots=True)
class Outcome:
    """What one round did; `more` tells that the tier may have work left."""

    served: int = 0
    refused: int = 0
    offered: int = 0
    granted: int = 0
    more: bool = False
    request_ids: tuple[str, ...] = ()

    @property
    def decided(self) -> int:
        """How many orders were decided."""
        return self.served + self.refused

    @property
    def did_something(self) -> bool:
        """Whether the round changed anything in the line."""
        return bool(self.decided or self.offered or self.granted)


def serve(
    session: Session,
    tier_id: UUID,
    now: datetime,
    clocks: Clocks,
    *,
    batch: int,
    service_rate: float | None = None,
    only: Sequence[UUID] | None = None,
) -> Outcome:
    """Serve one batch of a tier inside the session's transaction; the caller commits.

    `service_rate` is what the caller has measured, in orders per second, for the buyers' ETA. With `only`, no other
    order items are looked at, and no waiting entry unless the list is empty: so is the cause of a failing batch found.
    """
    wishes = records.find_wishes(session, tier_id, batch, only)
    line = records.find_line(session, tier_id, batch, only)
    # Orders by id, then event and tier: the order in which everybody locks.
    records.lock_orders(session, [row.order_id for row in (*wishes, *line)])
    event, tier = _lock_tier(session, tier_id)
    if service_rate is not None:
        tier.service_rate = service_rate
    a_round = _Round(session, event, tier, now, clocks)
    wished = [row.id for row in wishes]
    # Nobody but this consumer changes an item's state, so who waited at the first look waits still.
    a_round.withdraw([row.id for row in wishes if row.waits])
    a_round.grant(wished)
    a_round.apply_desired_quantity()
    a_round.recount()
    a_round.reclaim(wished)
    if len(wishes) == batch:
        # Nobody is refused while more stock may be coming back.
        a_round.outcome.more = True
    elif not tier.is_paused or event.status is not EventStatus.PUBLISHED:
        a_round.serve_line([row.id for row in line], batch, with_entries=not only)
    # A round that changed nothing would change nothing again.
    a_round.outcome.more &= a_round.outcome.did_something
    session.flush()
    return a_round.outcome


def quarantine(session: Session, item_id: UUID) -> UUID | None:
    """Set an order aside that makes its batch fail, so that the others are served; return the order's id.

    Its other tiers are asked to take their stock back.
    """
    order_id = records.quarantine(session, item_id)
    if order_id is not None:
        # It has left its line undecided; the lock makes its number the next one.
        tier = _lock_tier(session, session.get_one(OrderItem, item_id).tier_id)[1]
        tier.withdrawn += whole_line.withdraw(session, [item_id], tier.withdrawn)
        for tier_id in records.release_siblings(session, None, [order_id]):
            announce(session, ServeTier(tier_id))
    return order_id


def _lock_tier(session: Session, tier_id: UUID) -> tuple[Event, TicketTier]:
    event = session.scalars(
        select(Event)
        .join(TicketTier, TicketTier.event_id == Event.id)
        .where(TicketTier.id == tier_id)
        .with_for_update(read=True, of=Event)
        .execution_options(populate_existing=True)
    ).one()
    tier = session.scalars(
        select(TicketTier)
        .where(TicketTier.id == tier_id)
        .with_for_update(key_share=True)
        .execution_options(populate_existing=True)
    ).one()
    return event, tier


def _claims(items: Rows) -> list[Claim]:
    return [Claim(item.sequence, Kind.ORDER, item.id, item.user_id, item.quantity) for item in items]


class _Round:
    """One round over one tier, whose event and row are locked."""

    def __init__(self, session: Session, event: Event, tier: TicketTier, now: datetime, clocks: Clocks) -> None:
        self.session, self.event, self.tier, self.now, self.clocks = session, event, tier, now, clocks
        self.outcome = Outcome()

    def withdraw(self, item_ids: Sequence[UUID]) -> None:
        """Tell those who keep the line (`domain/whole_line.py`) who leaves it undecided."""
        self.tier.withdrawn += whole_line.withdraw(self.session, item_ids, self.tier.withdrawn)

    def grant(self, item_ids: Sequence[UUID]) -> None:
        """Bring items to the states that others asked for."""
        reserved, sold = records.grant_wishes(self.session, item_ids)
        self.tier.reserved += reserved
        self.tier.sold += sold
        self.outcome.granted = len(item_ids)

    def reclaim(self, item_ids: Sequence[UUID]) -> None:
        """Reserve stock again for payments that came after the end, where it is there: before anybody who waits."""
        items = records.read_reclaims(self.session, item_ids)
        if not items:
            return
        # An order that was paid before its stock had gone back simply keeps it.
        lapsed = [item for item in items if item.inventory_state == InventoryState.RELEASED]
        line = _claims(lapsed) if self.event.status is EventStatus.PUBLISHED else []
        served = [decision.claim for decision in self._apply_rule(line) if decision.verdict is Verdict.SERVED]
        records.decide_reclaims(self.session, [item.id for item in items], [claim.id for claim in served])
        self.tier.reserved += sum(claim.quantity for claim in served)
        for item in items:
            announce(self.session, ConcludeLatePayment(item.order_id), item.request_id)

    def apply_desired_quantity(self) -> None:
        """Change the tier's quantity as its promoter asked, unless more has gone already."""
        tier, desired = self.tier, self.tier.desired_quantity
        if desired is None:
            return
        taken = tier.reserved + tier.sold
        if desired >= taken:
            tier.quantity, tier.quantity_refusal = desired, None
        else:
            tier.quantity_refusal = f"{taken} tickets are sold or reserved, so {desired} cannot be enough."
        tier.desired_quantity = None

    def recount(self) -> None:
        """Correct the counters by the rows, where somebody asked for it."""
        if self.tier.recount_due:
            self.tier.reserved, self.tier.sold = records.count_again(self.session, self.tier.id)
            self.tier.recount_due = False

    def serve_line(self, item_ids: Sequence[UUID], batch: int, *, with_entries: bool) -> None:
        """Decide who waits: the orders of this batch, and the waitlist's entries that stand among them."""
        # Read again: somebody may have cancelled between the first look and the lock.
        items = records.read_line(self.session, item_ids)
        self.outcome.more = len(item_ids) == batch
        self.outcome.request_ids = tuple(item.request_id for item in items if item.request_id)
        if self.event.status is not EventStatus.PUBLISHED:
            cancelled = self.event.status is EventStatus.CANCELLED
            self.refuse(items, OrderReason.EVENT_CANCELLED if cancelled else OrderReason.SALE_CLOSED)
            self.advance(items)
            items = []
        # Entries behind the last order that was read must wait for the next round, and orders behind the last entry.
        up_to = max((item.sequence for item in items), default=0) if self.outcome.more else None
        entries = self.find_entries(batch, up_to) if with_entries else []
        if len(entries) == batch and entries[-1].quantity <= self.tier.available:
            items = [item for item in items if item.sequence < entries[-1].sequence]
            self.outcome.more = True
        self.carry_out(self.decide(items, entries), items)
        self.advance(items)

    def advance(self, items: Rows) -> None:
        """Note how far the line has been decided."""
        if items:
            self.tier.decided_until = max(self.tier.decided_until, *(item.sequence for item in items))
            self.tier.decided_at = self.now

    def find_entries(self, limit: int, up_to: int | None) -> list[Claim]:
        """Return the waitlist's entries that this round could serve."""
        return offers.find_waiting(self.session, self.event, self.tier, self.now, limit=limit, up_to=up_to)

    def decide(self, items: Rows, entries: Sequence[Claim]) -> list[Decision]:
        """Apply the rule to orders and entries in their one sequence."""
        return self._apply_rule([*_claims(items), *entries])

    def _apply_rule(self, line: Sequence[Claim]) -> list[Decision]:
        people = {claim.person for claim in line} if self.tier.max_per_person is not None else set()
        return allocate(
            line,
            self.tier.available,
            max_per_person=self.tier.max_per_person,
            already_taken=records.count_per_person(self.session, self.tier.id, people),
            skips_large_groups=self.event.skips_large_groups,
        )

    def carry_out(self, decisions: Sequence[Decision], items: Rows) -> None:
        """Write the decisions down."""
        rows = {item.id: item for item in items}
        orders = [decision for decision in decisions if decision.claim.kind is Kind.ORDER]
        self.take([rows[decision.claim.id] for decision in orders if decision.verdict is Verdict.SERVED])
        for verdict, reason in REASONS.items():
            self.refuse([rows[decision.claim.id] for decision in orders if decision.verdict is verdict], reason)
        chosen = [d.claim for d in decisions if d.claim.kind is Kind.ENTRY and d.verdict is Verdict.SERVED]
        offers.make(self.session, self.event, self.tier, chosen, self.now, self.clocks)
        self.outcome.offered = len(chosen)

    def take(self, items: Rows) -> None:
        """Reserve the stock of these items, and move their orders as far as their other tiers allow."""
        self.tier.reserved += records.set_state(self.session, [item.id for item in items], InventoryState.RESERVED)
        siblings = records.find_siblings(self.session, self.tier.id, [item.order_id for item in items])
        by_stage: dict[OrderStage, list[UUID]] = {}
        for item in items:
            stage = self._stage_of(siblings.get(item.order_id, ()))
            by_stage.setdefault(stage, []).append(item.order_id)
            if stage is OrderStage.HELD:
                announce(self.session, OpenPayment(item.order_id), item.request_id)
        for stage, order_ids in by_stage.items():
            records.hold(self.session, order_ids, stage, self.now, **self._clock_of(stage))
        self.outcome.served = len(items)

    def _stage_of(self, others: Rows) -> OrderStage:
        if any(other.inventory_state != InventoryState.RESERVED for other in others):
            return OrderStage.PARTLY_HELD
        if self.tier.requires_approval or any(other.requires_approval for other in others):
            return OrderStage.AWAITING_APPROVAL
        return OrderStage.HELD

    def _clock_of(self, stage: OrderStage) -> dict[str, datetime]:
        limit = self.now + timedelta(seconds=self.clocks.hold_limit_seconds)
        ends = {
            OrderStage.PARTLY_HELD: self.now + timedelta(seconds=self.clocks.partly_held_seconds),
            OrderStage.AWAITING_APPROVAL: self.now + timedelta(seconds=self.clocks.approval_seconds),
            # The time to pay starts when the buyer can pay; until then only the limit runs.
            OrderStage.HELD: limit,
        }
        return {"expires_at": ends[stage], "limit_at": limit}

    def refuse(self, items: Rows, reason: OrderReason) -> None:
        """Refuse these items, close their orders, and ask the other tiers of those to take their stock back."""
        if not items:
            return
        order_ids = [item.order_id for item in items]
        records.set_state(self.session, [item.id for item in items], InventoryState.REFUSED)
        records.refuse(self.session, order_ids, reason, self.now)
        for tier_id in records.release_siblings(self.session, self.tier.id, order_ids):
            announce(self.session, ServeTier(tier_id))
        self.outcome.refused += len(items)
