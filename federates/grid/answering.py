"""How voltages and loadings answer powers at places of a feeder: by solving it again, a little changed.

For each place (a bus and phases at which devices stand), the feeder is solved as its file has it, with taps and banks
held where they are, and again with a power injected there; with the voltages `v` and the loadings `l` of elements,

    dv/dP = (v(P) - v(0)) / P          dl/dP = (l(P) - l(0)) / P

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
from federates.grid.monitored import Monitored
from federates.grid.solver import Solver

SQRT3 = 3**0.5
MOVED_KW = 10.0
TOLERANCE = 1e-9


def answers(
    feeder: Path, terminals: Sequence[Terminal], monitored: Sequence[str], ratings_a: Mapping[str, float]
) -> Sensitivity:
    """Return how all nodes and some lines and transformers answer the powers of devices; in an engine of its own."""
    solver = Solver(feeder)
    places = list(dict.fromkeys((t.bus, t.phases) for t in terminals))
    kv_ln = {name: bus.kv_ln for name, bus in solver.buses().items()}
    for i, (bus, phases) in enumerate(places):
        solver.add_injection(f"place_{i}", bus, phases, kv_ln[bus] * (1.0 if len(phases) == 1 else SQRT3))
    solver.prepare(controls=False, tolerance=TOLERANCE, max_iterations=100)
    at = {place: i for i, place in enumerate(places)}
    place = np.array([at[t.bus, t.phases] for t in terminals], np.intp)
    bases_v = 1000.0 * np.array([kv_ln[node.split(".")[0]] for node in solver.nodes])
    elements = Monitored(monitored, ratings_a, solver) if monitored else None
    return _perturbed(solver, place, bases_v, elements)


def _perturbed(solver: Solver, place: NDArray[np.intp], bases_v: FloatArray, elements: Monitored | None) -> Sensitivity:
    count = int(place.max()) + 1
    setpoints = solver.injections([f"place_{i}" for i in range(count)])

    def solved(kw: FloatArray) -> tuple[FloatArray, FloatArray]:
        setpoints.p_kw[:] = kw
        setpoints.write()
        solver.solve()
        loading_pu = elements.measured(solver.most_currents_a())["loading_pu"] if elements else np.zeros(0)
        return np.abs(solver.voltages()) / bases_v, loading_pu

    rest_v, rest_l = solved(np.zeros(count))
    moved = [solved(MOVED_KW * row) for row in np.eye(count)]
    v_per_kw = np.array([v - rest_v for v, _ in moved]).T / MOVED_KW
    loading_per_kw = np.array([loading - rest_l for _, loading in moved]).T / MOVED_KW
    return Sensitivity(place, solver.nodes, v_per_kw, elements.names if elements else (), loading_per_kw)
