"""Coming to rest: once nobody buys any more and nothing breaks, everything must end by itself.

Only mails may wait longer than that, for up to an hour, and for ten minutes where nobody knows whether one was sent.
"""

import time

from adapters.queue import open_queue_app, send
from domain.messages import SendMail
from tools.faults.world import World

REST_SECONDS = 120.0
MAIL_SECONDS = 90.0
AHEAD_SECONDS = 2 * 3600.0
"""Longer than any wait of a mail."""

UNSETTLED = {
    "orders under way": "SELECT stage, id FROM orders WHERE stage NOT IN ('complete', 'closed') LIMIT 5",
    "items with an open wish": """
        SELECT id, inventory_state, desired_state, desired_returned FROM order_items
        WHERE desired_state IS NOT NULL OR desired_returned IS NOT NULL LIMIT 5
    """,
    "payments or refunds under way": """
        SELECT kind, status, id, error_code FROM payment_transactions
        WHERE status IN ('created', 'requires_payment_method', 'requires_action', 'processing', 'unknown') LIMIT 5
    """,
    "events not handled": "SELECT provider, type, error, id FROM webhook_inbox WHERE processed_at IS NULL LIMIT 5",
    "offers not answered": "SELECT id FROM waitlist WHERE status = 'offered' LIMIT 5",
    "late payments that wait for stock": """
        SELECT id FROM orders WHERE stage = 'closed' AND hold_expires_at IS NOT NULL LIMIT 5
    """,
}
"""What still moves: when each of these finds nothing, all has come to rest."""
OPEN_MAILS = "SELECT id FROM email_notifications WHERE status IN ('pending', 'sending', 'unknown')"


def wait_for_rest(world: World) -> tuple[float, list[str]]:
    """Wait until nothing moves any more; return the seconds, and a sentence for what still moves after too long."""
    began = time.monotonic()
    while left := _unsettled(world):
        if time.monotonic() - began > REST_SECONDS:
            return time.monotonic() - began, [f"after {REST_SECONDS:.0f} s of rest there are {line}" for line in left]
        world.wait(0.5)
    return time.monotonic() - began, _hurry_mails(world)


def _unsettled(world: World) -> list[str]:
    found = {what: world.rows(query) for what, query in UNSETTLED.items()}
    return [f"{what}: {[tuple(map(str, row)) for row in rows]}" for what, rows in found.items() if rows]


def _hurry_mails(world: World) -> list[str]:
    """Put the mail worker's clock forward until no mail waits any more; return a sentence for each that will not go.

    Twice at most a mail waits anew: one whose sender died is in doubt first, and is sent again after that.
    """
    queues, ahead, deadline = open_queue_app("celeryconfig"), 0.0, time.monotonic() + MAIL_SECONDS
    try:
        while (waiting := world.rows(OPEN_MAILS)) and time.monotonic() < deadline and not world.ending.is_set():
            ahead += AHEAD_SECONDS
            world.clocks.step("notifications", ahead)
            with queues.producer_or_acquire() as producer:
                for mail in waiting:
                    send(queues, SendMail(mail.id), producer=producer)
            world.wait(3)
    finally:
        world.clocks.right("notifications")
        queues.close()
    return [f"mail {mail.id} is not sent, however long it waits" for mail in waiting]
