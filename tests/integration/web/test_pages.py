import re

import pytest
from sqlalchemy import func, select

from domain.models import AccountToken, User
from domain.one_time_tokens import hash_token
from domain.rules.states import AccountTokenPurpose
from tests.factories import PASSWORD, AccountTokenFactory, UserFactory

NEW = "eleven blue umbrellas"


@pytest.fixture
def user(sessions):
    with sessions.begin() as session:
        return UserFactory(session=session, email_verified=False)


@pytest.fixture
def link(sessions, user):
    """Return the token of a link with a given purpose."""

    def link(purpose):
        token = f"token-for-{purpose}"
        with sessions.begin() as session:
            AccountTokenFactory(session=session, user_id=user.id, purpose=purpose, token_hash=hash_token(token))
        return token

    return link


def count_used(sessions):
    with sessions() as session:
        return session.scalar(select(func.count()).select_from(AccountToken).where(AccountToken.used_at.is_not(None)))


class TestEveryPage:
    @pytest.mark.parametrize("path", ["/verify-email", "/reset-password"])
    def test_opening_a_link_changes_nothing(self, client, sessions, link, path):
        token = link(AccountTokenPurpose.VERIFY_EMAIL)
        for method in (client.get, client.head):
            assert method(f"{path}?token={token}").status_code == 200
        assert count_used(sessions) == 0

    @pytest.mark.parametrize("path", ["/verify-email", "/reset-password"])
    def test_needs_nothing_from_outside_and_keeps_the_token_to_itself(self, client, path):
        answer = client.get(f"{path}?token=secret-token")
        page = answer.get_data(as_text=True)
        assert not re.search(r'(?:src|href|action)="(?!/|data:)', page)
        assert "<script" not in page
        assert "script-src" not in answer.headers["Content-Security-Policy"]
        assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'")
        assert answer.headers["Referrer-Policy"] == "no-referrer"
        assert answer.headers["Cache-Control"] == "private, no-store"
        assert 'name="viewport"' in page

    def test_a_token_cannot_become_markup(self, client):
        page = client.get("/verify-email", query_string={"token": '"><script>alert(1)</script>'})
        assert "<script" not in page.get_data(as_text=True)

    def test_its_style_is_served(self, client):
        with client.get("/pages/page.css") as answer:
            assert (answer.status_code, answer.mimetype) == (200, "text/css")

    def test_serves_nothing_beside_its_parts(self, client):
        assert client.get("/pages/../accounts.py").status_code == 404
        assert client.get("/pages/..%2faccounts.py").status_code == 404


class TestVerifyEmail:
    def test_the_button_proves_the_address(self, client, sessions, user, link):
        token = link(AccountTokenPurpose.VERIFY_EMAIL)
        answer = client.post("/verify-email", data={"token": token})
        assert (answer.status_code, answer.mimetype) == (200, "text/html")
        with sessions() as session:
            assert session.get(User, user.id).email_verified

    def test_a_spent_link_says_so_as_a_page(self, client, link):
        token = link(AccountTokenPurpose.VERIFY_EMAIL)
        client.post("/verify-email", data={"token": token})
        answer = client.post("/verify-email", data={"token": token})
        assert (answer.status_code, answer.mimetype) == (409, "text/html")
        assert "has been used" in answer.get_data(as_text=True)

    @pytest.mark.parametrize("form", [{}, {"token": ""}, {"token": "x" * 3000}])
    def test_an_incomplete_link_says_so_as_a_page(self, client, form):
        answer = client.post("/verify-email", data=form)
        assert (answer.status_code, answer.mimetype) == (422, "text/html")


class TestResetPassword:
    def test_the_form_sets_the_password(self, client, user, link):
        token = link(AccountTokenPurpose.RESET_PASSWORD)
        answer = client.post("/reset-password", data={"token": token, "password": NEW})
        assert answer.status_code == 200
        log_in = {"email": user.email, "password": NEW}
        assert client.post("/api/v1/auth/login", json=log_in).status_code == 200
        assert client.post("/api/v1/auth/login", json={**log_in, "password": PASSWORD}).status_code == 401

    @pytest.mark.parametrize("password", ["short", "aaaaaaaaaaaaaaa", ""])
    def test_a_bad_password_is_asked_for_again(self, client, link, password):
        token = link(AccountTokenPurpose.RESET_PASSWORD)
        answer = client.post("/reset-password", data={"token": token, "password": password})
        page = answer.get_data(as_text=True)
        assert answer.status_code == 422
        assert 'role="alert"' in page
        assert f'value="{token}"' in page
        assert client.post("/reset-password", data={"token": token, "password": NEW}).status_code == 200

    def test_a_spent_link_says_so(self, client):
        answer = client.post("/reset-password", data={"token": "nobody's", "password": NEW})
        assert (answer.status_code, answer.mimetype) == (409, "text/html")
