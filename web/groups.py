"""Requests of one kind, served in groups: those that come while one group is under way make up the next.

Nobody waits for company: whoever comes alone is served at once. docs/adr/0018 says what that is good for.
"""

import threading
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

Asked = TypeVar("Asked")
Told = TypeVar("Told")


class _Seat(Generic[Asked, Told]):
    """One request of a group, and what became of it."""

    __slots__ = ("_called", "asked", "outcome")

    def __init__(self, asked: Asked) -> None:
        self.asked = asked
        self.outcome: Told | BaseException | None = None
        # A bare lock, because an event would cost several.
        self._called = threading.Lock()
        self._called.acquire()

    def call(self) -> None:
        """Wake who sits here: there is an outcome, or it is their turn to lead."""
        self._called.release()

    def wait(self) -> None:
        """Return once called."""
        self._called.acquire()


class Groups(Generic[Asked, Told]):
    """Serves whoever asks together with all who ask meanwhile, on the thread of the first of them.

    `serve` returns one outcome for each that it is given, in their order, and never None; an exception among them is
    raised for that one alone, and one that it raises itself for all of the group.
    """

    def __init__(self, serve: Callable[[Sequence[Asked]], Sequence[Told | BaseException]]) -> None:
        self._serve = serve
        self._waiting: list[_Seat[Asked, Told]] = []
        self._is_busy = False
        self._lock = threading.Lock()

    def ask(self, asked: Asked) -> Told:
        """Return the outcome of what is asked, or raise it."""
        seat: _Seat[Asked, Told] = _Seat(asked)
        with self._lock:
            leads = not self._is_busy
            self._is_busy = True
            self._waiting.append(seat)
        if not leads:
            seat.wait()
        if seat.outcome is None:
            self._lead(seat)
        if isinstance(seat.outcome, BaseException):
            raise seat.outcome
        outcome: Told = seat.outcome  # type: ignore[assignment]
        return outcome

    def _lead(self, leader: _Seat[Asked, Told]) -> None:
        with self._lock:
            group, self._waiting = self._waiting, []
        outcomes: Sequence[Told | BaseException]
        try:
            outcomes = self._serve([seat.asked for seat in group])
        except BaseException as error:  # noqa: BLE001 nobody may be left waiting, whatever it was
            outcomes = [error] * len(group)
        self._hand_over()
        for seat, outcome in zip(group, outcomes, strict=True):
            seat.outcome = outcome
            if seat is not leader:
                seat.call()

    def _hand_over(self) -> None:
        """Let the first of those who came meanwhile lead the next group."""
        with self._lock:
            self._is_busy = bool(self._waiting)
            if self._waiting:
                self._waiting[0].call()
