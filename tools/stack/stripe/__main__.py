"""The command line: `python -m tools.stack.stripe --port P --data DIR --webhook-url URL --webhook-secret whsec_…`."""

import argparse
import logging
import signal
import threading
from pathlib import Path

from tools.stack.stripe.server import running
from tools.stack.stripe.webhooks import checked_url


def main(arguments: list[str] | None = None) -> None:
    """Run the stand-in until SIGTERM or Ctrl-C."""
    parser = argparse.ArgumentParser(prog="tools.stack.stripe", description="A stand-in for Stripe: no real money.")
    parser.add_argument("--port", type=int, default=12111, help="on the loopback; 0 takes a free one")
    parser.add_argument("--data", type=Path, help="where to keep the objects; in memory without it")
    parser.add_argument("--webhook-url", type=_webhook_url, help="where events go; on this machine")
    parser.add_argument("--webhook-secret", default="", help="signs the events")
    parser.add_argument("--secret-key", help="the only API key to accept; any test key without it")
    parser.add_argument("--log-level", default="WARNING", choices=("DEBUG", "INFO", "WARNING", "ERROR"))
    options = parser.parse_args(arguments)
    if options.webhook_url and not options.webhook_secret:
        parser.error("--webhook-url needs --webhook-secret")
    logging.basicConfig(level=options.log_level, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    with running(
        port=options.port,
        data=options.data,
        webhook_url=options.webhook_url,
        webhook_secret=options.webhook_secret,
        secret_key=options.secret_key,
    ) as server:
        print(f"Stripe stand-in (no real money moves here) at {server.url}", flush=True)
        stop.wait()


def _webhook_url(url: str) -> str:
    try:
        return checked_url(url)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


if __name__ == "__main__":
    main()
