"""What the views work with, opened once per process: settings, sessions, ports.

Vendors' adapters are opened when first used, because importing them takes longer than starting the rest.
"""

from dataclasses import dataclass, fields
from functools import cached_property
from typing import TYPE_CHECKING

from flask import Flask, current_app
from sqlalchemy.orm import Session, sessionmaker

from adapters.clock import SystemClock
from adapters.database import PoolLimits, open_engine, open_sessions
from adapters.password_hasher import PasswordHasher as BcryptHasher
from adapters.queue import Dispatcher, open_queue_app
from domain.one_time_tokens import TokenKeyring
from domain.ports import Clock, PasswordHasher, PaymentGateway, QRRenderer, Signer
from domain.rules.clocks import Clocks
from settings import Settings
from web.lines import Lines
from web.long_polls import WaitingRoom
from web.storefront import Storefront

if TYPE_CHECKING:
    from adapters.sendgrid_mailer import SendGridMailer

EXTENSION = "ticket_vendor"


@dataclass(frozen=True)
class Services:
    """The ports of one process. Each can be given, as tests do; else it is the real one."""

    settings: Settings
    sessions: sessionmaker[Session]
    hasher: PasswordHasher
    clock: Clock

    @cached_property
    def gateway(self) -> PaymentGateway:
        """Stripe; views only let it verify webhooks, no vendor is called inside a request."""
        from adapters.stripe_gateway import StripeGateway  # noqa: PLC0415 half a second

        return StripeGateway(
            secret_key=self.settings.stripe_secret_key.get_secret_value(),
            webhook_secret=self.settings.stripe_webhook_secret.get_secret_value(),
            api_url=self.settings.stripe_api_url,
            timeout_seconds=self.settings.stripe_timeout_seconds,
        )

    @cached_property
    def mailer(self) -> "SendGridMailer":
        """SendGrid; views only let it verify event webhooks."""
        from adapters.sendgrid_mailer import SendGridMailer  # noqa: PLC0415 a fifth of a second

        return SendGridMailer(
            self.settings.sendgrid_api_key.get_secret_value(),
            public_key=self.settings.sendgrid_webhook_public_key,
            sender=self.settings.mail_from,
            sender_name=self.settings.mail_from_name,
            reply_to=self.settings.mail_reply_to,
            host=self.settings.sendgrid_api_url,
            timeout=self.settings.sendgrid_timeout_seconds,
        )

    @cached_property
    def signer(self) -> Signer:
        """The ticket keyring."""
        from adapters.ticket_signer import TicketSigner  # noqa: PLC0415

        return TicketSigner({kid: seed.get_secret_value() for kid, seed in self.settings.ticket_keys.items()})

    @cached_property
    def qr(self) -> QRRenderer:
        """Pictures of ticket codes."""
        from adapters.qr_renderer import QRRenderer as Painter  # noqa: PLC0415

        return Painter()

    @cached_property
    def clocks(self) -> Clocks:
        """The clocks that run while stock is kept."""
        return Clocks(**self.settings.model_dump(include={field.name for field in fields(Clocks)}))

    @cached_property
    def storefront(self) -> Storefront:
        """What is on sale, kept for a moment."""
        return Storefront(self.sessions)

    @cached_property
    def lines(self) -> Lines:
        """Who stands where; long lines are kept for a moment."""
        return Lines()

    @cached_property
    def waiting_room(self) -> WaitingRoom:
        """At most a quarter of the threads may hold an answer back."""
        return WaitingRoom(self.settings.web_threads // 4)

    @cached_property
    def tokens(self) -> TokenKeyring:
        """The keyring of one-time tokens, derived from the keys of the log-in tokens."""
        return TokenKeyring.derived_from(
            {kid: secret.get_secret_value() for kid, secret in self.settings.jwt_keys.items()}
        )

    @cached_property
    def decoy_hash(self) -> str:
        """A hash that no password matches, as slow as the others: checked where there is no account."""
        return f"$2b${self.settings.bcrypt_rounds:02d}${'.' * 53}"


def open_services(settings: Settings) -> Services:
    """Open what a web process works with; connections are made when first used."""
    limits = PoolLimits(
        settings.database_pool_size, settings.database_max_overflow, settings.database_pool_timeout_seconds
    )
    engine = open_engine(str(settings.database_url), limits, application_name="web")
    hasher = BcryptHasher(rounds=settings.bcrypt_rounds, threads=settings.bcrypt_threads, queue=settings.bcrypt_queue)
    dispatcher = Dispatcher(open_queue_app("celeryconfig"))
    return Services(settings, open_sessions(engine, dispatcher), hasher, SystemClock())


def services() -> Services:
    """Return the services of the app that handles this request."""
    return services_of(current_app)


def services_of(app: Flask) -> Services:
    """Return the services of an app, for what runs outside of requests."""
    found: Services = app.extensions[EXTENSION]
    return found
