"""The two tables of processes, as they are: the local stack's in tools/stack/parts.py, and docker-compose.yml's."""

import pytest
import yaml

from settings import Settings
from tools.stack.environment import ROOT, Addresses, Secrets, local_values
from tools.stack.parts import local_parts
from tools.stack.plan import PORTS, Plan
from tools.stack.ports import Port
from tools.stack.postgres import Postgres
from tools.stack.schema import Schema
from tools.stack.valkey import Valkey

OTHERWISE_NAMED = {"valkey": "redis", "allocator-1": "allocator", "allocator-2": "allocator"}


@pytest.fixture(scope="session")
def local_commands(tmp_path_factory):
    """Every process of the local stack: its service's name in Compose, and its command after `python -m`."""
    folder = tmp_path_factory.mktemp("plan")
    known = Secrets.generate()
    ports = {name: Port(0) for name in PORTS}
    postgres = Postgres(folder / "postgres", ports["postgres"].number, known.postgres)
    valkey = Valkey(folder / "valkey", ports["valkey"].number, known.valkey)
    url = "http://127.0.0.1:8000"
    variables = {
        **local_values(known, (postgres, valkey), Addresses(web=url, stripe=url, sendgrid=url)),
        "METRICS_DIR": str(folder),
        "DEMO_PASSWORD": known.password,
    }
    plan = Plan(
        folder=folder,
        secrets=known,
        ports=ports,
        given=frozenset(),
        postgres=postgres,
        valkey=valkey,
        variables=variables,
        settings=Settings(),
        signing_key=folder / "key.pem",
    )
    parts = local_parts(plan, Schema(postgres, folder))
    for port in ports.values():
        port.release()
    return [(OTHERWISE_NAMED.get(part.name, part.name), _after_python(part.command())) for part in parts]


@pytest.fixture(scope="session")
def services():
    """The services of docker-compose.yml, not interpolated."""
    return yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]


@pytest.fixture(scope="session")
def compose_commands(services):
    return [(name, _after_python(service["command"])) for name, service in services.items() if "command" in service]


def _after_python(command):
    modules = [index for index, word in enumerate(command) if word == "-m" and "python" in command[index - 1]]
    return list(command[modules[0] + 1 :]) if modules else list(command)
