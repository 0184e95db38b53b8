"""docker-compose.yml: the same processes as the local stack, and nothing that they should not be given."""

import importlib.util
import json
import os
import re
import subprocess
from pathlib import Path

import pytest
import yaml
from sqlalchemy import create_engine, make_url, text

import celeryconfig
from settings import Settings
from tests.architecture.commands import options_of
from tools.stack.environment import ROOT
from tools.stack.postgres import SUPERUSER, binaries

ONLY_LOCAL = {"stripe", "sendgrid", "accounts"}
"""The stand-ins, and the demo accounts: neither ever leaves the local stack."""
SERVERS = {"postgres", "redis"}
GIVEN_TO_ONE = {"METRICS_DIR", "MIGRATION_DATABASE_URL"}
COMPOSE = (ROOT / "docker-compose.yml").read_text()
DOCKERFILE = (ROOT / "deploy" / "Dockerfile").read_text()
REQUIRED = set(re.findall(r"\$\{(\w+):\?", COMPOSE))


@pytest.fixture(scope="session")
def parse(tmp_path_factory):
    """Return Compose's own parser: given the variables, how it ended, the file as JSON, and complaints."""
    spec = importlib.util.find_spec("compose")
    if spec is None:
        pytest.skip("the Compose parser has no wheel for this machine")
    program = Path(spec.origin).parent / "docker-compose"
    values = tmp_path_factory.mktemp("compose") / "values"

    def run(**variables):
        values.write_text("".join(f"{name}={value}\n" for name, value in variables.items()))
        command = [program, "--env-file", values, "-f", "docker-compose.yml", "config", "--format", "json"]
        clean = {"PATH": os.environ["PATH"]}
        return subprocess.run(command, cwd=ROOT, env=clean, check=False, capture_output=True, text=True)

    return run


@pytest.fixture
def processes(services):
    return {name: service for name, service in services.items() if name not in SERVERS}


class TestParser:
    def test_accepts_the_file_and_warns_of_nothing(self, parse):
        result = parse(**dict.fromkeys(REQUIRED, "given"))
        assert (result.returncode, result.stderr) == (0, "")

    @pytest.mark.parametrize("name", sorted(REQUIRED))
    def test_refuses_to_start_without_a_secret_and_names_it(self, parse, name):
        result = parse(**dict.fromkeys(REQUIRED - {name}, "given"))
        assert result.returncode != 0
        assert re.search(rf"{name} is missing a value: \w+ .+", result.stderr)

    def test_passes_a_setting_on_and_leaves_the_others_alone(self, parse):
        result = parse(**dict.fromkeys(REQUIRED, "given"), HOLD_SECONDS="77")
        given = json.loads(result.stdout)["services"]["allocator"]["environment"]
        assert given["HOLD_SECONDS"] == "77"
        assert given["OFFER_SECONDS"] is None


class TestServices:
    def test_every_process_of_the_local_stack_is_a_service(self, local_commands, services):
        assert {name for name, _ in local_commands} - ONLY_LOCAL == services.keys()

    def test_there_are_as_many_allocators(self, local_commands, services):
        assert [name for name, _ in local_commands].count("allocator") == services["allocator"]["deploy"]["replicas"]

    def test_each_is_started_as_in_the_local_stack(self, local_commands, compose_commands):
        local = dict(local_commands)
        for name, command in compose_commands:
            if name not in SERVERS:
                theirs, ours = options_of(local[name]), options_of(command)
                if name == "tickets":  # by cores where nobody else is; here others share the machine
                    theirs["--concurrency"] = ours["--concurrency"]
                assert (command[0], ours) == (local[name][0], theirs), name

    def test_all_processes_are_one_image(self, processes):
        assert len({(service["image"], str(service["build"])) for service in processes.values()}) == 1

    def test_each_has_a_probe_a_limit_and_a_policy(self, services):
        for name, service in services.items():
            # The web's probe is the image's own.
            assert "healthcheck" in service or name == "web", name
            assert service["deploy"]["resources"]["limits"]["memory"], name
            assert service["restart"] == ("no" if name == "migrate" else "unless-stopped"), name

    def test_they_start_in_their_order(self, processes):
        assert processes["migrate"]["depends_on"] == {"postgres": {"condition": "service_healthy"}}
        for name, service in processes.items():
            if name not in {"migrate", "flower"}:
                assert service["depends_on"]["migrate"] == {"condition": "service_completed_successfully"}, name
                assert service["depends_on"]["redis"] == {"condition": "service_healthy"}, name

    def test_they_may_finish_what_they_began(self, services):
        for name in celeryconfig.task_queues:
            assert int(services[name.name]["stop_grace_period"].removesuffix("s")) > celeryconfig.task_time_limit

    def test_the_servers_keep_what_they_are_told(self, services):
        redis = " ".join(services["redis"]["command"])
        assert "--appendonly yes" in redis
        assert "--maxmemory-policy noeviction" in redis
        assert services["redis"]["volumes"] == ["redis:/data"]
        # Since version 18 the image keeps its data one folder higher.
        assert "postgres:/var/lib/postgresql" in services["postgres"]["volumes"]
        assert services["postgres"]["image"] == "postgres:18"


class TestSecrets:
    def test_every_setting_reaches_the_processes(self, processes):
        names = {name.upper() for name in Settings.model_fields} - GIVEN_TO_ONE
        for name, service in processes.items():
            assert names - service["environment"].keys() == set(), name
            assert service["environment"].keys() - names <= {*GIVEN_TO_ONE, "FLOWER_BASIC_AUTH"}, name

    def test_none_stands_in_the_file(self, services):
        values = [str(value) for service in services.values() for value in service.get("environment", {}).values()]
        secret = [value for value in values if re.search(r"PASSWORD|KEYS|SECRET|AUTH|API_KEY", value)]
        assert secret
        assert [
            value
            for value in secret
            if not re.fullmatch(r"([\w+:/]*|postgresql\+psycopg://\w+:)\$\{\w+:\?[^}]+\}(@[\w:/]+)?", value)
        ] == []

    def test_the_owners_password_reaches_the_migration_only(self, services):
        told = {name for name, service in services.items() if "DATABASE_OWNER_PASSWORD" in str(service)}
        assert told == {"postgres", "migrate"}

    def test_all_of_them_are_in_the_example(self):
        example = set(re.findall(r"^([A-Z_]+)=$", (ROOT / ".env.example").read_text(), re.MULTILINE))
        # Compose makes these two addresses itself.
        assert example - {"DATABASE_URL", "REDIS_URL"} == REQUIRED


class TestConfinement:
    def test_ports_open_on_the_loopback_only(self, services):
        ports = {name: service["ports"] for name, service in services.items() if "ports" in service}
        assert ports.keys() == {"web", "flower"}
        assert [port for published in ports.values() for port in published if not port.startswith("127.0.0.1:")] == []

    def test_only_who_calls_a_vendor_or_is_called_sees_the_outside(self, services):
        outside = {name for name, service in services.items() if "outside" in service["networks"]}
        assert outside == {"web", "flower", "payments", "notifications", "webhooks", "sweep"}
        assert yaml.safe_load(COMPOSE)["networks"]["inside"] == {"internal": True}

    def test_processes_may_do_next_to_nothing(self, processes):
        for name, service in processes.items():
            assert service["read_only"], name
            assert service["cap_drop"] == ["ALL"], name
            assert service["security_opt"] == ["no-new-privileges:true"], name

    def test_images_have_a_version_and_no_host(self, services):
        named = [service["image"] for service in services.values()] + re.findall(
            r"^FROM (\S+)", DOCKERFILE, re.MULTILINE
        )
        assert [
            image for image in named if not re.fullmatch(r"[a-z-]+:[\w.-]+", image) or image.endswith(":latest")
        ] == []


class TestRoles:
    SCRIPT = (ROOT / "deploy" / "postgres" / "roles.sql").read_text()

    @pytest.fixture
    def server(self, postgres):
        """Return the tests' own server, which has roles of these names already: the script makes others."""
        engine = create_engine(postgres.url(SUPERUSER, "postgres"), isolation_level="AUTOCOMMIT")
        yield engine
        with engine.connect() as connection:
            for statement in ("DATABASE compose WITH (FORCE)", "ROLE compose_owner", "ROLE compose_app"):
                connection.execute(text(f"DROP {statement}"))
        engine.dispose()

    def run(self, url, **passwords):
        script = re.sub(r"\bvendor(_owner|_app)?\b", r"compose\1", self.SCRIPT)
        where = make_url(url)
        address = [f"--host={where.host}", f"--port={where.port}", f"--username={where.username}", "--dbname=postgres"]
        command = [binaries() / "psql", "--no-psqlrc", "--set=ON_ERROR_STOP=1", *address, "--file=-"]
        variables = {"PATH": os.environ["PATH"], "PGPASSWORD": where.password, **passwords}
        return subprocess.run(command, env=variables, input=script, check=False, capture_output=True, text=True)

    def test_the_script_makes_an_owner_and_a_runtime_role(self, server, postgres):
        given = {"DATABASE_OWNER_PASSWORD": "own'er", "DATABASE_PASSWORD": "runtime"}
        result = self.run(postgres.url(SUPERUSER, "postgres"), **given)
        assert result.returncode == 0, result.stderr
        for role, password in (("compose_owner", "own'er"), ("compose_app", "runtime")):
            url = make_url(postgres.url(SUPERUSER, "compose")).set(username=role, password=password)
            engine = create_engine(url)
            with engine.connect() as connection:
                rights = text("SELECT rolsuper, rolcreaterole, rolcreatedb FROM pg_roles WHERE rolname = current_user")
                owns = text("SELECT pg_get_userbyid(datdba) = current_user FROM pg_database WHERE datname = 'compose'")
                assert tuple(connection.execute(rights).one()) == (False, False, False)
                assert connection.execute(owns).scalar() is (role == "compose_owner")
            engine.dispose()

    def test_the_script_fails_without_a_password(self, postgres):
        assert self.run(postgres.url(SUPERUSER, "postgres"), DATABASE_PASSWORD="runtime").returncode != 0
