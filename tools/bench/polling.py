"""What is asked without changing anything: polls of orders that have not moved, and purchases of what is sold out."""

from collections import Counter
from random import Random

from tools.bench.figures import percentile, percentile_curve
from tools.bench.generator import Answers, Generator
from tools.bench.ground import Ground
from tools.bench.market import PROMOTER
from tools.bench.processes import Meter
from tools.bench.results import LOAD_SHARE, Measure, Round
from tools.bench.verdicts import REFUSED, WrongSaleError, wait_until_decided
from tools.bench.wire import polls, purchases

POLLED, POLLS, REFUSALS = 2_000, 10_000, 10_000
OK, UNCHANGED = 200, 304

_ORDERS = f"""
    SELECT id::text, ('x' || right(user_id::text, 12))::bit(48)::bigint - {PROMOTER + 1} AS buyer
    FROM orders WHERE event_id = :event_id
"""  # noqa: S608 a number of ours


def poll(ground: Ground, random: Random) -> Round:
    """Poll orders, half of them waiting behind a pause and half of them held, as clients that know the last state."""
    half = ground.options.count(POLLED) // 2 or 1
    waiting = ground.market.open(quantity=half, is_paused=True)
    held = ground.market.open(quantity=half)
    for sale in (waiting, held):
        ground.market.write_waiting(sale, half)
    wait_until_decided(ground.database, held)
    rows = [row for sale in (waiting, held) for row in ground.database.rows(_ORDERS, event_id=sale.event_id)]
    addresses = [(f"/api/v1/orders/{row.id}", ground.tokens[row.buyer]) for row in rows]
    with Generator(ground.port, polls(addresses)) as generator:
        first = _expect(generator.go(), OK)
    known = list(zip(addresses, [answer.etag for answer in first.all], strict=True))
    chosen = random.choices(known, k=ground.options.count(POLLS))
    found = _ask(ground, polls([address for address, _ in chosen], [etag for _, etag in chosen]), UNCHANGED)
    for sale in (waiting, held):
        ground.close(sale)
    return found


def sold_out(ground: Ground, random: Random) -> Round:
    """Ask for tickets of a tier that has none left."""
    sale = ground.market.open(quantity=0)
    found = _ask(ground, purchases(ground, sale, ground.options.count(REFUSALS), random), REFUSED)
    if rows := ground.database.rows(_ORDERS, event_id=sale.event_id):
        raise WrongSaleError(f"{len(rows)} orders were stored for a tier that is sold out")
    ground.close(sale)
    return found


def _ask(ground: Ground, requests: list[str], expected: int) -> Round:
    ground.database.calm()
    with Generator(ground.port, requests) as generator, ground.meter() as meter:
        answers = _expect(generator.go(), expected)
    times = [answer.milliseconds for answer in answers.all]
    measures = {
        "answered per second": Measure(len(times) / answers.seconds, "requests/s", "more"),
        "answer p50": Measure(percentile(times, 50), "ms", "less"),
        "answer p99": Measure(percentile(times, 99), "ms", "less"),
        LOAD_SHARE: Measure(answers.load_share, "%"),
    }
    return Round(
        {**measures, **_costs(len(times), meter)},
        {"Latency by percentile": {"to the answer": percentile_curve(times)}},
    )


def _costs(requests: int, meter: Meter) -> dict[str, Measure]:
    used = sum(meter.used().values())
    return {"CPU per request": Measure(used * 1000 / requests, "ms", "less")} if used else {}


def _expect(answers: Answers, status: int) -> Answers:
    """Return the answers if all have this status; raise `WrongSaleError` otherwise."""
    others = Counter((answer.status, answer.code) for answer in answers.all if answer.status != status)
    if others:
        raise WrongSaleError(f"all requests should have been answered {status}, but some were {dict(others)}")
    return answers
