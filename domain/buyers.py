"""The buyer of an order: who it is, and telling them about it, in the order's timeline or by mail.

What the letters say is in `correspondence.py`.
"""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import func
from sqlalchemy.orm import Session

from domain.models import EmailNotification, Order, User
from domain.notifications import queue_mail
from domain.transitions import write


def buyer_of(session: Session, order: Order) -> User:
    """Return who placed the order."""
    return session.get_one(User, order.user_id)


def write_to_buyer(
    session: Session,
    order: Order,
    template: str,
    purpose: str | None = None,
    context: Mapping[str, Any] | None = None,
) -> EmailNotification:
    """Put a mail about the order into the outbox, once per purpose; the purpose is the template's own by default.

    It goes to the account's address: the one on the bill was never proved to be the buyer's. `context` is what no
    other row says.
    """
    buyer = buyer_of(session, order)
    return queue_mail(
        session,
        template=template,
        purpose=purpose or f"{template}:{order.id}",
        recipient=buyer.email,
        recipient_name=buyer.full_name,
        user_id=buyer.id,
        order_id=order.id,
        context=context,
    )


def tell_buyer(session: Session, order: Order, kind: str, **data: Any) -> None:
    """Append to a locked order's timeline what moves no stage; the order gets a new version, and so a new ETag."""
    write(session, order, kind, **data)
    order.updated_at = func.now()
