"""The temperature of n batteries, and what it leaves of their power.

What is lost heats the battery, with a thermal resistance `R` and a heat capacity `C`. With a loss that holds over a
step `h`, exactly,

    T(t + h) = T_end + (T - T_end) exp(-h / (R C))        T_end = T_ambient + R loss

The power is multiplied by 0 below the first and above the last of four temperatures, by 1 between the second and the
third, and straight between. The defaults are round numbers for lithium-ion cells, which must not be charged when
frozen; a data sheet has better ones.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated

import numpy as np
from pydantic import AfterValidator, Field

from derloop.contract import FloatArray
from derloop.kind import Context, Settings
from derloop.memory import remembers
from federates.der.course import Allowed, Course, read_course

AMBIENT = Allowed(-60.0, 80.0, "degC")


def _rising(value: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    if any(after <= before for before, after in pairwise(value)):
        raise ValueError(f"the four temperatures must rise: {', '.join(f'{t:g}' for t in value)}")
    return value


Corners = Annotated[tuple[float, float, float, float], AfterValidator(_rising)]


class CellTemperature(Settings):
    """Temperature, and the limits that it sets."""

    ambient_c: Course = Field(
        description="Around the batteries, degC.", examples=[20.0, {"file": "profiles/day.csv", "column": "outside_c"}]
    )
    k_per_kw: float = Field(
        default=20.0, gt=0.0, le=1e4, description="Thermal resistance of each battery, K/kW.", examples=[20.0]
    )
    kwh_per_k: float = Field(
        default=0.03, gt=0.0, le=1e6, description="Heat capacity of each battery, kWh/K.", examples=[0.03]
    )
    charge_c: Corners = Field(
        default=(0.0, 10.0, 40.0, 50.0),
        description="Charging: none below the first and above the last, all between the middle ones, degC.",
        examples=[[0.0, 10.0, 40.0, 50.0]],
    )
    discharge_c: Corners = Field(
        default=(-20.0, -5.0, 45.0, 60.0),
        description="Discharging: none below the first and above the last, all between the middle ones, degC.",
        examples=[[-20.0, -5.0, 45.0, 60.0]],
    )


@remembers("cells_c")
class Warmth:
    """The temperature of n batteries. State: the temperature (n,), degC. It begins at the ambient one."""

    def __init__(self, settings: CellTemperature, n: int, context: Context, step_ns: int) -> None:
        self._settings = settings
        self._ambient = read_course(settings.ambient_c, ("temperature", "ambient_c"), AMBIENT, context, step_ns)
        self.cells_c = np.full(n, self._ambient.at(0))

    def pass_by(self, loss_kw: FloatArray, then_ns: int, hours: float) -> None:
        """Let a loss (n,) that holds from `then_ns` on heat the batteries for this time."""
        s = self._settings
        end_c = self._ambient.at(then_ns) + s.k_per_kw * loss_kw
        self.cells_c = end_c + (self.cells_c - end_c) * np.exp(-hours / (s.k_per_kw * s.kwh_per_k))

    def shares(self) -> tuple[FloatArray, FloatArray]:
        """Return what is left of the power of charging and of discharging, each (n,), 0 to 1."""
        s = self._settings
        charge: FloatArray = np.interp(self.cells_c, s.charge_c, (0.0, 1.0, 1.0, 0.0))
        discharge: FloatArray = np.interp(self.cells_c, s.discharge_c, (0.0, 1.0, 1.0, 0.0))
        return charge, discharge
