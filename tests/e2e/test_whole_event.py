"""A whole event through the running system: from the first order to the last scan, and the statement that closes it."""

import itertools
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from tools.stack.environment import ROOT

pytestmark = pytest.mark.timeout(300)

BUYERS, EACH = 50, 20
SEATS = BUYERS * EACH
WAITING, PAIR = 12, 2
"""So many people wait for so many tickets each; two of them decline."""
AT_ONCE = 8
BATCH = 50
TWICE = 5
"""So many tickets of each gate are shown at another gate, too."""


def in_parallel(act, *those):
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(act, *those))


def ok(answer, status=200):
    assert answer.status_code == status, answer.text
    return answer.json()


class Event:
    """One event on sale, seen by its promoter."""

    def __init__(self, stack):
        self.stack = stack
        self.promoter = stack.person("promoter@example.com")
        self.tier = stack.tier(quantity=SEATS, max_per_order=EACH)
        self.id = self.tier["event_id"]
        self.path = f"/api/v1/events/{self.id}"

    def get(self, path):
        return ok(self.promoter.get(f"{self.path}{path}"))

    def rows(self, statement, **values):
        return self.stack.rows(statement, event=self.id, **values)

    def payloads(self):
        """Return what the QR codes of all tickets say that open the door, by ticket."""
        found = self.rows("SELECT id, qr_payload FROM tickets WHERE event_id = :event AND status = 'valid' ORDER BY id")
        return {str(row.id): row.qr_payload for row in found}

    def until_drawn(self):
        undrawn = "SELECT count(*) FROM tickets WHERE event_id = :id AND status = 'valid' AND qr_payload IS NULL"
        self.stack.until(undrawn, [(0,)], id=self.id)

    def is_sold_out(self):
        sold = "SELECT sold, reserved FROM ticket_tiers WHERE id = :id"
        self.stack.until(sold, [(SEATS, 0)], id=self.tier["id"])


def join_waitlist(event, people):
    """Let people wait, one after the other; return their entries."""
    body = {"tier_id": event.tier["id"], "quantity": PAIR}
    entries = [ok(person.post(f"{event.path}/waitlist", body), 201) for person in people]
    assert [entry["position"] for entry in entries] == list(range(1, WAITING + 1))
    return entries


def answer_offers(event, people, entries):
    """Let all accept and pay but the last two, who decline; each had an offer by mail."""
    offered = "SELECT count(*) FROM waitlist WHERE event_id = :id AND status = 'offered'"
    event.stack.until(offered, [(WAITING,)], id=event.id)
    for person, entry in list(zip(people, entries, strict=True))[-2:]:
        ok(person.post(f"/api/v1/waitlist/{entry['id']}/decline"), 202)

    def accept(person, entry):
        accepted = person.post(f"/api/v1/waitlist/{entry['id']}/accept")
        ok(accepted, 202)
        return person.pay(person.get(accepted.headers["Location"]).json())

    return in_parallel(accept, people[:-2], entries[:-2])


def refund(event, order):
    ok(event.promoter.post(f"/api/v1/orders/{order['id']}/refund", {"reason": "Ill."}), 202)


def prove(stack, people):
    """Let people have followed the link in our mail."""
    stack.change(
        "UPDATE users SET email_verified = true, email_verified_at = now() WHERE email = ANY(:emails)",
        emails=[person.email for person in people],
    )


def hand_on(event, sender, recipients):
    """Offer a ticket to each recipient: all take theirs but the last, who declines; return (old, new) payloads."""
    before = event.payloads()
    mine = [ticket["id"] for ticket in sender.get("/api/v1/tickets?limit=20").json()["items"]][: len(recipients)]
    prove(event.stack, [sender, *recipients])
    offers = [
        ok(sender.post(f"/api/v1/tickets/{ticket}/transfer", {"email": person.email}), 201)
        for ticket, person in zip(mine, recipients, strict=True)
    ]
    for offer, person in zip(offers, recipients, strict=True):
        answer = "decline" if person is recipients[-1] else "accept"
        ok(person.post(f"/api/v1/transfers/{offer['id']}/{answer}"))
    event.until_drawn()
    after = event.payloads()
    assert before[mine[-1]] == after[mine[-1]], "what was declined stays as it is"
    return [(before[ticket], after[ticket]) for ticket in mine[:-1]]


class Gate:
    """A gate with a scanner of its own."""

    def __init__(self, event, name, scanner):
        self.event, self.name, self.scanner = event, name, scanner
        self.numbers = itertools.count()

    def scan(self, payloads, **more):
        scans = [{"nonce": f"{self.name}-{next(self.numbers)}", "payload": payload} for payload in payloads]
        return self.send([{**scan, **more} for scan in scans])

    def send(self, scans):
        body = {"event_id": self.event.id, "gate": self.name, "scans": scans}
        return ok(self.scanner.post("/api/v1/check-ins", body))["results"]

    def admit(self, payloads):
        """Scan one batch after another; return the results."""
        batches = [payloads[start : start + BATCH] for start in range(0, len(payloads), BATCH)]
        return [result for batch in batches for result in self.scan(batch)]


def open_gates(event, names):
    """Hire somebody for each gate, who may scan and nothing else."""
    scanners = event.stack.people(len(names))
    prove(event.stack, scanners)
    for person in scanners:
        ok(event.promoter.post("/api/v1/promoters/me/team", {"email": person.email, "rights": ["scan"]}), 201)
    return [Gate(event, name, person) for name, person in zip(names, scanners, strict=True)]


def results_of(outcomes):
    return [outcome["result"] for outcome in outcomes]


def fill_the_hall(event, handed_on, refunded_payload):
    """Let everybody in through four gates, of which one was offline for an hour."""
    north, east, south, west = gates = open_gates(event, ("North", "East", "South", "West"))
    payloads = list(event.payloads().values())
    assert len(payloads) == SEATS
    parts = [payloads[number :: len(gates)] for number in range(len(gates))]
    assert results_of(north.scan(parts[0][:1])) == ["not_yet_open"]
    event.stack.change(
        "UPDATE events SET doors_at = now() - interval '1 hour', starts_at = now() + interval '1 hour' WHERE id = :id",
        id=event.id,
    )
    assert {*results_of(south.scan([old for old, _ in handed_on]))} <= {"transferred"}
    assert results_of(south.scan([refunded_payload])) == ["refunded"]

    def work(gate, part, others):
        return gate.admit([*part, *others[:TWICE]])

    online = in_parallel(work, (north, east, south), parts[:3], (parts[1], parts[2], parts[0]))
    results = [result for outcomes in online for result in results_of(outcomes)]
    assert (results.count("accepted"), results.count("already_used")) == (sum(map(len, parts[:3])), 3 * TWICE)

    # West let people in by its list, five of whom had come through North; then it is online again, and sends twice.
    begun = datetime.now(UTC) - timedelta(hours=1)
    scans = [
        {
            "nonce": f"offline-{number}",
            "payload": payload,
            "offline": True,
            "scanned_at": (begun + timedelta(seconds=6 * number)).isoformat(),
        }
        for number, payload in enumerate([*parts[3], *parts[0][:TWICE]])
    ]
    for _ in range(2):
        late = [outcome for start in range(0, len(scans), 500) for outcome in west.send(scans[start : start + 500])]
        assert results_of(late).count("accepted") == len(parts[3])
        assert sum(outcome["scan"]["conflict"] for outcome in late) == TWICE


def vendor(stack, *arguments):
    command = [sys.executable, "-m", "tools.stack.vendor", "--data", str(stack.folder), *arguments]
    return subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)


def check_the_door(event):
    figures = event.get("/door")
    assert sum(tier["inside"] for tier in figures["tiers"]) == SEATS
    assert len(ok(event.promoter.get(f"{event.path}/check-in-conflicts"))["items"]) == TWICE


def check_analytics(event, since):
    """Compare the figures with plain counts over the rows."""
    event.stack.until("SELECT min(refreshed_at) > :since FROM analytics_refreshes", [(True,)], since=since)
    told = event.get("/analytics")
    orders = event.rows(
        """
        SELECT count(*) AS accepted, count(held_at) AS held, count(confirmed_at) AS paid,
               count(*) FILTER (WHERE status = 'refunded') AS refunded
        FROM orders WHERE event_id = :event
        """
    )[0]
    assert (told["funnel"]["accepted"], told["funnel"]["held"]) == (orders.accepted, orders.held)
    assert told["funnel"]["paid"] == told["funnel"]["issued"] == orders.paid
    sold = event.rows(
        """
        SELECT sum(quantity), sum(item.subtotal + item.fees + item.tax)
        FROM order_items AS item JOIN orders ON orders.id = item.order_id
        WHERE event_id = :event AND confirmed_at IS NOT NULL
        """
    )[0]
    assert tuple(sum(hour[name] for hour in told["sales"]) for name in ("tickets", "gross")) == tuple(sold)
    scans = dict(
        map(tuple, event.rows("SELECT result, count(*) FROM check_in_scans WHERE event_id = :event GROUP BY 1"))
    )
    counted = {name: sum(part["scans"] for part in told["check_ins"] if part["result"] == name) for name in scans}
    assert counted == scans
    [waitlist] = told["waitlist"]
    assert [waitlist[name] for name in ("joined", "accepted", "declined", "waiting")] == [WAITING, WAITING - 2, 2, 0]


def check_the_books(event, bought):
    """Close the event: what was paid less what went back is what is kept, and each ticket stands for its money."""
    paid = sum(order["amounts"]["total"] for order in bought)
    event.stack.change(
        "UPDATE events SET starts_at = now() - interval '2 h', doors_at = NULL, ends_at = now() WHERE id = :id",
        id=event.id,
    )
    event.promoter.get(f"{event.path}/statement")
    event.stack.until(
        "SELECT count(*) > 0 FROM statements WHERE event_id = :id AND made_at IS NOT NULL", [(True,)], id=event.id
    )
    statement = event.get("/statement")
    assert (statement["difference"], statement["mismatches"]) == (0, [])
    assert statement["ledger"]["charged"] == paid
    assert statement["tickets"]["live"] == SEATS
    audit = vendor(event.stack, "audit")
    assert audit.returncode == 0, audit.stdout + audit.stderr


def test_a_whole_event(stack):
    event = Event(stack)
    buyers, waiting = stack.people(BUYERS + 1), stack.people(WAITING)
    *early, last = buyers
    bought = in_parallel(lambda buyer: buyer.buy(event.tier, EACH), early)
    event.is_sold_out()
    assert last.order(event.tier).json()["code"] == "sold-out"

    entries = join_waitlist(event, waiting)
    event.until_drawn()
    gone = event.rows("SELECT qr_payload FROM tickets WHERE order_id = :order LIMIT 1", order=bought[0]["id"])
    for order in bought[:2]:
        refund(event, order)
    bought += answer_offers(event, waiting, entries)
    bought.append(last.buy(event.tier, 2 * EACH - PAIR * (WAITING - 2)))
    event.is_sold_out()

    handed_on = hand_on(event, early[2], waiting[:10])
    fill_the_hall(event, handed_on, gone[0].qr_payload)
    since = datetime.now(UTC)
    check_the_door(event)
    check_analytics(event, since)
    check_the_books(event, bought)
