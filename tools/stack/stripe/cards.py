"""The documented test cards and bank accounts, by the names of their payment methods (docs.stripe.com/testing).

Each says how it behaves; what then happens to an intent or a refund stands in `payments.py` and `refunds.py`.
"""

from dataclasses import dataclass, replace
from typing import Literal


@dataclass(frozen=True)
class Decline:
    """Why an issuer, or Stripe itself, says no."""

    code: str
    decline_code: str
    message: str
    advice: str = "try_again_later"
    blocked: bool = False


@dataclass(frozen=True)
class Card:
    """A test card and what it is made to do."""

    number: str
    brand: str = "visa"
    funding: str = "credit"
    country: str = "US"
    decline: Decline | None = None
    authentication: bool = False
    refund: Literal["succeeds", "pending", "fails"] = "succeeds"
    dispute: str | None = None
    """Why the owner disputes each charge, in Stripe's word."""
    inquiry: bool = False
    """Whether the owner's bank only inquires."""

    @property
    def last4(self) -> str:
        """The digits that may be shown."""
        return self.number[-4:]


def _declined(decline_code: str, message: str = "Your card was declined.", code: str = "card_declined") -> Decline:
    return Decline(code, decline_code, message)


_DECLINES = {
    "": ("4000000000000002", _declined("generic_decline")),
    "InsufficientFunds": (
        "4000000000009995",
        _declined("insufficient_funds", "Your card has insufficient funds."),
    ),
    "LostCard": ("4000000000009987", replace(_declined("lost_card"), advice="do_not_try_again")),
    "StolenCard": ("4000000000009979", replace(_declined("stolen_card"), advice="do_not_try_again")),
    "Fraudulent": ("4100000000000019", replace(_declined("fraudulent"), blocked=True)),
    "ExpiredCard": (
        "4000000000000069",
        _declined("expired_card", "Your card has expired.", "expired_card"),
    ),
    "IncorrectCvc": (
        "4000000000000127",
        _declined("incorrect_cvc", "Your card's security code is incorrect.", "incorrect_cvc"),
    ),
    "ProcessingError": (
        "4000000000000119",
        _declined(
            "processing_error",
            "An error occurred while processing your card. Try again in a little bit.",
            "processing_error",
        ),
    ),
    "VelocityLimitExceeded": (
        "4000000000006975",
        _declined(
            "card_velocity_exceeded",
            "Your card was declined for making repeated attempts too frequently or exceeding its amount limit.",
        ),
    ),
}
_GENERIC, _INSUFFICIENT, _PROCESSING = (_DECLINES[name][1] for name in ("", "InsufficientFunds", "ProcessingError"))

CARDS: dict[str, Card] = {
    "visa": Card("4242424242424242"),
    "visa_debit": Card("4000056655665556", funding="debit"),
    "mastercard": Card("5555555555554444", "mastercard"),
    "mastercard_debit": Card("5200828282828210", "mastercard", "debit"),
    "mastercard_prepaid": Card("5105105105105100", "mastercard", "prepaid"),
    "amex": Card("378282246310005", "amex"),
    "discover": Card("6011111111111117", "discover"),
    "diners": Card("3056930009020004", "diners"),
    "jcb": Card("3566002020360505", "jcb"),
    "unionpay": Card("6200000000000005", "unionpay"),
    "us": Card("4242424242424242"),
    "de": Card("4000002760000016", country="DE"),
    "dk": Card("4000002080000001", country="DK"),
    "fr": Card("4000002500000003", country="FR"),
    "gb": Card("4000008260000000", country="GB"),
    "jp": Card("4000003920000003", country="JP"),
    "bypassPending": Card("4000000000000077"),
    "pendingRefund": Card("4000000000007726", refund="pending"),
    "refundFail": Card("4000000000005126", refund="fails"),
    "createDispute": Card("4000000000000259", dispute="fraudulent"),
    "createDisputeProductNotReceived": Card("4000000000002685", dispute="product_not_received"),
    "createDisputeInquiry": Card("4000000000001976", dispute="fraudulent", inquiry=True),
    "radarBlock": Card("4100000000000019", decline=_DECLINES["Fraudulent"][1]),
    "authenticationRequired": Card("4000002760003184", country="DE", authentication=True),
    "authenticationRequiredOnSetup": Card("4000002500003155", country="FR", authentication=True),
    "authenticationRequiredChargeDeclinedInsufficientFunds": Card(
        "4000008260003178", country="GB", authentication=True, decline=_INSUFFICIENT
    ),
    "threeDSecure2Required": Card("4000000000003220", authentication=True),
    "threeDSecureRequired": Card("4000000000003063", authentication=True),
    "threeDSecureRequiredChargeDeclined": Card("4000008400001629", authentication=True, decline=_GENERIC),
    "threeDSecureRequiredProcessingError": Card("4000008400001280", authentication=True, decline=_PROCESSING),
    "threeDSecureOptional": Card("4000000000003055"),
}
for _name, (_number, _decline) in _DECLINES.items():
    CARDS[f"chargeDeclined{_name}"] = CARDS[f"visa_chargeDeclined{_name}"] = Card(_number, decline=_decline)


@dataclass(frozen=True)
class Bank:
    """A test bank account in US dollars: its money is under way (`processing`) until it is settled."""

    last4: str
    decline: Decline | None = None


BANKS = {
    "pm_usBankAccount_success": Bank("6789"),
    "pm_usBankAccount_processing": Bank("0000"),
    "pm_usBankAccount_insufficientFunds": Bank(
        "2222",
        Decline(
            "payment_method_customer_decline",
            "insufficient_funds",
            "The customer's account has insufficient funds to cover this payment.",
        ),
    ),
}

PREFIX = "pm_card_"
TOKEN_PREFIX = "tok_"  # noqa: S105 a word of Stripe's, no secret
_NAMES_BY_NUMBER = {card.number: name for name, card in reversed(CARDS.items())}


def name_of_method(identifier: str) -> str | None:
    """Return the card's name in a test payment method's id, or None."""
    name = identifier.removeprefix(PREFIX)
    return name if identifier.startswith(PREFIX) and name in CARDS else None


def name_of_token(token: str) -> str | None:
    """Return the card's name in a test token, or None."""
    name = token.removeprefix(TOKEN_PREFIX)
    return name if token.startswith(TOKEN_PREFIX) and name in CARDS else None


def name_of_number(number: str) -> str | None:
    """Return the name of the documented test card with this number, or None."""
    return _NAMES_BY_NUMBER.get(number.replace(" ", ""))
