"""Converging a loop within one instant: Anderson acceleration on what its converged wires carry.

D. G. Anderson, "Iterative Procedures for Nonlinear Integral Equations", J. ACM 12 (1965) 547-560;
H. F. Walker and P. Ni, "Anderson Acceleration for Fixed-Point Iterations", SIAM J. Numer. Anal. 49 (2011) 1715-1735,
eq. 2.2 (the unconstrained form on differences).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from derloop.contract import FloatArray


@dataclass(frozen=True, slots=True)
class Convergence:
    """When a loop has converged, and when it is given up."""

    tolerance: float = 1e-6
    """Largest absolute change of a converged wire's value between two passes, in the wire's unit."""
    max_passes: int = 40
    depth: int = 5
    """How many earlier passes the acceleration looks back on; 0 is a plain fixed point."""


class Anderson:
    """The next guess for x = g(x), from the guesses and residuals g(x) - x seen so far."""

    def __init__(self, size: int, depth: int) -> None:
        self._depth = min(depth, size)
        self._guesses: list[FloatArray] = []
        self._residuals: list[FloatArray] = []

    def next(self, guess: FloatArray, residual: FloatArray) -> FloatArray:
        """Return the next guess, shape (n,); plain g(x) on the first call."""
        self._guesses.append(guess.copy())
        self._residuals.append(residual.copy())
        del self._guesses[: -self._depth - 1], self._residuals[: -self._depth - 1]
        if len(self._guesses) == 1:
            return guess + residual
        steps = np.diff(np.array(self._guesses), axis=0).T
        changes = np.diff(np.array(self._residuals), axis=0).T
        weights, *_ = np.linalg.lstsq(changes, residual, rcond=1e-12)
        return guess + residual - (steps + changes) @ weights
