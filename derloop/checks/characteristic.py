"""Characteristics Y(X) that a check can hold a device to: points, or the defaults of IEEE 1547-2018 by category.

The values are those of EPRI OpenDER 2.2.0. Numbers of tables and clauses are from memory, and say so in each verdict.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from derloop.contract import FloatArray
from derloop.kind import Settings

Category = Literal["category-a", "category-b"]
Point = Annotated[tuple[float, float], Field(description="[x, y]")]

TO_BE_CONFIRMED = "(number to be confirmed)"
"""Of a table or clause that was cited without the standard's text at hand."""
VOLT_VAR: dict[str, tuple[tuple[float, float], ...]] = {
    "category-a": ((0.90, 0.25), (1.0, 0.0), (1.0, 0.0), (1.10, -0.25)),
    "category-b": ((0.92, 0.44), (0.98, 0.0), (1.02, 0.0), (1.08, -0.44)),
}
"""IEEE 1547-2018, table 8, defaults: V pu, Q pu of rated apparent power, positive when injected."""
VOLT_WATT = ((1.06, 1.0), (1.10, 0.2))
"""IEEE 1547-2018, table 10, defaults: V pu, P pu of rated power."""


class Droop(Settings):
    """Frequency droop, as IEEE 1547-2018 has it in 6.5.2.7."""

    pre_pu: float = Field(ge=-1, le=1, description="Active power before the disturbance, pu.", examples=[0.5])
    least_pu: float = Field(0.2, ge=-1, le=1, description="Least active power, pu.")
    most_pu: float = Field(1.0, ge=-1, le=1, description="Most that is available, pu.")
    deadband_hz: float = Field(0.036, ge=0, le=5, description="dbOF and dbUF, Hz.")
    droop_pu: float = Field(0.05, gt=0, le=1, description="kOF and kUF: change of frequency, pu, for all of the power.")
    nominal_hz: float = Field(60.0, gt=0, le=1000, description="Nominal frequency, Hz.")

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if not self.least_pu <= self.pre_pu <= self.most_pu:
            raise ValueError(f"pre_pu {self.pre_pu:g} must lie from least_pu to most_pu")
        return self

    @property
    def points(self) -> tuple[tuple[float, float], ...]:
        """p = max(pre - (f - (f_nom + db)) / (f_nom k), least) above, min(pre + ..., most) below."""
        low, high = self.nominal_hz - self.deadband_hz, self.nominal_hz + self.deadband_hz
        per_pu_hz = self.nominal_hz * self.droop_pu
        return (
            (low - (self.most_pu - self.pre_pu) * per_pu_hz, self.most_pu),
            (low, self.pre_pu),
            (high, self.pre_pu),
            (high + (self.pre_pu - self.least_pu) * per_pu_hz, self.least_pu),
        )


class Characteristic(Settings):
    """Y(X): exactly one of these. Between points it is straight, beyond the first and the last it is flat."""

    points: tuple[Point, ...] | None = Field(
        None, min_length=2, max_length=100, description="[x, y] in rising x; two of the same x are a step."
    )
    volt_var: Category | None = Field(None, description="Defaults of IEEE 1547-2018, table 8: Q, pu, of V, pu.")
    volt_watt: Category | None = Field(None, description="Defaults of IEEE 1547-2018, table 10: most P, pu, of V, pu.")
    frequency_droop: Droop | None = Field(None, description="P, pu, of f, Hz, by IEEE 1547-2018, 6.5.2.7.")

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        given = [name for name in type(self).model_fields if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"needs exactly one of {', '.join(type(self).model_fields)}")
        if self.points and any(b[0] < a[0] for a, b in zip(self.points, self.points[1:], strict=False)):
            raise ValueError("points must have a rising x")
        return self

    @property
    def is_ceiling(self) -> bool:
        """Whether Y is the most that is allowed and not what is asked for."""
        return self.volt_watt is not None

    @property
    def source(self) -> str:
        if self.volt_var:
            category = {"category-a": "category A", "category-b": "category B"}[self.volt_var]
            return f"IEEE 1547-2018, table 8 {TO_BE_CONFIRMED}, {category}"
        if self.volt_watt:
            return f"IEEE 1547-2018, table 10 {TO_BE_CONFIRMED}"
        return f"IEEE 1547-2018, 6.5.2.7 {TO_BE_CONFIRMED}" if self.frequency_droop else "scenario"

    @property
    def corners(self) -> FloatArray:
        """The points, shape (m, 2)."""
        if self.volt_var:
            return np.array(VOLT_VAR[self.volt_var])
        if self.volt_watt:
            return np.array(VOLT_WATT)
        return np.array(self.frequency_droop.points if self.frequency_droop else self.points)


def extremes(corners: FloatArray, low: FloatArray, high: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return least and largest Y for X from `low` to `high`, elementwise: a polygon has them at ends or corners."""
    x, y = corners.T
    ends = np.interp(low, x, y), np.interp(high, x, y)
    least, most = np.minimum(*ends), np.maximum(*ends)
    for corner_x, corner_y in corners:
        inside = (low <= corner_x) & (corner_x <= high)
        least = np.where(inside, np.minimum(least, corner_y), least)
        most = np.where(inside, np.maximum(most, corner_y), most)
    return least, most
