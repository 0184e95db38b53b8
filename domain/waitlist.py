"""The waitlist as its people meet it: join, leave, answer an offer; and the mail that tells of one.

Stock moves only in the tier's queue: offers are made by its consumer (`domain/offers.py`).
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session, joinedload, undefer

from domain import audit
from domain.allocation_records import count_per_person
from domain.audit import Actor
from domain.errors import ConflictError, InvalidError, NotFoundError
from domain.line import COUNTED
from domain.messages import Message, NotifyOffer, OpenPayment, ServeTier, announce
from domain.models import Order, TicketTier, User, Waitlist
from domain.models.base import SALE_SEQUENCE
from domain.notifications import queue_mail
from domain.rules.clocks import Clocks
from domain.rules.states import OrderReason, OrderStage, WaitlistStatus
from domain.storefront import Offer, read_offers
from domain.transitions import close, lock_order, move
from domain.whole_line import LAST_NUMBER, count_between

STALLED_LIMIT = 500
_IN_LINE = {WaitlistStatus.WAITING, WaitlistStatus.OFFERED}


def join(session: Session, person: Actor, event_id: UUID, tier_id: UUID, quantity: int, now: datetime) -> Waitlist:
    """Put a person into the line of a sold-out tier; whoever comes back takes a new number in their old row.

    Raises `InvalidError` for a tier that the event does not have, `ConflictError` if tickets are left, the sale is
    closed, the quantity is outside the limits, or the person stands in the line already.
    """
    offer = read_offers(session, [tier_id]).get(tier_id)
    if offer is None or offer.event_id != event_id or not offer.is_public:
        raise InvalidError("This event has no such tier.", pointer="/tier_id")
    _require_waitable(offer, quantity, now)
    if offer.available - _wanted_by_line(session, offer) >= quantity:
        raise ConflictError(f"{offer.name} has tickets left: buy them.", code="not-sold-out")
    _require_room_for(session, person, offer, quantity)
    place = {"user_id": person.user_id, "event_id": event_id, "tier_id": tier_id}
    # Whoever asks twice at once waits here for the first, and then meets its row.
    entry = session.scalar(
        insert(Waitlist).values(**place, quantity=quantity).on_conflict_do_nothing().returning(Waitlist)
    )
    if entry is None:
        entry = _rejoin(session, place, quantity)
    audit.record(session, person, "waitlist.join", entry, new={"tier_id": str(tier_id), "quantity": quantity})
    # Stock may have come back between the look and the insert.
    announce(session, ServeTier(tier_id))
    return entry


def _require_waitable(offer: Offer, quantity: int, now: datetime) -> None:
    if not offer.is_on_sale(now):
        raise ConflictError(f"{offer.name} is not on sale.", code="sale-closed")
    most = min(offer.max_per_order, offer.max_per_person or offer.max_per_order)
    if not offer.min_per_order <= quantity <= most:
        raise ConflictError(
            f"An order of {offer.name} has {offer.min_per_order} to {most} tickets.",
            code="limit-exceeded",
            pointer="/quantity",
        )


def _wanted_by_line(session: Session, offer: Offer) -> int:
    """Return what those in line want, all of them: they go first, and the edge may refuse others because of them."""
    is_counted = offer.line.orders < COUNTED
    return offer.line.quantity if is_counted else count_between(session, offer.tier_id, 0, LAST_NUMBER).quantity


def _require_room_for(session: Session, person: Actor, offer: Offer, quantity: int) -> None:
    if offer.max_per_person is None or person.user_id is None:
        return
    by_tier = count_per_person(session, [offer.tier_id], [person.user_id])
    taken = by_tier.get(offer.tier_id, {}).get(person.user_id, 0)
    if taken + quantity > offer.max_per_person:
        raise ConflictError(
            f"One person may have {offer.max_per_person} tickets of {offer.name}, and you have {taken}.",
            code="limit-exceeded",
            pointer="/quantity",
        )


def _rejoin(session: Session, place: Mapping[str, UUID | None], quantity: int) -> Waitlist:
    own = select(Waitlist).filter_by(**place).with_for_update(key_share=True)
    entry = session.scalars(own.execution_options(populate_existing=True)).one()
    if entry.status in _IN_LINE:
        raise ConflictError("You stand in this line already.", code="already-waiting")
    entry.sequence = session.scalar(SALE_SEQUENCE)
    entry.quantity = quantity
    entry.status = WaitlistStatus.WAITING
    entry.offered_at = entry.notified_at = entry.offer_expires_at = None
    entry.responded_at = entry.response = entry.offered_order_id = entry.unoffered_reason = None
    session.flush()
    return entry


def find(session: Session, entry_id: UUID, person: Actor) -> Waitlist:
    """Return a person's own entry with its position; raise `NotFoundError` for anybody else's."""
    entry = session.scalar(
        select(Waitlist)
        .where(Waitlist.id == entry_id, Waitlist.user_id == person.user_id)
        .options(joinedload(Waitlist.tier), joinedload(Waitlist.event), undefer(Waitlist.position))
        .execution_options(populate_existing=True)
    )
    if entry is None:
        raise NotFoundError("waitlist entry")
    return entry


def list_own(session: Session, person: Actor, *, limit: int, after: UUID | None) -> Sequence[Waitlist]:
    """Return a person's entries, newest first, one more than `limit` if there are more."""
    query = (
        select(Waitlist)
        .where(Waitlist.user_id == person.user_id)
        .options(joinedload(Waitlist.tier), joinedload(Waitlist.event), undefer(Waitlist.position))
        .order_by(Waitlist.id.desc())
        .limit(limit + 1)
    )
    return session.scalars(query if after is None else query.where(Waitlist.id < after)).all()


def leave(session: Session, entry_id: UUID, person: Actor, now: datetime) -> None:
    """Leave the line, or decline the offer that stands; repeating it changes nothing."""
    order, entry = _lock_entry(session, entry_id, person)
    if order is not None and entry.status is WaitlistStatus.OFFERED:
        _decline(session, order, entry, now)
    elif entry.status is WaitlistStatus.WAITING:
        entry.status = WaitlistStatus.LEFT
    else:
        return
    audit.record(session, person, "waitlist.leave", entry)


def accept(session: Session, entry_id: UUID, person: Actor, clocks: Clocks, now: datetime) -> UUID:
    """Take the offer: its order goes on to payment, inside the offer's clock; return the order's id.

    Raises `ConflictError` if no offer stands. Repeating it answers the same order.
    """
    order, entry = _lock_entry(session, entry_id, person)
    if order is not None and entry.status is WaitlistStatus.ACCEPTED:
        return order.id
    if order is None or entry.status is not WaitlistStatus.OFFERED or order.stage is not OrderStage.OFFERED:
        raise ConflictError("There is no offer to accept.", code="no-offer")
    if order.hold_expires_at is None or order.hold_expires_at <= now:
        raise ConflictError("The offer has expired.", code="offer-expired")
    if session.get_one(TicketTier, entry.tier_id).requires_approval:
        move(session, order, OrderStage.AWAITING_APPROVAL, "offer_accepted")
        order.hold_expires_at = now + timedelta(seconds=clocks.approval_seconds)
    else:
        move(session, order, OrderStage.HELD, "offer_accepted")
        # The time to pay runs inside the offer's.
        order.hold_limit_at = order.hold_expires_at = min(clocks.latest_end(now), order.hold_expires_at or now)
        announce(session, OpenPayment(order.id), order.request_id)
    entry.status, entry.response, entry.responded_at = WaitlistStatus.ACCEPTED, "accepted", now
    audit.record(session, person, "waitlist.accept", entry)
    return order.id


def decline(session: Session, entry_id: UUID, person: Actor, now: datetime) -> None:
    """Refuse the offer: its stock goes to the next in line. Raises `ConflictError` if no offer stands."""
    order, entry = _lock_entry(session, entry_id, person)
    if entry.status is WaitlistStatus.DECLINED:
        return
    if order is None or entry.status is not WaitlistStatus.OFFERED:
        raise ConflictError("There is no offer to decline.", code="no-offer")
    _decline(session, order, entry, now)
    audit.record(session, person, "waitlist.decline", entry)


def _decline(session: Session, order: Order, entry: Waitlist, now: datetime) -> None:
    entry.status, entry.response, entry.responded_at = WaitlistStatus.DECLINED, "declined", now
    session.flush()
    close(session, order, OrderReason.DECLINED, now)


def _lock_entry(session: Session, entry_id: UUID, person: Actor) -> tuple[Order | None, Waitlist]:
    """Lock a person's own entry, and before it, as everybody does, the order that was offered."""
    own = (Waitlist.id == entry_id, Waitlist.user_id == person.user_id)
    while True:
        with session.begin_nested() as savepoint:
            order_id = session.scalar(select(Waitlist.offered_order_id).where(*own))
            order = lock_order(session, order_id) if order_id is not None else None
            entry = session.scalar(
                select(Waitlist).where(*own).with_for_update(key_share=True).execution_options(populate_existing=True)
            )
            if entry is None:
                raise NotFoundError("waitlist entry")
            if entry.offered_order_id == order_id:
                return order, entry
            # The consumer made an offer meanwhile: let go, so that its order can be locked first.
            savepoint.rollback()


def notify(session: Session, entry_id: UUID, now: datetime) -> None:
    """Put the mail of an offer into the outbox, once."""
    entry = session.scalar(select(Waitlist).where(Waitlist.id == entry_id).with_for_update(key_share=True))
    if entry is None or not entry.can_notify:
        return
    person = session.get_one(User, entry.user_id)
    queue_mail(
        session,
        template="waitlist_offer",
        purpose=f"waitlist_offer:{entry.offered_order_id}",
        recipient=person.email,
        recipient_name=person.full_name,
        user_id=person.id,
        order_id=entry.offered_order_id,
    )
    entry.notified_at = now


def stalled(session: Session, before: datetime) -> list[Message]:
    """Return the messages that should be sent again: offers made before then whose mail was not written."""
    late = select(Waitlist.id).where(
        Waitlist.status == WaitlistStatus.OFFERED, Waitlist.notified_at.is_(None), Waitlist.offered_at < before
    )
    return [
        NotifyOffer(entry_id) for entry_id in session.scalars(late.order_by(Waitlist.offered_at).limit(STALLED_LIMIT))
    ]
