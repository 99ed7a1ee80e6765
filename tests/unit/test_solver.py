"""The bound calls of the solver against OpenDSS's own plain ones; what it leaves out changes nothing."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import weakref
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from derloop.kind import Bus
from derloop.scenario.assembly import assemble
from derloop.scenario.loading import load
from federates.grid import inventory
from federates.grid.additions import add_injection
from federates.grid.engine import SolverError
from federates.grid.setpoints import Setpoints, Sources
from federates.grid.solver import Solver

ENVIRONMENT_MOVES = """
import os, sys, threading
from pathlib import Path
os.environ["FIRST"] = "1"  # from now on the environment is where malloc has put it
from federates.grid.solver import Solver
solver = Solver(Path(sys.argv[1]))
solver.prepare(controls=True, tolerance=1e-9, max_iterations=100)
for number in range(1000):
    os.environ[f"LATER_{number}"] = "x" * 100
thread = threading.Thread(target=solver.solve)
thread.start()
thread.join()
print("solved")
"""
SCENARIOS = Path(__file__).parents[2] / "scenarios"
FEEDER = SCENARIOS / "feeders/ieee13/ieee13.dss"
CAP_CONTROL = (
    "New CapControl.watch element=Transformer.rg60a terminal=2 capacitor=611c type=voltage PTratio=20 "
    "ONsetting=118 OFFsetting=126\n"
)


def prepared(feeder: Path = FEEDER) -> Solver:
    """Return a feeder with one device at 671.1 and two at 675."""
    solver = Solver(feeder)
    add_injection(solver, "pv_0", Bus("671", (1, 2, 3), 2.4018), [1])
    add_injection(solver, "pv_1", Bus("675", (1, 2, 3), 4.16 / 3**0.5), [1, 2, 3])
    solver.prepare(controls=True, tolerance=1e-9, max_iterations=100)
    return solver


@pytest.fixture
def with_cap_control(tmp_path: Path) -> Path:
    feeder = tmp_path / "feeder.dss"
    feeder.write_text(FEEDER.read_text() + "\n" + CAP_CONTROL)
    return feeder


def test_setpoints_and_voltages_equal_the_plain_calls() -> None:
    bound, plain = prepared(), prepared()
    setpoints = Setpoints(bound.dss, "Generator", ["pv_1", "pv_0"])
    setpoints.p_kw[:], setpoints.q_kvar[:] = [300.0, 40.0], [-90.0, 12.0]
    setpoints.write()
    for name, kw, kvar in (("pv_0", 40.0, 12.0), ("pv_1", 300.0, -90.0)):
        plain._dss.Generators.Name(name)
        plain._dss.Generators.kW(kw)
        plain._dss.Generators.kvar(kvar)
    bound.solve()
    plain.solve()
    listed = plain._dss.YMatrix.getV()
    np.testing.assert_allclose(bound.voltages(), np.array(listed[2::2]) + 1j * np.array(listed[3::2]), rtol=1e-9)


def test_taps_equal_the_plain_calls_after_they_were_set() -> None:
    solver = prepared()
    solver.positions.set_taps(np.array([3.0, -4.0, 5.0]))
    names = inventory.regulators(solver)
    found = []
    for name in names:
        solver._dss.RegControls.Name(name)
        found.append(solver._dss.RegControls.TapNumber())
    assert found == [3, -4, 5]
    np.testing.assert_array_equal(solver.positions.taps(), found)


def counted(setpoints: Setpoints) -> list[int]:
    """Return the list to which every call that gives values adds the property's number."""
    given: list[int] = []
    lib: Any = setpoints._lib

    def batch(of: Any, count: int, index: int, *rest: Any) -> None:
        given.append(index)
        lib.Batch_Float64Array(of, count, index, *rest)

    setpoints._lib = SimpleNamespace(Batch_Float64Array=batch, BatchOperation_Set=lib.BatchOperation_Set)
    return given


def test_a_setpoint_is_given_once_and_again_when_it_changes() -> None:
    setpoints = Setpoints(prepared().dss, "Generator", ["pv_0", "pv_1"])
    given = counted(setpoints)
    setpoints.write()
    assert given == [*setpoints._indices]
    setpoints.write()
    assert len(given) == 2
    setpoints.q_kvar[1] = 5.0
    setpoints.write()
    assert given[2:] == [setpoints._indices[1]]


def test_setpoints_that_are_not_given_again_still_hold() -> None:
    once, again = prepared(), prepared()
    for solver, writes in ((once, [150.0, 150.0, 20.0, 20.0]), (again, [150.0, 20.0])):
        setpoints = Setpoints(solver.dss, "Generator", ["pv_0", "pv_1"])
        for p_kw in writes:
            setpoints.p_kw[:] = p_kw
            setpoints.write()
            solver.solve()
    np.testing.assert_allclose(once.voltages(), again.voltages(), rtol=1e-9)


def test_reactive_power_holds_where_active_power_alone_changes() -> None:
    """OpenDSS keeps the power factor of a generator: from 1 to 50 kW, 25 kvar would become 1250."""
    moved, fresh = prepared(), prepared()
    powers = Setpoints(moved.dss, "Generator", ["pv_0"])
    for p_kw in (1.0, 50.0):
        powers.p_kw[:], powers.q_kvar[:] = p_kw, 25.0
        powers.write()
        moved.solve()
    once = Setpoints(fresh.dss, "Generator", ["pv_0"])
    once.p_kw[:], once.q_kvar[:] = 50.0, 25.0
    once.write()
    fresh.solve()
    np.testing.assert_allclose(np.abs(moved.voltages()), np.abs(fresh.voltages()), rtol=1e-6)


def of_all_models(folder: Path) -> Path:
    """Return IEEE 13 with a load of each of OpenDSS's models, multipliers of loads and of generators, and a control."""
    models = "\n".join(
        f"New Load.model_{m} bus1=675.{1 + m % 3} phases=1 kV=2.4 kW=20 kvar=9 model={m} zipv=(.3 .3 .4 .2 .5 .3 .5)"
        for m in range(1, 9)
    )
    more = "New Generator.own bus1=680 kV=4.16 kW=90 kvar=10 model=3\nNew PVSystem.roof bus1=692 kV=4.16 kVA=40 Pmpp=40"
    path = folder / "all.dss"
    path.write_text("\n".join([FEEDER.read_text(), models, more, "Set LoadMult=0.9 GenMult=0.8", CAP_CONTROL]))
    return path


def test_a_solution_of_what_is_given_is_that_of_the_whole_to_the_bit(tmp_path: Path) -> None:
    """Taps and a bank move meanwhile, the source has another voltage, and every model of a load is driven."""
    chance, acted = np.random.default_rng(5), 0
    feeder = of_all_models(tmp_path)
    whole, given = prepared(feeder), prepared(feeder)
    for step in range(150):
        loads_pu, pv, v_pu = chance.uniform(0.2, 2.0, 26), chance.uniform(-90, 90, (2, 2)), chance.uniform(0.97, 1.05)
        for solver in (whole, given):
            drawn = Setpoints(solver.dss, "Load", solver.dss.Loads.AllNames())
            devices = Setpoints(solver.dss, "Generator", ["pv_0", "pv_1"])
            if step % 3:
                drawn.p_kw[:], drawn.q_kvar[:] = 40 * loads_pu, 15 * loads_pu
                drawn.write()
            devices.p_kw[:], devices.q_kvar[:] = pv
            devices.write()
            source = Sources(solver.dss, ["source"])
            source.v_pu[:] = v_pu if step % 5 == 0 else 1.0
            source.write()
        whole.solve()
        given.solve_given()
        acted += whole.has_acted
        assert given.has_acted == whole.has_acted
        assert given.voltages().tobytes() == whole.voltages().tobytes()
        assert given.elements.powers().tobytes() == whole.elements.powers().tobytes()
        assert given.positions.taps().tobytes() == whole.positions.taps().tobytes()
        assert given.positions.banks() == whole.positions.banks()
        assert given.built == whole.built
    assert 20 < acted < 130


def test_what_cannot_be_solved_is_told_and_the_next_solution_is_a_whole_one() -> None:
    fresh, failed = prepared(), prepared()
    for solver in (fresh, failed):
        solver.with_controls(False)
    devices = Setpoints(failed.dss, "Generator", ["pv_0", "pv_1"])
    devices.p_kw[:] = 1e6
    devices.write()
    with pytest.raises(SolverError, match=r"no solution after 100 iterations: another one still moves '\w+\.\d' by "):
        failed.solve_given()
    assert failed.is_rearranged
    devices.p_kw[:] = 0.0
    devices.write()
    failed.begin_with(fresh.voltages().copy())
    for solver in (fresh, failed):
        solver.solve_given()
        assert not solver.is_rearranged
    np.testing.assert_allclose(failed.voltages(), fresh.voltages(), rtol=1e-9)


def test_the_source_takes_another_voltage_without_the_matrix_being_built_anew() -> None:
    solver = prepared()
    solver.solve()
    source = Sources(solver.dss, ["source"])
    source.v_pu[:] = 0.97
    source.write()
    assert inventory.head_source(solver) == (0.97, 0.0)
    assert not solver._dss.Solution.SystemYChanged()


def test_capacitors_are_asked_for_only_where_a_control_may_switch_them(with_cap_control: Path) -> None:
    assert prepared().positions.banks() == []
    assert prepared(with_cap_control).positions.banks() == [[1, 0], [0, 1]]  # it has switched 611c off


def test_capacitor_states_are_set_and_read_back(with_cap_control: Path) -> None:
    solver = prepared(with_cap_control)
    solver.positions.set_banks([[1, 0], [0, 1]])
    assert solver.positions.banks() == [[1, 0], [0, 1]]


def test_a_bank_that_a_control_has_taken_out_is_in_again_where_it_is_set(with_cap_control: Path) -> None:
    """Its terminal is open then: with its steps alone it was said to be in, and was not."""
    solver, plain = prepared(with_cap_control), prepared()
    assert solver.positions.banks()[1] == [0, 1]
    solver.positions.set_banks([[1, 0], [1, 0]])
    for one in (solver, plain):
        one.with_controls(False)
        one.positions.set_taps(np.ones(len(one.positions.taps())))
        one.solve()
    np.testing.assert_allclose(np.abs(solver.voltages()), np.abs(plain.voltages()), rtol=1e-6)


def test_a_step_that_is_repeated_starts_from_the_taps_of_the_last_instant() -> None:
    def grid() -> Any:
        return assemble(load(SCENARIOS / "kind_pv.json", [])).federates["grid"]

    def inputs(of: Any, share: float) -> dict[str, Any]:
        asked = {port: spec for port, spec in of.interface.inputs.items() if spec.otherwise is None}
        drawn = {port: np.zeros(spec.size) for port, spec in asked.items()}
        drawn["homes.p_kw"] += 230.0 * share
        return drawn

    straight, repeated = grid(), grid()
    straight.start()
    repeated.start()
    heavy = {name: value.copy() for name, value in repeated.step(0, inputs(repeated, 1.3)).items()}
    light = repeated.step(0, inputs(repeated, 0.2))
    expected = straight.step(0, inputs(straight, 0.2))
    assert (heavy["taps"] != expected["taps"]).any()
    np.testing.assert_array_equal(light["taps"], expected["taps"])
    np.testing.assert_allclose(light["v_pu"], expected["v_pu"], rtol=1e-6)


def test_a_feeder_that_nobody_holds_is_gone() -> None:
    solver = Solver(FEEDER)
    solver.solve()
    gone = weakref.ref(solver.dss._api_util.ctx)
    del solver
    gc.collect()
    assert gone() is None


def test_a_thread_may_solve_after_the_environment_has_moved() -> None:
    poisoned = {**os.environ, "MALLOC_PERTURB_": "165"}  # glibc overwrites what is freed
    words = [sys.executable, "-c", ENVIRONMENT_MOVES, str(FEEDER)]
    done = subprocess.run(words, env=poisoned, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "solved"), done.stderr


BY_BUS = """Clear
New Circuit.by_bus bus1=head basekv=12.47 pu=1.0
New Transformer.street buses=[head, home] conns=[delta, wye] kVs=[12.47, 0.416] kVAs=[100, 100] xhl=4
New Load.home bus1=home kV=0.416 kW=1
MakeBusList
SetkVBase bus=head kVLL=12.47
SetkVBase bus=home kVLL=0.416
"""


def test_the_base_voltages_of_buses_are_those_that_the_file_sets(tmp_path: Path) -> None:
    """OpenDSS would take the nearest of a list of its own: 0.48 kV for 0.416 kV, and tell 0.87 pu for 1."""
    (tmp_path / "feeder.dss").write_text(BY_BUS)
    found = inventory.buses(Solver(tmp_path / "feeder.dss"))
    assert {name: bus.kv_ln for name, bus in found.items()} == pytest.approx(
        {"head": 12.47 / 3**0.5, "home": 0.416 / 3**0.5}, rel=1e-12
    )


MULTIPLIED = """Clear
New Circuit.multiplied bus1=head basekv=12.47 pu=1.0
New Load.varies bus1=head kV=12.47 kW=100 kvar=50
New Load.fixed bus1=head kV=12.47 kW=100 kvar=50 status=fixed
New Load.grown bus1=head kV=12.47 pf=0.8 xfkVA=200 allocationfactor=0.5
Set LoadMult=0.5 %growth=10 year=3
Set VoltageBases=[12.47]
CalcVoltageBases
"""


def test_loads_have_what_the_multipliers_of_the_file_make_of_them_once(tmp_path: Path) -> None:
    """Driven loads tell what they are given: with a multiplier beside it they drew half of what they told."""
    (tmp_path / "feeder.dss").write_text(MULTIPLIED)
    solver = Solver(tmp_path / "feeder.dss")
    loads = inventory.loads(solver)
    growth = 1.1**2
    assert [loads[name].kw for name in ("varies", "fixed", "grown")] == pytest.approx(
        [50 * growth, 100 * growth, 40 * growth]
    )
    assert [loads[name].kvar for name in ("varies", "fixed", "grown")] == pytest.approx(
        [25 * growth, 50 * growth, 30 * growth]
    )
    solver.prepare(controls=False, tolerance=1e-9, max_iterations=100)
    driven = Setpoints(solver.dss, "Load", ["varies", "fixed", "grown"])
    driven.p_kw[:], driven.q_kvar[:] = (10.0, 20.0, 30.0), 1.0
    driven.write()
    solver.solve()
    drawn = dict(zip(solver.elements.names, solver.elements.powers().real, strict=True))
    assert [drawn[f"load.{name}"] for name in ("varies", "fixed", "grown")] == pytest.approx([10.0, 20.0, 30.0])


@pytest.mark.parametrize(("model", "kvar"), [(1, 40.0), (5, 40.0), (6, 80.0), (7, 80.0)])
def test_reactive_power_that_a_load_model_keeps_is_not_multiplied(tmp_path: Path, model: int, kvar: float) -> None:
    """OpenDSS multiplies only the active power of models 6 and 7."""
    load = f"New Load.l bus1=head kV=12.47 kW=300 kvar=80 model={model}\nSet LoadMult=0.5\n"
    (tmp_path / "feeder.dss").write_text(MULTIPLIED.replace("Set LoadMult=0.5 %growth=10 year=3\n", load))
    solver = Solver(tmp_path / "feeder.dss")
    solver.prepare(controls=False, tolerance=1e-9, max_iterations=100)
    drawn = dict(zip(solver.elements.names, solver.elements.powers(), strict=True))["load.l"]
    assert (drawn.real, drawn.imag) == pytest.approx((150.0, kvar), rel=1e-3)


GROWN = MULTIPLIED.replace(
    "New Load.varies", "New GrowthShape.g npts=2 year=[1 2] mult=[1.5 1.0]\nNew Load.varies growth=g"
)


@pytest.mark.parametrize("options", ["Set year=1", "Set year=3 %growth=0"])
def test_growth_by_a_shape_is_refused_whatever_the_growth_of_others(tmp_path: Path, options: str) -> None:
    """Where that of all others was none, driven loads drew what they told times what the shape says."""
    (tmp_path / "feeder.dss").write_text(GROWN.replace("Set LoadMult=0.5 %growth=10 year=3", options))
    with pytest.raises(SolverError, match="load varies grows by a shape of its own, which is not read: set no year"):
        Solver(tmp_path / "feeder.dss")


def test_a_shape_of_growth_counts_for_nothing_where_no_year_is_set(tmp_path: Path) -> None:
    """It was refused beside a multiplier of loads, with the advice to set no year."""
    (tmp_path / "feeder.dss").write_text(GROWN.replace(" %growth=10 year=3", ""))
    assert inventory.loads(Solver(tmp_path / "feeder.dss"))["varies"].kw == pytest.approx(50.0)


def test_what_a_device_injects_is_not_multiplied_with_the_generators_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "feeder.dss").write_text(MULTIPLIED + "Set GenMult=0.5\n")
    solver = Solver(tmp_path / "feeder.dss")
    add_injection(solver, "pv_0", Bus("head", (1, 2, 3), 12.47 / 3**0.5), [1, 2, 3])
    solver.prepare(controls=False, tolerance=1e-9, max_iterations=100)
    given = Setpoints(solver.dss, "Generator", ["pv_0"])
    given.p_kw[:], given.q_kvar[:] = 10.0, 5.0
    given.write()
    solver.solve()
    drawn = dict(zip(solver.elements.names, solver.elements.powers(), strict=True))
    assert drawn["generator.pv_0"] == pytest.approx(-10 - 5j)


def test_a_solution_is_as_near_where_the_file_asks_for_newtons_method(tmp_path: Path) -> None:
    """To the same tolerance that one ends where powers part by more than energy balances allow."""
    (tmp_path / "feeder.dss").write_text(FEEDER.read_text() + "\nSet algorithm=newton\n")
    found, plain = prepared(tmp_path / "feeder.dss"), prepared()
    assert found.voltages().tobytes() == plain.voltages().tobytes()


def test_a_feeder_that_sets_no_base_voltages_is_refused(tmp_path: Path) -> None:
    """Each bus had the nearest of OpenDSS's own list, and 0.4 kV was told as 0.83 pu."""
    without = "".join(line for line in MULTIPLIED.splitlines(keepends=True) if "VoltageBases" not in line)
    (tmp_path / "feeder.dss").write_text(without)
    with pytest.raises(SolverError, match=r"feeder\.dss sets no VoltageBases"):
        Solver(tmp_path / "feeder.dss")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("Set loadmodel=admittance", "LoadModel=admittance, with"),
        ("Set cktmodel=positive", "CktModel=positive, with"),
        ("Set loadmodel=admittance cktmodel=positive", "LoadModel=admittance and CktModel=positive, with"),
    ],
)
def test_a_circuit_in_which_devices_inject_something_else_is_refused(line: str, said: str, tmp_path: Path) -> None:
    """They injected nothing, or three times as much, and the run's balance failed without saying why."""
    (tmp_path / "feeder.dss").write_text(f"{FEEDER.read_text()}\n{line}\n")
    with pytest.raises(SolverError, match=rf"feeder\.dss sets {said} which devices would not inject"):
        Solver(tmp_path / "feeder.dss")


RING = """Clear
New Circuit.ring bus1=head basekv=12.47 pu=1.02 r1=0 x1=0.5 r0=0 x0=0.5
Set mode={mode}
New TCC_Curve.slow npts=2 c_array=(1 10) t_array=(100 1)
New Line.east phases=3 bus1=head bus2=b r1=0.4 x1=0.8 r0=0.8 x0=2 c1=0 c0=0 length=1
New Line.west phases=3 bus1=head bus2=c r1=0.4 x1=0.8 r0=0.8 x0=2 c1=0 c0=0 length=1
New Line.tie phases=3 bus1=b bus2=c switch=yes r1=0.001 x1=0 r0=0.001 x0=0 c1=0 c0=0 length=1
New Load.b phases=3 bus1=b kv=12.47 kw=900 kvar=0 model=1
New Capacitor.bank phases=3 bus1=b kv=12.47 kvar=600
Set VoltageBases=(12.47)
{control}
"""


def ring_of(folder: Path, control: str, controls_act: bool, mode: str = "snap") -> Solver:
    (folder / "ring.dss").write_text(RING.format(control=control, mode=mode))
    solver = Solver(folder / "ring.dss")
    solver.prepare(controls_act, 1e-8, 100)
    return solver


@pytest.mark.parametrize("mode", ["snap", "daily"])
@pytest.mark.parametrize("controls_act", [True, False])
@pytest.mark.parametrize(
    "control",
    [
        "Fuse.tie monitoredobj=Line.tie fusecurve=slow ratedcurrent=500",
        "Recloser.tie monitoredobj=Line.tie phasefast=slow phasedelayed=slow phasetrip=500",
        "Relay.tie monitoredobj=Line.tie type=current phasecurve=slow phasetrip=500",
    ],
)
def test_what_the_file_opens_stays_open_whatever_protects_it(
    control: str, controls_act: bool, mode: str, tmp_path: Path
) -> None:
    """OpenDSS resets controls where a mode is set: a tie with a fuse was closed, and the ring with it."""
    ring = ring_of(tmp_path, f"New {control}\nOpen Line.tie 1", controls_act, mode)
    assert abs(ring.elements.line_kva("west", 0)) < 1.0
    assert ring.elements.line_kva("east", 0).real > 900.0
    closed = ring_of(tmp_path, f"New {control}", controls_act, mode)
    assert closed.elements.line_kva("west", 0).real > 400.0


@pytest.mark.parametrize("mode", ["snap", "daily"])
def test_a_bank_that_the_file_opens_stays_out_where_its_control_rests(mode: str, tmp_path: Path) -> None:
    control = "New CapControl.bank capacitor=bank element=Line.east type=kvar onsetting=300 offsetting=-900"
    ring = ring_of(tmp_path, f"{control}\nOpen Capacitor.bank 1\nOpen Line.tie 1", False, mode)
    assert ring.positions.banks() == [[1, 1]]
    assert ring.elements.line_kva("east", 0).imag > 0.0


@pytest.mark.parametrize("controls_act", [True, False])
@pytest.mark.parametrize("mode", ["snap", "daily"])
@pytest.mark.parametrize(
    ("told", "is_open"),
    [
        ("normal=open", True),
        ("normal=closed action=open", True),
        ("normal=closed state=open", True),
        ("normal=open state=closed", False),
        ("normal=open lock=yes", False),
        ("normal=open enabled=no", False),
        ("normal=closed\nOpen Line.tie 1", True),
    ],
)
def test_switches_stand_as_their_controls_in_the_file_say(
    told: str, is_open: bool, mode: str, controls_act: bool, tmp_path: Path
) -> None:
    """As OpenDSS alone has them. A tie that is open by its state, and not normally, was closed; and the other way."""
    ring = ring_of(tmp_path, f"New SwtControl.tie switchedobj=Line.tie switchedterm=1 {told}", controls_act, mode)
    assert (abs(ring.elements.line_kva("west", 0)) < 1.0) == is_open
    assert inventory.is_closed(Solver(tmp_path / "ring.dss"), "tie") != is_open


def test_a_feeder_that_was_dead_is_solved_again_where_a_generator_holds_a_voltage(tmp_path: Path) -> None:
    (tmp_path / "feeder.dss").write_text(
        "New Circuit.c basekv=12.47 bus1=head r1=0 x1=0.5 r0=0 x0=0.5\n"
        "New Line.l bus1=head bus2=end length=1 r1=0.5 x1=1 r0=0.5 x0=1 c1=0 c0=0\n"
        "New Load.l bus1=end kV=12.47 kW=1500 kvar=700\n"
        "New Generator.g bus1=end kV=12.47 kW=300 model=3 Vpu=0.995 maxkvar=1000 minkvar=-1000\n"
        "Set VoltageBases=[12.47]\nCalcVoltageBases\n"
    )
    solver = Solver(tmp_path / "feeder.dss")
    solver.prepare(controls=True, tolerance=1e-9, max_iterations=100)
    before = np.abs(solver.voltages())
    solver.quench(np.ones(before.size, np.bool_))
    solver.rearrange()
    assert not solver.is_rearranged
    np.testing.assert_allclose(np.abs(solver.voltages()), before, rtol=1e-6)
