"""The tables, one file per family; this page names them all."""

from domain.models.accounts import AccountToken, Promoter, RefreshToken, TeamMember, User
from domain.models.audit import AuditLog, AuditPersonalValue
from domain.models.base import Base
from domain.models.catalog import Event, TicketTier
from domain.models.codes import Code
from domain.models.fairness import FairnessEntry
from domain.models.inspections import Inspection
from domain.models.notifications import EmailNotification
from domain.models.orders import IdempotencyKey, Order, OrderItem, TimelineEntry
from domain.models.payments import LedgerEntry, PaymentFeed, PaymentTransaction, Statement, WebhookEvent
from domain.models.tickets import CheckInScan, Ticket
from domain.models.waitlist import Waitlist

__all__ = [
    "AccountToken",
    "AuditLog",
    "AuditPersonalValue",
    "Base",
    "CheckInScan",
    "Code",
    "EmailNotification",
    "Event",
    "FairnessEntry",
    "IdempotencyKey",
    "Inspection",
    "LedgerEntry",
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
    "TimelineEntry",
    "User",
    "Waitlist",
    "WebhookEvent",
]
