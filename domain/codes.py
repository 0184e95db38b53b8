"""Discount and access codes as promoters see them: made, listed, changed, withdrawn.

What a code means for an order is in `purchases.py`, how much of it is left in `code_counters.py`. An edit is for new
orders: those that were accepted keep their price, and their use. Whatever is done raises, too, what
`ownership.find_event` raises.
"""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import exists, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session
from uuid_utils.compat import uuid7

from domain import audit
from domain.audit import Actor
from domain.changes import as_json, change
from domain.errors import ConflictError, InvalidError, NotFoundError
from domain.models import Code, Event, OrderItem, TicketTier
from domain.ownership import find_event, find_event_of
from domain.rules.codes import ALPHABET, RANDOM_LETTERS
from domain.rules.money import charge_step, written
from domain.rules.states import TeamRight


@dataclass(frozen=True, slots=True)
class CodeDetails:
    """All that a promoter says about a code beside its letters; `Code` says what each means."""

    discount_bps: int | None = None
    discount_amount: int | None = None
    opens_hidden: bool = False
    tier_ids: Sequence[UUID] = ()
    max_uses: int | None = None
    max_tickets: int | None = None
    max_per_person: int | None = None
    valid_from: datetime | None = None
    valid_until: datetime | None = None
    is_active: bool = True


def create_code(session: Session, actor: Actor, event_id: UUID, code: str, details: CodeDetails) -> Code:
    """Make a code, spelled as it is to be kept.

    Raises `InvalidError` for one that does nothing or contradicts itself, `ConflictError` if the event has it already.
    """
    event = _find_event(session, actor, event_id)
    _check(session, event, details)
    made = _insert(session, event, [code], details)
    if not made:
        raise ConflictError("This event has this code already.", code="code-taken", pointer="/code")
    audit.record(session, actor, "code.create", made[0], new={"code": code, **as_json(asdict(details))})
    return made[0]


def generate_codes(
    session: Session, actor: Actor, event_id: UUID, details: CodeDetails, *, count: int, prefix: str | None
) -> Sequence[Code]:
    """Make so many different codes at random that do the same, each with limits of its own; raise as for one."""
    event = _find_event(session, actor, event_id)
    _check(session, event, details)
    made: list[Code] = []
    while missing := count - len(made):
        # Two of them are hardly ever the same.
        made += _insert(session, event, list({_at_random(prefix) for _ in range(missing)}), details)
    said = {"count": count, "prefix": prefix, **as_json(asdict(details))}
    audit.record(session, actor, "code.generate", event, new=said)
    return made


def list_codes(session: Session, actor: Actor, event_id: UUID, *, before: UUID | None, limit: int) -> Sequence[Code]:
    """Return an event's codes, newest first, those older than `before`, at most `limit` + 1."""
    event = _find_event(session, actor, event_id)
    query = select(Code).where(Code.event_id == event.id).order_by(Code.id.desc()).limit(limit + 1)
    return session.scalars(query if before is None else query.where(Code.id < before)).all()


def find_code(session: Session, actor: Actor, code_id: UUID) -> Code:
    """Return a code of an event that the actor manages."""
    code, _ = _authorise(session, actor, session.get(Code, code_id))
    return code


def update_code(session: Session, actor: Actor, code_id: UUID, values: Mapping[str, Any]) -> Code:
    """Change some of a code's details; raise as for a new one, and `ConflictError` for a limit below what was taken."""
    query = select(Code).where(Code.id == code_id).with_for_update(key_share=True)
    code, event = _authorise(session, actor, session.scalar(query))
    details = CodeDetails(**{field.name: getattr(code, field.name) for field in fields(CodeDetails)} | dict(values))
    _check(session, event, details)
    _check_taken(code, details)
    old, new = change(code, values)
    if new:
        audit.record(session, actor, "code.update", code, old=old, new=new)
    return code


def delete_code(session: Session, actor: Actor, code_id: UUID) -> None:
    """Withdraw a code: one with which something was ordered stays, inactive."""
    # Whoever is just ordering with it holds the row against this lock, and is seen afterwards.
    code, _ = _authorise(session, actor, session.scalar(select(Code).where(Code.id == code_id).with_for_update()))
    if session.scalar(select(exists().where(OrderItem.code_id == code.id))):
        old, new = change(code, {"is_active": False})
        if new:
            audit.record(session, actor, "code.update", code, old=old, new=new)
        return
    audit.record(session, actor, "code.delete", code, old={"code": code.code, "event_id": str(code.event_id)})
    session.delete(code)


def _find_event(session: Session, actor: Actor, event_id: UUID) -> Event:
    return find_event(session, actor, event_id, TeamRight.MANAGE)


def _authorise(session: Session, actor: Actor, code: Code | None) -> tuple[Code, Event]:
    if code is None:
        raise NotFoundError("code")
    return code, find_event_of(session, actor, code.event_id, TeamRight.MANAGE, "code")


def _insert(session: Session, event: Event, codes: Sequence[str], details: CodeDetails) -> list[Code]:
    """Insert those of the codes that the event has not, and return them."""
    values = {**asdict(details), "tier_ids": list(details.tier_ids), "event_id": event.id}
    rows = [{"id": uuid7(), "code": code, **values} for code in codes]
    return list(session.scalars(insert(Code).on_conflict_do_nothing().returning(Code), rows))


def _at_random(prefix: str | None) -> str:
    letters = "".join(secrets.choice(ALPHABET) for _ in range(RANDOM_LETTERS))
    return f"{prefix}-{letters}" if prefix else letters


def _check(session: Session, event: Event, details: CodeDetails) -> None:
    has_amount = details.discount_amount is not None
    if details.discount_bps is not None and has_amount:
        raise InvalidError("A code takes off a share or an amount, not both.", pointer="/discount_amount")
    if details.discount_bps is None and not has_amount and not details.opens_hidden:
        raise InvalidError("A code takes something off, or opens hidden tiers.", pointer="/discount_bps")
    step = charge_step(event.currency)
    if details.discount_amount is not None and details.discount_amount % step:
        fault = f"An amount in {event.currency} is a multiple of {written(step, event.currency)}."
        raise InvalidError(fault, pointer="/discount_amount")
    if details.opens_hidden and not details.tier_ids:
        raise InvalidError("A code that opens hidden tiers names them.", pointer="/tier_ids")
    own = select(TicketTier.id).where(TicketTier.event_id == event.id, TicketTier.id.in_(details.tier_ids))
    if details.tier_ids and set(details.tier_ids) != set(session.scalars(own)):
        raise InvalidError("This event has no such tier.", pointer="/tier_ids")
    starts, ends = details.valid_from, details.valid_until
    if starts is not None and ends is not None and ends <= starts:
        raise InvalidError("A code must end after it starts.", pointer="/valid_until")


def _check_taken(code: Code, details: CodeDetails) -> None:
    for name, limit, taken in (
        ("max_uses", details.max_uses, code.uses),
        ("max_tickets", details.max_tickets, code.tickets),
    ):
        if limit is not None and limit < taken:
            raise ConflictError(
                f"{taken} are taken with this code already; deactivate it to give no more.",
                code="code-limit-below-taken",
                pointer=f"/{name}",
            )
