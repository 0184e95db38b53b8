"""Promoters' accounts at the payment provider: opened, completed there by their owners, and read again and again.

Whether a payment goes to one is decided in `payments/openings.py`, whether tickets may be sold without one in
`rules/publishing.py`.
"""

import logging
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import case, literal, or_, select
from sqlalchemy.orm import Session, sessionmaker

from domain import audit
from domain.audit import SYSTEM, Actor
from domain.changes import change
from domain.errors import PermanentVendorError, VendorError
from domain.messages import ReadAccount, announce
from domain.models import Promoter
from domain.ports import STORED_ERROR, Account, AccountRequest, OnboardingLink, PaymentGateway
from domain.promoters import lock_own
from domain.rules.states import StripeAccountState

KEY_LIFE = timedelta(hours=23)
"""Stripe may forget an idempotency key after 24 hours (docs.stripe.com/api/idempotent_requests)."""
LOOK_PAUSE = timedelta(minutes=5)
"""An account that is not ready: its owner may be completing it at this moment."""
READY_PAUSE = timedelta(days=1)
LOOKS = 50
"""Readings in one round; with the sweep's period it paces the calls to the provider."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ReturnPages:
    """Where the provider sends the owner's browser: back, done or not, or on because the link no longer holds."""

    return_url: str
    refresh_url: str


@dataclass(frozen=True, slots=True)
class Onboarding:
    """An account as we know it, whether it was opened just now, and the way to complete it."""

    account_id: str
    state: StripeAccountState
    is_new: bool
    link: OnboardingLink


@dataclass(frozen=True, slots=True)
class _Opening:
    begun_at: datetime
    key: str
    request: AccountRequest


def begin_onboarding(
    sessions: sessionmaker[Session], gateway: PaymentGateway, actor: Actor, pages: ReturnPages, now: datetime
) -> Onboarding:
    """Open the actor's account where there is none, and make a link by which its owner completes it.

    Whoever asks at the same time, or again because the outcome is unknown, gets the same account. Raises
    `NotFoundError` without a promoter profile, and the provider's `VendorError`s.
    """
    with sessions.begin() as session:
        promoter = lock_own(session, actor)
        account_id, state = promoter.stripe_account_id, promoter.stripe_account_state
        opening = _prepare_opening(promoter, now) if account_id is None else None
        audit.record(session, actor, "promoter.begin_onboarding", promoter)
    if account_id is None:
        assert opening is not None, "it was prepared above"
        account_id, state = _open(sessions, gateway, actor, opening, now)
    link = gateway.link_account(account_id, return_url=pages.return_url, refresh_url=pages.refresh_url)
    return Onboarding(account_id, state, opening is not None, link)


def _prepare_opening(promoter: Promoter, now: datetime) -> _Opening:
    """Mark the beginning of an opening, unless one is under way, whose key is then repeated.

    Should the key have been forgotten, or the profile have changed meanwhile, an account that nobody knows of may be
    left behind at the provider: nobody has a link to it, and no money ever goes there.
    """
    begun_at = promoter.stripe_account_read_at
    if begun_at is None or now - begun_at > KEY_LIFE:
        begun_at = promoter.stripe_account_read_at = now
    return _Opening(
        begun_at,
        key=f"promoter:{promoter.id}:account:{int(begun_at.timestamp())}",
        request=AccountRequest(promoter.id, promoter.user.email, promoter.country, promoter.display_name),
    )


def _open(
    sessions: sessionmaker[Session], gateway: PaymentGateway, actor: Actor, opening: _Opening, now: datetime
) -> tuple[str, StripeAccountState]:
    try:
        account = gateway.open_account(opening.request, opening.key)
    except VendorError as error:
        if isinstance(error, PermanentVendorError) or error.code == STORED_ERROR:
            # Repeating the key would only repeat the answer.
            with sessions.begin() as session:
                _end_opening(lock_own(session, actor), opening)
        raise
    with sessions.begin() as session:
        return _record_opening(session, actor, account, now)


def _end_opening(promoter: Promoter, opening: _Opening) -> None:
    if promoter.stripe_account_id is None and promoter.stripe_account_read_at == opening.begun_at:
        promoter.stripe_account_read_at = None


def _record_opening(session: Session, actor: Actor, account: Account, now: datetime) -> tuple[str, StripeAccountState]:
    promoter = lock_own(session, actor)
    if promoter.stripe_account_id is not None:
        return promoter.stripe_account_id, promoter.stripe_account_state
    state = state_of(account)
    values = {
        "stripe_account_id": account.id,
        "stripe_account_state": state,
        "stripe_disabled_reason": account.disabled_reason,
    }
    old, new = change(promoter, values)
    promoter.stripe_account_read_at = now
    audit.record(session, actor, "promoter.open_account", promoter, old=old, new=new)
    return account.id, state


def read_account(sessions: sessionmaker[Session], gateway: PaymentGateway, account_id: str, now: datetime) -> None:
    """Read an account at the provider and write down whether it can be paid; one that is none of ours is ignored.

    `now` is from before the reading: of two that cross, the one that began later counts. An account that cannot be
    read at the moment is looked at again by the sweep's next round.
    """
    with sessions() as session:
        if session.scalar(select(Promoter.id).where(Promoter.stripe_account_id == account_id)) is None:
            return
    try:
        answer: Account | VendorError = gateway.find_account(account_id)
    except VendorError as error:
        answer = error
    with sessions.begin() as session:
        promoter = session.scalar(select(Promoter).where(Promoter.stripe_account_id == account_id).with_for_update())
        if promoter is not None:
            _take_in(session, promoter, answer, now)


def _take_in(session: Session, promoter: Promoter, answer: Account | VendorError, now: datetime) -> None:
    if promoter.stripe_account_read_at is not None and promoter.stripe_account_read_at > now:
        return
    match answer:
        case Account():
            _set_state(session, promoter, state_of(answer), answer.disabled_reason)
            promoter.stripe_account_read_at = now
        case PermanentVendorError():
            # It was closed, or has left us: nothing can be sent there.
            _set_state(session, promoter, StripeAccountState.RESTRICTED, answer.code)
            promoter.stripe_account_read_at = now
        case _:
            promoter.stripe_account_read_at = None


def state_of(account: Account) -> StripeAccountState:
    """Return what an account is good for (docs.stripe.com/connect/handling-api-verification).

    A new one is disabled, too, because nothing is known of its owner: that is no restriction yet.
    """
    if account.can_take_payments and account.can_be_paid_out:
        return StripeAccountState.READY
    if account.details_submitted and account.disabled_reason:
        return StripeAccountState.RESTRICTED
    return StripeAccountState.PENDING


def _set_state(session: Session, promoter: Promoter, state: StripeAccountState, reason: str | None) -> None:
    was_ready = promoter.stripe_account_state is StripeAccountState.READY
    old, new = change(promoter, {"stripe_account_state": state, "stripe_disabled_reason": reason})
    if new:
        audit.record(session, SYSTEM, "promoter.read_account", promoter, old=old, new=new)
    if was_ready and state is not StripeAccountState.READY:
        log.warning("payout_account.lost promoter=%s state=%s reason=%s", promoter.id, state, reason)


def ring_for_readings(session: Session, now: datetime, limit: int = LOOKS) -> int:
    """Ring for the accounts that were not read for a while, the longest first; return how many.

    With this nothing depends on any webhook. One whose ring is lost stands in front again in the next round.
    """
    is_ready = Promoter.stripe_account_state == StripeAccountState.READY
    pause = case((is_ready, literal(READY_PAUSE)), else_=literal(LOOK_PAUSE))
    read_at = Promoter.stripe_account_read_at
    due = session.scalars(
        select(Promoter.stripe_account_id)
        .where(Promoter.stripe_account_id.is_not(None), or_(read_at.is_(None), read_at + pause < now))
        .order_by(read_at.nulls_first(), Promoter.id)
        .limit(limit)
    ).all()
    for account_id in due:
        assert account_id is not None, "so says the query"
        announce(session, ReadAccount(account_id))
    return len(due)
