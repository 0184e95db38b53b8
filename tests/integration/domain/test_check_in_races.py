"""Gates on connections of their own, committed for real: who comes first goes in, and nobody else."""

import random
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from threading import Thread

import pytest
from sqlalchemy import func, select, text

from domain import check_ins, door, tickets
from domain.audit import Actor
from domain.check_ins import Scan
from domain.models import CheckInScan, Ticket
from domain.rules.states import ScanResult, TeamRight, TicketStatus, UserRole
from domain.transitions import lock_order
from tests.factories import bound_to
from tests.integration.domain.gates import Gate, member, open_event, scan, tickets_of
from tests.integration.market import until

R = ScanResult
ADMIN = Actor(role=UserRole.ADMIN)


@pytest.fixture
def rows(sessions):
    with sessions() as session, bound_to(session):
        yield session
        session.rollback()


@pytest.fixture
def event(rows):
    return open_event()


def in_transaction(sessions, act):
    with sessions.begin() as session:
        return act(session)


def waiting(engine):
    with engine.connect() as connection:
        return connection.scalar(text("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"))


class Later(Thread):
    """Uploads scans on a connection of its own, and returns once it waits for a lock."""

    def __init__(self, sessions, engine, gate, *scans):
        super().__init__()
        self._upload = lambda: in_transaction(sessions, lambda session: gate.upload(session, *scans))
        self.start()
        until(lambda: waiting(engine) == 1)

    def run(self):
        self.outcomes = self._upload()

    def results(self):
        self.join(10)
        return [outcome.scan.result for outcome in self.outcomes]


def test_two_gates_scan_one_ticket_at_the_same_moment(rows, event, sessions, engine):
    (ticket,) = tickets_of(rows, event)
    north, south = Gate(event), Gate(event, "South")
    rows.commit()
    with sessions.begin() as session:
        assert north.show(session, scan(ticket)) == [R.ACCEPTED]
        later = Later(sessions, engine, south, scan(ticket))
    assert later.results() == [R.ALREADY_USED]
    assert later.outcomes[0].scan.earlier.gate == "North"


def test_a_repetition_that_overtakes_its_first_request_waits_for_it(rows, event, sessions, engine):
    (ticket,) = tickets_of(rows, event)
    gate, shown = Gate(event), scan(ticket)
    rows.commit()
    with sessions.begin() as session:
        assert gate.show(session, shown) == [R.ACCEPTED]
        again = Later(sessions, engine, gate, shown)
    assert again.results() == [R.ACCEPTED]
    assert again.outcomes[0].is_repeated


def test_a_refund_that_has_begun_is_before_the_scan(rows, event, sessions, engine):
    (ticket,) = tickets_of(rows, event)
    gate = Gate(event)
    rows.commit()
    with sessions.begin() as session:
        order = lock_order(session, ticket.order_id)
        later = Later(sessions, engine, gate, scan(ticket))
        tickets.withdraw(session, order, TicketStatus.REFUNDED)
    assert later.results() == [R.REFUNDED]


def test_gates_that_scan_the_same_orders_backwards_never_wait_in_a_circle(rows, event, sessions):
    sold = [ticket for _ in range(5) for ticket in tickets_of(rows, event, 8)]
    gates = [Gate(event, f"{name}") for name in range(4)]
    rows.commit()

    def upload(gate, order):
        return in_transaction(sessions, lambda session: gate.show(session, *map(scan, order)))

    for _ in range(5):
        orders = [sold, sold[::-1], random.sample(sold, len(sold)), random.sample(sold, len(sold))]
        with ThreadPoolExecutor(4) as pool:
            results = [result for found in pool.map(upload, gates, orders) for result in found]
        assert results.count(R.ACCEPTED) <= len(sold)
    with sessions() as session:
        assert set(session.scalars(select(Ticket.status))) == {TicketStatus.USED}


def test_two_thousand_go_in_once_each_through_four_gates(rows, event, sessions):
    # Each ticket at two gates, some of it offline; each upload is sent twice, and a few check-ins are undone.
    sold = [ticket for name in ("Standing", "Balcony") for ticket in tickets_of(rows, event, 1000, name=name)]
    gates = [Gate(event, name) for name in ("North", "East", "South", "West")]
    boss = member(event, TeamRight.MANAGE)
    now = gates[0].now
    rows.commit()
    dice = random.Random(7)
    plans = [[] for _ in gates]
    for ticket in sold:
        for plan in dice.sample(plans, 2):
            plan.append(scan(ticket, offline_at=now if dice.random() < 0.1 else None))
    for number, plan in enumerate(plans):
        plan.append(Scan(f"guess {number}", "x" * 22, is_signed=False))
        dice.shuffle(plan)

    def work(gate, plan):
        found = []
        for start in range(0, len(plan), 100):
            for _ in range(2):
                part = plan[start : start + 100]
                outcomes = in_transaction(sessions, lambda session, part=part: gate.upload(session, *part))
            found += [(outcome.scan.id, outcome.scan.result, outcome.scan.is_conflict) for outcome in outcomes]
        return found

    with ThreadPoolExecutor(4) as pool:
        told = [line for found in pool.map(work, gates, plans) for line in found]
    accepted = [scan_id for scan_id, result, _ in told if result is R.ACCEPTED]
    assert Counter(result for _, result, _ in told) == {R.ACCEPTED: 2000, R.ALREADY_USED: 2000, R.UNKNOWN: 4}
    for scan_id in accepted[:20]:
        in_transaction(sessions, lambda session, it=scan_id: check_ins.undo(session, boss, it, now))
    with sessions() as session:
        figures = door.read_figures(session, boss_of(event), event.id)
        assert figures.total.inside == 1980 == count(session, Ticket, Ticket.status == TicketStatus.USED)
        assert figures.total.conflicts == sum(is_conflict for *_, is_conflict in told) > 0
        assert figures.total.refused + figures.total.conflicts == 2004
        for tier in figures.tiers:
            used = count(session, Ticket, Ticket.tier_id == tier.tier.id, Ticket.status == TicketStatus.USED)
            assert (tier.tickets, tier.inside, tier.left) == (1000, used, 1000 - used)
        for gate, tally in figures.gates.items():
            mine = [CheckInScan.gate == gate, CheckInScan.is_admitted, CheckInScan.undone_at.is_(None)]
            assert tally.inside == count(session, CheckInScan, *mine)
        refused = select(CheckInScan.result, func.count()).where(
            CheckInScan.result != R.ACCEPTED, ~CheckInScan.is_offline
        )
        assert figures.refusals == dict(session.execute(refused.group_by(CheckInScan.result)).all())


def count(session, model, *conditions):
    return session.scalar(select(func.count()).select_from(model).where(*conditions))


def boss_of(event):
    return Actor(user_id=event.promoter.user_id, role=UserRole.PROMOTER)
