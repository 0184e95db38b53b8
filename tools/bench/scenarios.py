"""The table of scenarios: their names, what they show, and who runs them."""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from tools.bench.backlog import backlog, growth
from tools.bench.floor import floor
from tools.bench.ground import Ground
from tools.bench.polling import poll, sold_out
from tools.bench.results import Round
from tools.bench.rush import crowd, many_tiers, rush, slow_disk


@dataclass(frozen=True, slots=True)
class Scenario:
    """One thing to measure; `run` does one round of it and checks what was sold."""

    run: Callable[[Ground, Random], Round]
    title: str


SCENARIOS = {
    "floor": Scenario(floor, "Buyers who fight for a tier's row, by `pgbench` on the same PostgreSQL and tables."),
    "rush": Scenario(
        rush, "20,000 purchases from 64 connections at one tier of 5,000; then half of that rate, at random moments."
    ),
    "many-tiers": Scenario(many_tiers, "The same rush at 1,000 tiers of 5."),
    "crowd": Scenario(crowd, "The same rush at one tier, from 600 connections."),
    "slow-disk": Scenario(slow_disk, "The same rush at one tier while each flush of the log takes 2 ms longer."),
    "backlog": Scenario(backlog, "The allocator alone: 20,000 orders that wait for one tier, and all of them fit."),
    "poll": Scenario(poll, "`GET /orders/{id}` with its ETag from 64 connections; nothing has changed."),
    "sold-out": Scenario(sold_out, "Purchases that the edge refuses, from 64 connections."),
    "growth": Scenario(growth, "What an order costs the allocator where there is much, as a multiple of little."),
}
