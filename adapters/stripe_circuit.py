"""The circuit around Stripe: what keeps failing is left alone for a moment, then tried with a single call.

Every call of the SDK goes through this client, so nothing else needs to know. Each process has its own circuit, shared
by its threads; what is owed stands in the rows, and the sweep rings for it again. Why this library: docs/adr/0014.
"""

import logging
import time
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from interlock import CircuitBreaker, CircuitOpenError, Clock, Config, CoreEventListener, FailureClassifier, State
from stripe import RequestsClient

from domain.errors import RetryableVendorError

log = logging.getLogger(__name__)

FAILURES = 5
"""So many in a row open the circuit: with eight threads that is one time-out's length; a single odd order is fewer."""
OPEN_SECONDS = 5.0
"""How long nobody calls: one trial in five seconds burdens nobody, and the shortest clock of a buyer is minutes."""
LONGEST_HOLD_SECONDS = 60.0
"""Whatever Stripe asks for, it is asked again after so long: a hold of hours would outlive every hold of stock."""

Answer = tuple[bytes, int, Mapping[str, str]]


class CircuitClient(RequestsClient):
    """The SDK's HTTP client, which does not send while the circuit is open or Stripe has asked to be left alone."""

    def __init__(self, *, timeout: float, clock: Clock = time) -> None:
        super().__init__(timeout=timeout)
        self._clock = clock
        self._circuit = CircuitBreaker(
            name="stripe", config=_CONFIG, clock=clock, classifier=_Verdict(), listener=_Listener()
        )
        self._held_until = float("-inf")

    # Like the SDK's own, it leaves out a private argument that only other clients take.
    def request(  # type: ignore[override]
        self, method: str, url: str, headers: Mapping[str, str] | None, post_data: Any = None
    ) -> Answer:
        """Send one request, or raise `RetryableVendorError` with circuit_open: it was surely not sent."""
        left = self._held_until - self._clock.monotonic()
        if left > 0:
            raise _unsent(left)
        try:
            answer = self._circuit.call_sync(super().request, method, url, headers, post_data)
        except CircuitOpenError as error:
            # While the trial runs nobody can say how long.
            raise _unsent(error.retry_after or OPEN_SECONDS) from None
        self._heed(answer)
        return answer

    def _heed(self, answer: Answer) -> None:
        """Keep the whole process away for as long as Stripe asks (docs.stripe.com/rate-limits)."""
        _, status, headers = answer
        asked = headers.get("Retry-After", "")
        if _is_refusal(status) and asked.isdecimal():
            seconds = min(float(asked), LONGEST_HOLD_SECONDS)
            self._held_until = self._clock.monotonic() + seconds
            log.warning("stripe.held status=%s seconds=%s", status, seconds)


_CONFIG = Config(
    window_size=FAILURES,
    minimum_number_of_calls=FAILURES,
    failure_rate_threshold=1.0,
    wait_duration_in_open=OPEN_SECONDS,
    permitted_calls_in_half_open=1,
)


class _Verdict(FailureClassifier):
    """Failed is what Stripe did not answer, or answered with 5xx; a 4xx, 429 too, comes from a Stripe that is well."""

    def is_failure(self, *, result: object, exception: Exception | None) -> bool:
        if exception is not None:
            return True
        assert isinstance(result, tuple), "what `request` returns"
        _, status, headers = result
        # An error that was stored for its key is an old one.
        return bool(status >= HTTPStatus.INTERNAL_SERVER_ERROR and headers.get("Idempotent-Replayed") != "true")


class _Listener(CoreEventListener):
    """Tells the operators; what was refused meanwhile is in the orders."""

    def on_state_change(self, *, name: str, old: State, new: State) -> None:
        level = logging.INFO if new is State.HALF_OPEN else logging.WARNING
        log.log(level, "%s.circuit_%s was=%s", name, new, old)


def _is_refusal(status: int) -> bool:
    return status == HTTPStatus.TOO_MANY_REQUESTS or status >= HTTPStatus.INTERNAL_SERVER_ERROR


def _unsent(seconds: float) -> RetryableVendorError:
    return RetryableVendorError("Stripe is left alone for a moment.", code="circuit_open", retry_after=seconds)
