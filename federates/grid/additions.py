"""What is added to the elements of a feeder file before it is solved, and what is left of elements at dead places."""

from __future__ import annotations

from collections.abc import Sequence

from derloop.kind import Bus
from federates import sides
from federates.grid.engine import command
from federates.grid.solver import Solver

INJECTS_V_PU = (0.3, 2.0)
"""Between which voltages of each phase an element that was added for devices has constant power."""

EARTH_OHM = 1.0
"""Of the electrode at a source whose star point is a neutral."""


def add_injection(solver: Solver, name: str, bus: Bus, phases: Sequence[int]) -> None:
    """Add a device that injects constant power at phases of a bus: see `sides`."""
    low, high = INJECTS_V_PU
    command(
        solver.dss,
        f"New Generator.{name} {_standing(bus, phases)} kW=0 kvar=0 model=1 "
        f"vminpu={low!r} vmaxpu={high!r} status=fixed enabled=yes",  # fixed: no multiplier of all generators
    )


def leave_of_injection(solver: Solver, name: str, bus: Bus, phases: Sequence[int]) -> None:
    """Let a device that was added stand at these phases of its bus alone."""
    command(solver.dss, f"Edit Generator.{name} {_standing(bus, phases)}")


def leave_of_load(solver: Solver, name: str, bus: str, legs: Sequence[tuple[int, int]]) -> None:
    """Let a load of the feeder file between phases have these legs alone, each between two nodes of its bus."""
    nodes = dict.fromkeys(node for leg in legs for node in leg)
    command(solver.dss, f'Edit "Load.{name}" phases={len(legs)} bus1="{bus}.{".".join(map(str, nodes))}"')


def have_draw(solver: Solver, name: str, kw: float, kvar: float) -> None:
    """Let a load of the feeder file have this power."""
    command(solver.dss, f'Edit "Load.{name}" kW={kw!r} kvar={kvar!r}')


def add_source(solver: Solver, name: str, bus: Bus, x_ohm: float) -> None:
    """Add a three-phase voltage source behind a reactance, out of service.

    Where the bus has a neutral, that is its star point, and earthed there: nothing else may earth it in an island.
    """
    star = f"{bus.neutral or 0}"
    command(
        solver.dss,
        f'New Vsource.{name} bus1="{bus.name}.1.2.3" bus2="{bus.name}.{star}.{star}.{star}" phases=3 '
        f"basekv={bus.kv_ln * 3**0.5!r} pu=1 angle=0 r1=0 x1={x_ohm!r} r0=0 x0={x_ohm!r} enabled=no",
    )
    if bus.neutral:
        earth = f'bus1="{bus.name}.{bus.neutral}" bus2="{bus.name}.0"'
        command(solver.dss, f"New Reactor.{name}_earth {earth} phases=1 r={EARTH_OHM!r} x=0")


def add_fault(solver: Solver, name: str, bus: str, phases: Sequence[int], r_ohm: float) -> None:
    """Add a short circuit to ground, that is not there yet."""
    nodes = ".".join(map(str, phases))
    command(solver.dss, f'New Fault.{name} bus1="{bus}.{nodes}" phases={len(phases)} r={r_ohm!r} enabled=no')


def _standing(bus: Bus, phases: Sequence[int]) -> str:
    """Return how a device is said to stand at phases of a bus: see `sides`."""
    is_between = len(phases) > 1 and bus.is_between_phases
    nodes = ".".join(map(str, phases if is_between else (*phases, bus.neutral or sides.GROUND)))
    count = len(sides.sides(bus, phases)) if is_between else len(phases)
    kv = bus.kv_ln * (1.0 if len(phases) == 1 else sides.SQRT3)
    return f'bus1="{bus.name}.{nodes}" phases={count} conn={"delta" if is_between else "wye"} kV={kv!r}'
