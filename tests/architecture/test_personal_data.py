"""Every column that could hold a person is erased with them, or is listed here: what is not listed fails."""

import pytest
from sqlalchemy import ARRAY, Enum, LargeBinary, String
from sqlalchemy.dialects.postgresql import JSONB

from domain.models import Base
from domain.personal_data import HOLDINGS

IMPERSONAL = {
    "analytics_refreshes": "view",
    "audit_logs": "action entity_type old_data new_data request_id",
    "audit_personal_values": "field",
    "check_in_scans": "nonce fingerprint gate",
    "codes": "code tier_ids",
    "door_counts": "gate",
    "email_notifications": "template purpose provider_message_id",
    "events": "title slug description category tags timezone venue_name address_line1 address_line2 city region "
    "postal_code country image_url currency",
    "fairness_entries": "commitment hash",
    "inspections": "breaches suspects",
    "ledger_entries": "currency provider_reference",
    "mailings": "subject body tier_ids ticket_statuses changes",
    "order_timeline": "kind data",
    "orders": "number currency request_id stripe_payment_intent_id stripe_charge_id",
    "payment_feed": "provider last_event_id",
    "payment_transactions": "provider provider_transaction_id provider_account_id currency error_code error_message "
    "raw_reference idempotency_key payment_method reason",
    "promoters": "stripe_account_id stripe_disabled_reason",
    "statements": "body",
    "ticket_tiers": "name description quantity_refusal fairness_hash",
    "tickets": "code qr_payload qr_image",
    "waitlist": "response unoffered_reason",
    "webhook_deliveries": "data error",
    "webhook_endpoints": "types secret_kid previous_secret_kid",
    "webhook_inbox": "provider provider_event_id type account error",
}
"""Columns that name nobody: ids of providers stand for a person only where the provider keeps one."""

KEPT = {
    # Directive (EU) 2021/514 (DAC7): a platform keeps who sold through it for five to ten years.
    "promoters": "company_name tax_id address_line1 address_line2 city region postal_code country",
    # Nobody can change the log, which is its worth; that a request came from an address is kept for security.
    "audit_logs": "ip user_agent",
}
"""Columns that may name a person and are kept, with the reason."""


def could_hold_a_person(column):
    if isinstance(column.type, Enum):
        return False
    return isinstance(column.type, String | JSONB | ARRAY | LargeBinary)


def free_columns(table):
    return {column.name for column in table.columns if could_hold_a_person(column)}


@pytest.mark.parametrize("table", Base.metadata.sorted_tables, ids=lambda table: table.name)
def test_every_column_that_could_hold_a_person_is_erased_or_says_why_not(table):
    spared = {name for listed in (IMPERSONAL, KEPT) for name in listed.get(table.name, "").split()}
    holding = next((holding for holding in HOLDINGS if holding.table == table.name), None)
    erased = set(table.columns.keys()) if holding and holding.left is None else set(holding.left) if holding else set()
    assert free_columns(table) - erased == spared, "add it to its Holding, or here"
    assert spared & erased == set()


def test_every_table_that_knows_a_user_is_a_holding():
    knowing = {
        table.name
        for table in Base.metadata.sorted_tables
        for key in table.foreign_keys
        if key.column.table.name == "users" and key.parent.name in {"user_id", "holder_id", "subject_id"}
    }
    assert knowing <= {holding.table for holding in HOLDINGS}
