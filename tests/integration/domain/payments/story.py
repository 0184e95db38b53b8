"""A story of money: buyers, banks, workers, webhooks and Stripe, in any order, until everything has settled."""

import urllib.error
from collections import Counter

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from adapters.stripe_gateway import StripeGateway
from domain.ports import ProviderEvent
from domain.rules.lifecycle import CONFIRMED, PAYABLE
from domain.rules.states import OrderStage
from tests.fixtures.fairness import checker, left_free, published
from tests.fixtures.payments import SECRET, OverHTTP
from tests.integration.domain.payments.world import FATES, World
from tools.stack.stripe import balance
from tools.stack.stripe.faults import MOMENTS, Fault
from tools.stack.stripe.store import shown

METHODS = (
    *("pm_card_visa", "pm_card_visa", "pm_card_mastercard", "pm_card_chargeDeclined"),
    *("pm_card_chargeDeclinedInsufficientFunds", "pm_card_threeDSecure2Required", "pm_card_nonsense"),
    *("pm_card_threeDSecureRequiredChargeDeclined", "pm_card_pendingRefund", "pm_card_refundFail"),
    *("pm_card_createDispute", "pm_card_createDisputeInquiry", "pm_card_createDisputeProductNotReceived"),
    *("pm_usBankAccount_success", "pm_usBankAccount_insufficientFunds"),
)
CALLS = ("*", "payment_intent.create", "payment_intent.confirm", "payment_intent.cancel", "refund.create")
CONTENTS = st.sampled_from([{0: 1}, {1: 2}, {0: 1, 1: 1}, {1: 1}, {1: 3}, {0: 2}])
"""What an order wants of the two tiers, of which there are two and three tickets."""
ANY = st.integers(0, 999)
"""Which of those that there are: what a story draws must not depend on what has become of it."""
RARELY = st.integers(0, 9)
ROUNDS = 6
LATEST_END = 25 * 3600
"""Longer than any clock, and than Stripe remembers a key."""
TALLY = Counter()
"""What has happened in all stories so far, by kind."""


class Http(OverHTTP):
    """The stand-in's control; what only looks reads its books, where no trouble strikes."""

    def __init__(self, gateway, standin):
        super().__init__(gateway, standin)
        self._store = standin.simulator.store

    def open_dispute(self, intent_id, reason):
        self._control(f"charges/{self._store.get('', intent_id)['latest_charge']}/dispute", reason=reason)

    def left_at_the_promoter(self, charge_id):
        """Return what a charge's transfer has left in the promoter's account; None where there is none."""
        transfer = self._store.get("", self._store.get("", charge_id)["transfer"] or "")
        return transfer and transfer["amount"] - transfer["amount_reversed"]

    def failed_refunds(self, intent_id):
        found = self._store.select("refund", limit=1000)
        return [refund for refund in found if (refund["payment_intent"], refund["status"]) == (intent_id, "failed")]

    def status_of(self, identifier):
        return self._store.get("", identifier)["status"]

    def open_disputes(self):
        found = self._store.select("dispute", limit=1000)
        return [dispute["id"] for dispute in found if dispute["status"].endswith(("needs_response", "under_review"))]

    def events(self, after):
        """Return the events behind this one, the oldest first."""
        found = self._store.select("event", limit=100_000, oldest_first=True)
        places = [place for place, event in enumerate(found, start=1) if event["id"] == after]
        return [
            ProviderEvent(event["id"], event["type"], shown(event), event.get("account"))
            for event in found[places[0] if places else 0 :]
        ]

    def settle_refund(self, refund_id, outcome):
        self._control(f"refunds/{refund_id}/settle", outcome=outcome)

    def try_to(self, act, *arguments):
        try:
            act(*arguments)
        except urllib.error.HTTPError as refusal:
            if refusal.code >= 500:
                raise


def picked(those, pick):
    """Return one of those that there are."""
    return those[pick % len(those)]


def connect(standin):
    """Return a gateway as a process has it that has just begun, with its circuit closed."""
    return StripeGateway(secret_key="sk_story", webhook_secrets=[SECRET], api_url=standin.url, timeout_seconds=5)


class Story(RuleBasedStateMachine):
    """Buyers, promoters, banks, workers, webhooks and Stripe itself, in any order."""

    def __init__(self, engine, standin):
        super().__init__()
        self.standin, self.http = standin, Http(connect(standin), standin)
        self.connection = engine.connect()
        self.transaction = self.connection.begin()

    @initialize(connected=st.booleans(), returns_fees=st.booleans(), orders=st.lists(CONTENTS, min_size=2, max_size=4))
    def open(self, connected, returns_fees, orders):
        account = "acct_story" if connected else None
        self.world = World(self.connection, self.http, account=account, returns_fees=returns_fees)
        for contents in orders:
            self.submit(contents)

    @rule(contents=CONTENTS)
    def submit(self, contents):
        self.world.submit(contents)
        self.world.work()

    def _some(self, pick, *stages):
        """Pick an order, as a rule one of these stages, so that most of what happens means something."""
        fitting = [order_id for order_id in self.world.orders if self.world.read(order_id).stage in stages]
        return picked(fitting or self.world.orders, pick)

    @rule(pick=ANY, method=st.sampled_from(METHODS), message=ANY, fate=st.sampled_from(FATES))
    def pay(self, pick, method, message, fate):
        self.world.confirm(self._some(pick, *PAYABLE), method)
        self._deliver_one(message, fate)

    @rule(pick=ANY, method=st.sampled_from(METHODS))
    def pay_by_client(self, pick, method):
        self.world.pay_by_client(self._some(pick, *PAYABLE, OrderStage.CLOSED), method)

    @rule(pick=ANY, choice=RARELY)
    def pay_too_late(self, pick, choice):
        order_id = self._some(pick, *(PAYABLE if choice == 0 else [OrderStage.CLOSED]))
        if choice == 0:
            self.world.advance(1300)
        self.world.pay_by_client(order_id, "pm_card_visa")

    @rule(pick=ANY, outcome=st.sampled_from(["succeed", "fail"]))
    def decide(self, pick, outcome):
        self.world.decide(self._some(pick, *PAYABLE), outcome)

    @rule(pick=ANY, choice=RARELY)
    def cancel(self, pick, choice):
        if choice == 0:
            self.world.cancel(self._some(pick))

    @rule(pick=ANY, amount=st.none() | st.integers(1, 20_000), message=ANY, fate=st.sampled_from(FATES))
    def refund(self, pick, amount, message, fate):
        self.world.refund(self._some(pick, *CONFIRMED), amount=amount)
        self._deliver_one(message, fate)

    @rule(pick=ANY, place=ANY, by_buyer=st.booleans(), message=ANY, fate=st.sampled_from(FATES))
    def refund_a_ticket(self, pick, place, by_buyer, message, fate):
        order_id = self._some(pick, *CONFIRMED)
        if tickets := self.world.tickets(order_id):
            self.world.refund(order_id, by_buyer=by_buyer, ticket_ids=[picked(tickets, place).id])
            self._deliver_one(message, fate)

    @rule(pick=ANY)
    def dispute(self, pick):
        self.world.dispute(self._some(pick, *CONFIRMED))

    @rule(outcome=st.sampled_from(["won", "lost"]))
    def close_disputes(self, outcome):
        self.world.close_disputes(outcome)

    @rule(outcome=st.sampled_from(["succeed", "fail"]))
    def settle_refunds(self, outcome):
        self.world.settle_refunds(outcome)

    @rule(sufficient=st.booleans())
    def fund(self, sufficient):
        self.http.fund(sufficient=sufficient)

    @rule(seconds=st.sampled_from([20, 130, 310, 1300]), choice=RARELY)
    def advance(self, seconds, choice):
        self.world.advance(seconds if choice == 0 else 5)

    @rule(choice=RARELY)
    def cancel_event(self, choice):
        if choice == 9:
            self.world.cancel_event()

    @rule(
        call=st.sampled_from(CALLS),
        when=st.sampled_from(MOMENTS),
        trouble=st.sampled_from([("error", 500), ("error", 429), ("error", 409), ("cut", 500)]),
        times=st.integers(1, 3),
    )
    def trouble(self, call, when, trouble, times):
        outcome, status = trouble
        self.standin.simulator.faults.add(Fault(call, times, when, outcome, status))

    @rule(message=ANY, fate=st.sampled_from(FATES), doubled=st.booleans())
    def deliver(self, message, fate, doubled):
        delivered = self._deliver_one(message, fate)
        if delivered and doubled:
            self.world.deliver(delivered)

    @rule(message=ANY)
    def lose(self, message):
        if self.world.queue:
            self.world.queue.remove(picked(self.world.queue, message))

    def _deliver_one(self, pick, fate):
        if not self.world.queue:
            return None
        message = picked(self.world.queue, pick)
        self.world.queue.remove(message)
        self.world.deliver(message, fate)
        return message

    @rule(pick=ANY, doubled=st.booleans(), lost=st.booleans())
    def receive_webhook(self, pick, doubled, lost):
        self.world.fetch_events()
        if self.world.mailbag:
            event = picked(self.world.mailbag, pick)
            if not doubled:
                self.world.mailbag.remove(event)
            if not lost:
                self.world.receive(event)

    @rule()
    def work(self):
        self.world.work()

    @rule()
    def ring(self):
        self.world.ring()

    def teardown(self):
        try:
            if hasattr(self, "world"):
                self._let_it_settle()
                self._check()
        finally:
            self.standin.simulator.faults.clear()
            balance.let_suffice(self.standin.simulator.store, sufficient=True)
            self.transaction.rollback()
            self.connection.close()

    def _let_it_settle(self):
        """Let all trouble end, a new worker begin, and time pass until nothing moves; no webhook comes any more."""
        self.standin.simulator.faults.clear()
        self.http.fund(sufficient=True)
        self.http.gateway = connect(self.standin)
        self.world.connect(self.http.gateway)
        moved = None
        for number in range(ROUNDS):
            self.world.advance(LATEST_END)
            for order_id in self.world.orders:
                self.world.decide(order_id, "succeed")
            # Cards that refuse every refund are replaced in the end.
            self.world.settle_refunds(only_pending=number >= ROUNDS - 3)
            self.world.close_disputes("lost")
            self.world.undo_cancelled()
            self.world.read_feed()
            self.world.retry_events()
            self.world.ring()
            self.world.work()
            before, moved = moved, self._moved()
            if moved == before:
                return

    def _moved(self):
        """Return all that a round could change: a round that changes nothing is followed by others like it."""
        told = self.world.rows("SELECT count(*) FROM order_timeline")
        tries = self.world.rows("SELECT id, status FROM payment_transactions ORDER BY id")
        return told, tries, self.world.rows("SELECT id, version FROM orders ORDER BY id"), len(self.world.queue)

    def _check(self):
        world = self.world
        TALLY.update(row.kind for row in world.rows("SELECT kind FROM order_timeline"))
        TALLY.update(f"{row.kind} {row.status}" for row in world.rows("SELECT kind, status FROM payment_transactions"))
        for order_id in world.orders:
            assert world.read(order_id).stage in {OrderStage.ISSUING, OrderStage.CLOSED}
        assert (
            world.rows("SELECT * FROM tier_counters WHERE (reserved, sold) <> (counted_reserved, counted_sold)") == []
        )
        assert world.rows("SELECT * FROM ticket_tiers WHERE reserved <> 0 OR sold > quantity") == []
        self._check_money()
        self._check_statement()
        self._check_logs()

    def _check_logs(self):
        for tier in self.world.rows("SELECT * FROM ticket_tiers"):
            rows = self.world.rows("SELECT * FROM fairness_entries WHERE tier_id = :id ORDER BY position", id=tier.id)
            title, *entries = published(rows, tier)
            assert [*checker.check_chain(title["tier_id"], entries), *checker.check_stock(entries)] == []
            assert title["head"]["position"] == len(entries)
            assert not entries or left_free(entries) == tier.quantity - tier.reserved - tier.sold

    def _check_statement(self):
        # Nobody draws pictures in this world, and what waits for them counts as moving.
        self.world.change("UPDATE orders SET stage = 'complete' WHERE stage = 'issuing'")
        statement = self.world.state()
        assert (statement.difference, statement.mismatches, statement.moving) == (0, [], [])

    def _check_money(self):
        at_stripe = {charge.intent_id: charge for charge in self.http.gateway.list_charges(self.world.event_id)}
        booked = self.world.rows(
            """
            SELECT attempt.provider_transaction_id AS intent_id, attempt.order_id, attempt.amount, ord.status,
                   coalesce(balance.charged - balance.refunded - balance.disputed, 0) AS kept,
                   coalesce(balance.refunded, 0) AS refunded, coalesce(balance.live_tickets, 0) AS live_tickets
            FROM payment_transactions AS attempt JOIN orders AS ord ON ord.id = attempt.order_id
            LEFT JOIN order_balance AS balance ON balance.order_id = ord.id
            WHERE attempt.kind = 'charge' AND attempt.status = 'succeeded'
            """
        )
        assert {row.intent_id for row in booked} == set(at_stripe)
        assert len({row.order_id for row in booked}) == len(booked), "nobody is charged twice"
        for row in booked:
            charge = at_stripe[row.intent_id]
            assert (charge.amount, charge.refunded) == (row.amount, row.refunded)
            assert row.kept == charge.amount - charge.refunded - charge.withdrawn
            assert (row.kept > 0) == (row.live_tickets > 0), "tickets or a refund, never both, never neither"
            if (left := self.http.left_at_the_promoter(charge.id)) is not None:
                came_back = sum(refund["amount"] for refund in self.http.failed_refunds(row.intent_id))
                due = charge.amount - charge.refunded
                assert max(0, due - came_back) <= left <= due, "a promoter pays once for what the buyer got back"
        assert not self.world.rows(
            "SELECT 1 FROM tickets JOIN orders ON orders.id = tickets.order_id"
            " WHERE tickets.status = 'valid' AND orders.status <> 'confirmed'"
        )
