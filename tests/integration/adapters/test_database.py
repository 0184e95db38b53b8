import pytest
from sqlalchemy import create_engine, text

from adapters.database import PoolLimits, open_engine
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
