"""What became of each order of a sale, and whether that is right: a bench that sold wrongly must not be believed."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tools.bench.database import Database
from tools.bench.fairness import Turn, find_unfair
from tools.bench.generator import Answer
from tools.bench.market import Sale
from tools.bench.patience import wait_until

ACCEPTED, REFUSED = 202, 409
EDGE_CODES = {"sold-out"}
SHOWN = 3
GLANCE_SECONDS = 0.25
"""Each look costs the server some; when the last was decided stands in its timeline."""

_WAITING = """
    SELECT EXISTS (SELECT FROM order_items WHERE tier_id = ANY(:tier_ids)
                   AND inventory_state = 'queued' AND desired_state IS NULL)
"""
_VERDICTS = """
    SELECT item.order_id::text, item.tier_id::text, item.sequence, item.inventory_state, orders.reason,
           extract(epoch FROM told.accepted_at)::float8 AS accepted_at,
           extract(epoch FROM told.decided_at)::float8 AS decided_at
    FROM order_items AS item JOIN orders ON orders.id = item.order_id
    CROSS JOIN LATERAL (
        SELECT min(at) FILTER (WHERE kind = 'accepted') AS accepted_at,
               min(at) FILTER (WHERE kind IN ('held', 'cancelled')) AS decided_at
        FROM order_timeline WHERE order_id = item.order_id
    ) AS told
    WHERE item.tier_id = ANY(:tier_ids) AND item.inventory_state <> 'sold'
"""
_COUNTERS = """
    SELECT tier_id::text, reserved, sold, counted_reserved, counted_sold, quantity FROM tier_counters
    WHERE event_id = :event_id
"""


class WrongSaleError(Exception):
    """The system sold wrongly; the message says what."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """How one order was decided, and when, by the database's clock."""

    order_id: str
    tier_id: str
    sequence: int
    is_served: bool
    accepted_at: float
    decided_at: float


def wait_until_decided(database: Database, sale: Sale) -> None:
    """Return once no order of the sale waits any more."""
    tier_ids = list(sale.tier_ids)
    wait_until(
        lambda: not database.rows(_WAITING, tier_ids=tier_ids)[0][0],
        "every order of the sale is decided",
        glance=GLANCE_SECONDS,
    )


def read_verdicts(database: Database, sale: Sale) -> list[Verdict]:
    """Return how the orders of a sale were decided; raise `WrongSaleError` if one of them was not, or not so."""
    verdicts = []
    for row in database.rows(_VERDICTS, tier_ids=list(sale.tier_ids)):
        how = (row.inventory_state, row.reason)
        if how not in {("reserved", None), ("refused", "sold_out")} or row.decided_at is None:
            raise WrongSaleError(f"order {row.order_id} ended as {how}")
        served = row.inventory_state == "reserved"
        verdicts.append(Verdict(row.order_id, row.tier_id, row.sequence, served, row.accepted_at, row.decided_at))
    return verdicts


def check_stock(database: Database, sale: Sale, verdicts: Sequence[Verdict], *, sold_before: int = 0) -> None:
    """Check that each tier gave out exactly what it has, or what was wanted, and that its counters say so.

    Raises `WrongSaleError`.
    """
    wanted = Counter(verdict.tier_id for verdict in verdicts)
    served = Counter(verdict.tier_id for verdict in verdicts if verdict.is_served)
    wrong = []
    for row in database.rows(_COUNTERS, event_id=sale.event_id):
        expected = min(wanted[row.tier_id], row.quantity - sold_before)
        if (row.reserved, row.sold) != (row.counted_reserved, row.counted_sold):
            wrong.append(
                f"tier {row.tier_id} counts {row.reserved} + {row.sold}, its rows are {row.counted_reserved}"
                f" + {row.counted_sold}"
            )
        if not served[row.tier_id] == row.reserved == expected:
            wrong.append(
                f"tier {row.tier_id} gave {row.reserved} of {expected} tickets to {served[row.tier_id]} orders"
            )
    _complain(wrong)


def check_answers(answers: Sequence[Answer], verdicts: Sequence[Verdict]) -> None:
    """Check that every 202 stands for its own order, and that nobody was refused otherwise than as sold out.

    Raises `WrongSaleError`.
    """
    others = Counter(
        (answer.status, answer.code)
        for answer in answers
        if answer.status != ACCEPTED and not (answer.status == REFUSED and answer.code in EDGE_CODES)
    )
    accepted = [order_of(answer) for answer in answers if answer.status == ACCEPTED]
    wrong = [f"{count} requests were answered {status} {code}" for (status, code), count in others.items()]
    if sorted(accepted) != sorted(verdict.order_id for verdict in verdicts):
        wrong.append(f"{len(set(accepted))} orders were promised by {len(accepted)} answers, {len(verdicts)} decided")
    _complain(wrong)


def check_fairness(answers: Sequence[Answer], verdicts: Sequence[Verdict]) -> None:
    """Check real-time FIFO in each tier; raise `WrongSaleError` for who was overtaken."""
    answered: Mapping[str, Answer] = {order_of(answer): answer for answer in answers if answer.status == ACCEPTED}
    turns: dict[str, list[Turn]] = defaultdict(list)
    for verdict in verdicts:
        answer = answered[verdict.order_id]
        turns[verdict.tier_id].append(
            Turn(verdict.order_id, verdict.sequence, answer.began, answer.answered, verdict.is_served)
        )
    _complain([sentence for line in turns.values() for sentence in find_unfair(line)])


def order_of(answer: Answer) -> str:
    """Return the id of the order that a 202 promises."""
    return answer.location.rpartition("/")[2]


def _complain(wrong: Sequence[str]) -> None:
    if wrong:
        more = f" … and {len(wrong) - SHOWN} more" if len(wrong) > SHOWN else ""
        raise WrongSaleError("; ".join(wrong[:SHOWN]) + more)
