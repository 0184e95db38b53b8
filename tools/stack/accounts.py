"""The demo accounts of the local stack: rows written directly, because no route gives roles or verified addresses.

They exist nowhere else: the password is generated for one data folder, and only a local database is written to.
"""

import os
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sqlalchemy.orm import Session


@dataclass(frozen=True)
class Account:
    """Somebody who may log in."""

    email: str
    role: str
    first_name: str
    last_name: str
    says: str


ADMIN = Account("admin@example.com", "admin", "Ada", "Admin", "administers everything")
PROMOTER = Account("promoter@example.com", "promoter", "Priya", "Promoter", "owns the demo event")
BUYER = Account("buyer@example.com", "user", "Bo", "Buyer", "buys tickets")
ACCOUNTS = (ADMIN, PROMOTER, BUYER)

_EMAILS = ",".join(account.email for account in ACCOUNTS)
ARE_THERE = f"SELECT count(*) = {len(ACCOUNTS)} FROM users WHERE email = ANY ('{{{_EMAILS}}}') AND deleted_at IS NULL"  # noqa: S608
"""Answers `t` once they are written; asking is much cheaper than importing all that writes them."""


def main() -> int:
    """Write the accounts that are missing, with the password in DEMO_PASSWORD."""
    # Heavy, and the supervisor, which needs the addresses above, should not pay for them.
    from sqlalchemy import create_engine, orm, select  # noqa: PLC0415

    from adapters.password_hasher import PasswordHasher  # noqa: PLC0415
    from domain.models import User  # noqa: PLC0415
    from settings import load  # noqa: PLC0415

    settings = load()
    if settings.environment != "local":
        print("Demo accounts are for the local stack only.", file=sys.stderr)
        return 1
    password_hash = PasswordHasher(rounds=settings.bcrypt_rounds).hash(os.environ["DEMO_PASSWORD"])
    with orm.Session(create_engine(settings.session_database_url)) as session, session.begin():
        emails = [account.email for account in ACCOUNTS]
        there = set(session.scalars(select(User.email).where(User.email.in_(emails), User.deleted_at.is_(None))))
        for account in ACCOUNTS:
            if account.email not in there:
                _write(session, account, password_hash)
    return 0


def _write(session: "Session", account: Account, password_hash: str) -> None:
    from domain.models import Promoter, User  # noqa: PLC0415
    from domain.rules.states import UserRole, VerificationStatus  # noqa: PLC0415

    now = datetime.now(UTC)
    user = User(
        email=account.email,
        password_hash=password_hash,
        first_name=account.first_name,
        last_name=account.last_name,
        role=UserRole(account.role),
        email_verified=True,
        email_verified_at=now,
    )
    session.add(user)
    session.flush()
    if account is PROMOTER:
        profile = {"company_name": "Harbour Nights", "verification_status": VerificationStatus.VERIFIED}
        session.add(Promoter(user_id=user.id, verified_at=now, **profile))


if __name__ == "__main__":
    sys.exit(main())
