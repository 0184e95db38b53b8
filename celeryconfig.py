"""Celery's settings; each knob says why. Names: docs.celeryq.dev/en/stable/userguide/configuration.html."""

from typing import Any

from celery.schedules import crontab

from adapters.beat import Staggered
from adapters.transport import declare_queue, transport_options
from domain.messages import QUEUES
from settings import load

_settings = load()

broker_url = _settings.broker_url
broker_connection_retry_on_startup = True  # a worker may be up before its broker
broker_connection_max_retries = None  # however long the broker is away, the workers wait for it
broker_connection_timeout = 2
broker_transport_options = transport_options(broker_url, sentinel_master=_settings.celery_broker_master)
broker_heartbeat = 10  # RabbitMQ and its workers notice within 20 s that the other is gone
broker_pool_limit = 32  # Flower takes two per worker that it inspects, and waits for ever if there are too few

result_backend = None  # the row is the record
task_ignore_result = True
task_serializer = "json"
accept_content = ["json"]
enable_utc = True
timezone = "UTC"

task_default_exchange = "ticket_vendor"
task_queues = [declare_queue(name, broker_url) for name in QUEUES]
task_create_missing_queues = False  # the tiers' queues come and go with the tiers, by `know_queue` alone
task_default_queue = "sweep"

task_acks_late = True  # a killed worker's message comes back
task_reject_on_worker_lost = True  # as above, for a killed child; attempts are counted in the rows
worker_consumer = "workers.consumer:Consumer"
worker_prefetch_multiplier = 1  # nobody sits on work that another could do
worker_cancel_long_running_tasks_on_connection_loss = False  # each step can be repeated; cutting it gains nothing
task_time_limit = 60  # vendors' time-outs are far below; only a stuck child meets this
task_soft_time_limit = 45
worker_soft_shutdown_timeout = 5
worker_hijack_root_logger = False  # adapters/logs.py owns the format
worker_redirect_stdouts = False
worker_max_tasks_per_child = 5_000  # bounds what a leaking library could cost
worker_send_task_events = False  # Flower's workers start with -E; the tiers' never do, they are too busy
task_send_sent_event = False

beat_schedule: dict[str, dict[str, Any]] = {
    "ring what stalled": {"task": "sweep.ring", "schedule": _settings.sweep_seconds},
    "expire what ran out": {"task": "sweep.expire", "schedule": _settings.sweep_seconds},
    "tell of orders that await approval": {"task": "sweep.tell_of_approvals", "schedule": _settings.sweep_seconds},
    "reconcile open payments": {"task": "sweep.reconcile", "schedule": _settings.reconcile_seconds},
    "read the feed of payment events": {"task": "sweep.feed", "schedule": _settings.reconcile_seconds},
    "refund cancelled events": {"task": "sweep.refund", "schedule": _settings.sweep_seconds},
    "write to all of an event": {"task": "sweep.mail", "schedule": _settings.sweep_seconds},
    "read promoters' accounts": {"task": "sweep.read_accounts", "schedule": 60.0},
    "refresh analytics": {"task": "sweep.refresh", "schedule": _settings.analytics_seconds},
    "audit the invariants": {"task": "sweep.audit", "schedule": _settings.sweep_seconds},
    "tidy what expired": {"task": "sweep.tidy", "schedule": 3600.0},
}
for _number, _entry in enumerate(beat_schedule.values()):
    _seconds = _entry["schedule"]
    # All at once they would keep a core from whoever is buying for a tenth of a second.
    _entry["schedule"] = Staggered(_seconds, after=_settings.sweep_seconds * _number / len(beat_schedule))
    # A job that nobody fetched is not worth two: the next one does its work.
    _entry["options"] = {"queue": "sweep", "expires": _seconds * 2}
beat_schedule["state the money"] = {
    "task": "sweep.state",
    "schedule": crontab(hour=3, minute=30),
    "options": {"queue": "sweep", "expires": 12 * 3600.0},
}
