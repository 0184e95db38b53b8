"""The consumer of tiers: one round locks what waits, decides by the rule, and writes it down in sets.

Each tier of a round is decided by itself (`domain/turns.py`); all are read and written together, so that a thousand
short lines cost little more than a long one. Only this module changes a tier's counters and an item's inventory state,
and only on the connection that holds the tiers' advisory locks (`workers/fence.py`). Others write wishes and ring.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Row
from sqlalchemy.orm import Session

from domain import allocation_records as records
from domain import code_counters, fairness, offers, tier_rows, whole_line
from domain.allocation_records import Found
from domain.messages import ConcludeLatePayment, OpenPayment, ServeTier, announce
from domain.person_limits import count_per_person
from domain.rules.allocation import Claim, Refusal, Verdict
from domain.rules.clocks import Clocks
from domain.rules.codes import Allowance
from domain.rules.fairness import EntryKind
from domain.rules.states import InventoryState, OrderStage
from domain.turns import Outcome, Rows, Turn, claim_of

Taken = Mapping[UUID, Mapping[UUID, int]]
"""How many tickets people hold, by tier and person."""


def serve(
    session: Session, tier_id: UUID, now: datetime, clocks: Clocks, *, batch: int, only: Sequence[UUID] | None = None
) -> Outcome:
    """Serve one batch of one tier, as `serve_together` does for several."""
    return serve_together(session, [tier_id], now, clocks, batch=batch, only=only)[tier_id]


def serve_together(
    session: Session,
    tier_ids: Sequence[UUID],
    now: datetime,
    clocks: Clocks,
    *,
    batch: int,
    rates: Mapping[UUID, float] | None = None,
    only: Sequence[UUID] | None = None,
) -> dict[UUID, Outcome]:
    """Serve one batch of each of these tiers inside the session's transaction; the caller commits.

    `rates` are what the caller has measured, in orders per second, for the buyers' ETA. With `only`, no other order
    items are looked at, and no waiting entry unless the list is empty: so is the cause of a failing batch found.
    """
    wishes, line = records.find_work(session, tier_ids, batch, only)
    # Orders by id, then events, tiers and codes: the order in which everybody locks.
    records.lock_orders(session, [row.order_id for row in (*wishes.items, *line.items)])
    turns = _lock_turns(session, tier_ids)
    allowances = code_counters.lock(session, [row for row in (*wishes.items, *line.items) if row.code_id is not None])
    a_round = _Round(session, turns, allowances, now, clocks)
    a_round.grant(wishes)
    a_round.edit()
    a_round.reclaim()
    a_round.decide(line, batch, with_entries=not only)
    a_round.take()
    a_round.refuse()
    a_round.offer()
    a_round.note_progress(rates or {})
    a_round.write()
    return dict(zip(a_round.tiers, (turn.outcome for turn in turns), strict=True))


def quarantine(session: Session, item_id: UUID, now: datetime) -> UUID | None:
    """Set an order aside that makes its batch fail, so that the others are served; return the order's id.

    Its other tiers are asked to take their stock back.
    """
    order_id = records.quarantine(session, item_id)
    if order_id is not None:
        tier_id, place = fairness.find_place(session, item_id)
        [turn] = _lock_turns(session, [tier_id])
        # It has left its line undecided; the lock makes its number the next one.
        turn.tier.withdrawn += whole_line.withdraw(session, [item_id], turn.tier.withdrawn)
        turn.log.note(EntryKind.QUARANTINE, place)
        fairness.write(session, [turn.log], now)
        tier_rows.write(session, [turn.tier])
        _release_rest(session, [order_id])
    return order_id


def _lock_turns(session: Session, tier_ids: Sequence[UUID]) -> list[Turn]:
    return [Turn(event, tier) for event, tier in tier_rows.lock(session, tier_ids)]


def _release_rest(session: Session, order_ids: Sequence[UUID]) -> None:
    """Ask the other tiers of ended orders to take their stock back."""
    for tier_id in records.release_rest(session, order_ids):
        announce(session, ServeTier(tier_id))


def _by_tier(rows: Rows) -> Mapping[UUID, list[Row[Any]]]:
    by_tier: dict[UUID, list[Row[Any]]] = defaultdict(list)
    for row in rows:
        by_tier[row.tier_id].append(row)
    return by_tier


def _by_order(items: Rows) -> list[tuple[UUID, str | None, list[UUID]]]:
    """Return each order's id, its request's, and its tiers that were served in this round."""
    tiers: dict[UUID, list[UUID]] = defaultdict(list)
    request_ids = {}
    for item in items:
        tiers[item.order_id].append(item.tier_id)
        request_ids[item.order_id] = item.request_id
    return [(order_id, request_ids[order_id], tier_ids) for order_id, tier_ids in tiers.items()]


class _Round:
    """One round over some tiers, whose rows, events and codes are locked."""

    def __init__(
        self,
        session: Session,
        turns: Sequence[Turn],
        allowances: Mapping[UUID, Allowance],
        now: datetime,
        clocks: Clocks,
    ) -> None:
        self.session, self.turns, self.allowances, self.now, self.clocks = session, turns, allowances, now, clocks
        self.tiers = {turn.tier.id: turn.tier for turn in turns}

    def grant(self, wishes: Found) -> None:
        """Bring items to the states that others asked for."""
        by_tier = _by_tier(wishes.items)
        for turn in self.turns:
            turn.wishes, turn.more = by_tier.get(turn.tier.id, ()), turn.tier.id in wishes.left_over
            # Those who keep the line are told who leaves it undecided. Nobody but this consumer changes an item's
            # state, so who waited at the first look waits still.
            leaving = [wish.id for wish in turn.wishes if wish.waits]
            turn.tier.withdrawn += whole_line.withdraw(self.session, leaving, turn.tier.withdrawn)
        changes = records.grant_wishes(self.session, [wish.id for wish in wishes.items])
        code_counters.give_back(self.allowances, changes)
        granted = _by_tier(changes)
        for turn in self.turns:
            items = granted.get(turn.tier.id, ())
            turn.tier.reserved += sum(item.reserved for item in items)
            turn.tier.sold += sum(item.sold for item in items)
            turn.log.note_releases(items)

    def edit(self) -> None:
        """Change quantities and correct counters where somebody asked for it."""
        for turn in self.turns:
            turn.apply_desired_quantity()
            if turn.tier.recount_due:
                turn.tier.reserved, turn.tier.sold = records.count_again(self.session, turn.tier.id)
                turn.tier.recount_due = False
                turn.log.stock()

    def reclaim(self) -> None:
        """Reserve stock again for payments that came after the end, where it is there: before anybody who waits."""
        items = records.read_reclaims(self.session, [wish.id for turn in self.turns for wish in turn.wishes])
        if not items:
            return
        # An order that was paid before its stock had gone back simply keeps it.
        lapsed = _by_tier([item for item in items if item.inventory_state == InventoryState.RELEASED])
        served = self._reserve_again(lapsed)
        records.decide_reclaims(self.session, [item.id for item in items], [claim.id for claim in served])
        for item in items:
            announce(self.session, ConcludeLatePayment(item.order_id), item.request_id)

    def _reserve_again(self, lapsed: Mapping[UUID, Rows]) -> list[Claim]:
        lines = {turn.tier.id: [claim_of(item) for item in lapsed.get(turn.tier.id, ())] for turn in self.turns}
        taken, served = self._count_taken(lines), []
        for turn in self.turns:
            line = lines[turn.tier.id] if turn.event.is_published else []
            decisions = turn.apply_rule(line, taken.get(turn.tier.id, {}), self.allowances)
            claims = [decision.claim for decision in decisions if decision.verdict is Verdict.SERVED]
            turn.log.note_reclaims(lapsed.get(turn.tier.id, ()), decisions, otherwise=turn.closed_reason)
            turn.tier.reserved += sum(claim.quantity for claim in claims)
            served += claims
        return served

    def _count_taken(self, lines: Mapping[UUID, Sequence[Claim]]) -> Taken:
        """Count what the people in these lines hold already, of tiers that limit it."""
        limited = [
            tier_id for tier_id, line in lines.items() if line and self.tiers[tier_id].max_per_person is not None
        ]
        sought = {(tier_id, claim.person) for tier_id in limited for claim in lines[tier_id]}
        return count_per_person(self.session, sought)

    def decide(self, line: Found, batch: int, *, with_entries: bool) -> None:
        """Decide who waits: the orders of this batch, and the waitlist's entries that stand among them."""
        found = _by_tier(line.items)
        # Nobody is refused while more stock may be coming back.
        turns = [turn for turn in self.turns if turn.moves and not turn.more]
        # Read again: somebody may have cancelled between the first look and the lock.
        ids = [row.id for turn in turns for row in found.get(turn.tier.id, ())]
        items = _by_tier(records.read_line(self.session, ids))
        for turn in turns:
            turn.line, turn.more = items.get(turn.tier.id, ()), turn.tier.id in line.left_over
            if with_entries and turn.tier.has_entries:
                turn.entries = self._find_entries(turn, batch)
        taken = self._count_taken({turn.tier.id: turn.claims for turn in turns})
        for turn in turns:
            turn.decide(batch, taken.get(turn.tier.id, {}), self.allowances)

    def _find_entries(self, turn: Turn, limit: int) -> list[Claim]:
        # Entries behind the last order that was read must wait for the next round.
        up_to = max((item.sequence for item in turn.line), default=0) if turn.more else None
        return offers.find_waiting(self.session, turn.event, turn.tier, self.now, limit=limit, up_to=up_to)

    def take(self) -> None:
        """Reserve the stock of the items that are served, and move their orders as far as all their tiers allow."""
        items = [item for turn in self.turns for item in turn.served]
        taken = [item.id for item in items]
        for change in records.set_state(self.session, taken, InventoryState.RESERVED):
            self.tiers[change.tier_id].reserved += change.quantity
        siblings = records.find_siblings(self.session, [item.order_id for item in items if item.has_siblings], taken)
        by_stage: dict[OrderStage, list[UUID]] = defaultdict(list)
        for order_id, request_id, tier_ids in _by_order(items):
            stage = self._stage_of(tier_ids, siblings.get(order_id, ()))
            by_stage[stage].append(order_id)
            if stage is OrderStage.HELD:
                announce(self.session, OpenPayment(order_id), request_id)
        for stage, order_ids in by_stage.items():
            records.hold(self.session, order_ids, stage, self.now, **self._clock_of(stage))

    def _stage_of(self, tier_ids: Sequence[UUID], others: Rows) -> OrderStage:
        if any(other.inventory_state != InventoryState.RESERVED for other in others):
            return OrderStage.PARTLY_HELD
        if any(self.tiers[tier_id].requires_approval for tier_id in tier_ids):
            return OrderStage.AWAITING_APPROVAL
        if any(other.requires_approval for other in others):
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

    def refuse(self) -> None:
        """Close the orders of refused items, and ask the other tiers of those to take their stock back."""
        by_refusal: dict[Refusal, list[Row[Any]]] = defaultdict(list)
        for turn in self.turns:
            for refusal, items in turn.refused.items():
                by_refusal[refusal] += items
        refused = [item for items in by_refusal.values() for item in items]
        records.set_state(self.session, [item.id for item in refused], InventoryState.REFUSED)
        for refusal, items in by_refusal.items():
            records.refuse(self.session, [item.order_id for item in items], refusal, self.now)
        _release_rest(self.session, [item.order_id for item in refused if item.has_siblings])

    def offer(self) -> None:
        """Hold stock for the waiting entries that are served, and say what became of each line."""
        for turn in self.turns:
            turn.note_line(offers.make(self.session, turn.tier, turn.offered, self.now, self.clocks))

    def note_progress(self, rates: Mapping[UUID, float]) -> None:
        """Note how far each line has been decided, and how fast: buyers' places and times are made from it."""
        for turn in self.turns:
            if decided := turn.decided_sequences:
                turn.tier.decided_until = max(turn.tier.decided_until, *decided)
                turn.tier.decided_at = self.now
                turn.tier.service_rate = rates.get(turn.tier.id, turn.tier.service_rate)

    def write(self) -> None:
        """Write the codes' counters, the logs, and the tiers that have changed."""
        code_counters.write(self.session, self.allowances)
        fairness.write(self.session, [turn.log for turn in self.turns], self.now)
        tier_rows.write(self.session, [turn.tier for turn in self.turns if turn.has_changed_tier])
