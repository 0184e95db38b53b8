"""Events that are published and on sale, their tiers, and notices about their orders."""

from datetime import timedelta

import factory

from domain.models import ApprovalNotice, Event, TicketTier
from domain.rules.states import EventStatus
from tests.factories.accounts import PromoterFactory
from tests.factories.base import RowFactory, from_now


class EventFactory(RowFactory):
    class Meta:
        model = Event

    promoter = factory.SubFactory(PromoterFactory)
    title = factory.Sequence(lambda n: f"Concert {n}")
    slug = factory.Sequence(lambda n: f"concert-{n}")
    description = "An evening of music."
    category = "music"
    tags = factory.LazyFunction(lambda: ["live", "indie"])
    starts_at = factory.LazyFunction(lambda: from_now(days=30))
    ends_at = factory.LazyAttribute(lambda event: event.starts_at + timedelta(hours=3))
    timezone = "Europe/Berlin"
    venue_name = "Columbiahalle"
    city = "Berlin"
    country = "DE"
    status = EventStatus.PUBLISHED
    capacity = 10_000
    currency = "EUR"
    fee_rate_bps = 250
    fee_fixed = 50
    tax_rate_bps = 1900
    published_at = factory.LazyAttribute(lambda event: None if event.status == EventStatus.DRAFT else from_now(days=-1))
    cancelled_at = factory.LazyAttribute(
        lambda event: from_now(hours=-1) if event.status == EventStatus.CANCELLED else None
    )


class TicketTierFactory(RowFactory):
    class Meta:
        model = TicketTier

    event = factory.SubFactory(EventFactory)
    name = factory.Sequence(lambda n: f"Tier {n}")
    price = 4_500
    quantity = 100
    max_per_order = factory.LazyAttribute(lambda tier: max(10, tier.min_per_order))
    min_per_order = 1


class ApprovalNoticeFactory(RowFactory):
    """By default orders wait of which nobody has heard."""

    class Meta:
        model = ApprovalNotice

    event_id = factory.LazyFunction(lambda: EventFactory().id)
    has_news = True
