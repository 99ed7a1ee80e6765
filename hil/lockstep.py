"""A fleet's model and its Modbus servers and clients in lock-step with simulated time.

In each step

1. commands go out over Modbus (704 WSet or WMaxLimPct, read back and verified, under a lease that runs out unrenewed),
2. the model obeys what its registers then say, volt-var (705) included,
3. its registers show what it measures,
4. and the measurements are read over Modbus: what the federation sees is what came over the wire.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from derloop.contract import FloatArray, Values
from derloop.kind import Terminal
from hil.emulator.bank import RegisterBank
from hil.emulator.nameplate import Ratings, describe
from hil.emulator.server import EmulatorServer
from hil.emulator.settings import Settings
from hil.inverter.commands import Commands, VoltVarCurve
from hil.inverter.group import DeviceGroup
from hil.inverter.measurements import Measurements
from hil.modbus import LoopThread
from hil.realisation import HasStorage, InverterModel, Storage

F_NOMINAL_HZ = 60.0
LEASE_STEPS = 3
"""A command holds for so many steps unless it is renewed."""


class Lockstep:
    """n devices behind Modbus, from the first exchange to the last."""

    def __init__(self, model: InverterModel, terminals: tuple[Terminal, ...], v_nominal_v: FloatArray) -> None:
        """v_nominal_v (n,): line to neutral."""
        self._model, self._terminals, self._v_nominal_v = model, terminals, v_nominal_v
        self._storage = model.storage if isinstance(model, HasStorage) else None
        self._step_s = model.interface.step_ns / 1e9
        self._applied: Settings | None = None
        self._thread: LoopThread | None = None
        self._server: EmulatorServer | None = None
        self._group: DeviceGroup | None = None

    def start(self) -> Values:
        """Start the servers, discover the devices, and give them their curve over Modbus."""
        outputs = self._model.start()
        self._thread = LoopThread(f"modbus {self._terminals[0].label}")
        ratings = [self._ratings(index) for index in range(len(self._terminals))]
        self._server = EmulatorServer(RegisterBank([describe(r) for r in ratings]), thread=self._thread)
        self._server.start()
        addresses = {t.label: a for t, a in zip(self._terminals, self._server.addresses, strict=True)}
        lease_s = max(1, round(LEASE_STEPS * self._step_s))
        self._group = DeviceGroup(addresses, lease_s=lease_s, thread=self._thread)
        self._group.start()
        self._nameplates = self._group.nameplates()
        self._show(outputs, np.ones(len(self._terminals)))
        self._group.command(Commands(volt_var=self._curves()), now_s=0.0)
        return self._measured(self._group.poll())

    def step(self, now_ns: int, inputs: Values) -> Values:
        """Exchange one step's registers; see the module."""
        assert self._group
        assert self._server
        self._group.command(self._commands(inputs), now_ns / 1e9)
        self._show(self._model.step(now_ns, self._obeyed(self._server.settings(), inputs)), inputs["v_pu"])
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

    def _ratings(self, index: int) -> Ratings:
        terminal, storage = self._terminals[index], self._storage
        s_va = terminal.rated_kva * 1000
        return Ratings(
            name=terminal.label,
            p_max_w=s_va,
            s_max_va=s_va,
            q_max_injected_var=s_va,
            q_max_absorbed_var=s_va,
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

    def _obeyed(self, registers: Settings, inputs: Values) -> Values:
        """Return the model's inputs with what its registers say in the place of what was asked."""
        self._adjust(registers)
        obeyed = dict(inputs)
        if "p_set_kw" in obeyed:
            obeyed["p_set_kw"] = np.nan_to_num(registers.p_w, nan=0.0) / 1000
        if "p_limit_kw" in obeyed:
            obeyed["p_limit_kw"] = registers.limit_fraction * registers.p_max_w / 1000
        return obeyed

    def _adjust(self, now: Settings) -> None:
        was = self._applied
        if was is None or not all(
            np.array_equal(getattr(was, name), getattr(now, name))
            for name in ("volt_var_on", "volt_var_v_pu", "volt_var_q_var", "volt_var_response_s")
        ):
            response_s = float(now.volt_var_response_s[0])
            on = now.volt_var_on.astype(np.float64)
            self._model.inverters.set_volt_var(on, now.volt_var_v_pu, now.volt_var_q_var / 1000, response_s)
            self._applied = now

    def _show(self, outputs: Values, v_pu: FloatArray) -> None:
        assert self._server
        v_ln_v = v_pu * self._v_nominal_v
        soc_pu = outputs.get("soc_pu")
        self._server.set_measurements(
            Measurements.of(
                1000 * outputs["p_kw"],
                1000 * outputs["q_kvar"],
                v_ln_v,
                v_ll_v=v_ln_v * 3**0.5,
                f_hz=F_NOMINAL_HZ,
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
