"""The engine and its sessions: how a process talks to PostgreSQL, and how announcements leave after a commit."""

import os
from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import Engine, NullPool, create_engine, event
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


def open_engine(url: str, limits: PoolLimits, *, application_name: str) -> Engine:
    """Return a pooled engine whose connections are checked before use and thrown away by a forked child."""
    engine = create_engine(
        url,
        pool_size=limits.size,
        max_overflow=limits.max_overflow,
        pool_timeout=limits.timeout_seconds,
        pool_pre_ping=True,
        pool_recycle=1800,
        connect_args={
            "application_name": application_name,
            "connect_timeout": 5,
            **_KEEPALIVE,
            "options": _options(limits),
        },
    )
    # A socket shared with the parent would mix two conversations.
    os.register_at_fork(after_in_child=lambda: engine.dispose(close=False))
    return engine


def open_fence_engine(url: str, *, silence_seconds: float, application_name: str) -> Engine:
    """Return an engine for an allocator's one connection: no pool, no ping, no reconnect.

    The server ends a session that falls silent for `silence_seconds`, in a transaction or out of one, so that a
    stopped or cut-off allocator has lost its advisory locks before anybody else can take them
    (postgresql.org/docs/current/runtime-config-client.html).
    """
    silence = int(silence_seconds * 1000)
    options = (
        f"-c idle_session_timeout={silence} -c idle_in_transaction_session_timeout={silence} "
        f"-c statement_timeout={silence} -c lock_timeout={silence // 2} -c tcp_user_timeout={silence} "
        f"-c tcp_keepalives_idle=1 -c tcp_keepalives_interval=1 -c tcp_keepalives_count=3 "
        f"-c enable_seqscan=off"
    )
    return create_engine(
        url,
        poolclass=NullPool,
        connect_args={
            "application_name": application_name,
            "connect_timeout": 2,
            **_KEEPALIVE,
            "tcp_user_timeout": silence,
            "options": options,
        },
    )


_KEEPALIVE = {"keepalives": 1, "keepalives_idle": 5, "keepalives_interval": 2, "keepalives_count": 3}


# `enable_seqscan`: a plan made while a table was empty would be a sequential scan, and kept as the table grows; every
# query here has its index (docs/adr/0012).
def _options(limits: PoolLimits) -> str:
    statement = int(limits.statement_seconds * 1000)
    return (
        f"-c enable_seqscan=off -c timezone=UTC -c statement_timeout={statement} "
        f"-c lock_timeout={min(statement, 5000)} -c idle_in_transaction_session_timeout=10000"
    )


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
