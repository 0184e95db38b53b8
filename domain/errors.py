"""Every refusal and failure the business knows; codes are stable, and nothing here knows HTTP.

DomainError                     a refusal with a code, shown to the client
├── InvalidError                the request cannot be right, whoever asks (points at a field)
├── UnauthenticatedError        who are you?
├── ForbiddenError              not for you
├── NotFoundError               no such thing, or none that you may see
├── ConflictError               not in this state
│   └── SoldOutError            nothing left that could be sold
├── KeyReusedError              an idempotency key came back with another request
└── BusyError                   full for the moment; says when to come again
    └── TooManyWaitingError     one person has too much in line
VendorError                     an outside provider failed us
├── RetryableVendorError        repeat with the same key
│   └── UnknownOutcomeError     it may have happened
└── PermanentVendorError        understood and refused
ForgedEventError, BadSignatureError   a signature of no key of ours
"""

from uuid import UUID


class DomainError(Exception):
    """A refusal: `code` is stable and machine-readable, `detail` is for a person, `pointer` is a JSON pointer."""

    default_code = "refused"

    def __init__(self, detail: str, *, code: str | None = None, pointer: str | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.code = code or self.default_code
        self.pointer = pointer


class InvalidError(DomainError):
    """The request cannot be right, whoever asks."""

    default_code = "validation-failed"


class UnauthenticatedError(DomainError):
    """The caller is unknown, or the credentials are spent."""

    default_code = "unauthenticated"


class ForbiddenError(DomainError):
    """The caller is known and may not do this."""

    default_code = "forbidden"


class NotFoundError(DomainError):
    """There is no such thing, or none that the caller may see: the two look alike on purpose."""

    default_code = "not-found"

    def __init__(self, noun: str) -> None:
        super().__init__(f"There is no such {noun}.")


class ConflictError(DomainError):
    """The thing is not in a state that allows this."""

    default_code = "conflict"


class SoldOutError(ConflictError):
    """Nothing is left that could be sold; the event of `event_id` may have a waitlist."""

    default_code = "sold-out"

    def __init__(self, detail: str, *, event_id: UUID, pointer: str | None = None) -> None:
        super().__init__(detail, pointer=pointer)
        self.event_id = event_id


class KeyReusedError(DomainError):
    """An idempotency key came back with another payload."""

    default_code = "idempotency-key-reused"


class BusyError(DomainError):
    """Full for the moment; come again after `retry_after` seconds, which the edge rounds, bounds and spreads."""

    default_code = "busy"

    def __init__(self, detail: str, *, retry_after: float = 1) -> None:
        super().__init__(detail)
        self.retry_after = retry_after


class TooManyWaitingError(BusyError):
    """One person has as many undecided orders for an event as one may have."""

    default_code = "too-many-waiting"


class VendorError(Exception):
    """An outside provider failed us; `code` is the provider's own where there is one."""

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.code = code


class RetryableVendorError(VendorError):
    """It may work later: repeat with the same idempotency key. `retry_after` in seconds, where the provider said."""

    def __init__(self, message: str, *, code: str | None = None, retry_after: float | None = None) -> None:
        super().__init__(message, code=code)
        self.retry_after = retry_after


class UnknownOutcomeError(RetryableVendorError):
    """The call may have taken effect; only a look-up can tell."""


class PermanentVendorError(VendorError):
    """The provider understood, and refused for good."""


class ForgedEventError(Exception):
    """A webhook whose signature is wrong or stale."""


class BadSignatureError(Exception):
    """A ticket payload that no key of ours signed."""
