import pytest
from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError

from tests.factories import (
    AuditLogFactory,
    AuditPersonalValueFactory,
    FairnessEntryFactory,
    LedgerEntryFactory,
    TimelineEntryFactory,
)

GROWING = {
    "audit_logs": (AuditLogFactory, "action = action"),
    "fairness_entries": (FairnessEntryFactory, "quantity = quantity"),
    "ledger_entries": (LedgerEntryFactory, "amount = amount"),
    "order_timeline": (TimelineEntryFactory, "kind = kind"),
}


@pytest.fixture
def refused(session):
    def refused(statement):
        with pytest.raises(ProgrammingError, match=r"permission denied|must be owner"), session.begin_nested():
            session.execute(text(statement))

    return refused


@pytest.mark.parametrize("table", GROWING)
def test_the_application_adds_to_what_only_grows_and_cannot_change_it(session, refused, table):
    factory, change = GROWING[table]
    factory()
    assert session.scalar(text(f"SELECT count(*) FROM {table}")) >= 1
    refused(f"UPDATE {table} SET {change}")
    refused(f"DELETE FROM {table}")
    refused(f"TRUNCATE {table}")


def test_erasure_redacts_personal_values_of_the_audit_log_without_removing_them(session, refused):
    value = AuditPersonalValueFactory()
    session.execute(text("UPDATE audit_personal_values SET old_value = NULL, new_value = NULL"))
    session.refresh(value)
    assert (value.old_value, value.new_value) == (None, None)
    refused("DELETE FROM audit_personal_values")


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TABLE loot (id integer)",
        "ALTER TABLE users ADD COLUMN loot text",
        "DROP TABLE users",
        "ALTER TABLE ledger_entries DISABLE TRIGGER ALL",
        "SELECT setval('sale_sequence', 1)",
        "UPDATE alembic_version SET version_num = '0001'",
    ],
)
def test_the_application_cannot_change_the_house_itself(refused, statement):
    refused(statement)


def test_tables_of_later_migrations_are_for_the_application_too(session):
    granted = session.scalars(
        text(
            "SELECT acl.privilege_type FROM pg_default_acl, aclexplode(defaclacl) AS acl "
            "WHERE defaclobjtype = 'r' AND grantee = current_user::regrole"
        )
    )
    assert set(granted) == {"SELECT", "INSERT", "UPDATE", "DELETE"}
