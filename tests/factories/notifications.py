"""Mails in the outbox."""

import factory
from uuid_utils.compat import uuid7

from domain.models import EmailNotification
from domain.rules.states import MailStatus
from tests.factories.base import RowFactory, from_now

SENT = {MailStatus.SENT, MailStatus.DELIVERED, MailStatus.BOUNCED}


class EmailNotificationFactory(RowFactory):
    """By default a mail that is due, to somebody who has no account."""

    class Meta:
        model = EmailNotification

    template = "verify_email"
    purpose = factory.LazyAttribute(lambda mail: f"{mail.template}:{uuid7()}")
    recipient = factory.Sequence(lambda n: f"reader-{n}@example.com")
    recipient_name = "Ada Lovelace"
    status = MailStatus.PENDING
    sent_at = factory.LazyAttribute(lambda mail: from_now() if mail.status in SENT else None)
    delivered_at = factory.LazyAttribute(lambda mail: from_now() if mail.status == MailStatus.DELIVERED else None)
    bounced_at = factory.LazyAttribute(lambda mail: from_now() if mail.status == MailStatus.BOUNCED else None)
    provider_message_id = factory.LazyAttribute(lambda mail: f"msg-{uuid7()}" if mail.sent_at else None)
