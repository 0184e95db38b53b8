"""On what terms an event sells: what the platform allows and takes, and what of it was frozen in the event."""

from collections.abc import Collection
from dataclasses import dataclass

from domain.models import Event, Promoter
from domain.rules.money import charge_step, minimum_charge
from domain.rules.pricing import Terms
from domain.rules.states import StripeAccountState


@dataclass(frozen=True, slots=True)
class Platform:
    """What the platform allows and takes where a promoter's own terms say nothing."""

    currencies: Collection[str]
    fee_rate_bps: int
    fee_fixed: int
    returns_fees: bool
    requires_accounts: bool = False
    """Whether only promoters with an account that can be paid sell paid tickets."""


def can_be_paid(promoter: Promoter, platform: Platform) -> bool:
    """Tell whether the promoter may sell paid tickets: their account is ready, or none is asked for."""
    return not platform.requires_accounts or promoter.stripe_account_state is StripeAccountState.READY


def terms_of(event: Event) -> Terms:
    """Return the terms on which an event's tickets are priced."""
    return Terms(
        event.fee_rate_bps,
        event.fee_fixed,
        event.absorbs_fees,
        event.tax_rate_bps,
        step=charge_step(event.currency),
        minimum=minimum_charge(event.currency),
    )
