"""The settings: one frozen object, and the only reader of the environment.

Every value has a default that suits a developer's machine, except addresses and secrets, which must be given.
`.env.example` lists them all with their meaning; a test keeps the two alike.
"""

import base64
import os
import sys
from datetime import timedelta
from difflib import get_close_matches
from functools import cache
from typing import Annotated, Any, Literal, Self

from limits import parse_many as parse_rates
from pydantic import AfterValidator, Field, PostgresDsn, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

Seconds = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(gt=0)]
Secret = Annotated[SecretStr, Field(min_length=1)]

APPLE_WALLET = ("apple_pass_certificate", "apple_pass_key", "apple_wwdr_certificate")
GOOGLE_WALLET = ("google_wallet_issuer_id", "google_wallet_account")
SEED_BYTES = 32
JWT_SECRET_LENGTH = 32
"""RFC 7518 section 3.2: a key for HS256 has at least the size of its hash."""
COMPOSE_ONLY = {
    "postgres_password",
    "database_owner_password",
    "database_password",
    "redis_password",
    "redis_server_bin",
    "flower_basic_auth",
    "web_port",
    "flower_port",
}
"""Names in `.env` that are read by docker-compose.yml or ./dev, not here."""


def _check_rate(value: str) -> str:
    try:
        parse_rates(value)
    except ValueError:
        raise ValueError(f"{value!r} is not a rate such as 30/minute") from None
    return value


def _check_base64(value: SecretStr) -> SecretStr:
    try:
        base64.b64decode(value.get_secret_value(), validate=True)
    except ValueError:
        raise ValueError("it is not base64") from None
    return value


Base64 = Annotated[SecretStr, Field(min_length=1), AfterValidator(_check_base64)]
RateLimit = Annotated[str, AfterValidator(_check_rate)]


class Settings(BaseSettings):
    """All that an operator can turn. Times are in seconds, money in minor units, rates in basis points."""

    model_config = SettingsConfigDict(frozen=True, env_file=".env", extra="forbid", env_ignore_empty=True)

    environment: Literal["local", "test", "production"] = "production"
    public_url: Annotated[str, Field(pattern=r"^https?://[^/\s]+(/[^\s]*)?$")] = "http://127.0.0.1:8000"
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"

    # Addresses hold passwords: they are not shown with the object.
    database_url: Annotated[PostgresDsn, Field(repr=False)]
    migration_database_url: Annotated[PostgresDsn | None, Field(repr=False)] = None
    fence_database_url: Annotated[PostgresDsn | None, Field(repr=False)] = None
    """The allocators' way past a transaction pooler; given, `database_url` leads through one."""
    database_pool_size: Count = 20
    database_max_overflow: Annotated[int, Field(ge=0)] = 10
    database_pool_timeout_seconds: Seconds = 5
    redis_url: Annotated[str, Field(repr=False, pattern=r"^(rediss?|unix)://")]
    celery_broker_url: Annotated[str | None, Field(repr=False, pattern=r"^(rediss?|sentinel|amqps?)://")] = None
    celery_broker_master: str | None = None
    """The name under which Sentinels watch their master; needed with `sentinel://` alone."""

    jwt_keys: Annotated[dict[str, SecretStr], NoDecode]
    """Signing keys of access and refresh tokens as `kid:secret,kid:secret`; the first one signs."""
    jwt_access_seconds: Seconds = 15 * 60
    jwt_refresh_seconds: Seconds = 7 * 24 * 3600
    ticket_keys: Annotated[dict[str, SecretStr], NoDecode]
    """Ed25519 seeds (base64, 32 bytes) of ticket codes as `kid:seed,kid:seed`; the first one signs."""
    receipt_keys: Annotated[dict[str, SecretStr], NoDecode]
    """Ed25519 seeds of receipts and of the heads of the fairness logs, written likewise."""
    webhook_keys: Annotated[dict[str, SecretStr], NoDecode]
    """Keys that the secrets of promoters' webhook endpoints are made from as `kid:secret,kid:secret`; the first one
    makes new ones."""
    bcrypt_rounds: Annotated[int, Field(ge=4, le=16)] = 12
    bcrypt_threads: Count = 2
    bcrypt_queue: Count = 32

    stripe_secret_key: Secret
    stripe_webhook_secret: Secret
    """The signing secrets of all our endpoints, separated by commas; each may have two while it is rolled."""
    stripe_api_url: str = "https://api.stripe.com"
    stripe_timeout_seconds: Seconds = 10
    sendgrid_api_key: Secret
    sendgrid_api_url: str = "https://api.sendgrid.com"
    sendgrid_webhook_public_key: str
    sendgrid_timeout_seconds: Seconds = 10
    mail_from: str = "tickets@example.com"
    mail_from_name: str = "Ticket Vendor"
    mail_reply_to: str | None = None
    webhooks_to_loopback: bool = False
    """Whether promoters may name addresses of this very machine, as one does to try webhooks out."""

    apple_pass_certificate: Base64 | None = None
    apple_pass_key: Base64 | None = None
    apple_wwdr_certificate: Base64 | None = None
    """Apple Wallet's three, PEM in base64: the pass type's certificate, its key, and the one that Apple signed with."""
    google_wallet_issuer_id: Annotated[str | None, Field(pattern=r"^\d+$")] = None
    google_wallet_account: Base64 | None = None
    """The key file of a service account, JSON in base64."""

    hold_seconds: Seconds = 5 * 60
    hold_limit_seconds: Seconds = 20 * 60
    hold_extension_seconds: Seconds = 2 * 60
    partly_held_seconds: Seconds = 2 * 60
    approval_seconds: Seconds = 48 * 3600
    offer_seconds: Seconds = 30 * 60
    expiring_limit_seconds: Seconds = 2 * 60

    platform_fee_rate_bps: Annotated[int, Field(ge=0, le=10_000)] = 250
    platform_fee_fixed: Annotated[int, Field(ge=0)] = 50
    platform_returns_fees: bool = True
    currencies: Annotated[tuple[str, ...], NoDecode] = ("EUR", "USD", "GBP", "DKK", "JPY")
    connect_required: bool = False

    rate_limits: Literal["on", "off"] = "on"
    rate_limit_anonymous: RateLimit = "120/minute"
    rate_limit_user: RateLimit = "600/minute"
    rate_limit_accounts: RateLimit = "10/minute"
    rate_limit_orders: RateLimit = "30/minute"
    max_body_bytes: Count = 64 * 1024
    trusted_proxies: Annotated[int, Field(ge=0)] = 0

    line_limit: Count = 50_000
    line_stock_factor: Annotated[float, Field(ge=1)] = 3
    line_spare: Annotated[int, Field(ge=0)] = 1000
    waiting_orders_per_person: Annotated[int, Field(ge=0)] = 5

    web_workers: Count = 2
    web_threads: Count = 16
    web_connections: Count = 800
    """Of one web process, busy or idle; with its own files that stays below 1,024, a usual limit."""
    long_poll_limit_seconds: Annotated[int, Field(ge=0, le=20)] = 20

    allocation_batch: Count = 500
    allocation_slice_seconds: Seconds = 0.5
    fence_silence_seconds: Annotated[float, Field(ge=2)] = 3
    sweep_seconds: Seconds = 5
    stall_seconds: Seconds = 10
    reconcile_seconds: Seconds = 15
    analytics_seconds: Seconds = 60
    mailings_per_minute: Count = 600
    """Mails to all of an event (reminders, changes, announcements) that are written in a minute, for all events."""
    ready_age_seconds: Seconds = 30
    metrics_dir: str | None = None
    """Where the processes of one machine share their Prometheus counters; without it each process tells its own."""

    @field_validator("jwt_keys", "ticket_keys", "receipt_keys", "webhook_keys", mode="before")
    @classmethod
    def _read_keyring(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        pairs = [entry.strip().partition(":") for entry in value.split(",") if entry.strip()]
        if not pairs or not all(kid and secret for kid, _, secret in pairs):
            raise ValueError("a keyring is written kid:secret,kid:secret")
        return {kid: secret for kid, _, secret in pairs}

    @field_validator("ticket_keys", "receipt_keys")
    @classmethod
    def _check_seeds(cls, keys: dict[str, SecretStr]) -> dict[str, SecretStr]:
        for kid, seed in keys.items():
            try:
                size = len(base64.b64decode(seed.get_secret_value(), validate=True))
            except ValueError:
                size = 0
            if size != SEED_BYTES:
                raise ValueError(f"the seed of {kid} is not {SEED_BYTES} bytes in base64")
        return keys

    @field_validator("jwt_keys", "webhook_keys")
    @classmethod
    def _check_secrets(cls, keys: dict[str, SecretStr]) -> dict[str, SecretStr]:
        for kid, secret in keys.items():
            if len(secret.get_secret_value()) < JWT_SECRET_LENGTH:
                raise ValueError(f"the secret of {kid} is shorter than {JWT_SECRET_LENGTH} characters")
        return keys

    @field_validator("stripe_webhook_secret")
    @classmethod
    def _check_list(cls, secrets: SecretStr) -> SecretStr:
        if not all(part.strip() for part in secrets.get_secret_value().split(",")):
            raise ValueError("secrets are written one,another")
        return secrets

    @field_validator("currencies", mode="before")
    @classmethod
    def _read_currencies(cls, value: Any) -> Any:
        return tuple(code.strip().upper() for code in value.split(",")) if isinstance(value, str) else value

    @model_validator(mode="before")
    @classmethod
    def _leave_the_others_names(cls, values: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in values.items() if name not in COMPOSE_ONLY}

    @model_validator(mode="after")
    def _holds_fit_their_limit(self) -> Self:
        if self.hold_limit_seconds < self.hold_seconds:
            raise ValueError("HOLD_LIMIT_SECONDS must not be below HOLD_SECONDS")
        return self

    @model_validator(mode="after")
    def _wallets_are_whole(self) -> Self:
        for wallet in (APPLE_WALLET, GOOGLE_WALLET):
            missing = [name for name in wallet if getattr(self, name) is None]
            if missing and len(missing) < len(wallet):
                raise ValueError(f"{', '.join(missing).upper()} is needed with the others of that wallet")
        return self

    @model_validator(mode="after")
    def _messages_can_travel(self) -> Self:
        if self.broker_url.startswith("unix"):
            raise ValueError("CELERY_BROKER_URL is needed where REDIS_URL is a unix:// socket")
        if self.broker_url.startswith("sentinel") != (self.celery_broker_master is not None):
            raise ValueError("CELERY_BROKER_MASTER is needed with sentinel:// in CELERY_BROKER_URL, and only there")
        return self

    @property
    def broker_url(self) -> str:
        """Where Celery's messages travel; Redis unless another broker is named."""
        return self.celery_broker_url or self.redis_url

    @property
    def wallets(self) -> frozenset[Literal["apple", "google"]]:
        """Return the wallets for which passes are set up."""
        apple: tuple[Literal["apple"], ...] = ("apple",) if self.apple_pass_key else ()
        google: tuple[Literal["google"], ...] = ("google",) if self.google_wallet_account else ()
        return frozenset(apple + google)

    @property
    def step_patience(self) -> timedelta:
        """How long a step may take that no clock bounds: the sweep has rung for it thirty times by then."""
        return timedelta(seconds=30 * self.stall_seconds)

    @property
    def stripe_webhook_secrets(self) -> tuple[str, ...]:
        """Every secret by which a webhook of Stripe's may be signed."""
        return tuple(part.strip() for part in self.stripe_webhook_secret.get_secret_value().split(","))

    @property
    def session_database_url(self) -> str:
        """The runtime role's address at which a session is one's own, as the fence needs it."""
        return str(self.fence_database_url or self.database_url)

    @property
    def owner_database_url(self) -> str:
        """The owner's address for migrations; the runtime's where one role does both."""
        return str(self.migration_database_url or self.database_url)


@cache
def load() -> Settings:
    """Read the environment once; end the process with one sentence per setting that is missing or malformed."""
    problems = [f"{name}: there is no such setting; did you mean {meant}?" for name, meant in _misspelled()]
    try:
        settings = Settings()
    except ValidationError as error:
        problems += [
            f"{str((problem['loc'] or ('settings',))[0]).upper()}: {problem['msg']}" for problem in error.errors()
        ]
    for problem in problems:
        print(f"settings: {problem}", file=sys.stderr)  # noqa: T201 logging is not set up yet
    if problems:
        sys.exit(2)
    return settings


def _misspelled() -> list[tuple[str, str]]:
    """Return names in the environment that are nearly, but not quite, a setting's, with what was meant."""
    known = {name.upper() for name in Settings.model_fields}
    others = [name for name in os.environ if name not in known and name.lower() not in COMPOSE_ONLY]
    near = [(name, get_close_matches(name, known, n=1, cutoff=0.93)) for name in others]
    return [(name, found[0]) for name, found in near if found]
