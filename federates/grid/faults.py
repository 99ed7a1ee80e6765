"""Short circuits: resistances from phases of a bus to ground, that come and go.

A fault of a line is one at the bus at its end. It lasts until the end that is set for it, or until the run's; an arc
(`arc`) goes out as soon as all of its phases are dead, and does not come back: reclosing then succeeds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from derloop.errors import did_you_mean
from derloop.kind import Bus, Settings
from derloop.memory import remembers
from federates.fleets import Problems
from federates.grid.additions import add_fault
from federates.grid.places import Nodes
from federates.grid.solver import Solver
from federates.grid.switching import switch_fault

BoolArray = NDArray[np.bool_]


class FaultSettings(Settings):
    """A short circuit to ground."""

    bus: str = Field(min_length=1, max_length=200, description="Where.", examples=["67"])
    phases: tuple[Literal[1, 2, 3], ...] = Field((1, 2, 3), min_length=1, max_length=3, description="Which phases.")
    r_ohm: float = Field(0.05, gt=1e-6, le=1e5, description="Resistance of each to ground, ohm.", examples=[0.05])
    begins_s: float = Field(ge=0.0, le=1e10, description="Begin, s since the scenario's start.", examples=[600.0])
    lasts_s: float | None = Field(
        None, gt=0.0, le=1e10, description="How long, s. Without it, until the run ends.", examples=[300.0]
    )
    arc: bool = Field(False, description="Goes out as soon as all of its phases are dead.")

    @model_validator(mode="after")
    def _has_each_phase_once(self) -> FaultSettings:
        if len(set(self.phases)) < len(self.phases):
            raise ValueError(f"phases {', '.join(map(str, self.phases))} name one twice")
        return self


@remembers("_are_on", "_held", "_latest")
class Faults:
    """The faults of a feeder. State: which arcs have gone out."""

    def __init__(self, faults: Sequence[FaultSettings], solver: Solver) -> None:
        """Add them, not yet there."""
        self._solver = solver
        self._begins_s = np.array([fault.begins_s for fault in faults])
        self._ends_s = np.array([np.inf if f.lasts_s is None else f.begins_s + f.lasts_s for f in faults])
        self._are_arcs = np.array([fault.arc for fault in faults])
        self._places = [(fault.bus.lower(), fault.phases) for fault in faults]
        for index, fault in enumerate(faults):
            add_fault(solver, f"fault_{index}", fault.bus, fault.phases, fault.r_ohm)
        self._are_on = np.zeros(len(faults), np.bool_)
        self._held = self._latest = np.zeros(len(faults), np.bool_)

    def any_on(self, alive: BoolArray) -> bool:
        """Return whether one draws current: it is there, and one of its nodes (of `nodes`) alive."""
        return bool((self._are_on & (self._at.share_at(alive) > 0.0)).any())

    @cached_property
    def _at(self) -> Nodes:
        """Where among the solver's nodes they are, which it knows once it is prepared."""
        return Nodes.of(self._places, self._solver.nodes)

    def take(self, now_ns: int, is_new: bool) -> bool:
        """Let those be there that are, at this instant; return whether that changes anything."""
        if is_new:
            self._held = self._latest
        now_s = now_ns / 1e9
        wanted = (self._begins_s <= now_s) & (now_s < self._ends_s) & ~self._held
        changed = np.flatnonzero(wanted != self._are_on)
        for index in changed:
            switch_fault(self._solver, f"fault_{index}", bool(wanted[index]))
        self._are_on = wanted
        return bool(changed.size)

    def switch(self) -> None:
        """Have those in the solver that are there, and no others."""
        for index, is_on in enumerate(self._are_on):
            switch_fault(self._solver, f"fault_{index}", bool(is_on))

    def see(self, alive: BoolArray) -> None:
        """Let arcs go out of which all nodes (nodes,) are dead, from the next instant on."""
        self._latest = self._held | (self._are_on & self._are_arcs & (self._at.share_at(alive) == 0.0))


def unseen(faults: Sequence[FaultSettings], step_ns: int) -> Problems:
    """Return which faults come and go between two steps: no solution would have them."""
    return [
        (("faults", i, "lasts_s"), f"comes and goes between two steps of {step_ns / 1e9:g} s: it would never be there")
        for i, fault in enumerate(faults)
        if fault.lasts_s is not None and _next_ns(fault.begins_s, step_ns) >= 1e9 * (fault.begins_s + fault.lasts_s)
    ]


def _next_ns(time_s: float, step_ns: int) -> int:
    """Return the first instant of a step that is not before a time."""
    return -(-round(time_s * 1e9) // step_ns) * step_ns


def misplaced(faults: Sequence[FaultSettings], buses: Mapping[str, Bus]) -> Problems:
    """Return which faults are where the feeder has nothing."""
    problems: Problems = []
    for i, fault in enumerate(faults):
        bus = buses.get(fault.bus.lower())
        if bus is None:
            problems.append((("faults", i, "bus"), f"no bus {fault.bus!r}" + did_you_mean(fault.bus, [*buses])))
        elif not {*fault.phases} <= {*bus.phases}:
            has = ", ".join(map(str, bus.phases))
            problems.append((("faults", i, "phases"), f"bus {fault.bus!r} has phases {has}"))
    return problems
