"""A fleet's model and its Modbus servers and clients in lock-step with simulated time.

In each step

1. commands go out over Modbus (704 WSet or WMaxLimPct, read back and verified, under a lease that runs out unrenewed),
2. the model obeys what its registers then say, with all functions of 703 to 712 (`hil.steering`),
3. its registers show what it measures,
4. and the measurements are read over Modbus: what the federation sees is what came over the wire.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from derloop.contract import FloatArray, Values
from derloop.kind import Terminal
from hil.emulator.bank import RegisterBank
from hil.emulator.nameplate import Ratings
from hil.emulator.server import EmulatorServer
from hil.emulator.settings import Settings
from hil.inverter.commands import Commands, VoltVarCurve
from hil.inverter.group import DeviceGroup
from hil.inverter.measurements import Measurements
from hil.modbus.thread import LoopThread
from hil.realisation import HasStorage, InverterModel, Storage
from hil.steering import Steering, descriptions, settings_of

RUNNING, STANDBY = 3.0, 7.0
"""701 InvSt."""
LEASE_STEPS = 3
"""A command holds for so many steps unless it is renewed."""


class Lockstep:
    """n devices behind Modbus, from the first exchange to the last."""

    def __init__(self, model: InverterModel, terminals: tuple[Terminal, ...], v_nominal_v: FloatArray) -> None:
        """v_nominal_v (n,): line to neutral."""
        self._model, self._terminals, self._v_nominal_v = model, terminals, v_nominal_v
        self._storage = model.storage if isinstance(model, HasStorage) else None
        self._step_s = model.interface.step_ns / 1e9
        self._steering: Steering | None = None
        self._thread: LoopThread | None = None
        self._server: EmulatorServer | None = None
        self._group: DeviceGroup | None = None

    def start(self) -> Values:
        """Start the servers, discover the devices, and give them their curve over Modbus."""
        outputs = self._model.start()
        self._thread = LoopThread(f"modbus {self._terminals[0].label}")
        self._server = EmulatorServer(self._bank(), thread=self._thread)
        self._server.start()
        addresses = {t.label: a for t, a in zip(self._terminals, self._server.addresses, strict=True)}
        lease_s = max(1, round(LEASE_STEPS * self._step_s))
        self._group = DeviceGroup(addresses, lease_s=lease_s, thread=self._thread)
        self._group.start()
        self._nameplates = self._group.nameplates()
        self._show(outputs, {"v_pu": np.ones(len(self._terminals))})
        self._group.command(Commands(volt_var=self._curves()), now_s=0.0)
        return self._measured(self._group.poll())

    def step(self, now_ns: int, inputs: Values) -> Values:
        """Exchange one step's registers; see the module."""
        assert self._group
        assert self._server
        assert self._steering
        self._group.command(self._commands(inputs), now_ns / 1e9)
        self._show(self._model.step(now_ns, _obeyed(self._steering.obey(), inputs)), inputs)
        measured = self._group.poll()
        self._server.advance(self._step_s)
        return self._measured(measured)

    def stop(self) -> None:
        """Close connections, servers and the thread, whatever of them there is."""
        if self._group:
            self._group.close()
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

    def _bank(self) -> RegisterBank:
        """Return the devices' registers, which begin with the scenario's settings and steer the model from then on."""
        inverters = self._model.inverters
        settings = settings_of(inverters)
        ratings = [self._ratings(index) for index in range(len(self._terminals))]
        bank = RegisterBank(descriptions(ratings, settings), f_nominal_hz=inverters.smart.f_nominal_hz)
        takes_setpoint = "p_set_kw" in self._model.interface.inputs
        self._steering = Steering(inverters, bank, settings, takes_setpoint=takes_setpoint)
        return bank

    def _ratings(self, index: int) -> Ratings:
        terminal, storage, smart = self._terminals[index], self._storage, self._model.inverters.smart
        s_va = terminal.rated_kva * 1000
        return Ratings(
            name=terminal.label,
            p_max_w=s_va,
            s_max_va=s_va,
            q_max_injected_var=smart.q_injected_max_pu * s_va,
            q_max_absorbed_var=smart.q_absorbed_max_pu * s_va,
            v_ln_nominal_v=self._v_nominal_v[index],
            phases=len(terminal.phases),
            p_max_charge_w=None if storage is None else s_va,
            energy_wh=None if storage is None else float(storage.energy_kwh[index]) * 1000,
        )

    def _curves(self) -> list[VoltVarCurve | None]:
        curve = self._model.inverters.volt_var
        asked = None if curve is None else VoltVarCurve(curve.v_pu, curve.q_pu, "va_max", curve.response_s)
        return [asked] * len(self._terminals)

    def _commands(self, inputs: Values) -> Commands:
        p_set_kw, p_limit_kw = inputs.get("p_set_kw"), inputs.get("p_limit_kw")
        return Commands(
            p_w=None if p_set_kw is None else 1000 * p_set_kw,
            limit_fraction=None
            if p_limit_kw is None
            else np.clip(1000 * p_limit_kw / self._nameplates.p_max_w, 0.0, 1.0),
        )

    def _show(self, outputs: Values, inputs: Values) -> None:
        assert self._server
        v_ln_v = inputs["v_pu"] * self._v_nominal_v
        soc_pu = outputs.get("soc_pu")
        inverters = self._model.inverters
        self._server.set_measurements(
            Measurements.of(
                1000 * outputs["p_kw"],
                1000 * outputs["q_kvar"],
                v_ln_v,
                v_ll_v=v_ln_v * 3**0.5,
                f_hz=inputs.get("f_hz", np.array(inverters.smart.f_nominal_hz, dtype=np.float64)),
                state=np.where(inverters.in_service, RUNNING, STANDBY),
                soc_pct=np.nan if soc_pu is None else 100 * soc_pu,
            )
        )

    def _measured(self, measured: Measurements) -> Values:
        values = {"p_kw": measured.p_w / 1000, "q_kvar": measured.q_var / 1000}
        if self._storage:
            values["soc_pu"] = measured.soc_pct / 100
            values["p_min_kw"], values["p_max_kw"] = self._p_range_kw(self._storage, values["soc_pu"])
        return values

    def _p_range_kw(self, storage: Storage, soc_pu: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return what a storage can draw (n,) and inject (n,) for one step, from its nameplate and state of charge."""
        plate, low, high = self._nameplates, storage.soc_min_pu, storage.soc_max_pu
        kwh_to_kw = 3600 / self._step_s
        stored_kwh = plate.energy_wh / 1000
        most = np.clip((soc_pu - low) * stored_kwh * kwh_to_kw, 0.0, plate.p_max_w / 1000)
        least = np.clip((soc_pu - high) * stored_kwh * kwh_to_kw, -plate.p_max_charge_w / 1000, 0.0)
        return least, most


def _obeyed(registers: Settings, inputs: Values) -> Values:
    """Return the model's inputs with what its registers say in the place of what was asked."""
    obeyed = dict(inputs)
    if "p_set_kw" in obeyed:
        obeyed["p_set_kw"] = np.nan_to_num(registers.p_w, nan=0.0) / 1000
    if "p_limit_kw" in obeyed:
        obeyed["p_limit_kw"] = registers.limit_fraction * registers.p_max_w / 1000
    return obeyed
