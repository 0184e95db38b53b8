"""Single entries of a log, as a table holds them; chains that hang together are made by the consumer."""

import factory

from domain.models import FairnessEntry
from domain.rules.fairness import EntryKind
from tests.factories.base import RowFactory, from_now
from tests.factories.catalog import TicketTierFactory


class FairnessEntryFactory(RowFactory):
    class Meta:
        model = FairnessEntry

    tier_id = factory.LazyFunction(lambda: TicketTierFactory().id)
    position = 1
    kind = EntryKind.STOCK
    quantity = 100
    decided_at = factory.LazyFunction(from_now)
    hash = bytes(32)
