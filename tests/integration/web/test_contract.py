"""The whole API, asked at random as its own description allows and forbids: by a buyer, a promoter and an admin.

Whatever is sent, the answer must be one that the description names, in the form that it names, and never a 5xx.
"""

import copy
import random

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from sqlalchemy import select

from domain.models import Ticket
from domain.rules.states import (
    EventStatus,
    MailStatus,
    OrderStage,
    ScanResult,
    TicketStatus,
    UserRole,
    VerificationStatus,
)
from tests.factories import (
    CheckInScanFactory,
    CodeFactory,
    EmailNotificationFactory,
    EventFactory,
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

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    response_headers_conformance,
]
EXAMPLES = {GenerationMode.POSITIVE: 4, GenerationMode.NEGATIVE: 2}
"""Requests per operation, role and mode: three roles and 140 operations stay within a minute."""
REFUSED = {"ticket_id": None, "result": ScanResult.UNKNOWN}
ENDING = {
    "/api/v1/admin/users/{user_id}",
    "/api/v1/admin/users/{user_id}/erasure",
    "/api/v1/auth/logout",
    "/api/v1/events/{event_id}",
    "/api/v1/events/{event_id}/cancel",
    "/api/v1/promoters/me/team/{member_id}",
    "/api/v1/promoters/me/webhooks/{webhook_id}",
}
"""What would end the world of the others is asked last."""


@pytest.fixture
def world(sessions):
    """Make one of everything, and return the people and the ids that a path can name."""
    with sessions.begin() as session, bound_to(session):
        promoter = PromoterFactory(stripe_account_id=None)
        people = {
            UserRole.USER: UserFactory(),
            UserRole.PROMOTER: promoter.user,
            UserRole.ADMIN: UserFactory(role=UserRole.ADMIN),
        }
        buyer = people[UserRole.USER]
        event = EventFactory(promoter=promoter)
        tier = TicketTierFactory(event=event, quantity=1000)
        sold_out = TicketTierFactory(event=event, quantity=2, price=0)
        orders = [
            OrderFactory(user=buyer, tier=tier, stage=stage) for stage in OrderStage if stage is not OrderStage.OFFERED
        ]
        OrderFactory(tier=sold_out, quantity=2, stage=OrderStage.COMPLETE)
        entry = WaitlistFactory(user=buyer, tier=sold_out)
        used = CheckInScanFactory(ticket=TicketFactory(status=TicketStatus.USED, event=event))
        endpoint = WebhookEndpointFactory(promoter_id=promoter.id)
        ids = {
            "event_id": [event.id, EventFactory(promoter=promoter, status=EventStatus.DRAFT).id],
            "tier_id": [tier.id, sold_out.id],
            "order_id": [order.id for order in orders],
            "ticket_id": session.scalars(
                select(Ticket.id).where(Ticket.order_id.in_([order.id for order in orders]))
            ).all(),
            "entry_id": [entry.id],
            "scan_id": [used.id, CheckInScanFactory(ticket=None, event_id=event.id, **REFUSED).id],
            "transfer_id": [TicketTransferFactory(recipient_email=buyer.email).id for _ in range(2)],
            "code_id": [CodeFactory(event_id=event.id).id],
            "promoter_id": [promoter.id, PromoterFactory(verification_status=VerificationStatus.PENDING).id],
            "member_id": [TeamMemberFactory(promoter_id=promoter.id).id],
            "webhook_id": [endpoint.id],
            "delivery_id": [WebhookDeliveryFactory(endpoint_id=endpoint.id).id],
            "webhook_event_id": [WebhookEventFactory().id],
            "mail_id": [EmailNotificationFactory(status=status).id for status in MailStatus],
            "user_id": [buyer.id, UserFactory(role=UserRole.ADMIN).id],
        }
    return people, ids


@pytest.fixture
def services(settings, sessions, hasher, clock, redis_url):
    # Nobody else moves the orders here, so holding answers back would only cost time.
    quick = settings.model_copy(update={"long_poll_limit_seconds": 0, "redis_url": redis_url})
    services = Services(quick, sessions, hasher, clock)
    services.__dict__["gateway"] = FakePaymentGateway()
    return services


@pytest.mark.slow
@pytest.mark.parametrize("role", UserRole)
def test_answers_are_what_the_description_says(app, log_in, world, role):
    people, ids = world
    headers = {"Authorization": log_in(people[role]).environ_base["HTTP_AUTHORIZATION"]}
    schema = schemathesis.openapi.from_wsgi("/openapi.json", app)
    description = app.api_doc
    operations = [result.ok() for result in schema.get_all_operations()]
    assert len(operations) > 40
    faults = []
    for operation in sorted(operations, key=lambda operation: operation.path in ENDING):
        for mode in GenerationMode:
            try:
                _ask(operation, mode, headers, ids, _example_of(description, operation))
            except Unsatisfiable:
                assert mode is GenerationMode.NEGATIVE, operation.label  # it takes nothing that could be wrong
            except (Exception, BaseExceptionGroup) as fault:  # noqa: BLE001 each operation is asked, whatever another did
                faults.append(f"{operation.method.upper()} {operation.path} ({mode.value}):\n{_tell(fault)}")
    assert not faults, "\n\n".join(faults)


def _ask(operation, mode, headers, ids, example):
    @settings(
        max_examples=EXAMPLES[mode],
        phases=[Phase.explicit, Phase.generate],
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(mode), seed=st.integers(0, 2**16))
    def ask(case, seed):
        dice = random.Random(seed)
        if mode is GenerationMode.POSITIVE and example is not None and dice.random() < 0.5:
            case.body = copy.deepcopy(example)
        # Most requests should get past the 404: they name something that exists.
        for part in (case.path_parameters, case.body):
            _name_what_exists(part, ids, dice)
        case.call_and_validate(headers=headers, checks=CHECKS)

    ask()


def _name_what_exists(part, ids, dice):
    if isinstance(part, list):
        for item in part:
            _name_what_exists(item, ids, dice)
    if isinstance(part, dict):
        for name, value in part.items():
            if name in ids and dice.random() < 0.8:
                part[name] = str(dice.choice(ids[name]))
            else:
                _name_what_exists(value, ids, dice)


def _example_of(description, operation):
    """Return the example of an operation's body, if it has one."""
    content = operation.definition.raw.get("requestBody", {}).get("content", {})
    reference = content.get("application/json", {}).get("schema", {}).get("$ref", "")
    schema = description["components"]["schemas"].get(reference.rpartition("/")[2], {})
    return next(iter(schema.get("examples", [])), None)


def _tell(fault):
    parts = fault.exceptions if isinstance(fault, BaseExceptionGroup) else [fault]
    return "\n".join(f"{type(part).__name__}: {part}"[:1500] for part in parts)
