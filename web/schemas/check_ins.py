"""Bodies of check-ins: what a gate sends, and what it is told of each scan."""

from datetime import datetime
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from pydantic import ConfigDict, Field, StringConstraints, model_validator

from domain.check_ins import Outcome, Scan
from domain.models import CheckInScan, Ticket
from domain.rules.states import ScanResult
from web.schemas.base import Line, Moment, PathArguments, RequestBody, ResponseBody

SCANS_MAX = 500
QR_LENGTH = 4300
"""More than a QR code can hold: whatever people show to a gate is an answer's business, not the schema's."""

_TICKET: dict[str, Any] = {
    "id": "0199c2f0-7d6a-7c3e-9b1f-2a4c6e8f0b1d",
    "attendee_name": "Ada Lovelace",
    "tier_id": "0199c2f0-11aa-7e02-8a57-0c9d4b6e7f80",
    "tier_name": "Standing",
    "checked_in_at": "2027-06-05T16:04:11Z",
}
_EARLIER: dict[str, Any] = {
    "id": "0199c2f1-2b6e-7d15-9e62-4f8a1c3b5d70",
    "scanned_at": "2027-06-05T16:04:11Z",
    "gate": "North",
    "offline": False,
}
_SCAN: dict[str, Any] = {
    "id": "0199c2f1-5a3c-7b21-8c4d-6e7f80910a2b",
    "result": "already_used",
    "admitted": False,
    "offline": False,
    "conflict": False,
    "gate": "South",
    "scanned_at": "2027-06-05T16:09:40Z",
    "recorded_at": "2027-06-05T16:09:40Z",
    "scanned_by_id": "0199c2e0-3f1d-7a44-b0c5-92d3e4f50617",
    "undone_at": None,
    "ticket": _TICKET,
    "earlier": _EARLIER,
}
_OUTCOME: dict[str, Any] = {"nonce": "5f0c2d1e-0007", "result": "already_used", "repeated": False, "scan": _SCAN}


class CheckInPath(PathArguments):
    """Names a scan."""

    scan_id: UUID


class ScanRequest(RequestBody):
    """One scan: what the QR code says (`payload`), or the bare code where it was typed in (`code`)."""

    nonce: Annotated[
        str,
        StringConstraints(pattern=r"^[!-~]{1,64}$"),
        Field(description="Names this scan for good: sent again, it is answered again and counts once. Use a UUID."),
    ]
    payload: Annotated[str | None, Field(max_length=QR_LENGTH)] = None
    code: Annotated[str | None, Field(max_length=QR_LENGTH)] = None
    offline: Annotated[bool, Field(description="Somebody was let in before we were told.")] = False
    scanned_at: Annotated[
        Moment | None,
        Field(description="By the gate's clock; needed of an offline scan. Of any other one our clock counts."),
    ] = None

    @model_validator(mode="after")
    def _is_one_thing(self) -> Self:
        if (self.payload is None) == (self.code is None):
            raise ValueError("Send either `payload` or `code`")
        if self.offline and self.scanned_at is None:
            raise ValueError("An offline scan needs `scanned_at`")
        return self

    def to_scan(self) -> Scan:
        """Return it as the business knows it."""
        is_signed = self.payload is not None
        text = self.payload if self.payload is not None else self.code
        return Scan(self.nonce, text or "", is_signed, self.scanned_at if self.offline else None)


class CheckInRequest(RequestBody):
    """What a gate has scanned: one ticket, or all that it scanned while it was offline."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "event_id": "0199c2f0-0a1b-7c3e-9b1f-2a4c6e8f0b1d",
                    "gate": "North",
                    "scans": [
                        {"nonce": "5f0c2d1e-0007", "payload": "TV1.t1.AZnC8…"},
                        {
                            "nonce": "5f0c2d1e-0008",
                            "code": "fWb1oQ6CwzXn2mKd8RtYpA",
                            "offline": True,
                            "scanned_at": "2027-06-05T16:03:58Z",
                        },
                    ],
                }
            ]
        }
    )

    event_id: UUID
    gate: Annotated[Line, StringConstraints(max_length=50)] | None = None
    scans: Annotated[list[ScanRequest], Field(min_length=1, max_length=SCANS_MAX)]


class TicketAtDoor(ResponseBody):
    """Whose ticket it is."""

    id: UUID
    attendee_name: str
    tier_id: UUID
    tier_name: str
    checked_in_at: Annotated[datetime | None, Field(description="Since when it is used, as things stand now.")]

    @classmethod
    def of(cls, ticket: Ticket) -> "TicketAtDoor":
        """Describe a ticket that was loaded with its tier."""
        return cls(
            id=ticket.id,
            attendee_name=ticket.attendee_name,
            tier_id=ticket.tier_id,
            tier_name=ticket.tier.name,
            checked_in_at=ticket.checked_in_at,
        )


class EarlierScan(ResponseBody):
    """The scan by which the ticket was used already: when, and at which gate."""

    id: UUID
    scanned_at: datetime
    gate: str | None
    offline: Annotated[bool, Field(validation_alias="is_offline")]


class ScanBody(ResponseBody):
    """One scan as it was recorded."""

    model_config = ConfigDict(json_schema_extra={"examples": [_SCAN]})

    id: UUID
    result: ScanResult
    admitted: Annotated[bool, Field(description="Whether the ticket is used since this scan.")]
    offline: bool
    conflict: Annotated[bool, Field(description="An offline gate let somebody in who should have been refused.")]
    gate: str | None
    scanned_at: datetime
    recorded_at: datetime
    scanned_by_id: UUID
    undone_at: Annotated[datetime | None, Field(description="When the check-in was taken back.")]
    ticket: Annotated[TicketAtDoor | None, Field(description="Null where the event has no such ticket.")]
    earlier: Annotated[EarlierScan | None, Field(description="For `already_used`: when and where it was used.")]

    @classmethod
    def of(cls, scan: CheckInScan) -> "ScanBody":
        """Describe a scan that was loaded with its ticket and the scan before it."""
        return cls(
            id=scan.id,
            result=scan.result,
            admitted=scan.is_admitted,
            offline=scan.is_offline,
            conflict=scan.is_conflict,
            gate=scan.gate,
            scanned_at=scan.scanned_at,
            recorded_at=scan.recorded_at,
            scanned_by_id=scan.scanned_by_id,
            undone_at=scan.undone_at,
            ticket=TicketAtDoor.of(scan.ticket) if scan.ticket else None,
            earlier=EarlierScan.model_validate(scan.earlier) if scan.earlier else None,
        )


class OutcomeBody(ResponseBody):
    """What the gate is told: `accepted` lets in, everything else does not."""

    model_config = ConfigDict(json_schema_extra={"examples": [_OUTCOME]})

    nonce: str
    result: Annotated[
        ScanResult | Literal["nonce_reused"],
        Field(
            description="`nonce_reused`: the nonce stands for another scan, and nothing was recorded. Send a new one."
        ),
    ]
    repeated: Annotated[bool, Field(description="Whether it was recorded before, and is answered again.")]
    scan: Annotated[ScanBody | None, Field(description="Null for `nonce_reused`.")]

    @classmethod
    def of(cls, outcome: Outcome) -> "OutcomeBody":
        """Describe what became of a scan."""
        scan = outcome.scan
        return cls(
            nonce=outcome.nonce,
            result=scan.result if scan else "nonce_reused",
            repeated=outcome.is_repeated,
            scan=ScanBody.of(scan) if scan else None,
        )


class CheckInBody(ResponseBody):
    """One result per scan, in the order in which they were sent."""

    results: list[OutcomeBody]
