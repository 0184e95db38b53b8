import copy
import json
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from functools import partial
from uuid import UUID

import pytest

from domain.fairness import PlaceInLine
from domain.rules.fairness import Entry, EntryKind, Head, decide
from domain.rules.states import OrderReason
from tests.fixtures.fairness import CHECKER, checker, receipts, written, wrongs

TIER, OTHER_TIER = UUID(int=1), UUID(int=2)
START = datetime(2027, 6, 12, 17, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
FREE = 100


def place(number, *, received_at=START, quantity=1):
    return PlaceInLine(UUID(int=1000 + number), number, quantity, received_at, UUID(int=5000 + number))


def decided(number, kind=EntryKind.SERVED, *, reason=None, **values):
    asked = place(number, **values)
    return decide(kind, asked, TIER, asked.quantity, reason)


def refused(number, **values):
    return decided(number, EntryKind.REFUSED, reason=OrderReason.SOLD_OUT, **values)


def publish(*entries, rounds=None):
    """Write a log that begins with the stock; `rounds` says after how many minutes each entry was decided."""
    times = [START + MINUTE * minute for minute in rounds or range(len(entries))]
    return written([Entry(EntryKind.STOCK, FREE), *entries], TIER, [START, *times])


def receipt(number, tier=TIER, **values):
    return receipts.receipt(place(number, **values), tier).model_dump(mode="json")


def answer(number, seconds, **values):
    """Return the 202 of an order, made so many seconds after its request arrived."""
    received_at = values.get("received_at", START)
    when = (received_at + timedelta(seconds=seconds)).isoformat()
    return {"server_time": when, "items": [{"receipt": receipt(number, **values)}]}


def head_of(log, position):
    """Return the head that was handed out when the log had so many entries."""
    digest = bytes.fromhex(log[position]["hash"])
    return receipts.sign(TIER, Head(position, digest)).model_dump(mode="json")


@pytest.fixture
def check(capsys, tmp_path):
    return partial(wrongs, capsys=capsys, tmp_path=tmp_path)


@pytest.fixture
def log():
    return publish(*(decided(number) for number in range(1, 6)), refused(6))


class TestAnHonestLog:
    def test_has_nothing_wrong(self, check, log):
        kept = [answer(number, 0.01) for number in range(1, 7)]
        assert check(log, *kept, head_of(log, 3)) == []

    def test_may_be_empty(self, check):
        assert check(written([], TIER, [])) == []

    def test_may_hold_all_kinds(self, check):
        back = decide(EntryKind.RELEASE, place(1), TIER, 1, None)
        again = decide(EntryKind.RECLAIM, place(1), TIER, 1, None)
        late = decide(EntryKind.RECLAIM, place(2), TIER, 1, OrderReason.SOLD_OUT)
        others = [decided(3, EntryKind.OFFER), decided(4, EntryKind.QUARANTINE), Entry(EntryKind.STOCK, 7)]
        assert check(publish(decided(1), decided(2), back, again, late, *others)) == []

    def test_proofs_of_other_tiers_are_left_aside(self, check, log):
        assert check(log, receipt(99, OTHER_TIER)) == []


class TestAForgedLog:
    def test_two_swapped_entries_are_named(self, check, log):
        log[3], log[4] = log[4], log[3]
        found = check(log)
        assert [re.match(r"position \d", sentence)[0] for sentence in found[:2]] == ["position 3", "position 4"]
        assert "swapped" in found[0]

    def test_two_entries_that_changed_their_positions_too_are_named(self, check, log):
        log[3], log[4] = log[4] | {"position": 3}, log[3] | {"position": 4}
        assert check(log)[0].startswith("position 3 (served): its hash is not that of what it says")

    @pytest.mark.parametrize("position", [1, 3])
    def test_a_removed_entry_is_named(self, check, log, position):
        del log[position]
        assert check(log)[0].startswith(f"position {position}: the entry is missing")

    def test_a_removed_end_is_named(self, check, log):
        assert check(log[:-2])[0].startswith("position 6: the log ends before it")

    def test_an_added_end_is_named(self, check, log):
        longer = publish(*(decided(number) for number in range(1, 6)), refused(6), refused(7))
        assert check([log[0], *longer[1:]]) == ["position 8: the log goes on behind its own signed head"]

    @pytest.mark.parametrize(
        "change",
        [
            {"kind": "refused"},
            {"reason": "sold_out"},
            {"sequence": 77},
            {"quantity": 2},
            {"received_at": "2027-06-12T16:59:59+00:00"},
            {"decided_at": "2027-06-12T17:02:00.000001+00:00"},
            {"commitment": "00" * 32},
        ],
    )
    def test_an_altered_entry_is_named(self, check, log, change):
        log[4] |= change
        assert any(re.match(r"position 4 \(\w+\): its hash is not that of what it says", found) for found in check(log))

    def test_an_altered_hash_is_named(self, check, log):
        log[4] |= {"hash": "00" * 32}
        assert check(log)[0].startswith("position 4 (served): its hash is not")

    def test_a_rewritten_end_is_named_by_a_head_that_somebody_kept(self, check, log):
        forged = publish(*(decided(number) for number in (1, 2, 3, 9, 5)), refused(6))
        kept = [head_of(log, 4), head_of(log, 6)]
        assert check(forged) == []
        assert check(forged, kept)[0].startswith("position 5 to 6: the head of")

    def test_a_key_that_was_replaced_is_named(self, check, log):
        kept = receipts.keys().model_dump()
        log[0]["keys"] = [log[0]["keys"][0] | {"x": "A" * 43}]
        assert check(log, kept) == ["key r1: the log itself shows another one than was shown before"]
        assert [found.split(": ")[1] for found in check(log, head_of(log, 2))] == [
            "the signature is not by the key r1"
        ] * 2

    def test_a_forged_head_is_named(self, check, log):
        log[0]["head"]["signature"] = "A" * 86
        assert check(log) == ["the head of the log itself, position 7: the signature is not by the key r1"]


class TestReceipts:
    def test_an_order_that_is_not_in_the_log_is_named(self, check, log):
        (found,) = check(log, receipt(7))
        assert found.startswith("number 7: no entry; the receipt of order")

    def test_an_entry_that_is_somebody_elses_is_named(self, check, log):
        other = receipt(3, quantity=2)
        (found,) = check(log, other)
        assert found.startswith("position 4 (served): number 3 is not the order that the receipt of")

    @pytest.mark.parametrize("change", [{"sequence": 1}, {"salt": str(UUID(int=9))}, {"signature": "AAAA"}])
    def test_a_forged_receipt_is_named(self, check, log, change):
        (found,) = check(log, receipt(3) | change)
        assert "the signature is not by the key r1" in found


class TestOrder:
    LATE = START + timedelta(seconds=10)

    def test_who_was_passed_over_is_named(self, check):
        log = publish(decided(2, received_at=self.LATE), decided(1))
        (found,) = check(log, answer(1, 5))
        assert found.startswith(
            "position 2 (served): number 2, received at 2027-06-12T17:00:10+00:00, was served before"
        )
        assert "number 1 (position 3, served)" in found

    def test_who_was_refused_behind_somebody_who_came_later_was_passed_over(self, check):
        log = publish(decided(2, received_at=self.LATE), refused(1))
        assert len(check(log, answer(1, 5))) == 1

    def test_who_never_got_an_answer_was_passed_over_too(self, check):
        log = publish(decided(2, received_at=self.LATE))
        found = check(log, answer(1, 5))
        assert [sentence.split(":")[0] for sentence in found] == ["number 1", "position 2 (served)"]

    def test_requests_that_overlapped_may_be_served_in_either_order(self, check):
        log = publish(decided(2, received_at=self.LATE), decided(1))
        assert check(log, answer(1, 10)) == []
        assert check(log, receipt(1)) == []

    def test_the_earliest_answer_counts(self, check):
        log = publish(decided(2, received_at=self.LATE), decided(1))
        assert len(check(log, answer(1, 500), answer(1, 5))) == 1

    def test_a_receipt_without_its_answer_proves_a_later_time(self, check):
        late = START + timedelta(minutes=3)
        assert len(check(publish(decided(2, received_at=late), decided(1)), receipt(1))) == 1

    def test_even_without_any_receipt_the_log_must_keep_to_its_own_times(self, check):
        late = START + timedelta(minutes=3)
        assert len(check(publish(decided(2, received_at=late), decided(1)))) == 1

    def test_who_has_the_lower_number_may_be_served_first_however_late(self, check):
        assert check(publish(decided(1, received_at=self.LATE), decided(2)), answer(2, 1)) == []

    def test_a_refusal_passes_over_nobody(self, check):
        assert check(publish(refused(2, received_at=self.LATE), decided(1)), answer(1, 1)) == []

    def test_the_waitlist_has_a_rule_of_its_own(self, check):
        log = publish(decided(2, received_at=self.LATE), decided(1, EntryKind.OFFER))
        assert check(log, answer(1, 1)) == []

    def test_within_a_round_the_numbers_rise(self, check):
        (found,) = check(publish(decided(2), decided(1), rounds=[1, 1]))
        assert found == "position 3 (served): number 1 is decided behind number 2"

    def test_a_number_belongs_to_one_order(self, check):
        (found,) = check(publish(decided(1), decided(1, quantity=2)))
        assert found == "position 3 (served): number 1 was another order's at 2"

    def test_more_than_was_free_is_named(self, check):
        (found,) = check(publish(decided(1, quantity=60), decided(2, quantity=60)))
        assert found == "position 3 (served): 60 were handed out, 40 were free"


class TestProgram:
    def run(self, *arguments):
        return subprocess.run(
            [sys.executable, CHECKER, *arguments], capture_output=True, text=True, check=False, timeout=60
        )

    def test_says_what_it_checked(self, tmp_path, log):
        headers = f"HTTP/1.1 304 NOT MODIFIED\nFairness-Head: {json.dumps([head_of(log, 2)])}\n"
        (tmp_path / "log").write_text("\n".join(map(json.dumps, log)))
        (tmp_path / "headers").write_text(headers)
        (tmp_path / "order").write_text(json.dumps(answer(3, 1)))
        done = self.run(*(tmp_path / name for name in ("log", "headers", "order")))
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout == f"ok: tier {TIER}, 7 entries, 1 receipts, 2 heads\n"

    def test_ends_with_1_where_something_is_wrong(self, tmp_path, log):
        del log[2]
        (tmp_path / "log").write_text("\n".join(map(json.dumps, log)))
        done = self.run(tmp_path / "log")
        assert done.returncode == 1
        assert done.stdout.startswith("WRONG  position 2: the entry is missing")

    @pytest.mark.parametrize("text", ["", "{}", "not json", '{"format": "tv-fairness-1"}', None])
    def test_ends_with_2_where_there_is_nothing_to_check(self, tmp_path, text):
        if text is not None:
            (tmp_path / "log").write_text(text)
        done = self.run(tmp_path / "log")
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith("cannot read ")

    def test_explains_itself(self):
        done = self.run("--help")
        assert done.returncode == 2
        assert "uv run check.py LOG" in done.stdout


def test_the_log_is_not_changed_by_the_check(check, log):
    before = copy.deepcopy(log)
    check(log, answer(1, 1))
    assert log == before


def test_times_are_whole_microseconds():
    assert checker.micros("2027-06-12T17:00:00.000001Z") - checker.micros("2027-06-12T17:00:00Z") == 1
