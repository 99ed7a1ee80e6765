"""`"via": "served"`: a fleet's model behind Modbus servers, on the clock of the wall, for clients from outside.

These alone command it: what the scenario's other federates ask of it is not listened to. The model obeys its registers
at each step and these then show what it measures; reversion timers and heartbeats go on between the steps.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import replace
from functools import partial

from derloop.contract import Interface, Port, Values
from derloop.kind import Terminal
from hil.emulator.bank import RegisterBank
from hil.fleet.model import FILLING_S, Connections, InverterModel, told_outputs
from hil.fleet.registered import COMMANDS, RegisteredFleet
from hil.modbus.endpoint import Address
from hil.modbus.thread import LoopThread
from hil.serving.file import FleetEntry
from hil.serving.fleet import BankServer

TICK_S = 0.1
"""How often the registers' own time is moved on."""


class OpenFleet:
    """n devices on the wire, for anybody who knows where."""

    def __init__(
        self,
        model: InverterModel,
        terminals: tuple[Terminal, ...],
        connections: Connections,
        entry: FleetEntry,
    ) -> None:
        self._model, self._terminals, self._connections = model, terminals, connections
        self.labels = [terminal.label for terminal in terminals]
        self.entry = entry
        """How they are served; taken when they start."""
        known = model.interface
        outputs = told_outputs(known)
        inputs = {name: _unasked(name, port) for name, port in known.inputs.items()}
        start_s = FILLING_S * len(terminals)
        self._interface = Interface(
            known.step_ns, inputs, outputs, repeatable=False, blocking=True, paced=True, start_s=start_s
        )
        self._fleet: RegisteredFleet | None = None
        self._thread: LoopThread | None = None
        self._server: BankServer | None = None
        self.addresses: Mapping[str, Address] = {}
        """Where each device is reached, once it can be."""

    @property
    def interface(self) -> Interface:
        return self._interface

    def misfits(self) -> list[str]:
        """Return what of the profiles in `entry` does not fit the devices."""
        return self._registered().misfits()

    def _registered(self) -> RegisteredFleet:
        built = self.entry.profiles_for(self.labels), self.entry.units(len(self.labels))
        return RegisteredFleet(self._model, self._terminals, self._connections, *built)

    def start(self) -> Values:
        self._fleet = fleet = self._registered()
        outputs = fleet.start()
        self._thread = LoopThread(f"serving {self.labels[0]}")
        self._server = BankServer(fleet.bank, self.labels, self.entry, thread=self._thread)
        self._server.start()
        self._thread.run(_keep_time(fleet.bank))
        self.addresses = dict(zip(self.labels, self._server.addresses, strict=True))
        return self._told(outputs)

    def step(self, now_ns: int, inputs: Values) -> Values:
        assert self._fleet
        return self._told(self._fleet.step(now_ns, inputs))

    def stop(self) -> None:
        if self._server:
            self._server.stop()
        if self._thread:
            self._thread.close()
        self._model.stop()

    def _told(self, outputs: Values) -> Values:
        return {name: outputs[name] for name in self._interface.outputs}


def _unasked(name: str, port: Port) -> Port:
    """Return an input of the model, a command as one that nobody need ask for: registers say it."""
    return replace(port, otherwise=0.0) if name in COMMANDS else port


async def _keep_time(bank: RegisterBank) -> None:
    """Let the registers' time go with the wall's, for as long as the loop runs."""
    _tick(bank, asyncio.get_running_loop(), time.monotonic())


def _tick(bank: RegisterBank, loop: asyncio.AbstractEventLoop, before_s: float) -> None:
    now_s = time.monotonic()
    bank.advance(now_s - before_s)
    loop.call_later(TICK_S, partial(_tick, bank, loop, now_s))
