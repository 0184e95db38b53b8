"""Arguments and rows of an event's list of orders."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from pydantic import ConfigDict, Field

from domain.event_orders import OrderFilter
from domain.rules.states import OrderReason, OrderSource, OrderStage, OrderStatus, PaymentStatus
from web.paging import PageArguments
from web.schemas.base import DeskWords, Moment, QueryArguments, ResponseBody
from web.schemas.order_examples import ORDER_ID, TIER_ID

_ROW: dict[str, Any] = {
    "id": ORDER_ID,
    "number": "TV-00004711",
    "sequence": 4711,
    "status": "confirmed",
    "stage": "complete",
    "reason": None,
    "payment_status": "completed",
    "source": "direct",
    "buyer_name": "Ada Lovelace",
    "buyer_email": "ada@example.com",
    "tickets": 3,
    "tiers": "2 x Front, 1 x Standing",
    "currency": "EUR",
    "subtotal": 13_500,
    "fees": 488,
    "absorbed_fees": 0,
    "tax": 2_657,
    "total": 16_645,
    "refunded": 0,
    "created_at": "2027-06-01T10:00:00Z",
    "confirmed_at": "2027-06-01T10:02:31Z",
    "cancelled_at": None,
    "refunded_at": None,
}


class OrderFilterArguments(QueryArguments):
    """Which orders; what is left out does not narrow it."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"status": "confirmed", "q": "lovelace"}]})

    status: OrderStatus | None = None
    stage: OrderStage | None = None
    reason: OrderReason | None = None
    payment_status: PaymentStatus | None = None
    source: OrderSource | None = None
    tier_id: Annotated[UUID | None, Field(description="Those with tickets of this tier.", examples=[TIER_ID])] = None
    created_from: Annotated[Moment | None, Field(description="Those accepted then or later.")] = None
    created_before: Annotated[Moment | None, Field(description="Those accepted earlier.")] = None
    needs_approval: Annotated[bool, Field(description="Only those that await your approval.")] = False
    q: Annotated[
        DeskWords | None,
        Field(description="An order's number, or a part of the buyer's name or address.", examples=["lovelace"]),
    ] = None

    def wanted(self) -> OrderFilter:
        """Return them as the domain knows them."""
        return OrderFilter(**self.model_dump(include=set(OrderFilterArguments.model_fields) - {"q"}), words=self.q)


class EventOrderArguments(OrderFilterArguments, PageArguments):
    """Which orders, and which page of them."""


class EventOrderBody(ResponseBody):
    """An order as the promoter's team sees it. Amounts are integer minor units of `currency`."""

    model_config = ConfigDict(json_schema_extra={"examples": [_ROW]})

    id: UUID
    number: str
    sequence: int
    status: OrderStatus
    stage: OrderStage
    reason: OrderReason | None
    payment_status: PaymentStatus
    source: OrderSource
    buyer_name: Annotated[str, Field(description="Whom it was billed to, or the name of the account.")]
    buyer_email: str
    tickets: Annotated[int, Field(description="How many were ordered.")]
    tiers: Annotated[str | None, Field(description="How many of which tier, in words.")]
    currency: str
    subtotal: int
    fees: Annotated[int, Field(description="The platform's fees that the buyer pays.")]
    absorbed_fees: Annotated[int, Field(description="The platform's fees that the promoter pays.")]
    tax: int
    total: int
    refunded: int
    created_at: datetime
    confirmed_at: datetime | None
    cancelled_at: datetime | None
    refunded_at: datetime | None
