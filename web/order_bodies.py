"""How an order is shown: rows in, body out. What it says is decided by the domain."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy.orm import Session

from domain.audit import Actor
from domain.fairness import PlaceInLine, place_of
from domain.line import Place
from domain.models import Order, PaymentTransaction, Ticket
from domain.orders import Placement
from domain.payments.refund_policy import may_refund
from domain.payments.returned_tickets import LIVE
from domain.purchases import Offers, Purchase
from domain.rules.lifecycle import CONFIRMED, ENDED, PAYABLE
from domain.rules.states import OrderSource, OrderStage, OrderStatus, PaymentStatus
from domain.storefront import Offer
from web.addresses import API
from web.receipts import Receipts
from web.schemas.orders import (
    AmountsBody,
    HoldBody,
    ItemBody,
    OrderBody,
    OrderLinks,
    OrderTicketBody,
    PaymentBody,
    PaymentErrorBody,
    QueueBody,
    TimelineBody,
)


def order_body(
    session: Session,
    order: Order,
    *,
    place: Place | None,
    attempt: PaymentTransaction | None,
    tickets: Sequence[Ticket],
    viewer: Actor,
    receipts: Receipts,
    now: datetime,
) -> OrderBody:
    """Return an order's body; the client secret and the receipts are in the buyer's own only."""
    is_buyer = viewer.user_id == order.user_id
    return OrderBody(
        id=order.id,
        number=order.number,
        event_id=order.event_id,
        event_title=order.event.title,
        status=order.status,
        stage=order.stage,
        reason=order.reason,
        payment_status=order.payment_status,
        source=order.source,
        sequence=order.sequence,
        code=order.code,
        queue=_queue(place),
        hold=HoldBody(expires_at=order.promised_until) if order.promised_until else None,
        payment=_payment(order, attempt, is_buyer=is_buyer),
        amounts=AmountsBody.model_validate(order),
        items=_items(order, receipts, is_buyer=is_buyer),
        tickets=[_ticket(ticket, is_handed_on=is_buyer and ticket.holder_id != order.user_id) for ticket in tickets],
        timeline=[TimelineBody.model_validate(entry) for entry in order.timeline],
        created_at=order.created_at,
        server_time=now,
        links=_links(order, may_refund=may_refund(session, order, tickets, viewer, now)),
    )


def placed_body(
    order_id: UUID,
    placement: Placement,
    purchase: Purchase,
    offers: Offers,
    *,
    place: Place | None,
    receipts: Receipts,
    now: datetime,
) -> OrderBody:
    """Return the body of an order that was just accepted, as `order_body` would after reading it."""
    offer, here = offers[purchase.wishes[0].tier_id], f"{API}/orders/{order_id}"
    return OrderBody(
        id=order_id,
        number=placement.number,
        event_id=purchase.event_id,
        event_title=offer.event_title,
        status=OrderStatus.PENDING,
        stage=OrderStage.QUEUED,
        reason=None,
        payment_status=PaymentStatus.PENDING,
        source=OrderSource.DIRECT,
        sequence=placement.sequence,
        code=purchase.code,
        queue=_queue(place),
        hold=None,
        payment=None,
        amounts=_placed_amounts(placement, offer.currency),
        items=_placed_items(order_id, placement, [offers[wish.tier_id] for wish in purchase.wishes], receipts),
        tickets=[],
        timeline=[TimelineBody(at=placement.accepted_at, kind="accepted", data={})],
        created_at=placement.created_at,
        server_time=now,
        links=OrderLinks(
            self=here, event=f"{API}/events/{purchase.event_id}", confirm=None, cancel=f"{here}/cancel", refund=None
        ),
    )


def _placed_amounts(placement: Placement, currency: str) -> AmountsBody:
    totals = placement.totals
    return AmountsBody(
        currency=currency,
        discount=sum(line.discount for line in placement.lines),
        subtotal=totals.subtotal,
        fees=totals.fees,
        tax=totals.tax,
        total=totals.total,
        refunded=0,
    )


def _placed_items(order_id: UUID, placement: Placement, offers: Sequence[Offer], receipts: Receipts) -> list[ItemBody]:
    items = []
    for offer, line, salt in zip(offers, placement.lines, placement.salts, strict=True):
        place = PlaceInLine(order_id, placement.sequence, line.quantity, placement.created_at, salt)
        items.append(
            ItemBody(
                tier_id=offer.tier_id,
                tier_name=offer.name,
                quantity=line.quantity,
                unit_price=line.unit_price,
                discount=line.discount,
                subtotal=line.subtotal,
                fees=line.fees,
                tax=line.tax,
                receipt=receipts.receipt(place, offer.tier_id),
                head=receipts.sign(offer.tier_id, offer.fairness_head),
            )
        )
    return items


def _queue(place: Place | None) -> QueueBody | None:
    if place is None:
        return None
    return QueueBody(
        position=place.position,
        ahead=place.ahead,
        eta_seconds=place.eta_seconds,
        outlook=place.outlook,
        paused=place.is_paused,
    )


def _payment(order: Order, attempt: PaymentTransaction | None, *, is_buyer: bool) -> PaymentBody | None:
    if order.stripe_payment_intent_id is None:
        return None
    error = PaymentErrorBody(code=attempt.error_code, message=attempt.error_message) if attempt else None
    return PaymentBody(
        provider="stripe",
        intent_id=order.stripe_payment_intent_id,
        client_secret=order.stripe_client_secret if is_buyer and order.stage in PAYABLE else None,
        next_action=attempt.next_action if attempt is not None and is_buyer else None,
        last_error=error if attempt is not None and attempt.has_error else None,
    )


def _items(order: Order, receipts: Receipts, *, is_buyer: bool) -> list[ItemBody]:
    heads = receipts.heads([item.tier_id for item in order.items])
    return [
        ItemBody(
            tier_id=item.tier_id,
            tier_name=item.tier.name,
            quantity=item.quantity,
            unit_price=item.unit_price,
            discount=item.discount,
            subtotal=item.subtotal,
            fees=item.fees,
            tax=item.tax,
            receipt=receipts.receipt(place_of(item, order), item.tier_id) if is_buyer else None,
            head=heads[item.tier_id],
        )
        for item in order.items
    ]


def _ticket(ticket: Ticket, *, is_handed_on: bool) -> OrderTicketBody:
    """Describe a ticket; whoever handed theirs on is not told whose it is now."""
    return OrderTicketBody(
        id=ticket.id,
        tier_id=ticket.tier_id,
        status=ticket.status,
        refund_pending=ticket.refund_id is not None and ticket.status in LIVE,
        attendee_name=None if is_handed_on else ticket.attendee_name,
        ready=ticket.qr_payload is not None,
        link=None if is_handed_on else f"{API}/tickets/{ticket.id}",
    )


def _links(order: Order, *, may_refund: bool) -> OrderLinks:
    here = f"{API}/orders/{order.id}"
    may_cancel = order.stage not in ENDED | CONFIRMED | {OrderStage.EXPIRING}
    return OrderLinks(
        self=here,
        event=f"{API}/events/{order.event_id}",
        confirm=f"{here}/confirm" if order.stage in PAYABLE else None,
        cancel=f"{here}/cancel" if may_cancel else None,
        refund=f"{here}/refund" if may_refund else None,
    )
