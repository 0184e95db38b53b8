"""Gates for tests of the door: an event that is open, its tickets, and somebody who scans them."""

import secrets
from datetime import UTC, datetime, timedelta

from sqlalchemy import insert, select
from uuid_utils.compat import uuid7

from domain import check_ins
from domain.audit import Actor
from domain.check_ins import Scan
from domain.models import Ticket
from domain.ports import TicketClaims
from domain.rules.states import OrderStage, TeamRight
from tests.factories import EventFactory, OrderFactory, TeamMemberFactory, TicketTierFactory
from tests.fakes.signer import FakeSigner

SIGNER = FakeSigner()


def open_event(**values):
    """Make an event whose doors are open, and have been for an hour."""
    now = datetime.now(UTC)
    return EventFactory(**{"starts_at": now - timedelta(hours=1), "doors_at": now - timedelta(hours=2), **values})


def tickets_of(session, event, count=1, **tier):
    """Sell so many tickets of a tier of the event, in one order."""
    tier = TicketTierFactory(event=event, quantity=max(100, count), max_per_order=max(10, count), **tier)
    order = OrderFactory(tier=tier, quantity=count, stage=OrderStage.COMPLETE, with_tickets=False)
    rows = [
        {
            "order_id": order.id,
            "order_item_id": order.items[0].id,
            "position": position,
            "tier_id": tier.id,
            "event_id": event.id,
            "holder_id": order.user_id,
            "code": secrets.token_urlsafe(16),
            "attendee_name": "Ada Lovelace",
            "attendee_email": "ada@example.com",
        }
        for position in range(1, count + 1)
    ]
    session.execute(insert(Ticket), rows)
    return session.scalars(select(Ticket).where(Ticket.order_id == order.id).order_by(Ticket.id)).all()


def member(event, *rights):
    user = TeamMemberFactory(promoter_id=event.promoter_id, rights=list(rights)).user
    return Actor(user_id=user.id, role=user.role)


def payload(ticket, **values):
    claims = {"event_id": ticket.event_id, "code": ticket.code, "version": ticket.code_version, **values}
    return SIGNER.sign(TicketClaims(**claims))


def scan(ticket, nonce=None, offline_at=None, **values):
    """Return the scan of a ticket's QR code."""
    return Scan(nonce or str(uuid7()), payload(ticket, **values), is_signed=True, offline_at=offline_at)


class Gate:
    """One gate of an event, at which a member of the team stands."""

    def __init__(self, event, name="North", scanner=None):
        self.event, self.name = event, name
        self.scanner = scanner or member(event, TeamRight.SCAN)
        self.now = datetime.now(UTC)

    def upload(self, session, *scans):
        return check_ins.check_in(session, SIGNER, self.scanner, self.event.id, self.name, scans, self.now)

    def show(self, session, *scans):
        """Return the results alone."""
        return [outcome.scan.result for outcome in self.upload(session, *scans)]
