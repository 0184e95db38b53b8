import pytest

from tests.integration.market import Market


@pytest.fixture
def market(sessions, postgres):
    market = Market(sessions, postgres)
    yield market
    market.close()
