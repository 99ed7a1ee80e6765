"""What n devices are at one instant: what all of their measured registers are filled from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hil.emulator.energy import Energy
from hil.inverter.measurements import Measurements
from hil.sunspec.points import BoolArray, FloatArray

RUNNING_STATES = (3, 4)
"""701 InvSt: running, throttled."""
ON_STATES = (2, 3, 4, 5)
"""701 InvSt: starting to shutting down."""


@dataclass(frozen=True, slots=True)
class Fixed:
    """What does not change, each field (n,)."""

    phases: FloatArray
    storage: BoolArray
    v_dc_v: FloatArray


@dataclass(frozen=True, slots=True)
class Moment:
    """n devices at an instant; powers positive when injected."""

    measured: Measurements
    fixed: Fixed
    energy: Energy
    controls: FloatArray
    """Which functions are on (n,): the bits of 122 StActCtl."""
    s_max_va: FloatArray
    q_max_var: FloatArray
    energy_wh: FloatArray
    """What a storage holds when it is full (n,), NaN for others."""

    @property
    def apparent_va(self) -> FloatArray:
        found: FloatArray = np.hypot(self.measured.p_w, self.measured.q_var)
        return found

    @property
    def current_a(self) -> FloatArray:
        """The currents of all phases together (n,), as 701 and 101 to 103 have it; none flows without power."""
        v, s = self.measured.v_ln_v, self.apparent_va
        return np.where(s == 0, 0.0, s / np.where(v > 0, v, np.nan))

    @property
    def v_ll_v(self) -> FloatArray:
        """Line to line (n,): as measured, else that of balanced phases; NaN for one phase."""
        m = self.measured
        balanced = np.where(self.fixed.phases == 3, np.sqrt(3.0) * m.v_ln_v, np.nan)
        return np.where(np.isnan(m.v_ll_v), balanced, m.v_ll_v)

    @property
    def power_factor(self) -> FloatArray:
        """P / S (n,), with the sign of P; 1 without power."""
        s = self.apparent_va
        return np.divide(self.measured.p_w, s, out=np.ones_like(s), where=s > 0)

    @property
    def on(self) -> FloatArray:
        return np.isin(self.measured.state, ON_STATES).astype(np.float64)

    @property
    def connected(self) -> FloatArray:
        return np.isin(self.measured.state, RUNNING_STATES).astype(np.float64)
