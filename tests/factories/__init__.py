"""Rows for tests, one factory per model; each makes what its row needs, and nothing that contradicts it.

`UserFactory(session=session, …)` writes into that session, and so do all within `with bound_to(session):`.
"""

from tests.factories.accounts import (
    PASSWORD,
    AccountTokenFactory,
    PromoterFactory,
    RefreshTokenFactory,
    TeamMemberFactory,
    UserFactory,
)
from tests.factories.analytics import AnalyticsRefreshFactory
from tests.factories.audit import AuditLogFactory, AuditPersonalValueFactory, InspectionFactory
from tests.factories.base import bound_to
from tests.factories.catalog import ApprovalNoticeFactory, EventFactory, TicketTierFactory
from tests.factories.codes import CodeFactory
from tests.factories.fairness import FairnessEntryFactory
from tests.factories.hooks import WebhookDeliveryFactory, WebhookEndpointFactory
from tests.factories.mailings import MailingFactory, MailSuppressionFactory, UnsubscriptionFactory
from tests.factories.money import (
    LedgerEntryFactory,
    PaymentFeedFactory,
    PaymentTransactionFactory,
    StatementFactory,
    WebhookEventFactory,
)
from tests.factories.notifications import EmailNotificationFactory
from tests.factories.orders import IdempotencyKeyFactory, OrderFactory, TimelineEntryFactory
from tests.factories.tickets import CheckInScanFactory, DoorCountFactory, TicketFactory, TicketTransferFactory
from tests.factories.waitlist import WaitlistFactory

__all__ = [
    "PASSWORD",
    "AccountTokenFactory",
    "AnalyticsRefreshFactory",
    "ApprovalNoticeFactory",
    "AuditLogFactory",
    "AuditPersonalValueFactory",
    "CheckInScanFactory",
    "CodeFactory",
    "DoorCountFactory",
    "EmailNotificationFactory",
    "EventFactory",
    "FairnessEntryFactory",
    "IdempotencyKeyFactory",
    "InspectionFactory",
    "LedgerEntryFactory",
    "MailSuppressionFactory",
    "MailingFactory",
    "OrderFactory",
    "PaymentFeedFactory",
    "PaymentTransactionFactory",
    "PromoterFactory",
    "RefreshTokenFactory",
    "StatementFactory",
    "TeamMemberFactory",
    "TicketFactory",
    "TicketTierFactory",
    "TicketTransferFactory",
    "TimelineEntryFactory",
    "UnsubscriptionFactory",
    "UserFactory",
    "WaitlistFactory",
    "WebhookDeliveryFactory",
    "WebhookEndpointFactory",
    "WebhookEventFactory",
    "bound_to",
]
