"""The table of the local stack's processes: what each runs, what it waits for, and how to see that it serves.

Containers have the same table in docker-compose.yml.
"""

import os
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import replace

from tools.stack.accounts import ARE_THERE
from tools.stack.leash import tether
from tools.stack.plan import FLOWER_USER, Plan
from tools.stack.ports import HOST
from tools.stack.postgres import environment
from tools.stack.schema import Schema
from tools.stack.supervisor import Part

STAND_INS = ("stripe", "sendgrid")


def local_parts(plan: Plan, schema: Schema) -> list[Part]:
    """Return every process of the local stack, without the parts that were replaced."""
    parts = [*_servers(plan), *_stand_ins(plan), *_database_steps(plan, schema), _web(plan)]
    parts += [*_workers(plan), _beat(plan), _flower(plan)]
    here = {part.name for part in parts}
    return [replace(part, after=tuple(name for name in part.after if name in here)) for part in parts]


def _servers(plan: Plan) -> list[Part]:
    postgres, valkey = plan.postgres, plan.valkey
    servers = [
        Part(
            name="postgres",
            command=postgres.command,
            environment=environment(),
            is_ready=lambda _: postgres.is_ready(),
            port=plan.ports.get("postgres"),
            prepare=postgres.prepare,
            stop_signal=postgres.stop_signal,
            # After a crash the shared memory of the dead server may be in use for some seconds.
            first_deaths=4,
        ),
        Part(
            name="valkey",
            command=valkey.command,
            environment=dict(os.environ),
            is_ready=lambda _: valkey.is_ready(),
            port=plan.ports.get("valkey"),
            prepare=valkey.prepare,
            stop_signal=valkey.stop_signal,
        ),
    ]
    return [server for server in servers if server.name not in plan.given]


def _stand_ins(plan: Plan) -> list[Part]:
    secrets = {
        "stripe": ("--webhook-secret", plan.variables["STRIPE_WEBHOOK_SECRET"]),
        "sendgrid": ("--signing-key", str(plan.signing_key)),
    }
    here = [name for name in STAND_INS if name not in plan.given]
    return [
        Part(
            name=name,
            command=_python(
                f"tools.stack.{name}",
                *("--port", str(plan.ports[name].number), "--data", str(plan.folder / name)),
                *("--webhook-url", f"{plan.url('web')}/webhooks/{name}", *secrets[name]),
            ),
            environment=plan.variables,
            is_ready=_answers(f"{plan.url(name)}/healthz"),
            port=plan.ports[name],
        )
        for name in here
    ]


def _database_steps(plan: Plan, schema: Schema) -> list[Part]:
    migrate = Part(
        name="migrate",
        command=_python("alembic", "upgrade", "head"),
        environment=plan.variables,
        is_ready=_always,
        after=("postgres",),
        once=True,
        is_needed=None if "postgres" in plan.given else schema.is_behind,
    )
    accounts = Part(
        name="accounts",
        command=_python("tools.stack.accounts"),
        environment=plan.variables,
        is_ready=_always,
        after=("migrate",),
        once=True,
        # A person's own database gets no account with a printed password.
        is_needed=lambda: "postgres" not in plan.given and plan.postgres.answer(ARE_THERE) != "t",
    )
    return [migrate, accounts]


ARENAS = 2
"""By default glibc keeps a heap for each of many threads, and gives little of it back: a third more memory."""


def _web(plan: Plan) -> Part:
    return Part(
        name="web",
        command=_python(
            "granian",
            # HTTP/1.1 alone: granian looks for HTTP/2 first, and so waits for ever for whoever sends nothing.
            *("--interface", "wsgi", "--factory", "web.app:create_app", "--http", "1", "--no-ws"),
            *("--host", HOST, "--port", str(plan.ports["web"].number)),
            *("--workers", str(plan.settings.web_workers), "--blocking-threads", str(plan.settings.web_threads)),
            *(
                "--backpressure",
                str(plan.settings.web_connections),
                "--http1-header-read-timeout",
                "10000",
                "--respawn-failed-workers",
                "--workers-kill-timeout",
                "4",
            ),
        ),
        environment={**plan.variables, "MALLOC_ARENA_MAX": str(ARENAS)},
        is_ready=_answers(f"{plan.url('web')}/healthz"),
        after=("valkey", "migrate"),
        port=plan.ports["web"],
    )


def _workers(plan: Plan) -> list[Part]:
    cores = os.cpu_count() or 1
    pools = {
        "payments": ("--pool", "threads", "--concurrency", "8"),
        "tickets": ("--pool", "prefork", "--concurrency", str(cores)),
        "notifications": ("--pool", "threads", "--concurrency", "4"),
        "waitlist": ("--pool", "threads", "--concurrency", "1"),
        "webhooks": ("--pool", "threads", "--concurrency", "8"),
        "sweep": ("--pool", "threads", "--concurrency", "1"),
    }
    # Workers that know nothing of each other start a second sooner: they share no state but the rows.
    alone = ("--without-mingle", "--without-gossip")
    allocators = [
        _celery(plan, name, "workers.allocator", "worker", "--pool", "solo", *alone, "--hostname", f"{name}@%h")
        for name in ("allocator-1", "allocator-2")
    ]
    others = [
        _celery(plan, queue, "workers.app", "worker", "-Q", queue, *pool, *alone, "--hostname", f"{queue}@%h", "-E")
        for queue, pool in pools.items()
    ]
    return [*allocators, *others]


def _beat(plan: Plan) -> Part:
    return _celery(
        plan, "beat", "workers.app", "beat", "-s", str(plan.folder / "beat-schedule"), ready="beat: Starting"
    )


def _flower(plan: Plan) -> Part:
    port = plan.ports["flower"]
    options = (f"--address={HOST}", f"--port={port.number}", "--persistent=True", f"--db={plan.folder / 'flower'}")
    return Part(
        name="flower",
        command=_python("celery", "-A", "workers.app", "flower", *options),
        environment={**plan.variables, "FLOWER_BASIC_AUTH": f"{FLOWER_USER}:{plan.secrets.flower}"},
        is_ready=_answers(f"{plan.url('flower')}/healthcheck"),
        after=("valkey",),
        port=port,
    )


def _celery(plan: Plan, name: str, app: str, *arguments: str, ready: str = " ready.") -> Part:
    level = plan.variables.get("LOG_LEVEL", "INFO")
    return Part(
        name=name,
        command=_python("celery", "-A", app, *arguments),
        # The sentence that says it is ready is an INFO.
        environment={**plan.variables, "LOG_LEVEL": level if level == "DEBUG" else "INFO"},
        is_ready=lambda logged: ready in logged,
        after=("valkey", "migrate"),
    )


def _python(module: str, *arguments: str) -> Callable[[], list[str]]:
    return lambda: tether([sys.executable, "-m", module, *arguments])


def _answers(url: str) -> Callable[[str], bool]:
    def is_ready(_: str) -> bool:
        try:
            with urllib.request.urlopen(url, timeout=2):  # noqa: S310 our own address
                return True
        except urllib.error.HTTPError as error:
            error.close()
            return error.code < 500  # noqa: PLR2004 it serves, whatever it thinks of the question
        except OSError:
            return False

    return is_ready


def _always(_: str) -> bool:
    return True
