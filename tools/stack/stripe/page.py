"""The pages for people: what the stand-in holds, where a card's owner consents, where an account's owner onboards."""

from typing import Any
from urllib.parse import urlencode, urlsplit

from flask import Blueprint, redirect, render_template, request

from tools.stack.stripe import accounts, balance, intents
from tools.stack.stripe.cards import BANKS, CARDS, PREFIX
from tools.stack.stripe.control import owned, refuse_other_sites
from tools.stack.stripe.currencies import spoken
from tools.stack.stripe.endpoints import ENDPOINTS
from tools.stack.stripe.errors import RefusalError, envelope
from tools.stack.stripe.simulator import Simulator

SHOWN = 50


def blueprint(simulator: Simulator) -> Blueprint:
    """Return the routes of the pages."""
    routes = Blueprint("page", __name__)
    routes.before_request(refuse_other_sites)

    @routes.get("/")
    def overview() -> str:
        return _overview(simulator)

    @routes.get("/healthz")
    def health() -> dict[str, str]:
        simulator.store.execute("SELECT 1")
        return {"status": "ok"}

    _add_authentication(routes, simulator)
    _add_onboarding(routes, simulator)
    return routes


def _add_authentication(routes: Blueprint, simulator: Simulator) -> None:
    @routes.get("/authenticate/<identifier>")
    def ask(identifier: str) -> str:
        intent = _intent(simulator, identifier)
        amount = spoken(intent["amount"], intent["currency"])
        return render_template("authenticate.html", intent=intent, amount=amount)

    @routes.post("/authenticate/<identifier>")
    def answer(identifier: str) -> Any:
        _intent(simulator, identifier)
        succeed = request.form.get("outcome") == "succeed"
        call = owned(simulator, identifier, "payment_intent")
        with simulator.store.transaction():
            intent = intents.authenticate(call, succeed=succeed)
        simulator.webhooks.wake()
        return redirect(_way_back(intent), 303)


def _add_onboarding(routes: Blueprint, simulator: Simulator) -> None:
    @routes.get("/onboarding/<identifier>")
    def visit(identifier: str) -> Any:
        call = owned(simulator, identifier, "account link")
        with simulator.store.transaction():
            account = accounts.visit(call)
        if account is None:
            return redirect(call.find("account_link")["_refresh_url"], 303)
        return render_template("onboarding.html", account=account)

    @routes.post("/onboarding/<identifier>")
    def leave(identifier: str) -> Any:
        call = owned(simulator, identifier, "account link")
        with simulator.store.transaction():
            onward = accounts.leave(call, complete=request.form.get("outcome") == "complete")
        simulator.webhooks.wake()
        return redirect(onward, 303)


def _overview(simulator: Simulator) -> str:
    store = simulator.store
    deliveries = store.execute("SELECT * FROM deliveries ORDER BY id DESC LIMIT ?", (4 * SHOWN,))
    of_event: dict[str, list[Any]] = {}
    for delivery in reversed(deliveries):
        of_event.setdefault(delivery["event_id"], []).append(delivery)
    return render_template(
        "overview.html",
        intents=store.select("payment_intent", limit=SHOWN),
        refunds=store.select("refund", limit=SHOWN),
        disputes=store.select("dispute", limit=SHOWN),
        accounts=store.select("account", limit=SHOWN),
        balance=balance.of(store, ""),
        sufficient=balance.suffices(store),
        events=store.select("event", limit=SHOWN),
        deliveries=of_event,
        webhooks=simulator.webhooks.state(),
        faults=simulator.faults.waiting(),
        outage=simulator.outage.state(),
        ahead_seconds=simulator.clock.ahead_seconds,
        cards={f"{PREFIX}{name}": card for name, card in CARDS.items()},
        banks=BANKS,
        calls=[endpoint.name for endpoint in ENDPOINTS],
        spoken=spoken,
    )


def _intent(simulator: Simulator, identifier: str) -> dict[str, Any]:
    """Return the intent of this page, for whoever holds its client secret."""
    intent = owned(simulator, identifier, "payment_intent").find("payment_intent")
    if request.args.get("client_secret") != intent["client_secret"]:
        raise RefusalError(403, envelope("invalid_request_error", "The client secret is not this intent's."))
    return intent


def _way_back(intent: dict[str, Any]) -> str:
    back = intent.get("_return_url") or ""
    if urlsplit(back).scheme not in {"http", "https"}:
        return f"/authenticate/{intent['id']}?client_secret={intent['client_secret']}"
    query = urlencode(
        {
            "payment_intent": intent["id"],
            "payment_intent_client_secret": intent["client_secret"],
            "redirect_status": "succeeded" if intent["status"] == "succeeded" else "failed",
        }
    )
    return f"{back}{'&' if urlsplit(back).query else '?'}{query}"
