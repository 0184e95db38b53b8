"""Where settings meet adapters: how each process opens what it works with. Nothing else knows both.

The vendors' libraries are imported when first used: they are heavy, and a process needs one of them at most.
"""

import base64
from dataclasses import fields
from typing import TYPE_CHECKING

from pydantic import SecretStr
from sqlalchemy.orm import Session, sessionmaker

from adapters.broker import Broker
from adapters.database import PoolLimits, open_engine, open_sessions
from adapters.queue import Dispatcher
from domain.hook_secrets import SecretKeyring
from domain.one_time_tokens import TokenKeyring
from domain.ports import (
    CalendarWriter,
    HookSender,
    PassIssuer,
    PassLinker,
    PaymentGateway,
    QRRenderer,
    ReceiptSigner,
    Signer,
    TicketPrinter,
)
from domain.rules.admission import AdmissionLimits
from domain.rules.clocks import Clocks
from domain.terms import Platform
from settings import APPLE_WALLET, Settings

if TYPE_CHECKING:
    from adapters.sendgrid_mailer import SendGridMailer


STATEMENT_SECONDS, WEB_STATEMENT_SECONDS = 15.0, 5.0
"""The server ends what takes longer: a request is answered 503, and its thread serves others."""


def open_database(settings: Settings, dispatcher: Dispatcher, *, process: str) -> sessionmaker[Session]:
    """Return a process's sessions; what they announce is dispatched after their commit."""
    limits = PoolLimits(
        settings.database_pool_size,
        settings.database_max_overflow,
        settings.database_pool_timeout_seconds,
        WEB_STATEMENT_SECONDS if process == "web" else STATEMENT_SECONDS,
    )
    engine = open_engine(
        str(settings.database_url),
        limits,
        application_name=process,
        through_pooler=settings.fence_database_url is not None,
    )
    return open_sessions(engine, dispatcher)


def open_broker(settings: Settings, *, timeout_seconds: float) -> Broker:
    """Return the way to ask the broker about itself."""
    return Broker(settings.broker_url, timeout_seconds=timeout_seconds, sentinel_master=settings.celery_broker_master)


def open_gateway(settings: Settings) -> PaymentGateway:
    """Return the way to Stripe."""
    from adapters.stripe_gateway import StripeGateway  # noqa: PLC0415 half a second

    return StripeGateway(
        secret_key=settings.stripe_secret_key.get_secret_value(),
        webhook_secrets=settings.stripe_webhook_secrets,
        api_url=settings.stripe_api_url,
        timeout_seconds=settings.stripe_timeout_seconds,
    )


def open_mailer(settings: Settings) -> "SendGridMailer":
    """Return the way to SendGrid."""
    from adapters.sendgrid_mailer import SendGridMailer  # noqa: PLC0415 a fifth of a second

    return SendGridMailer(
        settings.sendgrid_api_key.get_secret_value(),
        public_key=settings.sendgrid_webhook_public_key,
        calendars=open_calendars(settings),
        sender=settings.mail_from,
        sender_name=settings.mail_from_name,
        reply_to=settings.mail_reply_to,
        host=settings.sendgrid_api_url,
        timeout=settings.sendgrid_timeout_seconds,
    )


def open_signer(settings: Settings) -> Signer:
    """Return the ticket keyring."""
    from adapters.ticket_signer import TicketSigner  # noqa: PLC0415

    return TicketSigner({kid: seed.get_secret_value() for kid, seed in settings.ticket_keys.items()})


def open_receipt_signer(settings: Settings) -> ReceiptSigner:
    """Return the receipt keyring."""
    from adapters.receipt_signer import ReceiptSigner as Keyring  # noqa: PLC0415

    return Keyring({kid: seed.get_secret_value() for kid, seed in settings.receipt_keys.items()})


def open_qr_renderer() -> QRRenderer:
    """Return the painter of ticket codes."""
    from adapters.qr_renderer import QRRenderer as Painter  # noqa: PLC0415

    return Painter()


def open_printer() -> TicketPrinter:
    """Return the printer of tickets."""
    from adapters.ticket_printer import TicketPrinter as Printer  # noqa: PLC0415 it reads the fonts

    return Printer(open_qr_renderer())


def open_calendars(settings: Settings) -> CalendarWriter:
    """Return the writer of calendar files."""
    from adapters.calendar_writer import CalendarWriter as Writer  # noqa: PLC0415 a tenth of a second

    return Writer(settings.public_url)


def open_apple_wallet(settings: Settings) -> PassIssuer | None:
    """Return the issuer of passes for Apple Wallet, where that is set up."""
    if "apple" not in settings.wallets:
        return None
    from adapters.apple_wallet import AppleWallet  # noqa: PLC0415

    return AppleWallet(*(_read_file(getattr(settings, name)) for name in APPLE_WALLET))


def open_google_wallet(settings: Settings) -> PassLinker | None:
    """Return the maker of links to Google Wallet, where that is set up."""
    if settings.google_wallet_issuer_id is None or settings.google_wallet_account is None:
        return None
    from adapters.google_wallet import GoogleWallet  # noqa: PLC0415

    return GoogleWallet(settings.google_wallet_issuer_id, _read_file(settings.google_wallet_account))


def _read_file(setting: SecretStr) -> bytes:
    return base64.b64decode(setting.get_secret_value())


def open_token_keyring(settings: Settings) -> TokenKeyring:
    """Return the keyring of one-time tokens, derived from the keys of the log-in tokens."""
    return TokenKeyring.derived_from({kid: secret.get_secret_value() for kid, secret in settings.jwt_keys.items()})


def open_secret_keyring(settings: Settings) -> SecretKeyring:
    """Return the keyring of the secrets of promoters' endpoints."""
    return SecretKeyring({kid: secret.get_secret_value().encode() for kid, secret in settings.webhook_keys.items()})


def open_hook_sender(settings: Settings) -> HookSender:
    """Return the way to promoters' endpoints."""
    from adapters.hook_sender import HookSender as Poster  # noqa: PLC0415

    return Poster(to_loopback=settings.webhooks_to_loopback)


def read_clocks(settings: Settings) -> Clocks:
    """Return the clocks that run while stock is kept."""
    return Clocks(**settings.model_dump(include={field.name for field in fields(Clocks)}))


def read_admission_limits(settings: Settings) -> AdmissionLimits:
    """Return how many may wait."""
    return AdmissionLimits(**settings.model_dump(include={field.name for field in fields(AdmissionLimits)}))


def read_platform(settings: Settings) -> Platform:
    """Return what the platform allows and takes."""
    return Platform(
        currencies=settings.currencies,
        fee_rate_bps=settings.platform_fee_rate_bps,
        fee_fixed=settings.platform_fee_fixed,
        returns_fees=settings.platform_returns_fees,
        requires_accounts=settings.connect_required,
    )
