import base64
import secrets
from datetime import UTC, datetime
from uuid import UUID

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from adapters.receipt_signer import ReceiptSigner
from domain.fairness import PlaceInLine
from domain.rules.fairness import Head, head_text, receipt_text

SEED = base64.b64encode(bytes(range(32))).decode()
OTHER_SEED = base64.b64encode(bytes(range(32, 64))).decode()
TIER, HEAD = UUID(int=1), Head(3, bytes(range(32)))
PLACE = PlaceInLine(UUID(int=2), 7, 1, datetime(2027, 1, 1, tzinfo=UTC), UUID(int=9))


def verify(signer, signature, message):
    Ed25519PublicKey.from_public_bytes(signer.public_keys()[signature.kid]).verify(signature.value, message)


def test_a_stranger_verifies_with_the_documented_bytes_and_the_public_key_alone():
    signer = ReceiptSigner({"r1": SEED})
    verify(signer, signer.sign_receipt(PLACE, TIER), receipt_text(PLACE, TIER, "r1"))
    verify(signer, signer.sign_head(TIER, HEAD), head_text(TIER, HEAD, "r1"))
    with pytest.raises(InvalidSignature):
        verify(signer, signer.sign_head(TIER, HEAD), head_text(TIER, Head(4, HEAD.hash), "r1"))


def test_the_first_key_signs_and_all_are_shown():
    old, rotated = ReceiptSigner({"r1": SEED}), ReceiptSigner({"r2": OTHER_SEED, "r1": SEED})
    assert rotated.sign_receipt(PLACE, TIER).kid == "r2"
    verify(rotated, old.sign_receipt(PLACE, TIER), receipt_text(PLACE, TIER, "r1"))


@pytest.mark.parametrize("keys", [{}, {"a.b": SEED}, {"r1": "AAAA"}])
def test_a_malformed_keyring_is_refused_at_the_start(keys):
    with pytest.raises(ValueError, match="receipt key"):
        ReceiptSigner(keys)


def test_a_refused_seed_is_not_repeated():
    seed = base64.b64encode(secrets.token_bytes(31)).decode()
    with pytest.raises(ValueError, match="r1") as refusal:
        ReceiptSigner({"r1": seed})
    assert seed not in str(refusal.value)
