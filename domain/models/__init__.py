"""The tables, one file per family; this page names them all."""

from domain.models.accounts import AccountToken, Promoter, RefreshToken, TeamMember, User
from domain.models.analytics import AnalyticsRefresh
from domain.models.approvals import ApprovalNotice
from domain.models.audit import AuditLog, AuditPersonalValue
from domain.models.base import Base
from domain.models.catalog import Event, TicketTier
from domain.models.check_ins import CheckInScan, DoorCount
from domain.models.codes import Code
from domain.models.fairness import FairnessEntry
from domain.models.hooks import WebhookDelivery, WebhookEndpoint
from domain.models.idempotency import IdempotencyKey
from domain.models.inspections import Inspection
from domain.models.mailings import Mailing, MailSuppression, Unsubscription
from domain.models.notifications import EmailNotification
from domain.models.orders import Order, OrderItem, TimelineEntry
from domain.models.payments import LedgerEntry, PaymentFeed, PaymentTransaction, Statement, WebhookEvent
from domain.models.tickets import Ticket
from domain.models.transfers import TicketTransfer
from domain.models.waitlist import Waitlist

__all__ = [
    "AccountToken",
    "AnalyticsRefresh",
    "ApprovalNotice",
    "AuditLog",
    "AuditPersonalValue",
    "Base",
    "CheckInScan",
    "Code",
    "DoorCount",
    "EmailNotification",
    "Event",
    "FairnessEntry",
    "IdempotencyKey",
    "Inspection",
    "LedgerEntry",
    "MailSuppression",
    "Mailing",
    "Order",
    "OrderItem",
    "PaymentFeed",
    "PaymentTransaction",
    "Promoter",
    "RefreshToken",
    "Statement",
    "TeamMember",
    "Ticket",
    "TicketTier",
    "TicketTransfer",
    "TimelineEntry",
    "Unsubscription",
    "User",
    "Waitlist",
    "WebhookDelivery",
    "WebhookEndpoint",
    "WebhookEvent",
]
