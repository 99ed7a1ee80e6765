"""What devices say of themselves: what they measure, and their nameplates."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import numpy as np

from hil.sunspec.points import BoolArray, FloatArray


@dataclass(frozen=True, slots=True)
class Measurements:
    """What n devices measure, each field (n,); NaN where a device does not implement it.

    Named after 701 (W, Var, LNV, LLV, Hz, InvSt, Alrm) and 713 (SoC); what a device has instead, its dialect says.
    """

    p_w: FloatArray
    q_var: FloatArray
    v_ln_v: FloatArray
    v_ll_v: FloatArray
    f_hz: FloatArray
    state: FloatArray
    """701 InvSt: 0 off, 1 sleeping, 2 starting, 3 running, 4 throttled, 5 stopping, 6 fault, 7 standby."""
    alarms: FloatArray
    """701 Alrm: a bit field."""
    soc_pct: FloatArray

    @classmethod
    def of(
        cls,
        p_w: FloatArray,
        q_var: FloatArray,
        v_ln_v: FloatArray,
        *,
        f_hz: FloatArray | float = math.nan,
        v_ll_v: FloatArray | float = math.nan,
        state: FloatArray | float = 3.0,
        alarms: FloatArray | float = 0.0,
        soc_pct: FloatArray | float = math.nan,
    ) -> Measurements:
        """Return measurements of running devices, with one value for all where a float is given."""
        given = (p_w, q_var, v_ln_v, v_ll_v, f_hz, state, alarms, soc_pct)
        zeros = np.zeros(p_w.shape)
        return cls(*(zeros + value for value in given))

    @classmethod
    def from_table(cls, values: FloatArray) -> Measurements:
        """Return measurements from values (n, p) in the order of its fields."""
        return cls(*values.T)

    def without(self, missing: BoolArray) -> Measurements:
        """Return these measurements with NaN for the devices (n,) that are missing."""
        return Measurements(*(np.where(missing, np.nan, getattr(self, field.name)) for field in fields(self)))

    def table(self) -> FloatArray:
        """Return values (n, p) in the order of its fields."""
        return np.stack([getattr(self, field.name) for field in fields(self)], axis=1)


@dataclass(frozen=True, slots=True)
class Nameplates:
    """What n devices say of themselves, each field (n,), NaN where not implemented.

    Named after the settings of model 702 (not its ratings), and WHRtg of model 713.
    """

    p_max_w: FloatArray
    s_max_va: FloatArray
    q_max_injected_var: FloatArray
    q_max_absorbed_var: FloatArray
    p_max_charge_w: FloatArray
    p_max_discharge_w: FloatArray
    v_nominal_v: FloatArray
    energy_wh: FloatArray
