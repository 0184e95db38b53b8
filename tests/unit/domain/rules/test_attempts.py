import pytest

from domain.models import PaymentTransaction
from domain.models.payments import OPEN_STATUSES
from domain.rules.attempts import MOVES, may_move
from domain.rules.states import AttemptKind, AttemptStatus


def test_an_open_charge_may_always_end():
    for status in OPEN_STATUSES:
        assert may_move(AttemptKind.CHARGE, status, AttemptStatus.CANCELLED)


def test_a_charge_that_succeeded_stays_so():
    assert not MOVES[AttemptKind.CHARGE][AttemptStatus.SUCCEEDED]


@pytest.mark.parametrize("kind", AttemptKind)
def test_saying_the_same_again_is_no_move(kind):
    assert all(may_move(kind, status, status) for status in AttemptStatus)


@pytest.mark.parametrize("kind", AttemptKind)
def test_whatever_can_be_reached_can_be_left_or_is_an_end(kind):
    reached = set().union(*MOVES[kind].values())
    assert reached <= set(MOVES[kind])


def test_a_row_refuses_a_move_that_is_not_in_the_table():
    charge = PaymentTransaction(kind=AttemptKind.CHARGE, status=AttemptStatus.SUCCEEDED)
    with pytest.raises(ValueError, match="A charge that is succeeded cannot become failed"):
        charge.status = AttemptStatus.FAILED
    assert charge.status is AttemptStatus.SUCCEEDED
