"""What must be true when all has come to rest: what clients were told, what Stripe has, what the rows say.

Each check returns a sentence for everything that breaks it. The rows' own consistency is only touched on here: what
counts is what those outside can see.
"""

import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tools.bench.fairness import Turn, find_unfair
from tools.faults import market
from tools.faults.book import ACCEPTED, CONFLICT, Book
from tools.faults.buyer import ENDED, Order
from tools.faults.load import Load
from tools.faults.market import Sale
from tools.faults.world import World
from tools.stack.environment import ROOT

STATEMENT_SECONDS = 60.0
AUDIT_SECONDS = 120.0
LIVE = {"valid", "used"}

BROKEN_ROWS = {
    "a tier's counters are not what its items say": """
        SELECT tier.id, tier.name, tier.quantity, tier.reserved, tier.sold, counted.* FROM ticket_tiers AS tier,
        LATERAL (SELECT coalesce(sum(quantity - returned) FILTER (WHERE inventory_state = 'reserved'), 0) AS reserved,
                        coalesce(sum(quantity - returned) FILTER (WHERE inventory_state = 'sold'), 0) AS sold
                 FROM order_items WHERE tier_id = tier.id) AS counted
        WHERE (tier.reserved, tier.sold) <> (counted.reserved, counted.sold)
           OR tier.reserved + tier.sold > tier.quantity
    """,
    "something is reserved for nobody": "SELECT id, name, reserved FROM ticket_tiers WHERE reserved > 0",
    "tickets are not what was sold": """
        SELECT tier.id, tier.name, tier.sold, counted.live FROM ticket_tiers AS tier,
        LATERAL (SELECT count(*) AS live FROM tickets
                 WHERE tier_id = tier.id AND status IN ('valid', 'used')) AS counted
        WHERE tier.sold <> counted.live
    """,
    "an order is quarantined": "SELECT id FROM orders WHERE stage = 'quarantined'",
    "a refund failed": "SELECT id, error_code FROM payment_transactions WHERE kind = 'refund' AND status = 'failed'",
}


@dataclass(frozen=True, slots=True)
class Scene:
    """One act after its end, with all that was told and sold in it."""

    world: World
    load: Load
    sale: Sale
    book: Book


def check(scene: Scene) -> list[str]:
    """Return a sentence for everything that is not as it must be."""
    orders = {buyer.email: _orders(scene, buyer) for buyer in scene.load.buyers}
    every = {order["id"]: order for listed in orders.values() for order in listed}
    checks: tuple[Iterator[str], ...] = (
        iter(scene.book.wrongs),
        _promises(scene, every),
        _money(scene, every),
        _stock(scene, every),
        _mails(scene, orders),
        _fairness(scene, every),
        _refusals(scene),
        _rows(scene),
        _statement(scene),
        # Last, because it heals.
        _audit(scene),
    )
    return [sentence for found in checks for sentence in found]


def _audit(scene: Scene) -> Iterator[str]:
    """`vendor audit` finds nothing either."""
    audit = subprocess.run(
        [sys.executable, "-m", "tools.cli", "audit"],
        cwd=ROOT,
        env={**os.environ, **scene.world.plan.variables},
        capture_output=True,
        text=True,
        check=False,
        timeout=AUDIT_SECONDS,
    )
    if audit.returncode:
        yield f"vendor audit fails:\n{audit.stdout}{audit.stderr}"


def _orders(scene: Scene, buyer: Any) -> list[Order]:
    listed = market.read_all(buyer.client, "/api/v1/orders")
    return [order for order in listed if order["event_id"] == scene.sale.event_id]


def _promises(scene: Scene, every: Mapping[str, Order]) -> Iterator[str]:
    """Every 202 has its order, which has ended; and there is no order that nobody asked for."""
    for request in scene.book.accepted:
        order = every.get(request.order_id)
        if order is None:
            yield f"order {request.order_id} was accepted, and its buyer cannot see it"
        elif order["stage"] not in ENDED or order["sequence"] != request.sequence:
            yield f"order {request.order_id} stands at {order['stage']} with number {order['sequence']}"
    asked = Counter(request.email for request in scene.book.requests if request.status in {0, ACCEPTED})
    direct = sum(order["source"] == "direct" for order in every.values())
    if direct > asked.total():
        yield f"there are {direct} orders, and only {asked.total()} could have been accepted"
    promised: dict[str, str] = {}
    for request in scene.book.accepted:
        if promised.setdefault(request.order_id, request.key) != request.key:
            yield f"order {request.order_id} was the answer to two purchases"


def _money(scene: Scene, every: Mapping[str, Order]) -> Iterator[str]:
    """Each charge at Stripe has its tickets, or has gone back; nobody is charged twice."""
    charges: dict[str, list[dict[str, Any]]] = {order_id: [] for order_id in every}
    for charge in scene.world.charges():
        if charge["metadata"].get("event_id") == scene.sale.event_id:
            charges.setdefault(charge["metadata"]["order_id"], []).append(charge)
    for order_id in charges.keys() - every.keys():
        yield f"Stripe has charges for order {order_id}, which no buyer has"
    for order in every.values():
        mine = charges[order["id"]]
        kept = sum(charge["amount"] - charge["amount_refunded"] for charge in mine)
        if len(mine) > 1:
            yield f"order {order['id']} was charged {len(mine)} times"
        yield from (f"order {order['id']} ({order['status']}) {wrong}" for wrong in check_order(order, kept))


def check_order(order: Order, kept: int) -> Iterator[str]:
    """Yield what does not fit between an order, its tickets, and what Stripe keeps of its money."""
    live = [ticket for ticket in order["tickets"] if ticket["status"] in LIVE]
    total, refunded, bought = order["amounts"]["total"], order["amounts"]["refunded"], _bought(order)
    owed = total - refunded if order["status"] == "confirmed" else 0
    if kept != owed:
        yield f"costs {owed} at its end, and Stripe keeps {kept}"
    if kept and not live:
        yield "was paid and has no ticket"
    if total and live and not kept:
        yield f"has {len(live)} tickets and was not paid"
    if order["status"] == "confirmed" and not refunded and len(live) != bought:
        yield f"is for {bought} tickets and has {len(live)}"
    if not all(ticket["ready"] for ticket in live):
        yield "has tickets without their codes"


def _bought(order: Order) -> int:
    return sum(item["quantity"] for item in order["items"])


def _stock(scene: Scene, every: Mapping[str, Order]) -> Iterator[str]:
    """Nobody holds a ticket that was not for sale; the rush, of which nothing comes back, was sold as far as asked."""
    held = Counter(
        ticket["tier_id"] for order in every.values() for ticket in order["tickets"] if ticket["status"] in LIVE
    )
    for tier in scene.sale.tiers.values():
        if held[tier.id] > tier.quantity:
            yield f"{held[tier.id]} tickets of {tier.name} are held, and {tier.quantity} were for sale"
    rush = scene.sale.tiers["rush"]
    wanted = sum(request.tier_ids == (rush.id,) for request in scene.book.accepted)
    if held[rush.id] < min(wanted, rush.quantity):
        yield f"only {held[rush.id]} tickets of the rush are held; {wanted} were asked for, of {rush.quantity}"


def _mails(scene: Scene, orders: Mapping[str, list[Order]]) -> Iterator[str]:
    """Whoever has tickets has a mail with them."""
    rows = scene.world.rows("""
        SELECT order_id, status FROM email_notifications WHERE template = 'order_confirmed' AND order_id IS NOT NULL
    """)
    status = {str(row.order_id): row.status for row in rows}
    for email, listed in orders.items():
        arrived = " ".join(f"{mail['subject']} {mail['text']}" for mail in scene.world.mails(email))
        for order in listed:
            if order["stage"] != "complete":
                continue
            if order["id"] not in status:
                yield f"order {order['id']} has tickets, and no mail was ever written about it"
            elif order["number"] not in arrived:
                yield f"the mail about order {order['id']} is {status[order['id']]}, and has not arrived"


def _fairness(scene: Scene, every: Mapping[str, Order]) -> Iterator[str]:
    """First come, first numbered; and where nothing comes back, first served."""
    for tier in scene.sale.tiers.values():
        told = [request for request in scene.book.accepted if request.tier_ids == (tier.id,)]
        is_final = tier.name == "rush"
        turns = [
            Turn(
                request.order_id,
                request.sequence,
                request.began,
                request.answered,
                is_served=not is_final or every[request.order_id]["stage"] == "complete",
            )
            for request in told
            if request.order_id in every
        ]
        yield from (f"{tier.name}: {sentence}" for sentence in find_unfair(turns))


def _refusals(scene: Scene) -> Iterator[str]:
    """Nothing is left of what was refused at the edge."""
    keys = [request.key for request in scene.book.requests if request.status == CONFLICT and request.sent == 1]
    found = scene.world.rows("SELECT id FROM orders WHERE idempotency_key = ANY(:keys)", keys=keys)
    yield from (f"order {row.id} is stored, and its buyer was refused" for row in found)


def _rows(scene: Scene) -> Iterator[str]:
    for what, query in BROKEN_ROWS.items():
        yield from (f"{what}: {dict(row._mapping)}" for row in scene.world.rows(query))  # noqa: SLF001 its documented name


def _statement(scene: Scene) -> Iterator[str]:
    """Stripe, the ledger and the tickets agree to the last cent."""
    path, deadline = f"/api/v1/events/{scene.sale.event_id}/statement", time.monotonic() + STATEMENT_SECONDS
    while (answer := scene.load.promoter.get(path)).status != 200:  # noqa: PLR2004 under way until then
        if time.monotonic() > deadline:
            yield f"no statement came within {STATEMENT_SECONDS:.0f} s: {answer.status} {answer.body}"
            return
        scene.world.wait(0.5)
    body = answer.body
    if body["difference"] or body["mismatches"]:
        yield f"the statement differs by {body['difference']}: {body['mismatches']}"
