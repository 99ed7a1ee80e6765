"""What n devices have injected and absorbed since they were started."""

from __future__ import annotations

import numpy as np

from hil.sunspec.points import FloatArray

SECONDS_PER_HOUR = 3600.0


class Energy:
    """Counts energy from powers (n,) that are positive when injected."""

    def __init__(self, n: int) -> None:
        self.wh_injected, self.wh_absorbed = np.zeros(n), np.zeros(n)
        self.vah = np.zeros(n)
        self.varh = np.zeros((4, n))
        """By quadrant, from 1 to 4, without sign: 1 injects both, 2 absorbs P, 3 absorbs both, 4 absorbs Q."""

    def add(self, p_w: FloatArray, q_var: FloatArray, dt_s: float) -> None:
        """Count what these powers are for `dt_s`; what is NaN counts as nothing."""
        hours, p, q = dt_s / SECONDS_PER_HOUR, np.nan_to_num(p_w), np.nan_to_num(q_var)
        self.wh_injected += np.maximum(p, 0.0) * hours
        self.wh_absorbed -= np.minimum(p, 0.0) * hours
        self.vah += np.hypot(p, q) * hours
        injects, raises = p >= 0.0, q >= 0.0
        quadrants = (injects & raises, ~injects & raises, ~injects & ~raises, injects & ~raises)
        self.varh += np.stack(quadrants) * np.abs(q) * hours
