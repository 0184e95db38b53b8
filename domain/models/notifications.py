"""The mail outbox: a row per mail, written in the transaction that gives the reason for it."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, Index, text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from domain.models.accounts import User
from domain.models.base import EMPTY_OBJECT, Base, Identified, JSONObject, Timestamped, value_enum
from domain.models.catalog import Event
from domain.models.mailings import Mailing
from domain.models.orders import Order
from domain.rules.states import MailStatus

ERASED_ADDRESS = "erased@erased.invalid"
"""What is left of an erased person's address: nobody has it (RFC 2606 section 2)."""


class EmailNotification(Identified, Timestamped, Base):
    __tablename__ = "email_notifications"

    user_id: Mapped[UUID | None] = mapped_column(ForeignKey("users.id"))
    order_id: Mapped[UUID | None] = mapped_column(ForeignKey("orders.id"))
    event_id: Mapped[UUID | None] = mapped_column(ForeignKey("events.id"))
    """The event that it is about, where it is about one."""
    mailing_id: Mapped[UUID | None] = mapped_column(ForeignKey("mailings.id"))
    template: Mapped[str]
    purpose: Mapped[str] = mapped_column(unique=True)
    """What the mail is for, such as `order_confirmed:<order id>`: one mail per purpose."""
    subject: Mapped[str | None]
    """As sent."""
    recipient: Mapped[str]
    recipient_name: Mapped[str]
    context: Mapped[JSONObject] = mapped_column(server_default=EMPTY_OBJECT, default=dict)
    """What the template needs and no other row says."""
    status: Mapped[MailStatus] = mapped_column(value_enum(MailStatus), default=MailStatus.PENDING)
    attempts: Mapped[int] = mapped_column(default=0)
    next_attempt_at: Mapped[datetime | None]
    provider_message_id: Mapped[str | None]
    sent_at: Mapped[datetime | None]
    delivered_at: Mapped[datetime | None]
    opened_at: Mapped[datetime | None]
    clicked_at: Mapped[datetime | None]
    bounced_at: Mapped[datetime | None]
    error: Mapped[str | None]

    user: Mapped[User | None] = relationship(lazy="raise")
    order: Mapped[Order | None] = relationship(lazy="raise")
    event: Mapped[Event | None] = relationship(lazy="raise")
    mailing: Mapped[Mailing | None] = relationship(lazy="raise")

    __table_args__ = (
        CheckConstraint("attempts >= 0", name="attempts"),
        CheckConstraint("recipient LIKE '%_@_%'", name="recipient_shape"),
        CheckConstraint("status NOT IN ('sent', 'delivered') OR sent_at IS NOT NULL", name="sent_when"),
        # The sweep: what is due, and what a dead worker left in `sending`.
        Index(
            "ix_email_notifications_due",
            "status",
            "next_attempt_at",
            postgresql_where=text("status IN ('pending', 'sending', 'unknown')"),
        ),
        # The mails of an order, and of a person.
        Index("ix_email_notifications_order_id", "order_id"),
        Index("ix_email_notifications_user_id_id", "user_id", "id"),
        # What became of an event's mails, and of a mailing's.
        Index(
            "ix_email_notifications_event_id_template_status",
            "event_id",
            "template",
            "status",
            postgresql_where=text("event_id IS NOT NULL"),
        ),
        Index(
            "ix_email_notifications_mailing_id_status",
            "mailing_id",
            "status",
            postgresql_where=text("mailing_id IS NOT NULL"),
        ),
        # The promoter's list of addresses that mail does not reach.
        Index(
            "ix_email_notifications_undeliverable",
            "event_id",
            "recipient",
            "id",
            postgresql_where=text("status IN ('bounced', 'suppressed')"),
        ),
        # A delivery event names the provider's message.
        Index("ix_email_notifications_provider_message_id", "provider_message_id"),
        # The admin's lists by template and by address.
        Index("ix_email_notifications_template_id", "template", "id"),
        Index("ix_email_notifications_recipient", text("lower(recipient)"), "id"),
        # The sweep: erased people whose farewell still has their address.
        Index(
            "ix_email_notifications_farewells",
            "id",
            postgresql_where=text(f"template = 'account_erased' AND recipient <> '{ERASED_ADDRESS}'"),
        ),
        # The admin's list of what failed.
        Index("ix_email_notifications_failed", "id", postgresql_where=text("status IN ('failed', 'bounced')")),
    )

    @property
    def is_sent(self) -> bool:
        return self.sent_at is not None

    @property
    def is_opened(self) -> bool:
        return self.opened_at is not None

    @property
    def is_clicked(self) -> bool:
        return self.clicked_at is not None

    @property
    def is_bounced(self) -> bool:
        return self.status is MailStatus.BOUNCED

    @property
    def is_pending(self) -> bool:
        return self.status in {MailStatus.PENDING, MailStatus.SENDING}

    @property
    def is_failed(self) -> bool:
        return self.status is MailStatus.FAILED
