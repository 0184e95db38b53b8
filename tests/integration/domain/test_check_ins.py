import secrets
from contextlib import contextmanager
from datetime import timedelta

import pytest
from sqlalchemy import event as sql_event
from sqlalchemy import select
from uuid_utils.compat import uuid7

from domain import check_ins
from domain.check_ins import Scan
from domain.errors import ConflictError, ForbiddenError, NotFoundError
from domain.models import AuditLog, CheckInScan, PaymentTransaction, WebhookDelivery
from domain.rules.states import EventStatus, ScanResult, TeamRight, TicketStatus
from tests.factories import CheckInScanFactory, WebhookEndpointFactory, bound_to
from tests.integration.domain.gates import Gate, member, open_event, payload, scan, tickets_of

R = ScanResult


@pytest.fixture
def event(session):
    with bound_to(session):
        yield open_event()


@pytest.fixture
def gate(event):
    return Gate(event)


@pytest.fixture
def ticket(session, event):
    (ticket,) = tickets_of(session, event)
    return ticket


def fresh(session, ticket):
    session.refresh(ticket)
    return ticket


def audits(session, action):
    return session.scalars(select(AuditLog).where(AuditLog.action == action)).all()


class TestResults:
    def test_a_good_ticket_lets_in_once_and_then_says_when_and_where_it_was_used(self, session, event, gate, ticket):
        (first,) = gate.upload(session, scan(ticket))
        assert (first.scan.result, first.scan.is_admitted, first.scan.gate) == (R.ACCEPTED, True, "North")
        assert fresh(session, ticket).is_used
        assert (ticket.checked_in_at, ticket.checked_in_by_id) == (gate.now, gate.scanner.user_id)
        (second,) = Gate(event, "South").upload(session, scan(ticket))
        assert (second.scan.result, second.scan.is_admitted) == (R.ALREADY_USED, False)
        earlier = second.scan.earlier
        assert (earlier.id, earlier.gate, earlier.scanned_at) == (first.scan.id, "North", gate.now)

    def test_a_code_that_was_typed_in_will_do(self, session, gate, ticket):
        assert gate.show(session, Scan("1", ticket.code, is_signed=False)) == [R.ACCEPTED]

    def test_the_same_ticket_twice_in_one_upload_lets_in_once(self, session, gate, ticket):
        first, second = gate.upload(session, scan(ticket), scan(ticket))
        assert (first.scan.result, second.scan.result) == (R.ACCEPTED, R.ALREADY_USED)
        assert second.scan.earlier.id == first.scan.id

    @pytest.mark.parametrize(
        ("change", "result"),
        [
            ({"status": TicketStatus.CANCELLED}, R.CANCELLED),
            ({"status": TicketStatus.REFUNDED}, R.REFUNDED),
            ({"blocked_at": True}, R.DISPUTED),
            ({"refund_id": True}, R.REFUNDED),
        ],
    )
    def test_a_ticket_that_opens_no_door_says_why(self, session, gate, ticket, change, result):
        spoil(session, ticket, change)
        assert gate.show(session, scan(ticket)) == [result]
        assert fresh(session, ticket).checked_in_at is None

    def test_tickets_of_elsewhere_and_of_nobody(self, session, event, gate, ticket):
        (foreign,) = tickets_of(session, open_event())
        shown = {
            scan(foreign): R.WRONG_EVENT,
            Scan("typed", foreign.code, is_signed=False): R.WRONG_EVENT,
            scan(ticket, event_id=uuid7()): R.WRONG_EVENT,
            Scan("guessed", secrets.token_urlsafe(16), is_signed=False): R.UNKNOWN,
            Scan("nonsense", "http://example.com/\x00menu", is_signed=False): R.UNKNOWN,
            Scan("forged", payload(ticket) + "1", is_signed=True): R.BAD_SIGNATURE,
            scan(ticket, code=secrets.token_urlsafe(16)): R.TRANSFERRED,
            scan(ticket, version=2): R.TRANSFERRED,
        }
        outcomes = gate.upload(session, *shown)
        assert [outcome.scan.result for outcome in outcomes] == list(shown.values())
        assert {outcome.scan.ticket_id for outcome in outcomes} == {None}
        assert fresh(session, ticket).is_valid

    @pytest.mark.parametrize(
        ("values", "result"),
        [
            ({"starts_at": timedelta(hours=3), "doors_at": timedelta(hours=2)}, R.NOT_YET_OPEN),
            ({"starts_at": timedelta(hours=3), "doors_at": timedelta(minutes=59)}, R.ACCEPTED),
            ({"starts_at": timedelta(hours=-4), "doors_at": None}, R.EVENT_OVER),
            ({"status": EventStatus.CANCELLED}, R.EVENT_CANCELLED),
        ],
    )
    def test_the_event_must_be_open(self, session, gate, values, result):
        moved = {key: gate.now + value if isinstance(value, timedelta) else value for key, value in values.items()}
        event = open_event(**moved)
        (ticket,) = tickets_of(session, event)
        assert Gate(event).show(session, scan(ticket)) == [result]
        assert fresh(session, ticket).is_used == (result is R.ACCEPTED)

    def test_who_was_let_in_is_told_by_webhook(self, session, event, gate, ticket):
        WebhookEndpointFactory(promoter_id=event.promoter_id)
        first, *_ = gate.upload(session, scan(ticket, offline_at=gate.now), scan(ticket))
        gate.upload(session, scan(ticket))
        (told,) = session.scalars(select(WebhookDelivery)).all()
        scanned = {"ticket_id": str(ticket.id), "scan_id": str(first.scan.id), "offline": True}
        assert (told.type, told.data) == ("ticket.checked_in", {"event_id": str(event.id), **scanned})


class TestRepeating:
    def test_a_repetition_is_answered_like_the_first_and_counts_once(self, session, event, gate, ticket):
        shown = scan(ticket)
        (first,) = gate.upload(session, shown)
        gate.now += timedelta(hours=10)
        twice = gate.upload(session, shown, shown)
        assert [(it.scan.id, it.scan.result, it.is_repeated) for it in twice] == [(first.scan.id, R.ACCEPTED, True)] * 2
        assert not first.is_repeated
        assert len(session.scalars(select(CheckInScan)).all()) == 1
        assert len(audits(session, "event.check_in")) == 1

    def test_a_nonce_that_stands_for_another_scan_records_nothing(self, session, event, gate):
        one, other = tickets_of(session, event, 2)
        gate.upload(session, scan(one, nonce="n"))
        (outcome,) = gate.upload(session, scan(other, nonce="n"))
        assert (outcome.nonce, outcome.scan, outcome.is_repeated) == ("n", None, False)
        within = gate.upload(session, scan(other, nonce="m"), scan(one, nonce="m"))
        assert [it.scan and it.scan.result for it in within] == [R.ACCEPTED, None]
        elsewhere = open_event(promoter=event.promoter)
        assert Gate(elsewhere, scanner=gate.scanner).upload(session, scan(one, nonce="n"))[0].scan is None

    def test_nonces_are_each_persons_own(self, session, event, gate):
        one, other = tickets_of(session, event, 2)
        assert gate.show(session, scan(one, nonce="1")) == [R.ACCEPTED]
        assert Gate(event).show(session, scan(other, nonce="1")) == [R.ACCEPTED]


class TestOffline:
    def test_what_happened_is_recorded_at_its_time_even_after_the_event(self, session, event, gate, ticket):
        then = gate.now
        gate.now += timedelta(days=1)
        (outcome,) = gate.upload(session, scan(ticket, offline_at=then))
        assert (outcome.scan.result, outcome.scan.is_conflict) == (R.ACCEPTED, False)
        assert fresh(session, ticket).checked_in_at == outcome.scan.scanned_at == then
        assert outcome.scan.recorded_at == gate.now

    def test_a_ticket_that_was_used_elsewhere_meanwhile_is_a_conflict_with_both(self, session, event, gate, ticket):
        (online,) = gate.upload(session, scan(ticket))
        before = gate.now - timedelta(minutes=10)
        (late,) = Gate(event, "South").upload(session, scan(ticket, offline_at=before))
        assert (late.scan.result, late.scan.is_conflict, late.scan.is_admitted) == (R.ALREADY_USED, True, False)
        assert (late.scan.earlier.id, late.scan.scanned_at) == (online.scan.id, before)
        assert fresh(session, ticket).checked_in_at == gate.now

    @pytest.mark.parametrize(
        ("change", "result", "is_used"),
        [
            ({"status": TicketStatus.REFUNDED}, R.REFUNDED, False),
            ({"blocked_at": True}, R.DISPUTED, True),
            ({"refund_id": True}, R.REFUNDED, True),
        ],
    )
    def test_where_it_should_have_been_refused_the_seat_is_taken_all_the_same(
        self, session, gate, ticket, change, result, is_used
    ):
        spoil(session, ticket, change)
        (outcome,) = gate.upload(session, scan(ticket, offline_at=gate.now))
        assert (outcome.scan.result, outcome.scan.is_conflict, outcome.scan.is_admitted) == (result, True, is_used)
        assert fresh(session, ticket).is_used == is_used

    def test_clocks_that_are_wrong_are_bounded(self, session, event, gate):
        ahead, behind = tickets_of(session, event, 2)
        wrong = (gate.now + timedelta(days=400), gate.now - timedelta(days=4000))
        outcomes = gate.upload(session, *map(lambda it, at: scan(it, offline_at=at), (ahead, behind), wrong))
        opened = event.doors_at - timedelta(hours=1)
        assert [outcome.scan.scanned_at for outcome in outcomes] == [gate.now, opened - timedelta(days=1)]


class TestUndoing:
    def test_the_ticket_lets_in_again_and_a_repetition_changes_nothing(self, session, event, gate, ticket):
        (first,) = gate.upload(session, scan(ticket))
        boss = member(event, TeamRight.MANAGE)
        undone = check_ins.undo(session, boss, first.scan.id, gate.now)
        assert (undone.undone_at, undone.undone_by_id) == (gate.now, boss.user_id)
        assert fresh(session, ticket).is_valid
        assert ticket.checked_in_at is ticket.checked_in_by_id is None
        (second,) = gate.upload(session, scan(ticket))
        assert (second.scan.result, second.scan.earlier) == (R.ACCEPTED, None)
        check_ins.undo(session, boss, first.scan.id, gate.now + timedelta(hours=1))
        assert fresh(session, ticket).is_used
        (entry,) = audits(session, "check_in.undo")
        assert (entry.actor_id, entry.entity_id) == (boss.user_id, first.scan.id)
        assert entry.old_data["ticket_id"] == str(ticket.id)

    def test_what_let_nobody_in_or_was_taken_back_since_stays(self, session, event, gate, ticket):
        boss = member(event, TeamRight.MANAGE)
        first, second = gate.upload(session, scan(ticket), scan(ticket))
        (stranger,) = gate.upload(session, Scan("?", "none", is_signed=False))
        session.refresh(ticket)
        ticket.status = TicketStatus.REFUNDED
        for outcome in (first, second, stranger):
            with pytest.raises(ConflictError) as refused:
                check_ins.undo(session, boss, outcome.scan.id, gate.now)
            assert refused.value.code == "check-in-not-undoable"
        assert fresh(session, ticket).checked_in_at == gate.now

    def test_it_is_for_who_may_manage(self, session, event, gate, ticket):
        (outcome,) = gate.upload(session, scan(ticket))
        with pytest.raises(ForbiddenError):
            check_ins.undo(session, gate.scanner, outcome.scan.id, gate.now)
        hidden = open_event(is_private=True)
        theirs = CheckInScanFactory(ticket=tickets_of(session, hidden)[0])
        for scan_id in (theirs.id, uuid7()):
            with pytest.raises(NotFoundError, match="There is no such check-in"):
                check_ins.undo(session, gate.scanner, scan_id, gate.now)


def test_scanning_needs_the_right_in_this_event(session, event, ticket):
    with pytest.raises(ForbiddenError):
        Gate(event, scanner=member(event, TeamRight.SELL, TeamRight.MANAGE)).upload(session, scan(ticket))
    with pytest.raises(ForbiddenError):
        Gate(event, scanner=member(open_event(), TeamRight.SCAN)).upload(session, scan(ticket))


def test_five_hundred_scans_take_as_many_statements_as_one(session, event, gate):
    WebhookEndpointFactory(promoter_id=event.promoter_id)
    tickets = tickets_of(session, event, 500)
    counts = []
    for batch in (tickets[:1], tickets[1:]):
        statements = []
        with heard(session, statements):
            assert set(gate.show(session, *map(scan, batch))) == {R.ACCEPTED}
        counts.append(len(statements))
    assert counts[0] == counts[1] <= 16, statements
    assert len(session.scalars(select(WebhookDelivery)).all()) == len(tickets)


@contextmanager
def heard(session, statements):
    def hear(_connection, _cursor, statement, *_details):
        statements.append(statement)

    sql_event.listen(session.connection(), "before_cursor_execute", hear)
    yield
    sql_event.remove(session.connection(), "before_cursor_execute", hear)


def spoil(session, ticket, change):
    """Let a dispute block the ticket, a refund be asked for it, or its status change."""
    charge = session.scalars(select(PaymentTransaction).where(PaymentTransaction.order_id == ticket.order_id)).first()
    happened = {"blocked_at": ticket.created_at, "refund_id": charge.id}
    for name, value in change.items():
        setattr(ticket, name, happened.get(name, value))
    session.flush()
