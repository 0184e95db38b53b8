"""Tests of the tables: factories write into the test's session, and refusals are told by the constraint's name."""

from contextlib import contextmanager

import pytest
from sqlalchemy.exc import IntegrityError

from tests.factories import bound_to


@pytest.fixture(autouse=True)
def _bound_factories(session):
    with bound_to(session):
        yield


@pytest.fixture
def refused_by(session):
    @contextmanager
    def refused_by(constraint):
        with pytest.raises(IntegrityError) as error, session.begin_nested():  # noqa: PT012 the caller's statements are the one
            yield
            session.flush()
        assert error.value.orig.diag.constraint_name == constraint

    return refused_by
