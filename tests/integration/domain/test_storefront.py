from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import event as sql_event
from uuid_utils.compat import uuid7

from domain.rules.pricing import Terms
from domain.rules.states import EventStatus, WaitlistStatus
from domain.storefront import read_event_offers, read_offers
from tests.factories import EventFactory, TicketTierFactory, WaitlistFactory, bound_to

NOW = datetime(2027, 5, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


@pytest.fixture
def rows(session):
    with bound_to(session):
        yield session


def offer_of(session, tier):
    return read_offers(session, [tier.id])[tier.id]


def test_an_offer_is_the_tier_with_what_its_event_says(session, rows):
    event = EventFactory(absorbs_fees=True)
    tier = TicketTierFactory(event=event, price=4500, quantity=10, sold=3, reserved=2, max_per_person=4)
    offer = offer_of(session, tier)
    assert (offer.event_id, offer.unit_price, offer.currency, offer.max_per_person) == (event.id, 4500, "EUR", 4)
    assert offer.terms == Terms(fee_rate_bps=250, fee_fixed=50, absorbs_fees=True, tax_rate_bps=1900, minimum=50)
    assert (offer.available, offer.is_sold_out, offer.is_public) == (5, False, True)


def test_many_tiers_take_one_query(session, rows):
    tiers = [TicketTierFactory() for _ in range(3)]
    statements = []
    connection = session.connection()
    sql_event.listen(connection, "before_cursor_execute", lambda *args: statements.append(args[2]))
    offers = read_offers(session, [*(tier.id for tier in tiers), uuid7()])
    assert set(offers) == {tier.id for tier in tiers}
    assert len(statements) == 1


def test_tiers_of_a_deleted_event_are_not_offered(session, rows):
    tier = TicketTierFactory(event=EventFactory(deleted_at=NOW))
    assert read_offers(session, [tier.id]) == {}


def test_an_events_offers_come_in_the_promoters_order(session, rows):
    event = EventFactory()
    last, first = TicketTierFactory(event=event, sort_order=2), TicketTierFactory(event=event, sort_order=1)
    TicketTierFactory()
    assert list(read_event_offers(session, event.id)) == [first.id, last.id]


class TestAvailable:
    def test_waiting_entries_that_fit_come_first(self, session, rows):
        tier = TicketTierFactory(quantity=5)
        for quantity in (4, 3):
            WaitlistFactory(tier=tier, quantity=quantity)
        WaitlistFactory(tier=tier, quantity=1, status=WaitlistStatus.LEFT)
        assert offer_of(session, tier).waiting == (4, 3)
        assert offer_of(session, tier).available == 1

    def test_a_large_group_is_passed_over_where_the_event_allows_it(self, session, rows):
        tier = TicketTierFactory(quantity=3)
        WaitlistFactory(tier=tier, quantity=4)
        assert offer_of(session, tier).available == 3
        tier.event.skips_large_groups = False
        assert offer_of(session, tier).available == 0

    def test_a_sold_out_tier_does_not_read_its_waitlist(self, session, rows):
        tier = TicketTierFactory(quantity=3, sold=3)
        WaitlistFactory(tier=tier, quantity=1)
        offer = offer_of(session, tier)
        assert (offer.waiting, offer.available, offer.is_sold_out) == ((), 0, True)

    def test_fewer_seats_than_the_smallest_order_are_sold_out(self, session, rows):
        assert offer_of(session, TicketTierFactory(quantity=1, min_per_order=2)).is_sold_out


class TestSale:
    @pytest.mark.parametrize(
        ("tier", "event", "is_on_sale"),
        [
            ({}, {}, True),
            ({"is_paused": True}, {}, True),
            ({"is_active": False}, {}, False),
            ({"sale_starts_at": NOW}, {}, True),
            ({"sale_starts_at": NOW + HOUR}, {}, False),
            ({"sale_ends_at": NOW + HOUR}, {}, True),
            ({"sale_ends_at": NOW}, {}, False),
            ({"sale_ends_at": NOW + HOUR}, {"starts_at": NOW - HOUR, "ends_at": NOW}, False),
            ({}, {"status": EventStatus.DRAFT}, False),
            ({}, {"status": EventStatus.CANCELLED}, False),
            ({}, {"status": EventStatus.COMPLETED}, False),
        ],
    )
    def test_orders_are_accepted_inside_the_window_only(self, session, rows, tier, event, is_on_sale):
        event = EventFactory(**{"starts_at": NOW + timedelta(days=9), **event})
        assert offer_of(session, TicketTierFactory(event=event, **tier)).is_on_sale(NOW) is is_on_sale

    @pytest.mark.parametrize("hidden", [{"is_private": True}, {"status": EventStatus.DRAFT}])
    def test_what_is_hidden_is_not_public(self, session, rows, hidden):
        assert not offer_of(session, TicketTierFactory(event=EventFactory(**hidden))).is_public
