"""What was sent and what became of it: two SQLite tables, one line per recipient and one per event.

Knows neither HTTP nor signatures. Events wait here until the webhook has taken them, so a restart loses none.
"""

import json
import sqlite3
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_SCHEMA = """
CREATE TABLE IF NOT EXISTS messages (
    id INTEGER PRIMARY KEY AUTOINCREMENT, message_id TEXT NOT NULL, at REAL NOT NULL,
    recipient TEXT NOT NULL COLLATE NOCASE, mail TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS messages_of_recipient ON messages (recipient, id);
CREATE TABLE IF NOT EXISTS events (
    id INTEGER PRIMARY KEY AUTOINCREMENT, message INTEGER NOT NULL REFERENCES messages ON DELETE CASCADE,
    event TEXT NOT NULL, due_at REAL NOT NULL, attempts INTEGER NOT NULL DEFAULT 0, taken_at REAL);
CREATE INDEX IF NOT EXISTS events_of_message ON events (message);
CREATE INDEX IF NOT EXISTS events_waiting ON events (due_at) WHERE taken_at IS NULL;
"""
RETRY_LIMIT_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Message:
    """One mail to one recipient; `mail` is what was sent, as `parcel.py` took it apart."""

    id: int
    message_id: str
    at: float
    mail: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Event:
    """One event of a message; `taken_at` is when the webhook answered with 2xx."""

    id: int
    body: Mapping[str, Any]
    due_at: float
    attempts: int
    taken_at: float | None


class Mailbox:
    """The stand-in's memory, in one file; safe to use from many threads."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()
        self._database = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._database.executescript("PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA foreign_keys=ON;")
        self._database.executescript(_SCHEMA)

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._database.close()

    def add(self, message_id: str, mails: Iterable[Mapping[str, Any]]) -> list[Message]:
        """Keep one accepted request: one mail per recipient, in one transaction."""
        now = time.time()
        with self._lock, self._database:
            self._database.execute("BEGIN IMMEDIATE")
            return [
                Message(self._insert(message_id, now, mail), message_id=message_id, at=now, mail=mail) for mail in mails
            ]

    def find(self, message: int) -> Message | None:
        """Return one message."""
        rows = self._rows("SELECT id, message_id, at, mail FROM messages WHERE id = ?", message)
        return _message(rows[0]) if rows else None

    def newest(self, recipient: str | None = None, limit: int = 200) -> list[Message]:
        """Return messages, newest first, of one recipient if named."""
        rows = self._rows(
            "SELECT id, message_id, at, mail FROM messages WHERE ?1 IS NULL OR recipient = ?1 "
            "ORDER BY id DESC LIMIT ?2",
            recipient,
            limit,
        )
        return [_message(row) for row in rows]

    def clear(self) -> None:
        """Forget all messages and their events."""
        self._rows("DELETE FROM messages")

    def add_event(self, message: int, body: Mapping[str, Any], due_at: float) -> None:
        """Queue an event for the webhook."""
        self._rows(
            # Selecting the message lets an event of one that was cleared meanwhile fall away.
            "INSERT INTO events (message, event, due_at) SELECT id, ?, ? FROM messages WHERE id = ?",
            json.dumps(body),
            due_at,
            message,
        )

    def events(self, message: int) -> list[Event]:
        """Return the events of one message, in order."""
        rows = self._rows(
            "SELECT id, event, due_at, attempts, taken_at FROM events WHERE message = ? ORDER BY id", message
        )
        return [_event(row) for row in rows]

    def waiting_events(self, now: float, limit: int = 100) -> list[Event]:
        """Return the events that the webhook should be given now."""
        rows = self._rows(
            "SELECT id, event, due_at, attempts, taken_at FROM events WHERE taken_at IS NULL AND due_at <= ? "
            "ORDER BY due_at, id LIMIT ?",
            now,
            limit,
        )
        return [_event(row) for row in rows]

    def mark_taken(self, events: Sequence[Event], now: float) -> None:
        """Record that the webhook took these events."""
        for event in events:
            self._rows("UPDATE events SET taken_at = ?, attempts = attempts + 1 WHERE id = ?", now, event.id)

    def postpone(self, events: Sequence[Event], now: float) -> None:
        """Record a failed try and set the next: after 0.25 s, then twice as long each time, at most 30 s."""
        for event in events:
            pause = min(0.25 * 2.0 ** min(event.attempts, 10), RETRY_LIMIT_SECONDS)
            self._rows("UPDATE events SET due_at = ?, attempts = attempts + 1 WHERE id = ?", now + pause, event.id)

    def _insert(self, message_id: str, now: float, mail: Mapping[str, Any]) -> int:
        cursor = self._database.execute(
            "INSERT INTO messages (message_id, at, recipient, mail) VALUES (?, ?, ?, ?)",
            (message_id, now, mail["to"], json.dumps(mail)),
        )
        return cursor.lastrowid or 0

    def _rows(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        with self._lock:
            return self._database.execute(statement, values).fetchall()


def _message(row: tuple[Any, ...]) -> Message:
    return Message(id=row[0], message_id=row[1], at=row[2], mail=json.loads(row[3]))


def _event(row: tuple[Any, ...]) -> Event:
    return Event(id=row[0], body=json.loads(row[1]), due_at=row[2], attempts=row[3], taken_at=row[4])
