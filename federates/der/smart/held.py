"""States that are held between instants, so that an instant can be stepped again.

A `State` is two arrays: what it was at the last instant (`then`) and what it is at this one (`now`). Every function
computes `now` from `then`, as often as an instant is repeated; the `Clock` turns them over when time moves.
Values seen at an instant count as held since the last one.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import DTypeLike, NDArray

from derloop.contract import FloatArray
from derloop.memory import remembers

BoolArray = NDArray[np.bool_]
LN10 = float(np.log(10.0))


class TurnsOver(Protocol):
    def turn_over(self) -> None:
        """Let this instant be the last one."""


@remembers("then", "now")
class State:
    """One quantity of n devices at the last instant and at this one."""

    __slots__ = ("now", "then")

    def __init__(self, n: int, fill: float, dtype: DTypeLike) -> None:
        self.then: NDArray[Any] = np.full(n, fill, dtype)
        self.now: NDArray[Any] = np.full(n, fill, dtype)

    def turn_over(self) -> None:
        """Let this instant be the last one."""
        self.then, self.now = self.now, self.then


@remembers("now_ns", "_started", "then_ns")
class Clock:
    """The last instant, this instant, and the states that move with them."""

    def __init__(self) -> None:
        self._turns: list[TurnsOver] = []
        self.now_ns: int = 0
        self.then_ns: int | None = None
        self._started = False

    def state(self, n: int, fill: float = 0.0, dtype: DTypeLike = np.float64) -> State:
        """Return a new state (n,) that turns over with time."""
        made = State(n, fill, dtype)
        self.turn(made)
        return made

    def turn(self, what: TurnsOver) -> None:
        """Turn this over too when time moves."""
        self._turns.append(what)

    def move(self, now_ns: int) -> None:
        """Go to `now_ns`; nothing if it is this instant already."""
        if self._started and now_ns == self.now_ns:
            return
        if self._started:
            self.then_ns = self.now_ns
            for what in self._turns:
                what.turn_over()
        self.now_ns, self._started = now_ns, True

    @property
    def is_first(self) -> bool:
        """Whether there was no instant before this one."""
        return self.then_ns is None

    @property
    def elapsed_ns(self) -> int:
        """Time since the last instant, ns; 0 at the first."""
        return 0 if self.then_ns is None else self.now_ns - self.then_ns

    @property
    def elapsed_s(self) -> float:
        return self.elapsed_ns / 1e9


class Response:
    """First-order lags of n devices, exact at any step.

    The open-loop response time `T` is the time to 90 % of the way (IEEE 1547-2018, clause 3.1), so over a step `h`

        y(t) = x(t) + (y(t - h) - x(t)) 10^(-h / T)

    for an `x` that holds since the last instant. `T = 0` responds at once. The first instant finds the lag settled.
    """

    def __init__(self, n: int, response_s: float | FloatArray, clock: Clock | None = None) -> None:
        self._clock = clock or Clock()
        self.state = self._clock.state(n)
        self.set_response_s(response_s)

    def set_response_s(self, response_s: float | FloatArray) -> None:
        """Respond in this time from the next instant on: one for all, or (n,)."""
        response_ns = np.asarray(response_s, dtype=np.float64) * 1e9
        self._response_ns = response_ns.reshape(()) if response_ns.size == 1 else response_ns
        self._left: tuple[int, FloatArray] = (-1, np.zeros(()))

    def towards(self, now_ns: int, target: FloatArray) -> FloatArray:
        """Return the state (n,) at `now_ns`; valid until the next instant. `target` (n,) holds since the last one."""
        self._clock.move(now_ns)
        now: FloatArray = self.state.now
        if self._clock.then_ns is None:
            now[:] = target
            return now
        np.subtract(self.state.then, target, now)
        np.multiply(now, self.left(), now)
        np.add(now, target, now)
        return now

    def left(self) -> FloatArray:
        """Return what a step leaves of a deviation, shape () or (n,)."""
        elapsed_ns = self._clock.elapsed_ns
        if self._left[0] != elapsed_ns:
            at_once = self._response_ns <= 0.0
            ratio = np.divide(
                -LN10 * elapsed_ns, self._response_ns, where=~at_once, out=np.zeros_like(self._response_ns)
            )
            self._left = (elapsed_ns, np.where(at_once, 0.0, np.exp(ratio)))
        return self._left[1]


def is_any(flags: BoolArray) -> bool:
    """Return whether one of them is set: what `flags.any()` says, for a few devices ten times sooner."""
    return True in flags.tobytes()


def ns(seconds: FloatArray) -> NDArray[np.int64]:
    """Return times (m,) in ns."""
    return np.rint(seconds * 1e9).astype(np.int64)
