"""Connected accounts: opened by the platform, completed by their owners on a page (docs.stripe.com/connect).

They are the platform's objects; what happens on them are events of their own, which the platform's list does not show.
"""

import re
from dataclasses import replace
from typing import Any

from tools.stack.stripe.call import Call
from tools.stack.stripe.connect import unknown_account
from tools.stack.stripe.errors import invalid
from tools.stack.stripe.ids import new_id
from tools.stack.stripe.parameters import merged

Body = dict[str, Any]

LINK_SECONDS = 300
STATES = ("ready", "restricted", "pending")
_COUNTRY = re.compile("[A-Z]{2}")
_WEB_ADDRESS = re.compile(r"https?://[^\s/]+(/\S*)?")
_PROFILE = (
    "annual_revenue",
    "estimated_worker_count",
    "mcc",
    "minority_owned_business_designation",
    "monthly_estimated_revenue",
    "name",
    "product_description",
    "specified_commercial_transactions_act_url",
    "support_address",
    "support_email",
    "support_phone",
    "support_url",
    "url",
)
_WANTED = {
    "ready": [],
    "restricted": ["individual.verification.document"],
    "pending": ["business_type", "external_account", "tos_acceptance.date", "tos_acceptance.ip"],
}


def create(call: Call, parameters: Body) -> Body:
    """Open an account of which nothing is known yet but what the platform says."""
    if not _COUNTRY.fullmatch(parameters.setdefault("country", "US")):
        message = f"Country '{parameters['country']}' is unknown. Try using a 2-character alphanumeric country code."
        raise invalid(message, code="country_code_invalid", param="country")
    account = _account(parameters, call.now)
    call.save(account)
    return account


def retrieve(call: Call, parameters: Body) -> Body:
    """Return an account; one that is not the platform's is none that the key may see."""
    del parameters
    account = call.store.get(call.account, call.identifier, "account")
    if account is None:
        raise unknown_account(call.identifier)
    return account


def link(call: Call, parameters: Body) -> Body:
    """Make a link to onboarding, for one visit within minutes."""
    account = call.store.get(call.account, parameters["account"], "account")
    if account is None:
        raise invalid(
            "You requested an account link for an account that is not connected to your platform or does not exist."
        )
    for param in ("refresh_url", "return_url"):
        if not _WEB_ADDRESS.fullmatch(parameters[param]):
            raise invalid("Not a valid URL", code="url_invalid", param=param)
    identifier = new_id("link")
    made = {
        "object": "account_link",
        "created": call.now,
        "expires_at": call.now + LINK_SECONDS,
        "url": f"{call.base_url}/onboarding/{identifier}",
    }
    notes = {f"_{name}": parameters[name] for name in ("account", "refresh_url", "return_url")}
    call.save(made | notes | {"id": identifier, "_visits": "none"})
    return made


def visit(call: Call) -> Body | None:
    """Return the account whose owner follows a link; None when the link no longer holds."""
    visited = call.find("account_link")
    if visited["_visits"] != "none" or call.now >= visited["expires_at"]:
        return None
    call.save(visited | {"_visits": "under way"})
    return call.find("account", visited["_account"])


def leave(call: Call, *, complete: bool) -> str:
    """End a visit, with everything told or nothing, and return where the owner goes on."""
    visited = call.find("account_link")
    if visited["_visits"] != "under way":
        return str(visited["_refresh_url"])
    call.save(visited | {"_visits": "over"})
    if complete:
        change(replace(call, identifier=visited["_account"]), "ready")
    return str(visited["_return_url"])


def change(call: Call, state: str) -> Body:
    """Let an account be ready, restricted by something that Stripe still wants, or as fresh as on its first day."""
    account = call.find("account")
    account |= _standing(state)
    call.save(account)
    replace(call, account=account["id"]).emit("account.updated", account)
    return account


def _account(parameters: Body, now: int) -> Body:
    identifier = new_id("acct", 16)
    return {
        "id": identifier,
        "object": "account",
        "business_profile": dict.fromkeys(_PROFILE) | parameters.get("business_profile", {}),
        "business_type": None,
        "charges_enabled": False,
        "controller": {"is_controller": True, "requirement_collection": "stripe", "type": "application"}
        | parameters["controller"],
        "country": parameters["country"],
        "created": now,
        "default_currency": None,
        "email": parameters.get("email"),
        "external_accounts": {
            "object": "list",
            "data": [],
            "has_more": False,
            "total_count": 0,
            "url": f"/v1/accounts/{identifier}/external_accounts",
        },
        "future_requirements": _requirements([], None),
        "groups": {"payments_pricing": None},
        "metadata": merged({}, parameters.get("metadata")),
        "settings": _settings(),
        "type": "none",
    } | _standing("pending")


def _settings() -> Body:
    """Return what an account is set to before anybody has set anything."""
    return {
        "branding": dict.fromkeys(("icon", "logo", "primary_color", "secondary_color")),
        "card_payments": {"statement_descriptor_prefix": None},
        "dashboard": {"display_name": None, "timezone": "Etc/UTC"},
        "payments": {"statement_descriptor": None},
        "payouts": {
            "debit_negative_balances": True,
            "schedule": {"delay_days": 2, "interval": "daily"},
            "statement_descriptor": None,
        },
    }


def _standing(state: str) -> Body:
    ready = state == "ready"
    return {
        "capabilities": {"transfers": "active" if ready else "inactive"},
        "details_submitted": state != "pending",
        "payouts_enabled": ready,
        "requirements": _requirements(_WANTED[state], None if ready else "requirements.past_due"),
        "tos_acceptance": {"date": None, "ip": None, "user_agent": None},
    }


def _requirements(wanted: list[str], disabled_reason: str | None) -> Body:
    return {
        "alternatives": [],
        "current_deadline": None,
        "currently_due": wanted,
        "disabled_reason": disabled_reason,
        "errors": [],
        "eventually_due": wanted,
        "past_due": wanted,
        "pending_verification": [],
    }
