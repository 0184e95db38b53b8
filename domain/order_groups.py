"""Purchases that arrive together, accepted together: one statement, one commit, and an outcome for each of its own."""

from collections.abc import Sequence

from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.orm import Session

from domain.errors import DomainError, InvalidError
from domain.orders import Acceptance, accept
from domain.purchases import Arrival
from domain.rules.admission import AdmissionLimits

_DEADLOCK = "40P01"
_CODE_IS_GONE = "fk_order_items_code_id"


def accept_together(
    session: Session, limits: AdmissionLimits, arrivals: Sequence[Arrival]
) -> Sequence[Acceptance | Exception]:
    """Accept purchases in one transaction; what makes the database refuse it is sought by trying them one by one.

    Raises `OperationalError` where the database is away: then none can be tried.
    """
    try:
        return _accept(session, limits, arrivals)
    except DBAPIError as error:
        if len(arrivals) == 1 and (refusal := _refusal(error)):
            return [refusal]
        if len(arrivals) == 1 or not _is_about_one(error):
            raise
    return [_accept_alone(session, limits, arrival) for arrival in arrivals]


def _accept(session: Session, limits: AdmissionLimits, arrivals: Sequence[Arrival]) -> Sequence[Acceptance | Exception]:
    with session.begin():
        return accept(session, arrivals, limits)


def _accept_alone(session: Session, limits: AdmissionLimits, arrival: Arrival) -> Acceptance | Exception:
    try:
        return _accept(session, limits, [arrival])[0]
    except DBAPIError as error:
        return _refusal(error) or error


def _refusal(error: DBAPIError) -> DomainError | None:
    """Return what a buyer is told whose code was deleted since the edge had its picture."""
    if getattr(getattr(error.orig, "diag", None), "constraint_name", None) != _CODE_IS_GONE:
        return None
    return InvalidError("This event has no such code.", code="code-invalid", pointer="/code")


def _is_about_one(error: DBAPIError) -> bool:
    """Tell whether the others may fare better alone: a broken value, or keys that two processes met crosswise."""
    return not isinstance(error, OperationalError) or getattr(error.orig, "sqlstate", None) == _DEADLOCK
