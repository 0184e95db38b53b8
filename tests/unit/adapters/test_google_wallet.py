from datetime import UTC, datetime

import jwt
import pytest

from adapters.google_wallet import SAVE, GoogleWallet
from tests.fixtures.documents import EVENT_ID, TICKET_ID, event_facts, ticket_facts
from tests.fixtures.wallets import google_account, new_key

NOW = datetime(2027, 6, 1, 12, 0, tzinfo=UTC)
ISSUER = "3388000000022000001"


@pytest.fixture(scope="module")
def key():
    return new_key()


@pytest.fixture
def read(key):
    """Return what the link of a ticket claims, once its signature is verified."""

    def read(ticket):
        link = GoogleWallet(ISSUER, google_account(key)).link(ticket, NOW)
        assert link.startswith(SAVE)
        options = {"verify_iat": False}
        return jwt.decode(
            link.removeprefix(SAVE), key.public_key(), algorithms=["RS256"], audience="google", options=options
        )

    return read


def test_the_link_carries_the_signed_ticket_and_its_class(read):
    claims = read(ticket_facts())
    assert (claims["iss"], claims["typ"], claims["iat"]) == (
        "wallet-issuer@tickets-example.iam.gserviceaccount.com",
        "savetowallet",
        int(NOW.timestamp()),
    )
    (kind,), (ticket,) = claims["payload"]["eventTicketClasses"], claims["payload"]["eventTicketObjects"]
    assert kind["id"] == ticket["classId"] == f"{ISSUER}.{EVENT_ID.hex}"
    assert ticket["id"].startswith(f"{ISSUER}.{TICKET_ID.hex}.")
    assert ticket["barcode"]["value"] == ticket_facts().qr_payload
    assert kind["eventName"]["defaultValue"]["value"] == "Nordic Noise"
    assert kind["dateTime"] == {
        "start": "2027-07-03T19:30+02:00",
        "doorsOpen": "2027-07-03T18:30+02:00",
    }


def test_a_venue_without_an_address_is_left_out(read):
    (kind,) = read(ticket_facts(event=event_facts(address=None, doors_at=None)))["payload"]["eventTicketClasses"]
    assert "venue" not in kind
    assert "doorsOpen" not in kind["dateTime"]


def test_an_ordinary_link_is_about_as_short_as_google_asks(key):
    link = GoogleWallet(ISSUER, google_account(key)).link(ticket_facts(), NOW)
    assert len(link.removeprefix(SAVE)) <= 1_900


@pytest.mark.parametrize("account", [b"", b"[]", b"{}", b'{"client_email": "a@example.com", "private_key": "none"}'])
def test_a_key_file_that_is_none_stops_it(account):
    with pytest.raises(ValueError, match="GOOGLE_WALLET_ACCOUNT"):
        GoogleWallet(ISSUER, account)
