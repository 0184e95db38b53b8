import re

import pytest

from domain.rules import attempts, lifecycle
from domain.rules.states import AttemptKind, OrderStage
from tools import diagrams

ARROW = re.compile(r"^    (\w+) --> (\w+)", re.MULTILINE)


def arrows(drawing):
    return {tuple(arrow) for arrow in ARROW.findall(drawing)}


def moves(table):
    return {(source.value, target.value) for source, targets in table.items() for target in targets}


@pytest.mark.parametrize("page", list(diagrams.pages()), ids=lambda page: page.name)
def test_the_pages_draw_what_the_tables_say(page):
    assert diagrams.redraw(page.read_text()) == page.read_text(), "run: python -m tools.diagrams"


def test_every_diagram_is_on_a_page():
    text = "".join(page.read_text() for page in diagrams.pages())
    assert {name for name in diagrams.DIAGRAMS if f"<!-- diagram: {name} -->" in text} == set(diagrams.DIAGRAMS)


def test_every_move_is_drawn_and_no_other():
    assert arrows(diagrams.order()) == moves(lifecycle.MOVES)
    for kind, draw in (
        (AttemptKind.CHARGE, diagrams.charge),
        (AttemptKind.REFUND, diagrams.refund),
        (AttemptKind.DISPUTE, diagrams.dispute),
    ):
        assert arrows(draw()) == moves(attempts.MOVES[kind])


def test_the_moves_of_money_are_those_between_its_stages():
    assert arrows(diagrams.payment()) == {
        arrow for arrow in arrows(diagrams.order()) if {OrderStage(stage) for stage in arrow} <= diagrams.PAYING
    }


def test_each_move_of_money_says_what_it_means_and_no_word_is_left_over():
    assert ": " in diagrams.payment()
    for line in diagrams.payment().splitlines():
        if "-->" in line and "[*]" not in line:
            assert ": " in line
    assert {(source.value, target.value) for source, target in diagrams.ORDER_WORDS} <= moves(lifecycle.MOVES)
    assert {(a.value, b.value) for a, b in diagrams.REFUND_WORDS} == moves(attempts.MOVES[AttemptKind.REFUND])
    assert {(a.value, b.value) for a, b in diagrams.DISPUTE_WORDS} == moves(attempts.MOVES[AttemptKind.DISPUTE])


def test_a_diagram_that_nobody_knows_is_refused():
    with pytest.raises(KeyError):
        diagrams.redraw("<!-- diagram: nonsense -->\n<!-- end of diagram -->")
