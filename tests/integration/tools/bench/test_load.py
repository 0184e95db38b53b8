import socket
import threading
from contextlib import suppress

import pytest

from tools.bench.generator import Generator
from tools.bench.load import LoadError

ANSWER = 'HTTP/1.1 {status}\r\nContent-Length: {length}\r\nLocation: /orders/7\r\nETag: W/"1"\r\n\r\n{body}'


def answered(status="202 Accepted", body="{}"):
    return ANSWER.format(status=status, length=len(body), body=body).encode()


class Server:
    """Answers each request with the next of its answers, in two pieces; None closes the connection instead."""

    def __init__(self, *answers):
        self.answers, self.requests = list(answers), []
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def _accept(self):
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._threads.append(threading.Thread(target=self._serve, args=(connection,), daemon=True))
            self._threads[-1].start()

    def _serve(self, connection):
        # A generator that gave up has closed its end.
        with connection, suppress(ConnectionError):
            while request := connection.recv(65536):
                with self._lock:
                    self.requests.append(request.decode())
                    answer = self.answers.pop(0) if self.answers else answered()
                if answer is None:
                    return
                connection.sendall(answer[:20])
                connection.sendall(answer[20:])

    def close(self):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(5)


@pytest.fixture
def serving():
    servers = []

    def start(*answers):
        servers.append(Server(*answers))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


def ask(server, count, **options):
    with Generator(server.port, [f"GET /{number} HTTP/1.1\r\n\r\n" for number in range(count)], **options) as generator:
        return generator.go()


def test_each_request_is_sent_once_and_its_answer_kept(serving):
    server = serving()
    answers = ask(server, 20, connections=4)
    assert sorted(server.requests) == sorted(f"GET /{number} HTTP/1.1\r\n\r\n" for number in range(20))
    assert {(one.status, one.location, one.etag, one.code) for one in answers.all} == {(202, "/orders/7", 'W/"1"', "")}
    assert all(0 < one.milliseconds < 5000 for one in answers.all)
    assert answers.resent == 0
    assert 0 < answers.load_share <= 100


def test_a_refusal_is_told_by_its_code(serving):
    answers = ask(serving(answered("409 Conflict", '{"code":"sold-out"}')), 1)
    assert [(one.status, one.code) for one in answers.all] == [(409, "sold-out")]


def test_an_answer_without_a_body_needs_no_length(serving):
    answers = ask(serving(b'HTTP/1.1 304 Not Modified\r\nETag: "2"\r\n\r\n'), 1)
    assert [(one.status, one.etag) for one in answers.all] == [(304, '"2"')]


@pytest.mark.parametrize("first", [answered("503 Service Unavailable"), None])
def test_a_busy_or_lost_connection_means_the_same_request_again(serving, first):
    server = serving(first)
    answers = ask(server, 1)
    assert ([one.status for one in answers.all], answers.resent) == ([202], 1)
    assert server.requests == ["GET /0 HTTP/1.1\r\n\r\n"] * 2


def test_an_answer_that_cannot_be_read_is_no_measurement(serving):
    with pytest.raises(LoadError, match="without a Content-Length"):
        ask(serving(b"HTTP/1.1 200 OK\r\n\r\nhello"), 1)


def test_time_runs_from_the_arrival_even_while_no_connection_is_free(serving):
    gate = threading.Event()

    class Slow(Server):
        def _serve(self, connection):
            gate.wait(0.3)
            super()._serve(connection)

    slow = Slow()
    try:
        answers = ask(slow, 2, connections=1, arrivals=[0.0, 0.01])
    finally:
        gate.set()
        slow.close()
    first, second = answers.all
    assert second.began - first.began == pytest.approx(0.01, abs=0.001)
    assert second.milliseconds > 200
