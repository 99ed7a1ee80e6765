"""What a series is the series of, and whoever can give it out in pieces."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from derloop.contract import FloatArray
from derloop.federation import PACE

TimeArray = NDArray[np.int64]
"""Nanoseconds since the scenario's start, strictly rising."""

PHASES = 3
"""Nodes of a bus beyond these are neutrals, which have next to no voltage."""
Piece = tuple[TimeArray, FloatArray]
"""Instants (k,) and values (k, n), n being the signal's number of labels."""


@dataclass(frozen=True, slots=True)
class Signal:
    """One output port of one federate, as it was recorded."""

    federate: str
    port: str
    unit: str
    labels: tuple[str, ...]
    step_ns: int

    @property
    def name(self) -> str:
        return f"{self.federate}.{self.port}"

    @property
    def is_of_the_clock(self) -> bool:
        """Whether it tells how a run kept time with the clock on the wall: no other run does alike."""
        return self.federate.startswith(PACE)

    @property
    def is_of_all(self) -> bool:
        """Whether it is one value for the federate as a whole: its label is the federate's name."""
        return self.labels == (self.federate,)


def phases(labels: Sequence[str]) -> list[int]:
    """Return where among the nodes of a feeder, "671.2", are phases, and no neutrals."""
    ends = [label.rpartition(".")[2] for label in labels]
    return [i for i, end in enumerate(ends) if not (end.isdecimal() and int(end) > PHASES)]


class Ported(Protocol):
    """What is known of a signal by its name and what it is of."""

    @property
    def federate(self) -> str: ...
    @property
    def port(self) -> str: ...
    @property
    def labels(self) -> tuple[str, ...]: ...


OfPort = TypeVar("OfPort", bound=Ported)


def delivered(signals: Iterable[OfPort], powers: OfPort) -> OfPort:
    """Return what a feeder tells that it delivered to the devices of `powers`: `grid.homes.solved_kw` of `homes.p_kw`.

    Where none tells it, `powers`: what loads ask for, also while they are dead, and what DER say that they give.
    """
    return next((s for s in signals if s.port == f"{powers.federate}.solved_kw" and s.labels), powers)


class Source(Protocol):
    """Something with series: a run's folder, golden results, a part of either."""

    def signals(self) -> tuple[Signal, ...]:
        """Return the signals: federates in the run's order, ports in their declared order."""
        ...

    def batches(self, name: str) -> Iterator[Piece]:
        """Yield the series of the signal `name` in pieces of bounded size, none empty, in the order of time."""
        ...
