"""Entries of the audit log, the personal values that they refer to, and looks at the invariants."""

import factory
from uuid_utils.compat import uuid7

from domain.models import AuditLog, AuditPersonalValue, Inspection
from tests.factories.accounts import UserFactory
from tests.factories.base import RowFactory, from_now
from tests.factories.catalog import EventFactory


class AuditLogFactory(RowFactory):
    class Meta:
        model = AuditLog

    actor_id = factory.LazyFunction(lambda: UserFactory().id)
    action = "event.update"
    entity_type = "event"
    entity_id = factory.LazyFunction(uuid7)
    old_data = factory.LazyFunction(lambda: {"title": "Before"})
    new_data = factory.LazyFunction(lambda: {"title": "After"})


class AuditPersonalValueFactory(RowFactory):
    class Meta:
        model = AuditPersonalValue

    audit_log_id = factory.LazyFunction(lambda: AuditLogFactory().id)
    subject_id = factory.LazyFunction(lambda: UserFactory().id)
    field = "email"
    old_value = "before@example.com"
    new_value = "after@example.com"


class InspectionFactory(RowFactory):
    """By default a look that found nothing broken, the next of which is due."""

    class Meta:
        model = Inspection

    event_id = factory.LazyFunction(lambda: EventFactory().id)
    made_at = factory.LazyFunction(lambda: from_now(minutes=-2))
    due_at = factory.LazyFunction(lambda: from_now(minutes=-1))
