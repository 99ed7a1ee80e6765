"""What an emulated device says of itself, its ratings and the models that hold them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

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
    p_max_discharge_w: float | None = None
    """Of a storage; without it, p_max_w."""
    unit: int = 1
    """Its Modbus address."""

    @property
    def discharge_w(self) -> float:
        """With how much a storage can be discharged."""
        return self.p_max_w if self.p_max_discharge_w is None else self.p_max_discharge_w

    @property
    def v_nominal_v(self) -> float:
        """702 VNom: line to line for three phases, else line to neutral."""
        return self.v_ln_nominal_v * (math.sqrt(3) if self.phases == 3 else 1.0)


def describe(ratings: Ratings, functions: Description) -> Description:
    """Return models 1, 701 and 702, `functions` (703 to 712), and 713 for a storage.

    Scale factors leave room for 1.2 times the rated power and 1.5 times the nominal voltage.
    """
    models: dict[int, Mapping[str, Any]] = {
        1: {"Mn": "derloop", "Md": "emulated DER", "Vr": "1", "SN": _serial(ratings.name), "DA": ratings.unit},
        701: _measured_model(ratings),
        702: _capacity_model(ratings),
        **{model: functions[model] for model in sorted(functions)},
    }
    if ratings.energy_wh is not None:
        scale = scale_for(ratings.energy_wh, signed=False)
        models[713] = {"WHRtg": ratings.energy_wh, "WH_SF": scale, "Pct_SF": -2, "Sta": "OK"}
    return models


def scale_for(most: float, *, signed: bool = True) -> int:
    """Return the scale factor of the finest steps with which a 16-bit register still holds `most`."""
    return max(-10, math.ceil(math.log10(most / (32000 if signed else 65000)))) if most > 0 else 0


def _serial(name: str) -> str:
    """Return a name in 32 characters: of a longer one the end, behind what tells it from others that end so."""
    return name if len(name) <= 32 else sha256(name.encode()).hexdigest()[:7] + name[-25:]


_AC_TYPES: Final = {1: "SINGLE_PHASE", 2: "SPLIT_PHASE", 3: "THREE_PHASE"}
"""701 ACType, by the number of phases."""


def _measured_model(ratings: Ratings) -> dict[str, Any]:
    power = scale_for(1.2 * ratings.s_max_va)
    return {
        "ACType": _AC_TYPES[ratings.phases],
        "W_SF": power,
        "VA_SF": power,
        "Var_SF": power,
        "A_SF": scale_for(1.2 * ratings.s_max_va / ratings.v_ln_nominal_v),
        "V_SF": scale_for(1.5 * math.sqrt(3) * ratings.v_ln_nominal_v, signed=False),
        "Hz_SF": -3,
        **{"PF_SF": -4, "TotWh_SF": 0, "TotVarh_SF": 0},
    }


def _capacity_model(ratings: Ratings) -> dict[str, Any]:
    charge = ratings.p_max_charge_w
    limits = {
        "WMax": ratings.p_max_w,
        "VAMax": ratings.s_max_va,
        "VarMaxInj": ratings.q_max_injected_var,
        "VarMaxAbs": ratings.q_max_absorbed_var,
        "WChaRteMax": charge,
        "WDisChaRteMax": None if charge is None else ratings.discharge_w,
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


def controls_model(ratings: Ratings) -> dict[str, Any]:
    """Return model 704 with every function off; the power factor of absorbing only for what can absorb."""
    power = scale_for(1.2 * ratings.s_max_va)
    settings: Mapping[str, Mapping[str, Any]] = {
        "WMaxLimPct": {"WMaxLimPct": 100.0, "WMaxLimPctRvrt": 100.0},
        "WSet": {"WSetMod": "WATTS", "WSet": 0, "WSetRvrt": 0, "WSetPct": 0, "WSetPctRvrt": 0},
        "VarSet": {"VarSetMod": "VARS", "VarSet": 0, "VarSetRvrt": 0, "VarSetPct": 0, "VarSetPctRvrt": 0},
        **{f"PFW{way}": _power_factor(way) for way in ("Inj", *(() if ratings.p_max_charge_w is None else ("Abs",)))},
    }
    scales = {"PF_SF": -4, "WMaxLimPct_SF": -2, "WSetPct_SF": -2, "VarSetPct_SF": -2}
    model: dict[str, Any] = {**scales, "WSet_SF": power, "VarSet_SF": power}
    for name, values in settings.items():
        timer = {f"{name}{suffix}": 0 for suffix in ("Ena", "EnaRvrt", "RvrtTms", "RvrtRem")}
        model |= {**values, **timer}
    return model


def _power_factor(way: str) -> Mapping[str, Any]:
    return {f"PFW{way}{suffix}.{part}": value for suffix in ("", "Rvrt") for part, value in (("PF", 1.0), ("Ext", 0))}
