import pytest

from web.responses import WholeResponse, nothing


def test_the_server_gets_a_body_in_one_piece_and_nothing_to_close():
    closed = []
    response = WholeResponse(b"body")
    response.call_on_close(lambda: closed.append(True))
    assert response.get_app_iter({"REQUEST_METHOD": "GET"}) == [b"body"]
    assert closed == [True]


def test_where_there_is_no_body_the_piece_is_empty():
    assert WholeResponse(b"body").get_app_iter({"REQUEST_METHOD": "HEAD"}) == []
    assert WholeResponse(status=304).get_app_iter({"REQUEST_METHOD": "GET"}) == []


@pytest.mark.parametrize("status", [204, 304])
def test_headers_of_an_answer_without_a_body_say_nothing_of_one(status):
    response = nothing(status)
    assert response.get_wsgi_headers({"REQUEST_METHOD": "GET"}) is response.headers
    assert {name for name, _ in response.headers} == set()


def test_headers_with_a_body_leave_as_they_were_set():
    response = WholeResponse(b"body", headers={"Location": "/api/v1/orders/1"})
    assert response.get_wsgi_headers({"REQUEST_METHOD": "GET"}) is response.headers
    assert response.headers["Content-Length"] == "4"


def test_headers_that_speak_of_no_length_get_one():
    response = WholeResponse(["in", "parts"])
    assert response.get_wsgi_headers({"REQUEST_METHOD": "GET"})["Content-Length"] == "7"
