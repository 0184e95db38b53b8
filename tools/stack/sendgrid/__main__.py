"""Start the SendGrid stand-in: `python -m tools.stack.sendgrid --port P --data DIR --signing-key FILE`."""

import argparse
import signal
from pathlib import Path

from tools.stack.sendgrid.server import Options, SendGridStandIn
from tools.stack.sendgrid.webhooks import SigningKey


def main() -> None:
    """Serve until SIGINT or SIGTERM."""
    arguments = _parser().parse_args()
    if arguments.print_public_key:
        print(SigningKey(arguments.signing_key).public_key)
        return
    # Blocked before the first thread starts, so that only this one receives them.
    ends = {signal.SIGINT, signal.SIGTERM}
    signal.pthread_sigmask(signal.SIG_BLOCK, ends)
    options = Options(
        data=arguments.data,
        signing_key=arguments.signing_key or arguments.data / "event-webhook.pem",
        port=arguments.port,
        webhook_url=arguments.webhook_url,
        api_key=arguments.api_key,
    )
    with SendGridStandIn(options) as standin:
        print(f"SendGrid stand-in: {standin.url} (nothing leaves this machine)", flush=True)
        signal.sigwait(ends)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tools.stack.sendgrid", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="where to listen on 127.0.0.1; 0 takes a free port")
    parser.add_argument("--data", type=Path, default=Path(".local/sendgrid"), help="folder of the mailbox")
    parser.add_argument("--webhook-url", help="where signed events are posted")
    parser.add_argument("--signing-key", type=Path, help="P-256 key in PEM; made if absent")
    parser.add_argument("--api-key", help="accept only this key; otherwise any")
    parser.add_argument("--print-public-key", action="store_true", help="print the verification key and end")
    return parser


if __name__ == "__main__":
    main()
