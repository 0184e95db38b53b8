import os

import pytest
from sqlalchemy import create_engine, select, text, update
from sqlalchemy.exc import DataError, OperationalError
from sqlalchemy.orm import sessionmaker
from uuid_utils.compat import uuid7

from adapters.database import PoolLimits, open_engine, open_statements
from domain.messages import ServeTier, announce
from domain.models import User
from tests.factories import UserFactory
from tests.integration.market import until
from tools.stack.postgres import SUPERUSER


class TestCheckout:
    @pytest.fixture
    def pooled(self, postgres):
        engine = open_engine(postgres.url(), PoolLimits(2, 0, 5, 15), application_name="looked-at")
        yield engine
        engine.dispose()

    @pytest.fixture
    def end_all(self, postgres):
        """Return a way to end every connection of the pooled engine, as a restart of the server does."""

        def end_all():
            admin = create_engine(postgres.url(SUPERUSER), isolation_level="AUTOCOMMIT")
            with admin.connect() as connection:
                mine = "FROM pg_stat_activity WHERE application_name = 'looked-at'"
                connection.execute(text(f"SELECT pg_terminate_backend(pid) {mine}"))
                until(lambda: not connection.scalar(text(f"SELECT count(*) {mine}")))
            admin.dispose()

        return end_all

    def test_a_connection_is_used_again(self, pooled):
        assert backend(pooled) == backend(pooled)

    def test_one_that_the_server_has_ended_is_replaced_unnoticed(self, pooled, end_all):
        before = backend(pooled)
        end_all()
        assert backend(pooled) != before

    def test_and_so_are_all_others_of_the_pool(self, pooled, end_all):
        with pooled.connect(), pooled.connect():
            pass
        end_all()
        with pooled.connect() as first, pooled.connect() as second:
            assert first.scalar(text("SELECT 1")) == second.scalar(text("SELECT 1")) == 1


def backend(engine):
    with engine.connect() as connection:
        return connection.scalar(text("SELECT pg_backend_pid()"))


class TestStatements:
    def test_each_is_committed_by_itself(self, sessions):
        with sessions.begin() as session:
            user = UserFactory(session=session, first_name="Ada")
        with open_statements(sessions)() as session:
            session.execute(update(User).where(User.id == user.id).values(first_name="Grace"))
            with sessions() as other:
                assert other.scalar(select(User.first_name).where(User.id == user.id)) == "Grace"

    def test_what_is_announced_leaves_with_the_commit(self, sessions, announced):
        ring = ServeTier(uuid7())
        with open_statements(sessions)() as session, session.begin():
            session.execute(text("SELECT 1"))
            announce(session, ring)
            assert announced == []
        assert announced == [ring]

    def test_what_is_announced_is_forgotten_where_something_is_raised(self, sessions, announced):
        with open_statements(sessions)() as session:
            announce(session, ServeTier(uuid7()))
            with pytest.raises(DataError), session.begin():
                session.execute(text("SELECT 1 / 0"))
            with session.begin():
                session.execute(text("SELECT 1"))
        assert announced == []

    def test_the_pools_other_users_have_transactions_as_before(self, sessions):
        with open_statements(sessions)() as session:
            session.execute(text("SELECT 1"))
        with sessions.begin() as session:
            user = UserFactory(session=session)
            session.rollback()
        with sessions() as session:
            assert session.get(User, user.id) is None

    def test_sql_goes_to_psycopg_and_fails_like_any_other(self, sessions):
        with open_statements(sessions)() as session:
            (row,) = session.execute(text("SELECT CAST(:number AS int) AS number, 'x' AS letter"), {"number": 7})
            assert (row.number, row.letter, row._asdict()) == (7, "x", {"number": 7, "letter": "x"})
            with pytest.raises(DataError, match="division by zero"):
                session.execute(text("SELECT 1 / :number"), {"number": 0})
            assert session.execute(text("SET statement_timeout = 0")).all() == []

    def test_its_plan_is_made_once(self, sessions):
        with open_statements(sessions)() as session:
            for _ in range(20):
                session.execute(text("SELECT id FROM orders WHERE id = ANY(:ids)"), {"ids": [uuid7()]})
            (plans,) = session.execute(
                text("SELECT generic_plans, custom_plans FROM pg_prepared_statements WHERE statement LIKE '%ANY(%'")
            )
        assert plans.generic_plans > 0
        assert plans.custom_plans == 0

    @pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
    def test_a_forked_child_leaves_the_parents_connection_alone(self, sessions):
        statements, mine = open_statements(sessions), text("SELECT pg_backend_pid()")
        with statements() as session:
            before = session.execute(mine).scalar_one()
        if (child := os.fork()) == 0:
            outcome = 2
            try:
                with statements() as session:
                    outcome = int(session.execute(mine).scalar_one() == before)
            finally:
                os._exit(outcome)
        assert os.waitpid(child, 0)[1] == 0
        with statements() as session:
            assert session.execute(mine).scalar_one() == before

    def test_a_database_that_is_away_fails_it_as_it_fails_any_other(self):
        nowhere = create_engine("postgresql+psycopg://nobody@127.0.0.1:1/none")
        with open_statements(sessionmaker(nowhere))() as session, pytest.raises(OperationalError, match="refused"):
            session.execute(text("SELECT 1"))
