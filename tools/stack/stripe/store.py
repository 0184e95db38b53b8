"""Where the objects are kept: one SQLite file (or memory), one connection, one lock.

Objects are Stripe's JSON as text; keys that begin with an underscore are our own notes and are never shown.
Knows nothing of what the objects mean.
"""

import json
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Body = dict[str, Any]

_SCHEMA = """
CREATE TABLE IF NOT EXISTS objects (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    kind TEXT NOT NULL,
    account TEXT NOT NULL,
    created INTEGER NOT NULL,
    body TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS objects_of_a_kind ON objects (kind, account, sequence);
CREATE INDEX IF NOT EXISTS objects_of_an_intent ON objects (json_extract(body, '$.payment_intent'));
CREATE INDEX IF NOT EXISTS objects_of_a_charge ON objects (json_extract(body, '$.charge'));
CREATE TABLE IF NOT EXISTS answers (
    account TEXT NOT NULL,
    key TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    request_id TEXT NOT NULL,
    status INTEGER NOT NULL,
    body TEXT NOT NULL,
    created INTEGER NOT NULL,
    PRIMARY KEY (account, key)
);
CREATE TABLE IF NOT EXISTS deliveries (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    event_id TEXT NOT NULL,
    state TEXT NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    next_at REAL NOT NULL,
    created REAL NOT NULL,
    outcome TEXT NOT NULL DEFAULT ''
);
CREATE INDEX IF NOT EXISTS deliveries_due ON deliveries (next_at, id) WHERE state = 'pending';
CREATE INDEX IF NOT EXISTS deliveries_of_an_event ON deliveries (event_id);
CREATE TABLE IF NOT EXISTS advances (seconds INTEGER NOT NULL);
"""


@dataclass(frozen=True)
class Condition:
    """A part of a WHERE clause with its values; the clauses are constants of this package."""

    clause: str
    values: tuple[Any, ...] = ()


class Store:
    """Objects by id, in the order of their making."""

    def __init__(self, path: Path | None = None) -> None:
        self._lock = threading.RLock()
        self._connection = sqlite3.connect(path or ":memory:", check_same_thread=False, isolation_level=None)
        self._connection.row_factory = sqlite3.Row
        # A crash of the process loses nothing; only a crash of the machine may lose the last moments.
        self._connection.executescript(f"PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF; {_SCHEMA}")

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Make what happens inside one change, alone; an exception undoes it."""
        with self._lock:
            if self._connection.in_transaction:
                yield
                return
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")

    def execute(self, statement: str, values: Sequence[Any] = ()) -> list[sqlite3.Row]:
        """Run one statement and return its rows."""
        with self._lock:
            return self._connection.execute(statement, values).fetchall()

    def put(self, account: str, body: Body) -> None:
        """Keep an object, new or changed; its kind is the word that Stripe puts into `object`."""
        text = json.dumps(body, separators=(",", ":"))
        self.execute(
            "INSERT INTO objects (id, kind, account, created, body) VALUES (?, ?, ?, ?, ?) "
            "ON CONFLICT (id) DO UPDATE SET body = excluded.body",
            (body["id"], body["object"], account, body.get("created", 0), text),
        )

    def get(self, account: str, identifier: str, kind: str | None = None) -> Body | None:
        """Return an object of this account, or None."""
        rows = self.execute("SELECT kind, body FROM objects WHERE id = ? AND account = ?", (identifier, account))
        if not rows or (kind and rows[0]["kind"] != kind):
            return None
        return _body(rows[0])

    def owner(self, identifier: str) -> str | None:
        """Return the account to which an object belongs, "" for the platform's own, or None."""
        rows = self.execute("SELECT account FROM objects WHERE id = ?", (identifier,))
        return str(rows[0]["account"]) if rows else None

    def position(self, account: str, kind: str, identifier: str) -> int | None:
        """Return an object's place in the order of making."""
        rows = self.execute(
            "SELECT sequence FROM objects WHERE id = ? AND kind = ? AND account = ?", (identifier, kind, account)
        )
        return int(rows[0]["sequence"]) if rows else None

    def select(
        self, kind: str, conditions: Sequence[Condition] = (), *, limit: int, oldest_first: bool = False
    ) -> list[Body]:
        """Return up to `limit` objects of a kind that meet every condition, newest first."""
        where = " AND ".join(["kind = ?", *(condition.clause for condition in conditions)])
        order = "ASC" if oldest_first else "DESC"
        statement = f"SELECT body FROM objects WHERE {where} ORDER BY sequence {order} LIMIT ?"  # noqa: S608 constants
        values = [kind, *(value for condition in conditions for value in condition.values), limit]
        return [_body(row) for row in self.execute(statement, values)]


def shown(value: Any) -> Any:
    """Return a value without our own notes, at any depth."""
    if isinstance(value, dict):
        return {key: shown(part) for key, part in value.items() if not key.startswith("_")}
    if isinstance(value, list):
        return [shown(part) for part in value]
    return value


def _body(row: sqlite3.Row) -> Body:
    body: Body = json.loads(row["body"])
    return body
