"""Passes for Apple Wallet (port `PassIssuer`): a zip of `pass.json`, icons, their digests, and a signature over these.

The format is Apple's ("Creating the Pass" and "Building a Pass" in the Wallet developer guide). Whose pass it is stands
in the certificate: its subject's UID is the pass type, its OU the team.
"""

import hashlib
from io import BytesIO
from typing import Any
from zipfile import ZIP_DEFLATED, ZipFile
from zoneinfo import ZoneInfo

import orjson
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from cryptography.hazmat.primitives.serialization.pkcs7 import PKCS7Options, PKCS7SignatureBuilder
from cryptography.x509 import Certificate, load_pem_x509_certificate
from cryptography.x509.oid import NameOID
from PIL import Image, ImageDraw

from domain.ports import TicketFacts

PRODUCT = "Ticket Vendor"
ACCENT = (29, 78, 216)
ICONS = {"icon.png": 29, "icon@2x.png": 58, "icon@3x.png": 87}
"""Sides in pixels; a pass without icons is refused."""


class AppleWallet:
    """Issues passes of one pass type; all three are PEM, the intermediate is Apple's WWDR certificate."""

    def __init__(self, certificate: bytes, key: bytes, intermediate: bytes) -> None:
        self._certificate = _read_certificate(certificate, "APPLE_PASS_CERTIFICATE")
        self._intermediate = _read_certificate(intermediate, "APPLE_WWDR_CERTIFICATE")
        self._key = _read_key(key, self._certificate)
        self._pass_type = _subject(self._certificate, NameOID.USER_ID)
        self._team = _subject(self._certificate, NameOID.ORGANIZATIONAL_UNIT_NAME)
        self._icons = {name: _draw_icon(side) for name, side in ICONS.items()}

    def issue(self, ticket: TicketFacts) -> bytes:
        """Return a signed pass, a `.pkpass`."""
        parts = {"pass.json": orjson.dumps(self._describe(ticket)), **self._icons}
        # SHA-1 is the format's; what protects the pass is the signature, which is SHA-256.
        digests = {name: hashlib.sha1(part, usedforsecurity=False).hexdigest() for name, part in parts.items()}
        manifest = orjson.dumps(digests)
        stream = BytesIO()
        with ZipFile(stream, "w", ZIP_DEFLATED) as archive:
            for name, part in {**parts, "manifest.json": manifest, "signature": self._sign(manifest)}.items():
                archive.writestr(name, part)
        return stream.getvalue()

    def _sign(self, manifest: bytes) -> bytes:
        builder = PKCS7SignatureBuilder().set_data(manifest).add_signer(self._certificate, self._key, SHA256())
        options = [PKCS7Options.DetachedSignature, PKCS7Options.Binary]
        return builder.add_certificate(self._intermediate).sign(Encoding.DER, options)

    def _describe(self, ticket: TicketFacts) -> dict[str, Any]:
        event = ticket.event
        description = {
            "formatVersion": 1,
            "passTypeIdentifier": self._pass_type,
            "teamIdentifier": self._team,
            "serialNumber": str(ticket.id),
            "organizationName": PRODUCT,
            "logoText": PRODUCT,
            "description": f"Ticket: {event.title}",
            "foregroundColor": "rgb(255, 255, 255)",
            "labelColor": "rgb(219, 234, 254)",
            "backgroundColor": f"rgb{ACCENT}",
            # Handing a ticket on rotates its code: a shared pass would only look like a ticket.
            "sharingProhibited": True,
            "voided": event.is_cancelled,
            "relevantDate": event.starts_at.isoformat(timespec="seconds"),
            "expirationDate": event.ends_at.isoformat(timespec="seconds"),
            "barcodes": [
                {
                    "format": "PKBarcodeFormatQR",
                    "message": ticket.qr_payload,
                    "messageEncoding": "iso-8859-1",
                    "altText": ticket.code,
                }
            ],
            "eventTicket": _fields(ticket),
        }
        if event.position is not None:
            latitude, longitude = event.position
            description["locations"] = [{"latitude": latitude, "longitude": longitude}]
        return description


def _fields(ticket: TicketFacts) -> dict[str, list[dict[str, Any]]]:
    event = ticket.event
    local = event.starts_at.astimezone(ZoneInfo(event.timezone)).isoformat(timespec="minutes")
    # The time is shown as on the event's clock, wherever its reader is.
    style = {"dateStyle": "PKDateStyleMedium", "timeStyle": "PKDateStyleShort", "ignoresTimeZone": True}
    back = {
        "order": ("Order", ticket.order_number),
        "code": ("Ticket code", ticket.code),
        "where": ("Where", event.address),
    }
    return {
        "primaryFields": [{"key": "event", "label": "Event", "value": event.title}],
        "secondaryFields": [
            {"key": "when", "label": "When", "value": local, **style},
            *_some("venue", "Where", event.venue),
        ],
        "auxiliaryFields": [*_some("tier", "Ticket", ticket.tier), *_some("attendee", "For", ticket.attendee)],
        "backFields": [field for key, (label, value) in back.items() for field in _some(key, label, value)],
    }


def _some(key: str, label: str, value: str | None) -> list[dict[str, Any]]:
    return [{"key": key, "label": label, "value": value}] if value else []


def _read_certificate(pem: bytes, name: str) -> Certificate:
    try:
        return load_pem_x509_certificate(pem)
    except ValueError:
        raise ValueError(f"{name} is no certificate in PEM") from None


def _read_key(key: bytes, certificate: Certificate) -> RSAPrivateKey:
    try:
        found = load_pem_private_key(key, password=None)
    except (ValueError, TypeError):
        raise ValueError("APPLE_PASS_KEY is no PEM, or has a passphrase") from None
    if not isinstance(found, RSAPrivateKey) or found.public_key() != certificate.public_key():
        raise ValueError("APPLE_PASS_KEY is not the RSA key of APPLE_PASS_CERTIFICATE")
    return found


def _subject(certificate: Certificate, oid: Any) -> str:
    found = certificate.subject.get_attributes_for_oid(oid)
    if not found:
        raise ValueError("APPLE_PASS_CERTIFICATE names no pass type (UID) or no team (OU)")
    return str(found[0].value)


def _draw_icon(side: int) -> bytes:
    """Draw a ticket, white on blue, four times as large, then smoothed down."""
    large = 4 * side
    picture = Image.new("RGB", (large, large), ACCENT)
    pen = ImageDraw.Draw(picture)
    left, top, right, bottom = (round(large * part) for part in (0.16, 0.30, 0.84, 0.70))
    pen.rounded_rectangle((left, top, right, bottom), radius=large // 16, fill="white")
    notch = large // 12
    for x in (left, right):
        pen.ellipse((x - notch, large // 2 - notch, x + notch, large // 2 + notch), fill=ACCENT)
    stream = BytesIO()
    picture.resize((side, side), Image.Resampling.LANCZOS).save(stream, format="PNG")
    return stream.getvalue()
