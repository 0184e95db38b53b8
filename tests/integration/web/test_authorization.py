"""Who may do what, asked of the running app: each operation by each kind of person, in a world with one of everything.

A route that is not in the table fails. An act is undone after its answer, so that none spoils the world of the others.
"""

import pytest
from sqlalchemy import select
from sqlalchemy.orm import sessionmaker

from domain.models import Ticket
from domain.rules.states import MailStatus, OrderStage, TeamRight, TicketStatus, UserRole
from tests.factories import (
    CheckInScanFactory,
    CodeFactory,
    EmailNotificationFactory,
    EventFactory,
    MailingFactory,
    MailSuppressionFactory,
    OrderFactory,
    PromoterFactory,
    TeamMemberFactory,
    TicketFactory,
    TicketTierFactory,
    TicketTransferFactory,
    UserFactory,
    WaitlistFactory,
    WebhookDeliveryFactory,
    WebhookEndpointFactory,
    WebhookEventFactory,
    bound_to,
)
from tests.fakes.payment_gateway import FakePaymentGateway
from web.services import Services

TEAM = {"scanner": TeamRight.SCAN, "seller": TeamRight.SELL, "manager": TeamRight.MANAGE}
CALLERS = ("stranger", "somebody", "buyer", "rival", *TEAM, "promoter", "admin")
"""Columns of the table. The order, ticket and entry are the buyer's, the event is the promoter's; the rival sells
elsewhere; scanner, seller and manager are members of the promoter's team with that one right."""

MAY = """
GET    /api/v1/admin/audit-log                                                    1 3 3 3 3 3 3 3 .
GET    /api/v1/admin/deleted                                                      1 3 3 3 3 3 3 3 .
POST   /api/v1/admin/events/{event_id}/restore                                    1 3 3 3 3 3 3 3 .
GET    /api/v1/admin/mail-outbox                                                  1 3 3 3 3 3 3 3 .
GET    /api/v1/admin/mail-outbox/{mail_id}                                        1 3 3 3 3 3 3 3 .
POST   /api/v1/admin/mail-outbox/{mail_id}/replay                                 1 3 3 3 3 3 3 3 .
GET    /api/v1/admin/mail-suppressions                                            1 3 3 3 3 3 3 3 .
DELETE /api/v1/admin/mail-suppressions/{suppression_id}                           1 3 3 3 3 3 3 3 .
GET    /api/v1/admin/users                                                        1 3 3 3 3 3 3 3 .
DELETE /api/v1/admin/users/{user_id}                                              1 3 3 3 3 3 3 3 .
GET    /api/v1/admin/users/{user_id}                                              1 3 3 3 3 3 3 3 .
PATCH  /api/v1/admin/users/{user_id}                                              1 3 3 3 3 3 3 3 .
POST   /api/v1/admin/users/{user_id}/erasure                                      1 3 3 3 3 3 3 3 .
GET    /api/v1/admin/users/{user_id}/export                                       1 3 3 3 3 3 3 3 .
POST   /api/v1/admin/users/{user_id}/restore                                      1 3 3 3 3 3 3 3 .
GET    /api/v1/admin/webhook-inbox                                                1 3 3 3 3 3 3 3 .
GET    /api/v1/admin/webhook-inbox/{webhook_event_id}                             1 3 3 3 3 3 3 3 .
POST   /api/v1/admin/webhook-inbox/{webhook_event_id}/replay                      1 3 3 3 3 3 3 3 .
POST   /api/v1/auth/logout                                                        1 . . . . . . . .
GET    /api/v1/auth/me                                                            1 . . . . . . . .
PATCH  /api/v1/auth/me                                                            1 . . . . . . . .
POST   /api/v1/auth/me/erasure                                                    1 1 1 1 1 1 1 1 1
GET    /api/v1/auth/me/export                                                     1 . . . . . . . .
POST   /api/v1/auth/verify-email/resend                                           1 . . . . . . . .
POST   /api/v1/check-ins                                                          1 4 4 4 . 3 3 . .
POST   /api/v1/check-ins/{scan_id}/undo                                           1 4 4 4 3 3 . . .
DELETE /api/v1/codes/{code_id}                                                    1 4 4 4 3 3 . . .
GET    /api/v1/codes/{code_id}                                                    1 4 4 4 3 3 . . .
PATCH  /api/v1/codes/{code_id}                                                    1 4 4 4 3 3 . . .
POST   /api/v1/events                                                             1 3 3 . 3 3 3 . .
DELETE /api/v1/events/{event_id}                                                  1 4 4 4 3 3 . . .
GET    /api/v1/events/{event_id}                                                  4 4 4 4 . . . . .
PUT    /api/v1/events/{event_id}                                                  1 4 4 4 3 3 . . .
GET    /api/v1/events/{event_id}/analytics                                        1 4 4 4 3 . 3 . .
GET    /api/v1/events/{event_id}/announcements                                    1 4 4 4 3 3 . . .
POST   /api/v1/events/{event_id}/announcements                                    1 4 4 4 3 3 . . .
GET    /api/v1/events/{event_id}/announcements/{announcement_id}                  1 4 4 4 3 3 . . .
POST   /api/v1/events/{event_id}/announcements/{announcement_id}/cancel           1 4 4 4 3 3 . . .
GET    /api/v1/events/{event_id}/announcements/{announcement_id}/preview          1 4 4 4 3 3 . . .
POST   /api/v1/events/{event_id}/announcements/{announcement_id}/send             1 4 4 4 3 3 . . .
GET    /api/v1/events/{event_id}/attendees                                        1 4 4 4 . . 3 . .
GET    /api/v1/events/{event_id}/attendees.csv                                    1 4 4 4 3 . 3 . .
GET    /api/v1/events/{event_id}/attendees.xlsx                                   1 4 4 4 3 . 3 . .
POST   /api/v1/events/{event_id}/cancel                                           1 3 3 4 3 3 3 . .
GET    /api/v1/events/{event_id}/check-in-conflicts                               1 4 4 4 . . 3 . .
GET    /api/v1/events/{event_id}/codes                                            1 4 4 4 3 3 . . .
POST   /api/v1/events/{event_id}/codes                                            1 4 4 4 3 3 . . .
POST   /api/v1/events/{event_id}/codes/batch                                      1 4 4 4 3 3 . . .
GET    /api/v1/events/{event_id}/disputes                                         1 4 4 4 3 . 3 . .
GET    /api/v1/events/{event_id}/door                                             1 4 4 4 . . 3 . .
GET    /api/v1/events/{event_id}/door-list                                        1 4 4 4 . 3 3 . .
POST   /api/v1/events/{event_id}/duplicate                                        1 4 4 4 3 3 . . .
GET    /api/v1/events/{event_id}/event.ics                                        4 4 4 4 . . . . .
GET    /api/v1/events/{event_id}/mail                                             1 4 4 4 3 . 3 . .
GET    /api/v1/events/{event_id}/mail/undeliverable                               1 4 4 4 3 . 3 . .
GET    /api/v1/events/{event_id}/orders                                           1 4 4 4 3 . 3 . .
GET    /api/v1/events/{event_id}/orders.csv                                       1 4 4 4 3 . 3 . .
GET    /api/v1/events/{event_id}/orders.xlsx                                      1 4 4 4 3 . 3 . .
POST   /api/v1/events/{event_id}/publish                                          1 4 4 4 3 3 . . .
GET    /api/v1/events/{event_id}/statement                                        1 4 4 4 3 . 3 . .
GET    /api/v1/events/{event_id}/ticket-keys                                      4 4 4 4 . . . . .
GET    /api/v1/events/{event_id}/tiers                                            4 4 4 4 . . . . .
POST   /api/v1/events/{event_id}/tiers                                            1 4 4 4 3 3 . . .
GET    /api/v1/events/{event_id}/waitlist                                         1 4 4 4 3 . 3 . .
POST   /api/v1/events/{event_id}/waitlist                                         1 . . . . . . . .
GET    /api/v1/orders                                                             1 . . . . . . . .
POST   /api/v1/orders                                                             1 . . . . . . . .
GET    /api/v1/orders/{order_id}                                                  1 4 . 4 4 . 4 . .
POST   /api/v1/orders/{order_id}/approve                                          1 4 3 4 4 . 4 . .
POST   /api/v1/orders/{order_id}/cancel                                           1 4 . 4 4 4 4 4 4
POST   /api/v1/orders/{order_id}/confirm                                          1 4 . 4 4 4 4 4 4
POST   /api/v1/orders/{order_id}/decline                                          1 4 3 4 4 . 4 . .
POST   /api/v1/orders/{order_id}/refund                                           1 4 . 4 4 . 4 . .
GET    /api/v1/orders/{order_id}/tickets.pdf                                      1 4 . 4 4 4 4 4 4
GET    /api/v1/promoters                                                          1 3 3 3 3 3 3 3 .
GET    /api/v1/promoters/me                                                       1 4 4 . 4 4 4 . 4
PATCH  /api/v1/promoters/me                                                       1 4 4 . 4 4 4 . 4
POST   /api/v1/promoters/me                                                       1 . . . . . . . .
POST   /api/v1/promoters/me/payout-account                                        1 3 3 . 3 3 3 . 4
GET    /api/v1/promoters/me/team                                                  1 4 4 . 4 4 4 . 4
POST   /api/v1/promoters/me/team                                                  1 4 4 . 4 4 4 . 4
DELETE /api/v1/promoters/me/team/{member_id}                                      1 4 4 4 3 . 3 . .
PATCH  /api/v1/promoters/me/team/{member_id}                                      1 4 4 4 3 3 3 . .
GET    /api/v1/promoters/me/webhooks                                              1 4 4 . 4 4 4 . 4
POST   /api/v1/promoters/me/webhooks                                              1 4 4 . 4 4 4 . 4
DELETE /api/v1/promoters/me/webhooks/{webhook_id}                                 1 4 4 4 3 3 . . .
GET    /api/v1/promoters/me/webhooks/{webhook_id}                                 1 4 4 4 3 3 . . .
PATCH  /api/v1/promoters/me/webhooks/{webhook_id}                                 1 4 4 4 3 3 . . .
GET    /api/v1/promoters/me/webhooks/{webhook_id}/deliveries                      1 4 4 4 3 3 . . .
POST   /api/v1/promoters/me/webhooks/{webhook_id}/deliveries/{delivery_id}/replay 1 4 4 4 3 3 . . .
POST   /api/v1/promoters/me/webhooks/{webhook_id}/rotate-secret                   1 4 4 4 3 3 . . .
POST   /api/v1/promoters/me/webhooks/{webhook_id}/test                            1 4 4 4 3 3 . . .
POST   /api/v1/promoters/{promoter_id}/reject                                     1 3 3 3 3 3 3 3 .
PUT    /api/v1/promoters/{promoter_id}/terms                                      1 3 3 3 3 3 3 3 .
POST   /api/v1/promoters/{promoter_id}/verify                                     1 3 3 3 3 3 3 3 .
GET    /api/v1/teams                                                              1 . . . . . . . .
GET    /api/v1/tickets                                                            1 . . . . . . . .
GET    /api/v1/tickets/{ticket_id}                                                1 4 . 4 4 4 4 4 4
GET    /api/v1/tickets/{ticket_id}/event.ics                                      1 4 . 4 4 4 4 4 4
GET    /api/v1/tickets/{ticket_id}/google-wallet                                  1 4 4 4 4 4 4 4 4
GET    /api/v1/tickets/{ticket_id}/qr.png                                         1 4 . 4 4 4 4 4 4
GET    /api/v1/tickets/{ticket_id}/qr.svg                                         1 4 . 4 4 4 4 4 4
GET    /api/v1/tickets/{ticket_id}/ticket.pdf                                     1 4 . 4 4 4 4 4 4
GET    /api/v1/tickets/{ticket_id}/ticket.pkpass                                  1 4 4 4 4 4 4 4 4
DELETE /api/v1/tickets/{ticket_id}/transfer                                       1 4 . 4 4 4 4 4 4
POST   /api/v1/tickets/{ticket_id}/transfer                                       1 4 . 4 4 4 4 4 4
DELETE /api/v1/tiers/{tier_id}                                                    1 4 4 4 3 3 . . .
PUT    /api/v1/tiers/{tier_id}                                                    1 4 4 4 3 3 . . .
GET    /api/v1/tiers/{tier_id}/availability                                       4 4 4 4 . . . . .
POST   /api/v1/tiers/{tier_id}/drain                                              1 4 4 4 3 3 . . .
GET    /api/v1/tiers/{tier_id}/fairness                                           4 4 4 4 . . . . .
POST   /api/v1/tiers/{tier_id}/pause                                              1 4 4 4 3 3 . . .
POST   /api/v1/tiers/{tier_id}/resume                                             1 4 4 4 3 3 . . .
GET    /api/v1/transfers                                                          1 . . . . . . . .
GET    /api/v1/transfers/{transfer_id}                                            1 . . 4 4 4 4 4 4
POST   /api/v1/transfers/{transfer_id}/accept                                     1 . 4 4 4 4 4 4 4
POST   /api/v1/transfers/{transfer_id}/cancel                                     1 4 . 4 4 4 4 4 4
POST   /api/v1/transfers/{transfer_id}/decline                                    1 . 4 4 4 4 4 4 4
GET    /api/v1/waitlist                                                           1 . . . . . . . .
DELETE /api/v1/waitlist/{entry_id}                                                1 4 . 4 4 4 4 4 4
GET    /api/v1/waitlist/{entry_id}                                                1 4 . 4 4 4 4 4 4
POST   /api/v1/waitlist/{entry_id}/accept                                         1 4 . 4 4 4 4 4 4
POST   /api/v1/waitlist/{entry_id}/decline                                        1 4 . 4 4 4 4 4 4
"""
"""`.` lets in, whatever comes of it; 1, 3 and 4 stand for 401, 403 and 404. What is there and what is not look alike to
those who may know of neither: the event is a private one."""

OPEN = """
POST   /api/v1/auth/register
POST   /api/v1/auth/login
POST   /api/v1/auth/refresh
POST   /api/v1/auth/verify-email
POST   /api/v1/auth/password/forgot
POST   /api/v1/auth/password/reset
GET    /api/v1/events
GET    /api/v1/receipt-keys
GET    /api/v1/fairness/check.py
POST   /webhooks/stripe
POST   /webhooks/sendgrid
GET    /healthz
GET    /readyz
GET    /metrics
"""
"""Everybody may, strangers too: they prove what they need to by what they send, or see only what is public."""

LETTERS = {401: "1", 403: "3", 404: "4"}
BODIES = {("POST", "/api/v1/orders/{order_id}/confirm"): {"payment_method": "pm_card_visa"}}
"""Where the description has no example of the whole."""


def read_table():
    rows = [line.split() for line in MAY.strip().splitlines()]
    return {(method, path): "".join(cells) for method, path, *cells in rows}


def read_open():
    return {tuple(line.split()) for line in OPEN.strip().splitlines()}


@pytest.fixture(scope="module")
def connection(engine):
    with engine.connect() as connection, connection.begin() as transaction:
        yield connection
        transaction.rollback()


@pytest.fixture(scope="module")
def module_sessions(connection):
    return sessionmaker(connection, expire_on_commit=False, join_transaction_mode="create_savepoint")


@pytest.fixture(scope="module")
def world(module_sessions):
    """Make one of everything; return the people by column, and the ids that paths and bodies name."""
    with module_sessions.begin() as session, bound_to(session):
        promoter = PromoterFactory()
        team = {
            column: TeamMemberFactory(promoter_id=promoter.id, rights=[right])
            for column, right in zip(
                ("scanner", "seller", "manager"), (TeamRight.SCAN, TeamRight.SELL, TeamRight.MANAGE), strict=True
            )
        }
        people = {
            "somebody": UserFactory(),
            "buyer": UserFactory(),
            "rival": PromoterFactory().user,
            **{column: member.user for column, member in team.items()},
            "promoter": promoter.user,
            "admin": UserFactory(role=UserRole.ADMIN),
        }
        event = EventFactory(promoter=promoter, is_private=True)
        tier = TicketTierFactory(event=event, quantity=1000)
        order = OrderFactory(user=people["buyer"], tier=tier, stage=OrderStage.COMPLETE)
        ticket = session.scalars(select(Ticket).where(Ticket.order_id == order.id)).one()
        used = CheckInScanFactory(ticket=TicketFactory(status=TicketStatus.USED, event=event))
        endpoint = WebhookEndpointFactory(promoter_id=promoter.id)
        ids = {
            "event_id": event.id,
            "tier_id": tier.id,
            "order_id": order.id,
            "ticket_id": ticket.id,
            "entry_id": WaitlistFactory(user=people["buyer"], tier=tier).id,
            "promoter_id": promoter.id,
            "user_id": people["buyer"].id,
            "scan_id": used.id,
            "transfer_id": TicketTransferFactory(sender=people["buyer"], recipient_email=people["somebody"].email).id,
            "member_id": team["seller"].id,
            "webhook_id": endpoint.id,
            "delivery_id": WebhookDeliveryFactory(endpoint_id=endpoint.id).id,
            "code_id": CodeFactory(event_id=event.id).id,
            "announcement_id": MailingFactory(event=event).id,
            "suppression_id": MailSuppressionFactory().id,
            "webhook_event_id": WebhookEventFactory().id,
            "mail_id": EmailNotificationFactory(status=MailStatus.FAILED).id,
        }
    return people, ids


@pytest.fixture
def services(settings, module_sessions, hasher, clock, redis_url):
    quick = settings.model_copy(update={"long_poll_limit_seconds": 0, "redis_url": redis_url})
    services = Services(quick, module_sessions, hasher, clock)
    services.__dict__["statements"] = module_sessions
    services.__dict__["gateway"] = FakePaymentGateway()
    return services


def operations(app):
    return {
        (method.upper(), path): operation
        for path, methods in app.api_doc["paths"].items()
        for method, operation in methods.items()
    }


def example_of(app, operation):
    """Return the example of an operation's body, or None if it takes none."""
    content = operation.get("requestBody", {}).get("content", {})
    reference = content.get("application/json", {}).get("schema", {}).get("$ref", "")
    if not reference:
        return None
    return app.api_doc["components"]["schemas"][reference.rpartition("/")[2]]["examples"][0]


def fill(part, ids):
    """Name in a body what exists."""
    if isinstance(part, dict):
        return {name: str(ids[name]) if name in ids else fill(value, ids) for name, value in part.items()}
    return [fill(item, ids) for item in part] if isinstance(part, list) else part


def test_every_operation_is_in_the_table(bare_app):
    known = {*read_table(), *read_open()}
    assert set(operations(bare_app)) == known


@pytest.mark.parametrize("operation", read_table(), ids=" ".join)
def test_who_may(app, log_in, world, connection, operation):
    (method, path), (people, ids) = operation, world
    body = fill(BODIES.get(operation) or example_of(app, operations(app)[operation]), ids)
    answers = []
    for caller in CALLERS:
        client = app.test_client() if caller == "stranger" else log_in(people[caller])
        connection.exec_driver_sql("SAVEPOINT before")
        response = client.open(
            path.format(**ids), method=method, json=body, headers={"Idempotency-Key": f"{caller}-asks"}
        )
        response.get_data()
        connection.exec_driver_sql("ROLLBACK TO SAVEPOINT before")
        answers.append(response)
    seen = "".join(LETTERS.get(answer.status_code, ".") for answer in answers)
    assert seen == read_table()[operation], dict(zip(CALLERS, seen, strict=True))
    assert max(answer.status_code for answer in answers) < 500
