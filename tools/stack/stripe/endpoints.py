"""The calls that the stand-in answers: a row each, with its name for faults, its parameters and its handler."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tools.stack.stripe import accounts, balance, calls, disputes, intents, payment_methods, readings, refunds, search
from tools.stack.stripe.call import Answer, Call
from tools.stack.stripe.parameters import Hash

Handler = Callable[[Call, dict[str, Any]], dict[str, Any] | Answer]


@dataclass(frozen=True)
class Endpoint:
    """One call of Stripe's API."""

    name: str
    method: str
    path: str
    parameters: Hash
    handler: Handler


ENDPOINTS = (
    Endpoint("payment_intent.create", "POST", "/v1/payment_intents", calls.CREATE_INTENT, intents.create),
    Endpoint("payment_intent.list", "GET", "/v1/payment_intents", calls.LIST_INTENTS, intents.list_all),
    Endpoint("payment_intent.retrieve", "GET", "/v1/payment_intents/<id>", calls.RETRIEVE_INTENT, intents.retrieve),
    Endpoint("payment_intent.update", "POST", "/v1/payment_intents/<id>", calls.UPDATE_INTENT, intents.update),
    Endpoint(
        "payment_intent.confirm", "POST", "/v1/payment_intents/<id>/confirm", calls.CONFIRM_INTENT, intents.confirm
    ),
    Endpoint("payment_intent.cancel", "POST", "/v1/payment_intents/<id>/cancel", calls.CANCEL_INTENT, intents.cancel),
    Endpoint(
        "payment_method.create", "POST", "/v1/payment_methods", calls.CREATE_PAYMENT_METHOD, payment_methods.create
    ),
    Endpoint("payment_method.list", "GET", "/v1/payment_methods", calls.LIST_PAYMENT_METHODS, payment_methods.list_all),
    Endpoint("payment_method.retrieve", "GET", "/v1/payment_methods/<id>", calls.RETRIEVE, payment_methods.retrieve),
    Endpoint("charge.list", "GET", "/v1/charges", calls.LIST_CHARGES, readings.charges),
    Endpoint("charge.search", "GET", "/v1/charges/search", calls.SEARCH_CHARGES, search.charges),
    Endpoint("charge.retrieve", "GET", "/v1/charges/<id>", calls.RETRIEVE, readings.charge),
    Endpoint("refund.create", "POST", "/v1/refunds", calls.CREATE_REFUND, refunds.create),
    Endpoint("refund.list", "GET", "/v1/refunds", calls.LIST_REFUNDS, refunds.list_all),
    Endpoint("refund.retrieve", "GET", "/v1/refunds/<id>", calls.RETRIEVE, refunds.retrieve),
    Endpoint("refund.update", "POST", "/v1/refunds/<id>", calls.UPDATE_REFUND, refunds.update),
    Endpoint("dispute.list", "GET", "/v1/disputes", calls.LIST_DISPUTES, disputes.list_all),
    Endpoint("dispute.retrieve", "GET", "/v1/disputes/<id>", calls.RETRIEVE, disputes.retrieve),
    Endpoint("account.create", "POST", "/v1/accounts", calls.CREATE_ACCOUNT, accounts.create),
    Endpoint("account.retrieve", "GET", "/v1/accounts/<id>", calls.RETRIEVE, accounts.retrieve),
    Endpoint("account_link.create", "POST", "/v1/account_links", calls.CREATE_ACCOUNT_LINK, accounts.link),
    Endpoint("event.list", "GET", "/v1/events", calls.LIST_EVENTS, readings.events),
    Endpoint("event.retrieve", "GET", "/v1/events/<id>", calls.RETRIEVE, readings.event),
    Endpoint("balance.retrieve", "GET", "/v1/balance", calls.RETRIEVE, balance.retrieve),
    Endpoint(
        "balance_transaction.list",
        "GET",
        "/v1/balance_transactions",
        calls.LIST_BALANCE_TRANSACTIONS,
        readings.balance_transactions,
    ),
    Endpoint(
        "balance_transaction.retrieve",
        "GET",
        "/v1/balance_transactions/<id>",
        calls.RETRIEVE,
        readings.balance_transaction,
    ),
    Endpoint("transfer.retrieve", "GET", "/v1/transfers/<id>", calls.RETRIEVE, readings.transfer),
    Endpoint("application_fee.retrieve", "GET", "/v1/application_fees/<id>", calls.RETRIEVE, readings.application_fee),
)
