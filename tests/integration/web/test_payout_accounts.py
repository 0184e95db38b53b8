import re
from datetime import datetime

import pytest
from sqlalchemy import select

from domain.errors import PermanentVendorError, RetryableVendorError, UnknownOutcomeError
from domain.models import Promoter, User
from domain.rules.states import EventStatus, UserRole
from tests.factories import EventFactory, PromoterFactory, TicketTierFactory, UserFactory
from tests.fakes.payment_gateway import FakePaymentGateway
from web.app import create_app
from web.services import Services

ME = "/api/v1/promoters/me"
ACCOUNT = f"{ME}/payout-account"
DOWN = RetryableVendorError("Stripe did not answer.", code="connection")


@pytest.fixture
def gateway(services):
    services.__dict__["gateway"] = FakePaymentGateway()
    return services.gateway


@pytest.fixture
def promoter(rows):
    promoter = PromoterFactory(stripe_account_id=None)
    rows.commit()
    return promoter


class TestOpening:
    def test_the_first_answer_is_a_new_account_and_the_way_to_complete_it(self, seller, gateway):
        answer = seller.post(ACCOUNT)
        assert (answer.status_code, answer.headers["Location"]) == (201, ME)
        assert answer.headers["Cache-Control"] == "private, no-store"
        (account_id,) = gateway.accounts
        assert (answer.json["account_id"], answer.json["state"]) == (account_id, "pending")
        link = gateway.links[answer.json["onboarding"]["url"]]
        assert link["account_id"] == account_id
        assert datetime.fromisoformat(answer.json["onboarding"]["expires_at"]).tzinfo is not None

    def test_later_answers_are_the_same_account_with_fresh_links(self, seller, gateway):
        first, second = seller.post(ACCOUNT), seller.post(ACCOUNT)
        assert (second.status_code, second.json["account_id"]) == (200, first.json["account_id"])
        assert second.json["onboarding"]["url"] != first.json["onboarding"]["url"]
        assert "Location" not in second.headers

    def test_the_profile_shows_how_it_stands(self, seller, gateway, rows, promoter):
        assert seller.get(ME).json["stripe_account_state"] == "none"
        account_id = seller.post(ACCOUNT).json["account_id"]
        shown = seller.get(ME).json
        assert (shown["stripe_account_id"], shown["stripe_account_state"]) == (account_id, "pending")
        assert shown["stripe_disabled_reason"] == "requirements.past_due"

    def test_stripe_leads_back_to_pages_of_ours(self, seller, gateway, client, settings):
        link = gateway.links[seller.post(ACCOUNT).json["onboarding"]["url"]]
        for name in ("return_url", "refresh_url"):
            address = link[name]
            assert address.startswith(settings.public_url)
            answer = client.get(address.removeprefix(settings.public_url))
            assert (answer.status_code, answer.mimetype) == (200, "text/html")


class TestTrouble:
    @pytest.mark.parametrize("call", ["open_account", "link_account"])
    @pytest.mark.parametrize("error", [DOWN, UnknownOutcomeError("500", code="api_error")])
    def test_a_stripe_in_trouble_says_when_to_come_again(self, seller, gateway, call, error):
        gateway.fail(call, error, after=True)
        answer = seller.post(ACCOUNT)
        assert (answer.status_code, answer.json["code"]) == (503, "unavailable")
        assert int(answer.headers["Retry-After"]) == 5
        assert seller.post(ACCOUNT).json["account_id"] in gateway.accounts
        assert len(gateway.accounts) == 1

    def test_stripes_own_wait_is_passed_on(self, seller, gateway):
        gateway.fail("link_account", RetryableVendorError("busy", code="rate_limit", retry_after=17.2))
        assert seller.post(ACCOUNT).headers["Retry-After"] == "18"

    def test_a_refusal_is_one_and_says_nothing_of_stripes(self, seller, gateway):
        gateway.fail("open_account", PermanentVendorError("Visit your platform's settings.", code="invalid"))
        answer = seller.post(ACCOUNT)
        assert (answer.status_code, answer.json["code"]) == (409, "payout-account-refused")
        assert "settings" not in answer.get_data(as_text=True)
        assert seller.post(ACCOUNT).status_code == 201

    def test_only_a_few_threads_wait_for_stripe(self, seller, gateway, services, monkeypatch):
        linking, answers = gateway.link_account, []

        def link_account(account_id, **pages):
            # While this request waits, others come: one for each seat, and one too many.
            answer = seller.post(ACCOUNT)
            answers.append(answer)
            return linking(account_id, **pages)

        monkeypatch.setattr(gateway, "link_account", link_account)
        assert seller.post(ACCOUNT).status_code == 201
        seats = services.settings.web_threads // 8
        assert [answer.status_code for answer in answers] == [503] + [200] * (seats - 1)
        assert answers[0].json["code"] == "busy"
        assert 5 <= int(answers[0].headers["Retry-After"]) <= 10
        monkeypatch.setattr(gateway, "link_account", linking)
        assert seller.post(ACCOUNT).status_code == 200


class TestWhoMay:
    def test_strangers_and_buyers_may_not(self, client, rows, log_in, gateway):
        buyer = UserFactory()
        rows.commit()
        assert client.post(ACCOUNT).status_code == 401
        assert log_in(buyer).post(ACCOUNT).status_code == 403
        assert gateway.calls == []

    def test_an_admin_without_a_profile_has_nothing_to_open(self, rows, log_in, gateway):
        admin = UserFactory(role=UserRole.ADMIN)
        rows.commit()
        answer = log_in(admin).post(ACCOUNT)
        assert (answer.status_code, answer.json["code"]) == (404, "not-found")
        assert gateway.calls == []

    def test_a_promoter_of_yesterday_may_not(self, seller, promoter, sessions, gateway):
        with sessions.begin() as session:
            session.get_one(User, promoter.user_id).role = UserRole.USER
        assert seller.post(ACCOUNT).status_code == 403
        assert gateway.calls == []

    def test_each_has_their_own(self, seller, rows, log_in, gateway, promoter, sessions):
        other = PromoterFactory(stripe_account_id=None)
        rows.commit()
        ids = {seller.post(ACCOUNT).json["account_id"], log_in(other.user).post(ACCOUNT).json["account_id"]}
        with sessions() as session:
            assert set(session.scalars(select(Promoter.stripe_account_id))) == ids
        assert len(ids) == 2

    def test_nobody_asks_all_the_time(self, settings, sessions, hasher, clock, redis, redis_url, seller):
        limits = settings.model_copy(update={"rate_limits": "on", "redis_url": redis_url})
        services = Services(limits, sessions, hasher, clock)
        services.__dict__["gateway"] = FakePaymentGateway()
        client = create_app(services=services).test_client()
        headers = {"Authorization": seller.environ_base["HTTP_AUTHORIZATION"]}
        answers = [client.post(ACCOUNT, headers=headers) for _ in range(6)]
        assert [answer.status_code for answer in answers] == [201, 200, 200, 200, 200, 429]
        assert answers[-1].json["violated-policies"] == ["payout-accounts"]


class TestWhereAccountsAreAskedFor:
    @pytest.fixture
    def services(self, services):
        asking = services.settings.model_copy(update={"connect_required": True})
        return Services(asking, services.sessions, services.hasher, services.clock)

    def test_a_paid_event_is_not_published(self, seller, rows, promoter):
        event = EventFactory(promoter=promoter, status=EventStatus.DRAFT)
        TicketTierFactory(event=event)
        rows.commit()
        answer = seller.post(f"/api/v1/events/{event.id}/publish")
        assert (answer.status_code, answer.json["code"]) == (409, "event-not-publishable")
        (fault,) = answer.json["errors"]
        assert fault["pointer"] == "/promoter"
        assert "payout account" in fault["detail"]

    def test_a_paid_tier_does_not_go_on_sale(self, seller, rows, promoter):
        event = EventFactory(promoter=promoter, capacity=500)
        free = TicketTierFactory(event=event, price=0)
        rows.commit()
        paid = {"name": "Standing", "price": 4500, "quantity": free.quantity}
        answers = [
            seller.post(f"/api/v1/events/{event.id}/tiers", json=paid),
            seller.put(f"/api/v1/tiers/{free.id}", json=paid),
        ]
        for answer in answers:
            assert (answer.status_code, answer.json["code"]) == (409, "payout-account-required")
            assert [error["pointer"] for error in answer.json["errors"]] == ["/promoter"]


class TestPages:
    @pytest.mark.parametrize("path", ["/payout-account/back", "/payout-account/expired"])
    def test_they_read_and_change_nothing_and_need_nothing_from_outside(self, client, path, services):
        services.__dict__["sessions"] = None
        answer = client.get(path, query_string={"account": "acct_1"})
        shown = answer.get_data(as_text=True)
        assert answer.status_code == 200
        assert "acct_1" not in shown
        assert not re.search(r'(?:src|href|action)="(?!/|data:)', shown)
        assert "<form" not in shown
        assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'")
        assert client.post(path).status_code == 405
