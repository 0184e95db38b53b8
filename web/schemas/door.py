"""Bodies of what the door is told: the list for gates that go offline, and live figures."""

import hashlib
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from pydantic import ConfigDict, Field

from domain.door import DoorList, Figures, Position, Tally, doors_of
from domain.models import Ticket
from domain.rules.door import judge_ticket
from domain.rules.states import EventStatus, ScanResult
from web.paging import decode_cursor, encode_cursor
from web.schemas.base import QueryArguments, ResponseBody

LIST_MAX = 1000

_TIER_ID = "0199c2f0-11aa-7e02-8a57-0c9d4b6e7f80"
_EVENT_ID = "0199c2f0-0a1b-7c3e-9b1f-2a4c6e8f0b1d"
_LISTED: dict[str, Any] = {
    "ticket_id": "0199c2f0-7d6a-7c3e-9b1f-2a4c6e8f0b1d",
    "code_sha256": "5d41402abc4b2a76b9719d911017c592ae2c1f0e7a1b2c3d4e5f60718293a4b5",
    "code_version": 1,
    "tier_id": _TIER_ID,
    "attendee_name": "Ada Lovelace",
    "result": "accepted",
    "checked_in_at": None,
}
_TALLY: dict[str, Any] = {"inside": 412, "refused": 9, "conflicts": 1}


class DoorListArguments(QueryArguments):
    """How much of the list, and from where on."""

    limit: Annotated[int, Field(ge=1, le=LIST_MAX, description="How many tickets at most.")] = 500
    cursor: Annotated[
        str | None,
        Field(max_length=1000, description="`next_cursor` of the answer before; without it, the list from its start."),
    ] = None

    def after(self) -> Position | None:
        """Return the position behind which to read; raise `InvalidError` if the cursor is none of ours."""
        if self.cursor is None:
            return None
        return Position(*decode_cursor(self.cursor, UUID, str, int, int, UUID))


class ListedTicket(ResponseBody):
    """A ticket as a gate needs it."""

    model_config = ConfigDict(json_schema_extra={"examples": [_LISTED]})

    ticket_id: UUID
    code_sha256: Annotated[str, Field(description="SHA-256 of the ticket's code in ASCII, hexadecimal.")]
    code_version: Annotated[int, Field(description="The version that the signed text must have.")]
    tier_id: UUID
    attendee_name: str
    result: Annotated[ScanResult, Field(description="What its scan is worth while the doors are open.")]
    checked_in_at: datetime | None

    @classmethod
    def of(cls, ticket: Ticket) -> "ListedTicket":
        """Describe a ticket; whoever steals the list has no code of it."""
        return cls(
            ticket_id=ticket.id,
            code_sha256=hashlib.sha256(ticket.code.encode()).hexdigest(),
            code_version=ticket.code_version,
            tier_id=ticket.tier_id,
            attendee_name=ticket.attendee_name,
            result=judge_ticket(
                ticket.status,
                is_disputed=ticket.blocked_at is not None,
                is_being_refunded=ticket.refund_id is not None,
            ),
            checked_in_at=ticket.checked_in_at,
        )


class ListedTier(ResponseBody):
    """A tier's name."""

    id: UUID
    name: str


class DoorListBody(ResponseBody):
    """Tickets of the event that were changed since the cursor; without one, all of them."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "event_id": _EVENT_ID,
                    "event_status": "published",
                    "opens_at": "2027-06-05T15:00:00Z",
                    "closes_at": "2027-06-05T21:00:00Z",
                    "tiers": [{"id": _TIER_ID, "name": "Standing"}],
                    "items": [_LISTED],
                    "next_cursor": "WyIwMTk5YzJmMC0wYTFiLTdjM2UtOWIxZi0yYTRjNmU4ZjBiMWQiXQ",
                    "complete": True,
                }
            ]
        }
    )

    event_id: UUID
    event_status: EventStatus
    opens_at: Annotated[datetime, Field(description="Before it, a ticket is `not_yet_open`.")]
    closes_at: Annotated[datetime, Field(description="From it on, a ticket is `event_over`.")]
    tiers: list[ListedTier]
    items: list[ListedTicket]
    next_cursor: Annotated[str, Field(description="Ask with it for what changes from here on; there always is one.")]
    complete: Annotated[bool, Field(description="False while more tickets wait behind `next_cursor`: ask at once.")]

    @classmethod
    def of(cls, found: DoorList) -> "DoorListBody":
        """Describe a page of the list."""
        doors, at = doors_of(found.event), found.position
        return cls(
            event_id=found.event.id,
            event_status=found.event.status,
            opens_at=doors.opens_at,
            closes_at=doors.closes_at,
            tiers=[ListedTier.model_validate(tier) for tier in found.tiers],
            items=[ListedTicket.of(ticket) for ticket in found.tickets],
            next_cursor=encode_cursor(at.event_id, at.origin, at.floor, at.xid, at.ticket_id),
            complete=found.is_complete,
        )


class TallyBody(ResponseBody):
    """What was counted."""

    inside: Annotated[int, Field(description="Check-ins that were not undone.")]
    refused: Annotated[int, Field(description="Scans that let nobody in.")]
    conflicts: Annotated[int, Field(description="Offline scans that let somebody in who should have been refused.")]


class GateFigures(TallyBody):
    """One gate; the null one is all gates without a name."""

    gate: str | None


class QuarterFigures(TallyBody):
    """One quarter of an hour, by the time of the scans."""

    starts_at: datetime


class TierAtDoor(ResponseBody):
    """One tier."""

    tier_id: UUID
    name: str
    tickets: Annotated[int, Field(description="Sold, and not taken back.")]
    inside: int
    left: Annotated[int, Field(description="Still to come.")]


class FiguresBody(TallyBody):
    """How it goes at the door."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "event_id": _EVENT_ID,
                    **_TALLY,
                    "tiers": [{"tier_id": _TIER_ID, "name": "Standing", "tickets": 500, "inside": 412, "left": 88}],
                    "gates": [{"gate": "North", **_TALLY}],
                    "quarters": [{"starts_at": "2027-06-05T16:00:00Z", **_TALLY}],
                    "refusals": {"already_used": 7, "unknown": 2},
                }
            ]
        }
    )

    event_id: UUID
    tiers: list[TierAtDoor]
    gates: list[GateFigures]
    quarters: list[QuarterFigures]
    refusals: Annotated[Mapping[ScanResult, int], Field(description="How many scans were refused, by reason.")]

    @classmethod
    def of(cls, figures: Figures) -> "FiguresBody":
        """Describe an event's figures."""
        return cls(
            event_id=figures.event.id,
            **_counts(figures.total),
            tiers=[
                TierAtDoor(tier_id=it.tier.id, name=it.tier.name, tickets=it.tickets, inside=it.inside, left=it.left)
                for it in figures.tiers
            ],
            gates=[GateFigures(gate=gate, **_counts(tally)) for gate, tally in figures.gates.items()],
            quarters=[QuarterFigures(starts_at=at, **_counts(tally)) for at, tally in figures.quarters.items()],
            refusals=figures.refusals,
        )


def _counts(tally: Tally) -> dict[str, int]:
    return {"inside": tally.inside, "refused": tally.refused, "conflicts": tally.conflicts}
