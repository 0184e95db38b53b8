"""Delivery events: what happens to a mail, and the thread that posts it, signed, until it is taken.

Shapes and headers as in twilio.com/docs/sendgrid/for-developers/tracking-events (event reference, signed webhook).
"""

import base64
import http.client
import json
import os
import secrets
import threading
import time
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP256R1, EllipticCurvePrivateKey, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from tools.stack.sendgrid.faults import Faults
from tools.stack.sendgrid.mailbox import Mailbox, Message

SIGNATURE_HEADER = "X-Twilio-Email-Event-Webhook-Signature"
TIMESTAMP_HEADER = "X-Twilio-Email-Event-Webhook-Timestamp"
ANSWER_SECONDS = 10
LOOK_SECONDS = 0.2
"""How often events whose next try has come are looked for; new ones ring."""

_DETAILS: Mapping[str, Mapping[str, Any]] = {
    "processed": {},
    "delivered": {"response": "250 OK"},
    "deferred": {"response": "451 4.7.1 try again later", "attempt": "1"},
    "bounce": {"reason": "550 5.1.1 The address does not exist", "status": "5.1.1", "type": "bounce"},
    "blocked": {"reason": "550 5.7.1 Refused by the receiving server", "status": "5.7.1", "type": "blocked"},
    "dropped": {"reason": "Bounced Address", "status": "5.0.0"},
    "open": {"useragent": "SendGrid stand-in", "ip": "127.0.0.1", "sg_machine_open": False},
    "click": {"useragent": "SendGrid stand-in", "ip": "127.0.0.1", "url_offset": {"index": 0, "type": "html"}},
    "spamreport": {},
}
"""What an event carries beside its identity; `blocked` is a bounce of another type."""

_FATES: Mapping[str, tuple[str, ...]] = {
    "bounce": ("processed", "bounce"),
    "blocked": ("processed", "blocked"),
    "dropped": ("dropped",),
    "deferred": ("processed", "deferred", "delivered"),
    "spam": ("processed", "delivered", "spamreport"),
}
"""What becomes of mail to an address that begins with this word; all other mail arrives."""


def known_events() -> frozenset[str]:
    """Return the events that can be asked for."""
    return frozenset(_DETAILS)


def fate_of(recipient: str) -> tuple[str, ...]:
    """Return the events that follow the acceptance of a mail to this address."""
    fates = (fate for word, fate in _FATES.items() if recipient.lower().startswith(word))
    return next(fates, ("processed", "delivered"))


def event_of(message: Message, kind: str, **more: Any) -> dict[str, Any]:
    """Return the body of one event; custom arguments stand beside SendGrid's own fields."""
    event_id = secrets.token_urlsafe(16)
    return {
        **message.mail["custom_args"],
        "email": message.mail["to"],
        "timestamp": int(time.time()),
        "smtp-id": f"<{message.message_id}@standin.invalid>",
        "event": "bounce" if kind == "blocked" else kind,
        "category": message.mail["categories"],
        "sg_event_id": event_id,
        "sg_message_id": f"{message.message_id}.recvd-standin-{message.id}-0",
        **_DETAILS[kind],
        **more,
    }


class SigningKey:
    """The P-256 key that signs event webhooks; made and kept in a file at first use."""

    def __init__(self, path: Path) -> None:
        if not path.exists():
            _write_new_key(path)
        key = load_pem_private_key(path.read_bytes(), password=None)
        if not isinstance(key, EllipticCurvePrivateKey):
            raise TypeError(f"{path} holds no elliptic curve key")
        self._key = key

    @property
    def public_key(self) -> str:
        """The verification key as SendGrid shows it: base64 of DER."""
        raw = self._key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return base64.b64encode(raw).decode("ascii")

    def sign(self, timestamp: str, payload: bytes) -> str:
        """Return the signature of a webhook: ECDSA with SHA-256 over timestamp and body."""
        return base64.b64encode(self._key.sign(timestamp.encode() + payload, ECDSA(SHA256()))).decode("ascii")


class EventPoster:
    """Posts waiting events to one address, from a thread of its own, and repeats what was not taken."""

    def __init__(self, mailbox: Mailbox, faults: Faults, key: SigningKey, address: str | None) -> None:
        self._mailbox = mailbox
        self._faults = faults
        self._key = key
        self._address = address
        self._bell = threading.Event()
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="event-webhooks", daemon=True)

    def start(self) -> None:
        """Start posting."""
        if self._address:
            self._thread.start()

    def close(self) -> None:
        """Stop posting; what waits is posted after the next start."""
        self._ending.set()
        self._bell.set()
        if self._thread.is_alive():
            self._thread.join(ANSWER_SECONDS + 1)

    def add(self, message: Message, *kinds: str, **more: Any) -> None:
        """Let events happen to a message, now and in this order."""
        now = time.time()
        for kind in kinds:
            self._mailbox.add_event(message.id, event_of(message, kind, **more), now)
        self._bell.set()

    def _run(self) -> None:
        while not self._ending.is_set():
            self._bell.clear()
            if self._faults.webhooks_paused or not self._post_waiting():
                self._bell.wait(LOOK_SECONDS)

    def _post_waiting(self) -> bool:
        """Post one batch; tell whether there was any and it was taken."""
        events = self._mailbox.waiting_events(time.time())
        if not events:
            return False
        payload = json.dumps([event.body for event in events], separators=(",", ":")).encode()
        answers = [self._post(payload) for _ in range(1 + self._faults.webhook_duplicates)]
        taken = all(answers)
        (self._mailbox.mark_taken if taken else self._mailbox.postpone)(events, time.time())
        return taken

    def _post(self, payload: bytes) -> bool:
        timestamp = str(int(time.time()))
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "SendGrid Event API (stand-in)",
            SIGNATURE_HEADER: self._key.sign(timestamp, payload),
            TIMESTAMP_HEADER: timestamp,
        }
        request = urllib.request.Request(self._address or "", payload, headers)  # noqa: S310 the operator named it
        try:
            with urllib.request.urlopen(request, timeout=ANSWER_SECONDS) as answer:  # noqa: S310
                return bool(answer.status < http.client.MULTIPLE_CHOICES)
        except (OSError, http.client.HTTPException):
            return False


def _write_new_key(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pem = generate_private_key(SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    # A half-written key must never be read: it appears under its name when it is whole.
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as stream:
        stream.write(pem)
    draft.replace(path)
