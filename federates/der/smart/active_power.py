"""The active-power limit (IEEE 1547-2018, 4.6.2) and ramp rates.

A limit is followed by a straight ramp that takes `response_s` from zero to rated power (within 30 s in the standard).
Ramp rates bound what a device does of its own accord: `up_s` and `down_s` from zero to rated power.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from pydantic import Field

from derloop.contract import FloatArray
from federates.der.smart.few import Index
from federates.der.smart.held import Clock
from federates.der.smart.points import Function, Points, Ranges


class ActivePowerLimit(Function):
    """Most active power, as set from outside."""

    p_max_pu: float = Field(default=1.0, description="The limit, pu of rated kW: -1 to 1.", examples=[0.5])
    response_s: float = Field(
        default=0.0, description="Time from zero to rated power, s: 0 (at once) to 30.", examples=[15.0]
    )

    def defaults(self) -> Mapping[str, float]:
        return {"p_max_pu": 1.0, "response_s": 0.0}

    def ranges(self, at: Points) -> Ranges:
        del at
        return {"p_max_pu": (-1.0, 1.0), "response_s": (0.0, 30.0)}


class Ramp(Function):
    """How fast active power may change when nothing else asks for it."""

    up_s: float = Field(default=0.0, description="Zero to rated power, s; 0: no limit.", examples=[60.0])
    down_s: float = Field(default=0.0, description="Rated power to zero, s; 0: no limit.", examples=[60.0])

    def defaults(self) -> Mapping[str, float]:
        return {"up_s": 0.0, "down_s": 0.0}

    def ranges(self, at: Points) -> Ranges:
        del at
        return {"up_s": (0.0, 3600.0), "down_s": (0.0, 3600.0)}


class Slope:
    """A quantity of n devices that follows its target at bounded rates. Its first instant finds it there."""

    def __init__(self, size: FloatArray, up_s: FloatArray, down_s: FloatArray, clock: Clock) -> None:
        self._size, self._clock = size, clock
        self.state = clock.state(size.size, np.nan)
        """Nowhere before its first instant, which may come while a run goes on."""
        self.set(up_s, down_s)

    def set(self, up_s: FloatArray, down_s: FloatArray) -> None:
        """Take this long over `size` from now on, upwards and downwards; 0: no bound."""
        self._up, self._down = _rate(self._size, up_s), _rate(self._size, down_s)

    def begin(self, quantity: FloatArray) -> None:
        """Let this (n,) be what its first instant starts from."""
        self.state.then[:] = self.state.now[:] = quantity

    def towards(self, target: FloatArray) -> FloatArray:
        """Return the quantity (n,) at this instant."""
        now: FloatArray = self.state.now
        if self._clock.is_first:
            now[:] = target
            return now
        elapsed_s, then = self._clock.elapsed_s, self.state.then
        np.multiply(self._up, elapsed_s, out=now)
        now += then
        np.fmin(now, target, out=now)
        least = self._down * elapsed_s
        np.subtract(then, least, out=least)
        np.fmax(now, least, out=now)
        return now

    def reset(self, who: Index, value: float) -> None:
        """Start from `value` for these devices."""
        self.state.now[who] = value


def _rate(size: FloatArray, seconds: FloatArray) -> FloatArray:
    """Return `size` per second; infinite for 0 s."""
    rate = np.full(size.shape, np.inf)
    np.divide(size, seconds, out=rate, where=np.broadcast_to(seconds > 0.0, size.shape))
    return rate
