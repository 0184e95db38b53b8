import base64
import secrets
from uuid import UUID, uuid4

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st

from adapters.ticket_signer import TicketSigner
from domain.errors import BadSignatureError
from domain.ports import TicketClaims

SEED = base64.b64encode(bytes(range(32))).decode()
OTHER_SEED = base64.b64encode(bytes(range(32, 64))).decode()
CLAIMS = TicketClaims(event_id=UUID(int=7), code="fWb1oQ6CwzXn2mKd8RtYpA", version=1)
ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


@pytest.fixture
def signer():
    return TicketSigner({"k1": SEED})


@given(st.uuids(), st.text(ALPHABET, min_size=1, max_size=64), st.integers(0, 0xFFFF))
def test_what_was_signed_is_read_back(event_id, code, version):
    signer = TicketSigner({"k1": SEED})
    claims = TicketClaims(event_id=event_id, code=code, version=version)
    assert signer.verify(signer.sign(claims)) == claims


def test_a_stranger_verifies_with_the_documented_bytes_and_the_public_key_alone(signer):
    text = signer.sign(CLAIMS)
    name, kid, body = text.split(".")
    raw = base64.urlsafe_b64decode(body + "=" * (-len(body) % 4))
    key = Ed25519PublicKey.from_public_bytes(signer.public_keys()[kid])
    key.verify(raw[-64:], f"{name}.{kid}.".encode() + raw[:-64])
    assert (name, kid) == ("TV1", "k1")
    assert raw[:16] == CLAIMS.event_id.bytes
    assert raw[16:18] == b"\x00\x01"
    assert raw[18:-64] == CLAIMS.code.encode()


def test_a_text_fits_a_small_code_and_a_url(signer):
    text = signer.sign(CLAIMS)
    assert len(text) <= 152  # What version 8 holds at level M.
    assert set(text) <= set(ALPHABET + ".")


@pytest.mark.parametrize("position", range(146))
def test_every_changed_character_is_noticed(signer, position):
    text = signer.sign(CLAIMS)
    assert len(text) == 146
    for replacement in {"A", "B", ".", "_", text[position].swapcase()} - {text[position]}:
        with pytest.raises(BadSignatureError):
            signer.verify(text[:position] + replacement + text[position + 1 :])


def test_only_one_spelling_of_a_ticket_is_accepted(signer):
    text = signer.sign(TicketClaims(event_id=UUID(int=7), code="x" * 23, version=1))
    last = ALPHABET.index(text[-1]) if text[-1] in ALPHABET else 0
    twins = [text[:-1] + ALPHABET[(last + step) % 64] for step in range(1, 4)]
    for twin in [*twins, text + "=", text + "\n", " " + text, text.replace(".", ".\n", 1)]:
        with pytest.raises(BadSignatureError):
            signer.verify(twin)


@pytest.mark.parametrize(
    "text",
    ["", "TV1", "TV1..", "TV1.k1.", "TV1.k1.AAAA", "TV1.k1.é", "TV2.k1.AAAA", "TV1.k1.A.B", "TV1.k1." + "A" * 5000],
)
def test_anything_else_is_no_ticket(signer, text):
    with pytest.raises(BadSignatureError):
        signer.verify(text)


@given(st.text(max_size=300))
def test_no_text_whatever_breaks_the_checker(text):
    with pytest.raises(BadSignatureError):
        TicketSigner({"k1": SEED}).verify(text)


def test_the_first_key_signs_and_all_keys_verify(signer):
    rotated = TicketSigner({"k2": OTHER_SEED, "k1": SEED})
    assert rotated.sign(CLAIMS).startswith("TV1.k2.")
    assert rotated.verify(signer.sign(CLAIMS)) == CLAIMS
    assert list(rotated.public_keys()) == ["k2", "k1"]


def test_a_key_that_has_left_the_ring_verifies_nothing(signer):
    with pytest.raises(BadSignatureError):
        TicketSigner({"k2": OTHER_SEED}).verify(signer.sign(CLAIMS))


def test_a_ticket_of_one_key_is_not_a_ticket_of_another_name(signer):
    twin = TicketSigner({"k2": SEED})
    with pytest.raises(BadSignatureError):
        twin.verify(signer.sign(CLAIMS).replace("k1", "k2"))


@pytest.mark.parametrize(
    "keys", [{}, {"": SEED}, {"a.b": SEED}, {"k" * 17: SEED}, {"k1": "AAAA"}, {"k1": "no base64!"}]
)
def test_a_malformed_keyring_is_refused_at_the_start(keys):
    with pytest.raises(ValueError, match="key"):
        TicketSigner(keys)


def test_a_refused_seed_is_not_repeated():
    seed = base64.b64encode(secrets.token_bytes(31)).decode()
    with pytest.raises(ValueError, match="k1") as refusal:
        TicketSigner({"k1": seed})
    assert seed not in str(refusal.value)


@pytest.mark.parametrize(("code", "version"), [("", 1), ("x" * 65, 1), ("x", -1), ("x", 65536), ("é", 1)])
def test_claims_that_do_not_fit_are_refused(signer, code, version):
    with pytest.raises(ValueError):  # noqa: PT011 any sentence will do
        signer.sign(TicketClaims(event_id=uuid4(), code=code, version=version))
