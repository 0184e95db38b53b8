from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from hashlib import md5
from io import BytesIO
from pathlib import Path
from resource import getpagesize
from types import SimpleNamespace

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import NullPool, create_engine, event, select, text
from sqlalchemy.orm import sessionmaker

from adapters.spreadsheets import csv_chunks
from domain import (
    allocation_records,
    approvals,
    attendees,
    audit,
    check_in_records,
    code_counters,
    deletions,
    door,
    erasure,
    event_mail,
    event_orders,
    exports,
    health,
    hooks,
    line,
    listings,
    logins,
    mail_outbox,
    mailings,
    notifications,
    order_records,
    orders,
    outgoing,
    person_limits,
    personal_data,
    storefront,
    sweep,
    tickets,
    tier_rows,
    tier_work,
    transfers,
    users,
    waitlist,
    webhook_inbox,
    whole_line,
)
from domain.attendees import AttendeeFilter
from domain.audit import Actor
from domain.event_orders import OrderFilter
from domain.invariants.breaches import Scope
from domain.invariants.inspection import INVARIANTS
from domain.listings import EventFilter
from domain.mail_outbox import OutboxSearch
from domain.models import Mailing, Order, Ticket, Waitlist
from domain.payments import cancelled_events, disputes, late_payments, reconciliation, refunds, sales
from domain.payments import events as payment_events
from domain.personal_data import Person
from domain.rules.states import MailingKind, MailStatus, OrderStage, UserRole, WebhookType
from domain.webhook_inbox import InboxSearch, InboxStatus
from tests.integration.crowd import EVENTS, HOT, ROWS, fill, key
from tools.stack.environment import ROOT
from tools.stack.postgres import OWNER, RUNTIME, SUPERUSER

# One process fills the database for all of them.
pytestmark = pytest.mark.slow

GROWING = {
    "users",
    "orders",
    "order_items",
    "order_timeline",
    "tickets",
    "check_in_scans",
    "ticket_transfers",
    "waitlist",
    "payment_transactions",
    "ledger_entries",
    "webhook_inbox",
    "email_notifications",
    "webhook_deliveries",
    "refresh_tokens",
    "audit_logs",
    "audit_personal_values",
}

NOW = datetime.now(UTC)
BEFORE = NOW - timedelta(seconds=10)
TIER, PERSON, ORDER = key("tier", HOT), key("user", 1), key("order", 50_000)
ADMIN = Actor(role=UserRole.ADMIN)
ANNOUNCEMENT = Mailing(
    event_id=key("event", HOT),
    kind=MailingKind.ANNOUNCEMENT,
    ticket_statuses=["valid", "used"],
    due_at=NOW,
    last_ticket_id=key("ticket", 1_000),
)
BUYER = Actor(user_id=PERSON, role=UserRole.USER)
ADMIN, HALL = Actor(user_id=PERSON, role=UserRole.ADMIN), key("event", 2)
CODE = md5(b"1", usedforsecurity=False).hexdigest()


@pytest.fixture(scope="module")
def crowded(postgres):
    """Return a session factory on a full database of its own, as the application's role."""
    admin = create_engine(postgres.url(SUPERUSER, "postgres"), isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(f"CREATE DATABASE crowded OWNER {OWNER}"))
        with opened(postgres.url(OWNER, "crowded")) as owner:
            config = Config(toml_file=str(ROOT / "pyproject.toml"))
            config.attributes.update(connection=owner, runtime_role=RUNTIME)
            command.upgrade(config, "head")
        with opened(postgres.url(SUPERUSER, "crowded")) as superuser:
            fill(superuser)
        engine = create_engine(postgres.url(RUNTIME, "crowded"), poolclass=NullPool)
        yield sessionmaker(engine)
        connection.execute(text("DROP DATABASE crowded WITH (FORCE)"))
    admin.dispose()


@contextmanager
def opened(url):
    engine = create_engine(url, poolclass=NullPool)
    with engine.connect() as connection:
        yield connection
    engine.dispose()


class Plans:
    """The plans of all that a session asks: which indexes it walks, or sorts after, which tables it reads whole."""

    def __init__(self, session):
        self.indexes, self.sorted, self.read_whole, self.text = set(), set(), set(), ""
        event.listen(session.connection(), "before_cursor_execute", self._explain)

    def _explain(self, connection, cursor, statement, parameters, context, executemany):
        if not statement.lstrip().upper().startswith(("SELECT", "WITH", "UPDATE", "DELETE")):
            return
        explained = connection.connection.driver_connection.execute(f"EXPLAIN (FORMAT JSON) {statement}", parameters)
        ((plan,),) = explained.fetchone()
        self.text += f"{statement}\n{plan}\n"
        self._walk(plan["Plan"])

    def _walk(self, node, *, is_sorted=False):
        is_sorted |= "Sort" in node["Node Type"]
        found = {node["Index Name"]} if "Index Name" in node else set()
        self.indexes |= found
        self.sorted |= found if is_sorted else set()
        self.read_whole |= {node["Relation Name"]} & GROWING if node["Node Type"] == "Seq Scan" else set()
        for child in node.get("Plans", ()):
            self._walk(child, is_sorted=is_sorted)


def orders_of(number, *, before=None, limit=20, **wanted):
    """Ask for a page of an event's orders."""
    event_id, page = key("event", number), {"before": before, "limit": limit}
    return lambda session: event_orders.list_orders(session, ADMIN, event_id, OrderFilter(**wanted), **page)


def attendees_of(number, *, before=None, limit=20, **wanted):
    """Ask for a page of an event's attendees."""
    event_id, page = key("event", number), {"before": before, "limit": limit}
    return lambda session: attendees.list_attendees(session, ADMIN, event_id, AttendeeFilter(**wanted), **page)


def as_the_web_asks(ask):
    """Ask in a session like those of the web (adapters/database.py): a thousand rows are fetched by their keys, too."""

    def asked(session):
        session.execute(text("SET LOCAL enable_seqscan = off"))
        return ask(session)

    return asked


def events(**wanted):
    return lambda session: listings.find_events(session, EventFilter(**wanted), NOW, limit=20)


def found(**wanted):
    return lambda session: audit.search(session, audit.Search(**wanted), before=None, limit=20)


def inbox(**wanted):
    return lambda session: webhook_inbox.search(session, InboxSearch(**wanted), before=None, limit=20)


def outbox(**wanted):
    return lambda session: mail_outbox.search(session, OutboxSearch(**wanted), before=None, limit=20)


QUESTIONS = {
    # The submit and the poll.
    "the line that an accepted order joins": (
        lambda session: order_records.insert(session, [], most_waiting=5),
        {"ix_orders_undecided", "pk_ticket_tiers", "ix_order_items_line", "ix_waitlist_line"},
    ),
    "what is on sale": (
        lambda session: storefront.read_offers(session, [TIER]),
        {"pk_ticket_tiers", "pk_events", "ix_waitlist_line", "ix_order_items_line"},
    ),
    "has the order moved": (
        lambda session: line.take_pulse(session, ORDER),
        {"pk_orders", "uq_order_items_order_id_tier_id"},
    ),
    "where in the line": (
        lambda session: line.find_spots(session, [key("order", 15_000)]),
        {"ix_order_items_line", "uq_order_items_order_id_tier_id"},
    ),
    "the whole of a line": (
        lambda session: whole_line.read(session, TIER),
        {"ix_order_items_line", "ix_order_items_wishes"},
    ),
    "who came since": (
        lambda session: whole_line.count_between(session, TIER, 19_000, 19_500),
        {"ix_order_items_line", "ix_order_items_wishes"},
    ),
    "who left since": (
        lambda session: whole_line.bring_up_to_date(session, TIER, whole_line.read(session, TIER)),
        {"uq_order_items_withdrawals"},
    ),
    "how many of mine wait": (
        lambda session: session.scalar(
            text(
                "SELECT count(*) FROM orders WHERE user_id = :user_id AND event_id = :event_id"
                " AND stage IN ('queued', 'partly_held')"
            ),
            {"user_id": PERSON, "event_id": key("event", HOT)},
        ),
        {"ix_orders_undecided"},
    ),
    "an order": (
        lambda session: orders.find(session, ORDER, BUYER),
        {"pk_orders", "uq_order_items_order_id_tier_id", "pk_order_timeline"},
    ),
    "the tickets of an order": (lambda session: orders.find_tickets(session, [ORDER]), {"ix_tickets_order_id"}),
    "the payment of an order": (
        lambda session: orders.find_last_charges(session, [ORDER]),
        {"uq_payment_transactions_order_id_kind_attempt"},
    ),
    "the replay of a submit": (
        lambda session: order_records.find_keys(session, [(PERSON, "key-50000")]),
        {"uq_orders_user_id_idempotency_key"},
    ),
    "my orders": (lambda session: orders.list_own(session, PERSON, limit=20, after=None), {"uq_orders_user_id_id"}),
    "my tickets": (
        lambda session: tickets.list_tickets(session, PERSON, limit=20, after=None),
        {"ix_tickets_holder_id_id"},
    ),
    # The tier's consumer.
    "the head of the line, and the wishes": (
        lambda session: allocation_records.find_work(session, [TIER, key("tier", 2)], 500, None),
        {"ix_order_items_line", "ix_order_items_wishes"},
    ),
    "the tiers of a round": (
        lambda session: tier_rows.lock(session, [TIER, key("tier", 2)]),
        {"pk_events", "pk_ticket_tiers", "ix_waitlist_line"},
    ),
    "who still waits": (
        lambda session: allocation_records.read_line(session, [key("item", 15_000)]),
        {"pk_order_items", "pk_orders", "uq_order_items_order_id_tier_id"},
    ),
    "the limit per person": (
        lambda session: person_limits.count_per_person(session, [(TIER, PERSON), (TIER, key("user", 7))]),
        {"ix_order_items_held"},
    ),
    "what orders hold with their codes": (
        lambda session: code_counters.lock(session, [SimpleNamespace(code_id=key("event", 1), order_id=ORDER)]),
        {"uq_order_items_order_id_tier_id"},
    ),
    "what people hold with codes": (
        lambda session: code_counters.count_by_person(session, [ORDER, key("order", 60_000)]),
        {"ix_order_items_code_id_user_id", "uq_order_items_order_id_tier_id"},
    ),
    "the siblings of an order": (
        lambda session: allocation_records.find_siblings(session, [ORDER], [key("item", 50_000)]),
        {"uq_order_items_order_id_tier_id"},
    ),
    "which tiers have work": (
        lambda session: tier_work.find(session, [TIER, key("tier", 2)]),
        {"ix_order_items_line", "ix_order_items_wishes", "pk_ticket_tiers"},
    ),
    "the line of the waitlist": (
        lambda session: session.scalars(
            select(Waitlist.id)
            .where(Waitlist.tier_id == TIER, text("status = 'waiting'"))
            .order_by(Waitlist.sequence)
            .limit(10)
        ).all(),
        {"ix_waitlist_line"},
    ),
    # The sweep.
    "whose clock ran out": (
        lambda session: session.scalars(
            select(Order.id).where(Order.hold_expires_at <= NOW).order_by(Order.hold_expires_at).limit(sweep.BATCH)
        ).all(),
        {"ix_orders_clock"},
    ),
    "whose payment stands still": (lambda session: reconciliation.stalled(session, BEFORE), {"ix_orders_unsettled"}),
    "which refunds are open": (lambda session: refunds.stalled(session, BEFORE), {"ix_payment_transactions_open"}),
    "what is left of cancelled events": (
        lambda session: cancelled_events.find_standing(session, 200),
        {"ix_orders_event_id_id"},
    ),
    "which disputes are open": (lambda session: disputes.stalled(session, BEFORE), {"ix_payment_transactions_open"}),
    "which payments came late": (lambda session: late_payments.stalled(session, BEFORE), {"ix_orders_clock"}),
    "which events are unhandled": (
        lambda session: payment_events.stalled(session, BEFORE),
        {"ix_webhook_inbox_unprocessed"},
    ),
    "the statement of an event": (
        lambda session: list(sales.read_sales(session, key("event", 2), NOW)),
        {"ix_orders_event_id_id", "ix_ledger_entries_order_id"},
    ),
    "whose picture is missing": (lambda session: tickets.stalled(session, BEFORE), {"ix_tickets_unrendered"}),
    "which mails are due": (
        lambda session: notifications.stalled(session, BEFORE),
        {"ix_email_notifications_due", "ix_webhook_inbox_unprocessed"},
    ),
    "who is written to next": (
        lambda session: session.execute(mailings.next_tickets(ANNOUNCEMENT, 200)).all(),
        {"ix_tickets_event_id_id", "pk_orders"},
    ),
    "which events remind": (lambda session: mailings.begin_reminders(session, NOW), {"ix_events_reminded"}),
    "how an event's mails stand": (
        lambda session: event_mail.count_mails(session, ADMIN, key("event", 2)),
        {"ix_email_notifications_event_id_template_status"},
    ),
    "whom an event's mails did not reach": (
        lambda session: event_mail.list_undeliverable(session, ADMIN, key("event", HOT), after="b", limit=20),
        {"ix_email_notifications_undeliverable"},
    ),
    "which offers are untold": (lambda session: waitlist.stalled(session, BEFORE), {"ix_waitlist_unnotified"}),
    "which webhooks are due": (lambda session: outgoing.stalled(session, BEFORE), {"ix_webhook_deliveries_due"}),
    "which webhooks are old": (lambda session: outgoing.delete_old(session, NOW), {"ix_webhook_deliveries_created_at"}),
    "who wants to hear of it": (
        lambda session: outgoing.tell(session, key("event", 7), WebhookType.EVENT_PUBLISHED, {}),
        {"pk_events", "ix_webhook_endpoints_promoter_id_id"},
    ),
    "what an endpoint was told": (
        lambda session: hooks.list_deliveries(session, ADMIN, key("hook", 7), before=None, limit=20),
        {"pk_webhook_endpoints", "ix_webhook_deliveries_endpoint_id_id"},
    ),
    "what is over": (lambda session: sweep.complete_events(session, NOW), {"ix_events_ended"}),
    "how long the lines are": (health.waiting_lines, {"ix_order_items_line"}),
    # The catalog.
    "what comes next": (events(), {"ix_events_public"}),
    "what comes next in a city": (events(city="City 7"), {"ix_events_public_city"}),
    "what comes next of a kind": (events(category="Category 7"), {"ix_events_public_category"}),
    "what is featured": (events(is_featured=True), {"ix_events_featured"}),
    "words": (events(words="number 4243"), {"ix_events_search_vector"}),
    "a promoter's own events": (
        lambda session: listings.find_own_events(session, key("user", 7), EventFilter(), limit=20),
        {"ix_events_promoter_id_id"},
    ),
    # People and the office.
    "who logs in": (
        lambda session: logins.find_user_by_email(session, "Person-77@example.com"),
        {"uq_users_email_lower"},
    ),
    "who logs out everywhere": (
        lambda session: logins.revoke_all(session, PERSON, NOW),
        {"ix_refresh_tokens_user_id_family_id"},
    ),
    "a user by a part of the address": (
        lambda session: users.list_users(session, users.UserSearch(words="person-77777@"), before=None, limit=20),
        {"ix_users_search"},
    ),
    "what a person did": (
        lambda session: audit.search(session, audit.Search(actor_id=key("user", 7)), before=None, limit=20),
        {"ix_audit_logs_actor_id_id"},
    ),
    "what happened to a thing": (
        lambda session: audit.search(
            session, audit.Search(entity_type="Event", entity_id=key("event", 7)), before=None, limit=20
        ),
        {"ix_audit_logs_entity_id_id"},
    ),
    "which acts there were": (found(action="order.refund"), {"ix_audit_logs_action_id"}),
    "which acts of a kind": (found(action="order."), {"ix_audit_logs_noun_id"}),
    "what happened to all of a kind": (found(entity_type="Order"), {"ix_audit_logs_entity_type_id"}),
    "what a request did": (found(request_id="r-1"), {"ix_audit_logs_request_id_id"}),
    "what came from an address": (found(ip="192.0.2.7"), {"ix_audit_logs_ip_id"}),
    "whose values changed": (
        found(subject_id=PERSON),
        {"ix_audit_personal_values_subject_id", "pk_audit_logs"},
    ),
    "what happened when": (found(since=BEFORE, until=NOW), {"pk_audit_logs"}),
    "what a person left": (
        lambda session: personal_data.redact(session, Person(PERSON, "ada-1@example.com")),
        {
            "uq_orders_user_id_id",
            "ix_tickets_holder_id_id",
            "ix_email_notifications_user_id_id",
            "ix_webhook_inbox_subject",
            "ix_audit_personal_values_subject_id",
        },
    ),
    "all that is held about a person": (
        lambda session: personal_data.export(session, BUYER, PERSON, BytesIO(), NOW),
        {"ix_audit_logs_actor_id_id", "ix_audit_logs_entity_id_id", "pk_order_timeline", "ix_ledger_entries_order_id"},
    ),
    "whose farewell has arrived": (
        lambda session: erasure.redact_echoes(session, NOW),
        {"ix_email_notifications_farewells"},
    ),
    "which users were deleted": (
        lambda session: deletions.list_users(session, before=None, limit=20),
        {"ix_users_deleted"},
    ),
    "which events were deleted": (
        lambda session: deletions.list_events(session, before=None, limit=20),
        {"ix_events_deleted"},
    ),
    "which events came in": (inbox(provider="stripe", type="charge.failed"), {"ix_webhook_inbox_provider_type_id"}),
    "which events were not handled": (inbox(status=InboxStatus.FAILED), {"ix_webhook_inbox_unprocessed"}),
    "which events came since": (inbox(since=BEFORE), {"pk_webhook_inbox"}),
    "which mails failed": (outbox(status=MailStatus.FAILED), {"ix_email_notifications_failed"}),
    "which mails of a template": (outbox(template="order_held"), {"ix_email_notifications_template_id"}),
    "which mails went to an address": (outbox(recipient="b@example.com"), {"ix_email_notifications_recipient"}),
    "which mails of an order": (outbox(order_id=ORDER), {"ix_email_notifications_order_id"}),
    # The promoter's desk.
    "an event's orders": (orders_of(HOT), {"ix_orders_event_id_id", "uq_order_items_order_id_tier_id"}),
    "the next of an event's orders": (orders_of(HOT, before=key("order", 9_000)), {"ix_orders_event_id_id"}),
    "an event's orders of a kind": (
        orders_of(HOT, stage=OrderStage.QUEUED, tier_id=TIER),
        {"ix_orders_event_id_id", "uq_order_items_order_id_tier_id"},
    ),
    "a batch of an event's orders": (
        as_the_web_asks(orders_of(HOT, before=key("order", 9_000), limit=exports.BATCH)),
        {"ix_orders_event_id_id", "uq_order_items_order_id_tier_id"},
    ),
    "which orders await approval": (orders_of(HOT, needs_approval=True), {"ix_orders_awaiting_approval"}),
    "whose order this is, by a part of a name": (
        orders_of(HOT, words="person-7777@"),
        {"ix_users_search", "uq_orders_user_id_id", "ix_orders_billing_search"},
    ),
    "which order has this number": (orders_of(HOT, words="TV-00000777"), {"uq_orders_number"}),
    "an event's attendees": (attendees_of(HOT), {"ix_tickets_event_id_id"}),
    "a batch of an event's attendees": (
        as_the_web_asks(attendees_of(HOT, before=key("ticket", 9_000), limit=exports.BATCH, is_checked_in=False)),
        {"ix_tickets_event_id_id"},
    ),
    "who of the attendees this is": (attendees_of(HOT, words="Nobody"), {"ix_tickets_search"}),
    "whose tickets an order has": (
        attendees_of(HOT, words="TV-00000777"),
        {"uq_orders_number", "ix_tickets_order_id"},
    ),
    "an event's sales": (
        lambda session: session.execute(
            text("SELECT * FROM event_sales WHERE event_id = :event"), {"event": key("event", 2)}
        ).all(),
        {"ix_orders_event_id_id", "ix_ticket_tiers_event_id_sort_order"},
    ),
    "an event's waitlist": (
        lambda session: waitlist.list_of_event(session, ADMIN, key("event", 7), limit=20, after=None),
        {"ix_waitlist_event_id_sequence"},
    ),
    "a person's transfers": (
        lambda session: transfers.list_own(session, BUYER, limit=20, after=None),
        {"ix_ticket_transfers_sender_id_id", "ix_ticket_transfers_received"},
    ),
    "which transfers run out": (lambda session: transfers.find_due(session, NOW), {"ix_ticket_transfers_expiring"}),
    "who awaits approval": (approvals.find_untold, {"uq_email_notifications_purpose"}),
    "who stands at the door": (
        lambda session: session.execute(
            text("SELECT * FROM door_list WHERE event_id = :event ORDER BY ticket_id LIMIT 100"),
            {"event": key("event", 2)},
        ).all(),
        {"ix_tickets_event_id_id"},
    ),
    "what changed since a gate asked": (
        lambda session: door.read_list(session, ADMIN, HALL, after=None, limit=20),
        {"ix_tickets_changes"},
    ),
    "how it goes at the door": (lambda session: door.read_figures(session, ADMIN, HALL), {"uq_door_counts_kind"}),
    "whom an offline gate should have refused": (
        lambda session: door.list_conflicts(session, ADMIN, HALL, before=None, limit=20),
        {"ix_check_in_scans_conflicts"},
    ),
    "which scans were sent before": (
        lambda session: check_in_records.find_scans(session, key("user", 8), ["7"]),
        {"uq_check_in_scans_scanned_by_id_nonce"},
    ),
    "by which scan a ticket is used": (
        lambda session: check_in_records.find_admissions(session, [key("ticket", 7)]),
        {"uq_check_in_scans_admitted"},
    ),
    "which tickets these are": (
        lambda session: check_in_records.lock_tickets(session, key("event", HOT), [CODE]),
        {"uq_tickets_code", "pk_orders"},
    ),
    "whose code this is": (
        lambda session: session.scalar(select(Ticket.id).where(Ticket.code == CODE)),
        {"uq_tickets_code"},
    ),
    "whose intent this is": (
        lambda session: session.scalar(select(Order.id).where(Order.stripe_payment_intent_id == "pi_50000")),
        {"uq_orders_stripe_payment_intent_id"},
    ),
}


# Each walks the indexes of one event's rows: which, is the planner's choice, as long as nothing is read whole.
AUDIT = Scope([key("event", 2)], NOW, timedelta(minutes=5))
QUESTIONS |= {
    f"who breaks {invariant.name}": (lambda session, ask=invariant.find: ask(session, AUDIT), set())
    for invariant in INVARIANTS
}


@pytest.mark.parametrize("question", QUESTIONS)
def test_a_question_walks_its_index_among_a_hundred_thousand_rows(crowded, question):
    ask, expected = QUESTIONS[question]
    with crowded() as session:
        plans = Plans(session)
        ask(session)
    assert expected <= plans.indexes, plans.text
    assert plans.read_whole == set(), plans.text


def test_the_tables_are_as_full_as_promised(crowded):
    with crowded() as session:
        counts = {table: session.scalar(text(f"SELECT count(*) FROM {table}")) for table in (*GROWING, "events")}
    assert counts == {**dict.fromkeys(GROWING, ROWS), "events": EVENTS}


def test_the_head_of_the_line_is_read_in_order_without_sorting(crowded):
    with crowded() as session:
        plans = Plans(session)
        allocation_records.find_work(session, [TIER], 500, None)
    assert "ix_order_items_line" in plans.indexes - plans.sorted, plans.text


def test_an_export_of_a_hundred_thousand_orders_takes_no_more_memory_than_one_of_ten_thousand(crowded, postgres):
    event_id, sizes, lines = key("event", HOT), [], 0
    with opened(postgres.url(SUPERUSER, "crowded")) as connection, connection.begin() as whole:
        connection.execute(text("SET LOCAL session_replication_role = replica"))
        connection.execute(text("UPDATE orders SET event_id = :id WHERE event_id <> :id"), {"id": event_id})
        sessions = sessionmaker(connection, join_transaction_mode="create_savepoint")
        with sessions() as session:
            export = event_orders.begin_export(session, ADMIN, event_id, OrderFilter(), "csv")
        for chunk in csv_chunks(export.columns, export.batches(sessions)):
            lines += chunk.count(b"\r\n")
            sizes.append(int(Path("/proc/self/statm").read_text().split()[1]) * getpagesize())
        whole.rollback()
    assert lines == 1 + ROWS
    assert max(sizes[10:]) - sizes[9] < 3_000_000
