from random import Random

from tools.faults.deck import Deck
from tools.faults.faults import FAULTS


def test_every_fault_comes_once_before_any_comes_again():
    deck, dealt = Deck(Random(7)), []
    while len(dealt) < len(FAULTS):
        dealt += deck.deal()
    assert {fault.name for fault in dealt[: len(FAULTS)]} == {fault.name for fault in FAULTS}


def test_two_that_touch_the_same_thing_never_strike_together():
    deck = Deck(Random(7))
    hands = [deck.deal() for _ in range(200)]
    assert all(len({fault.touches for fault in hand}) == len(hand) for hand in hands)
    assert {len(hand) for hand in hands} == {1, 2, 3}


def test_the_seed_makes_the_order():
    hands = [[Deck(Random(seed)).deal() for _ in range(20)] for seed in (7, 7, 8)]
    assert hands[0] == hands[1] != hands[2]
