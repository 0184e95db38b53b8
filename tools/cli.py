"""The operator's command line: `python -m tools.cli COMMAND`, on the database that the settings name.

What the API offers is not repeated here; this is for what must be done before anybody may log in.
"""

import argparse
import sys
from collections.abc import Sequence
from datetime import UTC, datetime

from sqlalchemy import NullPool, create_engine
from sqlalchemy.orm import Session

from domain import users
from domain.audit import Actor
from domain.errors import DomainError
from domain.logins import find_user_by_email
from domain.rules.states import UserRole
from settings import load


def main(arguments: Sequence[str]) -> int:
    """Carry out one command; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tools.cli", description="Ticket Vendor, for its operators.")
    commands = parser.add_subparsers(dest="command", required=True)
    role = commands.add_parser("role", help="give a registered user a role, such as the first admin theirs")
    role.add_argument("email")
    role.add_argument("role", choices=[role.value for role in UserRole])
    options = parser.parse_args(arguments)
    try:
        return _give_role(options.email, UserRole(options.role))
    except DomainError as error:
        print(error.detail, file=sys.stderr)
        return 1


def _give_role(email: str, role: UserRole) -> int:
    """Give an account a role; audited like an admin's own act, by nobody."""
    engine = create_engine(str(load().database_url), poolclass=NullPool)
    with Session(engine) as session, session.begin():
        user = find_user_by_email(session, email)
        if user is None:
            print(f"Nobody is registered as {email}.", file=sys.stderr)
            return 1
        users.change_user(session, Actor(), user.id, {"role": role}, datetime.now(UTC))
    print(f"{email} is now {role}.")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
