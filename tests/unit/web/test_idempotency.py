import pytest
from flask import Flask

from domain.errors import InvalidError
from web.idempotency import fingerprint, read_key, read_optional_key

app = Flask(__name__)


def read(header, reader=read_key):
    with app.test_request_context("/", headers={"Idempotency-Key": header} if header is not None else {}):
        return reader()


def print_of(body, path="/orders", method="POST"):
    with app.test_request_context(path, method=method, data=body, content_type="application/json"):
        return fingerprint()


@pytest.mark.parametrize(
    ("header", "key"),
    [
        ("8e03978e-40d5-43dd-bc93-6894a57f9324", "8e03978e-40d5-43dd-bc93-6894a57f9324"),
        ('"8e03978e-40d5-43dd-bc93-6894a57f9324"', "8e03978e-40d5-43dd-bc93-6894a57f9324"),
        ('  "abc" ', "abc"),
        (r'"a\"b\\c"', 'a"b\\c'),
        ("x" * 255, "x" * 255),
        ('"%s"' % ("x" * 255), "x" * 255),
        ("a:b=c;d", "a:b=c;d"),
    ],
)
def test_keys_come_quoted_or_bare(header, key):
    assert read(header) == key


@pytest.mark.parametrize("header", ["", " ", '""', "x" * 256, "a b", '"a b"', "é", "a\tb"])
def test_malformed_keys_are_refused(header):
    with pytest.raises(InvalidError) as refused:
        read(header)
    assert refused.value.code == "idempotency-key-malformed"


def test_a_missing_key_is_refused_only_where_one_is_needed():
    with pytest.raises(InvalidError) as refused:
        read(None)
    assert refused.value.code == "idempotency-key-missing"
    assert read(None, read_optional_key) is None


def test_the_same_request_in_another_spelling_has_the_same_fingerprint():
    assert print_of('{"a": 1, "b": [1, 2]}') == print_of('{ "b":[1,2],"a":1 }')


@pytest.mark.parametrize(
    "other",
    [
        {"body": '{"a": 2}'},
        {"body": '{"a": "1"}'},
        {"body": '{"a": 1, "b": null}'},
        {"body": ""},
        {"body": '{"a": 1}', "path": "/refunds"},
        {"body": '{"a": 1}', "method": "PUT"},
    ],
)
def test_another_request_has_another_fingerprint(other):
    assert print_of('{"a": 1}') != print_of(**other)
