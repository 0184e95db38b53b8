"""Clocks that step: a part that is started through here reads the time plus what stands in a file of its own.

Only rehearsals start parts so. The product knows one clock, `adapters.clock.SystemClock`, and has no setting for it.
"""

import os
import runpy
import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from adapters.clock import SystemClock
from tools.stack.supervisor import Part

VARIABLE = "FAULTS_CLOCK"
STEPPED = ("web", "allocator-1", "allocator-2", "payments", "notifications", "waitlist", "sweep")
"""The parts that ask what time it is."""


class Clocks:
    """The files of all parts, in a folder; a part without a file has the machine's time."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(exist_ok=True)
        self.right()

    def step(self, part: str, seconds: float) -> None:
        """Set a part's clock so far ahead of the machine's, or behind it; it reads the file each time it looks."""
        draft = self._file(part).with_suffix(".new")
        draft.write_text(str(seconds))
        draft.replace(self._file(part))

    def right(self, *parts: str) -> None:
        """Set the clocks of these parts right again, or all of them."""
        for part in parts or STEPPED:
            self._file(part).unlink(missing_ok=True)

    def give(self, part: Part) -> Part:
        """Return a part as it is started under its file; one that asks for no time stays as it is."""
        if part.name not in STEPPED:
            return part
        environment = {**part.environment, VARIABLE: str(self._file(part.name))}
        return replace(part, command=lambda: _through_here(part.command()), environment=environment)

    def _file(self, part: str) -> Path:
        return self._folder / f"{part}.seconds"


def _through_here(command: Sequence[str]) -> list[str]:
    """Return the command with this module between Python and the module that it runs."""
    if "web.app:create_app" in command:
        # The web's workers are processes of their own: it is their application that must know.
        return [f"{__name__}:create_app" if word == "web.app:create_app" else word for word in command]
    module = command.index("-m") + 1
    return [*command[:module], __name__, *command[module:]]


def install() -> None:
    """Let `SystemClock` in this process follow the file that the environment names."""
    file = Path(os.environ[VARIABLE])

    def now(_: SystemClock) -> datetime:
        try:
            return datetime.now(UTC) + timedelta(seconds=float(file.read_text()))
        except FileNotFoundError:
            return datetime.now(UTC)

    setattr(SystemClock, "now", now)  # noqa: B010 to mypy a method is no variable


def create_app() -> Any:
    """Return the web application, under its file."""
    install()
    from web.app import create_app as create  # noqa: PLC0415 it looks at the settings

    return create()


if __name__ == "__main__":
    install()
    sys.argv = sys.argv[1:]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
