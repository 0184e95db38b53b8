"""The load generator as the scenarios use it: requests in, answers with their times out. Its process is `load.py`."""

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from tools.bench.load import LoadError
from tools.stack.environment import ROOT
from tools.stack.leash import tether
from tools.stack.ports import HOST

PATIENCE_SECONDS = 240.0
CONNECTIONS = 64


@dataclass(frozen=True, slots=True)
class Answer:
    """How one request was answered. Times are seconds since the epoch, comparable with the database's."""

    status: int
    began: float
    answered: float
    location: str
    etag: str
    code: str

    @property
    def milliseconds(self) -> float:
        """How long the client waited."""
        return (self.answered - self.began) * 1000


@dataclass(frozen=True, slots=True)
class Answers:
    """All answers in the order of their requests, and what it took to ask."""

    all: Sequence[Answer]
    resent: int
    cpu_seconds: float

    @property
    def seconds(self) -> float:
        """From the first request to the last answer."""
        return self.ends - self.begins

    @property
    def begins(self) -> float:
        """When the first request began."""
        return min(answer.began for answer in self.all)

    @property
    def ends(self) -> float:
        """When the last answer was there."""
        return max(answer.answered for answer in self.all)

    @property
    def load_share(self) -> float:
        """The part of one core that the generator used, in percent: near 100 it was the bottleneck itself."""
        return 100 * self.cpu_seconds / self.seconds


class Generator:
    """A generator that is connected and ready when the block begins; `go` fires."""

    def __init__(
        self,
        port: int,
        requests: Sequence[str],
        *,
        connections: int = CONNECTIONS,
        arrivals: Sequence[float] | None = None,
    ) -> None:
        self._job = {
            "host": HOST,
            "port": port,
            "connections": min(connections, len(requests)),
            "requests": requests,
            "arrivals": arrivals,
            "seconds": PATIENCE_SECONDS,
        }

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            tether([sys.executable, "-m", "tools.bench.load"]),
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._tell(json.dumps(self._job))
        self._hear()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.communicate()

    def go(self) -> Answers:
        """Send all requests and return their answers; raise `LoadError` if that cannot be done in time."""
        self._tell("go")
        told = json.loads(self._hear())
        answers = [Answer(**answer) for answer in told["answers"]]
        return Answers(answers, told["resent"], told["cpu_seconds"])

    def _tell(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def _hear(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise LoadError(self._process.communicate()[1].strip() or "the load generator ended without a word")
        return line
