"""A rush over HTTP: everybody wants tickets at once, of one tier or of many; then buyers who come at half that rate."""

from collections.abc import Mapping, Sequence
from random import Random

from tools.bench.figures import depth_curve, percentile, percentile_curve, rate_curve
from tools.bench.generator import CONNECTIONS, Answers, Generator
from tools.bench.ground import Ground
from tools.bench.market import Sale
from tools.bench.processes import Meter
from tools.bench.results import LOAD_SHARE, Measure, Round
from tools.bench.verdicts import (
    ACCEPTED,
    Verdict,
    check_answers,
    check_fairness,
    check_stock,
    order_of,
    read_verdicts,
    wait_until_decided,
)
from tools.bench.wire import at_random, purchases

REQUESTS, TICKETS, TIERS = 20_000, 5_000, 1_000
CROWD = 600
WARM_UP = 1_000
HALF_SECONDS = 12.0
MEGABYTE = 1024 * 1024
STEPS = 60
"""So many points has a curve over time, at most one per tenth of a second."""


def warm_up(ground: Ground, random: Random) -> None:
    """Let every process meet its first purchases before anything is measured."""
    _sell(ground, ground.market.open(quantity=WARM_UP // 2), ground.options.count(WARM_UP, 100), random)


def rush(ground: Ground, random: Random) -> Round:
    """Let everybody want one tier's tickets, and then let buyers come to another tier at half of that rate."""
    sale = ground.market.open(quantity=ground.options.count(TICKETS))
    found = _sell(ground, sale, ground.options.count(REQUESTS), random)
    half = _come_at_half_rate(ground, found.measures["accepted per second"].value, random)
    return Round({**found.measures, **half}, found.curves, found.bars)


def many_tiers(ground: Ground, random: Random) -> Round:
    """Let the same rush be about a thousand tiers."""
    tiers = ground.options.count(TIERS)
    sale = ground.market.open(tiers=tiers, quantity=TICKETS // TIERS)
    return _sell(ground, sale, ground.options.count(REQUESTS), random)


def crowd(ground: Ground, random: Random) -> Round:
    """Let the rush come from far more connections than there are threads."""
    sale = ground.market.open(quantity=ground.options.count(TICKETS))
    return _sell(ground, sale, ground.options.count(REQUESTS), random, connections=CROWD)


def slow_disk(ground: Ground, random: Random) -> Round:
    """Let the rush meet a disk whose flushes take 2 ms longer."""
    sale = ground.market.open(quantity=ground.options.count(TICKETS))
    with ground.database.slower_flushes():
        return _sell(ground, sale, ground.options.count(REQUESTS), random)


def _sell(ground: Ground, sale: Sale, count: int, random: Random, connections: int = CONNECTIONS) -> Round:
    requests = purchases(ground, sale, count, random)
    ground.database.calm()
    ground.wait_for_consumers(sale)
    with Generator(ground.port, requests, connections=connections) as generator, ground.meter() as meter:
        answers = generator.go()
        wait_until_decided(ground.database, sale)
        ground.wait_until_told()
    verdicts = _judge(ground, sale, answers)
    used = _used_for_decisions(meter, verdicts)
    return Round(
        {**_speeds(answers, verdicts), **_costs(answers, verdicts, meter, used)},
        _curves(answers, verdicts),
        _bars(verdicts, meter, used),
    )


def _judge(ground: Ground, sale: Sale, answers: Answers) -> list[Verdict]:
    """Check the sale, close it, and return how its orders were decided."""
    verdicts = read_verdicts(ground.database, sale)
    check_answers(answers.all, verdicts)
    check_stock(ground.database, sale, verdicts)
    check_fairness(answers.all, verdicts)
    ground.close(sale)
    return verdicts


def _come_at_half_rate(ground: Ground, rate: float, random: Random) -> dict[str, Measure]:
    count = max(min(round(rate / 2 * HALF_SECONDS), ground.options.count(REQUESTS)), 1)
    sale = ground.market.open(quantity=count)
    requests = purchases(ground, sale, count, random)
    ground.database.calm()
    ground.wait_for_consumers(sale)
    with Generator(ground.port, requests, arrivals=at_random(rate / 2, count, random)) as generator:
        answers = generator.go()
        wait_until_decided(ground.database, sale)
    decisions = _decision_times(answers, _judge(ground, sale, answers))
    accepts = [answer.milliseconds for answer in answers.all]
    return {
        "accept p50 at half load": Measure(percentile(accepts, 50), "ms", "less"),
        "accept p99 at half load": Measure(percentile(accepts, 99), "ms", "less"),
        "decision p99 at half load": Measure(percentile(decisions, 99), "ms", "less"),
    }


def _speeds(answers: Answers, verdicts: Sequence[Verdict]) -> dict[str, Measure]:
    accepts = [answer.milliseconds for answer in answers.all if answer.status == ACCEPTED]
    refusals = [answer.milliseconds for answer in answers.all if answer.status != ACCEPTED]
    last_accept = max(answer.answered for answer in answers.all if answer.status == ACCEPTED)
    last_decision = max(verdict.decided_at for verdict in verdicts)
    decisions = _decision_times(answers, verdicts)
    speeds = {
        "decided per second": Measure(len(verdicts) / (last_decision - answers.begins), "orders/s", "more"),
        "accepted per second": Measure(len(accepts) / (last_accept - answers.begins), "orders/s", "more"),
        "answered per second": Measure(len(answers.all) / answers.seconds, "requests/s", "more"),
        "decided": Measure(len(verdicts), "orders"),
        "refused at the edge": Measure(len(refusals), "requests"),
        "accept p50": Measure(percentile(accepts, 50), "ms", "less"),
        "accept p99": Measure(percentile(accepts, 99), "ms", "less"),
        "decision p50": Measure(percentile(decisions, 50), "ms", "less"),
        "decision p99": Measure(percentile(decisions, 99), "ms", "less"),
    }
    if refusals:
        speeds["refusal at the edge p99"] = Measure(percentile(refusals, 99), "ms", "less")
    return speeds


def _decision_times(answers: Answers, verdicts: Sequence[Verdict]) -> list[float]:
    began = {order_of(answer): answer.began for answer in answers.all if answer.status == ACCEPTED}
    return [(verdict.decided_at - began[verdict.order_id]) * 1000 for verdict in verdicts]


def _used_for_decisions(meter: Meter, verdicts: Sequence[Verdict]) -> dict[str, float]:
    """Return what each part used until the last decision: afterwards the edge refuses, and nothing else happens.

    The allocators count until they have published what they decided.
    """
    until = meter.used_until(max(verdict.decided_at for verdict in verdicts))
    publishing = {name: seconds for name, seconds in meter.used().items() if name.startswith("allocator")}
    return {**until, **publishing}


def _costs(
    answers: Answers, verdicts: Sequence[Verdict], meter: Meter, used: Mapping[str, float]
) -> dict[str, Measure]:
    costs = {
        LOAD_SHARE: Measure(answers.load_share, "%"),
        "requests sent again": Measure(answers.resent, "requests"),
    }
    if meter.last:
        ours = [usage.largest_bytes for name, usage in meter.last.items() if name != "postgres"]
        costs |= {
            "CPU per decided order": Measure(sum(used.values()) * 1000 / len(verdicts), "ms", "less"),
            "CPU per request": Measure(sum(meter.used().values()) * 1000 / len(answers.all), "ms", "less"),
            "memory of the largest process": Measure(max(ours) / MEGABYTE, "MB", "less"),
        }
    return costs


def _curves(answers: Answers, verdicts: Sequence[Verdict]) -> dict[str, dict[str, list[tuple[float, float]]]]:
    accepted = [verdict.accepted_at for verdict in verdicts]
    decided = [verdict.decided_at for verdict in verdicts]
    accepts = [answer.milliseconds for answer in answers.all if answer.status == ACCEPTED]
    ends = max([answers.ends, *decided])
    step = max((ends - answers.begins) / STEPS, 0.1)
    refused = [answer.answered for answer in answers.all if answer.status != ACCEPTED]
    rates = {"accepted": accepted, "decided": decided, "refused at the edge": refused}
    return {
        "Rate over time": {
            name: rate_curve(times, begins=answers.begins, ends=ends, step=step) for name, times in rates.items()
        },
        "Orders waiting": {"waiting": depth_curve(accepted, decided, begins=answers.begins, step=step)},
        "Latency by percentile": {
            "to the 202": percentile_curve(accepts),
            "to the decision": percentile_curve(_decision_times(answers, verdicts)),
        },
    }


def _bars(verdicts: Sequence[Verdict], meter: Meter, used: Mapping[str, float]) -> dict[str, dict[str, float]]:
    if not meter.last:
        return {}
    return {
        "CPU per decided order (ms)": {name: seconds * 1000 / len(verdicts) for name, seconds in used.items()},
        "Memory of the largest process (MB)": {
            name: usage.largest_bytes / MEGABYTE for name, usage in meter.last.items()
        },
    }
