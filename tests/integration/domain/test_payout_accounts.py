from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from threading import Barrier

import pytest
from sqlalchemy import select, text

from domain.audit import Actor
from domain.errors import NotFoundError, PermanentVendorError, RetryableVendorError, UnknownOutcomeError
from domain.messages import ReadAccount
from domain.models import AuditLog, Promoter
from domain.payout_accounts import ReturnPages, begin_onboarding, read_account, ring_for_readings, state_of
from domain.ports import STORED_ERROR, Account
from domain.rules.states import StripeAccountState, UserRole
from tests.factories import PromoterFactory, UserFactory, bound_to
from tests.fakes.payment_gateway import FakePaymentGateway

READY, PENDING, RESTRICTED, NONE = (
    StripeAccountState.READY,
    StripeAccountState.PENDING,
    StripeAccountState.RESTRICTED,
    StripeAccountState.NONE,
)
PAGES = ReturnPages("https://tickets.example/back", "https://tickets.example/expired")
NOW = datetime.now(UTC)
DOWN = RetryableVendorError("no answer", code="connection")
LOST = UnknownOutcomeError("no answer", code="connection")
REFUSED = PermanentVendorError("no such country", code="invalid_request_error")
MINUTE = timedelta(minutes=1)


@pytest.fixture
def gateway():
    return FakePaymentGateway()


@pytest.fixture
def promoter(sessions):
    return make(sessions, stripe_account_id=None)


def make(sessions, **values):
    with sessions.begin() as session, bound_to(session):
        return PromoterFactory(**values)


def actor_of(promoter):
    return Actor(promoter.user_id, UserRole.PROMOTER)


def begin(sessions, gateway, promoter, now=NOW):
    return begin_onboarding(sessions, gateway, actor_of(promoter), PAGES, now)


def read(sessions, promoter):
    with sessions() as session:
        return session.get_one(Promoter, promoter.id)


def acts(sessions, action):
    with sessions() as session:
        return session.scalars(select(AuditLog).where(AuditLog.action == action).order_by(AuditLog.id)).all()


class TestBeginOnboarding:
    def test_the_first_time_an_account_is_opened_and_a_link_made(self, sessions, gateway, promoter):
        onboarding = begin(sessions, gateway, promoter)
        assert (onboarding.is_new, onboarding.state) == (True, PENDING)
        assert gateway.links[onboarding.link.url] == {
            "account_id": onboarding.account_id,
            "return_url": PAGES.return_url,
            "refresh_url": PAGES.refresh_url,
        }
        row = read(sessions, promoter)
        assert (row.stripe_account_id, row.stripe_account_state) == (onboarding.account_id, PENDING)
        assert (row.stripe_disabled_reason, row.stripe_account_read_at) == ("requirements.past_due", NOW)

    def test_stripe_is_told_whose_it_is(self, sessions, gateway, promoter, monkeypatch):
        asked, opening = [], gateway.open_account
        monkeypatch.setattr(gateway, "open_account", lambda *said: asked.append(said) or opening(*said))
        begin(sessions, gateway, promoter)
        ((request, key),) = asked
        assert (request.reference, request.email) == (promoter.id, promoter.user.email)
        assert (request.country, request.business_name) == ("DE", promoter.company_name)
        assert key.startswith(f"promoter:{promoter.id}:account:")

    def test_afterwards_only_a_fresh_link_is_made(self, sessions, gateway, promoter):
        first, second = (begin(sessions, gateway, promoter) for _ in range(2))
        assert gateway.calls == ["open_account", "link_account", "link_account"]
        assert second.account_id == first.account_id
        assert second.link.url != first.link.url
        assert not second.is_new

    def test_opening_and_asking_for_links_are_acts_of_the_promoter(self, sessions, gateway, promoter):
        account_id = begin(sessions, gateway, promoter).account_id
        begin(sessions, gateway, promoter)
        (opened,) = acts(sessions, "promoter.open_account")
        assert (opened.actor_id, opened.entity_id) == (promoter.user_id, promoter.id)
        assert opened.old_data == {"stripe_account_id": None, "stripe_account_state": "none", **opened.old_data}
        assert opened.new_data["stripe_account_id"] == account_id
        asked = acts(sessions, "promoter.begin_onboarding")
        assert [entry.actor_id for entry in asked] == [promoter.user_id] * 2

    def test_whoever_has_no_profile_has_no_account(self, sessions, gateway):
        with sessions.begin() as session:
            user = UserFactory(session=session)
        with pytest.raises(NotFoundError):
            begin_onboarding(sessions, gateway, Actor(user.id, UserRole.USER), PAGES, NOW)
        assert gateway.calls == []

    def test_no_transaction_spans_a_call(self, sessions, gateway, promoter, engine, monkeypatch):
        seen = []
        for name in ("open_account", "link_account"):
            call = getattr(gateway, name)
            monkeypatch.setattr(
                gateway, name, lambda *a, call=call, **k: seen.append(engine.pool.checkedout()) or call(*a, **k)
            )
        begin(sessions, gateway, promoter)
        assert seen == [0, 0]

    def test_several_at_once_end_in_one_account(self, sessions, gateway, promoter, monkeypatch):
        together, opening = Barrier(4, timeout=10), gateway.open_account

        def open_account(request, key):
            together.wait()
            return opening(request, key)

        monkeypatch.setattr(gateway, "open_account", open_account)
        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(lambda _: begin(sessions, gateway, promoter).account_id, range(4)))
        assert set(found) == set(gateway.accounts) == {read(sessions, promoter).stripe_account_id}
        assert len(acts(sessions, "promoter.open_account")) == 1


class TestTroubleWhileOpening:
    @pytest.mark.parametrize("trouble", [DOWN, LOST])
    def test_the_same_key_is_repeated(self, sessions, gateway, promoter, trouble):
        gateway.fail("open_account", trouble, after=trouble is LOST)
        with pytest.raises(RetryableVendorError):
            begin(sessions, gateway, promoter)
        assert read(sessions, promoter).stripe_account_state is NONE
        onboarding = begin(sessions, gateway, promoter, NOW + MINUTE)
        assert set(gateway.accounts) == {onboarding.account_id}
        assert read(sessions, promoter).stripe_account_id == onboarding.account_id

    def test_an_account_without_its_link_is_kept(self, sessions, gateway, promoter):
        gateway.fail("link_account", DOWN)
        with pytest.raises(RetryableVendorError):
            begin(sessions, gateway, promoter)
        kept = read(sessions, promoter).stripe_account_id
        assert begin(sessions, gateway, promoter).account_id == kept

    @pytest.mark.parametrize("refusal", [REFUSED, UnknownOutcomeError("500", code=STORED_ERROR)])
    def test_an_answer_that_its_key_repeats_gives_way_to_another_key(self, sessions, gateway, promoter, refusal):
        answers, opening = [refusal], gateway.open_account
        keys = []

        def open_account(request, key):
            keys.append(key)
            if answers:
                raise answers.pop()
            return opening(request, key)

        gateway.open_account = open_account
        with pytest.raises(type(refusal)):
            begin(sessions, gateway, promoter)
        assert begin(sessions, gateway, promoter, NOW + MINUTE).is_new
        assert len(set(keys)) == 2

    def test_a_profile_that_was_corrected_after_a_refusal_is_taken(self, sessions, gateway, promoter, monkeypatch):
        opening = gateway.open_account

        def open_account(request, key):
            if request.country == "KP":
                gateway._once("open_account", key, request, lambda: (_ for _ in ()).throw(REFUSED))
            return opening(request, key)

        monkeypatch.setattr(gateway, "open_account", open_account)
        set_country(sessions, promoter, "KP")
        with pytest.raises(PermanentVendorError):
            begin(sessions, gateway, promoter)
        set_country(sessions, promoter, "DK")
        assert begin(sessions, gateway, promoter, NOW + MINUTE).is_new

    def test_a_key_is_not_repeated_once_it_may_be_forgotten(self, sessions, gateway, promoter):
        gateway.fail("open_account", DOWN)
        with pytest.raises(RetryableVendorError):
            begin(sessions, gateway, promoter)
        assert read(sessions, promoter).stripe_account_read_at == NOW
        gateway.fail("open_account", DOWN)
        with pytest.raises(RetryableVendorError):
            begin(sessions, gateway, promoter, NOW + timedelta(hours=24))
        assert read(sessions, promoter).stripe_account_read_at == NOW + timedelta(hours=24)

    def test_a_refusal_that_comes_late_ends_no_other_opening(self, sessions, gateway, promoter, monkeypatch):
        later = NOW + timedelta(hours=24)

        def refuse(request, key):
            with sessions.begin() as session:
                session.get_one(Promoter, promoter.id).stripe_account_read_at = later
            raise REFUSED

        monkeypatch.setattr(gateway, "open_account", refuse)
        with pytest.raises(PermanentVendorError):
            begin(sessions, gateway, promoter)
        assert read(sessions, promoter).stripe_account_read_at == later


def set_country(sessions, promoter, country):
    with sessions.begin() as session:
        session.get_one(Promoter, promoter.id).country = country


@pytest.mark.parametrize(
    ("submitted", "takes", "is_paid", "reason", "state"),
    [
        (False, False, False, None, PENDING),
        (False, False, False, "requirements.past_due", PENDING),
        (True, False, False, None, PENDING),
        (True, True, False, None, PENDING),
        (True, False, True, None, PENDING),
        (True, True, True, None, READY),
        (True, False, False, "rejected.other", RESTRICTED),
        (True, True, False, "requirements.past_due", RESTRICTED),
    ],
)
def test_what_an_account_is_good_for(submitted, takes, is_paid, reason, state):
    assert state_of(Account("acct_1", submitted, takes, is_paid, reason)) is state


class TestReadAccount:
    @pytest.fixture
    def account_id(self, sessions, gateway, promoter):
        return begin(sessions, gateway, promoter).account_id

    @pytest.mark.parametrize(("at_stripe", "state"), [("ready", READY), ("restricted", RESTRICTED)])
    def test_what_stripe_says_is_written_down_once_by_nobody(
        self, sessions, gateway, promoter, account_id, at_stripe, state
    ):
        reason = gateway.change_account(account_id, at_stripe).disabled_reason
        for minutes in (1, 2):
            read_account(sessions, gateway, account_id, NOW + minutes * MINUTE)
        row = read(sessions, promoter)
        assert (row.stripe_account_state, row.stripe_disabled_reason) == (state, reason)
        assert row.stripe_account_read_at == NOW + 2 * MINUTE
        (entry,) = acts(sessions, "promoter.read_account")
        assert (entry.actor_id, entry.entity_id) == (None, promoter.id)
        assert (entry.old_data["stripe_account_state"], entry.new_data["stripe_account_state"]) == ("pending", state)

    def test_one_that_is_lost_is_told_to_the_log(self, sessions, gateway, promoter, account_id, caplog):
        gateway.change_account(account_id, "ready")
        read_account(sessions, gateway, account_id, NOW + MINUTE)
        assert caplog.text == ""
        gateway.change_account(account_id, "restricted")
        read_account(sessions, gateway, account_id, NOW + 2 * MINUTE)
        assert f"payout_account.lost promoter={promoter.id}" in caplog.text

    def test_an_account_of_somebody_elses_is_not_even_read(self, sessions, gateway, account_id):
        gateway.calls.clear()
        read_account(sessions, gateway, "acct_stranger", NOW)
        assert gateway.calls == []

    def test_one_that_has_left_us_can_no_longer_be_paid(self, sessions, gateway, promoter, account_id):
        gateway.change_account(account_id, "ready")
        read_account(sessions, gateway, account_id, NOW + MINUTE)
        del gateway.accounts[account_id]
        read_account(sessions, gateway, account_id, NOW + 2 * MINUTE)
        row = read(sessions, promoter)
        assert (row.stripe_account_state, row.stripe_disabled_reason) == (RESTRICTED, "account_invalid")

    def test_of_two_readings_that_cross_the_later_one_counts(
        self, sessions, gateway, promoter, account_id, monkeypatch
    ):
        finding = gateway.find_account

        def find_slowly(account_id):
            found = finding(account_id)
            monkeypatch.setattr(gateway, "find_account", finding)
            gateway.change_account(account_id, "ready")
            read_account(sessions, gateway, account_id, NOW + 2 * MINUTE)
            return found

        monkeypatch.setattr(gateway, "find_account", find_slowly)
        read_account(sessions, gateway, account_id, NOW + MINUTE)
        assert read(sessions, promoter).stripe_account_state is READY

    def test_a_profile_that_gave_up_its_account_meanwhile_is_left_alone(
        self, sessions, gateway, promoter, account_id, monkeypatch
    ):
        finding = gateway.find_account

        def find_slowly(account_id):
            with sessions.begin() as session:
                session.execute(text("UPDATE promoters SET stripe_account_id = NULL, stripe_account_state = 'none'"))
            return replace(finding(account_id), can_take_payments=True, can_be_paid_out=True)

        monkeypatch.setattr(gateway, "find_account", find_slowly)
        read_account(sessions, gateway, account_id, NOW + MINUTE)
        assert read(sessions, promoter).stripe_account_state is NONE

    def test_trouble_changes_nothing_and_asks_for_another_look(self, sessions, gateway, promoter, account_id):
        gateway.change_account(account_id, "ready")
        read_account(sessions, gateway, account_id, NOW + MINUTE)
        gateway.change_account(account_id, "restricted")
        gateway.fail("find_account", DOWN)
        read_account(sessions, gateway, account_id, NOW + 2 * MINUTE)
        assert read(sessions, promoter).stripe_account_state is READY
        assert ring(sessions, NOW + 3 * MINUTE) == 1


def ring(sessions, now, **values):
    with sessions.begin() as session:
        return ring_for_readings(session, now, **values)


class TestRingForReadings:
    def test_the_longest_unread_come_first_and_never_more_than_a_round(self, sessions, announced):
        for number, minutes in enumerate([10, 30, None, 20]):
            read_at = None if minutes is None else NOW - minutes * MINUTE
            make(
                sessions,
                stripe_account_id=f"acct_{number}",
                stripe_account_state=PENDING,
                stripe_account_read_at=read_at,
            )
        assert ring(sessions, NOW, limit=3) == 3
        assert announced == [ReadAccount("acct_2"), ReadAccount("acct_1"), ReadAccount("acct_3")]

    @pytest.mark.parametrize(
        ("state", "unread_for", "is_due"),
        [
            (PENDING, timedelta(minutes=4), False),
            (PENDING, timedelta(minutes=6), True),
            (RESTRICTED, timedelta(minutes=6), True),
            (READY, timedelta(hours=23), False),
            (READY, timedelta(hours=25), True),
        ],
    )
    def test_those_that_are_not_ready_are_read_often_the_others_once_a_day(self, sessions, state, unread_for, is_due):
        make(sessions, stripe_account_state=state, stripe_account_read_at=NOW - unread_for)
        assert ring(sessions, NOW) == is_due

    def test_an_opening_whose_outcome_is_unknown_has_nothing_to_read(self, sessions, gateway, promoter):
        gateway.fail("open_account", LOST, after=True)
        with pytest.raises(UnknownOutcomeError):
            begin(sessions, gateway, promoter)
        assert ring(sessions, NOW + timedelta(days=2)) == 0

    def test_a_round_with_its_readings_leaves_nothing_to_ring(self, sessions, gateway, promoter, announced):
        account_id = begin(sessions, gateway, promoter).account_id
        later = NOW + timedelta(hours=1)
        assert ring(sessions, later) == 1
        assert ring(sessions, later) == 1  # a lost ring is rung again
        read_account(sessions, gateway, account_id, later)
        assert ring(sessions, later) == 0
        assert set(announced) == {ReadAccount(account_id)}
