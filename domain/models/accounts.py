"""People: users, the promoters among them, and the tokens that let them in."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKey, Index, Text, UniqueConstraint, func, literal_column, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column, relationship

from domain.models.base import Base, Identified, SoftDeleted, Timestamped, value_enum
from domain.rules.states import AccountTokenPurpose, StripeAccountState, UserRole, VerificationStatus


class User(Identified, Timestamped, SoftDeleted, Base):
    __tablename__ = "users"

    email: Mapped[str]
    password_hash: Mapped[str]
    first_name: Mapped[str]
    last_name: Mapped[str]
    phone: Mapped[str | None]
    role: Mapped[UserRole] = mapped_column(value_enum(UserRole), default=UserRole.USER)
    email_verified: Mapped[bool] = mapped_column(default=False)
    email_verified_at: Mapped[datetime | None]
    is_active: Mapped[bool] = mapped_column(default=True)
    last_login_at: Mapped[datetime | None]
    erased_at: Mapped[datetime | None]
    """When the person was forgotten (`domain/erasure.py`); such an account is never opened again."""

    promoter: Mapped["Promoter | None"] = relationship(back_populates="user", lazy="raise")

    __table_args__ = (
        CheckConstraint("email LIKE '%_@_%'", name="email_shape"),
        CheckConstraint("email_verified = (email_verified_at IS NOT NULL)", name="email_verified_when"),
        CheckConstraint("erased_at IS NULL OR deleted_at IS NOT NULL", name="erased_is_deleted"),
        # Log-in, and one account per address whatever its case.
        Index(
            "uq_users_email_lower",
            func.lower(text("email")),
            unique=True,
            postgresql_where=text("deleted_at IS NULL"),
        ),
        # The admin's list of deleted users.
        Index("ix_users_deleted", "id", postgresql_where=text("deleted_at IS NOT NULL")),
        # The admin's list of users by role, newest first.
        Index("ix_users_role_id", "role", "id"),
        # The admin's look-up by a part of a name or address.
        Index(
            "ix_users_search",
            literal_column("((((first_name || ' ') || last_name) || ' ') || email)").label("person"),
            postgresql_using="gin",
            postgresql_ops={"person": "gin_trgm_ops"},
        ),
    )

    @property
    def full_name(self) -> str:
        return f"{self.first_name} {self.last_name}".strip()

    @property
    def is_promoter(self) -> bool:
        return self.role is UserRole.PROMOTER

    @property
    def is_admin(self) -> bool:
        return self.role is UserRole.ADMIN


class Promoter(Identified, Timestamped, Base):
    __tablename__ = "promoters"

    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id"), unique=True)
    company_name: Mapped[str]
    description: Mapped[str | None]
    website: Mapped[str | None]
    tax_id: Mapped[str | None]
    verification_status: Mapped[VerificationStatus] = mapped_column(
        value_enum(VerificationStatus), default=VerificationStatus.UNVERIFIED
    )
    verified_at: Mapped[datetime | None]
    stripe_account_id: Mapped[str | None] = mapped_column(unique=True)
    stripe_account_state: Mapped[StripeAccountState] = mapped_column(
        value_enum(StripeAccountState), default=StripeAccountState.NONE
    )
    stripe_account_read_at: Mapped[datetime | None]
    """When the account was last read at Stripe, null if the sweep is to do it now. Before there is one: when the
    opening began whose outcome is still to come."""
    stripe_disabled_reason: Mapped[str | None]
    """Why Stripe restricts the account, in its words (requirements.disabled_reason)."""
    address_line1: Mapped[str | None]
    address_line2: Mapped[str | None]
    city: Mapped[str | None]
    region: Mapped[str | None]
    postal_code: Mapped[str | None]
    country: Mapped[str | None]
    fee_rate_bps: Mapped[int | None]
    """Set by an admin; the platform's default where null. Basis points of each line."""
    fee_fixed: Mapped[int | None]
    """Set by an admin; the platform's default where null. Minor units per paid ticket."""
    returns_fees: Mapped[bool | None]
    """Set by an admin; the platform's default where null. Whether its fee goes back with a refund."""

    user: Mapped[User] = relationship(back_populates="promoter", lazy="raise")

    __table_args__ = (
        CheckConstraint("country ~ '^[A-Z]{2}$'", name="country_iso"),
        CheckConstraint("fee_rate_bps BETWEEN 0 AND 10000", name="fee_rate"),
        CheckConstraint("fee_fixed >= 0", name="fee_fixed"),
        CheckConstraint("(verification_status = 'verified') = (verified_at IS NOT NULL)", name="verified_when"),
        CheckConstraint(
            "(stripe_account_id IS NULL) = (stripe_account_state = 'none')", name="stripe_account_has_state"
        ),
        # The admin's list of who waits for verification.
        Index("ix_promoters_pending", "created_at", postgresql_where=text("verification_status = 'pending'")),
    )

    @property
    def is_verified(self) -> bool:
        return self.verification_status is VerificationStatus.VERIFIED

    @property
    def display_name(self) -> str:
        return self.company_name or self.user.full_name


class TeamMember(Identified, Timestamped, Base):
    """A person whom a promoter lets work on their events."""

    __tablename__ = "team_members"

    promoter_id: Mapped[UUID] = mapped_column(ForeignKey("promoters.id"))
    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id"))
    rights: Mapped[list[str]] = mapped_column(ARRAY(Text))
    """Values of `TeamRight`."""

    user: Mapped[User] = relationship(lazy="raise")
    promoter: Mapped[Promoter] = relationship(lazy="raise")

    __table_args__ = (
        CheckConstraint(
            "rights <@ ARRAY['manage', 'sell', 'scan'] AND cardinality(rights) BETWEEN 1 AND 3", name="rights"
        ),
        # Who is in the team, and whether somebody is.
        UniqueConstraint("promoter_id", "user_id"),
        # The teams that a person is in.
        Index("ix_team_members_user_id", "user_id"),
    )


class RefreshToken(Identified, Base):
    """One row per refresh token ever issued: its id is the token's `jti`, its family one log-in."""

    __tablename__ = "refresh_tokens"

    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id"))
    family_id: Mapped[UUID]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    expires_at: Mapped[datetime]
    used_at: Mapped[datetime | None]
    """When it was exchanged; a second use after this revokes the family (RFC 9700 section 4.14.2)."""
    revoked_at: Mapped[datetime | None]
    ip: Mapped[str | None]
    user_agent: Mapped[str | None]

    __table_args__ = (
        CheckConstraint("expires_at > created_at", name="expires_later"),
        # Revoking a family, and all of a user's families.
        Index("ix_refresh_tokens_family_id", "family_id"),
        Index("ix_refresh_tokens_user_id_family_id", "user_id", "family_id"),
        # The sweep deletes what has expired.
        Index("ix_refresh_tokens_expires_at", "expires_at"),
    )


class AccountToken(Identified, Base):
    """A one-time token sent by mail; only its SHA-256 is kept."""

    __tablename__ = "account_tokens"

    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id"))
    purpose: Mapped[AccountTokenPurpose] = mapped_column(value_enum(AccountTokenPurpose))
    token_hash: Mapped[str] = mapped_column(unique=True)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    expires_at: Mapped[datetime]
    used_at: Mapped[datetime | None]

    __table_args__ = (
        CheckConstraint("expires_at > created_at", name="expires_later"),
        # A new token spends the user's older ones of the same purpose.
        Index("ix_account_tokens_user_id_purpose", "user_id", "purpose"),
        # The sweep deletes what has expired.
        Index("ix_account_tokens_expires_at", "expires_at"),
    )
