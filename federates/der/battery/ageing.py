"""Ageing of lithium-ion batteries with time, throughput and depth of cycles.

B. Xu, A. Oudalov, A. Ulbig, G. Andersson, D. S. Kirschen, "Modeling of Lithium-Ion Battery Degradation for Cell Life
Assessment", IEEE Trans. Smart Grid 9 (2018) 1131-1140: with the depth `delta` and the mean state of charge `sigma` of
each cycle, the time `t` and the temperature `T`, K,

    f = sum over cycles of n S_delta(delta) S_sigma(sigma) S_T(T)  +  sum over time of k_t t S_sigma(sigma) S_T(T)
    S_delta = 1 / (k1 delta^k2 + k3)    S_sigma = exp(k_s (sigma - 0.5))    S_T = exp(k_T (T - T0) T0 / T)
    health = alpha exp(-beta f) + (1 - alpha) exp(-f)

Cycles are counted by rainflow (`rainflow.py`), `n` is 1 or 0.5. The numbers are the paper's, for cells of lithium
manganese oxide; `speed` multiplies `f` for others. What a value adds to the count has the factor `S_T` of its time.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from pydantic import Field

from derloop.contract import FloatArray
from derloop.kind import Settings
from derloop.memory import remembers
from federates.der.battery.rainflow import Rainflow

ALPHA, BETA = 5.75e-2, 121.0
K_DELTA: Final = (1.40e5, -0.501, -1.23e5)
K_SIGMA, SIGMA = 1.04, 0.5
K_TEMPERATURE, REFERENCE_C, ZERO_K = 6.93e-2, 25.0, 273.15
K_TIME_PER_S = 4.14e-10


class AgeingSettings(Settings):
    """Ageing of the cells."""

    speed: float = Field(
        default=1.0,
        ge=0.0,
        le=1e4,
        description="Factor on how fast cells age; 1: as in the paper. Large values show in a day what takes years.",
        examples=[0.5],
    )
    temperature_c: float = Field(
        default=REFERENCE_C,
        ge=-40.0,
        le=80.0,
        description="Of the cells, degC, where the setting temperature does not say it.",
        examples=[25.0],
    )


def by_depth(depth: FloatArray, mean: FloatArray) -> FloatArray:
    """Return what one cycle of this depth and mean state of charge adds to `f` at the reference temperature."""
    k1, k2, k3 = K_DELTA
    depth = np.minimum(depth, 1.0)
    return by_charge(mean) / (k1 * depth**k2 + k3)


def by_charge(soc_pu: FloatArray) -> FloatArray:
    """Return the factor of the state of charge."""
    factor: FloatArray = np.exp(K_SIGMA * (soc_pu - SIGMA))
    return factor


def by_temperature(cells_c: FloatArray | float) -> FloatArray:
    """Return the factor of the temperature."""
    ratio = (REFERENCE_C + ZERO_K) / (np.asarray(cells_c) + ZERO_K)
    factor: FloatArray = np.exp(K_TEMPERATURE * (np.asarray(cells_c) - REFERENCE_C) * ratio)
    return factor


def health(f: FloatArray) -> FloatArray:
    """Return what is left of the capacity, pu of when it was new."""
    left: FloatArray = ALPHA * np.exp(-BETA * f) + (1.0 - ALPHA) * np.exp(-f)
    return left


@remembers("_f", "_counted", "_soc_pu")
class Ageing:
    """n batteries that age. State: `f`, and the count of cycles."""

    def __init__(self, settings: AgeingSettings, soc_pu: FloatArray) -> None:
        self._settings = settings
        self._cycles = Rainflow(soc_pu, by_depth)
        self._counted, self._f, self._soc_pu = np.zeros(soc_pu.size), np.zeros(soc_pu.size), soc_pu

    def pass_by(self, soc_pu: FloatArray, hours: float, cells_c: FloatArray | None) -> FloatArray:
        """Let this time pass until this state of charge (n,); return the health (n,), pu of the capacity when new."""
        warm = by_temperature(self._settings.temperature_c if cells_c is None else cells_c)
        self._cycles.take(soc_pu)
        counted = self._cycles.counted()
        cycles = np.maximum(counted - self._counted, 0.0)
        rest = K_TIME_PER_S * 3600.0 * hours * by_charge(0.5 * (self._soc_pu + soc_pu))
        self._f = self._f + self._settings.speed * warm * (cycles + rest)
        self._counted, self._soc_pu = counted, soc_pu
        return health(self._f)
