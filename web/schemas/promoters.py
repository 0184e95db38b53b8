"""Bodies of promoters' profiles."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from pydantic import ConfigDict, Field

from domain.rules.states import StripeAccountState, VerificationStatus
from web.paging import PageArguments
from web.schemas.base import (
    INT32_MAX,
    BasisPoints,
    CountryCode,
    Line,
    PathArguments,
    RequestBody,
    ResponseBody,
    Text,
    WebAddress,
)

_PROFILE: dict[str, Any] = {
    "company_name": "Northern Lights Concerts",
    "description": "Small halls, big sounds.",
    "website": "https://northern-lights.example",
    "tax_id": "DE123456789",
    "address_line1": "Torstraße 1",
    "city": "Berlin",
    "postal_code": "10119",
    "country": "DE",
}
_BODY: dict[str, Any] = {
    "id": "0199c2f0-7d6a-7c3e-9b1f-2a4c6e8f0b1d",
    "user_id": "0199c2f0-11aa-7c3e-9b1f-0d4c6e8f0b1a",
    **_PROFILE,
    "address_line2": None,
    "region": None,
    "display_name": "Northern Lights Concerts",
    "verification_status": "pending",
    "verified_at": None,
    "stripe_account_id": None,
    "stripe_account_state": "none",
    "stripe_disabled_reason": None,
    "fee_rate_bps": None,
    "fee_fixed": None,
    "returns_fees": None,
    "created_at": "2026-03-01T09:30:00Z",
}


class PromoterPath(PathArguments):
    """Which promoter."""

    promoter_id: UUID


class CreatePromoterRequest(RequestBody):
    """A company, and where it is."""

    model_config = ConfigDict(json_schema_extra={"examples": [_PROFILE]})

    company_name: Line
    description: Text | None = None
    website: WebAddress | None = None
    tax_id: Line | None = None
    address_line1: Line | None = None
    address_line2: Line | None = None
    city: Line | None = None
    region: Line | None = None
    postal_code: Line | None = None
    country: CountryCode | None = None


class EditPromoterRequest(CreatePromoterRequest):
    """What to change; what is left out stays."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"website": "https://northern-lights.example/tickets"}]})

    company_name: Line = Field(default_factory=str)


class RejectPromoterRequest(RequestBody):
    """Why; it is kept in the audit log."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"reason": "The tax number belongs to another company."}]}
    )

    reason: Line


class PromoterTermsRequest(RequestBody):
    """What the platform takes from this promoter's sales; null means the platform's default."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"fee_rate_bps": 150, "fee_fixed": 30}]})

    fee_rate_bps: Annotated[BasisPoints | None, Field(description="Basis points of each line.")]
    fee_fixed: Annotated[int | None, Field(ge=0, le=INT32_MAX, description="Minor units per paid ticket.")]
    returns_fees: Annotated[
        bool | None,
        Field(
            description="Whether the platform's fee goes back with a refund, in proportion; where it is kept, the "
            "promoter bears it. It always goes back for cancelled events and late payments."
        ),
    ] = None


class PromoterArguments(PageArguments):
    """Which promoters to list."""

    verification_status: VerificationStatus | None = None


class PromoterBody(ResponseBody):
    """A promoter, as they and the admins see it."""

    model_config = ConfigDict(json_schema_extra={"examples": [_BODY]})

    id: UUID
    user_id: UUID
    company_name: str
    display_name: str
    description: str | None
    website: str | None
    tax_id: str | None
    address_line1: str | None
    address_line2: str | None
    city: str | None
    region: str | None
    postal_code: str | None
    country: str | None
    verification_status: VerificationStatus
    verified_at: datetime | None
    stripe_account_id: str | None
    stripe_account_state: StripeAccountState
    stripe_disabled_reason: Annotated[
        str | None, Field(description="Why the account is restricted, in Stripe's words.")
    ]
    fee_rate_bps: int | None
    fee_fixed: int | None
    returns_fees: bool | None
    created_at: datetime


class OnboardingLinkBody(ResponseBody):
    """Where the owner of an account tells Stripe what it needs to know."""

    url: Annotated[str, Field(description="For one visit, in a browser; whoever has it sees what Stripe knows of you.")]
    expires_at: datetime


class PayoutAccountBody(ResponseBody):
    """The account that one's money goes to, and the way to complete it."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "account_id": "acct_1Q2w3E4r5T6y7U8i",
                    "state": "pending",
                    "onboarding": {
                        "url": "https://connect.stripe.com/setup/e/acct_1Q2w3E4r5T6y7U8i/kQ9Jd2",
                        "expires_at": "2026-03-01T09:35:00Z",
                    },
                }
            ]
        }
    )

    account_id: str
    state: StripeAccountState
    onboarding: OnboardingLinkBody
