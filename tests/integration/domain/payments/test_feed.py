from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select

from domain.errors import RetryableVendorError
from domain.models import PaymentFeed, WebhookEvent
from domain.payments import feed
from domain.rules.states import OrderStage, OrderStatus
from tests.factories import PaymentFeedFactory

DOWN = RetryableVendorError("Stripe did not answer.", code="connection")
ABOUT = {"object": "payment_intent", "id": "pi_x"}


def cursor(till):
    with till.sessions() as session:
        return session.get(PaymentFeed, "stripe")


def inbox(till):
    with till.sessions() as session:
        return set(session.scalars(select(WebhookEvent.provider_event_id)))


def happen(till, minutes_ago=5, kind="payment_intent.succeeded"):
    created = (till.now - timedelta(minutes=minutes_ago)).timestamp()
    return till.gateway.add_event(kind, ABOUT, created=created)


def made_at(event):
    return datetime.fromtimestamp(event.payload["created"], UTC)


@pytest.fixture
def small_pages(monkeypatch):
    monkeypatch.setattr(feed, "PAGE", 2)
    monkeypatch.setattr(feed, "PAGES", 2)


class TestReadFeed:
    def test_the_first_look_goes_back_an_hour(self, till):
        happen(till, minutes_ago=90)
        recent = happen(till, minutes_ago=30)
        assert till.read_feed() == 1
        assert inbox(till) == {recent.id}

    def test_an_empty_feed_is_looked_at_from_the_same_place_again(self, till):
        assert till.read_feed() == 0
        assert cursor(till).read_until == till.now - feed.FIRST_LOOK
        assert cursor(till).last_event_id is None

    def test_goes_on_behind_the_last_event(self, till, gateway):
        first = happen(till)
        till.read_feed()
        assert (cursor(till).last_event_id, cursor(till).read_until) == (first.id, made_at(first))
        second = happen(till)
        assert till.read_feed() == 1
        assert cursor(till).last_event_id == second.id

    def test_stores_what_no_webhook_brought_and_announces_only_that(self, till):
        known, new = happen(till), happen(till)
        till.hear(known)
        assert till.read_feed() == 1
        with till.sessions() as session:
            (stored,) = session.scalars(select(WebhookEvent).where(WebhookEvent.provider_event_id == new.id))
        assert [message.event_id for message in till.announced] == [stored.id]
        assert (stored.type, stored.payload, stored.account) == (new.type, new.payload, None)

    def test_leaves_out_what_nothing_follows_from(self, till):
        happen(till, kind="balance.available")
        last = happen(till, kind="charge.succeeded")
        assert till.read_feed() == 0
        assert inbox(till) == set()
        assert cursor(till).last_event_id == last.id

    def test_reads_the_last_minute_again_since_events_may_appear_late(self, till, gateway):
        settled = happen(till)
        happen(till, minutes_ago=0)
        assert till.read_feed() == 2
        assert cursor(till).last_event_id == settled.id
        late = happen(till, minutes_ago=0.5)
        gateway.events[1], gateway.events[2] = gateway.events[2], gateway.events[1]
        assert till.read_feed() == 1
        assert late.id in inbox(till)

    @pytest.mark.usefixtures("small_pages")
    def test_a_round_has_bounds_and_the_next_goes_on(self, till, gateway):
        happened = [happen(till) for _ in range(7)]
        assert till.read_feed() == 4
        assert cursor(till).last_event_id == happened[3].id
        assert till.read_feed() == 3
        assert gateway.calls.count("list_events") == 4
        assert inbox(till) == {event.id for event in happened}

    @pytest.mark.usefixtures("small_pages")
    def test_more_than_a_page_of_the_last_minute_does_not_hold_it_up(self, till):
        happened = [happen(till, minutes_ago=0) for _ in range(4)]
        assert till.read_feed() == 4
        assert inbox(till) == {event.id for event in happened}

    @pytest.mark.usefixtures("small_pages")
    def test_trouble_keeps_the_pages_that_came(self, till, gateway):
        happened = [happen(till) for _ in range(4)]
        till.gateway.list_events = failing_at(2, gateway.list_events)
        assert till.read_feed() == 2
        assert cursor(till).last_event_id == happened[1].id
        assert till.read_feed() == 2

    def test_after_a_month_of_silence_it_goes_by_the_time(self, till):
        with till.sessions.begin() as session:
            PaymentFeedFactory(
                session=session, last_event_id="evt_forgotten", read_until=till.now - timedelta(minutes=10)
            )
        happen(till, minutes_ago=20)
        recent = happen(till, minutes_ago=5)
        assert till.read_feed() == 1
        assert inbox(till) == {recent.id}

    def test_whoever_is_slower_moves_nothing(self, till, gateway):
        happen(till)
        look = gateway.list_events

        def be_overtaken(*asked):
            gateway.list_events = look
            till.read_feed()
            happen(till)
            return [replace(event, id=f"{event.id}_again") for event in look(*asked)]

        gateway.list_events = be_overtaken
        assert till.read_feed() == 0
        assert len(inbox(till)) == 1

    def test_no_transaction_is_open_while_the_provider_is_asked(self, till, gateway, monkeypatch):
        look, open_sessions = gateway.list_events, []
        begin = type(till.sessions).begin

        def list_events(*asked):
            assert open_sessions == []
            return look(*asked)

        class Watched:
            def __init__(self, context):
                self.context = context

            def __enter__(self):
                open_sessions.append(self)
                return self.context.__enter__()

            def __exit__(self, *failure):
                open_sessions.remove(self)
                return self.context.__exit__(*failure)

        monkeypatch.setattr(type(till.sessions), "begin", lambda maker: Watched(begin(maker)))
        gateway.list_events = list_events
        happen(till)
        assert till.read_feed() == 1


def failing_at(number, call):
    counted = iter(range(1, number + 1))

    def failing(*asked):
        if next(counted, None) == number:
            raise DOWN
        return call(*asked)

    return failing


class TestWithoutAnyWebhook:
    def test_a_payment_settles(self, till):
        order_id = till.hold()
        till.open(order_id)
        till.pay_by_client(order_id)
        self.sweep(till)
        assert till.read(order_id).stage is OrderStage.ISSUING

    def test_a_dispute_is_heard_and_decided(self, till):
        order_id = till.paid()
        dispute = till.dispute(order_id)
        self.sweep(till)
        assert all(ticket.blocked_at for ticket in till.tickets(order_id))
        till.gateway.close_dispute(dispute.id, "lost")
        self.sweep(till)
        assert till.read(order_id).status is OrderStatus.REFUNDED

    def test_a_refund_that_fails_after_it_had_succeeded_is_booked_back(self, till, gateway):
        order_id = till.paid()
        till.refund(order_id, 700)
        self.sweep(till)
        (made,) = gateway.refunds
        gateway.refunds[made] = replace(gateway.refunds[made], status="failed")
        intent_id = gateway.refunds[made].intent_id
        gateway.add_event("refund.failed", {"object": "refund", "id": made, "payment_intent": intent_id})
        self.sweep(till)
        assert ("reversal", 700) in till.ledger(order_id)
        assert till.read(order_id).refunded == 0

    def sweep(self, till):
        till.read_feed()
        till.handle()
