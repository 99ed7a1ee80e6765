"""What a feeder has at its buses as its file stands: impedances behind them, angles of their voltages."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from federates.grid.engine import command
from federates.grid.solver import Solver


def source_impedances_ohm(solver: Solver) -> dict[str, dict[tuple[int, int], complex]]:
    """Solve the feeder; return the short-circuit impedances of every bus by its lower-case name.

    Each by two nodes: by how much the voltage of the first falls for a current that the second gives.
    """
    command(solver.dss, "Solve")
    order: dict[str, list[int]] = {}
    """Of the nodes of each bus, as its matrix has them: that in which the file names them first."""
    for bus, _, node in (each.lower().rpartition(".") for each in solver.dss.Circuit.YNodeOrder()):
        order.setdefault(bus, []).append(int(node))
    return {bus: _at_bus_ohm(solver, bus, nodes) for bus, nodes in order.items()}


def _at_bus_ohm(solver: Solver, bus: str, nodes: Sequence[int]) -> dict[tuple[int, int], complex]:
    solver.dss.Circuit.SetActiveBus(bus)
    solver.dss.Bus.ZscRefresh()
    found = np.array(solver.dss.Bus.ZscMatrix()).view(np.complex128).tolist()
    return dict(zip([(one, other) for one in nodes for other in nodes], found, strict=True))


def angles_deg(solver: Solver) -> dict[tuple[str, int], float]:
    """Solve the feeder; return the angles of the voltages of all nodes, by lower-case bus and node."""
    command(solver.dss, "Solve")
    nodes = (name.lower().rpartition(".") for name in solver.dss.Circuit.YNodeOrder())
    volts = np.array(solver.dss.Circuit.YNodeVArray()).view(np.complex128)
    found_deg = np.degrees(np.angle(volts)).tolist()
    return {(bus, int(node)): angle for (bus, _, node), angle in zip(nodes, found_deg, strict=True)}
