from datetime import UTC, datetime

import factory
import pytest
from sqlalchemy import CheckConstraint, Enum, delete, text, update
from uuid_utils.compat import uuid7

from domain.models import Base, Order, OrderItem, Ticket, TicketTier
from domain.rules.fairness import EntryKind
from domain.rules.states import (
    AttemptKind,
    AttemptStatus,
    EventStatus,
    LedgerKind,
    MailStatus,
    OrderStage,
    OrderStatus,
    ScanResult,
    TicketStatus,
    TransferStatus,
    WaitlistStatus,
)
from tests.factories import (
    AccountTokenFactory,
    AuditLogFactory,
    CheckInScanFactory,
    CodeFactory,
    DoorCountFactory,
    EmailNotificationFactory,
    EventFactory,
    FairnessEntryFactory,
    IdempotencyKeyFactory,
    LedgerEntryFactory,
    MailingFactory,
    MailSuppressionFactory,
    OrderFactory,
    PaymentTransactionFactory,
    PromoterFactory,
    RefreshTokenFactory,
    StatementFactory,
    TeamMemberFactory,
    TicketFactory,
    TicketTierFactory,
    TicketTransferFactory,
    UserFactory,
    WaitlistFactory,
    WebhookDeliveryFactory,
    WebhookEndpointFactory,
    WebhookEventFactory,
)

EARLY = datetime(2020, 1, 1, tzinfo=UTC)

CASES = {
    # What the public can check.
    "ck_fairness_entries_position": (FairnessEntryFactory, {"position": 0}),
    "ck_fairness_entries_quantity": (FairnessEntryFactory, {"quantity": -1}),
    "ck_fairness_entries_hash_length": (FairnessEntryFactory, {"hash": b"short"}),
    "ck_fairness_entries_commitment_length": (
        FairnessEntryFactory,
        {"kind": EntryKind.SERVED, "sequence": 1, "received_at": EARLY, "commitment": b"short"},
    ),
    "ck_fairness_entries_whose": (FairnessEntryFactory, {"kind": EntryKind.SERVED}),
    "ck_ticket_tiers_fairness_head": (TicketTierFactory, {"fairness_hash": b"short"}),
    # Codes.
    "ck_codes_code_shape": (CodeFactory, {"code": "harbour"}),
    "ck_codes_discount_bps": (CodeFactory, {"discount_bps": 10_001}),
    "ck_codes_discount_amount": (CodeFactory, {"discount_bps": None, "discount_amount": -1}),
    "ck_codes_one_discount": (CodeFactory, {"discount_amount": 1}),
    "ck_codes_purpose": (CodeFactory, {"discount_bps": None}),
    "ck_codes_opens_what": (CodeFactory, {"opens_hidden": True}),
    "ck_codes_limits": (CodeFactory, {"max_uses": 0}),
    "ck_codes_validity": (CodeFactory, {"valid_from": EARLY, "valid_until": EARLY}),
    "ck_codes_counters": (CodeFactory, {"uses": 2, "tickets": 1}),
    "ck_codes_never_overused": (CodeFactory, {"max_uses": 1, "uses": 2, "tickets": 2}),
    "ck_codes_never_overdrawn": (CodeFactory, {"max_tickets": 1, "uses": 1, "tickets": 2}),
    # People.
    "ck_users_email_shape": (UserFactory, {"email": "nobody"}),
    "ck_users_erased_is_deleted": (UserFactory, {"erased_at": EARLY}),
    "ck_users_email_verified_when": (UserFactory, {"email_verified": False, "email_verified_at": EARLY}),
    "ck_promoters_country_iso": (PromoterFactory, {"country": "Germany"}),
    "ck_promoters_fee_rate": (PromoterFactory, {"fee_rate_bps": 10_001}),
    "ck_promoters_fee_fixed": (PromoterFactory, {"fee_fixed": -1}),
    "ck_promoters_verified_when": (PromoterFactory, {"verified_at": None}),
    "ck_promoters_stripe_account_has_state": (PromoterFactory, {"stripe_account_state": "none"}),
    "ck_refresh_tokens_expires_later": (RefreshTokenFactory, {"expires_at": EARLY}),
    "ck_account_tokens_expires_later": (AccountTokenFactory, {"expires_at": EARLY}),
    "ck_team_members_rights": (TeamMemberFactory, {"rights": ["scan", "own"]}),
    # What is for sale.
    "ck_events_title_length": (EventFactory, {"title": ""}),
    "ck_events_slug_shape": (EventFactory, {"slug": "Not A Slug"}),
    "ck_events_ends_after_start": (EventFactory, {"ends_at": EARLY}),
    "ck_events_doors_before_start": (EventFactory, {"doors_at": datetime(2999, 1, 1, tzinfo=UTC)}),
    "ck_events_capacity": (EventFactory, {"capacity": 0}),
    "ck_events_currency_iso": (EventFactory, {"currency": "euro"}),
    "ck_events_country_iso": (EventFactory, {"country": "de"}),
    "ck_events_latitude": (EventFactory, {"latitude": 91, "longitude": 0}),
    "ck_events_longitude": (EventFactory, {"latitude": 0, "longitude": 181}),
    "ck_events_coordinates_together": (EventFactory, {"latitude": 52}),
    "ck_events_fees": (EventFactory, {"fee_rate_bps": -1}),
    "ck_events_tax_rate": (EventFactory, {"tax_rate_bps": 10_001}),
    "ck_events_offer_seconds": (EventFactory, {"offer_seconds": 0}),
    "ck_events_buyer_refund_hours": (EventFactory, {"buyer_refund_hours": -1}),
    "ck_events_transfer_until_hours": (EventFactory, {"transfer_until_hours": -1}),
    "ck_events_reminder_hours": (EventFactory, {"reminder_hours": 0}),
    # Mail to many.
    "ck_mailings_announcement": (MailingFactory, {"subject": None}),
    "ck_mailings_reminder": (MailingFactory, {"event_starts_at": EARLY}),
    "ck_mailings_ticket_statuses": (MailingFactory, {"ticket_statuses": []}),
    "ck_mailings_due_when": (MailingFactory, {"due_at": None}),
    "ck_mailings_finished_when": (MailingFactory, {"finished_at": EARLY}),
    "ck_mailings_counts": (MailingFactory, {"written": -1}),
    "ck_mail_suppressions_address_lower": (MailSuppressionFactory, {"address": "Ada@example.com"}),
    "ck_events_published_when": (EventFactory, {"published_at": None}),
    "ck_events_cancelled_when": (EventFactory, {"status": EventStatus.CANCELLED, "cancelled_at": None}),
    "ck_ticket_tiers_name_length": (TicketTierFactory, {"name": "x" * 101}),
    "ck_ticket_tiers_price": (TicketTierFactory, {"price": -1}),
    "ck_ticket_tiers_counters": (TicketTierFactory, {"sold": -1}),
    "ck_ticket_tiers_never_oversold": (TicketTierFactory, {"quantity": 10, "sold": 6, "reserved": 5}),
    "ck_ticket_tiers_desired_quantity": (TicketTierFactory, {"desired_quantity": -1}),
    "ck_ticket_tiers_per_order": (TicketTierFactory, {"min_per_order": 3, "max_per_order": 2}),
    "ck_ticket_tiers_per_person": (TicketTierFactory, {"min_per_order": 2, "max_per_person": 1}),
    "ck_ticket_tiers_line_counters": (TicketTierFactory, {"withdrawn": -1}),
    "ck_ticket_tiers_sale_window": (
        TicketTierFactory,
        {"sale_starts_at": EARLY, "sale_ends_at": EARLY},
    ),
    # Purchases.
    "ck_orders_amounts": (OrderFactory, {"tax": -1, "total": 4_500}),
    "ck_orders_total_adds_up": (OrderFactory, {"total": 1}),
    "ck_orders_never_refunded_more": (OrderFactory, {"refunded": 1_000_000}),
    "ck_orders_currency_iso": (OrderFactory, {"currency": "EURO"}),
    "ck_orders_status_of_stage": (OrderFactory, {"stage": OrderStage.HELD, "status": OrderStatus.CONFIRMED}),
    "ck_orders_closed_status": (OrderFactory, {"stage": OrderStage.HELD, "status": OrderStatus.REFUNDED}),
    "ck_orders_closed_reason": (OrderFactory, {"stage": OrderStage.CLOSED, "reason": None}),
    "ck_orders_idempotency_key_length": (OrderFactory, {"idempotency_key": "x" * 256}),
    "ck_orders_key_has_fingerprint": (OrderFactory, {"idempotency_fingerprint": None}),
    "ck_idempotency_keys_key_length": (IdempotencyKeyFactory, {"key": ""}),
    # Tickets and the waitlist.
    "ck_tickets_position": (TicketFactory, {"position": 0}),
    "ck_tickets_code_version": (TicketFactory, {"code_version": 0}),
    "ck_tickets_code_entropy": (TicketFactory, {"code": "too-short"}),
    "ck_tickets_used_when": (TicketFactory, {"status": TicketStatus.USED, "checked_in_at": None}),
    "ck_tickets_qr_together": (TicketFactory, {"qr_image": None}),
    "ck_ticket_transfers_recipient_shape": (TicketTransferFactory, {"recipient_email": "nobody"}),
    "ck_ticket_transfers_accepted_by": (TicketTransferFactory, {"status": TransferStatus.ACCEPTED}),
    "ck_ticket_transfers_ended_when": (TicketTransferFactory, {"ended_at": EARLY}),
    "ck_waitlist_quantity": (WaitlistFactory, {"quantity": 0}),
    "ck_waitlist_offer_has_clock": (
        WaitlistFactory,
        {"status": WaitlistStatus.OFFERED, "offer_expires_at": None},
    ),
    "ck_waitlist_offer_has_order": (
        WaitlistFactory,
        {"status": WaitlistStatus.OFFERED, "offered_order": None, "offer_expires_at": EARLY},
    ),
    "ck_waitlist_response": (WaitlistFactory, {"response": "perhaps", "responded_at": EARLY}),
    "ck_waitlist_responded_when": (WaitlistFactory, {"response": "accepted"}),
    # The door.
    "ck_check_in_scans_fingerprint_length": (CheckInScanFactory, {"fingerprint": b"short"}),
    "ck_check_in_scans_nonce_length": (CheckInScanFactory, {"nonce": ""}),
    "ck_check_in_scans_accepted_admits": (CheckInScanFactory, {"is_admitted": False}),
    "ck_check_in_scans_admitted_how": (
        CheckInScanFactory,
        {"result": ScanResult.DISPUTED, "is_admitted": True, "is_offline": False},
    ),
    "ck_check_in_scans_undone_by": (CheckInScanFactory, {"undone_at": EARLY}),
    "ck_check_in_scans_undone_what": (
        CheckInScanFactory,
        {
            "result": ScanResult.DISPUTED,
            "undone_at": EARLY,
            "undone_by_id": factory.LazyFunction(lambda: UserFactory().id),
        },
    ),
    "ck_door_counts_counts": (DoorCountFactory, {"inside": 2}),
    "ck_door_counts_quarter": (DoorCountFactory, {"quarter": EARLY.replace(minute=7)}),
    # Money.
    "ck_payment_transactions_amount": (PaymentTransactionFactory, {"amount": 0}),
    "ck_payment_transactions_currency_iso": (PaymentTransactionFactory, {"currency": "eur"}),
    "ck_payment_transactions_counts": (PaymentTransactionFactory, {"attempt": 0}),
    "ck_payment_transactions_parent": (PaymentTransactionFactory, {"kind": AttemptKind.REFUND}),
    "ck_payment_transactions_confirm_has_method": (PaymentTransactionFactory, {"confirm_due": True}),
    "ck_ledger_entries_amount": (LedgerEntryFactory, {"kind": LedgerKind.FEE, "amount": 0}),
    "ck_ledger_entries_sign": (LedgerEntryFactory, {"kind": LedgerKind.REFUND, "amount": 5}),
    "ck_ledger_entries_currency_iso": (LedgerEntryFactory, {"currency": "E"}),
    "ck_webhook_inbox_provider": (WebhookEventFactory, {"provider": "paypal"}),
    "ck_statements_difference": (StatementFactory, {"made_at": EARLY, "body": {}, "difference": -1}),
    "ck_statements_made_whole": (StatementFactory, {"made_at": EARLY, "difference": 0}),
    "ck_statements_made_with_difference": (StatementFactory, {"made_at": EARLY, "body": {}}),
    # Mail and audit.
    "ck_email_notifications_attempts": (EmailNotificationFactory, {"attempts": -1}),
    "ck_email_notifications_recipient_shape": (EmailNotificationFactory, {"recipient": "@"}),
    "ck_email_notifications_sent_when": (EmailNotificationFactory, {"status": MailStatus.SENT, "sent_at": None}),
    "ck_webhook_endpoints_types": (WebhookEndpointFactory, {"types": ["webhook.test"]}),
    "ck_webhook_endpoints_previous_secret_whole": (WebhookEndpointFactory, {"previous_secret_kid": "old"}),
    "ck_webhook_endpoints_failing_when": (WebhookEndpointFactory, {"failures": 1}),
    "ck_webhook_endpoints_disabled_why": (WebhookEndpointFactory, {"disabled_at": EARLY}),
    "ck_webhook_deliveries_attempts": (WebhookDeliveryFactory, {"attempts": -1}),
    "ck_webhook_deliveries_due_when": (WebhookDeliveryFactory, {"status": "failed"}),
    "ck_webhook_deliveries_delivered_when": (WebhookDeliveryFactory, {"delivered_at": EARLY}),
    "ck_audit_logs_action_shape": (AuditLogFactory, {"action": "Something happened"}),
}

ITEM_CASES = {
    "ck_order_items_quantity": {"quantity": 0, "subtotal": 0},
    "ck_order_items_subtotal": {"subtotal": 1},
    "ck_order_items_amounts": {"fees": -1},
    "ck_order_items_desired_state_wish": {"desired_state": "queued"},
    "ck_order_items_returned": {"returned": 99},
    "ck_order_items_desired_returned": {"desired_returned": -1},
    "ck_order_items_withdrawal": {"withdrawal": 0},
}


def checks(*, of_lists):
    return {
        constraint.name: constraint
        for table in Base.metadata.tables.values()
        for constraint in table.constraints
        if isinstance(constraint, CheckConstraint) and constraint._type_bound is of_lists
    }


@pytest.mark.parametrize("constraint", CASES)
def test_the_server_refuses_what_cannot_be(refused_by, constraint):
    row_factory, values = CASES[constraint]
    with refused_by(constraint):
        row_factory(**values)


@pytest.mark.parametrize("constraint", ITEM_CASES)
def test_the_server_refuses_what_an_item_cannot_be(session, refused_by, constraint):
    item = OrderFactory().items[0]
    with refused_by(constraint):
        session.execute(update(OrderItem).where(OrderItem.id == item.id).values(ITEM_CASES[constraint]))


def test_each_check_constraint_is_seen_to_bite():
    assert {str(name) for name in checks(of_lists=False)} == {*CASES, *ITEM_CASES}


def listed_columns():
    return [
        (table.name, column.name)
        for table in Base.metadata.sorted_tables
        for column in table.columns
        if isinstance(column.type, Enum) and column.type.create_constraint
    ]


@pytest.mark.parametrize(("table", "column"), listed_columns())
def test_no_closed_list_takes_a_stranger(session, table, column):
    # The definition rather than a row: PostgreSQL picks which of several broken CHECKs it names.
    check = session.scalar(
        text(
            "SELECT pg_get_constraintdef(oid) FROM pg_constraint "
            "WHERE conrelid = CAST(:table AS regclass) AND contype = 'c' AND conname = :name"
        ),
        {"table": table, "name": f"ck_{table}_{Base.metadata.tables[table].columns[column].type.name}"},
    )
    values = Base.metadata.tables[table].columns[column].type.enums
    assert [value for value in values if f"'{value}'" not in check] == []
    assert check.count("::character varying") == len(values)


class TestUniqueness:
    def test_an_address_is_used_once_whatever_its_case(self, refused_by):
        UserFactory(email="Ada@example.com")
        with refused_by("uq_users_email_lower"):
            UserFactory(email="ADA@example.com")

    def test_the_address_of_a_deleted_account_is_free_again(self):
        UserFactory(email="ada@example.com", deleted_at=EARLY)
        assert UserFactory(email="ada@example.com").id is not None

    def test_an_idempotency_key_makes_one_order_per_user(self, refused_by):
        order = OrderFactory(idempotency_key="key")
        with refused_by("uq_orders_user_id_idempotency_key"):
            OrderFactory(user=order.user, idempotency_key="key")

    def test_two_users_may_have_the_same_idempotency_key(self):
        orders = [OrderFactory(idempotency_key="key") for _ in range(2)]
        assert len({order.id for order in orders}) == 2

    def test_an_order_wants_a_tier_once(self, session, refused_by):
        item = OrderFactory().items[0]
        with refused_by("uq_order_items_order_id_tier_id"):
            values = {column.key: getattr(item, column.key) for column in OrderItem.__table__.columns}
            session.add(OrderItem(**values | {"id": uuid7()}))

    def test_a_seat_of_an_item_is_issued_once(self, refused_by):
        order = OrderFactory(stage=OrderStage.COMPLETE)
        with refused_by("uq_tickets_order_item_id_position"):
            TicketFactory(order=order, position=1)

    def test_a_code_opens_one_ticket(self, refused_by):
        ticket = TicketFactory()
        with refused_by("uq_tickets_code"):
            TicketFactory(code=ticket.code)

    def test_an_intent_belongs_to_one_order(self, refused_by):
        OrderFactory(stripe_payment_intent_id="pi_1")
        with refused_by("uq_orders_stripe_payment_intent_id"):
            OrderFactory(stripe_payment_intent_id="pi_1")

    def test_an_order_has_one_live_charge(self, refused_by):
        attempt = PaymentTransactionFactory()
        with refused_by("uq_payment_transactions_live_charge"):
            PaymentTransactionFactory(order=attempt.order, attempt=2)

    def test_an_order_may_try_again_after_a_failed_charge(self):
        attempt = PaymentTransactionFactory(status=AttemptStatus.FAILED)
        assert PaymentTransactionFactory(order=attempt.order, attempt=2).id is not None

    def test_a_movement_of_money_is_written_once(self, session, refused_by):
        attempt = PaymentTransactionFactory()
        LedgerEntryFactory(transaction=attempt)
        with refused_by("uq_ledger_entries_movement"):
            LedgerEntryFactory(transaction=attempt)

    def test_an_event_of_a_provider_is_stored_once(self, refused_by):
        event = WebhookEventFactory()
        with refused_by("uq_webhook_inbox_provider_provider_event_id"):
            WebhookEventFactory(provider_event_id=event.provider_event_id)

    def test_a_mail_is_written_once_per_purpose(self, refused_by):
        mail = EmailNotificationFactory()
        with refused_by("uq_email_notifications_purpose"):
            EmailNotificationFactory(purpose=mail.purpose)

    def test_a_person_waits_once_for_a_tier(self, refused_by):
        entry = WaitlistFactory()
        with refused_by("uq_waitlist_user_id_event_id_tier_id"):
            WaitlistFactory(user=entry.user, tier=entry.tier)

    def test_a_scan_is_recorded_once_however_often_it_is_uploaded(self, refused_by):
        scan = CheckInScanFactory()
        with refused_by("uq_check_in_scans_scanned_by_id_nonce"):
            CheckInScanFactory(scanned_by_id=scan.scanned_by_id, nonce=scan.nonce)

    def test_a_ticket_lets_in_once_until_that_is_undone(self, session, refused_by):
        scan = CheckInScanFactory()
        ticket = session.get_one(Ticket, scan.ticket_id)
        with refused_by("uq_check_in_scans_admitted"):
            CheckInScanFactory(ticket=ticket)
        scan.undone_at, scan.undone_by_id = EARLY, scan.scanned_by_id
        session.flush()
        assert CheckInScanFactory(ticket=ticket).is_admitted


class TestForeignKeys:
    def test_an_order_needs_its_user(self, session, refused_by):
        order = OrderFactory()
        with refused_by("fk_orders_user_id"):
            session.execute(delete(OrderItem).where(OrderItem.order_id == order.id))
            session.execute(update(Order).where(Order.id == order.id).values(user_id=uuid7()))

    def test_an_item_has_the_user_of_its_order(self, session, refused_by):
        order, other = OrderFactory(), UserFactory()
        for row in (Order, OrderItem):
            with refused_by("fk_order_items_user_id_order_id"):
                session.execute(update(row).where(row.user_id == order.user_id).values(user_id=other.id))

    def test_a_tier_with_orders_cannot_be_deleted(self, session, refused_by):
        tier = OrderFactory().items[0].tier
        with refused_by("fk_order_items_tier_id"):
            session.execute(TicketTier.__table__.delete().where(TicketTier.id == tier.id))

    def test_a_ticket_needs_its_item(self, session, refused_by):
        ticket = TicketFactory()
        with refused_by("fk_tickets_order_item_id"):
            session.execute(update(Ticket).where(Ticket.id == ticket.id).values(order_item_id=uuid7()))


def test_a_set_based_statement_cannot_oversell_either(session, refused_by):
    tier = TicketTierFactory(quantity=5)
    with refused_by("ck_ticket_tiers_never_oversold"):
        session.execute(update(TicketTier).where(TicketTier.id == tier.id).values(reserved=TicketTier.reserved + 6))
