"""The parameters that the stand-in knows are those that Stripe documents: the SDK's types are generated from them."""

import pytest
from stripe import _request_options, params

from tools.stack.stripe import calls
from tools.stack.stripe.parameters import Hash, Retired

OPTIONS = set(_request_options.RequestOptions.__annotations__)
# Every other type of payment method has a parameter of its own name; the stand-in knows cards alone.
OTHER_METHODS = {
    name
    for name in params.PaymentMethodCreateParams.__annotations__
    if hasattr(params, "PaymentMethodCreateParams" + "".join(part.capitalize() for part in name.split("_")))
} - {"card", "billing_details", "radar_options"}

CALLS = {
    "CREATE_INTENT": params.PaymentIntentCreateParams,
    "UPDATE_INTENT": params.PaymentIntentUpdateParams,
    "CONFIRM_INTENT": params.PaymentIntentConfirmParams,
    "CANCEL_INTENT": params.PaymentIntentCancelParams,
    "RETRIEVE_INTENT": params.PaymentIntentRetrieveParams,
    "LIST_INTENTS": params.PaymentIntentListParams,
    "CREATE_PAYMENT_METHOD": params.PaymentMethodCreateParams,
    "LIST_PAYMENT_METHODS": params.PaymentMethodListParams,
    "LIST_CHARGES": params.ChargeListParams,
    "SEARCH_CHARGES": params.ChargeSearchParams,
    "CREATE_REFUND": params.RefundCreateParams,
    "UPDATE_REFUND": params.RefundUpdateParams,
    "LIST_REFUNDS": params.RefundListParams,
    "LIST_DISPUTES": params.DisputeListParams,
    "CREATE_ACCOUNT": params.AccountCreateParams,
    "CREATE_ACCOUNT_LINK": params.AccountLinkCreateParams,
    "LIST_EVENTS": params.EventListParams,
    "LIST_BALANCE_TRANSACTIONS": params.BalanceTransactionListParams,
}


@pytest.mark.parametrize("name", CALLS)
def test_a_call_takes_the_documented_parameters_and_no_others(name):
    known = {key for key, kind in getattr(calls, name).fields.items() if not isinstance(kind, Retired)}
    documented = set(CALLS[name].__annotations__) - OPTIONS
    if name == "CREATE_PAYMENT_METHOD":
        documented -= OTHER_METHODS
    assert known == documented


def test_every_call_is_compared():
    own = {name for name, value in vars(calls).items() if isinstance(value, Hash)}
    assert own == {*CALLS, "RETRIEVE"}


@pytest.mark.parametrize(
    ("call", "field", "documented"),
    [
        (calls.CREATE_INTENT, "automatic_payment_methods", params.PaymentIntentCreateParamsAutomaticPaymentMethods),
        (calls.CREATE_INTENT, "transfer_data", params.PaymentIntentCreateParamsTransferData),
        (calls.CREATE_ACCOUNT, "business_profile", params.AccountCreateParamsBusinessProfile),
        (calls.CREATE_ACCOUNT, "controller", params.AccountCreateParamsController),
    ],
)
def test_so_do_its_objects(call, field, documented):
    assert set(call.fields[field].fields) == set(documented.__annotations__)
