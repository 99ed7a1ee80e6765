"""Converging a loop within one instant: a quasi-Newton iteration that is exact about the devices.

A loop is a feeder `y = F(u)`, which is dear, and devices `u = h(y)`, which are cheap and have kinks: deadbands, limits,
saturation. A pass asks the devices once for good and solves the feeder once. What is learnt is the feeder's answer
alone, `y + S (u' - u)`: it is smooth, and hardly changes from one instant to the next, whatever limit a device comes
to. The next guess is where the devices agree with that answer, found by asking the devices, not the feeder:

    x = y + S (h(x) - u)

`S` is a first guess of the feeder's own (see `derloop.contract.Answering`), corrected on the changes that were seen, in
the sense of least squares: with the newest differences of `u` and `y` as columns of `U` and `Y`,

    S = S0 + (Y - S0 U) U+

J. Degroote, K.-J. Bathe, J. Vierendeels, "Performance of a new partitioned procedure versus a monolithic procedure in
fluid-structure interaction", Computers & Structures 87 (2009) 793-801 (interface quasi-Newton on differences);
H. Fang and Y. Saad, "Two classes of multisecant methods for nonlinear acceleration", Numer. Linear Algebra Appl. 16
(2009) 197-221 (the correction of least change). The inner equation is solved by Anderson acceleration: D. G. Anderson,
J. ACM 12 (1965) 547-560; H. F. Walker and P. Ni, SIAM J. Numer. Anal. 49 (2011) 1715-1735, eq. 2.2.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from derloop.contract import FloatArray
from derloop.memory import remembers

Ask = Callable[[FloatArray], FloatArray]
"""Returns what the devices give (m,) on a guess (n,)."""

ASKED = 12
"""How often the devices are asked for one guess."""
WINDOW = 5
"""How many earlier answers of the devices a guess looks back on."""
DEGREE = 2
"""Of the polynomial at most by which the last instants go on."""
CLOSE = 0.3
"""How closely the devices must agree with the expected answer, in tolerances."""
INDEPENDENT = 1e-3
"""What a change must have of its own, beside newer ones, to be learnt from."""
FAR = 1e100
"""How far apart two passes may be: of what is farther no squares can be summed."""


@dataclass(frozen=True, slots=True)
class Convergence:
    """When a loop has converged, and when it is given up."""

    tolerance: float = 2e-7
    """Largest absolute change of a converged wire's value between two passes, in the wire's unit."""
    max_passes: int = 40
    depth: int = 8
    """How many earlier passes, also of earlier instants, are learnt from; 0 is a plain fixed point."""


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


@remembers("_given", "_found", "_last", "_correction")
class Secants:
    """How found values (n,) answer given ones (m,): known beforehand to first order, corrected by what was seen."""

    def __init__(self, depth: int, left: FloatArray, right: FloatArray) -> None:
        """left (n, k), right (k, m): `left @ right` is what is known beforehand; k may be 0."""
        self._depth, self._left, self._right = depth, left, right
        self._given: list[FloatArray] = []
        self._found: list[FloatArray] = []
        self._last: tuple[FloatArray, FloatArray] | None = None
        self._correction: tuple[FloatArray, FloatArray] | None = None

    def leave(self) -> None:
        """Begin an instant: what else has changed meanwhile is no answer to what is given."""
        self._last = None

    def forget(self) -> None:
        """Drop what was seen."""
        self._given, self._found, self._correction = [], [], None

    def see(self, given: FloatArray, found: FloatArray, least: float) -> bool:
        """Learn from the change since the last pass; return False where nothing moved by more than `least`."""
        last, self._last = self._last, (given.copy(), found.copy())
        if last is None:
            return True
        change, moved = given - last[0], found - last[1]
        size = float(np.linalg.norm(change))
        if size == 0.0 or np.abs(moved).max() <= least:
            return False
        self._given = [change / size, *self._given][: self._depth]
        self._found = [moved / size, *self._found][: self._depth]
        self._correction = None
        return True

    def answer(self, change: FloatArray) -> FloatArray:
        """Return the expected change (n,) of what is found for one of what is given (m,)."""
        expected = self._known(change)
        if self._given:
            wrong, weights = self._correction = self._correction or self._corrected()
            expected += wrong @ (weights @ change)
        return expected

    def _known(self, change: FloatArray) -> FloatArray:
        known: FloatArray = self._left @ (self._right @ change)
        return known

    def _corrected(self) -> tuple[FloatArray, FloatArray]:
        """Return by how much the known answer is wrong for each change (n, k), and the part that each has (k, m)."""
        own = np.abs(np.diag(np.linalg.qr(np.array(self._given).T, mode="r"))) > INDEPENDENT
        kept = [i for i, is_own in enumerate(own) if is_own]
        self._given, self._found = [self._given[i] for i in kept], [self._found[i] for i in kept]
        given = np.array(self._given).T
        basis, triangle = np.linalg.qr(given)
        wrong = np.array(self._found).T - self._left @ (self._right @ given)
        return wrong, np.linalg.solve(triangle, basis.T)


@remembers("_foretold", "_before", "_trend")
class Iteration:
    """The guesses of one loop, over all its instants."""

    def __init__(self, convergence: Convergence, secants: Secants) -> None:
        self._convergence, self._secants = convergence, secants
        self._foretold: FloatArray | None = None
        self._before: FloatArray | None = None
        self._trend: list[FloatArray] = []
        """Backward differences of where the last instants ended, from order 0 on."""

    def begin(self, last: FloatArray) -> FloatArray:
        """Begin an instant; return its first guess (n,). What was learnt of the feeder stays.

        last: where the last one ended. The guess goes on from there as a polynomial through the last ends does, of the
        degree that would have been nearest for the last one; a plain fixed point begins there.
        """
        if self._convergence.depth == 0:
            return last
        self._secants.leave()
        self._foretold = None
        self._trend = differences(last.copy(), self._trend[: DEGREE + 1])
        return gone_on(self._trend)

    def next(self, guess: FloatArray, given: FloatArray, found: FloatArray, ask: Ask) -> FloatArray:
        """Return the next guess (n,). The last, `guess`, made devices give `given` (m,), answered by `found` (n,)."""
        if self._convergence.depth == 0:
            return found
        if self._has_misled(found):
            self._secants.forget()
        is_new = self._secants.see(given, found, self._convergence.tolerance)
        self._before = found.copy()
        better, self._foretold, apart = self._agreed(given, self._before, ask)
        if not is_new or apart > np.abs(found - guess).max():  # what is known leads nowhere: a plain step
            better, self._foretold = self._before, None
        return better

    def _has_misled(self, found: FloatArray) -> bool:
        """Return whether expecting no change at all would have been better: a tap has moved, or a switch."""
        if self._foretold is None or self._before is None:
            return False
        return bool(np.abs(found - self._foretold).max() > np.abs(found - self._before).max())

    def _agreed(self, given: FloatArray, found: FloatArray, ask: Ask) -> tuple[FloatArray, FloatArray, float]:
        """Return where the devices agree best with the expected answer, that answer, and how far they are apart."""
        accelerate, guess, best = Anderson(found.size, WINDOW), found, (found, found, np.inf)
        for _ in range(ASKED):
            expected = found + self._secants.answer(ask(guess) - given)
            residual = expected - guess
            apart = float(np.abs(residual).max())
            if apart < best[2]:
                best = guess, expected, apart
            if apart <= CLOSE * self._convergence.tolerance or not apart < FAR:
                break
            guess = accelerate.next(guess, residual)
        return best


def differences(end: FloatArray, before: Sequence[FloatArray]) -> list[FloatArray]:
    """Return the backward differences (n,) at an end, from order 0 on, of one order more than there were before it."""
    found = [end]
    for difference in before:
        found.append(found[-1] - difference)
    return found


def gone_on(trend: Sequence[FloatArray]) -> FloatArray:
    """Return what (n,) comes after an end of which these are the backward differences, from order 0 on.

    What the polynomial of a degree would have missed that end by is the difference of one order more.
    """
    missed = [float(np.abs(difference).max()) for difference in trend[1:]]
    degree = missed.index(min(missed)) if missed else 0
    guess = trend[0]
    for difference in trend[1 : degree + 1]:
        guess = guess + difference
    return guess
