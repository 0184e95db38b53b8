"""Calls of a vendor that is not there: counted, answered once per idempotency key, with trouble on demand."""

import itertools
import threading
from collections import defaultdict

from domain.errors import PermanentVendorError


class FakeVendorCalls:
    """`calls` tells what was asked, in order."""

    def __init__(self):
        self.calls = []
        self._answers = {}
        self._troubles = defaultdict(list)
        self._numbers = itertools.count(1)
        self._lock = threading.RLock()

    def fail(self, call, error, *, after=False):
        """Let the next call of this name raise, before it did anything or after it did."""
        self._troubles[call].append((error, after))

    def _once(self, call, key, asked, act):
        with self._lock:
            self.calls.append(call)
            error, after = self._troubles[call].pop(0) if self._troubles[call] else (None, False)
            if error and not after:
                raise error
            if key not in self._answers:
                answer = self._answer(act)
                if key is not None:
                    self._answers[key] = (call, asked, answer)
            elif self._answers[key][:2] != (call, asked):
                raise PermanentVendorError("The key was used for another request.", code="idempotency_error")
            else:
                answer = self._answers[key][2]
            if error:
                raise error
            if isinstance(answer, PermanentVendorError):
                raise answer
            return answer

    def _answer(self, act):
        # A refusal is an answer, too: its key repeats it, whatever has changed since.
        try:
            return act()
        except PermanentVendorError as refusal:
            return refusal
