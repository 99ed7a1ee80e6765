"""Voltage and frequency trip (IEEE 1547-2018, 6.4.1 and 6.5.1; tables 11 to 13 and 18).

A device trips when a voltage (the lowest, the highest of its phases) or the frequency has been beyond a setting
for its clearing time without a break. Category III's UV clearing times may go down to 2 and 0.16 s since 1547a-2020.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Final

import numpy as np
from pydantic import Field

from derloop.contract import FloatArray
from federates.der.smart.few import Few, Timer
from federates.der.smart.held import BoolArray, Clock, ns
from federates.der.smart.points import Abnormal, Function, Points, Ranges, stack

VOLTAGE: Final[Mapping[Abnormal, Mapping[str, float]]] = {
    "category-i": {"uv1_pu": 0.70, "uv1_s": 2.0, "uv2_pu": 0.45, "uv2_s": 0.16, "ov1_s": 2.0},
    "category-ii": {"uv1_pu": 0.70, "uv1_s": 10.0, "uv2_pu": 0.45, "uv2_s": 0.16, "ov1_s": 2.0},
    "category-iii": {"uv1_pu": 0.88, "uv1_s": 21.0, "uv2_pu": 0.50, "uv2_s": 2.0, "ov1_s": 13.0},
}
"""What differs between the categories."""
_ALL_VOLTAGE: Final = {"ov1_pu": 1.10, "ov2_pu": 1.20, "ov2_s": 0.16}
FREQUENCY: Final = {
    **{"of2_hz": 62.0, "of2_s": 0.16, "of1_hz": 61.2, "of1_s": 300.0},
    **{"uf1_hz": 58.5, "uf1_s": 300.0, "uf2_hz": 56.5, "uf2_s": 0.16},
}
UNDER: Final = 2
"""So many of the four settings are for too low a value; they come first."""


class VoltageTrip(Function):
    """When voltage trips a device. The defaults are the category's."""

    category: Abnormal = Field(
        default="category-iii", description="Category of abnormal operation.", examples=["category-iii"]
    )
    uv1_pu: float | None = Field(default=None, description="UV1, pu: 0 to 0.88.", examples=[0.88])
    uv1_s: float | None = Field(
        default=None, description="UV1 clearing time, s: 2 to 21; category III 2 to 50.", examples=[21.0]
    )
    uv2_pu: float | None = Field(default=None, description="UV2, pu: 0 to 0.50.", examples=[0.5])
    uv2_s: float | None = Field(
        default=None, description="UV2 clearing time, s: 0.16 to 2; category III 0.16 to 21.", examples=[2.0]
    )
    ov1_pu: float | None = Field(default=None, description="OV1, pu: 1.10 to 1.20.", examples=[1.10])
    ov1_s: float | None = Field(default=None, description="OV1 clearing time, s: 1 to 13.", examples=[13.0])
    ov2_pu: float | None = Field(default=None, description="OV2, pu: 1.20, fixed.", examples=[1.20])
    ov2_s: float | None = Field(default=None, description="OV2 clearing time, s: 0.16, fixed.", examples=[0.16])

    def defaults(self) -> Mapping[str, float]:
        return {**_ALL_VOLTAGE, **VOLTAGE[self.category]}

    def ranges(self, at: Points) -> Ranges:
        del at
        third = self.category == "category-iii"
        return {
            "uv1_pu": (0.0, 0.88),
            "uv1_s": (2.0, 50.0 if third else 21.0),
            "uv2_pu": (0.0, 0.50),
            "uv2_s": (0.16, 21.0 if third else 2.0),
            "ov1_pu": (1.10, 1.20),
            "ov1_s": (1.0, 13.0),
            "ov2_pu": (1.20, 1.20),
            "ov2_s": (0.16, 0.16),
        }


class FrequencyTrip(Function):
    """When frequency trips a device. The same for every category."""

    in_hz: ClassVar[bool] = True
    of2_hz: float | None = Field(default=None, description="OF2, Hz: 61.8 to 66 (60 Hz).", examples=[62.0])
    of2_s: float | None = Field(default=None, description="OF2 clearing time, s: 0.16 to 1000.", examples=[0.16])
    of1_hz: float | None = Field(default=None, description="OF1, Hz: 61 to 66 (60 Hz).", examples=[61.2])
    of1_s: float | None = Field(default=None, description="OF1 clearing time, s: 180 to 1000.", examples=[300.0])
    uf1_hz: float | None = Field(default=None, description="UF1, Hz: 50 to 59 (60 Hz).", examples=[58.5])
    uf1_s: float | None = Field(default=None, description="UF1 clearing time, s: 180 to 1000.", examples=[300.0])
    uf2_hz: float | None = Field(default=None, description="UF2, Hz: 50 to 57 (60 Hz).", examples=[56.5])
    uf2_s: float | None = Field(default=None, description="UF2 clearing time, s: 0.16 to 1000.", examples=[0.16])

    def defaults(self) -> Mapping[str, float]:
        return FREQUENCY

    def ranges(self, at: Points) -> Ranges:
        del at
        short, long = (0.16, 1000.0), (180.0, 1000.0)
        return {
            **{"of2_hz": (61.8, 66.0), "of2_s": short, "of1_hz": (61.0, 66.0), "of1_s": long},
            **{"uf1_hz": (50.0, 59.0), "uf1_s": long, "uf2_hz": (50.0, 57.0), "uf2_s": short},
        }


class Trips:
    """The four settings of a trip function, their timers as rows."""

    def __init__(self, names: tuple[str, ...], few: Few, clock: Clock) -> None:
        """`names`: "uv1", "uv2", "ov1", "ov2": the first two look at the low value, the others at the high one."""
        self._names, self._few = names, few
        self._timer = Timer(few, clock, (len(names),))

    def set(self, points: Points, on: BoolArray) -> None:
        """Use these numbers from now on, where `on` (n,)."""
        unit = "pu" if f"{self._names[0]}_pu" in points else "hz"
        levels = stack(points, *(f"{name}_{unit}" for name in self._names))
        never = np.array([[-np.inf]] * UNDER + [[np.inf]] * UNDER)
        self._levels = levels if on.all() else np.where(on, levels, never)
        self._times_ns = ns(stack(points, *(f"{name}_s" for name in self._names)))
        self.between = float(self._levels[:UNDER].max()), float(self._levels[UNDER:].min())
        """No device trips from a value between these, both included."""

    def due(self, low: FloatArray, high: FloatArray) -> BoolArray:
        """Return where (k,) a clearing time is over, from the values of the few."""
        levels = self._few.of(self._levels)
        beyond = np.empty((len(levels), low.size), np.bool_)
        np.less(low, levels[:UNDER], out=beyond[:UNDER])
        np.greater(high, levels[UNDER:], out=beyond[UNDER:])
        due: BoolArray = np.any(self._timer.has_held(beyond, self._few.of(self._times_ns)), axis=0)
        return due


def voltage_trips(few: Few, clock: Clock) -> Trips:
    return Trips(("uv1", "uv2", "ov1", "ov2"), few, clock)


def frequency_trips(few: Few, clock: Clock) -> Trips:
    return Trips(("uf1", "uf2", "of1", "of2"), few, clock)
