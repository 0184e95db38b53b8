"""Bodies of announcements."""

from datetime import datetime
from typing import Annotated, Any, Self
from uuid import UUID

from pydantic import ConfigDict, Field, StringConstraints

from domain.announcements import Draft, Progress
from domain.models import Mailing
from domain.models.mailings import LIVE_TICKETS
from domain.rules.states import MailingStatus, MailStatus, TicketStatus
from web.addresses import API
from web.schemas.base import Line, PathArguments, RequestBody, ResponseBody, Text

MOST_TIERS = 100
_EVENT_ID = "0199c2f0-7d6a-7c3e-9b1f-2a4c6e8f0b1d"
_ID = "0199c2f0-9e21-7c3e-9b1f-2a4c6e8f0b1d"
_AUDIENCE: dict[str, Any] = {"tier_ids": [], "ticket_statuses": ["valid", "used"]}
_WORDS = {
    "subject": "Before you come on Saturday",
    "body": "Bring something warm: it gets cool by the water after ten.\n\nThe ferries: https://example.com/ferries",
}
_ANNOUNCEMENT: dict[str, Any] = {
    "id": _ID,
    "event_id": _EVENT_ID,
    **_WORDS,
    "audience": _AUDIENCE,
    "status": "sending",
    "written": 1_200,
    "created_at": "2027-06-02T09:30:00Z",
    "sent_at": "2027-06-02T09:41:00Z",
    "finished_at": None,
}


class AnnouncementPath(PathArguments):
    """An event's id, and an announcement's."""

    event_id: UUID
    announcement_id: UUID


class Audience(ResponseBody):
    """Whose tickets it is for: one mail per holder, however many tickets they have."""

    model_config = ConfigDict(json_schema_extra={"examples": [_AUDIENCE]})

    tier_ids: list[UUID]
    ticket_statuses: list[TicketStatus]


class AudienceRequest(RequestBody):
    """Whose tickets it is for; what is left out takes its default."""

    model_config = ConfigDict(json_schema_extra={"examples": [_AUDIENCE]})

    tier_ids: Annotated[tuple[UUID, ...], Field(max_length=MOST_TIERS, description="Empty: all tiers.")] = ()
    ticket_statuses: Annotated[
        tuple[TicketStatus, ...],
        Field(min_length=1, max_length=len(TicketStatus), description="Such as `valid`: those who have not come in."),
    ] = LIVE_TICKETS


class AnnouncementRequest(RequestBody):
    """What you want to say."""

    model_config = ConfigDict(json_schema_extra={"examples": [{**_WORDS, "audience": _AUDIENCE}]})

    subject: Line
    body: Annotated[
        Text,
        StringConstraints(min_length=1),
        Field(description="Plain text. A blank line begins a paragraph, web addresses become links."),
    ]
    audience: AudienceRequest = AudienceRequest()

    def draft(self) -> Draft:
        """Return what the domain keeps."""
        return Draft(self.subject, self.body, self.audience.tier_ids, self.audience.ticket_statuses)


class AnnouncementBody(ResponseBody):
    """An announcement."""

    model_config = ConfigDict(json_schema_extra={"examples": [_ANNOUNCEMENT]})

    id: UUID
    event_id: UUID
    subject: str
    body: str
    audience: Audience
    status: Annotated[
        MailingStatus,
        Field(description="`draft`; `waiting` and `sending` while it goes out; `sent` once every mail is written."),
    ]
    written: Annotated[int, Field(description="How many mails were written so far.")]
    created_at: datetime
    sent_at: Annotated[datetime | None, Field(description="When it was sent off.")]
    finished_at: Annotated[datetime | None, Field(description="When the last mail was written, or it was cancelled.")]

    @classmethod
    def of(cls, mailing: Mailing) -> Self:
        """Return what is told about an announcement."""
        own = ("id", "event_id", "subject", "body", "status", "written", "created_at", "finished_at")
        return cls.model_validate(
            {
                **{name: getattr(mailing, name) for name in own},
                "audience": {"tier_ids": mailing.tier_ids, "ticket_statuses": mailing.ticket_statuses},
                "sent_at": mailing.due_at,
            }
        )


class AnnouncementProgressBody(AnnouncementBody):
    """An announcement, and how far it has come."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{**_ANNOUNCEMENT, "people": 5_000, "mails": {"pending": 40, "delivered": 1_155, "bounced": 5}}]
        }
    )

    people: Annotated[
        int,
        Field(description="Whom it is for. Those who unsubscribed and closed accounts are among them and get no mail."),
    ]
    mails: Annotated[dict[MailStatus, int], Field(description="How its mails stand.")]

    @classmethod
    def measured(cls, mailing: Mailing, progress: Progress) -> Self:
        """Return what is told about an announcement that was measured."""
        told = AnnouncementBody.of(mailing).model_dump()
        return cls.model_validate({**told, "people": progress.people, "mails": progress.mails})


class AnnouncementPreviewBody(ResponseBody):
    """The mail as a reader gets it."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"subject": _WORDS["subject"], "html": "<!doctype html>…", "text": _WORDS["body"]}]
        }
    )

    subject: str
    html: str
    text: str


def path_of(mailing: Mailing) -> str:
    """Return where an announcement is read."""
    return f"{API}/events/{mailing.event_id}/announcements/{mailing.id}"
