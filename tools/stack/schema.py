"""Whether the local database already has the newest tables: importing Alembic to learn that takes a second."""

import hashlib
import json
from pathlib import Path

from tools.stack.environment import ROOT
from tools.stack.postgres import Postgres


class Schema:
    """Remembers, beside the database, which migrations brought it to which version."""

    def __init__(self, postgres: Postgres, folder: Path) -> None:
        self._postgres = postgres
        self._memory = folder / "schema.json"

    def is_behind(self) -> bool:
        """Tell whether migrations have to run: their files, or the database's version, are not the remembered ones."""
        try:
            remembered = json.loads(self._memory.read_text())
        except (FileNotFoundError, ValueError):
            return True
        return bool(remembered != self._now())

    def remember(self) -> None:
        """Note that the database has been brought up to date."""
        self._memory.write_text(json.dumps(self._now()))

    def _now(self) -> dict[str, str]:
        digest = hashlib.sha256()
        for path in sorted((ROOT / "migrations").rglob("*.py")):
            digest.update(path.read_bytes())
        version = self._postgres.answer("SELECT version_num FROM alembic_version")
        return {"migrations": digest.hexdigest(), "version": version}
