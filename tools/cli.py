"""The operator's command line: `vendor COMMAND`, or `python -m tools.cli`, on the database that the settings name.

What the API offers is not repeated here; this is for what must be done before anybody may log in, and for what should
be known when nothing else is believed.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

from sqlalchemy import NullPool, create_engine
from sqlalchemy.orm import Session, sessionmaker

import wiring
from domain import users
from domain.audit import Actor
from domain.errors import DomainError, VendorError
from domain.logins import find_user_by_email
from domain.payments import statements
from domain.payments.statements import Reckoning
from domain.rules.money import written
from domain.rules.statements import Mismatch
from domain.rules.states import UserRole
from settings import load
from tools import audit, mail


def main(arguments: Sequence[str]) -> int:
    """Carry out one command; return the exit code."""
    parser = argparse.ArgumentParser(prog="vendor", description="Ticket Vendor, for its operators.")
    commands = parser.add_subparsers(dest="command", required=True)
    role = commands.add_parser("role", help="give a registered user a role, such as the first admin theirs")
    role.add_argument("email")
    role.add_argument("role", choices=[role.value for role in UserRole])
    statement = commands.add_parser(
        "statement", help="compare what Stripe, the ledger and the tickets say of events; fails if they differ"
    )
    statement.add_argument("event_ids", type=UUID, nargs="*", metavar="EVENT_ID")
    statement.add_argument("--all", action="store_true", help="every event that was ever published")
    commands.add_parser("audit", help="look at every invariant, heal what can be healed, and fail if one was broken")
    letters = commands.add_parser("mail", help="show the mails").add_subparsers(dest="act", required=True)
    shown = letters.add_parser("preview", help="write mail templates with sample data, as HTML and as text")
    shown.add_argument("templates", nargs="*", metavar="TEMPLATE", help="all if none is named")
    shown.add_argument("--out", type=Path, required=True, metavar="DIR")
    options = parser.parse_args(arguments)
    try:
        if options.command == "mail":
            return mail.preview(options.templates, options.out)
        if options.command == "audit":
            return audit.audit(_open_sessions(), load().step_patience)
        if options.command == "role":
            return _give_role(options.email, UserRole(options.role))
        if bool(options.event_ids) == options.all:
            statement.error("name the events, or say --all")
        return _state(options.event_ids)
    except DomainError as error:
        print(error.detail, file=sys.stderr)
        return 1


def _open_sessions() -> sessionmaker[Session]:
    return sessionmaker(create_engine(load().session_database_url, poolclass=NullPool))


def _give_role(email: str, role: UserRole) -> int:
    """Give an account a role; audited like an admin's own act, by nobody."""
    with _open_sessions().begin() as session:
        user = find_user_by_email(session, email)
        if user is None:
            print(f"Nobody is registered as {email}.", file=sys.stderr)
            return 1
        users.change_user(session, Actor(), user.id, {"role": role}, datetime.now(UTC))
    print(f"{email} is now {role}.")
    return 0


def _state(event_ids: Sequence[UUID]) -> int:
    """Print the statements of these events, or of all, made right now and kept nowhere; fail if one is not zero."""
    sessions, gateway = _open_sessions(), wiring.open_gateway(load())
    if not event_ids:
        with sessions() as session:
            event_ids = statements.find_sold_events(session)
    is_right = True
    for event_id in event_ids:
        try:
            reckoning = statements.reckon(sessions, gateway, event_id)
        except DomainError as error:
            print(f"{event_id}: {error.detail}", file=sys.stderr)
            is_right = False
        except VendorError as error:
            print(f"{event_id}: Stripe could not be asked. {error.message}", file=sys.stderr)
            is_right = False
        else:
            print("\n".join(_lines(reckoning)), end="\n\n")
            is_right = is_right and reckoning.comparison.difference == 0
    return 0 if is_right else 1


def _lines(reckoning: Reckoning) -> Iterator[str]:
    comparison, currency = reckoning.comparison, reckoning.currency
    yield f"{reckoning.title}  {reckoning.event_id}"
    yield f"  {f'{reckoning.as_of.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC':<24}{'Stripe':>18}{'ledger':>18}"
    for name in ("charged", "fees", "refunded", "disputed", "kept"):
        amounts = [written(getattr(side, name), currency) for side in (comparison.provider, comparison.ledger)]
        yield f"  {name:<24}{amounts[0]:>18}{amounts[1]:>18}"
    yield f"  {'fees not split by Stripe':<42}{written(comparison.unsplit_fees, currency):>18}"
    yield f"  {f'{comparison.live_tickets} tickets, by price':<42}{written(comparison.live_value, currency):>18}"
    yield from (f"  MISMATCH {_described(mismatch, currency)}" for mismatch in comparison.mismatches)
    yield from (f"  moving   {_described(mismatch, currency)}" for mismatch in comparison.moving)
    yield f"  {'difference':<42}{written(comparison.difference, currency):>18}"


def _described(mismatch: Mismatch, currency: str) -> str:
    """Describe a mismatch in a line: what it is, whose, the two numbers, and by how much they differ."""
    order = f"order {mismatch.order_number} ({mismatch.order_id})" if mismatch.order_id else "no order"
    charge = f", charge {mismatch.charge_id}" if mismatch.charge_id else ""
    accounts = {"Stripe": mismatch.provider, "ledger": mismatch.ledger, "tickets": mismatch.tickets}
    numbers = ", ".join(f"{name} {written(value, currency)}" for name, value in accounts.items() if value is not None)
    return f"{mismatch.kind}: {order}{charge}: {numbers}, difference {written(mismatch.difference, currency)}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
