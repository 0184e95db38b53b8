"""What the views work with, opened once per process: settings, sessions, ports.

Vendors' adapters are opened when first used, because importing them takes longer than starting the rest.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from threading import Semaphore
from typing import TYPE_CHECKING

from flask import Flask, current_app
from sqlalchemy.orm import Session, sessionmaker

import wiring
from adapters.clock import SystemClock
from adapters.password_hasher import PasswordHasher as BcryptHasher
from adapters.queue import Dispatcher, open_queue_app
from adapters.statements import open_statements
from domain.hook_secrets import SecretKeyring
from domain.one_time_tokens import TokenKeyring
from domain.ports import (
    CalendarWriter,
    Clock,
    PassIssuer,
    PassLinker,
    PasswordHasher,
    PaymentGateway,
    QRRenderer,
    ReceiptSigner,
    Signer,
    TicketPrinter,
)
from domain.rules.admission import AdmissionLimits
from domain.rules.clocks import Clocks
from domain.terms import Platform
from settings import Settings
from web.lines import Lines
from web.long_polls import WaitingRoom
from web.receipts import Receipts
from web.storefront import Storefront
from web.together import Together

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
    def statements(self) -> Callable[[], Session]:
        """Sessions for single statements, each a transaction of its own."""
        return open_statements(self.sessions)

    @cached_property
    def together(self) -> Together:
        """What is asked for all who ask at the same time."""
        return Together(self.statements, self.lines, self.admission_limits)

    @cached_property
    def gateway(self) -> PaymentGateway:
        """Stripe; views let it verify webhooks, and one alone calls it: `promoters.open_payout_account` says why."""
        return wiring.open_gateway(self.settings)

    @cached_property
    def mailer(self) -> "SendGridMailer":
        """SendGrid; views only let it verify event webhooks."""
        return wiring.open_mailer(self.settings)

    @cached_property
    def signer(self) -> Signer:
        """The ticket keyring."""
        return wiring.open_signer(self.settings)

    @cached_property
    def receipt_signer(self) -> ReceiptSigner:
        """The receipt keyring."""
        return wiring.open_receipt_signer(self.settings)

    @cached_property
    def receipts(self) -> Receipts:
        """Receipts, and the signed heads of the fairness logs."""
        return Receipts(self.receipt_signer, self.storefront)

    @cached_property
    def qr(self) -> QRRenderer:
        """Pictures of ticket codes."""
        return wiring.open_qr_renderer()

    @cached_property
    def printer(self) -> TicketPrinter:
        """Tickets on paper."""
        return wiring.open_printer()

    @cached_property
    def print_seats(self) -> Semaphore:
        """At most a quarter of the threads may wait for the printer: an order of many pages takes a while."""
        return Semaphore(max(1, self.settings.web_threads // 4))

    @cached_property
    def calendars(self) -> CalendarWriter:
        """Files for calendars."""
        return wiring.open_calendars(self.settings)

    @cached_property
    def apple_wallet(self) -> PassIssuer | None:
        """Passes for Apple Wallet, where that is set up."""
        return wiring.open_apple_wallet(self.settings)

    @cached_property
    def google_wallet(self) -> PassLinker | None:
        """Links to Google Wallet, where that is set up."""
        return wiring.open_google_wallet(self.settings)

    @cached_property
    def clocks(self) -> Clocks:
        """The clocks that run while stock is kept."""
        return wiring.read_clocks(self.settings)

    @cached_property
    def platform(self) -> Platform:
        """What the platform allows and takes."""
        return wiring.read_platform(self.settings)

    @cached_property
    def storefront(self) -> Storefront:
        """What is on sale, kept for a moment."""
        return Storefront(self.statements, self.lines)

    @cached_property
    def lines(self) -> Lines:
        """Who stands where; long lines are kept for a moment."""
        return Lines()

    @cached_property
    def waiting_room(self) -> WaitingRoom:
        """At most a quarter of the threads may hold an answer back."""
        return WaitingRoom(self.settings.web_threads // 4, self.together.take_pulses)

    @cached_property
    def admission_limits(self) -> AdmissionLimits:
        """How many may wait."""
        return wiring.read_admission_limits(self.settings)

    @cached_property
    def accept_seats(self) -> Semaphore:
        """At most three quarters of the threads may take orders in: the others read, however slow a commit is."""
        return Semaphore(max(1, self.settings.web_threads * 3 // 4))

    @cached_property
    def onboarding_seats(self) -> Semaphore:
        """At most an eighth of the threads may wait for Stripe."""
        return Semaphore(max(1, self.settings.web_threads // 8))

    @cached_property
    def export_seats(self) -> Semaphore:
        """At most an eighth of the threads may write lists down, however slowly they are taken in."""
        return Semaphore(max(1, self.settings.web_threads // 8))

    @cached_property
    def tokens(self) -> TokenKeyring:
        """The keyring of one-time tokens."""
        return wiring.open_token_keyring(self.settings)

    @cached_property
    def hook_secrets(self) -> SecretKeyring:
        """The keyring of the secrets of promoters' endpoints."""
        return wiring.open_secret_keyring(self.settings)

    @cached_property
    def decoy_hash(self) -> str:
        """A hash that no password matches, as slow as the others: checked where there is no account."""
        return f"$2b${self.settings.bcrypt_rounds:02d}${'.' * 53}"


def open_services(settings: Settings) -> Services:
    """Open what a web process works with; connections are made when first used."""
    hasher = BcryptHasher(rounds=settings.bcrypt_rounds, threads=settings.bcrypt_threads, queue=settings.bcrypt_queue)
    dispatcher = Dispatcher(open_queue_app("celeryconfig"))
    sessions = wiring.open_database(settings, dispatcher, process="web")
    opened = Services(settings, sessions, hasher, SystemClock())
    # Keys that are none, or do not fit together, stop the start and not the first person who wants a pass.
    _ = opened.apple_wallet, opened.google_wallet
    return opened


def services() -> Services:
    """Return the services of the app that handles this request."""
    return services_of(current_app)


def services_of(app: Flask) -> Services:
    """Return the services of an app, for what runs outside of requests."""
    found: Services = app.extensions[EXTENSION]
    return found
