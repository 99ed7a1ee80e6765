"""A root of a few equations that are dear to evaluate: Newton's method, its slopes kept and mended from step to step.

The slopes are found by differences once, and then mended by Broyden's update (C. G. Broyden, "A Class of Methods for
Solving Nonlinear Simultaneous Equations", Math. Comput. 19 (1965) 577-593). Where a step does not lead nearer, they are
found anew; where a step with new slopes does not either, it is halved.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from derloop.contract import FloatArray
from derloop.memory import remembers

Equations = Callable[[FloatArray], FloatArray]
GOOD, FAIR = 1e-9, 1e-7
"""Residuals: what is aimed at, and what is taken where rounding allows no better."""
MOST = 60
"""Evaluations, of differences not counted."""
DIFFERENCE = 1e-4


class NoRoot(Exception):
    """No root was found."""


@remembers("_slopes")
class Root:
    """Finds x with r(x) = 0. State: the slopes dr/dx, as long as the equations keep their form."""

    def __init__(self) -> None:
        self._slopes: FloatArray | None = None

    def forget(self) -> None:
        """The equations have another form now."""
        self._slopes = None

    def found(self, r: Equations, x: FloatArray, furthest: FloatArray) -> FloatArray:
        """Return x (n,) from a guess; no step goes further than `furthest` (n,). `r` was evaluated there last.

        Raises NoRoot.
        """
        found, fresh, share = r(x), False, 1.0
        for _ in range(MOST):
            worst = float(np.abs(found).max())
            if worst <= GOOD or (worst <= FAIR and share < 0.1):
                r(x)
                return x
            if self._slopes is None:
                self._slopes, fresh = self._differences(r, x, found), True
            step = share * _limited(self._step(found), furthest)
            after = r(x + step)
            if float(np.abs(after).max()) < 0.7 * worst or share < 1e-3:
                self._mend(step, after - found)
                x, found, fresh, share = x + step, after, False, 1.0
            elif fresh:
                share *= 0.5
            else:
                self._slopes = None
        raise NoRoot(f"still off by {float(np.abs(found).max()):.3g} after {MOST} steps")

    def _step(self, found: FloatArray) -> FloatArray:
        assert self._slopes is not None
        return np.asarray(np.linalg.lstsq(self._slopes, -found, rcond=1e-13)[0], dtype=np.float64)

    def _mend(self, step: FloatArray, change: FloatArray) -> None:
        assert self._slopes is not None
        off = change - self._slopes @ step
        slopes: FloatArray = self._slopes + np.outer(off, step) / float(step @ step)
        self._slopes = slopes

    @staticmethod
    def _differences(r: Equations, x: FloatArray, found: FloatArray) -> FloatArray:
        moved = x + DIFFERENCE * np.eye(x.size)
        return np.column_stack([(r(row) - found) / DIFFERENCE for row in moved])


def _limited(step: FloatArray, furthest: FloatArray) -> FloatArray:
    """Return the step, shortened as a whole where a part of it goes too far."""
    shortened: FloatArray = step / max(1.0, float(np.abs(step / furthest).max()))
    return shortened
