"""Mail to many, and who gets less of it."""

import factory

from domain.models import Mailing, MailSuppression, Unsubscription
from domain.rules.states import MailingKind, MailingStatus, SuppressionReason
from tests.factories.accounts import PromoterFactory, UserFactory
from tests.factories.base import RowFactory, from_now
from tests.factories.catalog import EventFactory


class MailingFactory(RowFactory):
    """By default an announcement that is due."""

    class Meta:
        model = Mailing

    event_id = factory.LazyFunction(lambda: EventFactory().id)
    kind = MailingKind.ANNOUNCEMENT
    status = MailingStatus.WAITING
    subject = factory.LazyAttribute(lambda mailing: _of(mailing, MailingKind.ANNOUNCEMENT, "Bring something warm"))
    body = factory.LazyAttribute(lambda mailing: _of(mailing, MailingKind.ANNOUNCEMENT, "It gets cool."))
    event_starts_at = factory.LazyAttribute(lambda mailing: _of(mailing, MailingKind.REMINDER, from_now(days=30)))
    due_at = factory.LazyAttribute(lambda mailing: None if mailing.status == MailingStatus.DRAFT else from_now())
    finished_at = factory.LazyAttribute(
        lambda mailing: from_now() if mailing.status in {MailingStatus.SENT, MailingStatus.CANCELLED} else None
    )


def _of(mailing, kind, value):
    return value if mailing.kind == kind else None


class UnsubscriptionFactory(RowFactory):
    class Meta:
        model = Unsubscription

    user_id = factory.LazyFunction(lambda: UserFactory().id)
    promoter_id = factory.LazyFunction(lambda: PromoterFactory().id)


class MailSuppressionFactory(RowFactory):
    class Meta:
        model = MailSuppression

    address = factory.Sequence(lambda n: f"gone-{n}@example.com")
    reason = SuppressionReason.BOUNCED
    detail = "550 5.1.1 The address does not exist"
