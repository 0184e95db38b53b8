"""The contract of `PaymentGateway` beyond one payment: disputes, an event's charges, accounts, what has happened."""

import time
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from adapters import stripe_gateway as adapter
from adapters.stripe_gateway import StripeGateway
from domain.errors import ForgedEventError, PermanentVendorError, RetryableVendorError, UnknownOutcomeError
from domain.ports import AccountRequest, ChargeReading, Destination, RefundRequest
from tests.fixtures.payments import SECRET, OverHTTP, key, opened, paid
from tools.stack.stripe.faults import Fault
from tools.stack.stripe.webhooks import signature

RETURN = {"return_url": "https://tickets.example/back", "refresh_url": "https://tickets.example/again"}


def an_hour_ago():
    return datetime.now(UTC) - timedelta(hours=1)


def requested(**changes):
    values = {"reference": uuid4(), "email": "ada@example.com", "country": "DE", "business_name": "Harbour Nights"}
    return AccountRequest(**values | changes)


class TestDisputes:
    def test_a_chargeback_takes_the_money(self, world, gateway):
        intent = paid(gateway)
        dispute = gateway.find_dispute(world.open_dispute(intent.id, "product_not_received"))
        assert (dispute.status, dispute.reason) == ("needs_response", "product_not_received")
        assert (dispute.amount, dispute.withdrawn, dispute.currency) == (4200, 4200, "EUR")
        assert (dispute.intent_id, dispute.charge_id) == (intent.id, intent.charge_id)
        assert dispute.evidence_due_at > datetime.now(UTC)

    @pytest.mark.parametrize(("outcome", "withdrawn"), [("won", 0), ("lost", 4200)])
    def test_the_bank_decides_where_it_stays(self, world, gateway, outcome, withdrawn):
        dispute_id = world.open_dispute(paid(gateway).id, "fraudulent")
        world.close_dispute(dispute_id, outcome)
        dispute = gateway.find_dispute(dispute_id)
        assert (dispute.status, dispute.withdrawn) == (outcome, withdrawn)

    def test_what_was_given_back_is_not_disputed(self, world, gateway):
        intent = paid(gateway)
        gateway.refund(RefundRequest(uuid4(), intent.id, 1200), key())
        assert gateway.find_dispute(world.open_dispute(intent.id, "fraudulent")).withdrawn == 3000

    @pytest.mark.parametrize("outcome", [None, "lost"])
    def test_what_was_charged_back_cannot_be_given_back(self, world, gateway, outcome):
        intent = paid(gateway)
        dispute_id = world.open_dispute(intent.id, "fraudulent")
        if outcome:
            world.close_dispute(dispute_id, outcome)
        with pytest.raises(PermanentVendorError) as refusal:
            gateway.refund(RefundRequest(uuid4(), intent.id, 100), key())
        assert refusal.value.code == "charge_disputed"

    def test_once_won_it_can(self, world, gateway):
        intent = paid(gateway)
        world.close_dispute(world.open_dispute(intent.id, "fraudulent"), "won")
        assert gateway.refund(RefundRequest(uuid4(), intent.id, 100), key()).status == "succeeded"

    @pytest.mark.parametrize(
        ("method", "reason", "status", "withdrawn"),
        [
            ("pm_card_createDispute", "fraudulent", "needs_response", 4200),
            ("pm_card_createDisputeProductNotReceived", "product_not_received", "needs_response", 4200),
            ("pm_card_createDisputeInquiry", "fraudulent", "warning_needs_response", 0),
        ],
    )
    def test_a_card_may_dispute_as_soon_as_it_has_paid(self, gateway, method, reason, status, withdrawn):
        before = newest(gateway)
        intent = paid(gateway, method)
        assert intent.status == "succeeded"
        event = next(event for event in happened(gateway, before) if event.type == "charge.dispute.created")
        dispute = gateway.find_dispute(event.payload["data"]["object"]["id"])
        assert (dispute.intent_id, dispute.reason) == (intent.id, reason)
        assert (dispute.status, dispute.withdrawn) == (status, withdrawn)

    def test_an_inquiry_leaves_the_money_and_comes_to_nothing(self, world, gateway):
        before = newest(gateway)
        intent = paid(gateway, "pm_card_createDisputeInquiry")
        subjects = [event.payload["data"]["object"] for event in happened(gateway, before)]
        dispute_id = next(about["id"] for about in subjects if about["object"] == "dispute")
        assert gateway.refund(RefundRequest(uuid4(), intent.id, 100), key()).status == "succeeded"
        world.close_dispute(dispute_id, "won")
        assert gateway.find_dispute(dispute_id).status == "warning_closed"

    def test_what_does_not_exist_is_refused_for_good(self, gateway):
        with pytest.raises(PermanentVendorError) as refusal:
            gateway.find_dispute("du_nobodys")
        assert refusal.value.code == "resource_missing"


class TestCharges:
    def test_an_event_has_what_was_paid_for_it_and_nothing_else(self, gateway):
        event_id = uuid4()
        mine = [paid(gateway, event_id=event_id, amount=amount) for amount in (1000, 2000)]
        opened(gateway, event_id=event_id)
        gateway.confirm_intent(opened(gateway, event_id=event_id).id, "pm_card_chargeDeclined", key())
        paid(gateway)
        readings = sorted(gateway.list_charges(event_id), key=lambda reading: reading.amount)
        assert readings == [
            ChargeReading(intent.charge_id, intent.id, intent.amount, "EUR", 0, 0, 0) for intent in mine
        ]

    def test_an_event_without_payments_has_none(self, gateway):
        assert list(gateway.list_charges(uuid4())) == []

    def test_the_charge_of_an_intent_is_found_after_a_decline(self, gateway):
        intent = opened(gateway)
        gateway.confirm_intent(intent.id, "pm_card_chargeDeclined", key())
        assert gateway.find_charge(intent.id) is None
        charge_id = gateway.confirm_intent(intent.id, "pm_card_visa", key()).charge_id
        assert gateway.find_charge(intent.id) == ChargeReading(charge_id, intent.id, 4200, "EUR", 0, 0, 0)

    def test_money_that_is_on_its_way_is_not_captured_yet(self, world, gateway):
        event_id = uuid4()
        intent = paid(gateway, "pm_usBankAccount_success", event_id=event_id, currency="USD")
        assert (gateway.find_charge(intent.id), list(gateway.list_charges(event_id))) == (None, [])
        world.settle(intent.id, "succeed")
        assert [gateway.find_charge(intent.id)] == list(gateway.list_charges(event_id)) != [None]

    def test_a_reading_has_the_fee_less_what_of_it_was_given_back(self, gateway):
        event_id = uuid4()
        intent = paid(gateway, event_id=event_id, destination=Destination("acct_promoter", 301))
        assert next(gateway.list_charges(event_id)).fee == 301
        request = RefundRequest(uuid4(), intent.id, 1400, reverse_transfer=True, refund_application_fee=True)
        gateway.refund(request, key())
        gateway.refund(RefundRequest(uuid4(), intent.id, 100, reverse_transfer=True), key())
        (reading,) = gateway.list_charges(event_id)
        assert (reading.refunded, reading.fee) == (1500, 201)
        assert gateway.find_charge(intent.id) == reading

    def test_a_reading_has_what_disputes_took(self, world, gateway):
        event_id = uuid4()
        intent = paid(gateway, event_id=event_id)
        dispute_id = world.open_dispute(intent.id, "fraudulent")
        assert next(gateway.list_charges(event_id)).withdrawn == gateway.find_charge(intent.id).withdrawn == 4200
        world.close_dispute(dispute_id, "won")
        assert next(gateway.list_charges(event_id)).withdrawn == gateway.find_charge(intent.id).withdrawn == 0


class TestAccounts:
    def test_a_new_account_can_do_nothing_yet(self, gateway):
        account = gateway.open_account(requested(), key())
        assert account.id.startswith("acct_")
        assert (account.details_submitted, account.can_take_payments, account.can_be_paid_out) == (False, False, False)
        assert account.disabled_reason == "requirements.past_due"
        assert gateway.find_account(account.id) == account

    def test_the_same_key_opens_one_account_and_shows_it_as_it_is_now(self, world, gateway):
        request, once = requested(country=None), key()
        account = gateway.open_account(request, once)
        world.change_account(account.id, "ready")
        again = gateway.open_account(request, once)
        assert (again.id, again.can_take_payments) == (account.id, True)

    @pytest.mark.parametrize(
        ("state", "submitted", "able", "reason"),
        [
            ("ready", True, True, None),
            ("restricted", True, False, "requirements.past_due"),
            ("pending", False, False, "requirements.past_due"),
        ],
    )
    def test_an_account_says_how_it_stands(self, world, gateway, state, submitted, able, reason):
        account_id = gateway.open_account(requested(), key()).id
        world.change_account(account_id, state)
        account = gateway.find_account(account_id)
        assert (account.details_submitted, account.disabled_reason) == (submitted, reason)
        assert (account.can_take_payments, account.can_be_paid_out) == (able, able)

    def test_money_goes_only_where_it_can_arrive(self, world, gateway):
        account_id = gateway.open_account(requested(), key()).id
        with pytest.raises(PermanentVendorError) as refusal:
            opened(gateway, destination=Destination(account_id, 100))
        assert refusal.value.code == "insufficient_capabilities_for_transfer"
        world.change_account(account_id, "ready")
        assert opened(gateway, destination=Destination(account_id, 100)).account_id == account_id

    def test_a_link_leads_to_onboarding_and_holds_for_minutes(self, gateway):
        account_id = gateway.open_account(requested(), key()).id
        link = gateway.link_account(account_id, **RETURN)
        assert link.url.startswith("http")
        assert timedelta(0) < link.expires_at - datetime.now(UTC) < timedelta(hours=1)
        assert gateway.link_account(account_id, **RETURN).url != link.url

    def test_an_account_that_is_not_ours_is_refused_for_good(self, gateway):
        with pytest.raises(PermanentVendorError) as refusal:
            gateway.find_account("acct_nobodys")
        assert refusal.value.code == "account_invalid"
        with pytest.raises(PermanentVendorError):
            gateway.link_account("acct_nobodys", **RETURN)


def happened(gateway, after, limit=100):
    return gateway.list_events(after, an_hour_ago(), limit)


def newest(gateway):
    """Return the id of the newest event, of which there is at least one."""
    paid(gateway)
    return gateway.list_events(None, an_hour_ago(), 10_000)[-1].id


class TestEvents:
    def test_they_come_oldest_first_after_the_one_that_is_known(self, gateway):
        before = newest(gateway)
        intent = paid(gateway)
        gateway.refund(RefundRequest(uuid4(), intent.id, 100), key())
        gateway.cancel_intent(opened(gateway).id)
        events = happened(gateway, before)
        assert [event.type for event in events] == [
            "payment_intent.succeeded",
            "refund.created",
            "charge.refunded",
            "payment_intent.canceled",
        ]
        assert events[0].payload["data"]["object"]["id"] == intent.id
        assert {event.account for event in events} == {None}
        assert happened(gateway, events[1].id) == events[2:]
        assert happened(gateway, events[-1].id) == []

    def test_no_more_than_asked_for_and_the_oldest_of_them(self, gateway):
        before = newest(gateway)
        ids = [paid(gateway).id for _ in range(3)]
        events = happened(gateway, before, limit=2)
        assert [event.payload["data"]["object"]["id"] for event in events] == ids[:2]
        all_of_them = gateway.list_events(None, an_hour_ago(), 10_000)
        assert gateway.list_events(None, an_hour_ago(), 3) == all_of_them[:3]

    def test_where_the_known_one_is_forgotten_time_decides(self, gateway):
        paid(gateway)
        everything = gateway.list_events(None, an_hour_ago(), 10_000)
        assert gateway.list_events("evt_forgotten", an_hour_ago(), 10_000) == everything
        assert gateway.list_events("evt_forgotten", datetime.now(UTC) + timedelta(minutes=1), 10) == []

    def test_a_dispute_tells_of_its_money(self, world, gateway):
        before = newest(gateway)
        dispute_id = world.open_dispute(paid(gateway).id, "fraudulent")
        world.close_dispute(dispute_id, "won")
        events = [event for event in happened(gateway, before) if event.type.startswith("charge.dispute.")]
        assert [event.type.rpartition(".")[2] for event in events] == [
            "created",
            "funds_withdrawn",
            "funds_reinstated",
            "closed",
        ]
        assert {event.payload["data"]["object"]["id"] for event in events} == {dispute_id}

    def test_what_happens_on_a_connected_account_is_not_among_ours(self, world, gateway):
        before = newest(gateway)
        world.change_account(gateway.open_account(requested(), key()).id, "ready")
        assert happened(gateway, before) == []


class TestOverHTTP:
    @pytest.fixture
    def pages(self, monkeypatch):
        monkeypatch.setattr(adapter, "LARGEST_PAGE", 2)

    def test_an_event_s_charges_are_read_page_by_page(self, stripe_gateway, pages):
        event_id, destination = uuid4(), Destination("acct_promoter", 301)
        ids = [paid(stripe_gateway, event_id=event_id, destination=destination).id for _ in range(5)]
        readings = [(reading.intent_id, reading.fee) for reading in stripe_gateway.list_charges(event_id)]
        assert sorted(readings) == sorted((intent_id, 301) for intent_id in ids)

    def test_a_charge_is_found_behind_a_page_of_declines(self, stripe_gateway, standin, pages):
        intent = paid(stripe_gateway)
        charge = standin.simulator.store.get("", intent.charge_id)
        for number in range(3):
            standin.simulator.store.put("", charge | {"id": f"ch_{intent.id}_{number}", "status": "failed"})
        assert stripe_gateway.find_charge(intent.id).id == intent.charge_id

    def test_what_a_dispute_took_is_told_in_its_own_currency(self, stripe_gateway, standin):
        intent = paid(stripe_gateway)
        dispute_id = OverHTTP(stripe_gateway, standin).open_dispute(intent.id, "fraudulent")
        dispute = standin.simulator.store.get("", dispute_id)
        (movement,) = dispute["balance_transactions"]
        movement |= {"currency": "usd", "amount": -4587, "exchange_rate": 1.0921}
        standin.simulator.store.put("", dispute)
        assert stripe_gateway.find_dispute(dispute_id).withdrawn == 4200
        assert stripe_gateway.find_charge(intent.id).withdrawn == 4200

    def test_so_are_events_from_either_end(self, stripe_gateway, pages):
        before = newest(stripe_gateway)
        ids = [paid(stripe_gateway).id for _ in range(5)]
        events = happened(stripe_gateway, before)
        assert [event.payload["data"]["object"]["id"] for event in events] == ids
        assert happened(stripe_gateway, before, limit=3) == events[:3]
        assert happened(stripe_gateway, None)[-5:] == events

    @pytest.mark.parametrize(("status", "error"), [(400, PermanentVendorError), (500, RetryableVendorError)])
    def test_only_a_forgotten_event_falls_back_to_the_time(self, stripe_gateway, standin, status, error):
        standin.simulator.faults.add(Fault(call="event.list", status=status))
        with pytest.raises(error):
            happened(stripe_gateway, "evt_known")

    def test_opening_an_account_may_end_unknown_and_its_key_finds_it(self, stripe_gateway, standin):
        standin.simulator.faults.add(Fault(call="account.create", when="after", outcome="cut"))
        request, once = requested(), key()
        with pytest.raises(UnknownOutcomeError):
            stripe_gateway.open_account(request, once)
        account = stripe_gateway.open_account(request, once)
        (kept,) = [
            body
            for body in standin.simulator.store.select("account", limit=1000)
            if body["metadata"] == {"promoter_id": str(request.reference)}
        ]
        assert kept["id"] == account.id
        assert (kept["email"], kept["country"]) == ("ada@example.com", "DE")
        assert kept["business_profile"]["name"] == "Harbour Nights"

    def test_a_link_whose_answer_was_lost_is_simply_asked_for_again(self, stripe_gateway, standin):
        account_id = stripe_gateway.open_account(requested(), key()).id
        standin.simulator.faults.add(Fault(call="account_link.create", when="after", outcome="cut"))
        with pytest.raises(RetryableVendorError) as refusal:
            stripe_gateway.link_account(account_id, **RETURN)
        assert not isinstance(refusal.value, UnknownOutcomeError)

    def test_books_that_cannot_be_read_now_are_read_later(self, stripe_gateway, standin):
        for call in ("charge.search", "charge.list"):
            standin.simulator.faults.add(Fault(call=call, status=500))
        with pytest.raises(RetryableVendorError):
            list(stripe_gateway.list_charges(uuid4()))
        with pytest.raises(RetryableVendorError):
            stripe_gateway.find_charge("pi_1")

    def test_any_of_our_secrets_may_have_signed(self, standin):
        gateway = StripeGateway(
            secret_key="sk_test_contract", webhook_secrets=["whsec_connect", SECRET], api_url=standin.url
        )
        payload, now = b'{"id": "evt_1", "object": "event", "type": "account.updated"}', int(time.time())
        for secret in ("whsec_connect", SECRET):
            assert gateway.read_event(payload, signature(secret, payload, now)).id == "evt_1"
        with pytest.raises(ForgedEventError):
            gateway.read_event(payload, signature("whsec_third", payload, now))
