"""Codes of events, as their promoters make them."""

import factory

from domain.models import Code
from tests.factories.base import RowFactory
from tests.factories.catalog import EventFactory


class CodeFactory(RowFactory):
    """By default ten percent off all tiers; `discount_bps=None` with something else makes it another kind."""

    class Meta:
        model = Code

    event_id = factory.LazyFunction(lambda: EventFactory().id)
    code = factory.Sequence(lambda number: f"CODE-{number}")
    discount_bps = 1000
