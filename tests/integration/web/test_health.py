import os
import socket
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta

import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import select, text, update
from sqlalchemy.orm import Session, sessionmaker
from uuid_utils.compat import uuid7

from adapters.database import PoolLimits, open_engine
from domain import tier_work
from domain.messages import QUEUES, tier_queue
from domain.models import Order, PaymentTransaction
from domain.rules.states import AttemptKind, AttemptStatus, MailStatus, OrderStage
from tests.factories import (
    EmailNotificationFactory,
    EventFactory,
    InspectionFactory,
    OrderFactory,
    PaymentTransactionFactory,
    TicketTierFactory,
    WebhookEventFactory,
    bound_to,
)
from tests.factories.base import from_now
from tests.fakes.clock import FakeClock
from tools.stack.environment import ROOT
from web.app import create_app
from web.services import Services


@pytest.fixture
def open_client(settings, sessions, redis, hasher):
    """Return a function that opens a client of an app of its own, since answers are kept for a moment."""

    def open_client(sessions=sessions, clock=None, **changes):
        changed = settings.model_copy(update={"redis_url": settings.redis_url, **changes})
        return create_app(
            services=Services(changed, sessions, hasher, clock or FakeClock(datetime.now(UTC)))
        ).test_client()

    return open_client


@pytest.fixture
def client(open_client):
    return open_client()


@pytest.fixture
def nobody():
    """Return the port of a server that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0), backlog=16) as server:
        yield server.getsockname()[1]


def unreachable_sessions(port):
    url = f"postgresql+psycopg://vendor:x@127.0.0.1:{port}/vendor"
    return sessionmaker(open_engine(url, PoolLimits(1, 0, 5, 15), application_name="tests"))


@pytest.fixture
def waiting(sessions, clock):
    """Return a function that puts orders into a tier's line, the first of them this many seconds ago."""

    def wait(seconds, count=1, **tier):
        with sessions.begin() as session, bound_to(session):
            tier = TicketTierFactory(**tier)
            orders = [OrderFactory(tier=tier) for _ in range(count)]
            session.execute(
                update(Order)
                .where(Order.id == orders[0].id)
                .values(created_at=clock.now() - timedelta(seconds=seconds))
            )
        return tier

    return wait


MEASURING_PROCESS = """
from web.app import create_app

client = create_app().test_client()
for _ in range(3):
    client.get("/healthz")
print(client.get("/metrics").text)
"""


def scrape(client):
    answer = client.get("/metrics")
    assert answer.status_code == 200
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


class TestAlive:
    def test_says_that_the_process_answers_whatever_else_is_down(self, open_client, nobody):
        client = open_client(unreachable_sessions(nobody), redis_url=f"redis://127.0.0.1:{nobody}")
        answer = client.get("/healthz")
        assert (answer.status_code, answer.json) == (200, {"status": "alive"})


class TestReady:
    def test_is_ready_when_database_and_broker_answer_and_nobody_waits(self, client):
        answer = client.get("/readyz")
        assert answer.status_code == 200
        assert answer.json["status"] == "ready"
        assert {name: part["ok"] for name, part in answer.json["parts"].items()} == {
            "database": True,
            "broker": True,
            "line": True,
        }
        assert answer.json["parts"]["line"]["detail"] == "nobody waits"

    def test_is_ready_while_orders_wait_for_a_moment(self, open_client, waiting, clock, settings):
        waiting(settings.ready_age_seconds - 1)
        answer = open_client(clock=clock).get("/readyz")
        assert answer.status_code == 200
        assert answer.json["parts"]["line"]["detail"] == "the oldest order has waited 29.0 s"

    def test_is_not_ready_when_the_oldest_order_has_waited_too_long(self, open_client, waiting, clock, settings):
        waiting(1)
        waiting(settings.ready_age_seconds + 1, count=2)
        answer = open_client(clock=clock).get("/readyz")
        assert answer.status_code == 503
        assert answer.content_type == "application/problem+json"
        assert (answer.json["code"], answer.json["detail"]) == ("unavailable", "Not ready: line.")
        assert answer.json["parts"]["line"] == {"ok": False, "detail": "the oldest order has waited 31.0 s"}

    def test_orders_of_a_paused_tier_wait_on_purpose(self, open_client, waiting, clock):
        waiting(3600, is_paused=True)
        assert open_client(clock=clock).get("/readyz").status_code == 200

    def test_names_a_broker_that_is_down(self, open_client):
        answer = open_client(celery_broker_url="redis://127.0.0.1:9").get("/readyz")
        assert (answer.status_code, answer.json["detail"]) == (503, "Not ready: broker.")
        assert "127.0.0.1" not in answer.text

    def test_names_a_database_that_is_down(self, open_client):
        answer = open_client(unreachable_sessions(9)).get("/readyz")
        assert (answer.status_code, answer.json["detail"]) == (503, "Not ready: database, line.")
        assert "127.0.0.1" not in answer.text

    def test_answers_within_a_second_when_both_hang(self, open_client, nobody):
        client = open_client(unreachable_sessions(nobody), celery_broker_url=f"redis://127.0.0.1:{nobody}")
        began = time.monotonic()
        answer = client.get("/readyz")
        assert time.monotonic() - began < 1
        assert (answer.status_code, answer.json["detail"]) == (503, "Not ready: database, broker, line.")

    def test_a_hanging_database_costs_one_thread_however_many_ask(self, open_client, nobody):
        client = open_client(unreachable_sessions(nobody))
        for _ in range(3):
            assert client.get("/readyz").status_code == 503
        assert sum(thread.name == "probe" for thread in threading.enumerate()) == 1


class TestMetrics:
    def test_counts_requests_by_endpoint_and_status(self, client):
        for _ in range(3):
            client.get("/healthz")
        client.get("/no/such/path/1")
        client.get("/no/such/path/2")
        client.delete("/healthz")
        found = scrape(client)
        assert found["http_request_duration_seconds_count", "health.show_health", "200"] == 3
        assert found["http_request_duration_seconds_count", "none", "404"] == 2
        assert found["http_request_duration_seconds_count", "none", "405"] == 1
        assert 0 < found["http_request_duration_seconds_sum", "health.show_health", "200"] < 1

    def test_gauges_the_line_of_each_tier(self, open_client, waiting, clock):
        tier = waiting(12, count=3)
        found = scrape(open_client(clock=clock))
        assert found["ticket_vendor_waiting_orders", str(tier.id)] == 3
        assert found["ticket_vendor_oldest_waiting_seconds", str(tier.id)] == pytest.approx(12, abs=0.01)

    def test_gauges_the_tiers_of_each_allocator(self, client, engine):
        with engine.connect() as busy, engine.connect() as idle, engine.connect() as stranger:
            for connection, name in ((busy, "allocator 1@here"), (idle, "allocator 2@here")):
                connection.execute(text("SELECT set_config('application_name', :name, false)"), {"name": name})
                tier_work.join(Session(connection))
            for connection in (busy, stranger):
                tier_work.adopt(Session(connection), [uuid7(), uuid7()], most=2)
            found = scrape(client)
            for connection in (busy, idle, stranger):
                connection.invalidate()
        owned = {labels[0]: value for (name, *labels), value in found.items() if name == "ticket_vendor_owned_tiers"}
        assert owned == {"1@here": 2, "2@here": 0}

    def test_gauges_orders_outbox_and_inbox(self, client, sessions):
        with sessions.begin() as session, bound_to(session):
            OrderFactory(stage=OrderStage.AWAITING_PAYMENT)
            OrderFactory(stage=OrderStage.COMPLETE)
            EmailNotificationFactory(status=MailStatus.PENDING)
            EmailNotificationFactory(status=MailStatus.UNKNOWN)
            EmailNotificationFactory(status=MailStatus.SENT)
            WebhookEventFactory()
            WebhookEventFactory(processed_at=datetime.now(UTC))
        found = scrape(client)
        assert found["ticket_vendor_orders", "awaiting_payment"] == found["ticket_vendor_orders", "complete"] == 1
        assert found["ticket_vendor_outbox_mails", "pending"] == found["ticket_vendor_outbox_mails", "unknown"] == 1
        assert ("ticket_vendor_outbox_mails", "sent") not in found
        assert found["ticket_vendor_inbox_events", "stripe"] == 1
        assert found["ticket_vendor_rows_up",] == found["ticket_vendor_queues_up",] == 1

    def test_gauges_money_that_a_person_should_look_at(self, client, sessions):
        names = ("refund_failed", "refund_overdue", "mismatch", "dispute_open", "event_unmatched")
        with sessions.begin() as session, bound_to(session):
            order = OrderFactory(stage=OrderStage.COMPLETE)
            charge = session.scalars(select(PaymentTransaction)).one()
            made = iter(range(1, 9))

            def add(kind, status, **values):
                parts = {"order": order, "parent_id": charge.id, "attempt": next(made)}
                return PaymentTransactionFactory(kind=kind, status=status, **parts, **values)

            add(AttemptKind.REFUND, AttemptStatus.FAILED)  # somebody has tried again
            add(AttemptKind.REFUND, AttemptStatus.CREATED, created_at=from_now(days=-2))
            add(AttemptKind.REFUND, AttemptStatus.PROCESSING, created_at=from_now(hours=-2), error_code="mismatch")
            add(AttemptKind.REFUND, AttemptStatus.FAILED, error_code="expired_or_canceled_card")
            add(AttemptKind.DISPUTE, AttemptStatus.PROCESSING)
            add(AttemptKind.DISPUTE, AttemptStatus.SUCCEEDED)
            other = PaymentTransactionFactory(status=AttemptStatus.SUCCEEDED)
            parts = {"order": other.order, "parent_id": other.id, "kind": AttemptKind.REFUND}
            PaymentTransactionFactory(status=AttemptStatus.FAILED, error_code="disputed", **parts)
            WebhookEventFactory(received_at=from_now(hours=-2))
            WebhookEventFactory()
        found = scrape(client)
        assert [found["ticket_vendor_money_attention", name] for name in names] == [1] * 5

    def test_gauges_what_breaks_an_invariant(self, client, sessions):
        with sessions.begin() as session, bound_to(session):
            for ids in (["a", "b"], ["c"]):
                InspectionFactory(breaches={"orders_add_up": ids}, suspects={"one_owner": ["t"]})
        found = scrape(client)
        assert found["ticket_vendor_invariant_breaches", "orders_add_up"] == 3
        assert ("ticket_vendor_invariant_breaches", "one_owner") not in found
        assert found["ticket_vendor_audit_overdue_seconds",] == pytest.approx(60, abs=10)

    def test_an_event_that_was_never_audited_is_overdue_since_it_was_published(self, client, sessions):
        with sessions.begin() as session:
            EventFactory(session=session, published_at=from_now(hours=-2))
        assert scrape(client)["ticket_vendor_audit_overdue_seconds",] == pytest.approx(7200, abs=10)

    def test_gauges_the_queues_of_the_broker_tiers_included(self, client, sessions, redis):
        with sessions.begin() as session, bound_to(session):
            busy, idle = TicketTierFactory(), TicketTierFactory()
        redis.rpush(tier_queue(busy.id), "message", "message")
        redis.rpush("payments", "message")
        found = scrape(client)
        depths = {
            labels[0]: value for (name, *labels), value in found.items() if name == "ticket_vendor_queue_messages"
        }
        assert depths == {**dict.fromkeys(QUEUES, 0), "payments": 1, tier_queue(busy.id): 2}
        assert tier_queue(idle.id) not in depths

    def test_asks_the_rows_at_most_once_a_second(self, client, sessions):
        before = scrape(client)
        with sessions.begin() as session:
            WebhookEventFactory(session=session)
        assert ("ticket_vendor_inbox_events", "stripe") not in before
        assert ("ticket_vendor_inbox_events", "stripe") not in scrape(client)
        deadline = time.monotonic() + 5
        while ("ticket_vendor_inbox_events", "stripe") not in scrape(client):
            assert time.monotonic() < deadline

    def test_still_tells_about_requests_when_database_and_broker_are_down(self, open_client):
        client = open_client(unreachable_sessions(9), celery_broker_url="redis://127.0.0.1:9")
        client.get("/healthz")
        found = scrape(client)
        assert found["ticket_vendor_rows_up",] == found["ticket_vendor_queues_up",] == 0
        assert found["http_request_duration_seconds_count", "health.show_health", "200"] == 1

    def test_processes_that_share_a_directory_tell_the_sum(self, environment, tmp_path):
        directory = tmp_path / "metrics"
        for count in (3, 6):
            printed = subprocess.run(
                [sys.executable, "-c", MEASURING_PROCESS],
                cwd=ROOT,
                env=environment | {"METRICS_DIR": str(directory), "PATH": os.environ["PATH"]},
                capture_output=True,
                text=True,
                timeout=60,
                check=True,
            ).stdout
            line = 'http_request_duration_seconds_count{endpoint="health.show_health",status="200"}'
            assert f"{line} {count}.0" in printed

    def test_speaks_openmetrics_to_who_asks_for_it(self, client):
        answer = client.get("/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})
        assert answer.content_type.startswith("application/openmetrics-text")
        assert answer.text.endswith("# EOF\n")
