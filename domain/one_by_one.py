"""Many rows, each in a transaction of its own: one that fails is logged, and holds nobody up."""

import logging
from collections.abc import Callable, Iterable
from uuid import UUID

from sqlalchemy.orm import Session, sessionmaker

log = logging.getLogger(__name__)


def one_by_one(sessions: sessionmaker[Session], row_ids: Iterable[UUID], act: Callable[[Session, UUID], bool]) -> int:
    """Act on each row; return on how many the act did something. What failed is tried again in the next round."""
    done = 0
    for row_id in row_ids:
        try:
            with sessions.begin() as session:
                done += act(session, row_id)
        except Exception:
            log.exception("row.failed id=%s act=%s", row_id, act)
    return done
