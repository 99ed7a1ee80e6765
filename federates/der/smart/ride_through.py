"""Voltage ride-through with momentary cessation (IEEE 1547-2018, 6.4.2; tables 14 to 16).

| region | I | II | III |
|---|---|---|---|
| above 1.20 | cease | cease | cease (to be confirmed) |
| 1.10 to 1.20 | permissive 1 s to 1.15, 0.5 s to 1.175, 0.2 s to 1.20 | the same | momentary cessation 12 s |
| mandatory | 0.70 to 0.88: 0.7 + 4 (V - 0.7) s | 0.65 to 0.88: 3 + 8.7 (V - 0.65) s | 20 s; below 0.70: 10 s |
| permissive | 0.50 to 0.70: 0.16 s | 0.45 to 0.65: 0.32 s; 0.30 to 0.45: 0.16 s | - |
| low | below 0.50 cease | below 0.30 cease | below 0.50 momentary cessation 1 s |

In the permissive and the mandatory regions the model goes on injecting. It ceases within `cease_s` (momentary
cessation: `cessation_s`) and is back `return_s` after the region has been left.

Frequencies (6.5.2, table 19) from 57.0 to 58.8 and from 61.2 to 61.8 Hz oblige to stay connected for 299 s, and so does
a rate of change up to 0.5 (I), 2 (II) or 3 Hz/s (III) (6.5.2.5; I and II to be confirmed), a mean over at least 0.1 s.
They change no power. What is beyond all this, or lasts longer, may trip: the model tells so, and stays connected until
one of its trip functions takes it out. The frequency is looked at where another function brings the input `f_hz`.
Jumps of the voltage's phase angle are not modelled: a solution by phasors in a steady state has none of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
from pydantic import Field

from derloop.contract import FloatArray
from federates.der.smart.few import Few, Timer
from federates.der.smart.held import BoolArray, Clock, ns
from federates.der.smart.points import SLACK, Abnormal, Function, Points, Ranges, stack
from federates.der.smart.terminals import Seen

CONTINUOUS_PU: Final = (0.88, 1.10)
CEASE_BELOW_PU: Final[Mapping[Abnormal, float]] = {"category-i": 0.50, "category-ii": 0.30, "category-iii": 0.0}
CEASE_ABOVE_PU: Final = 1.20
CONTINUOUS_HZ: Final = (58.8, 61.2)
MANDATORY_HZ: Final = (57.0, 61.8)
MANDATORY_S: Final = 299.0
ROCOF_HZ_PER_S: Final[Mapping[Abnormal, float]] = {"category-i": 0.5, "category-ii": 2.0, "category-iii": 3.0}
WINDOW_NS: Final = 100_000_000
HIGH_S: Final = ((1.15, 1.0), (1.175, 0.5), (1.20, 0.2))
"""Categories I and II: up to this voltage, so long."""


class RideThrough(Function):
    """Where and how fast a device ceases to energize without tripping."""

    category: Abnormal = Field(
        default="category-iii", description="Category of abnormal operation.", examples=["category-iii"]
    )
    momentary_low_pu: float | None = Field(
        default=None, description="Momentary cessation at and below, pu; category III only: 0 to 0.50.", examples=[0.5]
    )
    momentary_high_pu: float | None = Field(
        default=None,
        description="Momentary cessation at and above, pu; category III only: 1.10 to 1.20.",
        examples=[1.1],
    )
    cessation_s: float | None = Field(
        default=None, description="Time to momentary cessation, s: 0 to 0.083.", examples=[0.083]
    )
    cease_s: float | None = Field(default=None, description="Time to cease to energize, s: 0 to 0.16.", examples=[0.16])
    return_s: float | None = Field(default=None, description="Time to return, s: 0 to 0.4.", examples=[0.4])

    def defaults(self) -> Mapping[str, float]:
        return {
            **{"momentary_low_pu": 0.50, "momentary_high_pu": 1.10},
            **{"cessation_s": 0.083, "cease_s": 0.16, "return_s": 0.4},
        }

    def ranges(self, at: Points) -> Ranges:
        del at
        return {
            "momentary_low_pu": (0.0, 0.50),
            "momentary_high_pu": (1.10, 1.20),
            "cessation_s": (0.0, 0.083),
            "cease_s": (0.0, 0.16),
            "return_s": (0.0, 0.4),
        }


class RateOfChange:
    """How fast the frequency of n devices changes, as a mean over at least the window of 0.1 s."""

    def __init__(self, n: int, clock: Clock) -> None:
        self._clock = clock
        self._f_hz, self._since_ns = clock.state(n, np.nan), clock.state(1, 0, np.int64)

    def beyond(self, f_hz: FloatArray, limit_hz_per_s: float) -> BoolArray | None:
        """Return where (n,) it is beyond the limit; None where it is nowhere, or a window is not over."""
        elapsed_ns = self._clock.now_ns - int(self._since_ns.then[0])
        if not self._clock.is_first and elapsed_ns < WINDOW_NS:
            self._f_hz.now[:], self._since_ns.now[:] = self._f_hz.then, self._since_ns.then
            return None
        self._f_hz.now[:], self._since_ns.now[:] = f_hz, self._clock.now_ns
        if self._clock.is_first:
            return None
        change_hz = np.abs(f_hz - self._f_hz.then)
        most_hz = limit_hz_per_s * elapsed_ns / 1e9 + SLACK
        return change_hz > most_hz if change_hz.max() > most_hz else None


class Cessation:
    """Which of the few have ceased to energize, and which have ridden through for as long as they must."""

    def __init__(self, category: Abnormal, f_nominal_hz: float, few: Few, clock: Clock) -> None:
        self._category, self._f_nominal_hz, self._few = category, f_nominal_hz, few
        self._regions, self._back, self._ridden = Timer(few, clock, (2,)), Timer(few, clock), Timer(few, clock, (3,))
        self._ceased, self.may_trip = few.state(False, np.bool_, lasts=True), few.state(False, np.bool_)

    def set(self, points: Points, on: BoolArray) -> None:
        """Use these numbers from now on, where `on` (n,)."""
        self._points, self._on = points, on
        self._least_ns = ns(stack(points, "cessation_s", "cease_s"))
        self._return_ns = ns(points["return_s"])

    def update(self, seen: Seen, changes_too_fast: BoolArray | None, in_service: BoolArray | None) -> BoolArray:
        """Move the few to this instant. Return which of them (k,) inject nothing although they are in service."""
        low_pu, high_pu = seen.low_pu, seen.high_pu
        self._count(seen)
        if changes_too_fast is not None:
            self.may_trip.now = self.may_trip.now | changes_too_fast
        allowed = self._few.of(self._on) if in_service is None else self._few.of(self._on) & in_service
        within = self._in_regions(low_pu, high_pu) & allowed
        stays = self._ceased.then & ~self._back.has_held(
            self._ceased.then & ~within.any(axis=0), self._few.of(self._return_ns)
        )
        now = stays | self._regions.has_held(within, self._few.of(self._least_ns)).any(axis=0)
        self._ceased.now = now if in_service is None else now & in_service
        return self._ceased.now

    def _in_regions(self, low_pu: FloatArray, high_pu: FloatArray) -> BoolArray:
        """Return who (2, k) is in the region of momentary cessation, and who in that of ceasing to energize."""
        within = np.zeros((2, low_pu.size), np.bool_)
        if self._category == "category-iii":
            least, most = (self._few.of(self._points[f"momentary_{side}_pu"]) for side in ("low", "high"))
            np.logical_or(low_pu <= least, high_pu >= most, out=within[0])
        np.logical_or(high_pu > CEASE_ABOVE_PU, low_pu < CEASE_BELOW_PU[self._category], out=within[1])
        return within

    def _count(self, seen: Seen) -> None:
        """Note which devices have been through all that they must ride through since they left the normal region."""
        required_s = np.empty((3, seen.low_pu.size))
        required_s[0] = required_low_s(seen.low_pu, self._category)
        required_s[1] = required_high_s(seen.high_pu, self._category)
        required_s[2] = required_frequency_s(seen.f_hz, self._f_nominal_hz)
        beyond = np.isfinite(required_s)
        beyond[0], beyond[1] = seen.low_pu < CONTINUOUS_PU[0], seen.high_pu > CONTINUOUS_PU[1]
        required_s[2, ~beyond[2]] = 0.0
        held = self._ridden.has_held(beyond, ns(required_s) + 1)
        self.may_trip.now = (self.may_trip.then & beyond.any(axis=0)) | held.any(axis=0)


def required_low_s(v_pu: FloatArray, category: Abnormal) -> FloatArray:
    """Return for how long (n,) a voltage (n,) below 0.88 pu must be ridden through, s; 0 where it need not."""
    if category == "category-i":
        return np.where(v_pu >= 0.70, 0.7 + 4.0 * (v_pu - 0.70), np.where(v_pu >= 0.50, 0.16, 0.0))
    if category == "category-ii":
        permissive = np.where(v_pu >= 0.45, 0.32, np.where(v_pu >= 0.30, 0.16, 0.0))
        return np.where(v_pu >= 0.65, 3.0 + 8.7 * (v_pu - 0.65), permissive)
    return np.where(v_pu >= 0.70, 20.0, np.where(v_pu > 0.50, 10.0, 1.0))


def required_high_s(v_pu: FloatArray, category: Abnormal) -> FloatArray:
    """Return for how long (n,) a voltage (n,) above 1.10 pu must be ridden through, s; 0 where it need not."""
    if category == "category-iii":
        return np.where(v_pu <= CEASE_ABOVE_PU, 12.0, 0.0)
    return np.select([v_pu <= level for level, _ in HIGH_S], [seconds for _, seconds in HIGH_S], 0.0)


def required_frequency_s(f_hz: FloatArray, f_nominal_hz: float = 60.0) -> FloatArray:
    """Return for how long (n,) a frequency (n,) must be ridden through, s (IEEE 1547-2018, table 19).

    Without end from 58.8 to 61.2 Hz, 299 s from 57.0 and to 61.8 Hz, 0 beyond; scaled on a 50 Hz grid.
    """
    f_60 = f_hz * (60.0 / f_nominal_hz)
    mandatory = (f_60 >= MANDATORY_HZ[0] - SLACK) & (f_60 <= MANDATORY_HZ[1] + SLACK)
    continuous = (f_60 >= CONTINUOUS_HZ[0] - SLACK) & (f_60 <= CONTINUOUS_HZ[1] + SLACK)
    return np.where(continuous, np.inf, np.where(mandatory, MANDATORY_S, 0.0))
