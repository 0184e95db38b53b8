"""What every factory does: write its row at once into the session that is bound, and read the clock like its models."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime, timedelta

import factory
from sqlalchemy.orm import Session

_session: ContextVar[Session] = ContextVar("session")


@contextmanager
def bound_to(session: Session) -> Iterator[Session]:
    """Let every factory write into this session while the block runs."""
    token = _session.set(session)
    try:
        yield session
    finally:
        _session.reset(token)


def current_session() -> Session:
    session = _session.get(None)
    if session is None:
        raise RuntimeError("Say where the row goes: UserFactory(session=session), or `with bound_to(session):`.")
    return session


def from_now(**parts: float) -> datetime:
    return datetime.now(UTC) + timedelta(**parts)


class RowFactory(factory.Factory):
    class Meta:
        abstract = True

    @classmethod
    def _generate(cls, strategy, params):
        session = params.pop("session", None)
        if session is None:
            return super()._generate(strategy, params)
        with bound_to(session):
            return super()._generate(strategy, params)

    @classmethod
    def _create(cls, model_class, *args, **values):
        row = model_class(*args, **values)
        session = current_session()
        session.add(row)
        session.flush()
        return row
