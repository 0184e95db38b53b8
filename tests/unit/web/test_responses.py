from web.responses import WholeResponse


def test_the_server_gets_a_body_in_one_piece_and_nothing_to_close():
    closed = []
    response = WholeResponse(b"body")
    response.call_on_close(lambda: closed.append(True))
    assert response.get_app_iter({"REQUEST_METHOD": "GET"}) == [b"body"]
    assert closed == [True]


def test_where_there_is_no_body_the_piece_is_empty():
    assert WholeResponse(b"body").get_app_iter({"REQUEST_METHOD": "HEAD"}) == []
    assert WholeResponse(status=304).get_app_iter({"REQUEST_METHOD": "GET"}) == []


def test_headers_leave_as_they_were_set():
    response = WholeResponse(b"body", headers={"Location": "/api/v1/orders/1"})
    assert response.get_wsgi_headers({"REQUEST_METHOD": "GET"}) is response.headers
    assert response.headers["Content-Length"] == "4"


def test_headers_of_answers_without_a_body_are_mended_by_werkzeug():
    headers = WholeResponse(status=304, headers={"Content-Type": "text/plain"}).get_wsgi_headers(
        {"REQUEST_METHOD": "GET"}
    )
    assert "Content-Type" not in headers
    assert "Content-Length" not in headers
