"""Powers of large feeders: what is asked class by class and summed is what OpenDSS tells of each element."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from derloop.contract import FloatArray
from federates.grid import inventory
from federates.grid.additions import add_injection
from federates.grid.elements import Primitive
from federates.grid.losses import is_reciprocal
from federates.grid.powers import Each, Summed, powers
from federates.grid.setpoints import Setpoints
from federates.grid.solver import Solver

FEEDERS = Path(__file__).parents[2] / "scenarios" / "feeders"
TOLERANCE = 1e-9
"""To which a solution converges: what OpenDSS tells of a load is by the currents of an iteration before."""
FILES = ("ieee13/ieee13.dss", "ieee34/ieee34.dss", "ieee123/ieee123.dss", "ieee123/ieee123_two_sources.dss")
OPEN_AND_SHORT = """
Open Line.671_680 2 3
New Load.odd bus1=671.1.2 phases=1 conn=delta model=5 kV=4.16 kW=100 kvar=50
New Load.gone bus1=675.1 phases=1 kV=2.4 kW=10 kvar=5 enabled=no
New Reactor.earth bus1=675 phases=3 kv=4.16 R=1000 X=10
New Fault.short bus1=684.1 phases=1 r=5
New PVSystem.roof bus1=675.2 phases=1 kV=2.4 kVA=50 Pmpp=40
"""

AUTO = """
New AutoTrans.step phases=3 windings=2 buses=[671 beyond] kVs=[4.16 3.8] kVAs=[500 500] xhx=2 %loadloss=1
New RegControl.step transformer=step winding=2 vreg=118 band=2 ptratio=18
New Load.beyond bus1=beyond phases=3 kV=3.8 kW=200 pf=0.9
"""

FUSE = """
New Line.beside phases=3 bus1=632 bus2=671 linecode=601 length=2000 units=ft
New TCC_Curve.melts npts=2 c_array=[1 10] t_array=[1 0.1]
New Fuse.beside monitoredobj=Line.beside fusecurve=melts ratedcurrent=300
"""


def solved(feeder: Path) -> Solver:
    solver = Solver(feeder)
    add_injection(solver, "pv_0", next(iter(inventory.buses(solver).values())), [1])
    solver.prepare(controls=True, tolerance=TOLERANCE, max_iterations=100)
    return solver


def with_more(folder: Path, lines: str) -> Solver:
    (folder / "feeder.dss").write_text((FEEDERS / FILES[0]).read_text() + lines)
    return solved(folder / "feeder.dss")


def both(solver: Solver) -> tuple[Each, Summed]:
    elements = solver.elements
    drawing = np.setdiff1d(np.arange(len(elements.names)), [*elements.sources, *elements.delivery])
    return Each(solver, elements.sources, drawing), Summed(solver, bases_v(solver), elements.sources, drawing, [])


def bases_v(solver: Solver) -> FloatArray:
    kv = {bus.name: bus.kv_ln for bus in inventory.buses(solver).values()}
    return np.array([1000 * kv[node.partition(".")[0]] for node in solver.nodes])


def v_pu(solver: Solver) -> FloatArray:
    return np.abs(solver.voltages()) / bases_v(solver)


def assert_equal(each: Each, summed: Summed, solver: Solver) -> None:
    expected, found = each.drawn(v_pu(solver)).copy(), summed.drawn(v_pu(solver))
    drawing = np.setdiff1d(np.arange(len(solver.elements.names)), solver.elements.delivery)
    np.testing.assert_allclose(found[drawing], expected[drawing], rtol=TOLERANCE, atol=1e-9)
    total, same = each.totals(expected), summed.totals(found)
    assert same.losses_kw == pytest.approx(total.losses_kw, rel=1e-9, abs=0.0)
    assert same.head == pytest.approx(total.head, rel=1e-12, abs=0.0)
    assert same.others_kw == pytest.approx(total.others_kw, rel=TOLERANCE, abs=0.0)


@pytest.fixture(params=[*FILES, "open and short"])
def solver(request: pytest.FixtureRequest, tmp_path: Path) -> Solver:
    if request.param in FILES:
        return solved(FEEDERS / request.param)
    return with_more(tmp_path, OPEN_AND_SHORT)


def test_summed_powers_are_those_of_each_element(solver: Solver) -> None:
    each, summed = both(solver)
    assert summed.is_known
    assert_equal(each, summed, solver)


def test_losses_follow_every_tap_and_bank(solver: Solver) -> None:
    each, summed = both(solver)
    before = summed.totals(summed.drawn(v_pu(solver))).losses_kw
    solver.with_controls(False)
    solver.positions.set_taps(solver.positions.taps() - 3.0)
    solver.dss.Capacitors.First()
    if solver.dss.Capacitors.Count():
        solver.dss.Capacitors.States([0])
    solver.solve()
    assert_equal(each, summed, solver)
    assert summed.totals(summed.drawn(v_pu(solver))).losses_kw != before


def test_losses_follow_a_control_that_acts_within_a_solution() -> None:
    solver = solved(FEEDERS / FILES[0])
    each, summed = both(solver)
    taps = solver.positions.taps()
    devices = Setpoints(solver.dss, "Generator", ["pv_0"])
    devices.p_kw[:] = 900.0
    devices.write()
    solver.positions.set_taps(taps - 8.0)
    solver.solve()
    assert solver.has_acted
    assert_equal(each, summed, solver)


def test_losses_follow_the_taps_of_an_autotransformer(tmp_path: Path) -> None:
    """Those that it stood at first were taken for ever, and the run's energy balance failed."""
    solver = with_more(tmp_path, AUTO)
    each, summed = both(solver)
    assert summed.is_known
    assert_equal(each, summed, solver)
    solver.dss.Text.Command("Edit RegControl.step vreg=122")
    solver.solve()
    assert solver.has_acted
    assert_equal(each, summed, solver)


def test_losses_follow_a_fuse_that_blows(tmp_path: Path) -> None:
    """Its line was counted as if it still conducted, and the run's energy balance failed."""
    solver = with_more(tmp_path, FUSE)
    each, summed = both(solver)
    assert summed.is_known
    assert_equal(each, summed, solver)
    solver.dss.Text.Command("Edit Load.671 kW=3000")
    solver.solve()
    solver.dss.Circuit.SetActiveElement("Line.beside")
    assert solver.dss.CktElement.IsOpen(1, 1)
    assert_equal(each, summed, solver)


def test_what_is_not_reciprocal_is_no_quadratic_form() -> None:
    nodes, y = np.array([1, 2]), np.array([[2.0, -1.0 + 0.5j], [-1.0 + 0.5j, 2.0]])
    assert is_reciprocal(Primitive(nodes, y))
    assert not is_reciprocal(Primitive(nodes, np.triu(y)))


@pytest.mark.parametrize("can_change", [True, False])
def test_only_large_feeders_without_switches_are_summed(monkeypatch: pytest.MonkeyPatch, can_change: bool) -> None:
    solver = solved(FEEDERS / FILES[0])
    nothing = np.zeros(0, np.intp)
    assert isinstance(powers(solver, bases_v(solver), solver.elements.sources, nothing, [], can_change), Each)
    monkeypatch.setattr("federates.grid.powers.MANY", 10)
    told = powers(solver, bases_v(solver), solver.elements.sources, nothing, [], can_change)
    assert isinstance(told, Each if can_change else Summed)
