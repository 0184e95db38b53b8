"""What `./dev check` runs: every check to its end, each with its name and time, and one verdict."""

import importlib.util
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from tools.stack.embedded import EmbeddedServers
from tools.stack.environment import ROOT, Addresses, Secrets, local_values

PROGRAMS = Path(sys.executable).parent


@dataclass(frozen=True)
class Outcome:
    """How a check ended, what it said, and after how long."""

    passed: bool
    output: str
    seconds: float = 0


def main() -> int:
    """Run every check, several at a time; return 0 if all passed."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        outcomes = zip(CHECKS, pool.map(_timed, CHECKS.values()), strict=True)
        failed = [name for name, outcome in outcomes if not _report(name, outcome)]
    print(f"\nfailed: {', '.join(failed)}" if failed else "\nall checks passed")
    return 1 if failed else 0


def _timed(check: Callable[[], Outcome]) -> Outcome:
    began = time.monotonic()
    outcome = check()
    return replace(outcome, seconds=time.monotonic() - began)


def _report(name: str, outcome: Outcome) -> bool:
    verdict = "ok    " if outcome.passed else "FAILED"
    print(f"{verdict} {name}  {outcome.seconds:.1f} s", flush=True)
    if not outcome.passed:
        print("    " + outcome.output.strip().replace("\n", "\n    "), flush=True)
    return outcome.passed


def _run(*command: str | Path, **variables: str) -> Outcome:
    result = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, **variables},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return Outcome(result.returncode == 0, result.stdout)


def _lint() -> Outcome:
    return _run(PROGRAMS / "ruff", "check", ".", "dev")


def _format() -> Outcome:
    return _run(PROGRAMS / "ruff", "format", "--check", ".", "dev")


def _types() -> Outcome:
    packages = _run(PROGRAMS / "mypy")
    scripts = [_run(PROGRAMS / "mypy", script) for script in ("dev", "docs/fairness/check.py")]
    outcomes = [packages, *scripts]
    return Outcome(all(outcome.passed for outcome in outcomes), "".join(outcome.output for outcome in outcomes))


def _imports() -> Outcome:
    return _run(PROGRAMS / "lint-imports", "--no-cache")


def _migrations() -> Outcome:
    """Migrate up, down and up again on a server of its own, then compare the tables with the models."""
    known = Secrets.generate()
    steps = (("upgrade", "head"), ("downgrade", "base"), ("upgrade", "head"), ("check",))
    outcome = Outcome(True, "")
    with EmbeddedServers(known.postgres) as servers:
        addresses = Addresses(web="http://127.0.0.1:8000", stripe="http://127.0.0.1:9", sendgrid="http://127.0.0.1:9")
        variables = local_values(known, (servers.start_postgres(), servers.valkey), addresses)
        for step in steps:
            if outcome.passed:
                outcome = _run(sys.executable, "-m", "alembic", *step, **variables)
    return outcome


def _compose_file() -> Outcome:
    spec = importlib.util.find_spec("compose")
    if spec is None or spec.origin is None:
        return Outcome(True, "the Compose parser has no wheel for this machine")
    if not (ROOT / "docker-compose.yml").exists():
        return Outcome(False, "docker-compose.yml is missing")
    # The package's own script hides the exit code, so its program is run instead.
    program = Path(spec.origin).parent / "docker-compose"
    required = re.findall(r"\$\{(\w+):\?", (ROOT / "docker-compose.yml").read_text())
    given = dict.fromkeys(required, "given")
    return _run(program, "-f", "docker-compose.yml", "--env-file", os.devnull, "config", "--quiet", **given)


def _dockerfile() -> Outcome:
    return _run(PROGRAMS / "hadolint", "deploy/Dockerfile")


CHECKS = {
    "lint (ruff)": _lint,
    "format (ruff)": _format,
    "types (mypy)": _types,
    "imports (import-linter)": _imports,
    "migrations up, down, up, and equal to the models": _migrations,
    "docker-compose.yml (Compose's own parser)": _compose_file,
    "deploy/Dockerfile (hadolint)": _dockerfile,
}


if __name__ == "__main__":
    sys.exit(main())
