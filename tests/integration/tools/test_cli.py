import pytest

from domain.models import AuditLog, User
from domain.rules.states import UserRole
from tests.factories.accounts import UserFactory
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
