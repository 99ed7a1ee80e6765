"""What answers at the other ends of the wires when a fleet is commanded in lock-step with simulated time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from derloop.contract import Values
from hil.modbus.endpoint import Address
from hil.modbus.thread import LoopThread


class Counterpart(Protocol):
    """n devices that live in the same steps as whoever commands them."""

    @property
    def addresses(self) -> Sequence[Address]:
        """Where each is reached, once started."""
        ...

    def start(self, thread: LoopThread) -> None:
        """Listen, in this thread; nothing is left open if that fails."""
        ...

    def begin(self, now_ns: int) -> None:
        """An instant begins: commands come next."""
        ...

    def obey(self, now_ns: int, inputs: Values) -> Values:
        """Commands have come: measure what there is to be measured, and return what devices do, as far as is known."""
        ...

    def end(self) -> None:
        """Measurements have been read: let the step pass."""
        ...

    def stop(self) -> None:
        """Listen no more; once or more often, also after a start that failed."""
        ...
