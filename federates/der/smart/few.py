"""What goes on with few of many devices at a time, as trips, cessations and returns do: held for those few alone.

A fleet at rest costs nothing, and a disturbed one what its disturbed devices cost. Of every state it is known what it
is at rest.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import DTypeLike, NDArray

from derloop.memory import remembers
from federates.der.smart.held import BoolArray, Clock

Index = NDArray[np.intp]
NEVER: Final = np.iinfo(np.int64).max
"""The instant from which a condition that does not hold has held, ns."""


@remembers("kept", "then", "now")
class FewState:
    """One quantity of a few devices, (*rows, k); `rest` for every other."""

    __slots__ = ("kept", "lasts", "now", "rest", "then")

    def __init__(self, rest: float, dtype: DTypeLike, rows: tuple[int, ...], k: int, lasts: bool) -> None:
        self.rest, self.lasts = rest, lasts
        self.kept: NDArray[Any] = np.full((*rows, k), rest, dtype)
        """At the last instant, for those who were the few then."""
        self.then = self.now = self.kept
        """At the last instant and at this one, for those who are the few now. To be replaced, not written into."""

    def rearrange(self, k: int, stays: Index, places: Index) -> None:
        """Take up k devices: at `places` those of the kept who stay, at the others who is new."""
        self.then = np.full((*self.kept.shape[:-1], k), self.rest, self.kept.dtype)
        self.then[..., places] = self.kept.take(stays, axis=-1)
        self.now = self.then


@remembers("_kept", "_lasting", "index")
class Few:
    """The few of n devices that something goes on with: who they are, and their states.

    At each instant these are the ones who are disturbed, and the ones of whom a state that lasts (which does not end
    with the disturbance) was not at rest at the last instant.
    """

    def __init__(self, n: int, clock: Clock) -> None:
        self._n = n
        clock.turn(self)
        self.index: Index = np.zeros(0, np.intp)
        """Who they are (k,), rising."""
        self._kept = self.index
        self._lasting = np.zeros(0, np.bool_)
        self._states: list[FewState] = []

    def state(self, rest: float, dtype: DTypeLike, rows: tuple[int, ...] = (), *, lasts: bool = False) -> FewState:
        """Return a new state, (*rows, k)."""
        self._states.append(made := FewState(rest, dtype, rows, self.index.size, lasts))
        return made

    def begin_with_all(self) -> None:
        """Let every device be one of the few at the first instant."""
        self.index = self._kept = np.arange(self._n)
        self._lasting = np.ones(self._n, np.bool_)
        for state in self._states:
            state.kept = state.now = np.full((*state.kept.shape[:-1], self._n), state.rest, state.kept.dtype)

    def turn_over(self) -> None:
        """Let this instant be the last one."""
        if not self.index.size and not self._kept.size:
            return
        self._kept, self._lasting = self.index, np.zeros(self.index.size, np.bool_)
        for state in self._states:
            state.kept = state.now
            if state.lasts:
                self._lasting |= state.now != state.rest

    def pick(self, disturbed: BoolArray | None) -> bool:
        """Let those (n,) who are disturbed be the few, beside whom something lasts of. Return whether there are any."""
        if disturbed is None and not self._kept.size:
            if self.index.size:  # some were, when this instant was stepped before
                self._rearrange(self._kept, self._kept, self._kept)
            return False
        chosen = np.zeros(self._n, np.bool_) if disturbed is None else disturbed
        chosen[self._kept[self._lasting]] = True
        was_one = np.zeros(self._n, np.bool_)
        was_one[self._kept] = True
        index = np.flatnonzero(chosen)
        self._rearrange(index, np.flatnonzero(chosen[self._kept]), np.flatnonzero(was_one[index]))
        return index.size > 0

    def _rearrange(self, index: Index, stays: Index, places: Index) -> None:
        self.index = index
        for state in self._states:
            state.rearrange(index.size, stays, places)

    def of(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return what stands in `values`, (..., 1) or (..., n), for the few."""
        return values if values.shape[-1] == 1 else values[..., self.index]

    def spread(self, state: FewState) -> NDArray[Any]:
        """Return a state for every device, (n,)."""
        found = np.full(self._n, state.rest, state.now.dtype)
        found[self.index] = state.now
        return found


class Timer:
    """For how long a condition has held without a break, in whole ns: no sum that could drift."""

    def __init__(self, few: Few, clock: Clock, rows: tuple[int, ...] = ()) -> None:
        """rows: (m,) for m conditions at once."""
        self._clock = clock
        self.since_ns = few.state(NEVER, np.int64, rows)

    def has_held(self, condition: BoolArray, least_ns: NDArray[np.int64]) -> BoolArray:
        """Return where (..., k) `condition` has held for `least_ns`, (..., 1) or (..., k)."""
        clock = self._clock
        began_ns = clock.now_ns if clock.then_ns is None else clock.then_ns
        since: NDArray[np.int64] = np.where(condition, np.minimum(self.since_ns.then, began_ns), NEVER)
        self.since_ns.now = since
        return since <= clock.now_ns - least_ns
