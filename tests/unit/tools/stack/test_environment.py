import pytest

from settings import Settings
from tools.stack.environment import Addresses, Secrets, local_values, replace_parts
from tools.stack.postgres import Postgres
from tools.stack.valkey import Valkey


@pytest.fixture(scope="module")
def local():
    known = Secrets.generate()
    servers = (Postgres("p", 1, known.postgres), Valkey("v", 2, known.valkey))
    addresses = Addresses(web="http://127.0.0.1:3", stripe="http://127.0.0.1:4", sendgrid="http://127.0.0.1:5")
    return local_values(known, servers, addresses)


def test_the_local_values_are_settings(local, monkeypatch):
    for name, value in local.items():
        monkeypatch.setenv(name, value)
    settings = Settings(_env_file=None)
    assert settings.environment == "local"
    assert settings.owner_database_url != str(settings.database_url)


def test_what_a_person_gives_wins(local):
    values = replace_parts(local, {"PUBLIC_URL": "http://elsewhere", "HOLD_SECONDS": "9"})
    assert values == {**local, "PUBLIC_URL": "http://elsewhere", "HOLD_SECONDS": "9"}


@pytest.mark.parametrize(
    ("given", "belongings"),
    [
        ("DATABASE_URL", {"MIGRATION_DATABASE_URL"}),
        ("REDIS_URL", set()),
        ("STRIPE_SECRET_KEY", {"STRIPE_API_URL"}),
        ("SENDGRID_API_KEY", {"SENDGRID_API_URL"}),
    ],
)
def test_a_real_part_is_never_mixed_with_the_local_ones_addresses(local, given, belongings):
    values = replace_parts(local, {given: "real"})
    assert values[given] == "real"
    assert local.keys() - values.keys() == belongings


def test_a_person_may_name_those_addresses_too(local):
    values = replace_parts(local, {"DATABASE_URL": "real", "MIGRATION_DATABASE_URL": "owner"})
    assert values["MIGRATION_DATABASE_URL"] == "owner"
