"""The public logs of what the tiers' consumers decided, the keys to check them, and the script that does it."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import orjson
from flask import Response
from sqlalchemy import Row

from domain.errors import ConflictError, NotFoundError
from domain.fairness import read_pages
from domain.storefront import Offer, read_offers
from web.addresses import API
from web.auth import public
from web.openapi import describes, open_blueprint
from web.responses import answer
from web.schemas.fairness import HeadBody, ReceiptKeys
from web.schemas.tiers import TierPath
from web.services import Services, services
from web.tiers import may_see

CHECKER = Path(__file__).parents[1] / "docs" / "fairness" / "check.py"
LINES = "application/x-ndjson"

blueprint = open_blueprint("fairness", "Proof that nobody was served before you who came after you.")


@blueprint.get("/tiers/<uuid:tier_id>/fairness", summary="Download a tier's log of decisions", responses={200: None})
@describes(problems=("sale-not-over",), media_types={200: LINES})
@public
def download_log(path: TierPath) -> Response:
    """Return all that the tier's consumer decided, once the sale is over or nothing is left: one JSON object per line.

    The first line names the tier, the signed head, the public keys, and the script that checks the log without our
    code. Each further line is an entry: `position, kind, reason, sequence, quantity, received_at, decided_at,
    commitment, hash`. `quantity` is what the decision moved, or asked for, or left free.
    """
    now = services().clock.now()
    with services().sessions() as session:
        offer = read_offers(session, [path.tier_id]).get(path.tier_id)
    # Of a hidden tier only who was let in knows the id; their receipts are to be checked against its log.
    if offer is None or not (offer.has_public_event or may_see(offer)):
        raise NotFoundError("tier")
    if _may_still_sell(offer, now):
        raise ConflictError("The log is published when the sale is over, or nothing is left.", code="sale-not-over")
    head = services().receipts.sign(path.tier_id, offer.fairness_head)
    return Response(_lines(services(), offer, head), mimetype=LINES)


@blueprint.get("/receipt-keys", summary="Fetch the keys to check receipts", responses={200: ReceiptKeys})
@public
def show_receipt_keys() -> Response:
    """Return the public keys by `kid`. Keep them beside your receipts: they must not change afterwards."""
    return answer(services().receipts.keys())


@blueprint.get("/fairness/check.py", summary="Fetch the script that checks a log", responses={200: None})
@describes(media_types={200: "text/x-python"})
@public
def download_checker() -> Response:
    """Return one file of Python that needs none of our code: `uv run check.py log.ndjson my-order.json …`."""
    return Response(CHECKER.read_bytes(), mimetype="text/x-python")


def _may_still_sell(offer: Offer, now: datetime) -> bool:
    is_early = offer.sale_starts_at is not None and now < offer.sale_starts_at
    # A tier that takes no new orders for the time being may take them again.
    return (is_early or offer.is_open(now)) and not offer.is_sold_out


def _lines(known: Services, offer: Offer, head: HeadBody) -> Iterator[bytes]:
    """Yield the log, page after page, up to the head that was signed."""
    title = {
        "format": "tv-fairness-1",
        "tier_id": offer.tier_id,
        "tier_name": offer.name,
        "event_id": offer.event_id,
        "event_title": offer.event_title,
        "head": head.model_dump(),
        "keys": [key.model_dump() for key in known.receipts.keys().keys],
        "checker": f"{known.settings.public_url}{API}/fairness/check.py",
    }
    yield orjson.dumps(title) + b"\n"
    with known.sessions() as session:
        for page in read_pages(session, offer.tier_id, head.position):
            yield b"".join(orjson.dumps(_entry(row)) + b"\n" for row in page)


def _entry(row: Row[tuple[UUID, ...]]) -> dict[str, object]:
    return {
        "position": row.position,
        "kind": row.kind,
        "reason": row.reason,
        "sequence": row.sequence,
        "quantity": row.quantity,
        "received_at": row.received_at and row.received_at.astimezone(UTC),
        "decided_at": row.decided_at.astimezone(UTC),
        "commitment": row.commitment and row.commitment.hex(),
        "hash": row.hash.hex(),
    }
