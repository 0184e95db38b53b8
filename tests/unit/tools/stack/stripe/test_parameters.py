import pytest

from tools.stack.stripe.errors import RefusalError
from tools.stack.stripe.parameters import (
    Email,
    Flag,
    Hash,
    Integer,
    ListOf,
    Metadata,
    NotSimulated,
    Period,
    Seconds,
    Text,
    merged,
)


def refusal(kind, value):
    with pytest.raises(RefusalError) as caught:
        kind.read(value, "it")
    error = caught.value.body["error"]
    assert error["type"] == "invalid_request_error"
    return error


@pytest.mark.parametrize(
    ("kind", "given", "read"),
    [
        (Integer(), "-7", -7),
        (Flag(), "true", True),
        (Flag(), "false", False),
        (Text(), "x", "x"),
        (Text(blank=True), "", None),
        (Text(choices=("a", "b")), "b", "b"),
        (Email(), "a@b.example", "a@b.example"),
        (ListOf(Text()), {"1": "b", "0": "a"}, ["a", "b"]),
        (ListOf(Text()), "", []),
        (Metadata(), {"a": "1", "b": ""}, {"a": "1", "b": ""}),
        (Period(), "5", {"eq": 5}),
        (Period(), {"gte": "5", "lt": "9"}, {"gte": 5, "lt": 9}),
        (Seconds(), "0.5", 0.5),
    ],
)
def test_good_values_become_typed(kind, given, read):
    assert kind.read(given, "it") == read


@pytest.mark.parametrize(
    ("kind", "given"),
    [
        (Integer(), "1.5"),
        (Integer(), "1e9"),
        (Integer(), "٣"),
        (Integer(), {"a": "1"}),
        (Integer(least=1), "0"),
        (Integer(), "9" * 30),
        (Flag(), "yes"),
        (Flag(), {}),
        (Text(), {}),
        (Text(longest=3), "abcd"),
        (Text(choices=("a",)), "b"),
        (Email(), "nobody"),
        (ListOf(Text()), "x"),
        (ListOf(Text()), {"a": "x"}),
        (ListOf(Text(), longest=1), {"0": "a", "1": "b"}),
        (Hash({}), "x"),
        (Metadata(), "x"),
        (Metadata(), {"a": {"b": "c"}}),
        (Metadata(), {"k" * 41: "v"}),
        (Metadata(), {"k": "v" * 501}),
        (Metadata(), {str(n): "v" for n in range(51)}),
        (Period(), {"near": "5"}),
        (Seconds(), "-1"),
        (Seconds(), "forever"),
        (NotSimulated(), "x"),
    ],
)
def test_bad_values_are_refused(kind, given):
    assert refusal(kind, given)["param"].startswith("it")


class TestHash:
    def test_an_unknown_key_is_named(self):
        error = refusal(Hash({"a": Text()}), {"a": "1", "b": "2"})
        assert error["code"] == "parameter_unknown"
        assert error["message"] == "Received unknown parameter: it[b]"

    def test_a_missing_key_is_named(self):
        error = refusal(Hash({"a": Text()}, required=("a",)), {})
        assert (error["code"], error["param"]) == ("parameter_missing", "it[a]")

    def test_an_empty_value_cannot_unset_what_is_needed(self):
        assert refusal(Hash({"a": Integer()}), {"a": ""})["code"] == "parameter_invalid_empty"


class TestMerged:
    def test_keys_are_added_changed_and_removed(self):
        assert merged({"a": "1", "b": "2"}, {"b": "3", "a": "", "c": "4"}) == {"b": "3", "c": "4"}

    def test_an_empty_whole_removes_all(self):
        assert merged({"a": "1"}, Metadata().read("", "metadata")) == {}
