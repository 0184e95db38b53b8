"""Payments in memory: the same contract as `adapters.stripe_gateway`, with trouble on demand and no HTTP."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from domain.errors import PermanentVendorError, RetryableVendorError
from domain.ports import UNEXPECTED_STATE, ChargeReading, Dispute, Intent, Refund
from tests.fakes.connected_accounts import FakeConnectedAccounts
from tools.stack.stripe.cards import BANKS, CARDS, name_of_method

ENDED = {"succeeded", "canceled"}
INQUIRIES = {"warning_needs_response", "warning_under_review"}
CHARGED_BACK = {"needs_response", "under_review", "lost"}
ANNOUNCED = {
    "succeeded": "payment_intent.succeeded",
    "canceled": "payment_intent.canceled",
    "processing": "payment_intent.processing",
    "requires_action": "payment_intent.requires_action",
    "requires_payment_method": "payment_intent.payment_failed",
}


class FakePaymentGateway(FakeConnectedAccounts):
    """Keeps `intents`, `refunds` and `disputes` by id; without `balance_suffices` refunds are refused."""

    def __init__(self, webhook_secret="whsec_fake"):
        super().__init__(webhook_secret)
        self.intents = {}
        self.refunds = {}
        self.disputes = {}
        self.balance_suffices = True
        self._requests = {}
        self._refunded_fees = {}
        self._references = {}
        self._waiting = {}

    def authenticate(self, intent_id, *, succeed=True):
        """Let the card's owner consent to a payment that waits for it, or refuse."""
        intent = replace(self.intents[intent_id], next_action=None)
        card = self._waiting.pop(intent_id)
        if succeed:
            return self._charge(intent, card)
        return self._keep(
            replace(
                intent,
                status="requires_payment_method",
                error_code="payment_intent_authentication_failure",
                error_message="The provided PaymentMethod has failed authentication.",
            )
        )

    def settle(self, intent_id, *, succeed=True):
        """Let the bank decide about a payment that is processing."""
        bank = self._waiting.pop(intent_id)
        intent = self.intents[intent_id]
        if succeed:
            return self._charge(intent, bank)
        return self._keep(
            replace(
                intent,
                status="requires_payment_method",
                error_code="generic_decline",
                error_message="The customer's bank returned the payment.",
            )
        )

    def pay_again(self, intent_id):
        """Let a paid intent have a twin that is paid, too."""
        twin = replace(self.intents[intent_id], id="pi_stray", charge_id="ch_stray")
        self._requests[twin.id] = self._requests[intent_id]
        self.intents[twin.id] = twin
        return twin

    def open_dispute(self, intent_id, reason="fraudulent", *, inquiry=False):
        """Let the owner of the card dispute what is left of a payment; an inquiry of the bank's takes nothing."""
        intent = self.intents[intent_id]
        amount = intent.amount - self._refunded(intent_id)
        dispute = Dispute(
            id=f"du_fake{next(self._numbers)}",
            status="warning_needs_response" if inquiry else "needs_response",
            reason=reason,
            amount=amount,
            currency=intent.currency,
            intent_id=intent_id,
            charge_id=intent.charge_id,
            withdrawn=0 if inquiry else amount,
            evidence_due_at=datetime.now(UTC).replace(microsecond=0) + timedelta(days=9),
        )
        self._tell(dispute, "charge.dispute.created", *([] if inquiry else ["charge.dispute.funds_withdrawn"]))
        return dispute

    def close_dispute(self, dispute_id, outcome):
        """Let the bank decide: won gives the money back, lost keeps it; an inquiry comes to nothing."""
        dispute = self.disputes[dispute_id]
        if dispute.status in INQUIRIES:
            return self._tell(replace(dispute, status="warning_closed"), "charge.dispute.closed")
        if outcome == "lost":
            return self._tell(replace(dispute, status="lost"), "charge.dispute.closed")
        won = replace(dispute, status="won", withdrawn=0)
        return self._tell(won, "charge.dispute.funds_reinstated", "charge.dispute.closed")

    def open_intent(self, request, idempotency_key):
        def open_it():
            self._check_destination(request.destination)
            identifier = f"pi_fake{next(self._numbers)}"
            self._requests[identifier] = request
            self.intents[identifier] = Intent(
                id=identifier,
                status="requires_payment_method",
                amount=request.amount,
                amount_received=0,
                currency=request.currency.upper(),
                client_secret=f"{identifier}_secret_fake",
                livemode=False,
                account_id=request.destination.account_id if request.destination else None,
                metadata={
                    "order_id": str(request.order_id),
                    "order_number": request.order_number,
                    "attempt_id": str(request.reference),
                    "event_id": str(request.event_id),
                },
            )
            return self.intents[identifier]

        opened = self._once("open_intent", idempotency_key, request, open_it)
        return self.intents[opened.id]

    def confirm_intent(self, intent_id, payment_method, idempotency_key):
        def confirm():
            intent = self._intent(intent_id)
            if intent.status in ENDED:
                return intent
            if intent.status == "processing":
                raise RetryableVendorError("The intent is processing.", code=UNEXPECTED_STATE)
            if payment_method in BANKS:
                self._waiting[intent_id] = BANKS[payment_method]
                charge = f"ch_fake{next(self._numbers)}"
                return self._keep(replace(intent, status="processing", charge_id=charge, error_code=None))
            name = name_of_method(payment_method)
            if name is None:
                raise PermanentVendorError(f"No such PaymentMethod: '{payment_method}'", code="resource_missing")
            intent = replace(intent, error_code=None, error_message=None, next_action=None)
            if CARDS[name].authentication:
                self._waiting[intent_id] = CARDS[name]
                action = {"type": "use_stripe_sdk", "use_stripe_sdk": {"type": "three_d_secure_redirect"}}
                return self._keep(replace(intent, status="requires_action", next_action=action))
            return self._charge(intent, CARDS[name])

        self._once("confirm_intent", idempotency_key, (intent_id, payment_method), confirm)
        return self.intents[intent_id]

    def cancel_intent(self, intent_id):
        def cancel():
            intent = self._intent(intent_id)
            if intent.status == "processing":
                raise RetryableVendorError("The intent is processing.", code=UNEXPECTED_STATE)
            return (
                intent if intent.status in ENDED else self._keep(replace(intent, status="canceled", next_action=None))
            )

        self._once("cancel_intent", None, None, cancel)
        return self.intents[intent_id]

    def find_intent(self, intent_id):
        return self._once("find_intent", None, None, lambda: self._intent(intent_id))

    def refund(self, request, idempotency_key):
        def give_back():
            intent = self._intent(request.intent_id)
            if intent.status != "succeeded":
                raise PermanentVendorError("There is no successful charge to refund.", code="invalid_request_error")
            left = intent.amount - self._refunded(intent.id)
            if not left:
                raise PermanentVendorError("It has already been refunded.", code="charge_already_refunded")
            if any(found.intent_id == intent.id and found.status in CHARGED_BACK for found in self.disputes.values()):
                raise PermanentVendorError("The charge has been charged back.", code="charge_disputed")
            if request.amount > left:
                raise PermanentVendorError("That is more than is left.", code="invalid_request_error")
            if not self.balance_suffices:
                raise PermanentVendorError("The balance does not cover the refund.", code="balance_insufficient")
            return self._give_back(intent, request)

        return self._told(self.refunds[self._once("refund", idempotency_key, request, give_back).id])

    def find_refund(self, refund_id):
        def find():
            if refund_id not in self.refunds:
                raise PermanentVendorError(f"No such refund: '{refund_id}'", code="resource_missing")
            return self._told(self.refunds[refund_id])

        return self._once("find_refund", None, None, find)

    def find_refund_by_reference(self, intent_id, reference):
        def find():
            refund = self.refunds.get(self._references.get(reference))
            return self._told(refund) if refund and refund.intent_id == self._intent(intent_id).id else None

        return self._once("find_refund_by_reference", None, None, find)

    def find_dispute(self, dispute_id):
        def find():
            if dispute_id not in self.disputes:
                raise PermanentVendorError(f"No such dispute: '{dispute_id}'", code="resource_missing")
            return self.disputes[dispute_id]

        return self._once("find_dispute", None, None, find)

    def list_charges(self, event_id):
        def search():
            asked = (self.intents[name] for name, request in self._requests.items() if request.event_id == event_id)
            return [self._reading(intent) for intent in asked if intent.status == "succeeded"][::-1]

        yield from self._once("list_charges", None, None, search)

    def find_charge(self, intent_id):
        def find():
            intent = self.intents.get(intent_id)
            return self._reading(intent) if intent and intent.status == "succeeded" else None

        return self._once("find_charge", None, None, find)

    def _give_back(self, intent, request):
        identifier = f"re_fake{next(self._numbers)}"
        self.refunds[identifier] = Refund(
            identifier,
            "succeeded",
            request.amount,
            intent.currency,
            intent.id,
            reverses_transfer=request.reverse_transfer,
        )
        self._references[request.reference] = identifier
        if request.refund_application_fee:
            share = (2 * self._fee(intent.id) * request.amount + intent.amount) // (2 * intent.amount)
            left = self._fee(intent.id) - self._refunded_fees.get(intent.id, 0)
            is_whole = self._refunded(intent.id) == intent.amount
            self._refunded_fees[intent.id] = self._fee(intent.id) - (0 if is_whole else max(0, left - share))
        about = {"object": "refund", "id": identifier, "payment_intent": intent.id}
        self.add_event("refund.created", about | {"metadata": {"refund_id": str(request.reference)}})
        self.add_event("charge.refunded", {"object": "charge", "id": intent.charge_id, "payment_intent": intent.id})
        return self.refunds[identifier]

    def _refunded(self, intent_id):
        return sum(
            refund.amount
            for refund in self.refunds.values()
            if refund.intent_id == intent_id and refund.status not in {"failed", "canceled"}
        )

    def _fee(self, intent_id):
        request = self._requests.get(intent_id)
        return request.destination.application_fee if request and request.destination else 0

    def _told(self, refund):
        return replace(refund, returned_fee=self._refunded_fees.get(refund.intent_id, 0))

    def _reading(self, intent):
        return ChargeReading(
            id=intent.charge_id,
            intent_id=intent.id,
            amount=intent.amount,
            currency=intent.currency,
            refunded=self._refunded(intent.id),
            fee=self._fee(intent.id) - self._refunded_fees.get(intent.id, 0),
            withdrawn=sum(found.withdrawn for found in self.disputes.values() if found.intent_id == intent.id),
        )

    def _tell(self, dispute, *event_types):
        self.disputes[dispute.id] = dispute
        about = {"object": "dispute", "id": dispute.id, "charge": dispute.charge_id, "status": dispute.status}
        for event_type in event_types:
            self.add_event(event_type, about | {"payment_intent": dispute.intent_id})
        return dispute

    def _charge(self, intent, card):
        charge = f"ch_fake{next(self._numbers)}"
        if card.decline:
            return self._keep(
                replace(
                    intent,
                    status="requires_payment_method",
                    charge_id=charge,
                    error_code=card.decline.decline_code,
                    error_message=card.decline.message,
                )
            )
        paid = self._keep(replace(intent, status="succeeded", charge_id=charge, amount_received=intent.amount))
        if getattr(card, "dispute", None):
            self.open_dispute(intent.id, card.dispute, inquiry=card.inquiry)
        return paid

    def _intent(self, intent_id):
        if intent_id not in self.intents:
            raise PermanentVendorError(f"No such payment_intent: '{intent_id}'", code="resource_missing")
        return self.intents[intent_id]

    def _keep(self, intent):
        self.intents[intent.id] = intent
        about = {"object": "payment_intent", "id": intent.id, "status": intent.status}
        self.add_event(ANNOUNCED[intent.status], about | {"metadata": dict(intent.metadata)})
        return intent
