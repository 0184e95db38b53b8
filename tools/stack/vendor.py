"""What `./dev vendor` does: the operator's command line, on the local stack that is up."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from tools import cli
from tools.stack.environment import ROOT, told
from tools.stack.folder import is_claimed


def main(arguments: Sequence[str]) -> int:
    """Carry out a command with the environment of the running stack; return the exit code."""
    options = _parse(arguments)
    folder = options.data.resolve()
    variables = told(folder) if is_claimed(folder) else None
    if variables is None:
        print(f"./dev vendor: nothing is up in {folder}. Start ./dev run, and wait until it is ready.", file=sys.stderr)
        return 1
    os.environ.update(variables)
    return cli.main(options.command)


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="./dev vendor", description="The operator's commands, on the local stack.")
    parser.add_argument(
        "--data", type=Path, default=ROOT / ".local", metavar="DIR", help="where its state lives (.local)"
    )
    parser.add_argument("command", nargs=argparse.REMAINDER, help="what to do, such as: statement --all")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
