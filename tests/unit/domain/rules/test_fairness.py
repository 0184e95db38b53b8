from datetime import UTC, datetime, timedelta
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from domain.fairness import PlaceInLine
from domain.rules.fairness import GENESIS, Entry, EntryKind, Head, chain, decide, head_text, receipt_text
from domain.rules.states import OrderReason
from tests.fixtures.fairness import checker, line_of, receipts

TIER = UUID(int=1)
moments = st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 the zone follows
numbers = st.integers(0, 2**31 - 1)
places = st.builds(PlaceInLine, st.uuids(), st.integers(1, 2**63 - 1), numbers, moments, st.uuids())
decisions = st.builds(
    decide,
    st.sampled_from([kind for kind in EntryKind if kind is not EntryKind.STOCK]),
    places,
    st.just(TIER),
    numbers,
    st.none() | st.sampled_from(OrderReason),
)
entries = st.lists(decisions | numbers.map(lambda free: Entry(EntryKind.STOCK, free)), max_size=5)


@given(entries, moments, st.integers(0, 10**9), st.binary(min_size=32, max_size=32))
def test_the_published_checker_hashes_what_we_hash(entries, decided_at, position, before):
    for entry, digest in zip(entries, chain(TIER, Head(position, before), entries, decided_at), strict=True):
        position += 1
        line = line_of(entry, Head(position, digest), decided_at)
        assert checker.hash_of(before.hex(), str(TIER), line) == digest.hex()
        before = digest


@given(places)
def test_the_published_checker_finds_who_holds_the_receipt(place):
    receipt = receipts.receipt(place, TIER).model_dump(mode="json")
    keys = {key.kid: key.x for key in receipts.keys().keys}
    entry = decide(EntryKind.SERVED, place, TIER, place.quantity, None)
    assert checker.commitment_of(receipt) == entry.commitment.hex()
    assert checker.is_signed(receipt_text(place, TIER, "r1"), receipt, keys)
    assert receipts.receipt(place, TIER).model_dump(mode="json") == receipt, "it never changes"


@given(places, places)
def test_different_places_have_different_commitments(one, other):
    commitments = {decide(EntryKind.SERVED, place, TIER, 1, None).commitment for place in (one, other)}
    assert len(commitments) == len({one, other})


def test_a_chain_is_the_same_however_it_was_cut_into_rounds():
    at = datetime(2027, 1, 1, tzinfo=UTC)
    entries = [Entry(EntryKind.STOCK, quantity) for quantity in range(6)]
    whole = chain(TIER, Head(0, GENESIS), entries, at)
    first = chain(TIER, Head(0, GENESIS), entries[:2], at)
    assert whole == [*first, *chain(TIER, Head(2, first[-1]), entries[2:], at)]
    assert chain(TIER, Head(0, GENESIS), entries, at + timedelta(microseconds=1))[0] != whole[0]


def test_what_is_signed_is_spelled_as_it_is_documented():
    place = PlaceInLine(UUID(int=2), 7, 3, datetime(1970, 1, 1, 0, 0, 1, 5, UTC), UUID(int=9))
    spelled = b"\0" * 15 + b"\x09" + b"\0" * 15 + b"\x02" + b"\0" * 15 + b"\x01"
    spelled += (7).to_bytes(8) + (3).to_bytes(4) + (1_000_005).to_bytes(8)
    assert receipt_text(place, TIER, "r1") == b"tv-receipt-1|r1|" + spelled
    assert head_text(TIER, Head(4, GENESIS), "r1") == f"tv-head-1|r1|{TIER}|4|{'00' * 32}".encode()
