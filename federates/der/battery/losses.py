"""What is lost between the grid and the cells, against power; and back, exactly.

With the power `p` at the grid, positive when injected, and the most power `P`, the cells give

    x = p + b |p| + a p^2 / P

`b` and `a` differ between charging and discharging. What does not depend on power is the battery's standby. This is
the quadratic loss model that battery systems are measured by (J. Weniger, T. Tjaden, "Performance Simulation Model for
PV-Battery Systems (PerMod)", HTW Berlin, 2020; from H. Schmidt, D. U. Sauer, "Wechselrichter-Wirkungsgrade",
Sonnenenergie 4 (1996) 43-47). A constant efficiency is the case `a = 0`: `b = 1 / eta - 1` or `1 - eta`.

Where `x` rises with `p`, which is asked for when charging as `b + 2 a < 1`, the inverse is

    p = 2 x / (s + sqrt(s^2 + 4 a x / P))        s = 1 + b (x >= 0), 1 - b (x < 0)
"""

from __future__ import annotations

from typing import Self

import numpy as np
from pydantic import Field, model_validator

from derloop.contract import FloatArray
from derloop.kind import Settings


class ConversionLoss(Settings):
    """What is lost in one direction, beside the standby."""

    proportional_pu: float = Field(
        default=0.0, ge=0.0, lt=1.0, description="Loss in proportion to power, pu of power.", examples=[0.0098]
    )
    square_pu: float = Field(
        default=0.0,
        ge=0.0,
        lt=1.0,
        description="Loss that grows with the square of power: at the most power, pu of it.",
        examples=[0.0302],
    )


class ConversionLosses(Settings):
    """Losses that depend on power."""

    charge: ConversionLoss = Field(
        description="While charging.", examples=[{"proportional_pu": 0.0098, "square_pu": 0.0302}]
    )
    discharge: ConversionLoss = Field(
        description="While discharging.", examples=[{"proportional_pu": 0.0065, "square_pu": 0.0431}]
    )

    @model_validator(mode="after")
    def _stores_more_of_more(self) -> Self:
        least = 1.0 - self.charge.proportional_pu - 2.0 * self.charge.square_pu
        if least <= 0.0:
            what = f"1 - proportional_pu - 2 square_pu is {least:g}, and must be more than 0"
            raise ValueError(f"more power drawn would store less: charge has losses of which {what}")
        return self


def constant(charge_efficiency_pu: float, discharge_efficiency_pu: float) -> ConversionLosses:
    """Return the losses of constant efficiencies."""
    charge = ConversionLoss.model_construct(proportional_pu=1.0 - charge_efficiency_pu, square_pu=0.0)
    discharge = ConversionLoss.model_construct(proportional_pu=1.0 / discharge_efficiency_pu - 1.0, square_pu=0.0)
    return ConversionLosses.model_construct(charge=charge, discharge=discharge)


class Conversion:
    """The losses of n batteries."""

    def __init__(self, losses: ConversionLosses, power_kw: FloatArray) -> None:
        """power_kw: (n,), the power to which the square is related."""
        self._slope_out = 1.0 + losses.discharge.proportional_pu
        self._slope_in = 1.0 - losses.charge.proportional_pu
        self._curve_out, self._curve_in = losses.discharge.square_pu / power_kw, losses.charge.square_pu / power_kw
        self._is_straight = losses.discharge.square_pu == losses.charge.square_pu == 0.0
        """Efficiencies are constant: there is no root to be taken."""

    def from_store(self, p_kw: FloatArray) -> FloatArray:
        """Return what the cells give (n,) for the power at the grid, both positive when discharging."""
        out = p_kw >= 0.0
        slope = np.where(out, self._slope_out, self._slope_in)
        if not self._is_straight:
            slope += np.where(out, self._curve_out, self._curve_in) * p_kw
        given: FloatArray = p_kw * slope
        return given

    def to_grid(self, x_kw: FloatArray) -> FloatArray:
        """Return the power at the grid (n,) for what the cells give. Beyond the most that they can take: that."""
        out = x_kw >= 0.0
        slope: FloatArray = np.where(out, self._slope_out, self._slope_in)
        if self._is_straight:
            return x_kw / slope
        curve = np.where(out, self._curve_out, self._curve_in)
        root = np.sqrt(np.maximum(slope * slope + 4.0 * curve * x_kw, 0.0))
        p_kw: FloatArray = 2.0 * x_kw / (slope + root)
        return p_kw
