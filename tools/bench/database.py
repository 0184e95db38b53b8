"""The bench's hand on PostgreSQL: the superuser's, because no application may prepare tables and slow flushes."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from statistics import median
from typing import Any

from sqlalchemy import Engine, Row, create_engine, text

from tools.stack.postgres import SUPERUSER, Postgres

SLOWER_MICROSECONDS = 2000
PROBES = 60


class Database:
    """One PostgreSQL, on a connection that is kept: opening one costs the server what would then be measured."""

    def __init__(self, postgres: Postgres) -> None:
        self.postgres = postgres
        self.engine: Engine = create_engine(
            postgres.url(SUPERUSER),
            # A plan that was made while a table was empty would be kept as it fills.
            connect_args={"prepare_threshold": None},
        )

    def rows(self, statement: str, **values: Any) -> Sequence[Row[Any]]:
        """Return what a query yields."""
        with self.engine.connect() as connection:
            return connection.execute(text(statement), values).all()

    def change(self, *statements: str, **values: Any) -> None:
        """Carry statements out in one transaction, without looking foreign keys up: the bench knows what it writes."""
        with self.engine.begin() as connection:
            connection.execute(text("SET LOCAL session_replication_role = replica"))
            for statement in statements:
                connection.execute(text(statement), values)

    def calm(self) -> None:
        """Give every round the same start: clean and analysed tables, and no checkpoint that the last one left."""
        with self.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text("VACUUM (ANALYZE) orders, order_items, order_timeline, tickets, ticket_tiers"))
            connection.execute(text("CHECKPOINT"))

    @contextmanager
    def slower_flushes(self) -> Iterator[None]:
        """Let each flush of the log take 2 ms longer while the block runs.

        `commit_delay` sleeps before the flush, with the lock that every other flush waits for, as a slow disk would;
        by default only where five others commit too, so `commit_siblings` must be 0
        (postgresql.org/docs/current/runtime-config-wal.html).
        """
        self._configure(f"commit_delay = {SLOWER_MICROSECONDS}", "commit_siblings = 0")
        try:
            yield
        finally:
            self._configure("commit_delay = 0", "commit_siblings = 5")

    def commit_milliseconds(self) -> float:
        """Return the median time of a commit that has the log to itself."""
        times = []
        with self.engine.connect() as connection:
            for _ in range(PROBES):
                # The smallest thing that is logged, and so has to be flushed.
                connection.execute(text("SELECT pg_logical_emit_message(true, 'bench', '')"))
                began = time.perf_counter()
                connection.commit()
                times.append((time.perf_counter() - began) * 1000)
        return median(times)

    def _configure(self, *settings: str) -> None:
        with self.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            for setting in settings:
                connection.execute(text(f"ALTER SYSTEM SET {setting}"))
            connection.execute(text("SELECT pg_reload_conf()"))
        self._wait_for(settings[0].split(" = ")[1])

    def _wait_for(self, delay: str) -> None:
        deadline = time.monotonic() + 10
        while self.rows("SELECT current_setting('commit_delay')")[0][0] != delay:
            if time.monotonic() > deadline:
                raise TimeoutError(f"PostgreSQL does not take commit_delay = {delay}")
            time.sleep(0.05)
