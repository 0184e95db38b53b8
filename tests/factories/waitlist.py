"""Entries of the waitlist: waiting for a tier that has nothing left, or offered an order that holds its stock."""

import factory

from domain.models import Waitlist
from domain.rules.states import OrderStage, WaitlistStatus
from tests.factories.accounts import UserFactory
from tests.factories.base import RowFactory, from_now
from tests.factories.catalog import TicketTierFactory
from tests.factories.orders import OrderFactory


class WaitlistFactory(RowFactory):
    """`status="offered"` makes the offered order too, at the entry's place in the line."""

    class Meta:
        model = Waitlist

    user = factory.SubFactory(UserFactory)
    quantity = 1
    status = WaitlistStatus.WAITING
    tier = factory.LazyAttribute(
        lambda entry: TicketTierFactory(quantity=entry.quantity if entry.status == WaitlistStatus.OFFERED else 0)
    )
    event_id = factory.SelfAttribute("tier.event_id")
    offered_order = factory.LazyAttribute(
        lambda entry: (
            OrderFactory(stage=OrderStage.OFFERED, user=entry.user, tier=entry.tier, quantity=entry.quantity)
            if entry.status == WaitlistStatus.OFFERED
            else None
        )
    )
    offered_at = factory.LazyAttribute(lambda entry: from_now() if entry.offered_order else None)
    offer_expires_at = factory.LazyAttribute(lambda entry: from_now(minutes=30) if entry.offered_order else None)

    @classmethod
    def _adjust_kwargs(cls, **values):
        if values["offered_order"] is not None:
            values.setdefault("sequence", values["offered_order"].sequence)
        return values
