"""A fleet commanded over Modbus in lock-step with simulated time, whatever answers at the other ends of the wires.

In each step

1. commands go out over Modbus (704 WSet, WMaxLimPct, VarSet; read back and verified, under a lease that runs out
   unrenewed),
2. the devices obey what their registers then say, with all functions of 703 to 712 (`hil.fleet.steering`),
3. their registers show what they measure,
4. and the measurements are read over Modbus: what the federation sees is what came over the wire.

With a device that is not `reached` in a step, nothing is exchanged in it: its last measurements stay and grow older
(`age_s`), and its own timer lets go of what it was told when the lease runs out. Its powers alone, which the feeder
has too, are what it does, where that is known.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from derloop.contract import FloatArray, Values
from hil.fleet.counterpart import Counterpart
from hil.fleet.model import AGE, POWERS, REACHED, HasStorage, InverterModel
from hil.fleet.told import commands_of, curves_of, outputs_of, within_plate
from hil.frames.journal import Journal
from hil.frames.layout import Peer
from hil.inverter.commands import Commands
from hil.inverter.device import Device
from hil.inverter.group import DeviceGroup
from hil.inverter.lease import reversion
from hil.modbus.connection import Connection
from hil.modbus.endpoint import Address, Timing
from hil.modbus.link import Link
from hil.modbus.thread import LoopThread
from hil.sunspec.points import BoolArray

LEASE_STEPS = 3
"""A command holds for so many steps unless it is renewed."""


class Lockstep:
    """n devices behind Modbus, from the first exchange to the last."""

    def __init__(
        self,
        server: Counterpart,
        model: InverterModel,
        labels: Sequence[str],
        timing: Timing,
        frames: Path | None = None,
    ) -> None:
        """model: whose curves, storage and step they have. frames: where the journal of every frame is kept, if any."""
        self._server, self._labels, self._timing, self._frames = server, tuple(labels), timing, frames
        self._inverters, self._step_s = model.inverters, model.interface.step_ns / 1e9
        self._storage = model.storage if isinstance(model, HasStorage) else None
        self._thread: LoopThread | None = None
        self._journal: Journal | None = None
        self._connections: dict[str, Connection] = {}
        self._group: DeviceGroup | None = None
        self._told: dict[str, FloatArray] = {}

    def start(self) -> Values:
        """Start the servers, discover the devices, and give them their curve over Modbus."""
        if self._frames is not None:
            self._journal = Journal(self._frames)
        self._thread = LoopThread(f"modbus {self._labels[0]}")
        self._server.start(self._thread)
        self._group = DeviceGroup.of(self._devices(self._server.addresses), self._thread)
        self._group.start()
        self._plate = self._group.nameplates()
        self._group.command(Commands(volt_var=curves_of(self._inverters, len(self._labels))), now_s=0.0)
        return self._measured(np.ones(len(self._labels), dtype=bool), {})

    def step(self, now_ns: int, inputs: Values) -> Values:
        """Exchange one step's registers; see the module."""
        assert self._group
        if self._journal:
            self._journal.instant_ns = now_ns
        self._server.begin(now_ns)
        reached = inputs.get(REACHED, np.ones(len(self._labels))) > 0.5
        commands = within_plate(commands_of(inputs, self._plate, self._plate.s_max_va), self._plate)
        self._group.command(commands, now_ns / 1e9, reached)
        done = self._server.obey(now_ns, inputs)
        measured = self._measured(reached, done)
        self._server.end()
        return measured

    def stop(self) -> None:
        """Close connections, servers, the thread and the journal, whatever of them there is."""
        if self._group:
            self._group.close()
        if self._thread and not self._thread.closed:
            self._thread.run(self._close_connections())
        self._server.stop()
        if self._thread:
            self._thread.close()
        if self._journal:
            self._journal.close()

    def statistics(self) -> Mapping[str, float]:
        """Return what went over the wire."""
        traffic = self._group.traffic if self._group else None
        if traffic is None:
            return {}
        return {
            "modbus_exchanges": traffic.exchanges,
            "modbus_registers_read": traffic.registers_read,
            "modbus_registers_written": traffic.registers_written,
            "modbus_seconds": traffic.seconds,
        }

    def _measured(self, reached: BoolArray, done: Values) -> Values:
        """Return what has been measured last: now, where devices are reached (n,). done: what they do."""
        assert self._group
        now = outputs_of(self._group.poll(reached), self._plate, self._storage, self._step_s)
        now[AGE] = np.where(reached, 0.0, self._told[AGE] + self._step_s if self._told else 0.0)
        held = {**now, **self._told, AGE: now[AGE]} | {port: done[port] for port in POWERS if port in done}
        self._told = {port: np.where(reached, value, held[port]) for port, value in now.items()}
        return self._told

    def _devices(self, addresses: Sequence[Address]) -> list[Device]:
        """Return the devices at their addresses; those on one line share its connection."""
        behind: dict[str, list[Peer]] = {}
        for name, at in zip(self._labels, addresses, strict=True):
            behind.setdefault(str(at.endpoint), []).append(Peer.at(name, at.endpoint, at.unit))
        for at in addresses:
            if (key := str(at.endpoint)) not in self._connections:
                tap = self._journal.tap(*behind[key]) if self._journal else None
                self._connections[key] = Connection(at.endpoint, self._timing, tap)
        lease = reversion(max(1, round(LEASE_STEPS * self._step_s)))
        named = zip(self._labels, addresses, strict=True)
        links = [Link(name, at, self._timing, self._connections[str(at.endpoint)]) for name, at in named]
        return [Device(link, lease) for link in links]

    async def _close_connections(self) -> None:
        for connection in self._connections.values():
            await connection.close()
