"""Purchases for tests of orders, and their acceptance."""

from datetime import UTC, datetime

from uuid_utils.compat import uuid7

from domain import orders
from domain.errors import DomainError
from domain.models import Order
from domain.purchases import Arrival, Purchase, Wish
from domain.rules.admission import AdmissionLimits
from domain.storefront import read_offers
from tests.factories import UserFactory

NOW = datetime.now(UTC)


def purchase_of(*wishes, buyer=None, event_id=None, **values):
    """Return a purchase of `(tier, quantity)` pairs."""
    return Purchase(
        buyer_id=buyer or UserFactory().id,
        event_id=event_id or wishes[0][0].event_id,
        wishes=[Wish(tier.id, quantity) for tier, quantity in wishes],
        **{"idempotency_key": str(uuid7()), "fingerprint": "f" * 64, **values},
    )


LIMITS = AdmissionLimits(line_limit=50_000, line_stock_factor=3, line_spare=1000, waiting_orders_per_person=5)


def accept(session, purchase, limits=LIMITS):
    """Accept a purchase by a picture of its tiers taken now."""
    (outcome,) = orders.accept(session, [arrival_of(session, purchase)], limits)
    if isinstance(outcome, DomainError):
        raise outcome
    return outcome


def arrival_of(session, purchase):
    return Arrival(purchase, read_offers(session, [wish.tier_id for wish in purchase.wishes]), NOW)


def read(session, acceptance):
    return orders.find(
        session, acceptance.order_id, orders.Actor(user_id=session.get(Order, acceptance.order_id).user_id)
    )
