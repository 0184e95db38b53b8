# /// script
# requires-python = ">=3.11"
# dependencies = ["cryptography"]
# ///
"""Check that nobody who holds a receipt was passed over: a tier's public log against what its buyers kept.

    uv run check.py LOG [PROOF ...]

LOG is what `GET /api/v1/tiers/<id>/fairness` answered. PROOF is any JSON that the API gave you while the sale went on:
orders (they hold receipts and heads), `Fairness-Head` headers of 304 answers, the answer of `/receipt-keys`.

It says what it checked, and names each place where something is wrong. Exit code: 0 all is well, 1 something is
wrong, 2 the files cannot be read. It needs none of the vendor's code, and no network.
"""

import base64
import bisect
import hashlib
import json
import struct
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

ENTRY = ("position", "kind", "reason", "sequence", "quantity", "received_at", "decided_at", "commitment", "hash")
RECEIPT = ("tier_id", "order_id", "sequence", "quantity", "received_at", "salt", "kid", "signature")
HEAD = ("tier_id", "position", "hash", "kid", "signature")
LINE = {"served", "refused", "offer", "quarantine"}
"""What happens to who waits; the rest is about stock that comes and goes."""
SECOND = 1_000_000
CLOCKS = 1 * SECOND
"""So far apart may the vendor's clocks be: a web server wrote `server_time`, the database `received_at`."""
COMMIT = 120 * SECOND
"""An order that is not stored so long after `received_at` never is: what a receipt proves without its answer."""
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Entry = dict[str, Any]


class UnreadableError(Exception):
    """A file that is not what it should be."""


@dataclass
class Proofs:
    """What buyers kept: receipts with the time by which each was in their hands, heads, public keys."""

    receipts: list[Entry] = field(default_factory=list)
    heads: list[Entry] = field(default_factory=list)
    keys: dict[str, str] = field(default_factory=dict)
    replaced: list[str] = field(default_factory=list)

    def collect(self, value: Any, source: str, server_time: str | None = None) -> None:
        """Take every receipt, head and key out of a JSON value, however deep it lies in it."""
        if isinstance(value, list):
            for part in value:
                self.collect(part, source, server_time)
        if not isinstance(value, dict):
            return
        server_time = value.get("server_time", server_time)
        if all(name in value for name in RECEIPT):
            had_at = micros(value["received_at"]) + COMMIT
            if server_time is not None:
                had_at = min(had_at, micros(server_time) + CLOCKS)
            self.receipts.append({**value, "had_at": had_at, "source": source})
        elif all(name in value for name in HEAD):
            self.heads.append({**value, "source": source})
        # The first one stands: what a buyer kept comes before what the log brings along.
        elif "kid" in value and "x" in value and self.keys.setdefault(value["kid"], value["x"]) != value["x"]:
            self.replaced.append(f"key {value['kid']}: {source} shows another one than was shown before")
        for part in value.values():
            self.collect(part, source, server_time)


def micros(moment: str) -> int:
    """Return whole microseconds since 1970 of an ISO 8601 time."""
    since = datetime.fromisoformat(moment) - EPOCH
    return (since.days * 86_400 + since.seconds) * SECOND + since.microseconds


def spell_place(receipt: Entry) -> bytes:
    """Spell what a receipt says: what its signature covers, and its commitment hides."""
    ids = (uuid.UUID(receipt[name]).bytes for name in ("salt", "order_id", "tier_id"))
    return struct.pack(">16s16s16sQIQ", *ids, receipt["sequence"], receipt["quantity"], micros(receipt["received_at"]))


def commitment_of(receipt: Entry) -> str:
    """Return what stands for this receipt in the log."""
    return hashlib.sha256(b"tv-commitment-1|" + spell_place(receipt)).hexdigest()


def hash_of(before: str, tier_id: str, entry: Entry) -> str:
    """Return the hash that an entry has behind the hash before it."""
    received = "" if entry["received_at"] is None else micros(entry["received_at"])
    sequence = "" if entry["sequence"] is None else entry["sequence"]
    text = (
        f"tv-entry-1|{tier_id}|{entry['position']}|{entry['kind']}|{entry['reason'] or ''}|{sequence}"
        f"|{entry['quantity']}|{received}|{micros(entry['decided_at'])}|{entry['commitment'] or ''}"
    )
    return hashlib.sha256(bytes.fromhex(before) + text.encode()).hexdigest()


def is_signed(message: bytes, signed: Entry, keys: dict[str, str]) -> bool:
    """Tell whether the signature is the vendor's."""
    try:
        key = Ed25519PublicKey.from_public_bytes(unpad(keys[signed["kid"]]))
        key.verify(unpad(signed["signature"]), message)
    except (InvalidSignature, KeyError, ValueError):
        return False
    return True


def unpad(text: str) -> bytes:
    """Return the bytes of base64url without padding."""
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def check_chain(tier_id: str, entries: list[Entry]) -> Iterator[str]:
    """Each entry stands at its place, and its hash follows from it and the one before."""
    before: str | None = "00" * 32
    positions, missing = {entry["position"] for entry in entries}, 0
    for place, entry in enumerate(entries, start=1):
        position, what = entry["position"], f"position {entry['position']} ({entry['kind']})"
        while place + missing < position and place + missing not in positions:
            yield f"position {place + missing}: the entry is missing; {what} follows instead"
            missing, before = missing + 1, None
        if position != place + missing:
            yield f"position {place + missing}: {what} stands there instead, they were swapped"
            before = None
            continue
        if before is not None and hash_of(before, tier_id, entry) != entry["hash"]:
            yield f"{what}: its hash is not that of what it says and what is before it, so it was altered"
        before = entry["hash"]


def check_heads(tier_id: str, entries: list[Entry], heads: list[Entry], keys: dict[str, str]) -> Iterator[str]:
    """Every head that was ever handed out lies on the chain."""
    hashes = {0: "00" * 32} | {entry["position"]: entry["hash"] for entry in entries}
    agreed = 0
    for head in sorted(heads, key=lambda head: int(head["position"])):
        position, whose = head["position"], f"the head of {head['source']}"
        text = f"tv-head-1|{head['kid']}|{tier_id}|{position}|{head['hash']}"
        if not is_signed(text.encode(), head, keys):
            yield f"{whose}, position {position}: the signature is not by the key {head['kid']}"
        elif position > len(entries):
            yield f"position {len(entries) + 1}: the log ends before it, but {whose} stands for {position} entries"
        elif hashes.get(position) != head["hash"]:
            yield f"position {agreed + 1} to {position}: {whose} stands for another history: it was rewritten there"
        else:
            agreed = position


def check_stock(entries: list[Entry]) -> Iterator[str]:
    """No more was handed out than was free."""
    free = 0
    for entry in entries:
        kind, quantity = entry["kind"], entry["quantity"]
        if kind == "stock":
            free = quantity
        elif kind == "release":
            free += quantity
        elif kind in {"served", "offer", "reclaim"} and entry["reason"] is None:
            free -= quantity
        if free < 0:
            yield f"position {entry['position']} ({kind}): {quantity} were handed out, {free + quantity} were free"
            free = 0


def check_numbers(entries: list[Entry]) -> Iterator[str]:
    """Each number stands for one order, and within a round who waits is decided in the order of the numbers."""
    owners: dict[int, Entry] = {}
    last: Entry | None = None
    for entry in entries:
        number, kind = entry["sequence"], entry["kind"]
        if number is None:
            continue
        first = owners.setdefault(number, entry)
        if first["commitment"] != entry["commitment"]:
            yield f"position {entry['position']} ({kind}): number {number} was another order's at {first['position']}"
        if kind not in LINE:
            continue
        if last and last["decided_at"] == entry["decided_at"] and last["sequence"] > number:
            yield f"position {entry['position']} ({kind}): number {number} is decided behind number {last['sequence']}"
        last = entry


def check_receipts(entries: list[Entry], receipts: list[Entry], keys: dict[str, str]) -> Iterator[str]:
    """Every receipt is genuine, and its order is in the log."""
    by_commitment = {entry["commitment"] for entry in entries}
    by_number = {entry["sequence"]: entry for entry in entries}
    for receipt in receipts:
        number, whose = receipt["sequence"], f"the receipt of order {receipt['order_id']} in {receipt['source']}"
        if not is_signed(f"tv-receipt-1|{receipt['kid']}|".encode() + spell_place(receipt), receipt, keys):
            yield f"{whose}: the signature is not by the key {receipt['kid']}"
        elif commitment_of(receipt) in by_commitment:
            continue
        elif entry := by_number.get(number):
            yield f"position {entry['position']} ({entry['kind']}): number {number} is not the order that {whose} names"
        else:
            yield f"number {number}: no entry; {whose} was not decided in this log, which has {len(entries)} entries"


def check_order(entries: list[Entry], receipts: list[Entry]) -> Iterator[str]:
    """Nobody was served before an order which had been accepted before that one's request arrived."""
    had_at: dict[str, int] = {}
    for receipt in receipts:
        commitment = commitment_of(receipt)
        had_at[commitment] = min(receipt["had_at"], had_at.get(commitment, receipt["had_at"]))
    served: list[tuple[int, int, Entry]] = []
    known: set[str] = set()
    for entry in entries:
        commitment, kind = entry["commitment"], entry["kind"]
        # The waitlist has a rule of its own; who was set aside or left has been decided then, and not later.
        if kind in {"served", "refused", "quarantine"} and commitment not in known:
            had = had_at.get(commitment, micros(entry["received_at"]) + COMMIT)
            yield from _passed_over(entry, served, had)
        if kind in {"served", "offer"}:
            bisect.insort(served, (entry["sequence"], entry["position"], entry))
        if commitment is not None:
            known.add(commitment)
    for receipt in receipts:
        commitment = commitment_of(receipt)
        if commitment not in known:
            waiting = {"position": "none", "kind": "never decided", "sequence": receipt["sequence"]}
            yield from _passed_over(waiting, served, had_at[commitment])


def _passed_over(entry: Entry, served: list[tuple[int, int, Entry]], had_at: int) -> Iterator[str]:
    first = bisect.bisect_right(served, entry["sequence"], key=lambda place: place[0])
    for number, position, other in served[first:]:
        if micros(other["received_at"]) > had_at:
            yield (
                f"position {position} ({other['kind']}): number {number}, received at {other['received_at']}, was"
                f" served before number {entry['sequence']} (position {entry['position']}, {entry['kind']}),"
                f" which had been accepted by {datetime.fromtimestamp(had_at / SECOND, UTC).isoformat()}"
            )


def read_log(path: str) -> tuple[Entry, list[Entry]]:
    """Return the first line of a log, and its entries."""
    with Path(path).open(encoding="utf-8") as file:
        lines = [json.loads(line) for line in file if line.strip()]
    if not lines or not isinstance(lines[0], dict) or lines[0].get("format") != "tv-fairness-1":
        raise UnreadableError("the first line is not the title of a log (format tv-fairness-1)")
    for number, entry in enumerate(lines[1:], start=2):
        if not isinstance(entry, dict) or sorted(entry) != sorted(ENTRY):
            raise UnreadableError(f"line {number} is not an entry")
    return lines[0], lines[1:]


def read_proof(path: str) -> Any:
    """Return the JSON of a file; one that holds headers gives what their lines hold behind the name."""
    text = Path(path).read_text(encoding="utf-8")
    try:
        return json.loads(text)
    except ValueError:
        headers = (line.partition(":") for line in text.splitlines())
        return [json.loads(value) for name, _, value in headers if name.strip().lower() == "fairness-head"]


def check(log: str, kept: list[str]) -> int:
    """Print what was checked and what is wrong; return how many things are wrong."""
    title, entries = read_log(log)
    proofs, tier_id = Proofs(), title["tier_id"]
    for path in kept:
        proofs.collect(read_proof(path), path)
    proofs.collect(title, "the log itself")
    receipts = [receipt for receipt in proofs.receipts if receipt["tier_id"] == tier_id]
    heads = [head for head in proofs.heads if head["tier_id"] == tier_id]
    found = [
        *proofs.replaced,
        *check_chain(tier_id, entries),
        *check_heads(tier_id, entries, heads, proofs.keys),
        *check_numbers(entries),
        *check_stock(entries),
        *check_receipts(entries, receipts, proofs.keys),
        *check_order(entries, receipts),
    ]
    if title["head"]["position"] < len(entries):
        found.append(f"position {title['head']['position'] + 1}: the log goes on behind its own signed head")
    for sentence in found:
        print(f"WRONG  {sentence}")
    others = len(proofs.receipts) + len(proofs.heads) - len(receipts) - len(heads)
    counted = f"{len(entries)} entries, {len(receipts)} receipts, {len(heads)} heads"
    aside = f"; {others} proofs are of other tiers" if others else ""
    print(f"{'WRONG' if found else 'ok'}: tier {tier_id}, {counted}{aside}")
    return len(found)


def main() -> int:
    """Check the files that the command line names."""
    if not sys.argv[1:] or sys.argv[1].startswith("-"):
        print(__doc__)
        return 2
    try:
        return 1 if check(sys.argv[1], sys.argv[2:]) else 0
    except (OSError, ValueError, KeyError, TypeError, UnreadableError) as error:
        print(f"cannot read {' '.join(sys.argv[1:])}: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
