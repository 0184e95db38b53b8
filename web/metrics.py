"""What Prometheus reads: how long requests took, and gauges of the rows and queues as they are at the scrape.

Workers need no exporter: what they do or leave undone shows in the rows. Flower tells about single tasks.
"""

import os
import time
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import TimeoutError as LateError
from datetime import datetime
from pathlib import Path

from flask import Flask, Response, current_app, g, request
from prometheus_client import Histogram, values
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector, CollectorRegistry
from sqlalchemy.exc import SQLAlchemyError

import wiring
from adapters.broker import BrokerError
from domain import health
from domain.messages import QUEUES
from web.probes import Probe
from web.services import services_of

EXTENSION = "ticket_vendor_metrics"
LATENCIES = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20)
GAUGES_KEPT = 1.0
STAGES_KEPT = 15.0
"""Counting the orders by stage reads all of them, and so it is with refunds: not at each scrape."""
ATTENTION_MEANING = "Money that a person should look at, by what is wrong."
DEADLINE = 2.0
BROKER_TIMEOUT = 0.5


def measure_requests(app: Flask) -> None:
    """Measure every request of this app, and let `render` tell. Call it once the app has its services."""
    directory = services_of(app).settings.metrics_dir
    if directory is not None:
        _share(directory)
    registry = CollectorRegistry()
    latency = Histogram(
        "http_request_duration_seconds",
        "Time from the request's first byte to the answer, by endpoint and status.",
        ["endpoint", "status"],
        buckets=LATENCIES,
        registry=registry,
    )

    # By endpoint, not by path or method: those are the client's to invent, and each would be a series for good.
    @app.after_request
    def _measure(response: Response) -> Response:
        latency.labels(request.endpoint or "none", str(response.status_code)).observe(time.perf_counter() - g.started)
        return response

    app.extensions[EXTENSION] = _Exposition(registry, _Gauges(app), directory)


def render() -> tuple[bytes, str]:
    """Return the metrics, in the form that the scraper asks for, and the form's media type."""
    exposition: _Exposition = current_app.extensions[EXTENSION]
    encode, media_type = choose_encoder(request.headers.get("Accept", ""))
    return encode(exposition.registry()), media_type


def _share(directory: str) -> None:
    """Keep this process's counters in files beside those of the others (prometheus.github.io/client_python)."""
    Path(directory).mkdir(parents=True, exist_ok=True)
    # The library reads its own variable when a metric is made, and chose at its import, before we knew.
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = directory
    if values.ValueClass is values.MutexValue:
        values.ValueClass = values.MultiProcessValue()  # type: ignore[no-untyped-call]


class _Exposition:
    """What one scrape shows: this process's requests, or those of all that share a directory; and the gauges."""

    def __init__(self, requests: CollectorRegistry, gauges: Collector, directory: str | None) -> None:
        self._directory = directory
        self._own = requests
        self._gauges = gauges
        requests.register(gauges)

    def registry(self) -> CollectorRegistry:
        if self._directory is None:
            return self._own
        shared = CollectorRegistry()
        MultiProcessCollector(shared, path=self._directory)  # type: ignore[no-untyped-call]
        shared.register(self._gauges)
        return shared


class _Gauges(Collector):
    """Gauges of the rows and the queues; a part that does not answer in time is told as down, not waited for."""

    def __init__(self, app: Flask) -> None:
        # The services are looked up at each scrape, because the probes' threads know no current app.
        self._app = app
        self._broker = wiring.open_broker(services_of(app).settings, timeout_seconds=BROKER_TIMEOUT)
        self._rows = Probe(self._read_rows, keep=GAUGES_KEPT)
        self._stages = Probe(self._read_stages, keep=STAGES_KEPT)
        self._attention = Probe(self._read_attention, keep=STAGES_KEPT)
        self._audit = Probe(self._read_audit, keep=STAGES_KEPT)
        self._depths = Probe(self._read_depths, keep=GAUGES_KEPT)

    def describe(self) -> Iterable[Metric]:
        """Return nothing, so that registering asks no database."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Return the gauges as they are now."""
        backlog, stages, depths = self._rows.ask(), self._stages.ask(), self._depths.ask()
        attention, audit = self._attention.ask(), self._audit.ask()
        now = services_of(self._app).clock.now()
        has_rows = has_depths = 1
        try:
            yield from _tell_backlog(backlog.result(DEADLINE), now)
            yield _gauge("ticket_vendor_orders", "Orders, by stage.", "stage", stages.result(DEADLINE))
            yield _gauge("ticket_vendor_money_attention", ATTENTION_MEANING, "what", attention.result(DEADLINE))
            yield from _tell_audit(*audit.result(DEADLINE), now)
        except (SQLAlchemyError, LateError):
            has_rows = 0
        try:
            yield _gauge("ticket_vendor_queue_messages", "Messages in a queue.", "queue", depths.result(DEADLINE))
        except (BrokerError, SQLAlchemyError, LateError):
            has_depths = 0
        yield GaugeMetricFamily("ticket_vendor_rows_up", "Whether the rows could be read in time.", has_rows)
        yield GaugeMetricFamily("ticket_vendor_queues_up", "Whether the queues could be read in time.", has_depths)

    def _read_rows(self) -> health.Backlog:
        with services_of(self._app).sessions() as session:
            return health.read_backlog(session)

    def _read_stages(self) -> dict[str, int]:
        with services_of(self._app).sessions() as session:
            return health.count_stages(session)

    def _read_attention(self) -> dict[str, int]:
        with services_of(self._app).sessions() as session:
            return health.count_attention(session)

    def _read_audit(self) -> tuple[dict[str, int], datetime | None]:
        with services_of(self._app).sessions() as session:
            return health.count_breaches(session), health.inspection_due(session)

    def _read_depths(self) -> dict[str, int]:
        with services_of(self._app).sessions() as session:
            tiers = health.tier_queues(session, services_of(self._app).clock.now())
        depths = self._broker.depths([*QUEUES, *tiers])
        # A thousand tiers with nothing in their queues would be a thousand series of zeros.
        return {queue: depth for queue, depth in depths.items() if depth or queue in QUEUES}


def _tell_backlog(backlog: health.Backlog, now: datetime) -> Iterator[Metric]:
    lines = {str(line.tier_id): line for line in backlog.lines}
    ages = {tier: max(0.0, (now - line.since).total_seconds()) for tier, line in lines.items()}
    lengths = {tier: line.orders for tier, line in lines.items()}
    yield _gauge("ticket_vendor_waiting_orders", "Orders that wait for a tier.", "tier", lengths)
    yield _gauge("ticket_vendor_oldest_waiting_seconds", "How long the first of them has waited.", "tier", ages)
    yield _gauge("ticket_vendor_outbox_mails", "Mails still to be sent or found out about.", "status", backlog.mails)
    yield _gauge("ticket_vendor_inbox_events", "Webhook events not handled yet.", "provider", backlog.events)
    yield _gauge("ticket_vendor_owned_tiers", "Tiers that an allocator owns.", "allocator", backlog.owned_tiers)


def _tell_audit(breaches: Mapping[str, int], due_at: datetime | None, now: datetime) -> Iterator[Metric]:
    overdue = max(0.0, (now - due_at).total_seconds()) if due_at else 0.0
    yield _gauge("ticket_vendor_invariant_breaches", "Rows that break an invariant.", "invariant", breaches)
    yield GaugeMetricFamily("ticket_vendor_audit_overdue_seconds", "How late the next look at them is.", overdue)


def _gauge(name: str, meaning: str, label: str, series: Mapping[str, float]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, meaning, labels=[label])
    for key, value in series.items():
        family.add_metric([key], value)
    return family
