"""Tickets with a picture that is none, offers of them to others, and scans at the door."""

import secrets
from hashlib import sha256

import factory
from uuid_utils.compat import uuid7

from domain.models import CheckInScan, DoorCount, Ticket, TicketTransfer
from domain.rules.door import quarter_of
from domain.rules.states import OrderStage, ScanResult, TicketStatus, TransferStatus
from tests.factories.accounts import UserFactory
from tests.factories.base import RowFactory, from_now
from tests.factories.catalog import EventFactory


class TicketFactory(RowFactory):
    """By default the only ticket of a new, complete order; `rendered=False` leaves its picture out."""

    class Meta:
        model = Ticket

    class Params:
        rendered = factory.LazyAttribute(lambda ticket: ticket.order.stage != OrderStage.ISSUING)

    order = factory.SubFactory("tests.factories.orders.OrderFactory", stage=OrderStage.COMPLETE, with_tickets=False)
    item = factory.LazyAttribute(lambda ticket: ticket.order.items[0])
    position = 1
    tier = factory.SelfAttribute("item.tier")
    event = factory.SelfAttribute("order.event")
    holder = factory.SelfAttribute("order.user")
    code = factory.LazyFunction(lambda: secrets.token_urlsafe(16))
    qr_payload = factory.LazyAttribute(lambda ticket: f"signed:{ticket.code}" if ticket.rendered else None)
    qr_image = factory.LazyAttribute(lambda ticket: "iVBORw0KGgo=" if ticket.rendered else None)
    status = TicketStatus.VALID
    attendee_name = factory.SelfAttribute("holder.full_name")
    attendee_email = factory.SelfAttribute("holder.email")
    checked_in_at = factory.LazyAttribute(lambda ticket: from_now() if ticket.status == TicketStatus.USED else None)


class TicketTransferFactory(RowFactory):
    """By default the offer of a new ticket that stands; `ticket=` offers another one, by its holder."""

    class Meta:
        model = TicketTransfer

    ticket = factory.SubFactory(TicketFactory)
    sender = factory.SelfAttribute("ticket.holder")
    recipient_email = factory.Sequence(lambda n: f"friend-{n}@example.com")
    status = TransferStatus.PENDING
    expires_at = factory.LazyFunction(lambda: from_now(days=7))
    ended_at = factory.LazyAttribute(lambda transfer: None if transfer.status == TransferStatus.PENDING else from_now())


class CheckInScanFactory(RowFactory):
    class Meta:
        model = CheckInScan

    class Params:
        ticket = factory.SubFactory(TicketFactory)

    event_id = factory.SelfAttribute("ticket.event_id")
    ticket_id = factory.SelfAttribute("ticket.id")
    scanned_by_id = factory.LazyFunction(lambda: UserFactory().id)
    nonce = factory.LazyFunction(lambda: str(uuid7()))
    fingerprint = factory.LazyAttribute(lambda scan: sha256(scan.nonce.encode()).digest())
    result = ScanResult.ACCEPTED
    is_admitted = factory.LazyAttribute(lambda scan: scan.result == ScanResult.ACCEPTED)
    scanned_at = factory.LazyFunction(from_now)


class DoorCountFactory(RowFactory):
    class Meta:
        model = DoorCount

    event_id = factory.LazyFunction(lambda: EventFactory().id)
    quarter = factory.LazyFunction(lambda: quarter_of(from_now()))
    result = ScanResult.ACCEPTED
    is_offline = False
    scans = 1
    inside = factory.LazyAttribute(lambda count: int(count.result == ScanResult.ACCEPTED))
