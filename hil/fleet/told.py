"""A fleet's ports as devices have them: inputs as commands, measurements as outputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from derloop.contract import FloatArray, Values
from hil.fleet.model import Functions, Storage
from hil.inverter.commands import Commands, VoltVarCurve
from hil.inverter.measurements import Measurements, Nameplates


def commands_of(inputs: Values, plate: Nameplates, rated_va: FloatArray) -> Commands:
    """Return what the inputs p_set_kw, p_limit_kw and q_set_pu, as far as they are there, tell devices (n,) to do.

    q_set_pu is of `rated_va` (n,).
    """
    p_set_kw, p_limit_kw, q_set_pu = (inputs.get(name) for name in ("p_set_kw", "p_limit_kw", "q_set_pu"))
    return Commands(
        p_w=None if p_set_kw is None else 1000 * p_set_kw,
        limit_fraction=None if p_limit_kw is None else np.clip(1000 * p_limit_kw / plate.p_max_w, 0.0, 1.0),
        q_var=None if q_set_pu is None else np.clip(q_set_pu, -1.0, 1.0) * rated_va,
    )


def within_plate(commands: Commands, plate: Nameplates) -> Commands:
    """Return commands with no more reactive power than devices (n,) say that they have: of more they refuse all.

    What they say is rounded to what their registers hold.
    """
    if commands.q_var is None:
        return commands
    q_var = np.fmax(np.fmin(commands.q_var, plate.q_max_injected_var), -plate.q_max_absorbed_var)
    return replace(commands, q_var=q_var)


def curves_of(inverters: Functions, count: int) -> Sequence[VoltVarCurve | None]:
    """Return the volt-var curve that the scenario asks for, for each device; None: volt-var is off."""
    curve = inverters.volt_var
    asked = None if curve is None else VoltVarCurve(curve.v_pu, curve.q_pu, "va_max", curve.response_s)
    return [asked] * count


def outputs_of(
    measured: Measurements, plate: Nameplates, storage: Storage | None, step_s: float
) -> dict[str, FloatArray]:
    """Return the outputs that a device can tell: powers, and of a storage its charge and what it can do in a step.

    What it holds is of its nameplate, also where its cells have aged.
    """
    values = {"p_kw": measured.p_w / 1000, "q_kvar": measured.q_var / 1000}
    if storage is not None:
        values["soc_pu"] = measured.soc_pct / 100
        values["stored_kwh"] = values["soc_pu"] * plate.energy_wh / 1000
        values["p_min_kw"], values["p_max_kw"] = p_range_kw(plate, storage, values["soc_pu"], step_s)
    return values


def p_range_kw(plate: Nameplates, storage: Storage, soc_pu: FloatArray, step_s: float) -> tuple[FloatArray, FloatArray]:
    """Return what a storage can draw (n,) and inject (n,) for one step, from its nameplate and state of charge.

    A device that does not say with how much it can be discharged can be with all of its power.
    """
    discharge_kw = np.fmin(plate.p_max_discharge_w, plate.p_max_w) / 1000
    kwh_to_kw, stored_kwh = 3600 / step_s, plate.energy_wh / 1000
    most = np.clip((soc_pu - storage.soc_min_pu) * stored_kwh * kwh_to_kw, 0.0, discharge_kw)
    least = np.clip((soc_pu - storage.soc_max_pu) * stored_kwh * kwh_to_kw, -plate.p_max_charge_w / 1000, 0.0)
    return least, most
