"""Who takes the turns of a cell's units: their steppers in this process, or the processes of their crews."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from threading import Event
from typing import Protocol

from derloop.contract import FloatArray
from derloop.engines.stepping import Stepper

Turn = tuple[str, int]
"""A unit and the instant for which it is stepped, ns."""


class Hands(Protocol):
    """What takes the turns of some units."""

    @property
    def payloads(self) -> Mapping[str, FloatArray]:
        """What each unit gives out, and what each gives out that they read, by the name of the unit."""
        ...

    @property
    def cancelled(self) -> Event: ...

    @property
    def is_paced(self) -> bool:
        """The run keeps time with the clock on the wall, and turns wait for it."""
        ...

    def wait(self, now_ns: int) -> None:
        """Return when `now_ns` is due on the wall, or the run is cancelled."""
        ...

    def take(self, turns: Sequence[Turn]) -> None:
        """Step the units whose turn it is in one phase, by rank; what they give out is in `payloads` then."""
        ...


class OwnHands:
    """Steppers in this process, one after the other. Values stay where they were written."""

    def __init__(self, steppers: Sequence[Stepper]) -> None:
        self._steppers = {stepper.unit.name: stepper for stepper in steppers}
        first = steppers[0]
        self.cancelled, self.wait, self.is_paced = first.cancelled, first.wait, first.is_paced
        heard = {source: feed.payload for stepper in steppers for source, feed in stepper.inbox.feeds.items()}
        self.payloads = {**heard, **{name: stepper.outbox.payload for name, stepper in self._steppers.items()}}
        for stepper in steppers:
            stepper.inbox.attach({source: self.payloads[source] for source in stepper.inbox.feeds})

    def take(self, turns: Sequence[Turn]) -> None:
        for name, now_ns in turns:
            self._steppers[name].step(now_ns)
