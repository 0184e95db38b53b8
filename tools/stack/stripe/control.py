"""The control API for tests and rehearsals, under /_standin: consent, disputes, accounts, trouble, time, webhooks.

It takes JSON or form fields and needs no API key; the page at / shows how to use it.
"""

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from flask import Blueprint, Response, jsonify, redirect, request

from tools.stack.stripe import accounts, balance, disputes, intents, outage, refunds
from tools.stack.stripe.call import Call
from tools.stack.stripe.clock import FURTHEST_SECONDS
from tools.stack.stripe.errors import RefusalError, envelope, invalid, missing_resource
from tools.stack.stripe.faults import MOMENTS, OUTCOMES, Fault
from tools.stack.stripe.parameters import Flag, Hash, Integer, Seconds, Text
from tools.stack.stripe.simulator import Simulator
from tools.stack.stripe.store import shown

_END = {"outcome": Text(choices=("succeed", "fail"))}
_OUTCOME = Hash(_END, required=("outcome",))
_REFUND_END = Hash(_END)
_DISPUTE = Hash({"reason": Text(choices=disputes.REASONS)}, required=("reason",))
_DECISION = Hash({"outcome": Text(choices=("won", "lost"))}, required=("outcome",))
_STATE = Hash({"state": Text(choices=accounts.STATES)}, required=("state",))
_FUNDS = Hash({"sufficient": Flag()}, required=("sufficient",))
_FAULT = Hash(
    {
        "call": Text(),
        "times": Integer(least=1),
        "when": Text(choices=MOMENTS),
        "outcome": Text(choices=OUTCOMES),
        "status": Integer(least=400),
        "latency_seconds": Seconds(),
        "latency_jitter_seconds": Seconds(),
    }
)
_OUTAGE = Hash(
    {"seconds": Seconds(), "outcome": Text(choices=outage.OUTCOMES), "status": Integer(least=400, most=599)},
    required=("seconds",),
)
_CLOCK = Hash({"advance_seconds": Integer(least=1, most=FURTHEST_SECONDS)}, required=("advance_seconds",))
_MANNERS = Hash(
    {
        "deliver": Flag(),
        "copies": Integer(least=1),
        "delay_seconds": Seconds(),
        "newest_first": Flag(),
        "drop": Integer(least=0),
    }
)


def blueprint(simulator: Simulator) -> Blueprint:
    """Return the routes of the control API."""
    routes = Blueprint("control", __name__, url_prefix="/_standin")
    routes.before_request(refuse_other_sites)
    _add_objects(routes, simulator)
    _add_disputes(routes, simulator)
    _add_accounts(routes, simulator)
    _add_faults(routes, simulator)
    _add_outage(routes, simulator)
    _add_clock(routes, simulator)
    _add_webhooks(routes, simulator)
    return routes


def refuse_other_sites() -> None:
    """Refuse what another site makes a person's browser do here, also by a name that points to this machine."""
    if request.host.rpartition(":")[0] not in {"127.0.0.1", "localhost"}:
        raise RefusalError(403, envelope("invalid_request_error", "The stand-in answers on 127.0.0.1 only."))
    if request.method != "GET" and request.headers.get("Sec-Fetch-Site", "none") not in {"none", "same-origin"}:
        raise RefusalError(403, envelope("invalid_request_error", "Other sites may not control the stand-in."))


def owned(simulator: Simulator, identifier: str, noun: str) -> Call:
    """Return a call in the name of whoever owns an object."""
    account = simulator.store.owner(identifier)
    if account is None:
        raise missing_resource(noun, identifier, "id")
    return simulator.call(account, request.host_url.rstrip("/"), identifier)


def _add_objects(routes: Blueprint, simulator: Simulator) -> None:
    @routes.post("/payment_intents/<identifier>/authenticate")
    def authenticate(identifier: str) -> Any:
        return decided(identifier, intents.authenticate)

    @routes.post("/payment_intents/<identifier>/settle")
    def settle_intent(identifier: str) -> Any:
        return decided(identifier, intents.settle)

    def decided(identifier: str, act: Callable[..., dict[str, Any]]) -> Any:
        succeed = _OUTCOME.read(_fields())["outcome"] == "succeed"
        call = owned(simulator, identifier, "payment_intent")
        with simulator.store.transaction():
            intent = act(call, succeed=succeed)
        return _done(simulator, shown(intent))

    @routes.post("/refunds/<identifier>/settle")
    def settle_refund(identifier: str) -> Any:
        succeed = _REFUND_END.read(_fields()).get("outcome") != "fail"
        call = owned(simulator, identifier, "refund")
        with simulator.store.transaction():
            refund = refunds.settle(call, succeed=succeed)
        return _done(simulator, shown(refund))


def _add_disputes(routes: Blueprint, simulator: Simulator) -> None:
    @routes.post("/charges/<identifier>/dispute")
    def dispute(identifier: str) -> Any:
        reason = _DISPUTE.read(_fields())["reason"]
        call = owned(simulator, identifier, "charge")
        with simulator.store.transaction():
            made = disputes.dispute(call, reason)
        return _done(simulator, shown(made))

    @routes.post("/disputes/<identifier>/close")
    def close(identifier: str) -> Any:
        won = _DECISION.read(_fields())["outcome"] == "won"
        call = owned(simulator, identifier, "dispute")
        with simulator.store.transaction():
            decided = disputes.close(call, won=won)
        return _done(simulator, shown(decided))


def _add_accounts(routes: Blueprint, simulator: Simulator) -> None:
    @routes.post("/accounts/<identifier>")
    def change(identifier: str) -> Any:
        state = _STATE.read(_fields())["state"]
        call = owned(simulator, identifier, "account")
        with simulator.store.transaction():
            account = accounts.change(call, state)
        return _done(simulator, shown(account))

    @routes.post("/balance")
    def fund() -> Any:
        balance.let_suffice(simulator.store, **_FUNDS.read(_fields()))
        return _done(simulator, balance.of(simulator.store, ""))


def _add_faults(routes: Blueprint, simulator: Simulator) -> None:
    @routes.get("/faults")
    def waiting() -> Any:
        return jsonify(faults=[asdict(fault) for fault in simulator.faults.waiting()])

    @routes.post("/faults")
    def add() -> Any:
        fault = Fault(**_FAULT.read(_fields()))
        simulator.faults.add(fault)
        return _done(simulator, asdict(fault))

    @routes.delete("/faults")
    def clear() -> Any:
        simulator.faults.clear()
        return jsonify(faults=[])


def _add_outage(routes: Blueprint, simulator: Simulator) -> None:
    @routes.get("/outage")
    def outage_now() -> Any:
        return jsonify(simulator.outage.state())

    @routes.post("/outage")
    def begin() -> Any:
        simulator.outage.begin(**_OUTAGE.read(_fields()))
        return _done(simulator, simulator.outage.state())

    @routes.delete("/outage")
    def end() -> Any:
        simulator.outage.end()
        return jsonify(simulator.outage.state())


def _add_clock(routes: Blueprint, simulator: Simulator) -> None:
    @routes.get("/clock")
    def time_of_day() -> Any:
        return jsonify(now=simulator.now(), ahead_seconds=simulator.clock.ahead_seconds)

    @routes.post("/clock")
    def advance() -> Any:
        simulator.clock.advance(_CLOCK.read(_fields())["advance_seconds"])
        return _done(simulator, {"now": simulator.now(), "ahead_seconds": simulator.clock.ahead_seconds})


def _add_webhooks(routes: Blueprint, simulator: Simulator) -> None:
    @routes.get("/webhooks")
    def state() -> Any:
        return jsonify(simulator.webhooks.state())

    @routes.post("/webhooks")
    def behave() -> Any:
        simulator.webhooks.behave(**_MANNERS.read(_fields()))
        return _done(simulator, simulator.webhooks.state())

    @routes.post("/webhooks/<event_id>/resend")
    def resend(event_id: str) -> Any:
        owned(simulator, event_id, "event").find("event")
        if not simulator.webhooks.url:
            raise invalid("The stand-in was started without a webhook address.")
        simulator.webhooks.resend(event_id)
        return _done(simulator, simulator.webhooks.state())


def _fields() -> dict[str, Any]:
    given = request.get_json(silent=True) if request.is_json else request.form.to_dict()
    if not isinstance(given, dict):
        raise invalid("A JSON object is wanted.")
    return {key: str(value).lower() if isinstance(value, bool) else str(value) for key, value in given.items()}


def _done(simulator: Simulator, body: dict[str, Any]) -> Response:
    simulator.webhooks.wake()
    if request.accept_mimetypes.best_match(["application/json", "text/html"]) == "text/html":
        return redirect("/", 303)  # type: ignore[return-value]  # a werkzeug response, which Flask takes as well
    return jsonify(body)
