"""How Alembic reaches the database: as its owner, in one transaction, one migrating process at a time.

A caller may hand in an open `connection` and the name of the `runtime_role` in `config.attributes`; otherwise both
come from the settings.
"""

from alembic import context
from sqlalchemy import Connection, NullPool, create_engine, make_url, text

import settings
from domain.models import Base

LOCK = 0x7656E646F72
"""The advisory lock under which one process migrates while others, started beside it, wait."""


def migrate(connection: Connection) -> None:
    context.configure(connection=connection, target_metadata=Base.metadata, compare_server_default=True)
    with context.begin_transaction():
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
        context.run_migrations()


def migrate_by_url(url: str) -> None:
    engine = create_engine(url, poolclass=NullPool, connect_args={"application_name": "migrations"})
    with engine.connect() as connection:
        migrate(connection)


def print_statements(url: str) -> None:
    # With the driver's own style each percent sign would be printed twice.
    context.configure(url=url, target_metadata=Base.metadata, literal_binds=True, dialect_opts={"paramstyle": "named"})
    with context.begin_transaction():
        context.run_migrations()


def runtime_role() -> str | None:
    """Return the role of the application, which 0009 grants its rights; nothing where the owner does both."""
    values = settings.load()
    role = make_url(str(values.database_url)).username
    return None if role == make_url(values.owner_database_url).username else role


attributes = context.config.attributes
attributes["runtime_role"] = attributes["runtime_role"] if "runtime_role" in attributes else runtime_role()
if "connection" in attributes:
    migrate(attributes["connection"])
elif context.is_offline_mode():
    print_statements(settings.load().owner_database_url)
else:
    migrate_by_url(settings.load().owner_database_url)
