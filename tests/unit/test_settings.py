import base64
import re
from pathlib import Path

import pytest
from pydantic_core import PydanticUndefined

import settings
from settings import Settings

EXAMPLE = Path(__file__).parents[2] / ".env.example"
COMPOSE_PART = "=== Only for docker-compose.yml"
LINE = re.compile(r"^(#?)([A-Z][A-Z0-9_]*)=(.*)$", re.MULTILINE)

NEEDED = {
    "DATABASE_URL": "postgresql+psycopg://app:secret@127.0.0.1/vendor",
    "REDIS_URL": "redis://127.0.0.1:6379/0",
    "JWT_KEYS": f"k2:{'newer' * 8}, k1:{'older' * 8}",
    "TICKET_KEYS": f"t1:{base64.b64encode(bytes(32)).decode()}",
    "RECEIPT_KEYS": f"r1:{base64.b64encode(bytes(32)).decode()}",
    "WEBHOOK_KEYS": f"w1:{'secret' * 6}",
    "STRIPE_SECRET_KEY": "sk_test_1",
    "STRIPE_WEBHOOK_SECRET": "whsec_1",
    "SENDGRID_API_KEY": "SG.1",
    "SENDGRID_WEBHOOK_PUBLIC_KEY": "MFkw",
}


@pytest.fixture
def env_file(tmp_path, monkeypatch):
    """Return the `.env` of a folder in which the needed settings, and no others, are in the environment."""
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    for name, value in NEEDED.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setitem(Settings.model_config, "env_file", ".env")
    monkeypatch.chdir(tmp_path)
    return tmp_path / ".env"


def load():
    return settings.load.__wrapped__()


def complaint(capsys):
    """Return what the start says, as it stops."""
    with pytest.raises(SystemExit) as stop:
        load()
    assert stop.value.code == 2
    return capsys.readouterr().err


def example(*, of_compose):
    settings_part, _, compose_part = EXAMPLE.read_text().partition(COMPOSE_PART)
    return [
        (bool(mark), name, value) for mark, name, value in LINE.findall(compose_part if of_compose else settings_part)
    ]


def as_written(value):
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return ",".join(value) if isinstance(value, tuple) else str(value)


class TestStart:
    def test_needs_only_addresses_and_secrets(self, env_file):
        assert load().model_fields_set == {name.lower() for name in NEEDED}

    @pytest.mark.parametrize("name", NEEDED)
    def test_names_what_is_missing(self, env_file, monkeypatch, capsys, name):
        monkeypatch.delenv(name)
        assert f"settings: {name}: " in complaint(capsys)

    @pytest.mark.parametrize("name", NEEDED)
    def test_takes_an_empty_value_for_a_missing_one(self, env_file, monkeypatch, capsys, name):
        monkeypatch.setenv(name, "")
        assert f"settings: {name}: " in complaint(capsys)

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("DATABASE_URL", "mysql://app@127.0.0.1/vendor"),
            ("DATABASE_POOL_SIZE", "0"),
            ("JWT_KEYS", "only-a-secret"),
            ("JWT_KEYS", "k1:"),
            ("TICKET_KEYS", ","),
            ("BCRYPT_ROUNDS", "3"),
            ("JWT_KEYS", "k1:short"),
            ("STRIPE_WEBHOOK_SECRET", "whsec_1,,whsec_2"),
            ("STRIPE_WEBHOOK_SECRET", "whsec_1, "),
            ("TICKET_KEYS", "t1:c2VlZA=="),
            ("RECEIPT_KEYS", "r1:c2VlZA=="),
            ("WEBHOOK_KEYS", "w1:short"),
            ("REDIS_URL", "localhost"),
            ("PUBLIC_URL", "tickets.example.com"),
            ("RATE_LIMIT_USER", "often"),
            ("HOLD_SECONDS", "five minutes"),
            ("HOLD_SECONDS", "-1"),
            ("OFFER_SECONDS", "0"),
            ("PLATFORM_FEE_RATE_BPS", "10001"),
            ("PLATFORM_FEE_FIXED", "0.5"),
            ("PLATFORM_RETURNS_FEES", "sometimes"),
            ("RATE_LIMITS", "maybe"),
            ("LOG_LEVEL", "LOUD"),
            ("ENVIRONMENT", "staging"),
            ("LONG_POLL_LIMIT_SECONDS", "21"),
            ("FENCE_SILENCE_SECONDS", "1"),
            ("APPLE_PASS_KEY", "-----BEGIN PRIVATE KEY-----"),
            ("GOOGLE_WALLET_ISSUER_ID", "ours"),
        ],
    )
    def test_names_what_is_malformed(self, env_file, monkeypatch, capsys, name, value):
        monkeypatch.setenv(name, value)
        assert complaint(capsys).startswith(f"settings: {name}: ")

    @pytest.mark.parametrize(
        ("given", "missing"),
        [
            ({"APPLE_PASS_KEY": "LS0t"}, "APPLE_PASS_CERTIFICATE, APPLE_WWDR_CERTIFICATE is needed"),
            ({"GOOGLE_WALLET_ISSUER_ID": "33880"}, "GOOGLE_WALLET_ACCOUNT is needed"),
        ],
    )
    def test_names_what_a_wallet_lacks(self, env_file, monkeypatch, capsys, given, missing):
        for name, value in given.items():
            monkeypatch.setenv(name, value)
        assert missing in complaint(capsys)

    def test_names_what_is_unknown(self, env_file, capsys):
        env_file.write_text("HOLD_SECOND=60\n")
        assert complaint(capsys).startswith("settings: HOLD_SECOND: ")

    def test_names_what_is_misspelled_in_the_environment(self, env_file, monkeypatch, capsys):
        monkeypatch.setenv("HOLD_SECOND", "60")
        assert complaint(capsys) == "settings: HOLD_SECOND: there is no such setting; did you mean HOLD_SECONDS?\n"

    def test_leaves_what_is_for_compose_alone(self, env_file):
        env_file.write_text("POSTGRES_PASSWORD=secret\nWEB_PORT=80\n")
        assert load().web_workers == 2

    def test_names_everything_at_once(self, env_file, monkeypatch, capsys):
        monkeypatch.delenv("REDIS_URL")
        monkeypatch.setenv("WEB_THREADS", "many")
        named = [line.split(": ")[1] for line in complaint(capsys).splitlines()]
        assert named == ["REDIS_URL", "WEB_THREADS"]

    def test_refuses_a_hold_that_is_longer_than_its_limit(self, env_file, monkeypatch, capsys):
        monkeypatch.setenv("HOLD_SECONDS", "1201")
        assert "HOLD_LIMIT_SECONDS must not be below HOLD_SECONDS" in complaint(capsys)

    @pytest.mark.parametrize(
        ("address", "master", "reason"),
        [
            ("kafka://127.0.0.1", "", "CELERY_BROKER_URL: String should match pattern"),
            ("sentinel://127.0.0.1:26379", "", "CELERY_BROKER_MASTER is needed with sentinel://"),
            ("amqp://127.0.0.1", "tickets", "CELERY_BROKER_MASTER is needed with sentinel://"),
        ],
    )
    def test_refuses_a_broker_that_it_cannot_talk_to(self, env_file, monkeypatch, capsys, address, master, reason):
        monkeypatch.setenv("CELERY_BROKER_URL", address)
        monkeypatch.setenv("CELERY_BROKER_MASTER", master)
        assert reason in complaint(capsys)

    def test_refuses_to_send_messages_through_a_socket_file(self, env_file, monkeypatch, capsys):
        monkeypatch.setenv("REDIS_URL", "unix:///run/redis.sock")
        assert "CELERY_BROKER_URL is needed where REDIS_URL is a unix:// socket" in complaint(capsys)
        monkeypatch.setenv("CELERY_BROKER_URL", NEEDED["REDIS_URL"])
        assert load().broker_url == NEEDED["REDIS_URL"]

    def test_keeps_secrets_out_of_its_complaint(self, env_file, monkeypatch, capsys):
        monkeypatch.setenv("JWT_KEYS", "hunter2")
        monkeypatch.setenv("DATABASE_URL", "mysql://app:hunter2@127.0.0.1/vendor")
        assert "hunter2" not in complaint(capsys)


class TestSettings:
    def test_the_environment_outranks_the_file(self, env_file, monkeypatch):
        env_file.write_text("HOLD_SECONDS=60\nOFFER_SECONDS=90\n")
        monkeypatch.setenv("HOLD_SECONDS", "30")
        found = load()
        assert (found.hold_seconds, found.offer_seconds) == (30, 90)

    def test_a_keyring_keeps_its_order_because_the_first_key_signs(self, env_file):
        keys = load().jwt_keys
        assert [(kid, key.get_secret_value()) for kid, key in keys.items()] == [
            ("k2", "newer" * 8),
            ("k1", "older" * 8),
        ]

    def test_a_key_may_hold_the_character_that_separates_it(self, env_file, monkeypatch):
        monkeypatch.setenv("JWT_KEYS", "k1:a:b" + "c" * 32)
        assert load().jwt_keys["k1"].get_secret_value() == "a:b" + "c" * 32

    def test_webhooks_may_have_several_secrets(self, env_file, monkeypatch):
        assert load().stripe_webhook_secrets == ("whsec_1",)
        monkeypatch.setenv("STRIPE_WEBHOOK_SECRET", "whsec_own, whsec_connect")
        assert load().stripe_webhook_secrets == ("whsec_own", "whsec_connect")

    def test_currencies_are_read_as_people_write_them(self, env_file, monkeypatch):
        monkeypatch.setenv("CURRENCIES", "eur, Dkk")
        assert load().currencies == ("EUR", "DKK")

    def test_the_owner_and_the_broker_fall_back_to_what_is_there(self, env_file):
        found = load()
        assert (found.owner_database_url, found.broker_url) == (NEEDED["DATABASE_URL"], NEEDED["REDIS_URL"])

    def test_the_owner_and_the_broker_may_have_addresses_of_their_own(self, env_file, monkeypatch):
        monkeypatch.setenv("MIGRATION_DATABASE_URL", "postgresql+psycopg://owner@127.0.0.1/vendor")
        monkeypatch.setenv("CELERY_BROKER_URL", "redis://127.0.0.1:6380/0")
        found = load()
        assert found.owner_database_url == "postgresql+psycopg://owner@127.0.0.1/vendor"
        assert found.broker_url == "redis://127.0.0.1:6380/0"

    def test_printing_them_shows_no_secret(self, env_file):
        shown = repr(load())
        assert [value for value in ("newer", "older", "c2VlZA", "sk_test_1", "whsec_1", "SG.1") if value in shown] == []


class TestExample:
    def test_lists_exactly_the_settings(self):
        names = [name for _, name, _ in example(of_compose=False)]
        assert sorted(names) == sorted(name.upper() for name in Settings.model_fields)

    def test_shows_every_default_as_it_is(self):
        fields = {name.upper(): field for name, field in Settings.model_fields.items()}
        shown = {name: value for is_default, name, value in example(of_compose=False) if is_default}
        assert shown == {
            name: as_written(field.default) for name, field in fields.items() if field.default is not PydanticUndefined
        }

    def test_leaves_empty_what_has_no_default(self):
        empty = {name: value for is_default, name, value in example(of_compose=False) if not is_default}
        assert empty == dict.fromkeys(NEEDED, "")

    def test_a_plain_copy_of_it_changes_nothing(self, env_file):
        before = load()
        env_file.write_text(EXAMPLE.read_text())
        assert load() == before

    def test_each_default_in_it_is_understood(self, env_file):
        given = [f"{name}={value}" for _, name, value in example(of_compose=False) if value]
        before = load()
        env_file.write_text("\n".join(given))
        assert load() == before

    def test_what_compose_needs_has_names_of_its_own(self):
        of_compose = {name for _, name, _ in example(of_compose=True)}
        assert of_compose
        assert not of_compose & {name.upper() for name in Settings.model_fields}
