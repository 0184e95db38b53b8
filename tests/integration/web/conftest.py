"""Somebody who sells, with rows that are committed for real, because the app reads them in sessions of its own."""

import pytest

from tests.factories import PromoterFactory, bound_to


@pytest.fixture
def rows(sessions):
    with sessions() as session, bound_to(session):
        yield session
        session.rollback()


@pytest.fixture
def promoter(rows):
    promoter = PromoterFactory()
    rows.commit()
    return promoter


@pytest.fixture
def seller(promoter, log_in):
    return log_in(promoter.user)
