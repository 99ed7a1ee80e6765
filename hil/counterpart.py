"""What answers at the other ends of the wires when a fleet is commanded in lock-step with simulated time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from derloop.contract import Values
from hil.modbus.endpoint import Address
from hil.modbus.thread import LoopThread
from hil.registered import RegisteredFleet
from hil.serving.file import FleetEntry
from hil.serving.fleet import BankServer


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

    def obey(self, now_ns: int, inputs: Values) -> None:
        """Commands have come: measure what there is to be measured at this instant."""
        ...

    def end(self) -> None:
        """Measurements have been read: let the step pass."""
        ...

    def stop(self) -> None:
        """Listen no more; once or more often, also after a start that failed."""
        ...


class Emulated:
    """A fleet's model behind Modbus servers."""

    def __init__(self, fleet: RegisteredFleet, entry: FleetEntry) -> None:
        self._fleet, self._entry = fleet, entry
        self._step_s = fleet.model.interface.step_ns / 1e9
        self._now_s = 0.0
        self._server: BankServer | None = None

    @property
    def addresses(self) -> Sequence[Address]:
        return self._server.addresses if self._server else ()

    def start(self, thread: LoopThread) -> None:
        self._fleet.start()
        labels = [terminal.label for terminal in self._fleet.terminals]
        self._server = BankServer(self._fleet.bank, labels, self._entry, thread=thread, clock=lambda: self._now_s)
        self._server.start()

    def begin(self, now_ns: int) -> None:
        self._now_s = now_ns / 1e9

    def obey(self, now_ns: int, inputs: Values) -> None:
        self._fleet.step(now_ns, inputs)

    def end(self) -> None:
        self._fleet.bank.advance(self._step_s)

    def stop(self) -> None:
        if self._server:
            self._server.stop()
