"""Payments in memory: the same contract as `adapters.stripe_gateway`, with trouble on demand and no HTTP."""

import hashlib
import hmac
import itertools
import json
import threading
import time
from collections import defaultdict
from dataclasses import replace

from domain.errors import ForgedEventError, PermanentVendorError, RetryableVendorError
from domain.ports import UNEXPECTED_STATE, Intent, ProviderEvent, Refund
from tools.stack.stripe.cards import BANKS, CARDS, name_of_method

TOLERANCE_SECONDS = 300
ENDED = {"succeeded", "canceled"}


class FakePaymentGateway:
    """Keeps `intents` and `refunds` by id; `calls` tells what was asked, in order."""

    def __init__(self, webhook_secret="whsec_fake"):
        self.intents = {}
        self.refunds = {}
        self.calls = []
        self._secret = webhook_secret
        self._answers = {}
        self._references = {}
        self._waiting = {}
        self._troubles = defaultdict(list)
        self._numbers = itertools.count(1)
        self._lock = threading.RLock()

    def fail(self, call, error, *, after=False):
        """Let the next call of this name raise, before it did anything or after it did."""
        self._troubles[call].append((error, after))

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

    def sign(self, payload, timestamp=None):
        """Return a signature header as the provider would make it."""
        moment = int(time.time()) if timestamp is None else timestamp
        mac = hmac.new(self._secret.encode(), f"{moment}.".encode() + payload, hashlib.sha256)
        return f"t={moment},v1={mac.hexdigest()}"

    def open_intent(self, request, idempotency_key):
        def open_it():
            identifier = f"pi_fake{next(self._numbers)}"
            return self._keep(
                Intent(
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
                    },
                )
            )

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
            left = intent.amount - sum(
                refund.amount
                for refund in self.refunds.values()
                if refund.intent_id == intent.id and refund.status not in {"failed", "canceled"}
            )
            if not left:
                raise PermanentVendorError("It has already been refunded.", code="charge_already_refunded")
            if request.amount > left:
                raise PermanentVendorError("That is more than is left.", code="invalid_request_error")
            identifier = f"re_fake{next(self._numbers)}"
            refund = Refund(identifier, "succeeded", request.amount, intent.currency, intent.id)
            self.refunds[identifier] = refund
            self._references[request.reference] = identifier
            return refund

        return self.refunds[self._once("refund", idempotency_key, request, give_back).id]

    def find_refund(self, refund_id):
        def find():
            if refund_id not in self.refunds:
                raise PermanentVendorError(f"No such refund: '{refund_id}'", code="resource_missing")
            return self.refunds[refund_id]

        return self._once("find_refund", None, None, find)

    def find_refund_by_reference(self, intent_id, reference):
        def find():
            refund = self.refunds.get(self._references.get(reference))
            return refund if refund and refund.intent_id == self._intent(intent_id).id else None

        return self._once("find_refund_by_reference", None, None, find)

    def read_event(self, payload, signature):
        parts = dict(part.partition("=")[::2] for part in signature.split(","))
        timestamp = int(parts["t"]) if parts.get("t", "").isdecimal() else 0
        expected = self.sign(payload, timestamp).partition("v1=")[2]
        if timestamp < time.time() - TOLERANCE_SECONDS or not hmac.compare_digest(parts.get("v1", ""), expected):
            raise ForgedEventError("The webhook's signature is wrong or stale.")
        try:
            body = json.loads(payload)
        except ValueError:
            raise ForgedEventError("The webhook's body is no event.") from None
        if not isinstance(body, dict) or body.get("object") != "event":
            raise ForgedEventError("The webhook's body is no event.")
        return ProviderEvent(body["id"], body["type"], body)

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
        return self._keep(replace(intent, status="succeeded", charge_id=charge, amount_received=intent.amount))

    def _intent(self, intent_id):
        if intent_id not in self.intents:
            raise PermanentVendorError(f"No such payment_intent: '{intent_id}'", code="resource_missing")
        return self.intents[intent_id]

    def _keep(self, intent):
        self.intents[intent.id] = intent
        return intent

    def _once(self, call, key, asked, act):
        with self._lock:
            self.calls.append(call)
            error, after = self._troubles[call].pop(0) if self._troubles[call] else (None, False)
            if error and not after:
                raise error
            if key not in self._answers:
                answer = act()
                if key is not None:
                    self._answers[key] = (call, asked, answer)
            elif self._answers[key][:2] != (call, asked):
                raise PermanentVendorError("The key was used for another request.", code="idempotency_error")
            else:
                answer = self._answers[key][2]
            if error:
                raise error
            return answer
