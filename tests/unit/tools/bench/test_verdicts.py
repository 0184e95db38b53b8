from types import SimpleNamespace

import pytest

from tools.bench.generator import Answer
from tools.bench.market import Sale
from tools.bench.verdicts import (
    Verdict,
    WrongSaleError,
    check_answers,
    check_fairness,
    check_stock,
    read_verdicts,
)

SALE = Sale(event_id=None, tier_ids=("tier",), quantity=2)


def answer(order="a", status=202, code="", began=0.0, answered=1.0):
    return Answer(status, began, answered, f"/api/v1/orders/{order}", "", code)


def verdict(order="a", sequence=1, *, served=True):
    return Verdict(order, "tier", sequence, served, 0.0, 1.0)


def database(**changes):
    counters = {"tier_id": "tier", "quantity": 2, "sold": 0, "reserved": 1, "counted_sold": 0, "counted_reserved": 1}
    row = SimpleNamespace(**{**counters, **changes})
    return SimpleNamespace(rows=lambda *_, **__: [row])


def test_a_right_sale_passes():
    check_answers([answer(), answer("", 409, "sold-out")], [verdict()])
    check_stock(database(), SALE, [verdict()])
    check_fairness([answer()], [verdict()])


@pytest.mark.parametrize(
    ("answers", "complaint"),
    [
        ([answer(), answer("", 500, "internal")], "1 requests were answered 500 internal"),
        ([answer(), answer("", 409, "sale-closed")], "1 requests were answered 409 sale-closed"),
        ([answer(), answer("b")], "2 orders were promised by 2 answers, 1 decided"),
        ([answer(), answer()], "1 orders were promised by 2 answers, 1 decided"),
        ([], "0 orders were promised by 0 answers, 1 decided"),
    ],
)
def test_a_wrong_answer_is_told(answers, complaint):
    with pytest.raises(WrongSaleError, match=complaint):
        check_answers(answers, [verdict()])


@pytest.mark.parametrize(
    ("changes", "verdicts", "complaint"),
    [
        ({"counted_reserved": 2}, [verdict()], "counts 1 \\+ 0, its rows are 2 \\+ 0"),
        ({}, [verdict(), verdict("b", 2)], "gave 1 of 2 tickets to 2 orders"),
        ({}, [verdict(), verdict("b", 2, served=False)], "gave 1 of 2 tickets to 1 orders"),
        ({"quantity": 0}, [verdict()], "gave 1 of 0 tickets to 1 orders"),
    ],
)
def test_stock_that_does_not_add_up_is_told(changes, verdicts, complaint):
    with pytest.raises(WrongSaleError, match=complaint):
        check_stock(database(**changes), SALE, verdicts)


def test_being_overtaken_is_told():
    answers = [answer("a", began=0, answered=1), answer("b", began=2, answered=3)]
    with pytest.raises(WrongSaleError, match="order a was refused"):
        check_fairness(answers, [verdict("a", 1, served=False), verdict("b", 2)])


@pytest.mark.parametrize(
    "changes",
    [{"inventory_state": "queued"}, {"inventory_state": "refused", "reason": "system_error"}, {"decided_at": None}],
)
def test_an_order_that_ended_otherwise_is_told(changes):
    row = {"order_id": "a", "tier_id": "tier", "sequence": 1, "inventory_state": "reserved", "reason": None}
    row |= {"accepted_at": 0.0, "decided_at": 1.0, **changes}
    with pytest.raises(WrongSaleError, match="order a ended as"):
        read_verdicts(SimpleNamespace(rows=lambda *_, **__: [SimpleNamespace(**row)]), SALE)


def test_a_long_complaint_is_cut():
    answers = [answer("", status, "x") for status in range(500, 506)]
    with pytest.raises(WrongSaleError, match="and 3 more"):
        check_answers(answers, [])
