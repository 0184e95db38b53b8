"""The engine and its sessions: how a process talks to PostgreSQL, and how announcements leave after a commit."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg.types.array import ListBinaryDumper
from sqlalchemy import Engine, NullPool, create_engine, event
from sqlalchemy.exc import InvalidatePoolError
from sqlalchemy.orm import Session, sessionmaker

from domain.messages import Announcements, take_announcements

Dispatch = Callable[[Announcements], None]


@dataclass(frozen=True, slots=True)
class PoolLimits:
    """How many connections one process may keep, how many seconds it waits for one, and the server for a statement."""

    size: int
    max_overflow: int
    timeout_seconds: float
    statement_seconds: float


def open_engine(url: str, limits: PoolLimits, *, application_name: str, through_pooler: bool = False) -> Engine:
    """Return a pooled engine whose connections are looked at before use and thrown away by a forked child.

    Through a transaction pooler such as PgBouncer a session is somebody else's after each commit: nothing may be left
    in it. The role must then bring `SESSION` by itself (docs/scaling.md).
    """
    statement = int(limits.statement_seconds * 1000)
    session = SESSION | {"statement_timeout": statement, "lock_timeout": min(statement, LOCK_MILLISECONDS)}
    own = {"prepare_threshold": None} if through_pooler else {"options": _options(session)}
    engine = create_engine(
        url,
        pool_size=limits.size,
        max_overflow=limits.max_overflow,
        pool_timeout=limits.timeout_seconds,
        pool_recycle=1800,
        connect_args={"application_name": application_name, "connect_timeout": 5, **_KEEPALIVE, **own},
    )
    event.listen(engine, "checkout", _look_at)
    # A socket shared with the parent would mix two conversations.
    os.register_at_fork(after_in_child=lambda: engine.dispose(close=False))
    return engine


def _look_at(connection: psycopg.Connection[Any], *_: object) -> None:
    """Have the pool open another connection in place of one that the server has ended.

    An idle connection has nothing to say but the server's farewell, and then the end of the stream. That is seen
    without the round trip of a ping, and without letting go of the interpreter's lock, as `poll` would.
    """
    if connection.closed:
        raise InvalidatePoolError
    try:
        for _part in ("farewell", "end"):
            connection.pgconn.consume_input()
    except psycopg.OperationalError as error:
        raise InvalidatePoolError from error


def open_fence_engine(url: str, *, silence_seconds: float, application_name: str) -> Engine:
    """Return an engine for an allocator's one connection: no pool, no ping, no reconnect.

    The server ends a session that falls silent for `silence_seconds`, in a transaction or out of one, so that a
    stopped or cut-off allocator has lost its advisory locks before anybody else can take them
    (postgresql.org/docs/current/runtime-config-client.html).
    """
    silence = int(silence_seconds * 1000)
    session: dict[str, str | int] = {
        "idle_session_timeout": silence,
        "idle_in_transaction_session_timeout": silence,
        # Short beside the silence, which begins only when the statement of a stopped client has ended.
        "statement_timeout": silence * 2 // 3,
        "lock_timeout": silence // 3,
        # Who died in the middle of a statement is noticed so soon; who was cut off, when an answer stays unread.
        "client_connection_check_interval": 250,
        "tcp_user_timeout": silence,
        "tcp_keepalives_idle": 1,
        "tcp_keepalives_interval": 1,
        "tcp_keepalives_count": 3,
        "enable_seqscan": "off",
    }
    engine = create_engine(
        url,
        poolclass=NullPool,
        connect_args={
            "application_name": application_name,
            "connect_timeout": 2,
            **_KEEPALIVE,
            # A cut-off allocator should notice it about when the server does.
            "keepalives_idle": 1,
            "keepalives_interval": 1,
            "tcp_user_timeout": silence,
            "options": _options(session),
        },
    )
    event.listen(engine, "connect", _send_lists_in_binary)
    return engine


def _send_lists_in_binary(connection: psycopg.Connection[Any], _record: object) -> None:
    """Prefer the dumper that costs a sixth (psycopg.org/psycopg3/docs/advanced/adapt.html): a round sends many ids."""
    connection.adapters.register_dumper(list, ListBinaryDumper)


_KEEPALIVE = {"keepalives": 1, "keepalives_idle": 5, "keepalives_interval": 2, "keepalives_count": 3}
SESSION: dict[str, str | int] = {
    # A plan made while a table was empty would be a sequential scan, and kept as the table grows; every query here has
    # its index (docs/adr/0012).
    "enable_seqscan": "off",
    # No question is worth more than one core: analytics would take all of them from the buyers, once a minute.
    "max_parallel_workers_per_gather": 0,
    "timezone": "UTC",
    "idle_in_transaction_session_timeout": 10_000,
}
"""What a session of web and workers runs with, beside its limits; times in milliseconds."""
LOCK_MILLISECONDS = 5_000


def _options(session: dict[str, str | int]) -> str:
    return " ".join(f"-c {name}={value}" for name, value in session.items())


def open_sessions(engine: Engine, dispatch: Dispatch) -> sessionmaker[Session]:
    """Return the factory of sessions; what a session announces is dispatched after its commit."""
    sessions = sessionmaker(engine, expire_on_commit=False)
    dispatch_after_commit(sessions, dispatch)
    return sessions


def dispatch_after_commit(sessions: sessionmaker[Session], dispatch: Dispatch) -> None:
    """Dispatch what sessions of this factory announced when they commit, and forget it when they roll back."""

    @event.listens_for(sessions, "after_commit")
    def _dispatch(session: Session) -> None:
        if session.in_nested_transaction():
            return  # a savepoint: what follows may still roll back
        if messages := take_announcements(session):
            dispatch(messages)

    @event.listens_for(sessions, "after_rollback")
    def _forget(session: Session) -> None:
        if session.in_nested_transaction():
            return  # an announcement too many is only a ring too many
        take_announcements(session)
