"""What is on sale right now: one cheap, read-only picture of tiers, for the pages that show and the edge that sells.

It is a picture, not a promise: only the tier's consumer hands tickets out.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    FromClause,
    Row,
    Select,
    TextClause,
    func,
    literal_column,
    or_,
    select,
    text,
    true,
)
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import InstrumentedAttribute, Session

from domain.line import COUNTED
from domain.models import Event, OrderItem, TicketTier, Waitlist
from domain.person_limits import within_limit
from domain.rules.availability import sellable
from domain.rules.fairness import Head
from domain.rules.money import charge_step, minimum_charge
from domain.rules.pricing import Terms
from domain.rules.states import EventStatus, WaitlistStatus
from domain.whole_line import Crowd

WAITING_READ = 1000
"""How many waiting groups are looked at; the consumer works such a line off within seconds."""


@dataclass(frozen=True, slots=True)
class Offer:
    """A tier as a buyer meets it, together with what the event says about it."""

    tier_id: UUID
    event_id: UUID
    event_title: str
    event_status: EventStatus
    is_private: bool
    event_starts_at: datetime
    event_ends_at: datetime
    skips_large_groups: bool
    name: str
    unit_price: int
    currency: str
    terms: Terms
    min_per_order: int
    max_per_order: int
    max_per_person: int | None
    sale_starts_at: datetime | None
    sale_ends_at: datetime | None
    requires_approval: bool
    is_active: bool
    is_hidden: bool
    is_paused: bool
    quantity: int
    sold: int
    reserved: int
    is_draining: bool
    service_rate: float | None
    decided_until: int
    withdrawn: int
    line: Crowd
    """Who waits in the tier's line, at most `COUNTED` orders."""
    waiting: tuple[int, ...]
    """Sizes of the waitlist's groups in their order, where stock is free that they might take."""
    fairness_position: int
    fairness_hash: bytes

    @property
    def free(self) -> int:
        """What is neither sold nor reserved."""
        return self.quantity - self.sold - self.reserved

    @property
    def available(self) -> int:
        """What is free, minus what waiting groups that fit would take."""
        return sellable(self.free, self.waiting, skips_large_groups=self.skips_large_groups)

    @property
    def fairness_head(self) -> Head:
        """Where the tier's public log ends."""
        return Head(self.fairness_position, self.fairness_hash)

    @property
    def is_sold_out(self) -> bool:
        """Whether not even the smallest order would fit."""
        return self.available < self.min_per_order

    @property
    def is_public(self) -> bool:
        """Whether anybody may know of it."""
        return self.has_public_event and not self.is_hidden

    @property
    def has_public_event(self) -> bool:
        """Whether anybody may know of its event; a hidden tier of that needs a code."""
        return not self.is_private and self.event_status is not EventStatus.DRAFT

    def is_on_sale(self, now: datetime) -> bool:
        """Tell whether orders are accepted at this moment; a paused tier accepts them and serves them later."""
        return self.is_open(now) and not self.is_draining

    def is_open(self, now: datetime) -> bool:
        """Tell whether the sale is open, even if the tier is being drained."""
        return (
            self.event_status is EventStatus.PUBLISHED
            and self.is_active
            and (self.sale_starts_at is None or self.sale_starts_at <= now)
            and (self.sale_ends_at is None or now < self.sale_ends_at)
            and now < self.event_ends_at
        )


def read_offers(session: Session, tier_ids: Collection[UUID]) -> dict[UUID, Offer]:
    """Read these tiers in one query; unknown ones, and those of deleted events, are left out."""
    return _read(session, _OF_TIERS, {"tier_ids": list(tier_ids)})


def read_event_offers(session: Session, event_id: UUID) -> dict[UUID, Offer]:
    """Read the tiers of an event, in the promoter's order."""
    return _read(session, _OF_EVENT, {"event_id": event_id})


def _read(session: Session, offers: TextClause, values: Mapping[str, Any]) -> dict[UUID, Offer]:
    return {row.tier_id: _offer(row) for row in session.execute(offers, values)}


def _offer(row: Row[Any]) -> Offer:
    values = row._asdict()
    rates = {name: values.pop(name) for name in ("fee_rate_bps", "fee_fixed", "absorbs_fees", "tax_rate_bps")}
    terms = Terms(**rates, step=charge_step(row.currency), minimum=minimum_charge(row.currency))
    line = Crowd(values.pop("line_orders"), values.pop("line_quantity"))
    status, waiting = EventStatus(row.event_status), tuple(row.waiting)
    return Offer(**{**values, "event_status": status, "terms": terms, "waiting": waiting, "line": line})


def _waiting_groups() -> ColumnElement[Any]:
    free = TicketTier.quantity - TicketTier.sold - TicketTier.reserved
    groups = (
        select(Waitlist.quantity)
        .where(Waitlist.tier_id == TicketTier.id, Waitlist.status == WaitlistStatus.WAITING, free > 0)
        .where(or_(~Event.skips_large_groups, Waitlist.quantity <= free), within_limit())
        .order_by(Waitlist.sequence)
        .limit(WAITING_READ)
        .correlate(TicketTier, Event)
    )
    return func.array(groups.scalar_subquery()).label("waiting")


def _line() -> FromClause:
    """Return how many wait in the tier's line, and what they want, as far as it is counted."""
    counted = (
        select(OrderItem.quantity)
        .where(OrderItem.tier_id == TicketTier.id, text("inventory_state = 'queued' AND desired_state IS NULL"))
        .order_by(OrderItem.sequence)
        .limit(COUNTED)
        .correlate(TicketTier)
        .subquery()
    )
    orders, quantity = func.count().label("orders"), func.coalesce(func.sum(counted.c.quantity), 0).label("quantity")
    return select(orders, quantity).select_from(counted).lateral("line")


def _select_offers() -> Select[Any]:
    line = _line()
    joined = select(*_columns(), line.c.orders.label("line_orders"), line.c.quantity.label("line_quantity"))
    joined = joined.join(Event, Event.id == TicketTier.event_id).join(line, true())
    return joined.where(Event.deleted_at.is_(None))


def _columns() -> Sequence[ColumnElement[Any] | InstrumentedAttribute[Any]]:
    return (
        TicketTier.id.label("tier_id"),
        TicketTier.event_id,
        Event.title.label("event_title"),
        Event.status.label("event_status"),
        Event.is_private,
        Event.starts_at.label("event_starts_at"),
        Event.ends_at.label("event_ends_at"),
        Event.skips_large_groups,
        Event.currency,
        Event.fee_rate_bps,
        Event.fee_fixed,
        Event.absorbs_fees,
        Event.tax_rate_bps,
        TicketTier.name,
        TicketTier.price.label("unit_price"),
        TicketTier.min_per_order,
        TicketTier.max_per_order,
        TicketTier.max_per_person,
        TicketTier.sale_starts_at,
        TicketTier.sale_ends_at,
        TicketTier.requires_approval,
        TicketTier.is_active,
        TicketTier.is_hidden,
        TicketTier.is_paused,
        TicketTier.quantity,
        TicketTier.sold,
        TicketTier.reserved,
        TicketTier.is_draining,
        TicketTier.service_rate,
        TicketTier.decided_until,
        TicketTier.withdrawn,
        _waiting_groups(),
        TicketTier.fairness_position,
        TicketTier.fairness_hash,
    )


def _spell(which: str) -> TextClause:
    """Return the query as text: to find what it was compiled to, SQLAlchemy takes five times as long as the query."""
    query = _select_offers().where(literal_column(which)).order_by(TicketTier.sort_order, TicketTier.id)
    dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
    return text(str(query.compile(dialect=dialect, compile_kwargs={"literal_binds": True})))


_OF_TIERS = _spell("ticket_tiers.id = ANY(:tier_ids)")
_OF_EVENT = _spell("ticket_tiers.event_id = :event_id")
