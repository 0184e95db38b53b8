"""What the local stack puts into the environment: addresses, and secrets generated once and kept in its folder.

Values that a person gives, in the environment or in `.env`, always win; four of them replace a whole part.
"""

import base64
import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from tools.stack.postgres import OWNER, Postgres, new_passwords
from tools.stack.valkey import Valkey

ROOT = Path(__file__).resolve().parents[2]

ENVIRONMENT = "environment.json"

REPLACES = {
    "DATABASE_URL": "postgres",
    "REDIS_URL": "valkey",
    "STRIPE_SECRET_KEY": "stripe",
    "SENDGRID_API_KEY": "sendgrid",
}
"""Which part of the local stack a given value stands in for."""


@dataclass(frozen=True)
class Secrets:
    """Everything secret in one local stack. None of it is worth anything outside."""

    postgres: dict[str, str]
    valkey: str
    jwt_key: str
    ticket_seed: str
    receipt_seed: str
    webhook_key: str
    stripe_key: str
    stripe_webhook: str
    sendgrid_key: str
    sendgrid_private_key: str
    """PEM (PKCS 8); the stand-in signs its event webhooks with it."""
    sendgrid_public_key: str
    """Base64 of the DER form, as SendGrid's settings page shows it."""
    flower: str
    password: str
    """The one password of the three demo accounts."""

    @classmethod
    def generate(cls) -> "Secrets":
        """Return fresh secrets."""
        private_key, public_key = _signing_key()
        return cls(
            postgres=new_passwords(),
            valkey=secrets.token_hex(16),
            jwt_key=secrets.token_hex(32),
            ticket_seed=base64.b64encode(secrets.token_bytes(32)).decode(),
            receipt_seed=base64.b64encode(secrets.token_bytes(32)).decode(),
            webhook_key=secrets.token_hex(32),
            stripe_key=f"sk_test_{secrets.token_hex(16)}",
            stripe_webhook=f"whsec_{secrets.token_hex(16)}",
            sendgrid_key=f"SG.{secrets.token_hex(16)}",
            sendgrid_private_key=private_key,
            sendgrid_public_key=public_key,
            flower=secrets.token_hex(8),
            password=f"tickets-{secrets.token_hex(4)}",
        )

    @classmethod
    def kept_in(cls, folder: Path) -> "Secrets":
        """Return the secrets of a data folder, generating those that it has not got yet."""
        path = folder / "secrets.json"
        kept = json.loads(path.read_text()) if path.exists() else {}
        if kept.keys() >= {field.name for field in fields(cls)}:
            return cls(**kept)
        made = cls(**{**asdict(cls.generate()), **kept})
        draft = path.with_suffix(".new")
        draft.touch(mode=0o600)
        draft.write_text(json.dumps(asdict(made), indent=2))
        draft.rename(path)
        return made


@dataclass(frozen=True)
class Addresses:
    """The base URLs of what listens, as the parts reach each other."""

    web: str
    stripe: str
    sendgrid: str


def given_values() -> dict[str, str]:
    """Return what a person has set, in the environment or in `.env`; empty values do not count."""
    from dotenv import dotenv_values  # noqa: PLC0415 only the stack pays for it

    values = {**dotenv_values(ROOT / ".env"), **os.environ}
    return {key: value for key, value in values.items() if value}


def local_values(known: Secrets, servers: tuple[Postgres, Valkey], addresses: Addresses) -> dict[str, str]:
    """Return the settings of a stack in which every part is the local one."""
    postgres, valkey = servers
    return {
        "ENVIRONMENT": "local",
        "PUBLIC_URL": addresses.web,
        "DATABASE_URL": postgres.url(),
        "MIGRATION_DATABASE_URL": postgres.url(OWNER),
        "REDIS_URL": valkey.url,
        "JWT_KEYS": f"local:{known.jwt_key}",
        "TICKET_KEYS": f"local:{known.ticket_seed}",
        "RECEIPT_KEYS": f"local:{known.receipt_seed}",
        "WEBHOOK_KEYS": f"local:{known.webhook_key}",
        "WEBHOOKS_TO_LOOPBACK": "true",
        "STRIPE_SECRET_KEY": known.stripe_key,
        "STRIPE_WEBHOOK_SECRET": known.stripe_webhook,
        "STRIPE_API_URL": addresses.stripe,
        "SENDGRID_API_KEY": known.sendgrid_key,
        "SENDGRID_API_URL": addresses.sendgrid,
        "SENDGRID_WEBHOOK_PUBLIC_KEY": known.sendgrid_public_key,
    }


def replace_parts(local: Mapping[str, str], given: Mapping[str, str]) -> dict[str, str]:
    """Return the local settings with the given ones in their place.

    Where a given value replaces a part, nothing may still point at the local one: its other addresses are dropped.
    """
    belongings = {
        "DATABASE_URL": ("MIGRATION_DATABASE_URL",),
        "STRIPE_SECRET_KEY": ("STRIPE_API_URL",),
        "SENDGRID_API_KEY": ("SENDGRID_API_URL",),
    }
    dropped = {name for key, names in belongings.items() if key in given for name in names}
    return {**{key: value for key, value in local.items() if key not in dropped}, **given}


def tell(folder: Path, variables: Mapping[str, str]) -> None:
    """Write the environment of a running stack into its folder, for whoever joins it: ports differ from run to run."""
    path = folder / ENVIRONMENT
    path.touch(mode=0o600)
    path.write_text(json.dumps(dict(variables), indent=2))


def forget(folder: Path) -> None:
    """Take the environment out of the folder of a stack that is not up any more."""
    (folder / ENVIRONMENT).unlink(missing_ok=True)


def told(folder: Path) -> dict[str, str] | None:
    """Return the environment of the stack that is up in a folder, or None."""
    try:
        variables: dict[str, str] = json.loads((folder / ENVIRONMENT).read_text())
    except FileNotFoundError:
        return None
    return variables


def _signing_key() -> tuple[str, str]:
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415 only a first start pays for it
    from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415

    key = ec.generate_private_key(ec.SECP256R1())
    private_key = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public_key = key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return private_key.decode(), base64.b64encode(public_key).decode()
