"""Alarms: a limit that is passed raises one, and it ends only so far inside the limit that it does not flicker.

What is dead has no voltage to judge; it is an outage.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from derloop.contract import FloatArray
from federates.control.adms.settings import MonitoringSettings

BoolArray = NDArray[np.bool_]
DEAD_PU = 0.1
"""Below, nothing is energised."""


class Alarms(NamedTuple):
    """Which alarms stand: of nodes (nodes,), and of lines and transformers (monitored,)."""

    low: BoolArray
    high: BoolArray
    outage: BoolArray
    overload: BoolArray

    @property
    def counts(self) -> FloatArray:
        return np.array([float(part.sum()) for part in self])


def none(nodes: int, monitored: int) -> Alarms:
    """Return that no alarm stands."""
    return Alarms(*(np.zeros(n, np.bool_) for n in (nodes, nodes, nodes, monitored)))


def watch(
    before: Alarms, v_pu: FloatArray, loading_pu: FloatArray, watched: BoolArray, limits: MonitoringSettings
) -> Alarms:
    """Return the alarms that stand now, from those that stood and what is measured; watched: (nodes,)."""
    (low_pu, high_pu), back_pu = limits.v_pu, limits.v_back_pu
    outage = watched & (v_pu < DEAD_PU)
    judged = watched & ~outage
    low = judged & ((v_pu < low_pu) | (before.low & (v_pu < low_pu + back_pu)))
    high = judged & ((v_pu > high_pu) | (before.high & (v_pu > high_pu - back_pu)))
    ends_pu = limits.loading_pu - limits.loading_back_pu
    overload = (loading_pu > limits.loading_pu) | (before.overload & (loading_pu > ends_pu))
    return Alarms(low, high, outage, overload)
