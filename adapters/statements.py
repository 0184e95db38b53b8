"""Sessions whose statements in SQL go straight to psycopg, where what SQLAlchemy does around one costs too much.

It costs three times what psycopg does (docs/adr/0029). Results are SQLAlchemy's, and so are the errors: the domain's
functions do not know. Values are as psycopg takes them: a type that is bound to a parameter is not looked at. Objects
are not flushed first. ORM statements go the usual way.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, partial
from typing import Any, Self, cast

import psycopg
from psycopg.pq.abc import PGresult
from sqlalchemy import Connection, Dialect, Engine, IteratorResult, Pool, PoolProxiedConnection, TextClause, event
from sqlalchemy.engine.result import SimpleResultMetaData
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session, sessionmaker


class DirectSession(Session):
    """A session on an allocator's one connection, in transactions as usual."""

    def execute(self, statement: Any, params: Any = None, **options: Any) -> Any:
        """Carry a statement out; raises what `Session.execute` does."""
        if not isinstance(statement, TextClause):
            return super().execute(statement, params, **options)
        dialect = cast(Engine | Connection, self.bind).dialect
        spelled = spell(statement, dialect)
        try:
            cursor = self._lend().execute(spelled, params)
            names = _name_columns(cursor.pgresult)
            return IteratorResult(names, iter(cursor.fetchall() if names.keys else ()))
        except psycopg.Error as error:
            self._note(error)
            raise DBAPIError.instance(spelled, params, error, psycopg.Error, dialect=dialect) from error

    def _lend(self) -> psycopg.Connection[Any]:
        """Return the connection on which this session's statements are carried out."""
        return cast(psycopg.Connection[Any], self.connection().connection.driver_connection)

    def _note(self, error: psycopg.Error) -> None:
        """Let SQLAlchemy know of a connection that is gone, as its own statements would."""
        if self._lend().closed:
            self.connection().invalidate(error)


def open_fenced_sessions(connection: Connection) -> sessionmaker[Session]:
    """Return the factory of sessions on an allocator's connection (`open_fence_engine`)."""
    return sessionmaker(connection, class_=DirectSession, expire_on_commit=False)


class StatementSession(DirectSession):
    """A session of single statements, on connections of their own."""

    pool: Pool
    pooled: PoolProxiedConnection | None = None
    """The connection of this session's statements, from the first of them to the session's end."""

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

    def _lend(self) -> psycopg.Connection[Any]:
        self.pooled = self.pooled or self.pool.connect()
        return cast(psycopg.Connection[Any], self.pooled.driver_connection)

    def _note(self, _error: psycopg.Error) -> None:
        # Whether or not the connection is any good now: the next statement asks the pool.
        self._give_back()

    def _give_back(self) -> None:
        if self.pooled is not None:
            self.pooled.close()
            self.pooled = None


def open_statements(sessions: sessionmaker[Session]) -> Callable[[], Session]:
    """Return the factory of sessions whose every statement is a transaction of its own: one round trip, not three."""
    engine: Engine = sessions.kw["bind"]
    # Of the factory's own class, to which it has attached what happens at a commit.
    kind: Any = type("Statements", (StatementSession, sessions.class_), {})

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
