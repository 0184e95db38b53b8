import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.rules.lifecycle import (
    CONFIRMED,
    ENDED,
    HOLDING,
    MOVES,
    PAYABLE,
    WAITING,
    may_move,
    sources_of,
    status_of,
)
from domain.rules.states import OrderStage, OrderStatus
from domain.rules.states import OrderStage as S

stages = st.sampled_from(OrderStage)


def reachable(start, *, without=frozenset()):
    seen, open_ends = set(), [start]
    while open_ends:
        for target in MOVES[open_ends.pop()] - seen - without:
            seen.add(target)
            open_ends.append(target)
    return seen


@st.composite
def walks(draw):
    """Draw a life of an order: a legal walk from the queue."""
    walk = [S.QUEUED]
    for _ in range(draw(st.integers(0, 30))):
        walk.append(draw(st.sampled_from(sorted(MOVES[walk[-1]]))))
    return walk


def test_the_table_names_every_stage():
    assert set(MOVES) == set(OrderStage)


def test_no_move_stays_where_it_is():
    assert [stage for stage in OrderStage if may_move(stage, stage)] == []


def test_every_stage_but_the_queue_and_the_offer_is_reached_from_the_queue():
    assert set(OrderStage) - reachable(S.QUEUED) == {S.OFFERED}


@pytest.mark.parametrize("stage", sorted(set(OrderStage) - ENDED))
def test_every_order_can_end(stage):
    assert S.CLOSED in MOVES[stage] or S.CLOSED in reachable(stage)


@pytest.mark.parametrize("stage", sorted(HOLDING))
def test_whoever_holds_stock_can_give_it_back_without_having_paid(stage):
    assert S.CLOSED in reachable(stage, without=CONFIRMED)


@pytest.mark.parametrize("stage", sorted({*PAYABLE, S.EXPIRING, S.HELD, S.CLOSED}))
def test_a_payment_that_arrives_is_never_without_a_move(stage):
    assert may_move(stage, S.ISSUING)


def test_nobody_is_confirmed_who_was_never_held():
    assert not any(may_move(stage, S.ISSUING) for stage in (*WAITING, S.AWAITING_APPROVAL, S.OFFERED, S.QUARANTINED))


def test_the_only_move_out_of_the_end_is_the_reclaim_of_a_late_payment():
    assert MOVES[S.CLOSED] == {S.ISSUING}
    assert MOVES[S.COMPLETE] == {S.CLOSED}


def test_only_a_quarantined_order_comes_back_to_the_queue():
    assert sources_of(S.QUEUED) == {S.QUARANTINED}
    assert sources_of(S.QUARANTINED) == WAITING


def test_an_intent_is_not_dropped_without_being_cancelled_first():
    assert not any(may_move(stage, S.CLOSED) for stage in PAYABLE)
    assert all(may_move(stage, S.EXPIRING) for stage in PAYABLE)


@given(stages, stages)
def test_sources_are_the_moves_read_backwards(source, target):
    assert (source in sources_of(target)) is may_move(source, target)


@given(walks())
def test_stock_is_only_held_after_the_queue_and_before_the_end(walk):
    for stage in walk:
        assert len({stage in WAITING - {S.PARTLY_HELD}, stage in HOLDING, stage in CONFIRMED, stage is S.CLOSED}) <= 2
    if S.COMPLETE in walk:
        assert S.ISSUING in walk[: walk.index(S.COMPLETE)]
    if S.PROCESSING in walk:
        assert S.AWAITING_PAYMENT in walk or S.PAYMENT_DELAYED in walk


@given(walks())
def test_a_confirmed_order_is_never_pending_again(walk):
    statuses = [status_of(stage) for stage in walk]
    if OrderStatus.CONFIRMED in statuses:
        assert OrderStatus.PENDING not in statuses[statuses.index(OrderStatus.CONFIRMED) :]


@pytest.mark.parametrize("stage", OrderStage)
def test_status_follows_from_the_stage(stage):
    expected = (
        OrderStatus.CONFIRMED
        if stage in {S.ISSUING, S.COMPLETE}
        else OrderStatus.CANCELLED
        if stage is S.CLOSED
        else OrderStatus.PENDING
    )
    assert status_of(stage) is expected


def test_a_closed_order_that_got_its_money_back_is_refunded():
    assert status_of(S.CLOSED, refunded=True) is OrderStatus.REFUNDED
    assert status_of(S.COMPLETE, refunded=True) is OrderStatus.CONFIRMED
