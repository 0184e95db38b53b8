import pytest
from werkzeug.exceptions import BadRequest

from web.request_bodies import JSONRequest


class Body:
    """What granian gives: it may be asked for more than there is, and then waits for the end."""

    def __init__(self, *parts):
        self.parts, self.asked = list(parts), []

    def read(self, size):
        self.asked.append(size)
        return self.parts.pop(0) if self.parts else b""


def request_with(body, **environ):
    request = JSONRequest(
        {
            "REQUEST_METHOD": "POST",
            "wsgi.input": body,
            "wsgi.input_terminated": True,
            "CONTENT_TYPE": "application/json",
            **environ,
        }
    )
    request.max_content_length = 1000
    return request


def test_a_body_of_a_known_length_is_asked_for_once():
    body = Body(b'{"a":1}')
    assert request_with(body, CONTENT_LENGTH="7").get_json() == {"a": 1}
    assert body.asked == [7]


def test_what_is_missing_is_asked_for():
    body = Body(b'{"a"', b":1}")
    assert request_with(body, CONTENT_LENGTH="7").get_json() == {"a": 1}
    assert body.asked == [7, 3]


def test_a_body_that_ends_too_soon_is_a_bad_request():
    with pytest.raises(BadRequest):
        request_with(Body(b'{"a"'), CONTENT_LENGTH="7").get_json()


def test_a_body_that_says_no_length_is_read_to_its_end():
    body = Body(b'{"a"', b":1}")
    assert request_with(body, HTTP_TRANSFER_ENCODING="chunked").get_json() == {"a": 1}
