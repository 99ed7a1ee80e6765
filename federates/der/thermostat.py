"""Thermostats: what heat pumps, air conditioners and water heaters share, and how they answer to demand response.

With the setpoint `T*`, the shift `s` that demand response asks for and the dead band `d`, a thermostat that heats
switches on below `T* + s - d / 2` and off from `T* + s + d / 2` on; one that cools the other way round. It switches at
steps only, so a step should be short beside a cycle. What is off stays off for `least_off_s`, as compressors must.

After an event the temperature has to be brought back: all devices that were moved switch on together. This rebound is
not modelled by itself; it follows.
"""

from __future__ import annotations

import numpy as np
from pydantic import Field

from derloop.contract import FloatArray
from derloop.kind import Settings
from derloop.memory import remembers
from federates.der import Stepped
from federates.der.hysteresis import BoolArray, hysteresis


class ShiftEvent(Settings):
    """A time in which the setpoint is shifted."""

    begins_s: float = Field(ge=0.0, le=1e10, description="Begin, s since the scenario's start.", examples=[57600.0])
    lasts_s: float = Field(gt=0.0, le=1e7, description="How long, s.", examples=[7200.0])
    shift_k: float = Field(
        ge=-30.0,
        le=30.0,
        description="Added to the setpoint, K: negative heats less, positive cools less.",
        examples=[-2.0],
    )


class Thermostatic(Stepped):
    """Settings of a fleet with thermostats."""

    pf: float = Field(default=0.95, gt=0.0, le=1.0, description="Power factor, lagging.", examples=[0.95])
    deadband_k: float = Field(
        default=1.0, gt=0.0, le=30.0, description="From switching on to switching off, K.", examples=[1.0]
    )
    least_off_s: float = Field(
        default=180.0, ge=0.0, le=86400.0, description="What is off stays off for so long, s.", examples=[180.0]
    )
    events: tuple[ShiftEvent, ...] = Field(
        default=(),
        max_length=10_000,
        description="Demand response that is known before the run; shifts that overlap add up.",
        examples=[[{"begins_s": 57600, "lasts_s": 7200, "shift_k": -2}]],
    )
    responds: bool = Field(
        default=False, description="Whether the fleet takes a shift of its setpoints, shift_k.", examples=[True]
    )

    @property
    def takes(self) -> tuple[str, ...]:
        """Inputs that a control may drive."""
        return ("shift_k",) if self.responds else ()

    def planned_shift_k(self, now_ns: int) -> float:
        """Return the shift of the events at this time, K."""
        now_s = now_ns / 1e9
        return sum(e.shift_k for e in self.events if e.begins_s <= now_s < e.begins_s + e.lasts_s)


@remembers("_was", "_rested_s", "on")
class Thermostat:
    """n thermostats. State: which were on since the last instant, and how long each has been off."""

    def __init__(self, settings: Thermostatic, heats: bool, on: BoolArray) -> None:
        self._half_k, self._least_off_s, self._heats = settings.deadband_k / 2.0, settings.least_off_s, heats
        self.on = self._was = on
        self._rested_s = np.full(on.shape, np.inf)

    def keep(self, passed_s: float) -> None:
        """Take note that what was switched last has held for `passed_s`; nothing for a repeated instant."""
        if passed_s > 0.0:
            self._was = self.on
            self._rested_s = np.where(self.on, 0.0, self._rested_s + passed_s)

    def switch(self, inside_c: FloatArray, target_c: FloatArray, powered: BoolArray | bool = True) -> BoolArray:
        """Return which are on (n,) from now on, at this temperature (n,) and shifted setpoint (n,).

        powered (n,): what has no power is off, and as any that was switched off when it comes back.
        """
        low, high = target_c - self._half_k, target_c + self._half_k
        wants = (
            ~hysteresis(inside_c, low, high, ~self._was) if self._heats else hysteresis(inside_c, low, high, self._was)
        )
        self.on = wants & (self._was | (self._rested_s >= self._least_off_s)) & powered
        return self.on
