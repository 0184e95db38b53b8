import pytest

from domain.audit import Actor
from domain.errors import NotFoundError
from domain.mail_links import let_buyer_in, let_waiter_in, offer_path, order_path
from domain.one_time_tokens import TokenKeyring
from domain.rules.states import UserRole
from tests.factories import OrderFactory, UserFactory, WaitlistFactory, bound_to

KEYRING = TokenKeyring({"k1": b"1" * 32})
STRANGER = Actor(ip="192.0.2.1", user_agent="a browser", request_id="r-1")
DOORS = [(OrderFactory, order_path, let_buyer_in), (WaitlistFactory, offer_path, let_waiter_in)]


@pytest.mark.parametrize(("factory", "path", "let_in"), DOORS)
def test_a_link_makes_its_holder_the_rows_user_and_a_buyer_whatever_else_they_are(session, factory, path, let_in):
    with bound_to(session):
        row = factory(user=UserFactory(role=UserRole.ADMIN))
    token = path(KEYRING, row.id).partition("?token=")[2]
    person = let_in(session, KEYRING, row.id, token, STRANGER)
    assert person == Actor(row.user_id, UserRole.USER, STRANGER.ip, STRANGER.user_agent, STRANGER.request_id)


@pytest.mark.parametrize(("factory", "path", "let_in"), DOORS)
def test_the_other_links_token_makes_nobody(session, factory, path, let_in):
    with bound_to(session):
        row = factory()
    other = offer_path if path is order_path else order_path
    token = other(KEYRING, row.id).partition("?token=")[2]
    with pytest.raises(NotFoundError):
        let_in(session, KEYRING, row.id, token, STRANGER)
