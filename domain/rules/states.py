"""The closed lists of states: what the user named, and the finer stages and reasons beside them."""

from enum import StrEnum, auto


class UserRole(StrEnum):
    USER = auto()
    PROMOTER = auto()
    ADMIN = auto()


class TeamRight(StrEnum):
    """What a member of a promoter's team may do, in all of the promoter's events; the promoter may do everything.

    `manage` sets up events, tiers, codes and announcements; `sell` sees and decides orders, attendees and figures;
    `scan` works at the door.
    """

    MANAGE = auto()
    SELL = auto()
    SCAN = auto()


class EventStatus(StrEnum):
    DRAFT = auto()
    PUBLISHED = auto()
    CANCELLED = auto()
    COMPLETED = auto()


class OrderStatus(StrEnum):
    PENDING = auto()
    CONFIRMED = auto()
    CANCELLED = auto()
    REFUNDED = auto()


class PaymentStatus(StrEnum):
    PENDING = auto()
    COMPLETED = auto()
    FAILED = auto()
    REFUNDED = auto()


class TicketStatus(StrEnum):
    VALID = auto()
    USED = auto()
    CANCELLED = auto()
    REFUNDED = auto()


class ScanResult(StrEnum):
    """What the door says of a scan: `accepted`, or why the ticket lets nobody in."""

    ACCEPTED = auto()
    ALREADY_USED = auto()
    CANCELLED = auto()
    REFUNDED = auto()
    DISPUTED = auto()
    TRANSFERRED = auto()
    WRONG_EVENT = auto()
    UNKNOWN = auto()
    BAD_SIGNATURE = auto()
    NOT_YET_OPEN = auto()
    EVENT_OVER = auto()
    EVENT_CANCELLED = auto()


class OrderStage(StrEnum):
    """Where an order stands, finer than its status; `complete` and `closed` end."""

    QUEUED = auto()
    PARTLY_HELD = auto()
    AWAITING_APPROVAL = auto()
    HELD = auto()
    AWAITING_PAYMENT = auto()
    PAYMENT_DELAYED = auto()
    PROCESSING = auto()
    EXPIRING = auto()
    OFFERED = auto()
    ISSUING = auto()
    COMPLETE = auto()
    CLOSED = auto()
    QUARANTINED = auto()


class OrderReason(StrEnum):
    """Why an order ended."""

    SOLD_OUT = auto()
    LIMIT_EXCEEDED = auto()
    SALE_CLOSED = auto()
    INCOMPLETE = auto()
    HOLD_EXPIRED = auto()
    APPROVAL_EXPIRED = auto()
    DECLINED = auto()
    PAYMENT_FAILED = auto()
    OFFER_EXPIRED = auto()
    BUYER_CANCELLED = auto()
    EVENT_CANCELLED = auto()
    SYSTEM_ERROR = auto()


class OrderSource(StrEnum):
    DIRECT = auto()
    WAITLIST = auto()


class InventoryState(StrEnum):
    """Where an order item stands with its tier's stock; only the tier's consumer changes it.

    queued, refused and quarantined take no stock, reserved counts in the tier's `reserved`, sold in its `sold`,
    released has given its stock back.
    """

    QUEUED = auto()
    RESERVED = auto()
    SOLD = auto()
    RELEASED = auto()
    REFUSED = auto()
    QUARANTINED = auto()


class WaitlistStatus(StrEnum):
    WAITING = auto()
    OFFERED = auto()
    ACCEPTED = auto()
    DECLINED = auto()
    EXPIRED = auto()
    LEFT = auto()


class TransferStatus(StrEnum):
    """How an offer of a ticket stands; `void`: its ticket stopped being valid meanwhile."""

    PENDING = auto()
    ACCEPTED = auto()
    DECLINED = auto()
    CANCELLED = auto()
    EXPIRED = auto()
    VOID = auto()


class AttemptKind(StrEnum):
    CHARGE = auto()
    REFUND = auto()
    DISPUTE = auto()


class AttemptStatus(StrEnum):
    """How an attempt to move money stands; the names of a charge's open states are Stripe's."""

    CREATED = auto()
    REQUIRES_PAYMENT_METHOD = auto()
    REQUIRES_ACTION = auto()
    PROCESSING = auto()
    SUCCEEDED = auto()
    FAILED = auto()
    CANCELLED = auto()
    UNKNOWN = auto()


class LedgerKind(StrEnum):
    CHARGE = auto()
    FEE = auto()
    REFUND = auto()
    DISPUTE = auto()
    REVERSAL = auto()


class MailStatus(StrEnum):
    """How a mail stands; `unknown` may have been accepted by the provider or not, `suppressed` was never offered."""

    PENDING = auto()
    SENDING = auto()
    SENT = auto()
    DELIVERED = auto()
    UNKNOWN = auto()
    BOUNCED = auto()
    SUPPRESSED = auto()
    FAILED = auto()


class SuppressionReason(StrEnum):
    """Why an address gets less mail, or none: it does not exist, or its reader called our mail spam."""

    BOUNCED = auto()
    INVALID = auto()
    COMPLAINED = auto()


class MailingKind(StrEnum):
    """What many people are written at once for; each is a template, too."""

    ANNOUNCEMENT = auto()
    EVENT_CHANGED = auto()
    REMINDER = auto()


class MailingStatus(StrEnum):
    """How a mailing stands; a draft goes nowhere until it is sent, and what waits goes out when it is due."""

    DRAFT = auto()
    WAITING = auto()
    SENDING = auto()
    SENT = auto()
    CANCELLED = auto()


class VerificationStatus(StrEnum):
    UNVERIFIED = auto()
    PENDING = auto()
    VERIFIED = auto()
    REJECTED = auto()


class StripeAccountState(StrEnum):
    NONE = auto()
    PENDING = auto()
    READY = auto()
    RESTRICTED = auto()


class AccountTokenPurpose(StrEnum):
    VERIFY_EMAIL = auto()
    RESET_PASSWORD = auto()


class WebhookType(StrEnum):
    """What a promoter's systems can be told of; `webhook.test` goes to an endpoint on request only."""

    ORDER_CONFIRMED = "order.confirmed"
    ORDER_CANCELLED = "order.cancelled"
    ORDER_REFUNDED = "order.refunded"
    TICKET_CHECKED_IN = "ticket.checked_in"
    WAITLIST_JOINED = "waitlist.joined"
    EVENT_PUBLISHED = "event.published"
    EVENT_CANCELLED = "event.cancelled"
    WEBHOOK_TEST = "webhook.test"


class DeliveryStatus(StrEnum):
    """How the delivery of an outgoing webhook stands."""

    PENDING = auto()
    DELIVERED = auto()
    FAILED = auto()


class DisabledReason(StrEnum):
    """Why an endpoint hears nothing: its owner wanted so, it answered 410, or failed for days, or its key is gone."""

    PROMOTER = auto()
    GONE = auto()
    FAILING = auto()
    KEY_LOST = auto()
