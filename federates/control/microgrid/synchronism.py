"""Whether an island may be connected to the grid: IEEE 1547-2018, clause 4.10.4, table 5 (numbers to be confirmed).

| aggregate rating | difference of frequency | of voltage | of phase angle |
|---|---|---|---|
| to 500 kVA | 0.3 Hz | 10 % | 20 deg |
| to 1500 kVA | 0.2 Hz | 5 % | 15 deg |
| above | 0.1 Hz | 3 % | 10 deg |

The synchroniser closes the switch when the angle passes through its window. Steps are longer than that takes: so the
angle is in time where it is in the window at the step's begin, or comes there before the step's end,

    d <= 360 deg |f_island - f_grid| h        d: from the angle to the window's edge, in the direction in which it turns
"""

from __future__ import annotations

from typing import NamedTuple


class Limits(NamedTuple):
    """Most difference between the two sides of a switch."""

    hz: float
    v_pu: float
    angle_deg: float


TABLE = ((500.0, Limits(0.3, 0.10, 20.0)), (1500.0, Limits(0.2, 0.05, 15.0)), (float("inf"), Limits(0.1, 0.03, 10.0)))
"""Up to which aggregate rating, kVA, which limits hold."""
ROUNDING = 1e-9


class Difference(NamedTuple):
    """The island less the grid."""

    hz: float
    v_pu: float
    angle_deg: float


def limits(rated_kva: float) -> Limits:
    """Return the limits that hold for an aggregate rating."""
    return next(found for most_kva, found in TABLE if rated_kva <= most_kva)


def passes(difference: Difference, most: Limits, step_s: float) -> bool:
    """Return whether the switch may close within the next step."""
    is_near = abs(difference.hz) <= most.hz + ROUNDING and abs(difference.v_pu) <= most.v_pu + ROUNDING
    return is_near and to_window_deg(difference, most.angle_deg) <= 360.0 * abs(difference.hz) * step_s + ROUNDING


def to_window_deg(difference: Difference, most_deg: float) -> float:
    """Return how far the angle must turn, in its direction, until it is in the window; 0 where it is."""
    angle_deg = 180.0 - (180.0 - difference.angle_deg) % 360.0
    if abs(angle_deg) <= most_deg:
        return 0.0
    ahead_deg = angle_deg if difference.hz >= 0.0 else -angle_deg
    return (-most_deg - ahead_deg) % 360.0
