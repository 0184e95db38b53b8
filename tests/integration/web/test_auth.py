from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from uuid_utils.compat import uuid7

from domain.errors import UnauthenticatedError
from domain.logins import Grant
from domain.rules.states import UserRole
from web import auth
from web.auth import EXTENSION, Bearers, issue_tokens


@pytest.fixture
def bearers(app):
    with app.app_context():
        yield Bearers()


@pytest.fixture
def decoded(monkeypatch):
    """Return the tokens that were really decoded."""
    tokens, decode = [], auth._decode
    monkeypatch.setattr(auth, "_decode", lambda token, kind: tokens.append(token) or decode(token, kind))
    return tokens


def tokens_of(user_id=None, role=UserRole.USER):
    now = datetime.now(UTC)
    return issue_tokens(role, Grant(user_id or uuid7(), uuid7(), uuid7(), now, now + timedelta(days=7)))


def test_the_same_bytes_are_checked_once_and_say_the_same(bearers, decoded):
    user_id = uuid7()
    access, _ = tokens_of(user_id, UserRole.PROMOTER)
    first, second = bearers.identify(access), bearers.identify(access)
    assert first == second
    assert (first.user_id, first.role) == (user_id, UserRole.PROMOTER)
    assert decoded == [access]


def test_a_token_that_was_known_expires_all_the_same(bearers, monkeypatch, settings):
    access, _ = tokens_of()
    bearers.identify(access)
    ends = datetime.now(UTC).timestamp() + settings.jwt_access_seconds
    monkeypatch.setattr("jwt.api_jwt.datetime", _At(ends))
    monkeypatch.setattr(auth, "time", SimpleNamespace(time=lambda: ends))
    with pytest.raises(UnauthenticatedError) as refusal:
        bearers.identify(access)
    assert refusal.value.code == "token-expired"


class _At:
    """The machine's clock, as PyJWT asks it."""

    def __init__(self, seconds):
        self._seconds = seconds

    def now(self, tz=None):
        return datetime.fromtimestamp(self._seconds, tz)


def test_what_was_refused_is_refused_again(bearers, decoded):
    _, refresh = tokens_of()
    access, _ = tokens_of()
    head, body, signature = access.split(".")
    forged = f"{head}.{body}.{signature[:-2]}{'AA' if signature[-2:] != 'AA' else 'BB'}"
    bearers.identify(access)
    for token in (forged, forged, refresh, refresh, "", "ü"):
        with pytest.raises(UnauthenticatedError) as refusal:
            bearers.identify(token)
        assert refusal.value.code == "token-invalid"
    assert len(decoded) == 7


def test_only_so_many_are_kept_and_no_token_lies_among_them(app, bearers, monkeypatch):
    monkeypatch.setattr(auth, "BEARERS_KEPT", 3)
    few = Bearers()
    tokens = [tokens_of()[0] for _ in range(5)]
    assert len({few.identify(token).user_id for token in tokens}) == 5
    assert len(few._kept) == 3
    assert not {token.encode() for token in tokens} & set(few._kept)


def test_a_role_that_was_read_again_does_not_stay_with_the_token(app, bearers):
    access, _ = tokens_of(role=UserRole.USER)
    identity = app.extensions[EXTENSION].identify(access)
    with pytest.raises(AttributeError):
        identity.role = UserRole.ADMIN
