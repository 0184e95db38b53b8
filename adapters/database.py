"""The engine and its sessions: how a process talks to PostgreSQL, and how announcements leave after a commit."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, Self, cast

import psycopg
from psycopg.pq.abc import PGresult
from psycopg.types.array import ListBinaryDumper
from sqlalchemy import (
    Dialect,
    Engine,
    IteratorResult,
    NullPool,
    Pool,
    PoolProxiedConnection,
    TextClause,
    create_engine,
    event,
)
from sqlalchemy.engine.result import SimpleResultMetaData
from sqlalchemy.exc import DBAPIError, InvalidatePoolError
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


def open_statements(sessions: sessionmaker[Session]) -> Callable[[], Session]:
    """Return the factory of sessions whose every statement is a transaction of its own: one round trip, not three."""
    engine: Engine = sessions.kw["bind"]
    # Of the factory's own class, to which it has attached what happens at a commit.
    kind: Any = type("Statements", (StatementSession, sessions.class_), {"dialect": engine.dialect})

    def open_pool() -> None:
        kind.pool = engine.pool.recreate()
        event.listen(kind.pool, "connect", _expect_statements)

    open_pool()
    # As in `open_engine`: a child leaves the parent's sockets alone, and opens its own.
    os.register_at_fork(after_in_child=open_pool)
    opener = os.getpid()
    event.listen(engine, "engine_disposed", lambda _: os.getpid() == opener and kind.pool.dispose())
    return partial(kind, **sessions.kw | {"bind": engine.execution_options(isolation_level="AUTOCOMMIT")})


def _expect_statements(connection: psycopg.Connection[Any], _record: object) -> None:
    connection.autocommit = True
    if connection.prepare_threshold is not None:
        # Else PostgreSQL plans anew each time what takes an array, since a short one would have a cheaper plan: a
        # quarter of what it spends on a lone accept (docs/adr/0029).
        connection.execute("SET plan_cache_mode = force_generic_plan")


class StatementSession(Session):
    """A session of single statements, of which those in SQL go straight to psycopg, on connections of their own.

    What SQLAlchemy does around a statement costs three times what psycopg does. Values are as psycopg takes them: a
    type that is bound to a parameter is not looked at. ORM statements go the usual way.
    """

    pool: Pool
    dialect: Dialect
    pooled: PoolProxiedConnection | None = None
    """The connection of this session's statements, from the first of them to the session's end."""

    def execute(self, statement: Any, params: Any = None, **options: Any) -> Any:
        """Carry a statement out; raises what `Session.execute` does."""
        if not isinstance(statement, TextClause):
            return super().execute(statement, params, **options)
        spelled = spell(statement, self.dialect)
        try:
            self.pooled = self.pooled or self.pool.connect()
            cursor = cast(psycopg.Connection[Any], self.pooled.driver_connection).execute(spelled, params)
            names = _name_columns(cursor.pgresult)
            return IteratorResult(names, iter(cursor.fetchall() if names.keys else ()))
        except psycopg.Error as error:
            # Whether or not the connection is any good now: the next statement asks the pool.
            self._give_back()
            raise DBAPIError.instance(spelled, params, error, psycopg.Error, dialect=self.dialect) from error

    @contextmanager
    def begin(self) -> Iterator[Self]:  # type: ignore[override]  # there is nothing to nest
        """Let what is announced within leave at the end, unless something is raised.

        There is no transaction to be begun and committed, which SQLAlchemy would do for as much as a statement costs:
        objects are not written here.
        """
        try:
            yield self
        except BaseException:
            self.dispatch.after_rollback(self)
            raise
        self.dispatch.after_commit(self)

    def close(self) -> None:
        """Give the connection back, and close the session if anything was begun in it."""
        self._give_back()
        if self.in_transaction():
            super().close()

    def _give_back(self) -> None:
        if self.pooled is not None:
            self.pooled.close()
            self.pooled = None


@cache
def spell(statement: TextClause, dialect: Dialect) -> str:
    """Return a statement of ours as psycopg wants it; there are a few dozen, and each is spelled once.

    It loses its indentation, because psycopg does not remember what it found in statements of more than 4,096 bytes.
    """
    return "\n".join(line.strip() for line in str(statement.compile(dialect=dialect)).splitlines())


def _name_columns(result: PGresult | None) -> SimpleResultMetaData:
    """Return what a result's columns are called; `Cursor.description` would look up their types, too."""
    return _know_columns(tuple(result.fname(number) or b"" for number in range(result.nfields)) if result else ())


@cache
def _know_columns(names: tuple[bytes, ...]) -> SimpleResultMetaData:
    return SimpleResultMetaData([name.decode() for name in names])


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
