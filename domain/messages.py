"""Every queue, task and payload, and `announce`: a message is a hint that a committed row wants to be looked at.

Any message may be lost, doubled, late or out of order: a task re-reads the row it names, and the sweep rings again.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import ClassVar
from uuid import UUID

from sqlalchemy.orm import Session

TIER_QUEUE_PREFIX = "tier."
PAYMENTS = "payments"
TICKETS = "tickets"
NOTIFICATIONS = "notifications"
WAITLIST = "waitlist"
WEBHOOKS = "webhooks"
SWEEP = "sweep"

QUEUES = (PAYMENTS, TICKETS, NOTIFICATIONS, WAITLIST, WEBHOOKS, SWEEP)
"""The declared queues; those of the tiers come and go with the tiers."""


Payload = dict[str, str | list[str]]


@dataclass(frozen=True, slots=True)
class Message:
    """A payload of ids. `task` is the Celery task's explicit name, `queue` where it travels."""

    task: ClassVar[str]
    base_queue: ClassVar[str]
    shared: ClassVar[str | None] = None
    """Under this name the ids of several travel as one, as publishing costs more than opening a letter; None: alone."""

    @property
    def queue(self) -> str:
        """The queue that this very message travels in."""
        return self.base_queue

    def payload(self) -> Payload:
        """Return the task's keyword arguments: ids as text."""
        return joint_payload([self])


@dataclass(frozen=True, slots=True)
class ServeTier(Message):
    """Something waits for the tier's consumer."""

    task: ClassVar[str] = "allocation.serve"
    base_queue: ClassVar[str] = TIER_QUEUE_PREFIX
    tier_id: UUID

    @property
    def queue(self) -> str:
        """Each tier has a queue of its own."""
        return tier_queue(self.tier_id)


@dataclass(frozen=True, slots=True)
class OpenPayment(Message):
    """The order is held, and wants an intent (or, free of charge, its tickets). Rounds hold hundreds at a time."""

    task: ClassVar[str] = "payments.open"
    base_queue: ClassVar[str] = PAYMENTS
    shared: ClassVar[str | None] = "order_ids"
    order_id: UUID


@dataclass(frozen=True, slots=True)
class ConfirmPayment(Message):
    """The buyer asked to confirm the intent with a payment method."""

    task: ClassVar[str] = "payments.confirm"
    base_queue: ClassVar[str] = PAYMENTS
    order_id: UUID


@dataclass(frozen=True, slots=True)
class SettlePayment(Message):
    """The intent may have moved: read it at the provider, and move the order accordingly."""

    task: ClassVar[str] = "payments.settle"
    base_queue: ClassVar[str] = PAYMENTS
    order_id: UUID


@dataclass(frozen=True, slots=True)
class CancelPayment(Message):
    """The order is expiring: cancel its intent, then close it, or confirm it if it was paid after all."""

    task: ClassVar[str] = "payments.cancel"
    base_queue: ClassVar[str] = PAYMENTS
    order_id: UUID


@dataclass(frozen=True, slots=True)
class ConcludeLatePayment(Message):
    """The order was paid after its end, and its tiers have said whether they still have its stock."""

    task: ClassVar[str] = "payments.conclude"
    base_queue: ClassVar[str] = PAYMENTS
    order_id: UUID


@dataclass(frozen=True, slots=True)
class RefundPayment(Message):
    """A refund was written down and must be carried out."""

    task: ClassVar[str] = "payments.refund"
    base_queue: ClassVar[str] = PAYMENTS
    transaction_id: UUID


@dataclass(frozen=True, slots=True)
class FollowDispute(Message):
    """A dispute has been open for a while: read it at the provider."""

    task: ClassVar[str] = "payments.dispute"
    base_queue: ClassVar[str] = PAYMENTS
    transaction_id: UUID


@dataclass(frozen=True, slots=True)
class ReadFeed(Message):
    """The provider may have made events that no webhook brought."""

    task: ClassVar[str] = "payments.feed"
    base_queue: ClassVar[str] = PAYMENTS


@dataclass(frozen=True, slots=True)
class ReceivePaymentEvent(Message):
    """A verified Stripe event lies in the inbox."""

    task: ClassVar[str] = "payments.receive"
    base_queue: ClassVar[str] = PAYMENTS
    event_id: UUID


@dataclass(frozen=True, slots=True)
class ReadAccount(Message):
    """A promoter's connected account may have changed: read it at the provider, under whose id we know it."""

    task: ClassVar[str] = "payments.read_account"
    base_queue: ClassVar[str] = PAYMENTS
    account_id: str


@dataclass(frozen=True, slots=True)
class MakeStatement(Message):
    """A statement of an event's money was asked for."""

    task: ClassVar[str] = "payments.state"
    base_queue: ClassVar[str] = PAYMENTS
    statement_id: UUID


@dataclass(frozen=True, slots=True)
class RenderTickets(Message):
    """The order's tickets exist and want their QR codes."""

    task: ClassVar[str] = "tickets.render"
    base_queue: ClassVar[str] = TICKETS
    order_id: UUID


@dataclass(frozen=True, slots=True)
class SendMail(Message):
    """A mail lies in the outbox."""

    task: ClassVar[str] = "notifications.send"
    base_queue: ClassVar[str] = NOTIFICATIONS
    notification_id: UUID


@dataclass(frozen=True, slots=True)
class ReceiveMailEvent(Message):
    """A verified SendGrid event lies in the inbox."""

    task: ClassVar[str] = "notifications.receive"
    base_queue: ClassVar[str] = NOTIFICATIONS
    event_id: UUID


@dataclass(frozen=True, slots=True)
class NotifyOffer(Message):
    """The consumer made an offer to a waiting entry, whose mail is still to be written."""

    task: ClassVar[str] = "waitlist.notify"
    base_queue: ClassVar[str] = WAITLIST
    entry_id: UUID


@dataclass(frozen=True, slots=True)
class DeliverWebhook(Message):
    """A promoter's endpoint is to be told something."""

    task: ClassVar[str] = "webhooks.deliver"
    base_queue: ClassVar[str] = WEBHOOKS
    delivery_id: UUID


def tier_queue(tier_id: UUID) -> str:
    """Return the name of a tier's queue."""
    return f"{TIER_QUEUE_PREFIX}{tier_id}"


def joint_payload(messages: Sequence[Message]) -> Payload:
    """Return the arguments for messages of one kind, several of which must be of a kind that is shared."""
    first = messages[0]
    # Not by `asdict` and `astuple`, which copy each id deeply: a fifth of what publishing costs.
    names = [field.name for field in fields(first)]
    ids = [str(getattr(message, name)) for message in messages for name in names]
    return {first.shared: ids} if first.shared else dict(zip(names, ids, strict=True))


PARCELS = 8
"""So many messages carry the shared ones that wait together, or fewer: few are spread over the workers one by one."""


def pack(messages: Iterable[Message]) -> list[list[Message]]:
    """Return what travels together: a few of a shared kind, each of the others alone; all keep their order."""
    parcels, shared = [], defaultdict[type[Message], list[Message]](list)
    for message in messages:
        if message.shared:
            shared[type(message)].append(message)
        else:
            parcels.append([message])
    for alike in shared.values():
        size = -(-len(alike) // PARCELS)
        parcels += [alike[start : start + size] for start in range(0, len(alike), size)]
    return parcels


Announcements = dict[Message, str | None]
"""Messages in the order of their announcement, each with the request id that its logs should carry."""

_PENDING = "announcements"


def announce(session: Session, message: Message, request_id: str | None = None) -> None:
    """Send the message when, and only when, the session's transaction has been committed.

    `request_id` is that of the request which made the order; without it the message carries that of whoever sends it.
    """
    pending: Announcements = session.info.setdefault(_PENDING, {})
    pending[message] = request_id or pending.get(message)


def take_announcements(session: Session) -> Announcements:
    """Hand over, once each, the messages that were announced since the last commit or rollback."""
    pending: Announcements = session.info.pop(_PENDING, {})
    return pending
