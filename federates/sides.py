"""Between which nodes of a bus the voltage of a phase is, and devices stand.

A phase is measured to the neutral of its bus, where a line brings one; where nothing earths it, to the phase that
follows it (1, 2, 3, 1), for what it has to ground there depends on nothing that anybody uses; else to ground.
"""

from __future__ import annotations

from collections.abc import Sequence

from derloop.kind import Bus

GROUND = 0
SQRT3 = 3**0.5


def back(bus: Bus, phase: int) -> int:
    """Return the node of the bus to which a phase of it is measured."""
    if bus.is_between_phases and phase in bus.phases:
        return bus.phases[(bus.phases.index(phase) + 1) % len(bus.phases)]
    return bus.neutral or GROUND


def sides(bus: Bus, phases: Sequence[int]) -> list[tuple[int, int]]:
    """Return between which nodes of the bus a device at these phases stands: one side for two phases without earth."""
    every = [(phase, back(bus, phase)) for phase in phases]
    if not bus.is_between_phases:
        return every
    within = [(phase, other) for phase, other in every if other in phases]
    return (within if len(phases) == 3 else within[:1]) or every


def one_phase(bus: Bus, phase: int) -> tuple[int, ...]:
    """Return the phases at which a single-phase device stands that has this one."""
    return (phase, back(bus, phase)) if bus.is_between_phases and phase in bus.phases else (phase,)


def base(bus: Bus) -> float:
    """Return the nominal voltage of a side, in the line-to-neutral one."""
    return SQRT3 if bus.is_between_phases else 1.0
