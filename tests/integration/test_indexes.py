from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from hashlib import md5
from types import SimpleNamespace

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import NullPool, create_engine, event, select, text
from sqlalchemy.orm import sessionmaker

from domain import (
    allocation_records,
    audit,
    code_counters,
    health,
    line,
    listings,
    logins,
    notifications,
    order_records,
    orders,
    storefront,
    sweep,
    tickets,
    tier_rows,
    tier_work,
    users,
    waitlist,
    whole_line,
)
from domain.audit import Actor
from domain.invariants.breaches import Scope
from domain.invariants.inspection import INVARIANTS
from domain.listings import EventFilter
from domain.models import Order, Ticket, Waitlist
from domain.payments import disputes, late_payments, reconciliation, refunds, sales
from domain.payments import events as payment_events
from domain.rules.states import UserRole
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
    "waitlist",
    "payment_transactions",
    "ledger_entries",
    "webhook_inbox",
    "email_notifications",
    "refresh_tokens",
    "audit_logs",
}

NOW = datetime.now(UTC)
BEFORE = NOW - timedelta(seconds=10)
TIER, PERSON, ORDER = key("tier", HOT), key("user", 1), key("order", 50_000)
BUYER = Actor(user_id=PERSON, role=UserRole.USER)


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


def events(**wanted):
    return lambda session: listings.find_events(session, EventFilter(**wanted), NOW, limit=20)


QUESTIONS = {
    # The submit and the poll.
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
    "my orders": (lambda session: orders.list_own(session, PERSON, limit=20, after=None), {"ix_orders_user_id_id"}),
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
        lambda session: allocation_records.count_per_person(session, [TIER], [PERSON, key("user", 7)]),
        {"ix_orders_user_id_id", "uq_order_items_order_id_tier_id"},
    ),
    "what orders hold with their codes": (
        lambda session: code_counters.lock(session, [SimpleNamespace(code_id=key("event", 1), order_id=ORDER)]),
        {"uq_order_items_order_id_tier_id"},
    ),
    "what people hold with codes": (
        lambda session: code_counters.count_by_person(session, [ORDER, key("order", 60_000)]),
        {"pk_orders", "ix_orders_user_id_id", "uq_order_items_order_id_tier_id"},
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
    "which disputes are open": (lambda session: disputes.stalled(session, BEFORE), {"ix_payment_transactions_open"}),
    "which payments came late": (lambda session: late_payments.stalled(session, BEFORE), {"ix_orders_clock"}),
    "which events are unhandled": (
        lambda session: payment_events.stalled(session, BEFORE),
        {"ix_webhook_inbox_unprocessed"},
    ),
    "the statement of an event": (
        lambda session: list(sales.read_sales(session, key("event", 2), NOW)),
        {"ix_orders_event_id_id", "ix_ledger_entries_order_id", "ix_tickets_event_id_id"},
    ),
    "whose picture is missing": (lambda session: tickets.stalled(session, BEFORE), {"ix_tickets_unrendered"}),
    "which mails are due": (
        lambda session: notifications.stalled(session, BEFORE),
        {"ix_email_notifications_due", "ix_webhook_inbox_unprocessed"},
    ),
    "which offers are untold": (lambda session: waitlist.stalled(session, BEFORE), {"ix_waitlist_unnotified"}),
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
        lambda session: users.list_users(session, users.UserSearch(words="person-777"), before=None, limit=20),
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
        {"ix_audit_logs_entity"},
    ),
    "an event's orders": (
        lambda session: session.execute(
            text("SELECT * FROM order_overview WHERE event_id = :event ORDER BY order_id DESC LIMIT 50"),
            {"event": key("event", 2)},
        ).all(),
        {"ix_orders_event_id_id", "uq_order_items_order_id_tier_id"},
    ),
    "an event's sales": (
        lambda session: session.execute(
            text("SELECT * FROM event_sales WHERE event_id = :event"), {"event": key("event", 2)}
        ).all(),
        {"ix_orders_event_id_id", "ix_ticket_tiers_event_id_sort_order"},
    ),
    "who stands at the door": (
        lambda session: session.execute(
            text("SELECT * FROM door_list WHERE event_id = :event ORDER BY ticket_id LIMIT 100"),
            {"event": key("event", 2)},
        ).all(),
        {"ix_tickets_event_id_id"},
    ),
    "whose code this is": (
        lambda session: session.scalar(
            select(Ticket.id).where(Ticket.code == md5(b"1", usedforsecurity=False).hexdigest())
        ),
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
