"""What rounds write into the log: everything that moves stock, in the order of the decisions."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select, text

from domain import allocation
from domain.fairness import find_place, read_pages
from domain.models import FairnessEntry, Order, OrderItem
from domain.rules.states import EventStatus, InventoryState, OrderStage
from tests.factories import EventFactory, OrderFactory, TicketTierFactory, UserFactory, WaitlistFactory, bound_to
from tests.fixtures.fairness import left_free, published, receipts, wrongs
from tests.integration.market import CLOCKS

START = datetime.now(UTC)


@pytest.fixture(autouse=True)
def _rows(session):
    with bound_to(session):
        yield


@pytest.fixture
def serve(session):
    moments = (START + timedelta(seconds=number) for number in range(1000))

    def serve(tier, **values):
        outcome = allocation.serve(session, tier.id, next(moments), CLOCKS, **{"batch": 100, **values})
        session.commit()
        session.expire_all()
        return outcome

    return serve


def read(session, tier):
    return session.scalars(
        select(FairnessEntry).where(FairnessEntry.tier_id == tier.id).order_by(FairnessEntry.position)
    ).all()


def told(session, tier):
    return [
        (entry.kind.value, entry.sequence, entry.quantity, entry.reason and entry.reason.value)
        for entry in read(session, tier)
    ]


@pytest.fixture
def holds(session, capsys, tmp_path):
    """Tell whether the published checker finds nothing wrong, with the receipts of these orders."""

    def holds(tier, *orders):
        query = select(OrderItem.id).where(OrderItem.tier_id == tier.id)
        item_ids = session.scalars(query.where(OrderItem.order_id.in_([order.id for order in orders])))
        places = [find_place(session, item_id)[1] for item_id in item_ids]
        assert len(places) == len(orders)
        kept = [receipts.receipt(place, tier.id).model_dump(mode="json") for place in places]
        log = published(read(session, tier), tier)
        assert wrongs(log, *kept, capsys=capsys, tmp_path=tmp_path) == []
        assert left_free(log[1:]) == tier.available
        return True

    return holds


def test_a_line_is_told_in_the_order_of_its_decisions(session, serve, holds):
    tier = TicketTierFactory(quantity=3, max_per_person=2)
    buyer = UserFactory()
    orders = [OrderFactory(tier=tier, sequence=n, quantity=q) for n, q in ((10, 2), (20, 2), (40, 1))]
    greedy = [OrderFactory(tier=tier, sequence=n, quantity=2, user=buyer) for n in (30, 31)]
    serve(tier)
    assert told(session, tier) == [
        ("stock", None, 3, None),
        ("served", 10, 2, None),
        ("refused", 20, 2, "sold_out"),
        ("refused", 30, 2, "sold_out"),
        ("refused", 31, 2, "sold_out"),
        ("served", 40, 1, None),
    ]
    assert tier.fairness_position == 6
    assert holds(tier, *orders, *greedy)


def test_rounds_are_chained_and_those_that_decide_nothing_say_nothing(session, serve, holds):
    tier = TicketTierFactory(quantity=5)
    serve(tier)
    assert (told(session, tier), tier.fairness_position) == ([], 0)
    orders = [OrderFactory(tier=tier) for _ in range(7)]
    for _ in range(4):
        serve(tier, batch=2)
    assert [kind for kind, *_ in told(session, tier)] == ["stock", *["served"] * 5, *["refused"] * 2]
    assert holds(tier, *orders)


def test_what_comes_back_is_told_before_it_goes_to_the_next(session, serve, holds):
    tier = TicketTierFactory(quantity=2)
    gone = OrderFactory(tier=tier, quantity=2, stage=OrderStage.HELD, sequence=1)
    left = OrderFactory(tier=tier, sequence=2)
    WaitlistFactory(tier=tier, quantity=1, sequence=3)
    queued = OrderFactory(tier=tier, sequence=4)
    for order in (gone, left):
        order.items[0].desired_state = InventoryState.RELEASED
    serve(tier)
    assert told(session, tier) == [
        ("stock", None, 0, None),
        ("release", 1, 2, None),
        ("release", 2, 0, None),
        ("offer", 3, 1, None),
        ("served", 4, 1, None),
    ]
    offered = session.scalars(select(Order).where(Order.sequence == 3)).one()
    assert holds(tier, gone, left, queued, offered)


def test_single_tickets_come_back_and_payments_take_nothing(session, serve, holds):
    tier = TicketTierFactory(quantity=9)
    paid, part = (OrderFactory(tier=tier, quantity=3, stage=OrderStage.HELD, sequence=n) for n in (1, 2))
    part.items[0].inventory_state = InventoryState.SOLD
    tier.reserved, tier.sold = 3, 3
    paid.items[0].desired_state = part.items[0].desired_state = InventoryState.SOLD
    part.items[0].desired_returned = 2
    serve(tier)
    assert told(session, tier) == [("stock", None, 3, None), ("release", 2, 2, None)]
    assert holds(tier, part)


@pytest.mark.parametrize(
    ("quantity", "status", "reason"),
    [
        (1, EventStatus.PUBLISHED, None),
        (0, EventStatus.PUBLISHED, "sold_out"),
        (1, EventStatus.CANCELLED, "event_cancelled"),
    ],
)
def test_late_payments_are_told_whether_they_got_their_stock_again(session, serve, holds, quantity, status, reason):
    tier = TicketTierFactory(quantity=quantity, event=EventFactory(status=status))
    order = OrderFactory(tier=tier, stage=OrderStage.CLOSED, sequence=1)
    order.items[0].inventory_state = InventoryState.RELEASED
    order.items[0].desired_state = InventoryState.RESERVED
    serve(tier)
    assert told(session, tier)[1:] == [("reclaim", 1, 1, reason)]
    assert holds(tier, order)


def test_a_new_quantity_and_corrected_counters_are_told(session, serve, holds):
    tier = TicketTierFactory(quantity=2, desired_quantity=5)
    serve(tier)
    tier.reserved, tier.recount_due = 1, True
    order = OrderFactory(tier=tier, sequence=9)
    serve(tier)
    assert told(session, tier) == [
        ("stock", None, 2, None),
        ("stock", None, 5, None),
        ("stock", None, 5, None),
        ("served", 9, 1, None),
    ]
    assert holds(tier, order)


def test_an_event_that_is_over_refuses_with_its_reason(session, serve, holds):
    tier = TicketTierFactory(event=EventFactory(status=EventStatus.CANCELLED))
    orders = [OrderFactory(tier=tier, sequence=n) for n in (1, 2)]
    serve(tier)
    assert [(kind, reason) for kind, *_, reason in told(session, tier)[1:]] == [("refused", "event_cancelled")] * 2
    assert holds(tier, *orders)


def test_an_order_that_is_set_aside_is_told(session, holds):
    tier = TicketTierFactory(quantity=7)
    order = OrderFactory(tier=tier, sequence=5)
    allocation.quarantine(session, order.items[0].id, START)
    session.commit()
    session.refresh(tier)
    assert told(session, tier) == [("stock", None, 7, None), ("quarantine", 5, 1, None)]
    assert holds(tier, order)


def test_each_tier_has_a_chain_of_its_own(session, serve, holds):
    tier = TicketTierFactory()
    other = TicketTierFactory(event=tier.event)
    order = OrderFactory(contents={tier: 1, other: 2})
    serve(tier)
    serve(other)
    assert [len(read(session, one)) for one in (tier, other)] == [2, 2]
    assert holds(tier, order)
    assert holds(other, order)


def test_a_log_is_read_page_by_page_up_to_its_head(session, serve, monkeypatch):
    monkeypatch.setattr("domain.fairness.PAGE", 2)
    tier = TicketTierFactory()
    for _ in range(5):
        OrderFactory(tier=tier)
    serve(tier)
    pages = [[row.position for row in page] for page in read_pages(session, tier.id, 5)]
    assert pages == [[1, 2], [3, 4], [5]]


def test_a_round_that_was_rolled_back_left_no_trace(session):
    tier = TicketTierFactory()
    OrderFactory(tier=tier)
    session.commit()
    with session.begin_nested() as trial:
        allocation.serve(session, tier.id, START, CLOCKS, batch=10)
        trial.rollback()
    assert session.scalar(text("SELECT count(*) FROM fairness_entries")) == 0
    session.refresh(tier)
    assert tier.fairness_position == 0
