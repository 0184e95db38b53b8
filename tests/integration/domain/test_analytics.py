import random
from collections import Counter, defaultdict
from datetime import UTC, datetime, timedelta
from statistics import median

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.orm import selectinload
from uuid_utils.compat import uuid7

from domain import analytics
from domain.audit import Actor
from domain.errors import ForbiddenError, InvalidError
from domain.models import AnalyticsRefresh, CheckInScan, EmailNotification, Event, Order, Ticket, Waitlist
from domain.rules.states import (
    MailStatus,
    OrderReason,
    OrderStage,
    OrderStatus,
    TeamRight,
    UserRole,
    WaitlistStatus,
)
from tests.factories import (
    CheckInScanFactory,
    EmailNotificationFactory,
    EventFactory,
    OrderFactory,
    TeamMemberFactory,
    TicketTierFactory,
    WaitlistFactory,
    bound_to,
)

NOW = datetime.now(UTC)
MONTH = timedelta(days=31)
ADMIN = Actor(user_id=uuid7(), role=UserRole.ADMIN)
VIEWS = [
    "check_ins_by_quarter",
    "hold_conversion",
    "mail_engagement",
    "order_funnel",
    "refusals_by_reason",
    "sales_by_hour",
    "waitlist_outcomes",
]


@pytest.fixture
def sale(sessions):
    """Commit two events' worth of whatever can happen, by a fixed seed; return the ids of the events."""
    chance = random.Random(20270612)
    with sessions.begin() as session, bound_to(session):
        events = [EventFactory() for _ in range(2)]
        tiers = [TicketTierFactory(event=event, price=price) for event in events for price in (0, 1000)]
        for _ in range(40):
            _make_order(chance, chance.choice(tiers))
        for _ in range(20):
            _make_entry(chance, chance.choice(tiers))
    return [event.id for event in events]


def _make_order(chance, tier):
    stage = chance.choice([*OrderStage, OrderStage.COMPLETE, OrderStage.COMPLETE, OrderStage.CLOSED])
    values = {"tier": tier, "stage": stage, "quantity": chance.randint(1, 4)}
    if stage == OrderStage.CLOSED:
        values["reason"] = chance.choice([OrderReason.SOLD_OUT, OrderReason.HOLD_EXPIRED, OrderReason.DECLINED])
        if chance.random() < 0.3:
            values |= {"reason": None, "status": OrderStatus.REFUNDED, "confirmed_at": _moment(chance)}
    if stage in {OrderStage.ISSUING, OrderStage.COMPLETE}:
        confirmed_at = _moment(chance)
        values |= {"confirmed_at": confirmed_at, "held_at": confirmed_at - timedelta(seconds=chance.randint(5, 300))}
    order = OrderFactory(**values)
    if order.confirmed_at:
        status = chance.choice([MailStatus.SENT, MailStatus.DELIVERED, MailStatus.BOUNCED, MailStatus.PENDING])
        mail = {"template": "order_confirmed", "purpose": f"order_confirmed:{order.id}"}
        mail |= {"order": order, "event_id": order.event_id}
        opened_at = _moment(chance) if status == MailStatus.DELIVERED and chance.random() < 0.5 else None
        EmailNotificationFactory(status=status, opened_at=opened_at, **mail)
        # To a holder who has no order.
        EmailNotificationFactory(status=status, template="reminder", event_id=order.event_id)
    if stage == OrderStage.COMPLETE:
        _scan(chance, order)


def _scan(chance, order):
    for _ in range(chance.randint(0, 3)):
        result = chance.choice(["unknown", "bad_signature"])
        CheckInScanFactory(
            event_id=order.event_id, ticket_id=None, ticket=None, result=result, scanned_at=_moment(chance)
        )


def _make_entry(chance, tier):
    status = chance.choice(list(WaitlistStatus))
    values = {"tier": tier, "status": status, "quantity": chance.randint(1, 3)}
    if status in {WaitlistStatus.ACCEPTED, WaitlistStatus.DECLINED, WaitlistStatus.EXPIRED}:
        values["offered_at"] = _moment(chance)
    WaitlistFactory(**values)


def _moment(chance):
    return NOW - timedelta(seconds=chance.randint(0, 48 * 3600))


@pytest.fixture
def refreshed(sessions, sale):
    analytics.refresh(sessions)
    return sale


def read(session, event_id, since=NOW - MONTH, until=NOW + timedelta(seconds=1), actor=ADMIN):
    return analytics.read(session, actor, event_id, since, until)


def test_the_runtime_role_refreshes_them_and_notes_when(sessions, sale):
    with sessions() as session:
        assert read(session, sale[0]).as_of is None
        assert session.scalar(text("SELECT current_user")) == "vendor_app"
    for _ in range(2):
        with sessions() as session:
            began = session.scalar(text("SELECT now()"))
        assert analytics.refresh(sessions) == VIEWS
        with sessions() as session:
            noted = {row.view: row.refreshed_at for row in session.scalars(select(AnalyticsRefresh))}
            assert sorted(noted) == VIEWS
            assert read(session, sale[0]).as_of == min(noted.values()) > began


def test_one_that_fails_keeps_none_of_the_others_back(sessions, sale, monkeypatch):
    monkeypatch.setattr(analytics, "VIEWS", text("SELECT unnest(ARRAY['no_such_view', 'sales_by_hour'])"))
    with pytest.raises(ProgrammingError, match="no_such_view"):
        analytics.refresh(sessions)
    with sessions() as session:
        assert session.scalars(select(AnalyticsRefresh.view)).all() == ["sales_by_hour"]


def test_they_have_no_age_until_each_was_refreshed(sessions, refreshed):
    with sessions.begin() as session:
        session.execute(text("DELETE FROM analytics_refreshes WHERE view = 'mail_engagement'"))
        assert read(session, refreshed[0]).as_of is None


def test_an_event_without_anything_has_figures_too(sessions, refreshed):
    with sessions.begin() as session:
        event_id = EventFactory(session=session).id
    with sessions() as session:
        figures = read(session, event_id)
    assert figures.funnel == analytics.NO_ORDERS
    assert figures.hold_conversion == analytics.NO_HOLDS
    rows = (figures.sales, figures.refusals, figures.unmet_demand, figures.waitlist, figures.check_ins, figures.mail)
    assert [list(found) for found in rows] == [[]] * 6


def test_sales_and_check_ins_are_those_of_the_time_that_is_asked_for(sessions, refreshed):
    with sessions() as session:
        whole = read(session, refreshed[0])
        hours = sorted({row["hour"] for row in whole.sales})
        since, until = hours[1], hours[-1]
        part = read(session, refreshed[0], since, until)
    assert len(hours) > 2
    assert part.sales == [row for row in whole.sales if since <= row["hour"] < until]
    assert part.check_ins == [row for row in whole.check_ins if since <= row["quarter"] < until]
    assert part.mail == whole.mail


def test_what_the_views_say_equals_what_a_person_counts_row_by_row(sessions, refreshed):
    counts = Counter()
    with sessions() as session:
        for event_id in refreshed:
            figures = read(session, event_id)
            orders = session.scalars(
                select(Order).where(Order.event_id == event_id).options(selectinload(Order.items))
            ).all()
            entries = session.scalars(select(Waitlist).where(Waitlist.event_id == event_id)).all()
            mails = session.scalars(select(EmailNotification).where(EmailNotification.event_id == event_id)).all()
            tickets = session.scalars(select(Ticket).where(Ticket.event_id == event_id)).all()
            scans = session.scalars(select(CheckInScan).where(CheckInScan.event_id == event_id)).all()
            assert by(figures.sales, "hour", "tier_id") == count_sales(orders)
            assert figures.funnel == count_funnel(orders, tickets, mails)
            assert by(figures.refusals, "tier_id", "reason") == count_refusals(orders)
            assert by(figures.unmet_demand, "tier_id") == count_unmet_demand(orders, entries)
            assert figures.hold_conversion == count_hold_conversion(orders)
            assert by(figures.waitlist, "tier_id") == count_waitlist(entries)
            assert by(figures.check_ins, "quarter", "result") == count_check_ins(scans)
            assert by(figures.mail, "template") == count_mail(mails)
            counts.update(sales=len(figures.sales), refusals=len(figures.refusals), demand=len(figures.unmet_demand))
            counts.update(entries=len(figures.waitlist), check_ins=len(figures.check_ins), mail=len(figures.mail))
    assert min(counts.values()) > 0


def by(rows, *names):
    """Return rows by their key, each as the figures beside it."""
    return {
        tuple(row[name] for name in names): {name: value for name, value in row.items() if name not in names}
        for row in rows
    }


def tally(keyed):
    """Add up figures by key."""
    sums = defaultdict(Counter)
    for place, figures in keyed:
        sums[place].update(figures)
    return sums


def count_sales(orders):
    return tally(
        (
            (order.confirmed_at.replace(minute=0, second=0, microsecond=0), item.tier_id),
            {"orders": 1, "tickets": item.quantity, "gross": item.subtotal + item.fees + item.tax},
        )
        for order in orders
        if order.confirmed_at
        for item in order.items
    )


def count_funnel(orders, tickets, mails):
    drawn = tally((ticket.order_id, {ticket.qr_payload is not None: 1}) for ticket in tickets)
    issued = {order_id for order_id, counts in drawn.items() if not counts[False]}
    delivered = {mail.order_id for mail in mails if mail.delivered_at}
    return {
        "accepted": len(orders),
        "held": sum(order.held_at is not None for order in orders),
        "paid": sum(order.confirmed_at is not None for order in orders),
        "issued": len(issued),
        "delivered": len(issued & delivered),
    }


def count_refusals(orders):
    return tally(
        ((item.tier_id, order.reason), {"orders": 1, "tickets": item.quantity})
        for order in orders
        if order.status is OrderStatus.CANCELLED
        for item in order.items
    )


def count_unmet_demand(orders, entries):
    nothing = {"refused_tickets": 0, "waiting_entries": 0, "waiting_tickets": 0}
    refused = [
        ((item.tier_id,), {**nothing, "refused_tickets": item.quantity})
        for order in orders
        if order.reason is OrderReason.SOLD_OUT
        for item in order.items
    ]
    waiting = [
        ((entry.tier_id,), {**nothing, "waiting_entries": 1, "waiting_tickets": entry.quantity})
        for entry in entries
        if entry.is_waiting
    ]
    return tally([*refused, *waiting])


def count_hold_conversion(orders):
    held = [order for order in orders if order.held_at and order.total]
    seconds = [(order.confirmed_at - order.held_at).total_seconds() for order in held if order.confirmed_at]
    return {
        "held": len(held),
        "paid": len(seconds),
        "pending": sum(order.is_pending for order in held),
        "median_seconds": pytest.approx(median(seconds)),
    }


def count_waitlist(entries):
    ends = ("waiting", "accepted", "declined", "expired", "left")
    return tally(
        (
            (entry.tier_id,),
            {
                "joined": 1,
                "offered": int(entry.offered_at is not None),
                "waiting_tickets": entry.quantity if entry.is_waiting else 0,
                **{status: int(entry.status == status) for status in ends},
            },
        )
        for entry in entries
    )


def count_check_ins(scans):
    return tally(
        (
            (scan.scanned_at.replace(minute=scan.scanned_at.minute // 15 * 15, second=0, microsecond=0), scan.result),
            {"scans": 1},
        )
        for scan in scans
    )


def count_mail(mails):
    told = ("sent", "delivered", "opened", "clicked", "bounced")
    return tally(
        (
            (mail.template,),
            {"written": 1, **{name: int(getattr(mail, f"{name}_at") is not None) for name in told}},
        )
        for mail in mails
    )


def test_sellers_may_read_them_and_others_may_not(sessions, sale):
    with sessions() as session, bound_to(session):
        event = session.get_one(Event, sale[0])
        rights = {right: TeamMemberFactory(promoter_id=event.promoter_id, rights=[right]).user for right in TeamRight}
        for right, user in rights.items():
            actor = Actor(user_id=user.id, role=user.role)
            if right == TeamRight.SELL:
                assert read(session, sale[0], actor=actor).event is event
            else:
                with pytest.raises(ForbiddenError):
                    read(session, sale[0], actor=actor)


class TestWindow:
    def test_is_the_last_month_where_nothing_is_said(self):
        assert analytics.window(None, None, NOW) == (NOW - MONTH, NOW)
        assert analytics.window(None, NOW - MONTH, NOW) == (NOW - 2 * MONTH, NOW - MONTH)

    def test_is_a_quarter_of_a_year_at_most(self):
        quarter = timedelta(days=92)
        assert analytics.window(NOW - quarter, NOW, NOW) == (NOW - quarter, NOW)
        for since, until in ((NOW - quarter - timedelta(seconds=1), NOW), (NOW, NOW), (NOW, NOW - MONTH)):
            with pytest.raises(InvalidError) as refusal:
                analytics.window(since, until, NOW)
            assert refusal.value.pointer == "/since"
