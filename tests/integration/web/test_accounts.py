from datetime import timedelta

import pytest
from sqlalchemy import func, select, update

from domain.models import AccountToken, AuditLog, AuditPersonalValue, EmailNotification, RefreshToken, User
from domain.one_time_tokens import TokenKeyring, with_link
from domain.rules.states import UserRole
from tests.factories import PASSWORD, UserFactory
from tests.fakes.password_hasher import FakePasswordHasher

AUTH = "/api/v1/auth"
ADA = {"email": "ada@example.com", "password": "nine purple elephants", "first_name": "Ada", "last_name": "Lovelace"}


@pytest.fixture
def user(sessions):
    with sessions.begin() as session:
        return UserFactory(session=session)


@pytest.fixture
def tokens(client, user):
    return client.post(f"{AUTH}/login", json={"email": user.email, "password": PASSWORD}).json


def bearer(token):
    return {"Authorization": f"Bearer {token}"}


def mailed_token(sessions, settings, template):
    """Return the token of the newest mail's link, as the worker writes it."""
    keyring = TokenKeyring.derived_from({kid: key.get_secret_value() for kid, key in settings.jwt_keys.items()})
    query = select(EmailNotification).where(EmailNotification.template == template)
    with sessions() as session:
        mail = session.scalars(query.order_by(EmailNotification.id.desc())).first()
    return with_link(template, mail.context, keyring, "http://shop")["link"].partition("?token=")[2]


def actions(sessions):
    with sessions() as session:
        return session.scalars(select(AuditLog.action).order_by(AuditLog.id)).all()


class TestRegister:
    def test_opens_an_account_that_works_at_once(self, client):
        answer = client.post(f"{AUTH}/register", json=ADA)
        assert answer.status_code == 201
        assert answer.headers["Location"] == f"{AUTH}/me"
        body = answer.json
        assert (body["email"], body["first_name"], body["role"]) == ("ada@example.com", "Ada", "user")
        assert body["email_verified"] is False
        assert not any("password" in name for name in body)
        assert (
            client.post(f"{AUTH}/login", json={"email": ADA["email"], "password": ADA["password"]}).status_code == 200
        )

    def test_stores_a_bcrypt_hash(self, client, sessions):
        client.post(f"{AUTH}/register", json=ADA)
        with sessions() as session:
            stored = session.scalars(select(User.password_hash)).one()
        assert stored.startswith("$2b$")
        assert ADA["password"] not in stored

    @pytest.mark.parametrize("extra", [{"role": "admin"}, {"is_active": True}, {"email_verified": True}])
    def test_refuses_what_is_not_for_the_client_to_say(self, client, extra):
        answer = client.post(f"{AUTH}/register", json={**ADA, **extra})
        assert answer.status_code == 422
        assert answer.json["errors"][0]["pointer"] == f"/{next(iter(extra))}"

    def test_refuses_a_taken_address_whatever_its_case(self, client):
        client.post(f"{AUTH}/register", json=ADA)
        answer = client.post(f"{AUTH}/register", json={**ADA, "email": "ADA@Example.com"})
        assert (answer.status_code, answer.json["code"]) == (409, "email-taken")

    def test_an_address_is_free_again_after_its_account_was_deleted(self, client, sessions):
        client.post(f"{AUTH}/register", json=ADA)
        with sessions.begin() as session:
            session.execute(update(User).values(deleted_at=func.now()))
        assert client.post(f"{AUTH}/register", json=ADA).status_code == 201

    @pytest.mark.parametrize(
        "password", ["short", "1234567890", "aaaaaaaaaaaaaaa", "ada ada.ada", "password123", "x" * 129]
    )
    def test_refuses_passwords_that_are_easy_to_guess(self, client, password):
        answer = client.post(f"{AUTH}/register", json={**ADA, "email": "ada.l@example.com", "password": password})
        assert answer.status_code == 422
        assert answer.json["errors"][0]["pointer"] == "/password"
        assert password not in answer.get_data(as_text=True)

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("email", "no address"),
            ("email", "a@b@c.example"),
            ("email", f"{'x' * 250}@example.com"),
            ("email", 7),
            ("email", "nul\x00@example.com"),
            ("first_name", "nul\x00"),
            ("first_name", "   "),
            ("first_name", "x" * 201),
            ("first_name", None),
            ("phone", "call me"),
            ("password", 12345678901),
        ],
    )
    def test_points_at_what_is_wrong(self, client, field, value):
        answer = client.post(f"{AUTH}/register", json={**ADA, field: value})
        assert (answer.status_code, answer.json["code"]) == (422, "validation-failed")
        assert [error["pointer"] for error in answer.json["errors"]] == [f"/{field}"]

    def test_mails_a_link_without_storing_its_token(self, client, sessions, settings, announced):
        client.post(f"{AUTH}/register", json=ADA)
        token = mailed_token(sessions, settings, "verify_email")
        with sessions() as session:
            mail = session.scalars(select(EmailNotification)).one()
            kept = session.scalars(select(AccountToken)).one()
        assert mail.recipient == ADA["email"]
        assert token not in f"{mail.context} {mail.purpose} {kept.token_hash} {announced}"
        assert [message.task for message in announced] == ["notifications.send"]

    def test_is_audited_with_personal_values_beside_the_log(self, client, sessions):
        client.post(f"{AUTH}/register", json=ADA, headers={"X-Request-ID": "req-1"})
        with sessions() as session:
            entry = session.scalars(select(AuditLog)).one()
            values = {value.field: value.new_value for value in session.scalars(select(AuditPersonalValue))}
        assert (entry.action, entry.entity_id, entry.request_id) == ("user.register", entry.actor_id, "req-1")
        assert "ada" not in str(entry.new_data).lower()
        assert values == {"email": ADA["email"], "first_name": "Ada", "last_name": "Lovelace"}

    def test_says_when_to_come_again_while_too_many_passwords_are_hashed(self, app, client, services):
        busy = FakePasswordHasher()
        busy.busy = True
        app.extensions["ticket_vendor"] = type(services)(services.settings, services.sessions, busy, services.clock)
        answer = client.post(f"{AUTH}/register", json=ADA)
        assert (answer.status_code, answer.json["code"]) == (503, "busy")
        assert answer.headers["Retry-After"] in {"2", "3"}


class TestLogIn:
    def test_returns_tokens_and_the_user(self, client, user, sessions):
        answer = client.post(f"{AUTH}/login", json={"email": user.email.upper(), "password": PASSWORD})
        assert answer.status_code == 200
        assert answer.headers["Cache-Control"] == "no-store"
        assert (answer.json["expires_in"], answer.json["refresh_expires_in"]) == (900, 604800)
        assert answer.json["user"]["id"] == str(user.id)
        assert client.get(f"{AUTH}/me", headers=bearer(answer.json["access_token"])).json["email"] == user.email
        with sessions() as session:
            assert session.get(User, user.id).last_login_at is not None
        assert actions(sessions) == ["user.log_in"]

    def test_refuses_unknown_wrong_and_closed_alike(self, client, user, sessions):
        with sessions.begin() as session:
            closed = UserFactory(session=session, is_active=False)
        answers = [
            client.post(f"{AUTH}/login", json={"email": email, "password": password})
            for email, password in [
                ("nobody@example.com", PASSWORD),
                (user.email, "a wrong password"),
                (closed.email, PASSWORD),
            ]
        ]
        assert {answer.status_code for answer in answers} == {401}
        bodies = [answer.json for answer in answers]
        assert bodies[0]["code"] == "invalid-credentials"
        assert bodies[0] == bodies[1] == bodies[2]

    def test_hashes_for_an_unknown_address_too(self, app, client, services):
        asked = []

        class Recorder(FakePasswordHasher):
            def verify(self, password, password_hash):
                asked.append(password_hash)
                return services.hasher.verify(password, password_hash)

        app.extensions["ticket_vendor"] = type(services)(
            services.settings, services.sessions, Recorder(), services.clock
        )
        client.post(f"{AUTH}/login", json={"email": "nobody@example.com", "password": "x"})
        assert [stored[:7] for stored in asked] == ["$2b$04$"]
        assert len(asked[0]) == 60

    def test_a_failure_of_a_known_account_is_audited_by_nobody(self, client, user, sessions):
        client.post(f"{AUTH}/login", json={"email": user.email, "password": "a wrong password"})
        with sessions() as session:
            entry = session.scalars(select(AuditLog)).one()
        assert (entry.action, entry.actor_id, entry.entity_id) == ("user.log_in_failed", None, user.id)


class TestRefresh:
    def test_rotates_the_token(self, client, tokens):
        answer = client.post(f"{AUTH}/refresh", json={"refresh_token": tokens["refresh_token"]})
        assert answer.status_code == 200
        assert answer.json["refresh_token"] != tokens["refresh_token"]
        assert client.get(f"{AUTH}/me", headers=bearer(answer.json["access_token"])).status_code == 200

    def test_a_used_token_ends_the_log_in(self, client, tokens, sessions):
        second = client.post(f"{AUTH}/refresh", json={"refresh_token": tokens["refresh_token"]}).json
        again = client.post(f"{AUTH}/refresh", json={"refresh_token": tokens["refresh_token"]})
        assert (again.status_code, again.json["code"]) == (401, "token-invalid")
        thief = client.post(f"{AUTH}/refresh", json={"refresh_token": second["refresh_token"]})
        assert thief.status_code == 401
        assert "user.token_reused" in actions(sessions)

    def test_another_log_in_of_the_same_person_goes_on(self, client, tokens, user):
        other = client.post(f"{AUTH}/login", json={"email": user.email, "password": PASSWORD}).json
        for _ in range(2):
            client.post(f"{AUTH}/refresh", json={"refresh_token": tokens["refresh_token"]})
        assert client.post(f"{AUTH}/refresh", json={"refresh_token": other["refresh_token"]}).status_code == 200

    def test_an_access_token_does_not_refresh(self, client, tokens):
        answer = client.post(f"{AUTH}/refresh", json={"refresh_token": tokens["access_token"]})
        assert (answer.status_code, answer.json["code"]) == (401, "token-invalid")

    def test_a_refresh_token_gives_no_access(self, client, tokens):
        answer = client.get(f"{AUTH}/me", headers=bearer(tokens["refresh_token"]))
        assert (answer.status_code, answer.json["code"]) == (401, "token-invalid")

    def test_an_expired_one_does_not_refresh(self, client, tokens, clock):
        clock.advance(days=7, seconds=1)
        assert client.post(f"{AUTH}/refresh", json={"refresh_token": tokens["refresh_token"]}).status_code == 401

    def test_a_closed_account_does_not_refresh(self, client, tokens, sessions):
        with sessions.begin() as session:
            session.execute(update(User).values(is_active=False))
        assert client.post(f"{AUTH}/refresh", json={"refresh_token": tokens["refresh_token"]}).status_code == 401

    def test_brings_the_role_of_now(self, client, tokens, sessions):
        with sessions.begin() as session:
            session.execute(update(User).values(role=UserRole.PROMOTER))
        answer = client.post(f"{AUTH}/refresh", json={"refresh_token": tokens["refresh_token"]})
        assert answer.json["user"]["role"] == "promoter"


class TestLogOut:
    def test_ends_the_family(self, client, tokens, sessions):
        assert client.post(f"{AUTH}/logout", headers=bearer(tokens["access_token"])).status_code == 204
        assert client.post(f"{AUTH}/refresh", json={"refresh_token": tokens["refresh_token"]}).status_code == 401
        assert actions(sessions) == ["user.log_in", "user.log_out"]

    def test_twice_is_as_good_as_once(self, client, tokens):
        for _ in range(2):
            assert client.post(f"{AUTH}/logout", headers=bearer(tokens["access_token"])).status_code == 204


class TestProfile:
    def test_changes_only_what_is_sent(self, log_in, user, sessions):
        answer = log_in(user).patch(f"{AUTH}/me", json={"first_name": "Augusta"})
        assert (answer.status_code, answer.json["first_name"], answer.json["last_name"]) == (
            200,
            "Augusta",
            user.last_name,
        )
        with sessions() as session:
            values = session.scalars(select(AuditPersonalValue)).all()
        assert [(value.field, value.old_value, value.new_value) for value in values] == [
            ("first_name", "Ada", "Augusta")
        ]

    def test_null_clears_the_phone(self, log_in, user):
        browser = log_in(user)
        assert browser.patch(f"{AUTH}/me", json={"phone": "+49 30 901820"}).json["phone"] == "+49 30 901820"
        assert browser.patch(f"{AUTH}/me", json={"phone": None}).json["phone"] is None

    @pytest.mark.parametrize(
        "change", [{"role": "admin"}, {"email": "x@example.com"}, {"first_name": ""}, {"first_name": None}]
    )
    def test_refuses_the_rest(self, log_in, user, change):
        assert log_in(user).patch(f"{AUTH}/me", json=change).status_code == 422


class TestVerifyEmail:
    def test_proves_the_address_once(self, client, sessions, settings):
        client.post(f"{AUTH}/register", json=ADA)
        token = mailed_token(sessions, settings, "verify_email")
        answer = client.post(f"{AUTH}/verify-email", json={"token": token})
        assert (answer.status_code, answer.json["email_verified"]) == (200, True)
        again = client.post(f"{AUTH}/verify-email", json={"token": token})
        assert (again.status_code, again.json["code"]) == (409, "link-spent")

    def test_expires_after_three_days(self, client, sessions, settings, clock):
        client.post(f"{AUTH}/register", json=ADA)
        token = mailed_token(sessions, settings, "verify_email")
        clock.advance(days=3)
        assert client.post(f"{AUTH}/verify-email", json={"token": token}).json["code"] == "link-spent"

    def test_a_token_of_nobody_is_as_good_as_a_spent_one(self, client):
        assert client.post(f"{AUTH}/verify-email", json={"token": "x" * 43}).json["code"] == "link-spent"

    def test_a_new_link_replaces_the_old_one(self, client, log_in, sessions, settings, clock):
        client.post(f"{AUTH}/register", json=ADA)
        old = mailed_token(sessions, settings, "verify_email")
        with sessions() as session:
            browser = log_in(session.scalars(select(User)).one())
        clock.advance(seconds=90)
        assert browser.post(f"{AUTH}/verify-email/resend").status_code == 202
        new = mailed_token(sessions, settings, "verify_email")
        assert new != old
        assert client.post(f"{AUTH}/verify-email", json={"token": old}).status_code == 409
        assert client.post(f"{AUTH}/verify-email", json={"token": new}).status_code == 200

    def test_mails_are_not_sent_again_at_once_nor_without_end(self, client, log_in, sessions, clock):
        client.post(f"{AUTH}/register", json=ADA)
        with sessions() as session:
            browser = log_in(session.scalars(select(User)).one())
        assert browser.post(f"{AUTH}/verify-email/resend").status_code == 202
        with sessions() as session:
            assert len(session.scalars(select(EmailNotification)).all()) == 1
        for _ in range(8):
            clock.advance(seconds=61)
            with sessions.begin() as session:
                # Rows are dated by the database, whose clock stands still for this test.
                moved = EmailNotification.created_at - timedelta(seconds=61)
                session.execute(update(EmailNotification).values(created_at=moved))
            browser.post(f"{AUTH}/verify-email/resend")
        with sessions() as session:
            assert len(session.scalars(select(EmailNotification)).all()) == 5


class TestPasswordReset:
    def test_sets_a_new_password_and_ends_every_log_in(self, client, user, tokens, sessions, settings):
        assert client.post(f"{AUTH}/password/forgot", json={"email": user.email}).status_code == 202
        token = mailed_token(sessions, settings, "password_reset")
        new = "eleven blue umbrellas"
        assert client.post(f"{AUTH}/password/reset", json={"token": token, "password": new}).status_code == 204
        assert client.post(f"{AUTH}/login", json={"email": user.email, "password": PASSWORD}).status_code == 401
        assert client.post(f"{AUTH}/login", json={"email": user.email, "password": new}).status_code == 200
        assert client.post(f"{AUTH}/refresh", json={"refresh_token": tokens["refresh_token"]}).status_code == 401
        again = client.post(f"{AUTH}/password/reset", json={"token": token, "password": new})
        assert again.json["code"] == "link-spent"
        assert "user.reset_password" in actions(sessions)

    def test_the_answer_is_the_same_for_an_unknown_address(self, client, user, sessions):
        known = client.post(f"{AUTH}/password/forgot", json={"email": user.email})
        unknown = client.post(f"{AUTH}/password/forgot", json={"email": "nobody@example.com"})
        assert (known.status_code, known.json) == (unknown.status_code, unknown.json)
        with sessions() as session:
            assert session.scalars(select(EmailNotification.recipient)).all() == [user.email]

    def test_expires_after_half_an_hour(self, client, user, sessions, settings, clock):
        client.post(f"{AUTH}/password/forgot", json={"email": user.email})
        token = mailed_token(sessions, settings, "password_reset")
        clock.advance(minutes=30)
        answer = client.post(f"{AUTH}/password/reset", json={"token": token, "password": "eleven blue umbrellas"})
        assert answer.json["code"] == "link-spent"

    def test_a_weak_password_does_not_spend_the_link(self, client, user, sessions, settings):
        client.post(f"{AUTH}/password/forgot", json={"email": user.email})
        token = mailed_token(sessions, settings, "password_reset")
        weak = client.post(f"{AUTH}/password/reset", json={"token": token, "password": "aaaaaaaaaaaa"})
        assert weak.json["errors"][0]["pointer"] == "/password"
        good = client.post(f"{AUTH}/password/reset", json={"token": token, "password": "eleven blue umbrellas"})
        assert good.status_code == 204

    def test_a_link_that_proves_an_address_sets_no_password(self, client, sessions, settings):
        client.post(f"{AUTH}/register", json=ADA)
        token = mailed_token(sessions, settings, "verify_email")
        answer = client.post(f"{AUTH}/password/reset", json={"token": token, "password": "eleven blue umbrellas"})
        assert answer.json["code"] == "link-spent"


class TestTokens:
    def test_rows_say_who_logged_in_from_where(self, client, user, sessions):
        client.post(
            f"{AUTH}/login", json={"email": user.email, "password": PASSWORD}, headers={"User-Agent": "Firefox"}
        )
        with sessions() as session:
            token = session.scalars(select(RefreshToken)).one()
        assert (token.ip, token.user_agent) == ("127.0.0.1", "Firefox")

    @pytest.mark.parametrize("header", ["Bearer", "Bearer x", "Basic YTpi", "Bearer a.b.c", "bearer  ", "Bearer é"])
    def test_a_malformed_one_is_refused_even_where_none_is_needed(self, client, header):
        answer = client.get("/openapi.json", headers={"Authorization": header})
        assert (answer.status_code, answer.json["code"]) == (401, "token-invalid")
        assert answer.headers["WWW-Authenticate"] == "Bearer"

    def test_without_one_the_answer_says_what_to_do(self, client):
        answer = client.get(f"{AUTH}/me")
        assert (answer.status_code, answer.json["code"]) == (401, "unauthenticated")
