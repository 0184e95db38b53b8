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
