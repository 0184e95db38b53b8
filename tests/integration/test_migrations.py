from contextlib import contextmanager

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import NullPool, create_engine, text
from sqlalchemy.exc import DBAPIError

from domain.models import Base
from tests.fixtures.servers import migrate
from tools.stack.environment import ROOT
from tools.stack.postgres import OWNER, RUNTIME

STRUCTURE = """
    SELECT 'column', table_class.relname, attribute.attname, format_type(atttypid, atttypmod), attnotnull::text,
        coalesce(pg_get_expr(adbin, adrelid), ''), attgenerated::text, attidentity::text
    FROM pg_attribute AS attribute
    JOIN pg_class AS table_class ON table_class.oid = attrelid
    LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
    WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND attnum > 0 AND NOT attisdropped
    UNION ALL
    SELECT 'constraint', conrelid::regclass::text, conname, pg_get_constraintdef(oid), '', '', '', ''
    FROM pg_constraint WHERE connamespace = 'public'::regnamespace
    UNION ALL
    SELECT 'index', table_class.relname, indexrelid::regclass::text, pg_get_indexdef(indexrelid), '', '', '', ''
    FROM pg_index JOIN pg_class AS table_class ON table_class.oid = indrelid
    WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'
    UNION ALL
    SELECT 'sequence', sequencename, data_type::text, cache_size::text, '', '', '', ''
    FROM pg_sequences WHERE schemaname = 'public'
"""

THE_REST = """
    SELECT 'view', relname, pg_get_viewdef(oid), '', '', '', '', '' FROM pg_class
    WHERE relnamespace = 'public'::regnamespace AND relkind IN ('v', 'm')
    UNION ALL
    SELECT 'storage', relname, reloptions::text, '', '', '', '', '' FROM pg_class
    WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'
    UNION ALL
    SELECT 'function', proname, pg_get_functiondef(pg_proc.oid), '', '', '', '', '' FROM pg_proc
    WHERE pronamespace = 'public'::regnamespace
        AND NOT EXISTS (SELECT FROM pg_depend WHERE objid = pg_proc.oid AND deptype = 'e')
    UNION ALL
    SELECT 'trigger', tgname, pg_get_triggerdef(oid), '', '', '', '', '' FROM pg_trigger WHERE NOT tgisinternal
    UNION ALL
    SELECT 'extension', extname, '', '', '', '', '', '' FROM pg_extension
    UNION ALL
    SELECT 'grant', relname, acl.privilege_type, '', '', '', '', ''
    FROM pg_class, aclexplode(relacl) AS acl
    WHERE relnamespace = 'public'::regnamespace AND grantee = CAST(:runtime AS regrole)
    UNION ALL
    SELECT 'schema grant', nspname, acl.privilege_type, '', '', '', '', ''
    FROM pg_namespace, aclexplode(nspacl) AS acl WHERE grantee = CAST(:runtime AS regrole)
    UNION ALL
    SELECT 'default grant', defaclobjtype::text, acl.privilege_type, '', '', '', '', ''
    FROM pg_default_acl, aclexplode(defaclacl) AS acl WHERE grantee = CAST(:runtime AS regrole)
"""

REVISIONS = [
    script.revision
    for script in reversed(list(ScriptDirectory(str(ROOT / "migrations")).walk_revisions("base", "heads")))
]


@contextmanager
def owner(url):
    engine = create_engine(url, poolclass=NullPool)
    with engine.connect() as connection:
        yield connection
    engine.dispose()


@pytest.fixture
def connection(empty_database):
    with owner(empty_database) as connection:
        yield connection


def alembic_on(connection, runtime_role=RUNTIME):
    config = Config(toml_file=str(ROOT / "pyproject.toml"))
    config.attributes.update(connection=connection, runtime_role=runtime_role)
    return config


def structure_of(connection):
    return read(connection, STRUCTURE)


def everything_in(connection):
    return structure_of(connection) | read(connection, THE_REST, runtime=RUNTIME)


def read(connection, query, **values):
    rows = {tuple(row) for row in connection.execute(text(query), values) if "alembic_version" not in row[1:3]}
    # Alembic commits only what it began itself.
    connection.commit()
    return rows


def test_there_is_one_head():
    assert ScriptDirectory(str(ROOT / "migrations")).get_heads() == [REVISIONS[-1]]


def test_down_leaves_no_residue_and_up_again_makes_the_same(connection):
    before = everything_in(connection)
    config = alembic_on(connection)
    command.upgrade(config, "head")
    there = everything_in(connection)
    command.downgrade(config, "base")
    assert everything_in(connection) == before
    command.upgrade(config, "head")
    assert everything_in(connection) == there
    assert len(there) > len(before) + 300


def test_each_step_down_undoes_its_step_up(connection):
    config = alembic_on(connection)
    for revision in REVISIONS:
        before = everything_in(connection)
        command.upgrade(config, revision)
        assert everything_in(connection) != before
        command.downgrade(config, "-1")
        assert everything_in(connection) == before, revision
        command.upgrade(config, revision)


def test_an_operator_can_print_the_statements_and_run_them_by_hand(connection):
    statements = migrate("upgrade", "head", "--sql")
    connection.connection.driver_connection.execute(statements)
    connection.connection.driver_connection.commit()
    printed = everything_in(connection)
    config = alembic_on(connection)
    command.downgrade(config, "base")
    command.upgrade(config, "head")
    assert everything_in(connection) == printed


def test_alembic_finds_no_difference_between_models_and_migrations(connection):
    command.upgrade(alembic_on(connection), "head")
    context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
    assert compare_metadata(context, Base.metadata) == []


def test_models_and_migrations_make_the_same_tables_to_the_last_constraint(connection, postgres):
    # Alembic does not compare CHECK constraints; the server's own words for both do.
    command.upgrade(alembic_on(connection), REVISIONS[0])
    Base.metadata.create_all(connection)
    connection.commit()
    with owner(postgres.url(OWNER)) as migrated:
        assert structure_of(connection) ^ structure_of(migrated) == set()


def test_a_missing_runtime_role_stops_the_migration_with_a_sentence(connection):
    with pytest.raises(DBAPIError, match="the role of DATABASE_URL, nobody_here, does not exist"):
        command.upgrade(alembic_on(connection, runtime_role="nobody_here"), "head")
    connection.rollback()
    assert structure_of(connection) == set()


def test_one_role_may_do_both(connection):
    config = alembic_on(connection, runtime_role=None)
    command.upgrade(config, "head")
    assert not [row for row in everything_in(connection) if "grant" in row[0]]
    command.downgrade(config, "base")


def test_no_table_is_analysed_while_it_is_empty(connection):
    command.upgrade(alembic_on(connection), "head")
    analysed = "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND reltuples >= 0"
    assert connection.scalars(text(f"{analysed} AND relkind = 'r'")).all() == []


def test_processes_that_migrate_at_the_same_time_take_turns(empty_database):
    with owner(empty_database) as first, owner(empty_database) as second:
        second.execute(text("SET lock_timeout = '200ms'"))
        second.commit()
        first.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": 0x7656E646F72})
        with pytest.raises(DBAPIError, match="lock timeout"):
            command.upgrade(alembic_on(second), "head")
        second.rollback()
        first.rollback()
        command.upgrade(alembic_on(second), "head")
