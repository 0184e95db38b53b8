"""The money of connected accounts: transfers and application fees of destination charges, and their reversal."""

from typing import Any

from tools.stack.stripe.call import Call
from tools.stack.stripe.errors import RefusalError, envelope, invalid, unfit
from tools.stack.stripe.ids import new_id

Body = dict[str, Any]

ACCOUNT_PREFIX = "acct_"


def check_account(account: str) -> None:
    """Refuse an account that could not exist; one that could need not have been opened here."""
    if not account.startswith(ACCOUNT_PREFIX) or not account.isascii() or len(account) > 255:  # noqa: PLR2004
        raise unknown_account(account)


def unknown_account(account: str) -> RefusalError:
    """Return the refusal for an account that the key may not see, whether or not it exists."""
    message = (
        f"The provided key does not have access to account '{account[:40]}' (or that account does not exist). "
        "Application access may have been revoked."
    )
    return RefusalError(403, envelope("invalid_request_error", message, code="account_invalid"))


def check_shares(call: Call, parameters: Body) -> None:
    """Refuse fees and destinations that do not go together (docs.stripe.com/connect/destination-charges)."""
    transfer = parameters.get("transfer_data") or {}
    for param, account in (
        ("transfer_data[destination]", transfer.get("destination")),
        ("on_behalf_of", parameters.get("on_behalf_of")),
    ):
        if account is not None and not account.startswith(ACCOUNT_PREFIX):
            message = f"No such destination: '{account}'" if "destination" in param else f"No such account: '{account}'"
            raise invalid(message, code="resource_missing", param=param)
    _check_capability(call, transfer.get("destination"))
    fee = parameters.get("application_fee_amount")
    if fee is not None and not transfer and not call.account:
        raise invalid(
            "Can only apply an application_fee_amount when the PaymentIntent is attempting a direct payment (using "
            "an OAuth key or Stripe-Account header) or destination payment (using `transfer_data[destination]`).",
            param="application_fee_amount",
        )
    if fee is not None and fee > parameters["amount"]:
        message = "The application_fee_amount cannot be greater than the amount."
        raise invalid(message, param="application_fee_amount")
    if fee is not None and transfer.get("amount") is not None:
        message = "You may only specify one of these parameters: application_fee_amount, transfer_data[amount]."
        raise invalid(message, code="parameters_exclusive", param="application_fee_amount")


def _check_capability(call: Call, destination: str | None) -> None:
    account = call.store.get(call.account, destination, "account") if destination else None
    if account and account["capabilities"]["transfers"] != "active":
        message = (
            "Your destination account needs to have at least one of the following capabilities enabled: transfers, "
            "crypto_transfers, legacy_payments"
        )
        raise unfit(message, code="insufficient_capabilities_for_transfer", param="transfer_data[destination]")


def share(call: Call, charge: Body) -> None:
    """Make the transfer and the fee of a charge that has gone through, and note their ids on it."""
    if transfer_data := charge["transfer_data"]:
        amount = transfer_data["amount"]
        transfer = _transfer(charge, charge["amount"] if amount is None else amount, call.now)
        call.save(transfer)
        charge["transfer"] = transfer["id"]
        charge["transfer_group"] = transfer["transfer_group"]
    if charge["application_fee_amount"]:
        fee = _application_fee(charge, call.account, call.now)
        call.save(fee)
        charge["application_fee"] = fee["id"]


def reverse(call: Call, charge: Body, refund: Body, parameters: Body) -> None:
    """Take back the transfer and the fee in proportion to what is refunded, as far as asked.

    What makes a refund whole takes back all that is left (docs.stripe.com/connect/destination-charges). One that fails
    afterwards changes neither, as we read the same page: it advises to transfer the money by hand.
    """
    if parameters.get("reverse_transfer"):
        if not charge["transfer"]:
            message = f"Cannot reverse transfer for charge {charge['id']} because it has no associated transfer."
            raise unfit(message, param="reverse_transfer")
        transfer = call.find("transfer", charge["transfer"], "charge")
        if transfer["reversed"]:
            raise unfit(f"Transfer {transfer['id']} is already fully reversed.", param="reverse_transfer")
        part = _part(transfer["amount"], transfer["amount_reversed"], charge, refund)
        transfer["amount_reversed"] += part
        transfer["reversed"] = transfer["amount_reversed"] == transfer["amount"]
        refund["transfer_reversal"] = _reversal(call, transfer, refund, part)
        call.save(transfer)
    if parameters.get("refund_application_fee"):
        if not charge["application_fee"]:
            message = f"Charge {charge['id']} has no application fee to refund."
            raise unfit(message, param="refund_application_fee")
        fee = call.find("application_fee", charge["application_fee"], "charge")
        fee["amount_refunded"] += _part(fee["amount"], fee["amount_refunded"], charge, refund)
        fee["refunded"] = fee["amount_refunded"] == fee["amount"]
        call.save(fee)
        call.emit("application_fee.refunded", fee)


def _part(whole: int, taken: int, charge: Body, refund: Body) -> int:
    if charge["refunded"]:
        return whole - taken
    part = (2 * whole * refund["amount"] + charge["amount"]) // (2 * charge["amount"])
    return min(whole - taken, int(part))


def _transfer(charge: Body, amount: int, now: int) -> Body:
    identifier = new_id("tr")
    return {
        "id": identifier,
        "object": "transfer",
        "amount": amount,
        "amount_reversed": 0,
        "balance_transaction": None,
        "created": now,
        "currency": charge["currency"],
        "description": None,
        "destination": charge["transfer_data"]["destination"],
        "destination_payment": new_id("py"),
        "livemode": False,
        "metadata": {},
        "reversals": _empty_list(f"/v1/transfers/{identifier}/reversals"),
        "reversed": False,
        "source_transaction": charge["id"],
        "source_type": "card",
        "transfer_group": charge["transfer_group"] or f"group_{charge['payment_intent']}",
    }


def _application_fee(charge: Body, account: str, now: int) -> Body:
    identifier = new_id("fee")
    return {
        "id": identifier,
        "object": "application_fee",
        "account": account or charge["transfer_data"]["destination"],
        "amount": charge["application_fee_amount"],
        "amount_refunded": 0,
        "application": "ca_standin",
        "balance_transaction": None,
        "charge": charge["id"],
        "created": now,
        "currency": charge["currency"],
        "fee_source": {"charge": charge["id"], "type": "charge"},
        "livemode": False,
        "originating_transaction": charge["id"],
        "refunded": False,
        "refunds": _empty_list(f"/v1/application_fees/{identifier}/refunds"),
    }


def _reversal(call: Call, transfer: Body, refund: Body, amount: int) -> str:
    reversal = {
        "id": new_id("trr"),
        "object": "transfer_reversal",
        "amount": amount,
        "balance_transaction": None,
        "created": call.now,
        "currency": transfer["currency"],
        "destination_payment_refund": None,
        "metadata": {},
        "source_refund": refund["id"],
        "transfer": transfer["id"],
    }
    call.save(reversal)
    return str(reversal["id"])


def _empty_list(url: str) -> Body:
    return {"object": "list", "data": [], "has_more": False, "total_count": 0, "url": url}
