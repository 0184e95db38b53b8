import re

import pytest
from sqlalchemy import CheckConstraint, ForeignKeyConstraint, Index, UniqueConstraint

from domain import models
from domain.models import Base
from domain.rules import states

SEED = {
    "User": ("users", "full_name is_promoter is_admin is_deleted"),
    "Promoter": ("promoters", "is_verified display_name"),
    "Event": ("events", "is_published is_cancelled is_upcoming is_past location_string is_deleted"),
    "TicketTier": ("ticket_tiers", "available is_sold_out is_on_sale percent_sold can_purchase"),
    "Order": ("orders", "is_pending is_confirmed is_paid total_tickets"),
    "OrderItem": ("order_items", ""),
    "Ticket": ("tickets", "is_valid is_used attendee_name can_transfer can_check_in"),
    "Waitlist": ("waitlist", "is_notified is_expired is_waiting can_notify position"),
    "PaymentTransaction": ("payment_transactions", "is_pending is_completed is_failed has_error"),
    "EmailNotification": (
        "email_notifications",
        "is_sent is_opened is_clicked is_bounced is_pending is_failed",
    ),
    "AuditLog": ("audit_logs", "is_create is_update is_delete has_changes"),
}

ENUMERATIONS = {
    "UserRole": "user promoter admin",
    "EventStatus": "draft published cancelled completed",
    "OrderStatus": "pending confirmed cancelled refunded",
    "PaymentStatus": "pending completed failed refunded",
    "TicketStatus": "valid used cancelled refunded",
}

TABLES = Base.metadata.sorted_tables
INDEXES = [index for table in TABLES for index in table.indexes]
CONSTRAINTS = [constraint for table in TABLES for constraint in table.constraints]

PREFIXES = {CheckConstraint: "ck", ForeignKeyConstraint: "fk", UniqueConstraint: "uq"}


@pytest.mark.parametrize("name", SEED)
def test_each_of_the_eleven_models_has_its_table_and_questions(name):
    table, questions = SEED[name]
    model = getattr(models, name)
    assert model.__tablename__ == table
    assert [question for question in questions.split() if not hasattr(model, question)] == []


@pytest.mark.parametrize("name", ENUMERATIONS)
def test_each_of_the_five_enumerations_is_exact(name):
    assert [member.value for member in getattr(states, name)] == ENUMERATIONS[name].split()


def test_the_server_checks_what_must_hold():
    checks = [constraint for constraint in CONSTRAINTS if isinstance(constraint, CheckConstraint)]
    lists = [check for check in checks if check._type_bound]
    assert len(checks) - len(lists) >= 25
    assert len([constraint for constraint in CONSTRAINTS if isinstance(constraint, ForeignKeyConstraint)]) >= 20


def test_there_is_an_index_for_what_is_asked():
    assert len(INDEXES) >= 45
    assert len([index for index in INDEXES if len(index.expressions) > 1]) >= 10
    assert len([index for index in INDEXES if index.dialect_options["postgresql"]["using"] == "gin"]) >= 2
    assert len([index for index in INDEXES if index.dialect_options["postgresql"]["where"] is not None]) >= 10


def test_hot_tables_carry_only_the_indexes_of_hot_queries():
    counts = {name: len(Base.metadata.tables[name].indexes) for name in ("orders", "order_items", "tickets")}
    assert counts == {"orders": 8, "order_items": 5, "tickets": 6}


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_names_follow_the_convention(table):
    for constraint in table.constraints:
        prefix = PREFIXES.get(type(constraint), "pk")
        assert re.fullmatch(rf"{prefix}_{table.name}(_[a-z0-9_]+)?", str(constraint.name)), constraint.name
    for index in table.indexes:
        assert re.fullmatch(rf"{'uq' if index.unique else 'ix'}_{table.name}_[a-z0-9_]+", str(index.name)), index.name


def test_no_name_is_longer_than_the_server_keeps():
    names = [str(item.name) for item in (*TABLES, *INDEXES, *CONSTRAINTS) if isinstance(item, Index) or item.name]
    assert [name for name in names if len(name) > 63] == []


def test_every_moment_knows_its_time_zone():
    naive = [
        f"{table.name}.{column.name}"
        for table in TABLES
        for column in table.columns
        if getattr(column.type, "timezone", True) is False
    ]
    assert naive == []


def test_money_is_whole_minor_units():
    amounts = re.compile(r"amount|subtotal|fees|absorbed_fees|tax|total|refunded|price|unit_price")
    types = {
        f"{table.name}.{column.name}": column.type.python_type
        for table in TABLES
        for column in table.columns
        if amounts.fullmatch(column.name)
    }
    assert len(types) >= 13
    assert {name for name, python_type in types.items() if python_type is not int} == set()


def test_no_relation_is_loaded_by_accident():
    lazy = {
        f"{mapper.class_.__name__}.{relation.key}": relation.lazy
        for mapper in Base.registry.mappers
        for relation in mapper.relationships
    }
    assert {name for name, how in lazy.items() if how != "raise"} == set()
