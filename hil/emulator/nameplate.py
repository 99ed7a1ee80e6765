"""What an emulated device says of itself, and the registers that it begins with."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hil.sunspec.image import Description


@dataclass(frozen=True, slots=True)
class Ratings:
    """What an emulated device is rated for (models 1, 702 and 713)."""

    name: str
    """Its serial number in model 1."""
    p_max_w: float
    s_max_va: float
    q_max_injected_var: float
    q_max_absorbed_var: float
    v_ln_nominal_v: float
    phases: int = 3
    p_max_charge_w: float | None = None
    energy_wh: float | None = None
    """Storage capacity; with it the device has model 713."""

    @property
    def v_nominal_v(self) -> float:
        """702 VNom: line to line for three phases, else line to neutral."""
        return self.v_ln_nominal_v * (math.sqrt(3) if self.phases == 3 else 1.0)


def describe(ratings: Ratings, *, curves: int = 3, curve_points: int = 8) -> Description:
    """Return models 1, 701-705, and 713 for a storage, of a device in which every function is off.

    Scale factors leave room for 1.2 times the rated power and 1.5 times the nominal voltage.
    """
    models: dict[int, Mapping[str, Any]] = {
        1: {"Mn": "derloop", "Md": "emulated DER", "Vr": "1", "SN": ratings.name[:32], "DA": 1},
        701: _measured_model(ratings),
        702: _capacity_model(ratings),
        703: _ENTER_SERVICE,
        704: _controls_model(ratings),
        705: _volt_var_model(curves, curve_points),
    }
    if ratings.energy_wh is not None:
        scale = scale_for(ratings.energy_wh, signed=False)
        models[713] = {"WHRtg": ratings.energy_wh, "WH_SF": scale, "Pct_SF": -2, "Sta": "OK"}
    return models


def scale_for(most: float, *, signed: bool = True) -> int:
    """Return the scale factor of the finest steps with which a 16-bit register still holds `most`."""
    return max(-10, math.ceil(math.log10(most / (32000 if signed else 65000)))) if most > 0 else 0


def _measured_model(ratings: Ratings) -> dict[str, Any]:
    power = scale_for(1.2 * ratings.s_max_va)
    return {
        "ACType": "THREE_PHASE" if ratings.phases == 3 else "SINGLE_PHASE",
        "W_SF": power,
        "VA_SF": power,
        "Var_SF": power,
        "A_SF": scale_for(1.2 * ratings.s_max_va / ratings.v_ln_nominal_v / ratings.phases),
        "V_SF": scale_for(1.5 * math.sqrt(3) * ratings.v_ln_nominal_v, signed=False),
        "Hz_SF": -3,
    }


def _capacity_model(ratings: Ratings) -> dict[str, Any]:
    charge = ratings.p_max_charge_w
    limits = {
        "WMax": ratings.p_max_w,
        "VAMax": ratings.s_max_va,
        "VarMaxInj": ratings.q_max_injected_var,
        "VarMaxAbs": ratings.q_max_absorbed_var,
        "WChaRteMax": charge,
        "WDisChaRteMax": None if charge is None else ratings.p_max_w,
        "VNom": ratings.v_nominal_v,
    }
    power = max(ratings.p_max_w, ratings.s_max_va, charge or 0.0)
    reactive = max(ratings.q_max_injected_var, ratings.q_max_absorbed_var)
    scales = {
        "W_SF": scale_for(power, signed=False),
        "VA_SF": scale_for(power, signed=False),
        "Var_SF": scale_for(reactive, signed=False),
        "V_SF": scale_for(1.5 * ratings.v_nominal_v, signed=False),
    }
    return {**limits, **{f"{name}Rtg": value for name, value in limits.items()}, **scales}


_ENTER_SERVICE: Mapping[str, Any] = {
    **{"ES": "ENABLED", "ESVHi": 105.0, "ESVLo": 91.7, "ESHzHi": 60.1, "ESHzLo": 59.5},
    **{"ESDlyTms": 300, "ESRndTms": 0, "ESRmpTms": 300, "V_SF": -2, "Hz_SF": -3},
}
"""IEEE 1547-2018 table 4, default settings."""


def _controls_model(ratings: Ratings) -> dict[str, Any]:
    power = scale_for(1.2 * ratings.s_max_va)
    functions: Mapping[str, Mapping[str, Any]] = {
        "WMaxLimPct": {"WMaxLimPct": 100.0, "WMaxLimPctRvrt": 100.0},
        "WSet": {"WSetMod": "WATTS", "WSet": 0, "WSetRvrt": 0, "WSetPct": 0, "WSetPctRvrt": 0},
        "VarSet": {"VarSetMod": "VARS", "VarSet": 0, "VarSetRvrt": 0, "VarSetPct": 0, "VarSetPctRvrt": 0},
        "PFWInj": {"PFWInj": {"PF": 1.0, "Ext": 0}, "PFWInjRvrt": {"PF": 1.0, "Ext": 0}},
    }
    scales = {"PF_SF": -4, "WMaxLimPct_SF": -2, "WSetPct_SF": -2, "VarSetPct_SF": -2}
    model: dict[str, Any] = {**scales, "WSet_SF": power, "VarSet_SF": power}
    for name, settings in functions.items():
        timer = {f"{name}{suffix}": 0 for suffix in ("Ena", "EnaRvrt", "RvrtTms", "RvrtRem")}
        model |= {**settings, **timer}
    return model


def _volt_var_model(curves: int, points: int) -> dict[str, Any]:
    """Return model 705 with the default curve of IEEE 1547-2018 table 8, category B, in every place."""
    shape = [{"V": v, "Var": q} for v, q in ((92, 44), (98, 0), (102, 0), (108, -44))]
    spare = [{"V": 108, "Var": -44}] * (points - len(shape))
    curve = {"ActPt": 4, "DeptRef": "VA_MAX_PCT", "VRef": 100, "RspTms": 5, "Pt": shape + spare}
    listed = [{**curve, "ReadOnly": "R" if index == 0 else "RW"} for index in range(curves)]
    state = {"Ena": 0, "AdptCrvReq": 1, "AdptCrvRslt": "COMPLETED", "RvrtTms": 0, "RvrtRem": 0, "RvrtCrv": 0}
    return {**state, "NPt": points, "V_SF": -2, "DeptRef_SF": -2, "RspTms_SF": -2, "Crv": listed}
