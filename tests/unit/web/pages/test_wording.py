import ast
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

import domain
from domain.line import Place
from domain.rules.places import Outlook
from domain.rules.states import OrderReason, OrderStage
from web.pages import wording

DOMAIN = Path(domain.__file__).parent
TELLERS = {"move", "write", "tell", "tell_buyer"}


def kinds_in(source):
    """Return the kinds that a module writes into timelines, as far as they stand in its calls and statements."""
    kinds = set(re.findall(r"INSERT INTO order_timeline [^\n]*?(?:SELECT|\n\s*SELECT) id, '(\w+)'", source))
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            if node.func.id in TELLERS:
                kinds |= set(texts(node.args))
            if node.func.id == "TimelineEntry":
                kinds |= set(texts(keyword.value for keyword in node.keywords if keyword.arg == "kind"))
    return kinds


def texts(nodes):
    return (node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str))


def test_whatever_the_domain_writes_into_timelines_has_words():
    kinds = set().union(*(kinds_in(path.read_text()) for path in DOMAIN.rglob("*.py")))
    assert {"accepted", "confirmed", "mail_sent", "refunded", "offered", "quarantined"} <= kinds
    assert kinds - set(wording.EVENTS) == set()


def test_every_stage_and_every_reason_has_words():
    assert set(wording.STAGES) == set(OrderStage)
    assert {reason.value for reason in OrderReason} == set(wording.REASONS)


COVERED = "As many tickets as all before you want are there."


@pytest.mark.parametrize(
    ("place", "words"),
    [
        (Place(0, None, False, Outlook.COVERED), f"You are next. {COVERED}"),
        (Place(0, 1, False, Outlook.COVERED), f"You are next. {COVERED}"),
        (Place(1, None, False, Outlook.COVERED), f"You are number 2 in line. {COVERED}"),
        (Place(1, 20, False, Outlook.COVERED), f"You are number 2 in line, about a minute or less. {COVERED}"),
        (Place(599, 300, False, Outlook.COVERED), f"You are number 600 in line, about 5 minutes. {COVERED}"),
        (
            Place(0, None, False, Outlook.UNLIKELY),
            "You are next. Those before you want more than is left: it is your turn only if some of them give up.",
        ),
        (Place(0, None, False, Outlook.NO), "You are next. It is sold out, and so it will stay as far as we can tell."),
        (
            Place(0, None, True, Outlook.NO),
            "You are next. The sale is paused at the moment; it goes on from your place.",
        ),
        (
            Place(4, None, True, Outlook.COVERED),
            "You are number 5. The sale is paused at the moment; it goes on from your place.",
        ),
    ],
)
def test_a_place_in_line_is_told_as_a_sentence(place, words):
    assert wording.of_place(place) == words


def test_an_amount_that_moved_is_named():
    assert wording.of_event("refunded", {"amount": 1200, "currency": "JPY"}) == "Refunded: 1,200\N{NO-BREAK SPACE}JPY"


def test_a_time_is_read_on_the_clock_of_the_place():
    assert wording.clock_time(datetime(2026, 7, 3, 22, 5, tzinfo=UTC), "Europe/Copenhagen") == "4 Jul, 00:05"
