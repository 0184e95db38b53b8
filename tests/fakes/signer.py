"""A signer whose payloads can be read by eye; its signature is a checksum that only tests should trust."""

import zlib
from collections.abc import Mapping
from uuid import UUID

from domain.errors import BadSignatureError
from domain.ports import TicketClaims


class FakeSigner:
    def sign(self, ticket: TicketClaims) -> str:
        claims = f"FAKE.{ticket.event_id}.{ticket.version}.{ticket.code}"
        return f"{claims}.{zlib.crc32(claims.encode())}"

    def verify(self, payload: str) -> TicketClaims:
        claims, _, checksum = payload.rpartition(".")
        if not claims.startswith("FAKE.") or checksum != str(zlib.crc32(claims.encode())):
            raise BadSignatureError("this is not a ticket of ours")
        _, event_id, version, code = claims.split(".", 3)
        return TicketClaims(event_id=UUID(event_id), version=int(version), code=code)

    def public_keys(self) -> Mapping[str, bytes]:
        return {"fake": bytes(32)}
