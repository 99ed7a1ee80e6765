"""A fleet's model behind Modbus servers, as the counterpart of whoever commands it in lock-step."""

from __future__ import annotations

from collections.abc import Sequence

from derloop.contract import Values
from hil.fleet.registered import RegisteredFleet
from hil.modbus.endpoint import Address
from hil.modbus.thread import LoopThread
from hil.serving.file import FleetEntry
from hil.serving.fleet import BankServer


class BehindModbus:
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

    def obey(self, now_ns: int, inputs: Values) -> Values:
        return self._fleet.step(now_ns, inputs)

    def end(self) -> None:
        self._fleet.bank.advance(self._step_s)

    def stop(self) -> None:
        if self._server:
            self._server.stop()
