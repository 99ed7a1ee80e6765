"""How voltages and loadings answer powers at places of a feeder: by solving it again, a little changed.

For each place (a bus and phases at which devices stand), the feeder is solved as its file has it, with taps and banks
held where they are, and again with a power injected there; with the voltages `v` and the loadings `l` of elements,

    dv/dP = (v(P) - v(0)) / P          dl/dP = (l(P) - l(0)) / P          and likewise dv/dQ, dl/dQ

which is right near the file's loads: voltages answer by some ten per cent more or less at other loads, and a loading
answers with the other sign once power flows backwards. A control that measures again after each step makes up for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from derloop.contract import FloatArray
from derloop.kind import Sensitivity, Terminal
from federates.grid import inventory
from federates.grid.additions import add_injection
from federates.grid.measured import Measured
from federates.grid.monitored import Monitored
from federates.grid.setpoints import Setpoints
from federates.grid.solver import Solver

MOVED = 10.0
"""By how much powers are changed, kW or kvar."""
TOLERANCE = 1e-9


def answers(
    feeder: Path, terminals: Sequence[Terminal], monitored: Sequence[str], ratings_a: Mapping[str, float]
) -> Sensitivity:
    """Return how all nodes and some lines and transformers answer the powers of devices; in an engine of its own."""
    solver = Solver(feeder)
    places = list(dict.fromkeys((t.bus, t.phases) for t in terminals))
    buses = inventory.buses(solver)
    for i, (bus, phases) in enumerate(places):
        add_injection(solver, f"place_{i}", buses[bus], phases)
    solver.prepare(controls=False, tolerance=TOLERANCE, max_iterations=100)
    at = {place: i for i, place in enumerate(places)}
    place = np.array([at[t.bus, t.phases] for t in terminals], np.intp)
    elements = Monitored(monitored, ratings_a, solver) if monitored else None
    return _perturbed(solver, place, Measured(solver, buses), elements)


def _perturbed(solver: Solver, place: NDArray[np.intp], measured: Measured, elements: Monitored | None) -> Sensitivity:
    count = int(place.max()) + 1
    setpoints = Setpoints(solver.dss, "Generator", [f"place_{i}" for i in range(count)])

    def solved(kw: FloatArray, kvar: FloatArray) -> tuple[FloatArray, FloatArray]:
        setpoints.p_kw[:], setpoints.q_kvar[:] = kw, kvar
        setpoints.write()
        solver.solve_given()
        loading_pu = elements.measured(solver.elements.most_currents_a())["loading_pu"] if elements else np.zeros(0)
        return measured.magnitudes_pu(), loading_pu

    rest = np.zeros(count)
    rest_v, rest_l = solved(rest, rest)

    def per_unit(moved: list[tuple[FloatArray, FloatArray]]) -> tuple[FloatArray, FloatArray]:
        v, loading = (np.array([each[i] for each in moved]).T for i in range(2))
        return (v - rest_v[:, None]) / MOVED, (loading - rest_l[:, None]) / MOVED

    v_per_kw, loading_per_kw = per_unit([solved(MOVED * row, rest) for row in np.eye(count)])
    v_per_kvar, loading_per_kvar = per_unit([solved(rest, MOVED * row) for row in np.eye(count)])
    names = elements.names if elements else ()
    return Sensitivity(place, solver.nodes, v_per_kw, names, loading_per_kw, v_per_kvar, loading_per_kvar)
