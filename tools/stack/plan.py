"""What one run of the local stack is made of; ports, secrets, servers and settings are decided before it starts."""

import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import settings
from tools.stack.environment import REPLACES, Addresses, Secrets, given_values, local_values, replace_parts
from tools.stack.ports import HOST, Port
from tools.stack.postgres import Postgres
from tools.stack.valkey import Valkey

PORTS = {"web": 8000, "flower": 5555, "stripe": 8081, "sendgrid": 8082, "postgres": 5433, "valkey": 6380}
FLOWER_USER = "operator"


@dataclass(frozen=True)
class Plan:
    """One run. `given` names the parts that a person replaced by real ones; those have no port here."""

    folder: Path
    secrets: Secrets
    ports: Mapping[str, Port]
    given: frozenset[str]
    postgres: Postgres
    valkey: Valkey
    variables: Mapping[str, str]
    settings: settings.Settings
    signing_key: Path

    def url(self, part: str) -> str:
        """Return the base URL of a part that listens."""
        return f"http://{HOST}:{self.ports[part].number}"


def make_plan(folder: Path, web_port: int, say: Callable[[str], None]) -> Plan:
    """Decide everything, and say which ports were taken; end the process with a sentence if a setting is malformed."""
    given = given_values()
    replaced = frozenset(part for name, part in REPLACES.items() if name in given)
    known = Secrets.kept_in(folder)
    ports = _ports(web_port, replaced, say)
    numbers = {name: ports[name].number if name in ports else 0 for name in PORTS}
    postgres = Postgres(folder / "postgres", numbers["postgres"], known.postgres)
    valkey = Valkey(folder / "valkey", numbers["valkey"], known.valkey)
    addresses = Addresses(**{name: f"http://{HOST}:{numbers[name]}" for name in ("web", "stripe", "sendgrid")})
    variables = {
        **replace_parts(local_values(known, (postgres, valkey), addresses), given),
        "PYTHONUNBUFFERED": "1",
        "METRICS_DIR": str(_emptied(folder / "metrics")),
        "DEMO_PASSWORD": known.password,
    }
    return Plan(
        folder=folder,
        secrets=known,
        ports=ports,
        given=replaced,
        postgres=postgres,
        valkey=valkey,
        variables=variables,
        settings=_checked(variables),
        signing_key=_signing_key(folder, known),
    )


def _ports(web_port: int, replaced: frozenset[str], say: Callable[[str], None]) -> dict[str, Port]:
    # Whoever asks for any free web port runs several stacks at once: then all of theirs are free ones.
    wanted = dict.fromkeys(PORTS, 0) if web_port == 0 else {**PORTS, "web": web_port}
    ports = {name: Port(number) for name, number in wanted.items() if name not in replaced}
    for name, port in ports.items():
        if port.was_taken:
            say(f"port {port.preferred} is taken: {name} listens on {port.number}")
    return ports


def _checked(variables: Mapping[str, str]) -> settings.Settings:
    os.environ.update(variables)
    return settings.load()


def _signing_key(folder: Path, known: Secrets) -> Path:
    path = folder / "sendgrid-key.pem"
    path.touch(mode=0o600)
    path.write_text(known.sendgrid_private_key)
    return path


def _emptied(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    return folder
