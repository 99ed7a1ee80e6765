"""What devices of one, two or three phases see of the voltages of their nodes.

- *mean*: of the magnitudes of the phases;
- *worst*: the magnitude that is farthest from 1 pu;
- *positive-sequence*: `|V1 + a V2 + a^2 V3| / 3` of three phases, `a = exp(2 pi j / 3)` (C. L. Fortescue, Trans. AIEE
  37 (1918) 1027-1140), with the phases in the order of their numbers; the mean where there are fewer than three;
- the lowest and the highest: of the magnitudes of the phases to neutral and, for three phases, between the phases.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from derloop.contract import FloatArray
from derloop.kind import Seen

ComplexArray = NDArray[np.complex128]
A = np.exp(2j * np.pi / 3)


class Phases(NamedTuple):
    """Voltages (n, k), pu, complex, of n devices at up to k = 3 nodes, and how many nodes each has, (n,).

    A device with fewer nodes than k has one of them in the places that are left.
    """

    v: ComplexArray
    used: NDArray[np.intp]


def voltage(phases: Phases, sees: Seen) -> FloatArray:
    """Return what the functions see (n,), pu."""
    magnitude = np.abs(phases.v)
    if sees == "worst":
        worst = np.abs(magnitude - 1.0).argmax(axis=1)
        farthest: FloatArray = magnitude[np.arange(len(magnitude)), worst]
        return farthest
    real = np.arange(magnitude.shape[1]) < phases.used[:, None]
    mean: FloatArray = (magnitude * real).sum(axis=1) / phases.used
    if sees == "mean" or magnitude.shape[1] < 3:
        return mean
    v1, v2, v3 = phases.v.T[:3]
    positive: FloatArray = np.where(phases.used == 3, np.abs(v1 + A * v2 + A * A * v3) / 3.0, mean)
    return positive


def extremes(phases: Phases) -> tuple[FloatArray, FloatArray]:
    """Return the lowest and the highest voltage (n,), pu of the nominal voltage between what it is measured between."""
    magnitude = np.abs(phases.v)
    low, high = magnitude.min(axis=1), magnitude.max(axis=1)
    if magnitude.shape[1] < 3:
        return low, high
    between = np.abs(phases.v - np.roll(phases.v, -1, axis=1)) / 3**0.5
    three = phases.used == 3
    low = np.where(three, np.minimum(low, between.min(axis=1)), low)
    return low, np.where(three, np.maximum(high, between.max(axis=1)), high)
