import os

import pytest
from sqlalchemy import create_engine, select, text, update
from sqlalchemy.exc import DataError, OperationalError
from sqlalchemy.orm import sessionmaker
from uuid_utils.compat import uuid7

from adapters.database import open_fence_engine
from adapters.statements import open_fenced_sessions, open_statements
from domain.messages import ServeTier, announce
from domain.models import User
from tests.factories import UserFactory


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


class TestFencedSessions:
    @pytest.fixture
    def connection(self, postgres):
        engine = open_fence_engine(postgres.url(), silence_seconds=10, application_name="allocator in a test")
        with engine.connect() as connection:
            yield connection

    def test_sql_and_objects_are_of_one_transaction(self, connection, sessions):
        fenced, rename = open_fenced_sessions(connection), text("UPDATE users SET first_name = :name WHERE id = :id")
        with fenced.begin() as session:
            user = UserFactory(session=session, first_name="Ada")
            session.flush()
            session.execute(rename, {"name": "Grace", "id": user.id})
            with sessions() as other:
                assert other.get(User, user.id) is None
        with fenced() as session:
            session.execute(rename, {"name": "nobody", "id": user.id})
        with sessions() as other:
            assert other.get(User, user.id).first_name == "Grace"

    def test_a_failure_is_like_any_other_and_the_connection_stays(self, connection):
        fenced = open_fenced_sessions(connection)
        with pytest.raises(DataError, match="division by zero"), fenced.begin() as session:
            session.execute(text("SELECT 1 / :number"), {"number": 0})
        assert not connection.invalidated
        with fenced() as session:
            assert session.execute(text("SELECT :word"), {"word": "on"}).scalar_one() == "on"

    def test_a_connection_that_is_gone_is_known_to_be(self, connection, sessions):
        fenced, ask = open_fenced_sessions(connection), text("SELECT pg_backend_pid()")
        with fenced() as session:
            backend = session.execute(ask).scalar_one()
        with sessions() as other:
            other.execute(text("SELECT pg_terminate_backend(:backend)"), {"backend": backend})
        with pytest.raises(OperationalError), fenced.begin() as session:
            session.execute(ask)
        assert connection.invalidated
