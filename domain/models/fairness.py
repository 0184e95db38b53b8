"""The log of what each tier's consumer decided: chained by hashes, without personal data; rows are only ever added."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint
from sqlalchemy.orm import Mapped, mapped_column

from domain.models.base import Base, value_enum
from domain.rules.fairness import EntryKind
from domain.rules.states import OrderReason


class FairnessEntry(Base):
    __tablename__ = "fairness_entries"

    # No foreign key: its check would cost each entry a lock on the tier, which the consumer holds already.
    tier_id: Mapped[UUID] = mapped_column(primary_key=True)
    position: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    """Counted from 1 in each tier."""
    kind: Mapped[EntryKind] = mapped_column(value_enum(EntryKind))
    reason: Mapped[OrderReason | None] = mapped_column(value_enum(OrderReason))
    sequence: Mapped[int | None] = mapped_column(BigInteger)
    """The number in the line that all buyers share; null where the entry is about the tier as a whole."""
    quantity: Mapped[int]
    received_at: Mapped[datetime | None]
    """When the database began to write the order down: its request had arrived by then."""
    decided_at: Mapped[datetime]
    commitment: Mapped[bytes | None]
    """Of the order's place; who holds its receipt can compute it, nobody else."""
    hash: Mapped[bytes]
    """Of the hash before it and the entry itself: domain/rules/fairness.py."""

    __table_args__ = (
        CheckConstraint("position > 0", name="position"),
        CheckConstraint("quantity >= 0", name="quantity"),
        CheckConstraint("octet_length(hash) = 32", name="hash_length"),
        CheckConstraint("octet_length(commitment) = 32", name="commitment_length"),
        CheckConstraint(
            "(kind = 'stock') = (sequence IS NULL) AND (sequence IS NULL) = (commitment IS NULL)"
            " AND (sequence IS NULL) = (received_at IS NULL)",
            name="whose",
        ),
    )
