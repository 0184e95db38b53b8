"""A person of whom every table knows something, all of it with one word in it that stands nowhere else."""

import io
import json
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select, text, update

from domain import erasure, personal_data
from domain.audit import Actor
from domain.errors import ConflictError, NotFoundError
from domain.models import (
    AuditLog,
    Base,
    EmailNotification,
    LedgerEntry,
    Order,
    Ticket,
    TicketTransfer,
    User,
    Waitlist,
    WebhookEndpoint,
    WebhookEvent,
)
from domain.models.notifications import ERASED_ADDRESS
from domain.rules.states import (
    AttemptKind,
    AttemptStatus,
    EventStatus,
    MailStatus,
    OrderReason,
    OrderStage,
    TransferStatus,
    UserRole,
    WaitlistStatus,
)
from tests.factories import (
    AccountTokenFactory,
    AuditLogFactory,
    AuditPersonalValueFactory,
    CheckInScanFactory,
    EmailNotificationFactory,
    EventFactory,
    IdempotencyKeyFactory,
    MailSuppressionFactory,
    OrderFactory,
    PaymentTransactionFactory,
    PromoterFactory,
    RefreshTokenFactory,
    TeamMemberFactory,
    TicketFactory,
    TicketTierFactory,
    TicketTransferFactory,
    TimelineEntryFactory,
    UnsubscriptionFactory,
    UserFactory,
    WaitlistFactory,
    WebhookEndpointFactory,
    WebhookEventFactory,
    bound_to,
)

NOW = datetime.now(UTC)
WORD = "zenobia"
MAIL = f"{WORD}@example.com"


@pytest.fixture
def rows(session):
    with bound_to(session):
        yield session


@pytest.fixture
def admin(rows):
    return Actor(UserFactory(role=UserRole.ADMIN).id, UserRole.ADMIN, request_id="by-letter")


@pytest.fixture
def past(rows):
    return EventFactory(starts_at=NOW - timedelta(days=9), status=EventStatus.COMPLETED)


def live(user, past, word):
    """Leave a trace of a person in every table that knows people."""
    tier = TicketTierFactory(event=past)
    order = OrderFactory(
        user=user,
        stage=OrderStage.COMPLETE,
        tier=tier,
        billing_name=word,
        billing_email=user.email,
        billing_address={"city": word},
        idempotency_key=f"key of {word}",
    )
    order.items[0].attendees = [{"name": word, "email": user.email}]
    TimelineEntryFactory(order_id=order.id)
    ticket = TicketFactory(order=OrderFactory(user=user, stage=OrderStage.COMPLETE, tier=tier, with_tickets=False))
    CheckInScanFactory(ticket=ticket)
    TicketTransferFactory(recipient_email=user.email, recipient_name=word)
    WaitlistFactory(user=user)
    UnsubscriptionFactory(user_id=user.id)
    MailSuppressionFactory(address=user.email.lower(), detail=f"no mailbox {word}")
    TeamMemberFactory(user=user)
    RefreshTokenFactory(user_id=user.id, user_agent=f"{word}'s browser", ip="192.0.2.7")
    AccountTokenFactory(user_id=user.id)
    IdempotencyKeyFactory(user_id=user.id, response_body={"billing": word})
    AuditPersonalValueFactory(
        subject_id=user.id, audit_log_id=AuditLogFactory(actor_id=user.id).id, old_value=word, new_value=user.email
    )
    address = {"recipient": user.email, "recipient_name": word}
    mail = EmailNotificationFactory(
        user_id=user.id, order_id=order.id, status=MailStatus.DELIVERED, subject=f"To {word}", **address
    )
    EmailNotificationFactory(user_id=user.id, context={"first_name": word}, **address)
    EmailNotificationFactory(error=f"no mailbox {user.email}", status=MailStatus.FAILED, **address)
    WebhookEventFactory(provider="sendgrid", payload={"notification_id": str(mail.id), "email": user.email})
    WebhookEventFactory(
        payload={
            "data": {
                "object": {
                    "object": "charge",
                    "id": "ch_1",
                    "payment_intent": order.stripe_payment_intent_id,
                    "billing_details": {"email": user.email},
                    "metadata": {"note": word, "refund_id": "kept"},
                }
            }
        }
    )
    return order


@pytest.fixture
def zenobia(rows, past):
    user = UserFactory(email=MAIL, first_name=WORD, phone=f"call {WORD}")
    site = f"https://{WORD}.example"
    promoter = PromoterFactory(user=user, company_name="Concerts Ltd", description=f"By {WORD}", website=site)
    WebhookEndpointFactory(promoter_id=promoter.id, url=f"{site}/hooks")
    live(user, past, WORD)
    rows.flush()
    return user


def write_to(address):
    """Leave what comes to an address without an account, or before it is proven."""
    TicketTransferFactory(recipient_email=address, recipient_name=WORD)
    mail = EmailNotificationFactory(template="transfer_offered", recipient=address, status=MailStatus.DELIVERED)
    WebhookEventFactory(provider="sendgrid", payload={"notification_id": str(mail.id), "email": address})
    MailSuppressionFactory(address=address)


CAME_THERE = dict.fromkeys(["ticket_transfers", "email_notifications", "webhook_inbox", "mail_suppressions"], 1)


def let_farewell_arrive(session):
    """Hand the farewell over, and wait for its echoes."""
    is_farewell = EmailNotification.template == "account_erased"
    session.execute(update(EmailNotification).where(is_farewell).values(status=MailStatus.SENT, sent_at=NOW))
    erasure.redact_echoes(session, NOW + timedelta(days=4))


def exported_by(session, actor, user):
    file = io.BytesIO()
    personal_data.export(session, actor, user.id, file, NOW)
    return file.getvalue().decode()


def exported_tables(session, actor, user):
    return json.loads(exported_by(session, actor, user))["tables"]


def traces(session, word):
    """Where a word stands, by table, in whatever column."""
    session.flush()
    found = {
        table.name: session.scalar(
            text(f'SELECT count(*) FROM "{table.name}" AS one WHERE one::text ILIKE :word'), {"word": f"%{word}%"}
        )
        for table in Base.metadata.sorted_tables
    }
    return {name: count for name, count in found.items() if count}


def books(session):
    return (
        session.execute(select(Order.number, Order.total, Order.stage, Order.confirmed_at).order_by(Order.id)).all(),
        session.execute(select(LedgerEntry.kind, LedgerEntry.amount).order_by(LedgerEntry.id)).all(),
        session.execute(select(Ticket.code, Ticket.status).order_by(Ticket.id)).all(),
    )


def refusal(session, user, actor):
    with pytest.raises(ConflictError) as error, session.begin_nested():
        erasure.erase(session, actor, user.id, NOW)
    return error.value.code, error.value.detail


class TestErase:
    def test_leaves_the_word_nowhere_but_in_the_farewell_until_that_has_arrived(self, rows, zenobia, admin):
        assert len(traces(rows, WORD)) >= 10
        erasure.erase(rows, admin, zenobia.id, NOW)
        assert traces(rows, WORD) == {"email_notifications": 1}
        farewell = rows.scalars(select(EmailNotification).where(EmailNotification.template == "account_erased")).one()
        assert (farewell.recipient, farewell.status) == (MAIL, MailStatus.PENDING)

        farewell.status, farewell.sent_at = MailStatus.SENT, NOW
        WebhookEventFactory(provider="sendgrid", payload={"notification_id": str(farewell.id), "email": MAIL})
        rows.flush()
        erasure.redact_echoes(rows, NOW + timedelta(days=1))
        assert set(traces(rows, WORD)) == {"email_notifications", "webhook_inbox"}
        erasure.redact_echoes(rows, NOW + timedelta(days=4))
        assert traces(rows, WORD) == {}

    def test_keeps_the_books_and_everybody_else(self, rows, zenobia, admin, past):
        live(UserFactory(email="bystander@example.com"), past, "bystander")
        before, others = books(rows), traces(rows, "bystander")
        erasure.erase(rows, admin, zenobia.id, NOW)
        assert books(rows) == before
        assert traces(rows, "bystander") == others

    def test_ends_the_account_and_says_so_without_a_name(self, rows, zenobia, admin):
        erasure.erase(rows, admin, zenobia.id, NOW)
        user = rows.get(User, zenobia.id)
        assert (user.is_active, user.deleted_at, user.erased_at) == (False, NOW, NOW)
        entry = rows.scalars(select(AuditLog).where(AuditLog.action == "user.erase")).one()
        assert (entry.actor_id, entry.entity_id, entry.request_id) == (admin.user_id, zenobia.id, "by-letter")
        assert rows.scalars(select(Waitlist.status)).one() is WaitlistStatus.LEFT
        assert not rows.scalars(select(WebhookEndpoint)).one().is_enabled
        pending = select(EmailNotification).where(EmailNotification.status == MailStatus.PENDING)
        assert [mail.template for mail in rows.scalars(pending)] == ["account_erased"]

    def test_says_no_farewell_to_whoever_has_the_address_by_now(self, rows, zenobia, admin):
        zenobia.deleted_at = NOW
        UserFactory(email=MAIL)
        erasure.erase(rows, admin, zenobia.id, NOW)
        assert rows.scalars(select(EmailNotification).filter_by(template="account_erased")).all() == []

    def test_leaves_of_an_event_where_to_look(self, rows, zenobia, admin):
        intent_id = rows.scalars(select(Order.stripe_payment_intent_id).order_by(Order.id)).first()
        erasure.erase(rows, admin, zenobia.id, NOW)
        payload = rows.scalars(select(WebhookEvent.payload).where(WebhookEvent.provider == "stripe")).one()
        about = {"object": "charge", "id": "ch_1", "payment_intent": intent_id, "metadata": {"refund_id": "kept"}}
        assert payload == {"data": {"object": about}}

    def test_again_forgets_what_came_in_meanwhile(self, rows, zenobia, admin):
        intent_id = rows.scalars(select(Order.stripe_payment_intent_id).order_by(Order.id)).first()
        erasure.erase(rows, admin, zenobia.id, NOW)
        about = {"object": "dispute", "id": "dp_1", "payment_intent": intent_id, "evidence": {"customer_name": WORD}}
        WebhookEventFactory(type="charge.dispute.created", payload={"data": {"object": about}})
        assert "webhook_inbox" in traces(rows, WORD)
        erasure.erase(rows, admin, zenobia.id, NOW + timedelta(days=60))
        assert traces(rows, WORD) == {"email_notifications": 1}
        assert rows.get(User, zenobia.id).erased_at == NOW

    @pytest.mark.parametrize(
        ("stage", "why"),
        [(OrderStage.QUEUED, "order"), (OrderStage.AWAITING_PAYMENT, "order"), (OrderStage.COMPLETE, "tickets")],
    )
    def test_waits_for_what_is_under_way(self, rows, admin, stage, why):
        order = OrderFactory(stage=stage)
        code, detail = refusal(rows, order.user, admin)
        assert code == "erasure-too-early"
        assert why in detail

    def test_waits_for_a_late_payment(self, rows, admin):
        order = OrderFactory(stage=OrderStage.CLOSED, reason=OrderReason.HOLD_EXPIRED, hold_expires_at=NOW)
        assert refusal(rows, order.user, admin)[0] == "erasure-too-early"

    def test_waits_for_money_on_its_way(self, rows, zenobia, admin):
        charge = rows.scalars(select(Order).order_by(Order.id)).first()
        parent = PaymentTransactionFactory(order=charge, attempt=2, status=AttemptStatus.SUCCEEDED)
        PaymentTransactionFactory(
            order=charge, kind=AttemptKind.REFUND, parent_id=parent.id, amount=1, status=AttemptStatus.PROCESSING
        )
        assert "Money" in refusal(rows, zenobia, admin)[1]

    def test_waits_for_a_promoters_events(self, rows, admin):
        event = EventFactory()
        assert "event of theirs" in refusal(rows, event.promoter.user, admin)[1]

    def test_declines_an_offer_first(self, rows, admin):
        entry = WaitlistFactory(status=WaitlistStatus.OFFERED)
        erasure.erase(rows, admin, entry.user_id, NOW)
        assert rows.get_one(Order, entry.offered_order_id).stage is OrderStage.CLOSED

    def test_keeps_the_last_admin(self, rows, admin):
        assert refusal(rows, rows.get(User, admin.user_id), admin)[0] == "last-admin"

    def test_of_nobody_is_refused(self, rows, admin):
        with pytest.raises(NotFoundError):
            erasure.erase(rows, admin, EventFactory().id, NOW)
        with pytest.raises(NotFoundError):
            erasure.erase_own(None, None, Actor(), "no matter", NOW)
        with pytest.raises(NotFoundError):
            personal_data.export(rows, admin, EventFactory().id, io.BytesIO(), NOW)


class TestAddressOfSomebodyElse:
    def test_who_has_not_proven_it_neither_reads_nor_erases_what_came_there(self, rows, admin):
        write_to(MAIL)
        mallory = UserFactory(email=MAIL, email_verified=False)
        tables = exported_tables(rows, admin, mallory)
        assert [name for name in CAME_THERE if tables[name]] == []
        erasure.erase(rows, admin, mallory.id, NOW)
        let_farewell_arrive(rows)
        assert traces(rows, WORD) == CAME_THERE

    def test_an_echo_leaves_alone_who_registered_with_it_anew(self, rows, zenobia, admin):
        erasure.erase(rows, admin, zenobia.id, NOW)
        UserFactory(email=MAIL)
        write_to(MAIL)
        let_farewell_arrive(rows)
        assert traces(rows, WORD) == CAME_THERE | {"users": 1}

    def test_late_erasure_of_a_deleted_account_takes_what_was_its_own_alone(self, rows, zenobia, admin):
        accepted = {"status": TransferStatus.ACCEPTED, "recipient_email": MAIL}
        own = TicketTransferFactory(**accepted, recipient_id=zenobia.id)
        zenobia.deleted_at = NOW
        theirs = TicketTransferFactory(**accepted, recipient_id=UserFactory(email=MAIL).id)
        erasure.erase(rows, admin, zenobia.id, NOW)
        addresses = rows.scalars(
            select(TicketTransfer.recipient_email).where(TicketTransfer.id.in_([own.id, theirs.id])).order_by("id")
        )
        assert addresses.all() == [ERASED_ADDRESS, MAIL]


class TestExport:
    @pytest.fixture
    def exported(self, rows, zenobia, admin, past):
        live(UserFactory(email="bystander@example.com"), past, "bystander")
        rows.execute(update(Ticket).values(qr_image="cGljdHVyZQ=="))
        return exported_by(rows, admin, zenobia)

    def test_holds_whatever_is_held(self, rows, zenobia, exported):
        tables = json.loads(exported)["tables"]
        empty = {"ledger_entries", "account_tokens"}  # they have rows, but no word in them
        assert {name for name, found in tables.items() if not found} == set()
        assert set(traces(rows, WORD)) - {name for name, found in tables.items() if WORD in str(found)} == set()
        assert empty <= tables.keys()
        assert [row["total"] for row in tables["orders"]] == list(
            rows.scalars(select(Order.total).where(Order.user_id == zenobia.id))
        )

    def test_holds_nobody_elses_and_no_secret(self, rows, exported):
        assert "bystander" not in exported
        secrets = [*rows.scalars(select(User.password_hash)), *rows.scalars(select(Ticket.code)), "cGljdHVyZQ=="]
        assert [secret for secret in secrets if secret in exported] == []
        assert "(hidden)" in exported

    def test_shows_from_where_they_acted_and_not_from_where_admins_did(self, rows, zenobia, admin):
        trace = {"entity_id": zenobia.id, "entity_type": "User"}
        AuditLogFactory(**trace, actor_id=zenobia.id, ip="192.0.2.7", user_agent="own browser")
        AuditLogFactory(**trace, actor_id=admin.user_id, ip="192.0.2.99", user_agent="admin's browser")
        places = {(row["ip"], row["user_agent"]) for row in exported_tables(rows, admin, zenobia)["audit_logs"]}
        assert ("192.0.2.7", "own browser") in places
        assert not {"192.0.2.99", "admin's browser"} & {value for place in places for value in place}

    def test_is_written_down(self, rows, zenobia, admin, exported):
        entry = rows.scalars(select(AuditLog).where(AuditLog.action == "user.export")).one()
        assert (entry.actor_id, entry.entity_id) == (admin.user_id, zenobia.id)
