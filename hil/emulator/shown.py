"""What each model shows of an instant: points by model, each (n,).

Inverters (101 to 103, 111 to 113, 701): positive when injected. Meters (201 to 203): positive when drawn from the grid,
as their names say (reactive energy of quadrants 1 and 2 is 'imported'). A power factor of 10x, in percent, has the sign
of its impedance (EEI): negative where P and Q have the same direction. Balanced phases. The DC side has no losses.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import numpy as np

from hil.emulator.moment import Moment
from hil.sunspec.points import FloatArray

Shown = Mapping[str, FloatArray]
_PHASES: Final = ("A", "B", "C")
_PAIRS: Final = {"AB": 2, "BC": 3, "CA": 3}
"""How many phases a device has that has both of these."""
_COUNTER: Final = 2.0**32
"""An acc32 begins again at 0 there."""


def _der_measured(now: Moment) -> Shown:
    m, e = now.measured, now.energy
    return {
        **{"W": m.p_w, "Var": m.q_var, "LNV": m.v_ln_v, "LLV": now.v_ll_v, "Hz": m.f_hz, "InvSt": m.state},
        **{"Alrm": m.alarms, "VA": now.apparent_va, "A": now.current_a, "St": now.on, "ConnSt": now.connected},
        **{"PF": now.power_factor, "TotWhInj": np.floor(e.wh_injected), "TotWhAbs": np.floor(e.wh_absorbed)},
        **{"TotVarhInj": np.floor(e.varh[0] + e.varh[1]), "TotVarhAbs": np.floor(e.varh[2] + e.varh[3])},
    }


def _storage_capacity(now: Moment) -> Shown:
    soc_pct = now.measured.soc_pct
    return {"SoC": soc_pct, "WHAvail": now.energy_wh * soc_pct / 100.0, "SoH": np.full(soc_pct.shape, 100.0)}


def _signed_power_factor(now: Moment) -> FloatArray:
    return np.abs(now.power_factor) * np.where(now.measured.p_w * now.measured.q_var > 0, -1.0, 1.0)


def _by_phase(prefix: str, value: FloatArray, phases: FloatArray) -> Shown:
    """Return a quantity of each phase (AphA ...); NaN for phases that a device does not have."""
    return {f"{prefix}{phase}": np.where(phases > i, value, np.nan) for i, phase in enumerate(_PHASES)}


def _between_phases(now: Moment) -> Shown:
    """Return the voltages between phases, under both of their names; NaN where a device does not have both."""
    found = {pair: np.where(now.fixed.phases >= least, now.v_ll_v, np.nan) for pair, least in _PAIRS.items()}
    return {f"{name}{pair}": value for name in ("PPVph", "PhVph") for pair, value in found.items()}


def _inverter(now: Moment) -> Shown:
    m, phases = now.measured, now.fixed.phases
    dc_w = m.p_w
    return {
        **{"A": now.current_a, **_by_phase("Aph", now.current_a / phases, phases), **_between_phases(now)},
        **{**_by_phase("PhVph", m.v_ln_v, phases), "W": m.p_w, "VA": now.apparent_va, "VAr": m.q_var, "Hz": m.f_hz},
        **{"PF": 100.0 * _signed_power_factor(now), "WH": np.floor(now.energy.wh_injected) % _COUNTER},
        **{"DCW": dc_w, "DCV": now.fixed.v_dc_v, "DCA": np.maximum(dc_w, 0.0) / now.fixed.v_dc_v},
        **{"St": m.state + 1.0, "Evt1": _first_bits(m.alarms, 16)},
    }


def _first_bits(flags: FloatArray, count: int) -> FloatArray:
    return np.mod(np.nan_to_num(flags), 2.0**count)


def _status(now: Moment) -> Shown:
    storage, connected, e = now.fixed.storage, now.connected, now.energy
    present = 1.0 + 2.0 * np.isin(now.measured.state, (1, 2, 3, 4, 5, 7)) + 4.0 * connected
    room = np.sqrt(np.maximum(now.s_max_va**2 - now.measured.p_w**2, 0.0))
    return {
        **{"PVConn": np.where(storage, 0.0, present), "StorConn": np.where(storage, present, 0.0)},
        **{"ECPConn": connected, "ActWh": np.floor(e.wh_injected), "ActVAh": np.floor(e.vah)},
        **{f"ActVArhQ{i}": np.floor(varh) for i, varh in enumerate(e.varh, 1)},
        **{"VArAval": np.minimum(room, now.q_max_var), "StActCtl": now.controls},
    }


def _meter(now: Moment) -> Shown:
    m, e, phases = now.measured, now.energy, now.fixed.phases
    imported = {"W": -m.p_w, "VAR": -m.q_var, "VA": now.apparent_va}
    by_phase = (_by_phase(f"{name}ph", value / phases, phases) for name, value in imported.items())
    quadrants = {"ImpQ1": e.varh[2], "ImpQ2": e.varh[3], "ExpQ3": e.varh[0], "ExpQ4": e.varh[1]}
    return {
        **imported,
        **{name: value for each in by_phase for name, value in each.items()},
        **{"A": now.current_a, **_by_phase("Aph", now.current_a / phases, phases), "PhV": m.v_ln_v},
        **{**_by_phase("PhVph", m.v_ln_v, phases), "PPV": now.v_ll_v, "Hz": m.f_hz},
        **_between_phases(now),
        **{"PF": 100.0 * _signed_power_factor(now), "TotWhExp": np.floor(e.wh_injected) % _COUNTER},
        "TotWhImp": np.floor(e.wh_absorbed) % _COUNTER,
        **{f"TotVArh{name}": np.floor(value) % _COUNTER for name, value in quadrants.items()},
    }


def _trackers(now: Moment) -> Shown:
    p_w, v_dc_v = np.maximum(now.measured.p_w, 0.0), now.fixed.v_dc_v
    module = {"DCA": p_w / v_dc_v, "DCV": v_dc_v, "DCW": p_w, "DCSt": now.measured.state + 1.0}
    energy = {"DCWH": np.floor(now.energy.wh_injected) % _COUNTER}
    return {f"module.0.{name}": value for name, value in (module | energy).items()}


def _ports(now: Moment) -> Shown:
    p_w, v_dc_v, e = now.measured.p_w, now.fixed.v_dc_v, now.energy
    both = {"DCA": p_w / v_dc_v, "DCW": p_w, "DCWhInj": np.floor(e.wh_injected), "DCWhAbs": np.floor(e.wh_absorbed)}
    return both | {f"Prt.0.{name}": value for name, value in (both | {"DCV": v_dc_v, "DCSta": now.on}).items()}


_OFF, _EMPTY, _DISCHARGING, _CHARGING, _FULL, _HOLDING = range(1, 7)


def _charge_status(now: Moment) -> FloatArray:
    """Return 124 and 802 ChaSt (n,)."""
    p_w, soc_pct = now.measured.p_w, now.measured.soc_pct
    moving = [now.on == 0, p_w > 0, p_w < 0, soc_pct <= 0, soc_pct >= 100]
    return np.select(moving, [_OFF, _DISCHARGING, _CHARGING, _EMPTY, _FULL], _HOLDING).astype(np.float64)


def _storage_controls(now: Moment) -> Shown:
    return {"ChaState": now.measured.soc_pct, "ChaSt": _charge_status(now)}


def _battery(now: Moment) -> Shown:
    m = now.measured
    return {
        **{"SoC": m.soc_pct, "W": m.p_w, "A": m.p_w / now.fixed.v_dc_v, "ChaSt": _charge_status(now)},
        "State": np.where(now.connected > 0, 3.0, 4.0),
    }


SHOWN: Final[Mapping[int, Callable[[Moment], Shown]]] = {
    **dict.fromkeys((101, 102, 103, 111, 112, 113), _inverter),
    **{122: _status, 124: _storage_controls, 160: _trackers},
    **dict.fromkeys((201, 202, 203), _meter),
    **{701: _der_measured, 713: _storage_capacity, 714: _ports, 802: _battery},
}
