"""Mail through SendGrid (port `Mailer`), and SendGrid's delivery events on their way back.

What a letter says is in `letters.py`; when it is sent again is the domain's decision. SendGrid has no
idempotency key, so every failure here is sorted by one question: can the mail have been accepted?
"""

import base64
import binascii
import hashlib
import http.client
import json
import logging
import time
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.error import URLError

import orjson
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_der_public_key
from python_http_client.exceptions import HTTPError
from sendgrid import SendGridAPIClient

from adapters.letters import Letters, RenderedLetter
from domain.errors import ForgedEventError, PermanentVendorError, RetryableVendorError, UnknownOutcomeError
from domain.ports import Attachment, CalendarWriter, Letter, ProviderEvent, Receipt

# SendGrid's HTTP client logs whole mails at DEBUG, and mails hold links that open accounts.
logging.getLogger("python_http_client.client").setLevel(logging.INFO)

UNTRACKED = frozenset({"verify_email", "password_reset", "waitlist_offer", "account_erased"})
"""Letters about access, whose opening is nobody's business."""
TRY_LATER = frozenset({408, 429, 500, 503})
OUTCOME_UNKNOWN = frozenset({502, 504})
"""A gateway that lost its backend cannot say whether the backend took the mail."""


class SendGridMailer:
    """Sends letters with the SendGrid SDK and verifies signed event webhooks.

    `public_key` is the verification key as SendGrid shows it (base64 of DER); `tolerance` and `timeout` in
    seconds.
    """

    def __init__(
        self,
        api_key: str,
        *,
        public_key: str,
        sender: str,
        sender_name: str,
        reply_to: str | None = None,
        host: str = "https://api.sendgrid.com",
        timeout: float = 10,
        tolerance: float = 600,
        letters: Letters | None = None,
        calendars: CalendarWriter,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._client = SendGridAPIClient(api_key, host=host.rstrip("/"))
        # Without this the SDK waits for ever (github.com/sendgrid/python-http-client, Client.timeout).
        self._client.client.timeout = timeout
        self._public_key = _read_public_key(public_key)
        self._sender = {"email": sender, "name": sender_name}
        self._reply_to = {"email": reply_to} if reply_to else None
        self._tolerance = tolerance
        self._letters = letters or Letters()
        self._calendars = calendars
        self._now = now

    def send(self, letter: Letter) -> Receipt:
        """Send a letter.

        Raises `RetryableVendorError` when it surely was not accepted, `UnknownOutcomeError` when it may have
        been, `PermanentVendorError` when it never will be.
        """
        rendered = self._letters.render(letter)
        headers = self._post(self._body(letter, rendered))
        return Receipt(message_id=headers.get("X-Message-Id") or "", subject=rendered.subject)

    def read_events(self, payload: bytes, signature: str, timestamp: str) -> list[ProviderEvent]:
        """Verify a signed event webhook over its raw bytes and return its events, one `sg_event_id` each.

        Raises `ForgedEventError` if it is forged, stale or no list of events
        (twilio.com/docs/sendgrid/for-developers/tracking-events, "Signed Event Webhook").
        """
        self._verify(payload, signature, timestamp)
        try:
            # The standard library's reader takes what a receiving mail server may have said: lone surrogates, too.
            lines = json.loads(payload, parse_constant=_refuse_constant)
            if not isinstance(lines, list) or not all(isinstance(line, dict) for line in lines):
                raise ForgedEventError("the event webhook is not a list of events")
            return [_read_event(line) for line in lines]
        except (ValueError, RecursionError):
            raise ForgedEventError("the event webhook is not JSON") from None

    def _post(self, body: Mapping[str, Any]) -> Mapping[str, str]:
        try:
            response: Any = self._client.send(body)
        except HTTPError as error:
            raise _sort_answer(error, self._now()) from error
        except URLError as error:
            # urllib wraps only what fails before the whole request has left: nobody can have accepted it.
            raise RetryableVendorError(f"SendGrid cannot be reached: {error.reason}", code="unreachable") from error
        except (OSError, http.client.HTTPException) as error:
            raise UnknownOutcomeError(f"SendGrid did not answer: {type(error).__name__}", code="no-answer") from error
        headers: Mapping[str, str] = response.headers
        return headers

    def _body(self, letter: Letter, rendered: RenderedLetter) -> dict[str, Any]:
        """Build the request (twilio.com/docs/sendgrid/api-reference/mail-send/mail-send)."""
        body: dict[str, Any] = {
            "personalizations": [{"to": [_recipient(letter)]}],
            "from": self._sender,
            "subject": rendered.subject,
            "content": [
                {"type": "text/plain", "value": rendered.text},
                {"type": "text/html", "value": rendered.html},
            ],
            # Both are kept by SendGrid for good and cannot be redacted: nothing personal goes in.
            "categories": [letter.template],
            "custom_args": {"notification_id": str(letter.reference)},
            "tracking_settings": {
                # Links let their reader in: none may go through SendGrid's click counter, nor come back in its events.
                "click_tracking": {"enable": False, "enable_text": False},
                "open_tracking": {"enable": letter.template not in UNTRACKED},
            },
            # Whom mail must not reach is our list's to say (docs/adr/0022): else lifting there would lift nothing.
            "mail_settings": {
                "bypass_bounce_management": {"enable": True},
                "bypass_spam_management": {"enable": not letter.headers},
            },
        }
        if letter.headers:
            body["headers"] = dict(letter.headers)
        if self._reply_to:
            body["reply_to"] = self._reply_to
        attachments = [*letter.attachments]
        if letter.event is not None:
            attachments.append(Attachment("event.ics", "text/calendar", self._calendars.write(letter.event)))
        if attachments:
            body["attachments"] = [_attachment(attachment) for attachment in attachments]
        return body

    def _verify(self, payload: bytes, signature: str, timestamp: str) -> None:
        try:
            decoded = base64.b64decode(signature, validate=True)
            self._public_key.verify(decoded, timestamp.encode() + payload, ECDSA(SHA256()))
            age = abs(self._now() - int(timestamp))
        except (InvalidSignature, binascii.Error, ValueError):
            raise ForgedEventError("the event webhook's signature is wrong") from None
        if age > self._tolerance:
            raise ForgedEventError("the event webhook is stale")


def _read_public_key(public_key: str) -> EllipticCurvePublicKey:
    try:
        key = load_der_public_key(base64.b64decode(public_key, validate=True))
    except (binascii.Error, ValueError):
        key = None
    if not isinstance(key, EllipticCurvePublicKey):
        raise ValueError("SendGrid's webhook key is not base64 of a DER-encoded ECDSA public key")  # noqa: TRY004
    return key


def _recipient(letter: Letter) -> dict[str, str]:
    # SendGrid refuses `;` and `,` in a recipient's name (mail-send/limitations).
    name = " ".join(letter.recipient_name.replace(";", " ").replace(",", " ").split())
    return {"email": letter.recipient, "name": name} if name else {"email": letter.recipient}


def _attachment(attachment: Attachment) -> dict[str, str]:
    body = {
        "content": base64.b64encode(attachment.content).decode("ascii"),
        "type": attachment.media_type,
        "filename": attachment.filename,
        "disposition": "inline" if attachment.content_id else "attachment",
    }
    return body | ({"content_id": attachment.content_id} if attachment.content_id else {})


def _sort_answer(error: HTTPError, now: float) -> PermanentVendorError | RetryableVendorError:
    status = int(error.status_code)
    message, code = f"SendGrid answered {status}: {_first_message(error.body)}", str(status)
    if status in OUTCOME_UNKNOWN:
        return UnknownOutcomeError(message, code=code, retry_after=_retry_after(error.headers, now))
    if status in TRY_LATER or status >= http.client.INTERNAL_SERVER_ERROR:
        return RetryableVendorError(message, code=code, retry_after=_retry_after(error.headers, now))
    return PermanentVendorError(message, code=code)


def _first_message(body: bytes) -> str:
    """Return the first of SendGrid's own messages; they name fields, not contents."""
    try:
        return str(orjson.loads(body)["errors"][0]["message"])[:300]
    except (orjson.JSONDecodeError, LookupError, TypeError):
        return "no explanation"


def _retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Read `Retry-After` in seconds or as a date (RFC 9110 section 10.2.3), else `X-RateLimit-Reset` (Unix time)."""
    value = headers.get("Retry-After") or ""
    reset = headers.get("X-RateLimit-Reset") or ""
    if value.isdecimal():
        return float(value)
    if reset.isdecimal():
        return max(0.0, float(reset) - now)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - now)
    except ValueError:
        return None


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _read_event(line: Mapping[str, Any]) -> ProviderEvent:
    # An event without its id is known by its content, so that a repetition is still recognised.
    identity = line.get("sg_event_id") or hashlib.sha256(json.dumps(line).encode()).hexdigest()
    return ProviderEvent(id=str(identity), type=str(line.get("event", "")), payload=line)
