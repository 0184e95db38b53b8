"""How an Ed25519 keyring is read from its setting; what is signed with it is the business of the signers."""

import base64
import binascii
import re
from collections.abc import Mapping

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

SEED_BYTES = 32
_KID = re.compile(r"[A-Za-z0-9_-]{1,16}")


def read_keyring(seeds: Mapping[str, str], noun: str) -> dict[str, Ed25519PrivateKey]:
    """Return the keys by `kid` from standard base64 of 32 random bytes each; raise `ValueError` if one is malformed.

    `noun` says in the messages whose keys they are.
    """
    if not seeds:
        raise ValueError(f"the {noun} keyring is empty")
    return {kid: _read_key(kid, seed, noun) for kid, seed in seeds.items()}


def _read_key(kid: str, seed: str, noun: str) -> Ed25519PrivateKey:
    if not _KID.fullmatch(kid):
        raise ValueError(f"the {noun} key {kid!r} needs a name of 1 to 16 letters, digits, - or _")
    try:
        raw = base64.b64decode(seed, validate=True)
    except binascii.Error:
        raw = b""
    if len(raw) != SEED_BYTES:
        # The seed itself stays out of the message, which ends in a log.
        raise ValueError(f"the seed of the {noun} key {kid!r} is not base64 of 32 bytes")
    return Ed25519PrivateKey.from_private_bytes(raw)
