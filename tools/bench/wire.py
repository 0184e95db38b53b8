"""The requests of the scenarios as the bytes that go over the wire, made before any clock runs."""

import json
from collections.abc import Sequence
from random import Random
from uuid import UUID

from tools.bench.ground import Ground
from tools.bench.market import BUYERS, Sale
from tools.stack.ports import HOST


def purchases(ground: Ground, sale: Sale, count: int, random: Random) -> list[str]:
    """Return purchases of one ticket each: the tiers in turn, the buyers at random, a new key for each."""
    mark = f"{random.getrandbits(64):016x}"
    return [
        _purchase(
            sale,
            sale.tier_ids[number % len(sale.tier_ids)],
            ground.tokens[random.randrange(BUYERS)],
            f"{mark}-{number}",
        )
        for number in range(count)
    ]


def _purchase(sale: Sale, tier_id: UUID, token: str, key: str) -> str:
    body = json.dumps({"event_id": str(sale.event_id), "items": [{"tier_id": str(tier_id), "quantity": 1}]})
    return (
        f"POST /api/v1/orders HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: Bearer {token}\r\n"
        f"Idempotency-Key: {key}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}"
    )


def polls(addresses: Sequence[tuple[str, str]], etags: Sequence[str] = ()) -> list[str]:
    """Return one poll per location and token, each with what its buyer has seen already, where that is known."""
    known = [f"If-None-Match: {etag}\r\n" for etag in etags] or [""] * len(addresses)
    return [
        f"GET {location} HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: Bearer {token}\r\n{condition}\r\n"
        for (location, token), condition in zip(addresses, known, strict=True)
    ]


def at_random(rate: float, count: int, random: Random) -> list[float]:
    """Return the seconds at which so many independent buyers come, at this rate: a Poisson process."""
    seconds, arrivals = 0.0, []
    for _ in range(count):
        seconds += random.expovariate(rate)
        arrivals.append(seconds)
    return arrivals
