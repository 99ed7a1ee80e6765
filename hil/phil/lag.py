"""A first-order low-pass between what is measured and what the feeder sees."""

from __future__ import annotations

import math

from derloop.contract import FloatArray


class Lag:
    """Follows n values with a time constant, exactly for inputs that hold between two instants.

    y' = (x - y) / T has the solution y(t + dt) = x + (y(t) - x) exp(-dt / T).
    """

    def __init__(self, time_constant_s: float) -> None:
        """time_constant_s: 0 follows at once."""
        self._time_constant_s = time_constant_s
        self._value: FloatArray | None = None

    def follow(self, values: FloatArray, dt_s: float) -> FloatArray:
        """Return the filtered values (n,); the first are taken as they are."""
        if self._value is None:
            self._value = values.copy()
        self._value = values + self.memory(dt_s) * (self._value - values)
        return self._value

    def memory(self, dt_s: float) -> float:
        """Return how much of the last value is left after dt_s."""
        return math.exp(-dt_s / self._time_constant_s) if self._time_constant_s > 0 else 0.0
