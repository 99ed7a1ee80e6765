"""The energy of n batteries, kept exactly while a power holds for a step.

With what the cells give `x`, standby `w` and self-discharge `sigma`, over a step `h`

    dE/dt = -(x + w) - sigma E
    E(t + h) = E k - (x + w) A        k = exp(-sigma h)    A = (1 - k) / sigma    (A = h without self-discharge)

`E` moves one way only during the step, so it stays in its window when it is there at the end. The power is held between
what leads to the floor and to the top:

    p_max = f((E k - E_floor) / A - w)        p_min = f((E k - E_top) / A - w)        f: see `losses.py`

The floor is the reserve, or what is stored where that is less: standby and self-discharge are then made up for from the
grid. Where they cannot be (no power is allowed), standby ends at the bottom of the window, and self-discharge goes on.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from derloop.contract import FloatArray
from derloop.memory import remembers
from federates.der.battery.losses import Conversion

ROUNDING = 1e-9
"""Of what can be stored: so near a limit of the window is at the limit."""
LEAST_DECAY = 1e-15
"""Less than this does not show beside 1."""


class Window(NamedTuple):
    """Limits of the state of charge, pu."""

    least_pu: float
    reserve_pu: float
    most_pu: float


class _PowerRange(NamedTuple):
    """The powers (n,) that are possible from what is stored."""

    stored_kwh: FloatArray
    capacity_kwh: FloatArray
    hours: float
    range_kw: tuple[FloatArray, FloatArray]

    def is_of(self, stored_kwh: FloatArray, capacity_kwh: FloatArray, hours: float) -> bool:
        return self.stored_kwh is stored_kwh and self.capacity_kwh is capacity_kwh and self.hours == hours


@remembers("stored_kwh", "capacity_kwh", settled=["stored_kwh", "capacity_kwh"])
class Cells:
    """n stores. State: the energy stored, and what they can hold; both are replaced, and never written into."""

    def __init__(
        self, conversion: Conversion, energy_kwh: FloatArray, window: Window, standby_kw: float, sigma_per_h: float
    ) -> None:
        self.conversion, self.window = conversion, window
        self._standby_kw, self._sigma_per_h = standby_kw, sigma_per_h
        self.nominal_kwh = self.capacity_kwh = energy_kwh
        self.stored_kwh = np.zeros(energy_kwh.shape)
        self._ranged: _PowerRange | None = None

    @property
    def soc_pu(self) -> FloatArray:
        """State of charge (n,), of what can be held now."""
        return self.stored_kwh / self.capacity_kwh

    def p_range_kw(self, hours: float) -> tuple[FloatArray, FloatArray]:
        """Return the least and the most power (n,) that keep the energy in its window for this time.

        Found once for what is stored: an instant asks for it several times.
        """
        known = self._ranged
        if known and known.is_of(self.stored_kwh, self.capacity_kwh, hours):
            return known.range_kw
        kept, a = self._decay(hours)
        left = self.stored_kwh * kept
        low, reserve, high = (share * self.capacity_kwh for share in self.window)
        floor = np.minimum(np.maximum(self.stored_kwh, low), reserve)
        most = self.conversion.to_grid((left - floor) / a - self._standby_kw)
        least = self.conversion.to_grid((left - high) / a - self._standby_kw)
        self._ranged = _PowerRange(self.stored_kwh, self.capacity_kwh, hours, (least, most))
        return least, most

    def after(self, p_kw: FloatArray, hours: float) -> tuple[FloatArray, FloatArray]:
        """Return the energy (n,) after this power has held for this time, and the mean of what was lost, kW (n,)."""
        kept, a = self._decay(hours)
        given_kw = self.conversion.from_store(p_kw)
        left = self.stored_kwh * kept
        low, high = self.window.least_pu * self.capacity_kwh, self.window.most_pu * self.capacity_kwh
        standby_kw = np.minimum(np.maximum((left - low) / a - given_kw, 0.0), self._standby_kw)
        taken_kw = given_kw + standby_kw
        reached = left - taken_kw * a
        inside = np.minimum(np.maximum(reached, low), high)
        near = np.abs(inside - reached) <= ROUNDING * self.capacity_kwh
        faded_kw = (self.stored_kwh * (1.0 - kept) + taken_kw * (a - hours)) / hours
        return np.where(near, inside, reached), given_kw - p_kw + standby_kw + faded_kw

    def shrink(self, health_pu: FloatArray) -> None:
        """Let what can be held fall to this share (n,) of what it was when new; what is stored still fits."""
        self.capacity_kwh = np.maximum(health_pu * self.nominal_kwh, self.stored_kwh / self.window.most_pu)

    def _decay(self, hours: float) -> tuple[float, float]:
        rate = self._sigma_per_h
        if rate * hours < LEAST_DECAY:
            return 1.0, hours
        return float(np.exp(-rate * hours)), float(-np.expm1(-rate * hours)) / rate
