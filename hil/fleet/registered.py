"""A fleet's model and its registers: what these say the model does, and what it does they show."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from derloop.contract import Values
from derloop.kind import Terminal
from hil.emulator.bank import RegisterBank
from hil.emulator.device import equip
from hil.emulator.initial import function_models
from hil.emulator.nameplate import Ratings
from hil.emulator.profile import Profile
from hil.emulator.reach import refuse_too_fine
from hil.emulator.settings import Settings
from hil.fleet.model import Connections, HasStorage, InverterModel
from hil.fleet.steering import Steering, equipped_bank, settings_of
from hil.inverter.measurements import Measurements
from hil.sunspec.errors import SunSpecError

RUNNING, STANDBY = 3.0, 7.0
"""701 InvSt."""


class RegisteredFleet:
    """n devices of one model, steered by the registers of a bank. Whoever serves the bank, commands them."""

    def __init__(
        self,
        model: InverterModel,
        terminals: tuple[Terminal, ...],
        connections: Connections,
        profiles: Sequence[Profile] = (),
        units: Sequence[int] = (),
    ) -> None:
        """profiles: how each device is built. units: their Modbus addresses."""
        self.model, self.terminals, self._connections = model, terminals, connections
        self._profiles, self._units = profiles, units or [1] * len(terminals)
        self._has_several_phases = np.array(connections.phases) > 1
        self.storage = model.storage if isinstance(model, HasStorage) else None
        self._bank: RegisterBank | None = None
        self._steering: Steering | None = None

    @property
    def bank(self) -> RegisterBank:
        """The registers, once started."""
        assert self._bank
        return self._bank

    def misfits(self) -> list[str]:
        """Return what of their profiles does not fit the devices. Can be told before the start.

        Of devices that are alike the first is asked whether one of its scale factors is too fine.
        """
        settings = settings_of(self.model.inverters)
        found = [] if settings.sees_frequency else [*self._endless_stops()]
        asked: set[tuple[Ratings, int]] = set()
        for index, profile in enumerate(self._profiles):
            if not profile.scale_factors:
                continue
            ratings = self._ratings(index)
            kind = replace(ratings, name="", unit=1), id(profile)
            try:
                equipped = equip(ratings, function_models(ratings, settings, index), profile)
                if kind not in asked:
                    refuse_too_fine(equipped, ratings, profile, self.model.inverters.smart.f_nominal_hz)
            except SunSpecError as misfit:
                found.append(f"{ratings.name}: {misfit}")
            asked.add(kind)
        return found

    def _endless_stops(self) -> Iterator[str]:
        """Yield who would cease for ever once a heartbeat is lost: nobody enters service without a frequency."""
        for terminal, profile in zip(self.terminals, self._profiles, strict=False):
            if profile.on_heartbeat_loss == "cease":
                why = "a fleet that sees no frequency never enters service again: set enter_service in its 'smart'"
                yield f"{terminal.label}: on_heartbeat_loss 'cease': {why}"

    def start(self) -> Values:
        """Start the model, fill the registers with the scenario's settings, and let them show what it gives."""
        outputs = self.model.start()
        inverters = self.model.inverters
        settings = settings_of(inverters)
        ratings = [self._ratings(index) for index in range(len(self.terminals))]
        f_nominal_hz = inverters.smart.f_nominal_hz
        self._bank = equipped_bank(ratings, settings, self._profiles, f_nominal_hz=f_nominal_hz)
        takes_setpoint = "p_set_kw" in self.model.interface.inputs
        self._steering = Steering(inverters, self._bank, settings, takes_setpoint=takes_setpoint)
        self._show(outputs, {"v_pu": np.ones(len(self.terminals))})
        return outputs

    def step(self, now_ns: int, inputs: Values) -> Values:
        """Let the model obey its registers, and these show what it then measures."""
        assert self._steering
        outputs = self.model.step(now_ns, _obeyed(self._steering.obey(), inputs))
        self._show(outputs, inputs)
        return outputs

    def _ratings(self, index: int) -> Ratings:
        terminal, smart = self.terminals[index], self.model.inverters.smart
        s_va, storage = terminal.rated_kva * 1000, self.storage
        return Ratings(
            name=terminal.label,
            p_max_w=s_va,
            s_max_va=s_va,
            q_max_injected_var=smart.q_injected_max_pu * s_va,
            q_max_absorbed_var=smart.q_absorbed_max_pu * s_va,
            v_ln_nominal_v=self._connections.v_nominal_v[index],
            phases=self._connections.phases[index],
            unit=self._units[index],
            p_max_charge_w=None if storage is None else float(storage.charge_kw[index]) * 1000,
            p_max_discharge_w=None if storage is None else float(storage.discharge_kw[index]) * 1000,
            energy_wh=None if storage is None else float(storage.energy_kwh[index]) * 1000,
        )

    def _show(self, outputs: Values, inputs: Values) -> None:
        v_ln_v = inputs["v_pu"] * self._connections.v_nominal_v
        soc_pu = outputs.get("soc_pu")
        inverters = self.model.inverters
        self.bank.set_measurements(
            Measurements.of(
                1000 * outputs["p_kw"],
                1000 * outputs["q_kvar"],
                v_ln_v,
                v_ll_v=np.where(self._has_several_phases, v_ln_v * 3**0.5, np.nan),
                f_hz=inputs.get("f_hz", np.array(inverters.smart.f_nominal_hz, dtype=np.float64)),
                state=np.where(inverters.in_service, RUNNING, STANDBY),
                soc_pct=np.nan if soc_pu is None else 100 * soc_pu,
            )
        )


COMMANDS = ("p_set_kw", "p_limit_kw", "q_set_pu")
"""Inputs of models in whose place registers stand."""


def _obeyed(registers: Settings, inputs: Values) -> Values:
    """Return the model's inputs with what its registers say in the place of what was asked.

    Its reactive power is set by its functions, as every register of 704 that says so.
    """
    obeyed = {name: value for name, value in inputs.items() if name != "q_set_pu"}
    if "p_set_kw" in obeyed:
        obeyed["p_set_kw"] = np.nan_to_num(registers.p_w, nan=0.0) / 1000
    if "p_limit_kw" in obeyed:
        obeyed["p_limit_kw"] = registers.limit_fraction * registers.p_max_w / 1000
    return obeyed
