"""A small threaded HTTP/1.1 server for the stand-in: keep-alive, loopback only, and able to hang up unanswered.

It exists because the usual development server closes every connection, which the SDK's pool would pay for.
"""

import io
import logging
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote
from wsgiref.types import StartResponse, WSGIApplication

from tools.stack.stripe.app import LARGEST_BODY, create_app
from tools.stack.stripe.simulator import Simulator

HOST = "127.0.0.1"
IDLE_SECONDS = 75
LOG = logging.getLogger("stripe-standin")


class Handler(BaseHTTPRequestHandler):
    """One connection: one request after another, each through the WSGI application."""

    protocol_version = "HTTP/1.1"
    timeout = IDLE_SECONDS
    disable_nagle_algorithm = True
    wbufsize = -1
    server: "Server"

    def serve(self) -> None:
        """Answer one request; what the server cannot read ends the connection."""
        length = self.headers.get("Content-Length", "0")
        if "Transfer-Encoding" in self.headers or not length.isdecimal():
            self.send_error(411)
            return
        if int(length) > 4 * LARGEST_BODY:
            self.close_connection = True
            self.send_error(413)
            return
        body = self.rfile.read(int(length))
        self._run(body)

    do_GET = do_POST = do_DELETE = do_PUT = do_PATCH = do_HEAD = serve  # noqa: N815 the base class looks for these

    def _run(self, body: bytes) -> None:
        cut = False
        head: list[Any] = []

        def start_response(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
            del exc_info
            head[:] = [status, headers]

        def hang_up() -> None:
            nonlocal cut
            cut = True

        environ = self._environ(body) | {"standin.cut": hang_up}
        start: StartResponse = start_response
        chunks = self.server.application(environ, start)
        try:
            content = b"".join(chunks)
        finally:
            getattr(chunks, "close", lambda: None)()
        if cut:
            self.close_connection = True
            return
        status, headers = head
        self.send_response(int(status.split(" ", 1)[0]))
        for name, value in headers:
            if name.lower() != "content-length":
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)
        self.wfile.flush()

    def _environ(self, body: bytes) -> dict[str, Any]:
        path, _, query = self.path.partition("?")
        environ: dict[str, Any] = {
            "REQUEST_METHOD": self.command,
            "SCRIPT_NAME": "",
            "PATH_INFO": unquote(path, "latin-1"),
            "QUERY_STRING": query,
            "SERVER_NAME": HOST,
            "SERVER_PORT": str(self.server.port),
            "SERVER_PROTOCOL": self.protocol_version,
            "REMOTE_ADDR": self.client_address[0],
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "CONTENT_LENGTH": str(len(body)),
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "http",
            "wsgi.input": io.BytesIO(body),
            "wsgi.errors": sys.stderr,
            "wsgi.multithread": True,
            "wsgi.multiprocess": False,
            "wsgi.run_once": False,
        }
        for name, value in self.headers.items():
            key = f"HTTP_{name.upper().replace('-', '_')}"
            environ[key] = f"{environ[key]},{value}" if key in environ else value
        return environ

    def version_string(self) -> str:
        """Return what the Server header says."""
        return "stripe-stand-in"

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Log a line for each request, without query or headers: keys and secrets stay out."""
        del size
        LOG.info("%s %s %s", self.command, self.path.partition("?")[0], int(code))

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 the base class names it so
        """Log what the server has to say for itself."""
        LOG.info(format, *args)


class Server(ThreadingHTTPServer):
    """The stand-in, listening on the loopback."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, simulator: Simulator, port: int = 0) -> None:
        self.simulator = simulator
        self.application: WSGIApplication = create_app(simulator)
        super().__init__((HOST, port), Handler)

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return int(self.server_address[1])

    @property
    def url(self) -> str:
        """The base address to give to the SDK."""
        return f"http://{HOST}:{self.port}"

    def stop(self) -> None:
        """End `serve_forever` at once, rather than at its next look round."""
        stopper = threading.Thread(target=self.shutdown)
        stopper.start()
        with suppress(OSError):
            socket.create_connection((HOST, self.port), 1).close()
        stopper.join()
        self.server_close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say what went wrong with a connection; a client that hung up is no news."""
        del request, client_address
        error = sys.exception()
        if not isinstance(error, ConnectionError):
            LOG.error("a connection failed", exc_info=error)


@contextmanager
def running(
    *,
    port: int = 0,
    data: Path | None = None,
    webhook_url: str | None = None,
    webhook_secret: str = "",
    secret_key: str | None = None,
) -> Iterator[Server]:
    """Run a stand-in in threads of this process, on a free port unless one is given."""
    simulator = Simulator(data=data, webhook_url=webhook_url, webhook_secret=webhook_secret, secret_key=secret_key)
    server = Server(simulator, port)
    simulator.webhooks.start()
    thread = threading.Thread(target=server.serve_forever, name="stripe-standin", daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.stop()
        thread.join()
        simulator.close()
