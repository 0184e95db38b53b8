"""When figures were counted."""

import factory

from domain.models import AnalyticsRefresh
from tests.factories.base import RowFactory, from_now


class AnalyticsRefreshFactory(RowFactory):
    class Meta:
        model = AnalyticsRefresh

    view = factory.Sequence(lambda n: f"view_{n}")
    refreshed_at = factory.LazyFunction(from_now)
