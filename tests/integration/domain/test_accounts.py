import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import func, select, text
from sqlalchemy.exc import ProgrammingError
from uuid_utils.compat import uuid7

from domain import accounts, audit, logins, users
from domain.accounts import Registration
from domain.audit import Actor, Search
from domain.errors import ConflictError, DomainError, InvalidError, NotFoundError, UnauthenticatedError
from domain.models import AccountToken, AuditLog, AuditPersonalValue, EmailNotification, RefreshToken, User
from domain.one_time_tokens import TokenKeyring, hash_token
from domain.rules.states import AccountTokenPurpose, UserRole
from tests.factories import AccountTokenFactory, RefreshTokenFactory, UserFactory
from tests.fakes.password_hasher import FakePasswordHasher

NOW = datetime(2026, 6, 1, 10, 0, tzinfo=UTC)
KEYRING = TokenKeyring.derived_from({"a": "secret"})
STRANGER = Actor(ip="192.0.2.1", user_agent="x" * 1000, request_id="req-1")
WEEK = timedelta(days=7)
ADA = Registration("ada@example.com", "nine purple elephants", "Ada", "Lovelace")


@pytest.fixture
def hasher():
    return FakePasswordHasher()


def register(sessions, hasher, registration=ADA):
    return accounts.register(sessions, hasher, registration, STRANGER, keyring=KEYRING, now=NOW)


def log_in(sessions, hasher, email=ADA.email, password=ADA.password):
    return logins.log_in(sessions, hasher, (email, password), STRANGER, decoy_hash="fake$", lifetime=WEEK, now=NOW)


def refresh(sessions, token_id, now=NOW):
    return logins.refresh(sessions, token_id, STRANGER, lifetime=WEEK, now=now)


def at_once(*calls):
    """Run calls on connections of their own, all released at the same moment; return results, or what was raised."""
    start = threading.Barrier(len(calls))

    def run(call):
        start.wait(timeout=10)
        try:
            return call()
        except DomainError as error:
            return error

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(run, calls))


class TestRaces:
    def test_of_two_registrations_for_one_address_one_wins(self, sessions, hasher):
        outcomes = at_once(*[lambda: register(sessions, hasher)] * 4)
        refused = [outcome for outcome in outcomes if isinstance(outcome, DomainError)]
        assert {error.code for error in refused} == {"email-taken"}
        assert len(refused) == 3
        with sessions() as session:
            assert session.scalar(select(func.count()).select_from(User)) == 1
            assert session.scalar(select(func.count()).select_from(EmailNotification)) == 1

    def test_a_refresh_token_is_exchanged_once_however_many_ask(self, sessions, hasher):
        register(sessions, hasher)
        _, grant = log_in(sessions, hasher)
        outcomes = at_once(*[lambda: refresh(sessions, grant.token_id)] * 6)
        assert sum(not isinstance(outcome, DomainError) for outcome in outcomes) == 1
        with sessions() as session:
            # Whoever came second may be a thief: the whole family has ended, the winner's new token too.
            assert session.scalars(select(RefreshToken.revoked_at)).all() == [NOW, NOW]

    def test_a_link_is_spent_once(self, sessions):
        with sessions.begin() as session:
            user = UserFactory(session=session)
            AccountTokenFactory(session=session, user_id=user.id, token_hash=hash_token("t"))
        now = datetime.now(UTC)

        def spend():
            with sessions.begin() as session:
                return accounts.verify_email(session, "t", STRANGER, now)

        outcomes = at_once(*[spend] * 4)
        assert sum(isinstance(outcome, User) for outcome in outcomes) == 1

    def test_two_admins_cannot_remove_each_other(self, sessions):
        with sessions.begin() as session:
            first, second = (UserFactory(session=session, role=UserRole.ADMIN) for _ in range(2))

        def demote(actor, user):
            def call():
                with sessions.begin() as session:
                    by = Actor(actor.id, UserRole.ADMIN)
                    return users.change_user(session, by, user.id, {"role": UserRole.USER}, NOW)

            return call

        outcomes = at_once(demote(first, second), demote(second, first))
        assert sorted(type(outcome).__name__ for outcome in outcomes) == ["ConflictError", "User"]


class TestRegister:
    def test_nothing_is_kept_of_a_refused_one(self, sessions, hasher, announced):
        with pytest.raises(InvalidError):
            register(sessions, hasher, Registration("ada@example.com", "1234567890", "Ada", "L"))
        with sessions() as session:
            assert session.scalar(select(func.count()).select_from(User)) == 0
        assert announced == []

    def test_an_integrity_error_of_another_kind_is_not_called_taken(self, sessions, hasher):
        with pytest.raises(Exception, match="email_shape"):
            register(sessions, hasher, Registration("no address", "nine purple elephants", "Ada", "L"))


class TestLogIn:
    def test_holds_no_connection_while_hashing(self, engine, sessions, hasher):
        register(sessions, hasher)
        held = []

        class Watching(FakePasswordHasher):
            def verify(self, password, password_hash):
                held.append(engine.pool.checkedout())
                return hasher.verify(password, password_hash)

        log_in(sessions, Watching())
        assert held == [0]

    def test_families_are_apart(self, sessions, hasher):
        register(sessions, hasher)
        grants = [log_in(sessions, hasher)[1] for _ in range(2)]
        assert grants[0].family_id != grants[1].family_id
        with sessions.begin() as session:
            logins.log_out(session, Actor(grants[0].user_id), grants[0].family_id, NOW)
        assert refresh(sessions, grants[1].token_id)
        with pytest.raises(UnauthenticatedError):
            refresh(sessions, grants[0].token_id)

    def test_nobody_ends_the_family_of_another(self, sessions, hasher, session):
        register(sessions, hasher)
        _, grant = log_in(sessions, hasher)
        with sessions.begin() as own:
            other = UserFactory(session=own)
            logins.log_out(own, Actor(other.id), grant.family_id, NOW)
        assert refresh(sessions, grant.token_id)

    def test_user_agents_are_cut(self, sessions, hasher):
        register(sessions, hasher)
        log_in(sessions, hasher)
        with sessions() as session:
            assert len(session.scalars(select(RefreshToken.user_agent)).one()) == audit.USER_AGENT_LENGTH
            assert {len(agent) for agent in session.scalars(select(AuditLog.user_agent))} == {audit.USER_AGENT_LENGTH}

    def test_an_unknown_token_does_not_refresh(self, sessions):
        with pytest.raises(UnauthenticatedError):
            refresh(sessions, uuid7())

    def test_a_strangers_log_out_finds_no_account(self, session):
        with pytest.raises(NotFoundError):
            logins.log_out(session, Actor(uuid7()), uuid7(), NOW)


class TestTidying:
    def test_only_what_has_expired_goes(self, session):
        user = UserFactory(session=session)
        kept = RefreshTokenFactory(session=session, user_id=user.id)
        RefreshTokenFactory(session=session, user_id=user.id, created_at=NOW, expires_at=NOW + timedelta(1))
        AccountTokenFactory(session=session, user_id=user.id, created_at=NOW, expires_at=NOW + timedelta(1))
        later = NOW + timedelta(2)
        assert (logins.delete_expired(session, later), accounts.delete_expired_tokens(session, later)) == (1, 1)
        assert session.scalars(select(RefreshToken.id)).all() == [kept.id]


class TestProfile:
    def test_what_stays_the_same_is_not_written_down(self, session):
        user = UserFactory(session=session)
        accounts.edit_profile(session, Actor(user.id), {"first_name": user.first_name})
        assert session.scalar(select(func.count()).select_from(AuditLog)) == 0

    @pytest.mark.parametrize("state", [{"is_active": False}, {"deleted_at": NOW}])
    def test_a_closed_account_is_not_found(self, session, state):
        user = UserFactory(session=session, **state)
        with pytest.raises(NotFoundError):
            accounts.find_user(session, user.id)
        assert logins.read_role(session, user.id) is None

    def test_nobody_has_no_profile(self, session):
        with pytest.raises(NotFoundError):
            accounts.edit_profile(session, Actor(), {"first_name": "X"})
        with pytest.raises(NotFoundError):
            accounts.resend_verification(session, Actor(), keyring=KEYRING, now=NOW)


class TestLinks:
    def test_an_address_is_proven_by_a_new_password_too(self, sessions, hasher):
        with sessions.begin() as session:
            user = UserFactory(session=session, email_verified=False)
            accounts.request_password_reset(session, user.email, STRANGER, keyring=KEYRING, now=datetime.now(UTC))
        with sessions() as session:
            token = KEYRING.token(session.scalars(select(AccountToken.id)).one(), "a")
        accounts.reset_password(sessions, hasher, token, "eleven blue umbrellas", STRANGER, now=datetime.now(UTC))
        with sessions() as session:
            assert session.get(User, user.id).email_verified

    def test_a_proven_address_gets_no_more_mail(self, session):
        user = UserFactory(session=session)
        accounts.resend_verification(session, Actor(user.id), keyring=KEYRING, now=NOW)
        assert session.scalar(select(func.count()).select_from(EmailNotification)) == 0

    @pytest.mark.parametrize("state", [{"is_active": False}, {"deleted_at": NOW}])
    def test_a_closed_account_gets_none_either_and_spends_no_link(self, session, state):
        user = UserFactory(session=session, **state)
        accounts.request_password_reset(session, user.email, STRANGER, keyring=KEYRING, now=NOW)
        assert session.scalar(select(func.count()).select_from(EmailNotification)) == 0
        AccountTokenFactory(session=session, user_id=user.id, token_hash=hash_token("t"))
        with pytest.raises(ConflictError):
            accounts.verify_email(session, "t", STRANGER, datetime.now(UTC))

    def test_a_used_link_spends_its_siblings(self, session):
        user = UserFactory(session=session)
        for letter in "ab":
            AccountTokenFactory(session=session, user_id=user.id, token_hash=hash_token(letter))
        reset = AccountTokenFactory(session=session, user_id=user.id, purpose=AccountTokenPurpose.RESET_PASSWORD)
        accounts.verify_email(session, "a", STRANGER, datetime.now(UTC))
        with pytest.raises(ConflictError):
            accounts.verify_email(session, "b", STRANGER, datetime.now(UTC))
        session.refresh(reset)
        assert reset.used_at is None


class TestAudit:
    def test_goes_with_the_act(self, sessions):
        with sessions.begin() as session:
            user = UserFactory(session=session)
        with sessions() as session:
            accounts.edit_profile(session, Actor(user.id), {"first_name": "Augusta"})
            session.rollback()
        with sessions() as session:
            assert session.scalar(select(func.count()).select_from(AuditLog)) == 0
            assert session.scalar(select(func.count()).select_from(AuditPersonalValue)) == 0

    def test_says_who_what_and_through_which_request(self, session):
        user = UserFactory(session=session)
        actor = Actor(user.id, UserRole.USER, "192.0.2.1", "Firefox", "req-1")
        entry = audit.record(session, actor, "user.update", user, old={"a": 1}, new={"a": 2})
        session.flush()
        assert (entry.actor_id, entry.entity_type, entry.entity_id) == (user.id, "User", user.id)
        assert (entry.ip, entry.user_agent, entry.request_id) == ("192.0.2.1", "Firefox", "req-1")
        assert entry.is_update

    def test_personal_values_belong_to_the_one_who_is_named(self, session):
        owner, thing = UserFactory(session=session), UserFactory(session=session)
        audit.record(session, Actor(), "user.update", thing, personal={"phone": (None, "1")}, subject_id=owner.id)
        assert session.scalars(select(AuditPersonalValue.subject_id)).one() == owner.id

    def test_a_new_row_gets_its_id_first(self, session):
        user = User(email="a@example.com", password_hash="x", first_name="A", last_name="B")
        session.add(user)
        assert audit.record(session, Actor(), "user.register", user).entity_id == user.id

    def test_cannot_be_changed_or_deleted(self, session):
        audit.record(session, Actor(), "user.update", UserFactory(session=session))
        session.flush()
        for statement in ("UPDATE audit_logs SET action = 'a.b'", "DELETE FROM audit_logs"):
            with pytest.raises(ProgrammingError, match="permission denied"), session.begin_nested():
                session.execute(text(statement))

    def test_is_searched_newest_first(self, session):
        user = UserFactory(session=session)
        entries = [audit.record(session, Actor(user.id), "user.update", user) for _ in range(3)]
        session.flush()
        found = audit.search(session, Search(actor_id=user.id), before=entries[2].id, limit=1)
        assert [entry.id for entry in found] == [entries[1].id, entries[0].id]
