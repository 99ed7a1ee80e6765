"""How a feeder says that its voltages and loadings answer powers, beside what it does when they come."""

from pathlib import Path

import numpy as np
import pytest

from derloop.kind import Bus, Terminal
from federates.grid.additions import add_injection
from federates.grid.answering import answers
from federates.grid.monitored import Monitored
from federates.grid.setpoints import Setpoints
from federates.grid.solver import Solver

FEEDER = Path(__file__).parents[2] / "scenarios/feeders/ieee13/ieee13.dss"
PLACES = [
    Terminal("a", "675", (1, 2, 3), 300.0),
    Terminal("b", "671", (1,), 50.0),
    Terminal("c", "675", (1, 2, 3), 9.0),
]
MONITORED = ("632_671", "transformer.xfm_1")


def solved(a_kw: float, b_kw: float, a_kvar: float = 0.0, b_kvar: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Voltages of all nodes, V, and loadings, with these powers at the two places."""
    solver = Solver(FEEDER)
    add_injection(solver, "a", Bus("675", (1, 2, 3), 4.16 / 3**0.5), (1, 2, 3))
    add_injection(solver, "b", Bus("671", (1, 2, 3), 4.16 / 3**0.5), (1,))
    solver.prepare(controls=False, tolerance=1e-9, max_iterations=100)
    powers = Setpoints(solver.dss, "Generator", ["a", "b"])
    powers.p_kw[:], powers.q_kvar[:] = (a_kw, b_kw), (a_kvar, b_kvar)
    powers.write()
    solver.solve()
    loading = Monitored(MONITORED, {}, solver).measured(solver.elements.most_currents_a())["loading_pu"]
    return np.abs(solver.voltages()), loading


def test_what_is_foreseen_comes_to_some_per_cent() -> None:
    told = answers(FEEDER, PLACES, MONITORED, {})
    assert told.place.tolist() == [0, 1, 0]
    assert told.elements == ("transformer.xfm_1", "line.632_671")
    (v_rest, l_rest), (v, loading) = solved(0.0, 0.0), solved(300.0, 50.0)
    nodes = [told.nodes.index(node) for node in ("675.1", "675.2", "675.3", "671.1")]
    change_pu = ((v - v_rest) / (4160.0 / 3**0.5))[nodes]
    foreseen_pu = (told.v_pu_per_kw @ np.array([300.0, 50.0]))[nodes]
    assert foreseen_pu == pytest.approx(change_pu, rel=0.05, abs=1e-5)
    assert abs(change_pu).max() > 0.005
    line = told.loading_pu_per_kw[1] @ np.array([300.0, 50.0])
    assert line == pytest.approx((loading - l_rest)[1], rel=0.05)
    assert line < -0.1


def test_what_reactive_powers_do_is_foreseen_as_well() -> None:
    told = answers(FEEDER, PLACES, MONITORED, {})
    (v_rest, _), (v, _) = solved(0.0, 0.0), solved(0.0, 0.0, 200.0, -40.0)
    nodes = [told.nodes.index(node) for node in ("675.1", "675.2", "675.3", "671.1")]
    change_pu = ((v - v_rest) / (4160.0 / 3**0.5))[nodes]
    assert (told.v_pu_per_kvar @ np.array([200.0, -40.0]))[nodes] == pytest.approx(change_pu, rel=0.05, abs=1e-5)
    assert abs(change_pu).max() > 0.003
