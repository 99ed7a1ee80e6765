"""The bound calls of the solver give what OpenDSS's plain calls give."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from opendssdirect import dss

from federates.grid.solver import Solver, SolverError

FEEDERS = Path(__file__).parents[2] / "scenarios" / "feeders"
TOLERANCE_PU = 5e-8
"""Both solutions stop at OpenDSS's tolerance of 1e-9, from different starts."""


def solver_of(feeder: str, controls: bool = False) -> Solver:
    solver = Solver(FEEDERS / feeder / f"{feeder}.dss")
    solver.prepare(controls, 1e-9, 200)
    return solver


def plain(feeder: str, commands: list[str]) -> np.ndarray:
    """Return the node voltages in V of a feeder that was changed by text, as OpenDSS's own list has them."""
    context = dss.NewContext()
    context.Basic.AllowChangeDir(False)
    context.Text.Command(f'Redirect "{FEEDERS / feeder / feeder}.dss"')
    for command in (*commands, "set mode=snap controlmode=off tolerance=1e-9 maxiterations=200"):
        context.Text.Command(command)
    context.Solution.Solve()
    names = [name.lower() for name in context.Circuit.YNodeOrder()]
    volts = np.array(context.Circuit.YNodeVArray()).reshape(-1, 2)
    return dict(zip(names, np.hypot(*volts.T), strict=True))  # type: ignore[return-value]


@pytest.mark.parametrize("feeder", ["ieee13", "ieee34", "ieee123"])
@pytest.mark.parametrize(("p_factor", "q_factor"), [(0.4, 0.5), (0.8, 1.1)])
def test_loads_set_without_a_rebuild_of_y_solve_as_edited_by_text(
    feeder: str, p_factor: float, q_factor: float
) -> None:
    """Loads of every model (constant power, impedance, current; wye, delta) are among them."""
    solver = solver_of(feeder)
    loads = solver.loads()
    setpoints = solver.drawn_by([*loads])
    setpoints.p_kw[:] = [p_factor * load.kw for load in loads.values()]
    setpoints.q_kvar[:] = [q_factor * load.kvar for load in loads.values()]
    setpoints.write()
    solver.solve()
    commands = [f"edit load.{n} kw={p_factor * load.kw!r} kvar={q_factor * load.kvar!r}" for n, load in loads.items()]
    expected = plain(feeder, commands)
    nominal = {node: 1000 * solver.buses()[node.split(".")[0]].kv_ln for node in solver.nodes}
    for node, volts in zip(solver.nodes, np.abs(solver.voltages()), strict=True):
        assert volts == pytest.approx(expected[node], abs=TOLERANCE_PU * nominal[node]), node


def test_injections_and_charging_solve_as_generators_that_were_edited_by_text() -> None:
    solver = Solver(FEEDERS / "ieee13" / "ieee13.dss")
    places = [("671", (1, 2, 3), 4.16), ("645", (2,), 4.16 / 3**0.5), ("634", (1,), 0.48 / 3**0.5)]
    for index, (bus, phases, kv) in enumerate(places):
        solver.add_injection(f"der_{index}", bus, phases, kv)
    solver.prepare(False, 1e-9, 200)
    powers = [(300.0, -50.0), (-40.0, 5.0), (25.0, 10.0)]
    setpoints = solver.injections(["der_2", "der_0", "der_1"])  # in an order of our own
    for position, index in enumerate((2, 0, 1)):
        setpoints.p_kw[position], setpoints.q_kvar[position] = powers[index]
    setpoints.write()
    solver.solve()
    commands = [
        f"new generator.der_{i} bus1={bus}.{'.'.join(map(str, phases))} phases={len(phases)} kv={kv!r} "
        f"kw={powers[i][0]} kvar={powers[i][1]} model=1 vminpu=0.3 vmaxpu=2"
        for i, (bus, phases, kv) in enumerate(places)
    ]
    expected = plain("ieee13", commands)
    for node, volts in zip(solver.nodes, np.abs(solver.voltages()), strict=True):
        assert volts == pytest.approx(expected[node], rel=1e-7), node


def test_two_solvers_do_not_see_each_other() -> None:
    first, second = solver_of("ieee13"), solver_of("ieee34")
    before = np.abs(first.voltages()).copy()
    second.solve()
    first.solve()
    assert np.abs(first.voltages()) == pytest.approx(before, rel=1e-9)
    assert len(first.nodes) == 35
    assert len(second.nodes) == 92


def test_the_working_directory_stays_and_the_default_engine_is_not_touched() -> None:
    here = Path.cwd()
    solver_of("ieee13")
    assert Path.cwd() == here
    assert dss.Basic.NumCircuits() == 0


def test_taps_that_are_set_are_the_taps_that_are_read() -> None:
    solver = solver_of("ieee13")
    solver.set_taps(np.array([3.0, -2.0, 5.0]))
    assert list(solver.taps()) == [3.0, -2.0, 5.0]


def test_a_feeder_without_a_solution_is_named_so() -> None:
    solver = solver_of("ieee13")
    setpoints = solver.drawn_by(["671"])
    setpoints.p_kw[:], setpoints.q_kvar[:] = 1e6, 1e6
    setpoints.write()
    with pytest.raises(SolverError, match="no solution after"):
        solver.solve()


def test_a_file_without_a_circuit_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.dss").write_text("! nothing\n")
    with pytest.raises(SolverError, match=r"x\.dss defines no circuit"):
        Solver(tmp_path / "x.dss")
