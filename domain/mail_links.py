"""The links of mails that let their reader in without logging in: each is the right to one row, for one purpose.

Whoever holds the mail holds the link, so behind it stands the row's user as a buyer, whatever else that user may do.
One-time links are in `one_time_tokens.py`.
"""

from dataclasses import replace
from uuid import UUID

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from domain.audit import Actor
from domain.errors import NotFoundError
from domain.models import EmailNotification, Order, TicketTransfer, User, Waitlist
from domain.one_time_tokens import TokenKeyring
from domain.rules.states import UserRole

_READ_ORDER = b"read order"
_ANSWER_OFFER = b"answer offer"
_ANSWER_TRANSFER = b"answer transfer"
_UNSUBSCRIBE = b"unsubscribe"


def order_path(keyring: TokenKeyring, order_id: UUID) -> str:
    """Return where an order's buyer reads it."""
    return f"/orders/{order_id}?token={keyring.token(order_id, keyring.current, _READ_ORDER)}"


def offer_path(keyring: TokenKeyring, entry_id: UUID) -> str:
    """Return where a waiting person sees their offer and answers it."""
    return f"/waitlist/{entry_id}/offer?token={keyring.token(entry_id, keyring.current, _ANSWER_OFFER)}"


def transfer_path(keyring: TokenKeyring, transfer_id: UUID) -> str:
    """Return where a person sees the ticket that was offered to their address, and answers."""
    return f"/transfers/{transfer_id}?token={keyring.token(transfer_id, keyring.current, _ANSWER_TRANSFER)}"


def unsubscribe_path(keyring: TokenKeyring, mail_id: UUID) -> str:
    """Return where the reader of an announcement says that they want no more of them."""
    return f"/unsubscribe/{mail_id}?token={keyring.token(mail_id, keyring.current, _UNSUBSCRIBE)}"


def let_buyer_in(session: Session, keyring: TokenKeyring, order_id: UUID, token: str, stranger: Actor) -> Actor:
    """Return a request's stranger as the buyer whose order's link they hold.

    Raises `NotFoundError` alike for a wrong token, an unknown order and a closed account.
    """
    return _let_in(session, Order, order_id, stranger, proven=keyring.is_token(token, order_id, _READ_ORDER))


def let_waiter_in(session: Session, keyring: TokenKeyring, entry_id: UUID, token: str, stranger: Actor) -> Actor:
    """Return a request's stranger as the person whose offer's link they hold; raise as `let_buyer_in` does."""
    return _let_in(session, Waitlist, entry_id, stranger, proven=keyring.is_token(token, entry_id, _ANSWER_OFFER))


def let_recipient_in(
    session: Session, keyring: TokenKeyring, transfer_id: UUID, token: str, stranger: Actor
) -> Actor | None:
    """Return a request's stranger as the person who has proven the address that the link went to, if there is one.

    An account whose address is not proven may be somebody else's. Raises `NotFoundError` for a wrong token.
    """
    if not keyring.is_token(token, transfer_id, _ANSWER_TRANSFER):
        raise NotFoundError("page")
    user_id = session.scalar(
        select(User.id)
        .join(TicketTransfer, func.lower(TicketTransfer.recipient_email) == func.lower(User.email))
        .where(TicketTransfer.id == transfer_id, User.email_verified, User.is_active, User.deleted_at.is_(None))
    )
    return replace(stranger, user_id=user_id, role=UserRole.USER) if user_id is not None else None


def let_reader_in(session: Session, keyring: TokenKeyring, mail_id: UUID, token: str, stranger: Actor) -> Actor:
    """Return a request's stranger as the person whom an announcement was written to; raise as `let_buyer_in` does."""
    proven = keyring.is_token(token, mail_id, _UNSUBSCRIBE)
    return _let_in(session, EmailNotification, mail_id, stranger, proven=proven)


_Owned = type[Order | Waitlist | EmailNotification]


def _let_in(session: Session, model: _Owned, row_id: UUID, stranger: Actor, *, proven: bool) -> Actor:
    # Whoever guesses costs no query, and learns nothing from how long the answer takes.
    user_id = session.scalar(_owner(model, row_id)) if proven else None
    if user_id is None:
        raise NotFoundError("page")
    return replace(stranger, user_id=user_id, role=UserRole.USER)


def _owner(model: _Owned, row_id: UUID) -> Select[UUID]:
    return (
        select(User.id)
        .join(model, model.user_id == User.id)
        .where(model.id == row_id, User.is_active, User.deleted_at.is_(None))
    )
