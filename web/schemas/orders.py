"""Bodies of orders: what a buyer submits and what a poll answers."""

from datetime import datetime
from typing import Annotated, Any, Self
from uuid import UUID

from pydantic import ConfigDict, Field, ValidationInfo, field_validator, model_validator

from domain.rules.places import Outlook
from domain.rules.states import OrderReason, OrderSource, OrderStage, OrderStatus, PaymentStatus, TicketStatus
from web.schemas.base import CountryCode, EmailAddress, Line, PathArguments, PositiveCount, RequestBody, ResponseBody
from web.schemas.codes import SentCode
from web.schemas.fairness import HeadBody, ReceiptBody
from web.schemas.order_examples import ORDER, PURCHASE, TICKET_ID

TIERS_PER_ORDER = 20
TICKETS_PER_REFUND = 1000


class OrderPath(PathArguments):
    """An order's id."""

    order_id: UUID


class AttendeeBody(RequestBody):
    """Who will hold a ticket."""

    name: Line
    email: EmailAddress | None = None


class ItemRequest(RequestBody):
    """How many tickets of one tier."""

    tier_id: UUID
    quantity: PositiveCount
    attendees: Annotated[
        list[AttendeeBody],
        Field(
            default_factory=list,
            max_length=100,
            description="Names of the tickets' holders, at most one for each ticket.",
        ),
    ]

    @model_validator(mode="after")
    def _no_more_names_than_tickets(self) -> Self:
        if len(self.attendees) > self.quantity:
            raise ValueError("There are more attendees than tickets")
        return self


class BillingBody(RequestBody):
    """Whom the purchase is billed to."""

    name: Line | None = None
    email: EmailAddress | None = None
    line1: Line | None = None
    line2: Line | None = None
    postal_code: Line | None = None
    city: Line | None = None
    country: CountryCode | None = None


class OrderRequest(RequestBody):
    """A purchase: all of it or nothing."""

    model_config = ConfigDict(json_schema_extra={"examples": [PURCHASE, {**PURCHASE, "code": "harbour-10"}]})

    event_id: UUID
    items: Annotated[list[ItemRequest], Field(min_length=1, max_length=TIERS_PER_ORDER)]
    code: Annotated[SentCode | None, Field(description="A discount or access code of the event, in any case.")] = None
    billing: BillingBody | None = None

    @model_validator(mode="after")
    def _each_tier_once(self) -> Self:
        if len({item.tier_id for item in self.items}) < len(self.items):
            raise ValueError("Name each tier once, with its whole quantity")
        return self


class ConfirmRequest(RequestBody):
    """How the buyer pays."""

    payment_method: Annotated[
        str,
        Field(
            pattern=r"^(pm|card|src)_[A-Za-z0-9_]{1,100}$",
            description="Stripe's id of a payment method, made by the client with Stripe: card data never comes here.",
            examples=["pm_card_visa"],
        ),
    ]


class RefundRequest(RequestBody):
    """What to give back, and why: an amount, or tickets; all that is left where neither is named."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"reason": "The buyer is ill."}, {"reason": "One is ill.", "tickets": [TICKET_ID]}]
        }
    )

    reason: Line
    amount: Annotated[
        PositiveCount | None,
        Field(description="Minor units, with every ticket kept, unless it is all that is left. Not for buyers."),
    ] = None
    tickets: Annotated[
        list[UUID] | None,
        Field(
            min_length=1,
            max_length=TICKETS_PER_REFUND,
            description="Tickets to be taken back, each for its share of what was paid for it, fees and tax included.",
        ),
    ] = None

    @field_validator("tickets")
    @classmethod
    def _instead_of_an_amount_and_each_once(cls, tickets: list[UUID] | None, info: ValidationInfo) -> list[UUID] | None:
        if tickets is not None and info.data.get("amount") is not None:
            raise ValueError("Name tickets or an amount, not both")
        if tickets is not None and len(set(tickets)) < len(tickets):
            raise ValueError("Name each ticket once")
        return tickets


class QueueBody(ResponseBody):
    """Where the order stands in line."""

    position: Annotated[int, Field(description="1 is the head of the line.")]
    ahead: int
    eta_seconds: Annotated[int | None, Field(description="Whole seconds; null while it is not known.")]
    outlook: Annotated[Outlook, Field(description="Whether stock will be left: surely, only if others give up, no.")]
    paused: Annotated[bool, Field(description="The promoter has paused serving; the place is kept.")]


class HoldBody(ResponseBody):
    """The clock that runs while stock is kept."""

    expires_at: datetime


class PaymentErrorBody(ResponseBody):
    """Why the last try to pay was declined; another try is welcome while the hold lasts."""

    code: str | None
    message: str | None


class PaymentBody(ResponseBody):
    """How to pay: with Stripe's own client by the secret, or through `confirm`."""

    provider: str
    intent_id: str | None
    client_secret: Annotated[str | None, Field(description="For the buyer only.")]
    next_action: Annotated[
        dict[str, Any] | None, Field(description="What Stripe's client must do next, such as 3-D Secure.")
    ]
    last_error: PaymentErrorBody | None


class AmountsBody(ResponseBody):
    """Integer minor units of `currency`."""

    currency: str
    discount: Annotated[int, Field(description="What the code took off.")]
    subtotal: Annotated[int, Field(description="What is left of the tickets' prices after it.")]
    fees: int
    tax: int
    total: int
    refunded: Annotated[int, Field(description="What has gone back; a refund under way is not counted yet.")]


class ItemBody(ResponseBody):
    """What the order holds of one tier."""

    tier_id: UUID
    tier_name: str
    quantity: int
    unit_price: Annotated[int, Field(description="Before the discount.")]
    discount: int
    subtotal: int
    fees: int
    tax: int
    receipt: Annotated[ReceiptBody | None, Field(description="For the buyer only.")]
    head: HeadBody


class OrderTicketBody(ResponseBody):
    """A ticket of the order; its codes are at its own address."""

    id: UUID
    tier_id: UUID
    status: TicketStatus
    refund_pending: Annotated[
        bool, Field(description="A refund was asked for: it opens no door, unless that refund fails.")
    ]
    attendee_name: Annotated[str | None, Field(description="Null to a buyer who handed the ticket on.")]
    ready: Annotated[bool, Field(description="Whether its QR code can be fetched.")]
    link: Annotated[str | None, Field(description="Null to a buyer who handed the ticket on.")]


class TimelineBody(ResponseBody):
    """One thing that happened."""

    at: datetime
    kind: str
    data: dict[str, Any]


class OrderLinks(ResponseBody):
    """Where to go from here."""

    self: str
    event: str
    confirm: str | None
    cancel: str | None
    refund: Annotated[str | None, Field(description="Null where whoever asks may not refund anything of it now.")]


class OrderBody(ResponseBody):
    """An order as its buyer sees it."""

    model_config = ConfigDict(json_schema_extra={"examples": [ORDER]})

    id: UUID
    number: str
    event_id: UUID
    event_title: str
    status: OrderStatus
    stage: OrderStage
    reason: OrderReason | None
    payment_status: PaymentStatus
    source: OrderSource
    sequence: Annotated[int, Field(description="The number in the line that all buyers share.")]
    code: Annotated[str | None, Field(description="The code that was sent with it.")]
    queue: QueueBody | None
    hold: HoldBody | None
    payment: PaymentBody | None
    amounts: AmountsBody
    items: list[ItemBody]
    tickets: list[OrderTicketBody]
    timeline: list[TimelineBody]
    created_at: datetime
    server_time: datetime
    links: OrderLinks
