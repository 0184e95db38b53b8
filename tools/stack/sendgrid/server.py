"""Runs the stand-in: one threaded server on the loopback, usable from the command line and inside tests."""

import threading
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from werkzeug.serving import WSGIRequestHandler, make_server

from tools.stack.sendgrid.app import create_app
from tools.stack.sendgrid.faults import Faults
from tools.stack.sendgrid.mailbox import Mailbox
from tools.stack.sendgrid.webhooks import EventPoster, SigningKey


@dataclass(frozen=True, slots=True)
class Options:
    """What the stand-in needs; port 0 takes a free one, and without `webhook_url` events are only shown."""

    data: Path
    signing_key: Path
    port: int = 0
    webhook_url: str | None = None
    api_key: str | None = None


class SendGridStandIn:
    """A running stand-in; also a context manager."""

    def __init__(self, options: Options) -> None:
        self.faults = Faults()
        self.mailbox = Mailbox(options.data / "mailbox.sqlite3")
        self.key = SigningKey(options.signing_key)
        self._poster = EventPoster(self.mailbox, self.faults, self.key, options.webhook_url)
        app = create_app(self.mailbox, self.faults, self._poster, api_key=options.api_key)
        self._server = make_server("127.0.0.1", options.port, app, threaded=True, request_handler=_QuietHandler)
        self._thread = threading.Thread(
            # How soon the end is noticed, in seconds; tests start and end many of these.
            target=lambda: self._server.serve_forever(poll_interval=0.05),
            name="sendgrid-stand-in",
            daemon=True,
        )

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def start(self) -> Self:
        """Start to serve and to post events."""
        self._poster.start()
        self._thread.start()
        return self

    def close(self) -> None:
        """End the server and its threads."""
        # First the poster: clearing the faults would let it post what was to wait.
        self._poster.close()
        self.faults.clear()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        self.mailbox.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _QuietHandler(WSGIRequestHandler):
    """Writes no line per request: paths may carry what a mail's reader should know alone."""

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Stay silent."""
