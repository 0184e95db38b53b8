import threading

import pytest
from uuid_utils.compat import uuid7

import web.storefront
from adapters.statements import open_statements
from domain.storefront import read_offers
from tests.factories import TicketTierFactory, bound_to
from tests.integration.market import until
from web.lines import Lines
from web.storefront import Storefront


@pytest.fixture
def tiers(sessions):
    with sessions.begin() as session, bound_to(session):
        return [TicketTierFactory().id for _ in range(4)]


@pytest.fixture
def storefront(sessions):
    return Storefront(open_statements(sessions), Lines())


@pytest.fixture
def readings(monkeypatch):
    """Return which tiers were asked of the database; the first question is answered once its `gate` is open."""
    seen = Readings()

    def note(session, tier_ids):
        seen.append(tier_ids)
        assert seen.gate.wait(30)
        return read_offers(session, tier_ids)

    monkeypatch.setattr(web.storefront, "read_offers", note)
    return seen


class Readings(list):
    def __init__(self):
        super().__init__()
        self.gate = threading.Event()


def test_each_gets_what_it_asked_for_and_unknown_tiers_are_left_out(storefront, tiers):
    assert storefront.look([tiers[0], uuid7()]).keys() == {tiers[0]}
    assert storefront.look(tiers[:2]).keys() == set(tiers[:2])


def test_those_who_ask_while_one_reads_are_answered_by_one_more_reading(storefront, tiers, readings):
    found = {}

    def ask(number):
        tier_id = tiers[number % 4]
        found[number] = storefront.look([tier_id]).keys() == {tier_id}

    threads = [threading.Thread(target=ask, args=[number]) for number in range(8)]
    threads[0].start()
    until(lambda: readings)
    for thread in threads[1:]:
        thread.start()
    until(lambda: len(storefront._groups._waiting) == 7)
    readings.gate.set()
    for thread in threads:
        thread.join(30)
    assert found == dict.fromkeys(range(8), True)
    assert len(readings) == 2
