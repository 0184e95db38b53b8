"""The report of a rehearsal, as lines for a person."""

from collections.abc import Iterator, Mapping

from tools.faults.faults import FAULTS
from tools.faults.rehearsal import Record


def lines(record: Record, minutes: float) -> Iterator[str]:
    """Yield what was done, how long each fault took at worst, what became of the orders, and what broke."""
    yield f"seed {record.seed}, {minutes:.1f} minutes"
    yield ""
    yield f"  {'fault':<30}{'struck':>8}{'promised':>10}{'alone':>10}{'at worst':>10}   (seconds until all moved again)"
    for fault in FAULTS:
        alone = f"{record.slowest_alone[fault.name]:.1f}" if fault.name in record.slowest_alone else "-"
        worst = f"{record.slowest[fault.name]:.1f}" if fault.name in record.slowest else "-"
        yield f"  {fault.name:<30}{record.struck[fault.name]:>8}{fault.within:>10.0f}{alone:>10}{worst:>10}"
    yield ""
    yield f"  {record.struck.total()} faults; purchases were sent {record.requests} times"
    for title, counted in (
        ("purchases by answer", record.answers),
        ("orders by end", record.ends),
        ("buyers' acts", record.acts),
        ("money at Stripe", record.money),
    ):
        yield f"  {title}: {_listed(counted)}"
    yield f"  at rest after each act: {', '.join(f'{seconds:.0f} s' for seconds in record.rests) or '-'}"
    yield ""
    if record.broken:
        yield f"BROKEN, {len(record.broken)} times (--seed {record.seed}):"
        yield from (f"  {sentence}" for sentence in record.broken)
    else:
        yield "nothing broke, and nothing needed a person"


def _listed(counted: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {number}" for name, number in sorted(counted.items()) if number) or "none"
