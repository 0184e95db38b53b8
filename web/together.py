"""What requests that come together ask of the database in one go: to be accepted, to be told whether an order moved.

docs/adr/0018 says what that is good for; how a group comes about is in groups.py.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from uuid import UUID

from sqlalchemy.orm import Session

from domain.errors import NotFoundError
from domain.line import Place, Pulse, take_pulses
from domain.order_groups import accept_together
from domain.orders import Acceptance
from domain.purchases import Arrival
from domain.rules.admission import AdmissionLimits
from domain.rules.lifecycle import WAITING
from web.groups import Groups
from web.lines import Lines

Accepted = tuple[Acceptance, Place | None]
"""An order, and where it waits: None where it was there before."""


class Together:
    """The hot questions of a process, each asked for all who ask meanwhile."""

    def __init__(self, open_session: Callable[[], Session], lines: Lines, limits: AdmissionLimits) -> None:
        self._open_session = open_session
        self._lines = lines
        self._limits = limits
        self._acceptances: Groups[Arrival, Accepted] = Groups(self._accept)
        self._pulses: Groups[UUID, Pulse] = Groups(self._tell_pulses)

    def accept(self, arrival: Arrival) -> Accepted:
        """Take a purchase into the tiers' lines; raises what `domain.orders.accept` has as its outcome."""
        return self._acceptances.ask(arrival)

    def pulse(self, order_id: UUID) -> Pulse:
        """Return an order's pulse, with its place while it waits; raise `NotFoundError` if there is no such order."""
        return self._pulses.ask(order_id)

    def take_pulses(self, order_ids: Sequence[UUID]) -> Mapping[UUID, Pulse]:
        """Return the pulses, without their places, of those of the orders that there are."""
        with self._open_session() as session:
            return take_pulses(session, order_ids)

    def _accept(self, arrivals: Sequence[Arrival]) -> Sequence[Accepted | Exception]:
        with self._open_session() as session:
            outcomes = accept_together(session, self._limits, arrivals)
            return [each if isinstance(each, Exception) else (each, self._place(session, each)) for each in outcomes]

    def _place(self, session: Session, acceptance: Acceptance) -> Place | None:
        return self._lines.place_at(session, acceptance.placement.spots) if acceptance.placement else None

    def _tell_pulses(self, order_ids: Sequence[UUID]) -> Sequence[Pulse | NotFoundError]:
        with self._open_session() as session:
            pulses = take_pulses(session, order_ids)
            waiting = [order_id for order_id, pulse in pulses.items() if pulse.stage in WAITING]
            places = self._lines.find_places(session, waiting) if waiting else {}
        pulses |= {order_id: replace(pulses[order_id], place=place) for order_id, place in places.items()}
        return [pulses.get(order_id) or NotFoundError("order") for order_id in order_ids]
