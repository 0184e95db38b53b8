"""The allocator alone: orders wait in paused tiers, the pause ends, and the clock runs until none waits any more.

Every order gets its ticket, which costs the allocator more than a refusal does. What it costs is the CPU of the
allocators and of their own sessions in PostgreSQL, per order. It can be compared where the time cannot: one line is
worked off by one allocator, several by two of them on two cores. What the sweep and the server's own processes do
meanwhile is not counted: it would be the same work whoever allocates, and it falls into one measurement or another.
"""

from dataclasses import dataclass
from random import Random

from tools.bench.figures import depth_curve
from tools.bench.ground import Ground
from tools.bench.market import Sale
from tools.bench.results import Measure, Round
from tools.bench.verdicts import Verdict, check_stock, read_verdicts, wait_until_decided

WAITING = 20_000
SHORT, MEDIUM, LONG = 1_000, 10_000, 100_000
TIERS, SOLD = 1_000, 50_000
PER_PERSON = 1_000
"""A limit that nobody meets, so that the allocator has to count what each person holds."""
STEPS = 60

_NOW = "SELECT extract(epoch FROM clock_timestamp())::float8"


@dataclass(frozen=True, slots=True)
class Work:
    """One backlog that was worked off."""

    verdicts: list[Verdict]
    begins: float
    cpu_seconds: float

    @property
    def orders(self) -> int:
        """How many orders it was."""
        return len(self.verdicts)

    @property
    def seconds(self) -> float:
        """From the end of the pause to the last decision."""
        return max(verdict.decided_at for verdict in self.verdicts) - self.begins

    @property
    def milliseconds(self) -> float:
        """The time of one order."""
        return 1000 * self.seconds / self.orders

    @property
    def cpu_milliseconds(self) -> float:
        """What one order cost; 0 where that cannot be told."""
        return 1000 * self.cpu_seconds / self.orders


def backlog(ground: Ground, _random: Random) -> Round:
    """Work off what waits for one tier."""
    work = _work_off(ground, ground.options.count(WAITING))
    decided = [verdict.decided_at for verdict in work.verdicts]
    waiting = depth_curve([work.begins] * work.orders, decided, begins=work.begins, step=work.seconds / STEPS)
    measures = {"decided per second": Measure(work.orders / work.seconds, "orders/s", "more")}
    if work.cpu_seconds:
        measures["CPU per decided order"] = Measure(work.cpu_milliseconds, "ms", "less")
    return Round(measures, {"Orders waiting": {"waiting": waiting}})


def growth(ground: Ground, _random: Random) -> Round:
    """Compare what an order costs where there is much with where there is little, as far as CPU can be told."""
    count = ground.options.count
    waiting, tiers = count(MEDIUM), count(TIERS, 2)
    # A thousand are decided too soon to be timed, so there are as many such lines as make a backlog.
    short = _work_off(ground, waiting, tiers=MEDIUM // SHORT)
    one_tier = _work_off(ground, waiting)
    compared = {
        "100,000 waiting : 1,000": (_work_off(ground, count(LONG)), short),
        "1,000 tiers busy : 1": (_work_off(ground, waiting, tiers=tiers), one_tier),
        "1,000 tiers idle beside it : none": (_work_off(ground, waiting, idle=tiers), one_tier),
        "50,000 sold before : none": (_work_off(ground, waiting, sold=count(SOLD)), one_tier),
    }
    measures = {"time per order, 1 tier": Measure(one_tier.milliseconds, "ms", "less")}
    if one_tier.cpu_seconds:
        measures["CPU per order, 1 tier"] = Measure(one_tier.cpu_milliseconds, "ms", "less")
        for name, (much, little) in compared.items():
            ratio = much.cpu_milliseconds / little.cpu_milliseconds
            measures[f"CPU per order, {name}"] = Measure(ratio, "x", "less")
    return Round(measures)


def _work_off(ground: Ground, waiting: int, *, tiers: int = 1, idle: int = 0, sold: int = 0) -> Work:
    sales = []
    if idle:
        sales.append(ground.market.open(tiers=idle, quantity=1))
        ground.wait_for_consumers(sales[0])
    each = -(-waiting // tiers) + sold
    sale = ground.market.open(tiers=tiers, quantity=each, max_per_person=PER_PERSON, is_paused=True)
    if sold:
        ground.market.write_sold(sale, sold)
    ground.market.write_waiting(sale, waiting)
    work = _measure(ground, sale)
    check_stock(ground.database, sale, work.verdicts, sold_before=sold)
    for done in (*sales, sale):
        ground.close(done)
    return work


def _measure(ground: Ground, sale: Sale) -> Work:
    ground.database.calm()
    ground.wait_for_consumers(sale)
    with ground.meter_allocation() as meter:
        begins = ground.database.rows(_NOW)[0][0]
        ground.market.unpause(sale)
        ground.ring(sale)
        wait_until_decided(ground.database, sale)
        ground.wait_until_told()
    return Work(read_verdicts(ground.database, sale), begins, sum(meter.used().values()))
