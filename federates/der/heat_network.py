"""Networks of one or two heat capacities, of which the first meets its surroundings; n of them, solved exactly.

With `x = sqrt(C) T` the matrix of the differential equations is symmetric, and each of its modes decays by
`exp(lambda h)`. So the results at the steps do not depend on how long these are, as long as all else holds meanwhile.
"""

from __future__ import annotations

import numpy as np

from derloop.contract import FloatArray


class HeatNetworks:
    """n networks of s heat capacities; the first node alone meets the surroundings."""

    def __init__(self, capacity: FloatArray, outward: FloatArray, between: FloatArray) -> None:
        """capacity: (n, s), kWh/K. outward: (n,), kW/K. between: (n,), kW/K, of the two nodes; unused for s = 1."""
        n, s = capacity.shape
        flow = np.zeros((n, s, s))
        flow[:, 0, 0] = -outward
        if s == 2:
            flow -= between[:, None, None] * np.array([[1.0, -1.0], [-1.0, 1.0]])
        root = np.sqrt(capacity)
        self._root = root
        self.capacity, self.outward = capacity, outward
        self._rate, self._modes = np.linalg.eigh(flow / (root[:, :, None] * root[:, None, :]))

    def after(self, inside_c: FloatArray, source_kw: FloatArray, passed_h: float) -> tuple[FloatArray, FloatArray]:
        """Return the temperatures (n, s) after a time, and their mean over it.

        `source_kw` (n,) flows into the first node, `outward` times the temperature of the surroundings included.
        """
        z = np.einsum("nij,ni->nj", self._modes, inside_c * self._root)
        z_end = -self._modes[:, 0, :] * (source_kw / self._root[:, 0])[:, None] / self._rate
        way = self._rate * passed_h
        now = z_end + (z - z_end) * np.exp(way)
        mean = z_end + (z - z_end) * np.expm1(way) / way
        return self._temperatures(now), self._temperatures(mean)

    def stored_kwh(self, inside_c: FloatArray) -> FloatArray:
        """Return the heat (n,) that is stored at these temperatures (n, s), above 0 degC."""
        stored: FloatArray = (self.capacity * inside_c).sum(axis=1)
        return stored

    def _temperatures(self, z: FloatArray) -> FloatArray:
        found: FloatArray = np.einsum("nij,nj->ni", self._modes, z) / self._root
        return found
