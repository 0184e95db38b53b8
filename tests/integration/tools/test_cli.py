from datetime import timedelta

import pytest
from sqlalchemy import text
from uuid_utils.compat import uuid7

from adapters.letters import CONTEXTS
from domain.errors import RetryableVendorError
from domain.invariants.inspection import INVARIANTS
from domain.models import AuditLog, User
from domain.ports import ChargeReading
from domain.rules.states import EventStatus, OrderStage, UserRole
from tests.factories import EventFactory, OrderFactory, PromoterFactory, TicketTierFactory, bound_to
from tests.factories.accounts import UserFactory
from tests.integration.market import Market, is_served, until
from tools import cli


@pytest.fixture
def user(sessions):
    with sessions.begin() as session:
        return UserFactory(session=session)


def test_gives_the_first_admin_their_role_and_audits_it(sessions, user, capsys):
    assert cli.main(["role", user.email.upper(), "admin"]) == 0
    assert "is now admin" in capsys.readouterr().out
    with sessions() as session:
        assert session.get(User, user.id).role is UserRole.ADMIN
        entry = session.query(AuditLog).one()
    assert (entry.action, entry.actor_id, entry.new_data) == ("user.change", None, {"role": "admin"})


def test_says_who_is_not_registered(sessions, capsys):
    assert cli.main(["role", "nobody@example.com", "admin"]) == 1
    assert "Nobody is registered as nobody@example.com" in capsys.readouterr().err


def test_does_not_take_the_last_admin_away(sessions, user, capsys):
    cli.main(["role", user.email, "admin"])
    assert cli.main(["role", user.email, "user"]) == 1
    assert "administrator" in capsys.readouterr().err


def test_refuses_a_role_that_does_not_exist(capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["role", "somebody@example.com", "emperor"])
    assert stop.value.code == 2


class TestMailPreview:
    def test_writes_every_template_as_its_reader_sees_it(self, tmp_path):
        assert cli.main(["mail", "preview", "--out", str(tmp_path / "mails")]) == 0
        written = {path.name for path in (tmp_path / "mails").iterdir()}
        assert written == {f"{name}.{kind}" for name in CONTEXTS for kind in ("html", "txt")}
        confirmation = (tmp_path / "mails" / "order_confirmed.html").read_text()
        assert "data:image/png;base64," in confirmation
        assert "cid:" not in confirmation

    def test_writes_the_one_that_is_named_and_refuses_what_there_is_not(self, tmp_path, capsys):
        assert cli.main(["mail", "preview", "reminder", "--out", str(tmp_path)]) == 0
        assert {path.name for path in tmp_path.iterdir()} == {"reminder.html", "reminder.txt"}
        assert cli.main(["mail", "preview", "remainder", "--out", str(tmp_path)]) == 2
        assert "No such template: remainder" in capsys.readouterr().err


class Books:
    """What the provider has captured, by event."""

    def __init__(self):
        self.charges = {}

    def list_charges(self, group):
        for charge in self.charges.get(group, []):
            if isinstance(charge, Exception):
                raise charge
            yield charge


class TestStatement:
    @pytest.fixture
    def books(self, monkeypatch):
        books = Books()
        monkeypatch.setattr(cli.wiring, "open_gateway", lambda _: books)
        return books

    @pytest.fixture
    def sell(self, sessions, books):
        """Return what sells an order of a new event, which the provider knows of, too."""

        def sell(currency="EUR", **event):
            with sessions.begin() as session, bound_to(session):
                promoter = PromoterFactory(stripe_account_id=None)
                tier = TicketTierFactory(event=EventFactory(promoter=promoter, currency=currency, **event), price=5000)
                order = OrderFactory(tier=tier, quantity=2, stage=OrderStage.COMPLETE)
            reading = ChargeReading(
                order.stripe_charge_id,
                order.stripe_payment_intent_id,
                order.total,
                currency,
                refunded=0,
                fee=0,
                withdrawn=0,
            )
            books.charges[order.event_id] = [reading]
            return order

        return sell

    def test_a_difference_of_zero_is_success(self, sell, capsys):
        order = sell(title="Jazz on the Harbour")
        assert cli.main(["statement", str(order.event_id)]) == 0
        said = capsys.readouterr().out
        assert f"Jazz on the Harbour  {order.event_id}" in said
        charged, *_ = [line.split() for line in said.splitlines() if line.strip().startswith("charged")]
        amount = f"{order.total // 100}.{order.total % 100:02}"
        assert charged == ["charged", amount, "EUR", amount, "EUR"]
        assert "2 tickets, by price 100.00 EUR" in " ".join(said.split())
        assert said.split()[-3:] == ["difference", "0.00", "EUR"]

    def test_every_mismatch_is_told_and_fails(self, sell, sessions, capsys):
        right, wrong = sell(), sell("KWD")
        with sessions.begin() as session:
            session.execute(text("UPDATE tickets SET status = 'cancelled' WHERE order_id = :id"), {"id": wrong.id})
        assert cli.main(["statement", str(right.event_id), str(wrong.event_id)]) == 1
        said = capsys.readouterr().out
        amount = f"{wrong.total // 1000}.{wrong.total % 1000:03} KWD"
        assert (
            f"  MISMATCH paid_without_tickets: order {wrong.number} ({wrong.id}): ledger {amount}, tickets 0.000 KWD, "
            f"difference {amount}\n"
        ) in said
        assert said.count("MISMATCH") == 1

    def test_all_are_those_that_were_ever_published(self, sell, sessions, capsys):
        orders = [sell(), sell(status=EventStatus.COMPLETED)]
        with sessions.begin() as session:
            draft = EventFactory(session=session, status=EventStatus.DRAFT)
        assert cli.main(["statement", "--all"]) == 0
        said = capsys.readouterr().out
        assert all(str(order.event_id) in said for order in orders)
        assert str(draft.id) not in said

    def test_an_unknown_event_is_named_and_the_others_are_told_all_the_same(self, sell, capsys):
        unknown, order = uuid7(), sell()
        assert cli.main(["statement", str(unknown), str(order.event_id)]) == 1
        said = capsys.readouterr()
        assert said.err == f"{unknown}: There is no such event.\n"
        assert str(order.event_id) in said.out

    def test_without_the_provider_there_is_no_statement(self, sell, books, capsys):
        order = sell()
        books.charges[order.event_id] = [RetryableVendorError("Stripe did not answer.")]
        assert cli.main(["statement", str(order.event_id)]) == 1
        assert f"{order.event_id}: Stripe could not be asked. Stripe did not answer." in capsys.readouterr().err

    @pytest.mark.parametrize("arguments", [[], ["--all", str(uuid7())], ["jazz"]])
    def test_one_says_which_events(self, arguments, capsys):
        with pytest.raises(SystemExit) as stop:
            cli.main(["statement", *arguments])
        assert stop.value.code == 2
        assert "vendor statement" in capsys.readouterr().err


class TestAudit:
    @pytest.fixture
    def market(self, sessions, postgres):
        market = Market(sessions, postgres)
        yield market
        market.close()

    @pytest.fixture(autouse=True)
    def _soon(self, monkeypatch):
        monkeypatch.setattr(cli.audit, "SECOND_LOOK", timedelta(seconds=5))

    def test_says_of_each_invariant_that_it_holds(self, market, capsys):
        tier = market.tier()
        market.own()
        until(is_served(market, market.orders(tier, 3)))
        capsys.readouterr()
        assert cli.main(["audit"]) == 0
        said = capsys.readouterr().out.splitlines()
        assert said[0] == "1 events"
        assert [line.split()[:3] for line in said[1:-1]] == [["ok", each.name, "0"] for each in INVARIANTS]
        assert said[-1] == "Every invariant holds."

    def test_heals_the_counters_through_their_consumer_and_fails_all_the_same(self, market, capsys):
        tier = market.tier()
        market.own()
        until(is_served(market, market.orders(tier, 2)))
        market.as_owner("UPDATE ticket_tiers SET reserved = 5 WHERE id = :id", id=tier.id)
        assert cli.main(["audit"]) == 1
        assert market.counters(tier) == (2, 0)
        said = capsys.readouterr().out
        assert (
            f"healed  counters_equal_rows: {tier.name} ({tier.id}): reserved 5 and sold 0, by its rows 2 and 0" in said
        )
        assert said.endswith("Every invariant holds.\n")
        assert cli.main(["audit"]) == 0

    def test_names_what_it_cannot_heal(self, market, capsys):
        tier = market.tier()
        market.own()
        (order_id,) = market.orders(tier)
        until(is_served(market, [order_id]))
        market.as_owner("UPDATE orders SET fees = fees + 1, tax = tax - 1 WHERE id = :id", id=order_id)
        assert cli.main(["audit"]) == 1
        said = capsys.readouterr().out
        named = next(line for line in said.splitlines() if line.startswith("BROKEN  "))
        assert named.startswith("BROKEN  orders_add_up: TV-")
        assert f" ({order_id}): total " in named
        assert said.endswith("Something is still broken.\n")

    def test_waits_for_an_owner_only_so_long(self, market, monkeypatch, capsys):
        monkeypatch.setattr(cli.audit, "SECOND_LOOK", timedelta(seconds=1))
        tier = market.tier()
        assert cli.main(["audit"]) == 1
        assert f"BROKEN  one_owner: {tier.name} ({tier.id}): 0 sessions hold its lock" in capsys.readouterr().out
