"""A fleet's model and its Modbus servers and clients in lock-step with simulated time.

In each step

1. commands go out over Modbus (704 WSet or WMaxLimPct, read back and verified, under a lease that runs out unrenewed),
2. the model obeys what its registers then say, with all functions of 703 to 712 (`hil.steering`),
3. its registers show what it measures,
4. and the measurements are read over Modbus: what the federation sees is what came over the wire.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from derloop.contract import FloatArray, Values
from hil.inverter.commands import Commands, VoltVarCurve
from hil.inverter.device import Device
from hil.inverter.group import DeviceGroup
from hil.inverter.lease import reversion
from hil.inverter.measurements import Measurements
from hil.modbus.connection import Connection
from hil.modbus.endpoint import Address
from hil.modbus.link import Link
from hil.modbus.thread import LoopThread
from hil.realisation import Storage
from hil.registered import RegisteredFleet
from hil.serving.file import FleetEntry
from hil.serving.fleet import BankServer

LEASE_STEPS = 3
"""A command holds for so many steps unless it is renewed."""


class Lockstep:
    """n devices behind Modbus, from the first exchange to the last."""

    def __init__(self, fleet: RegisteredFleet, entry: FleetEntry) -> None:
        self._fleet, self._entry = fleet, entry
        self._labels = [terminal.label for terminal in fleet.terminals]
        self._step_s = fleet.model.interface.step_ns / 1e9
        self._now_s = 0.0
        self._thread: LoopThread | None = None
        self._server: BankServer | None = None
        self._connections: dict[str, Connection] = {}
        self._group: DeviceGroup | None = None

    def start(self) -> Values:
        """Start the servers, discover the devices, and give them their curve over Modbus."""
        self._fleet.start()
        self._thread = LoopThread(f"modbus {self._labels[0]}")
        self._server = BankServer(
            self._fleet.bank, self._labels, self._entry, thread=self._thread, clock=lambda: self._now_s
        )
        self._server.start()
        self._group = DeviceGroup.of(self._devices(self._server.addresses), self._thread)
        self._group.start()
        self._nameplates = self._group.nameplates()
        self._group.command(Commands(volt_var=self._curves()), now_s=0.0)
        return self._measured(self._group.poll())

    def step(self, now_ns: int, inputs: Values) -> Values:
        """Exchange one step's registers; see the module."""
        assert self._group
        self._now_s = now_ns / 1e9
        self._group.command(self._commands(inputs), self._now_s)
        self._fleet.step(now_ns, inputs)
        measured = self._group.poll()
        self._fleet.bank.advance(self._step_s)
        return self._measured(measured)

    def _devices(self, addresses: Sequence[Address]) -> list[Device]:
        """Return the devices at their addresses; those on one line share its connection."""
        timing, lease = self._entry.timing, reversion(max(1, round(LEASE_STEPS * self._step_s)))
        self._connections = {str(at.endpoint): Connection(at.endpoint, timing) for at in addresses}
        links = [
            Link(name, at, timing, self._connections[str(at.endpoint)])
            for name, at in zip(self._labels, addresses, strict=True)
        ]
        return [Device(link, lease) for link in links]

    async def _close_connections(self) -> None:
        for connection in self._connections.values():
            await connection.close()

    def stop(self) -> None:
        """Close connections, servers and the thread, whatever of them there is."""
        if self._group:
            self._group.close()
        if self._thread and not self._thread.closed:
            self._thread.run(self._close_connections())
        if self._server:
            self._server.stop()
        if self._thread:
            self._thread.close()

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

    def _curves(self) -> list[VoltVarCurve | None]:
        curve = self._fleet.model.inverters.volt_var
        asked = None if curve is None else VoltVarCurve(curve.v_pu, curve.q_pu, "va_max", curve.response_s)
        return [asked] * len(self._labels)

    def _commands(self, inputs: Values) -> Commands:
        p_set_kw, p_limit_kw = inputs.get("p_set_kw"), inputs.get("p_limit_kw")
        return Commands(
            p_w=None if p_set_kw is None else 1000 * p_set_kw,
            limit_fraction=None
            if p_limit_kw is None
            else np.clip(1000 * p_limit_kw / self._nameplates.p_max_w, 0.0, 1.0),
        )

    def _measured(self, measured: Measurements) -> Values:
        values = {"p_kw": measured.p_w / 1000, "q_kvar": measured.q_var / 1000}
        if storage := self._fleet.storage:
            values["soc_pu"] = measured.soc_pct / 100
            values["p_min_kw"], values["p_max_kw"] = self._p_range_kw(storage, values["soc_pu"])
        return values

    def _p_range_kw(self, storage: Storage, soc_pu: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return what a storage can draw (n,) and inject (n,) for one step, from its nameplate and state of charge."""
        plate, low, high = self._nameplates, storage.soc_min_pu, storage.soc_max_pu
        kwh_to_kw = 3600 / self._step_s
        stored_kwh = plate.energy_wh / 1000
        most = np.clip((soc_pu - low) * stored_kwh * kwh_to_kw, 0.0, plate.p_max_w / 1000)
        least = np.clip((soc_pu - high) * stored_kwh * kwh_to_kw, -plate.p_max_charge_w / 1000, 0.0)
        return least, most
