"""Devices where nothing earths a feeder: they stand between phases, and see the voltage between these."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from derloop.kind import Bus, Context, PlaceError, Terminal
from federates.der.ev import EvFleet, EvSettings, terminals
from federates.der.placement import Spot, Spread, place
from federates.grid.answering import answers
from federates.grid.engine import SolverError
from federates.grid.feeder import check_terminals
from federates.grid.hosting import Question, hosting_capacity
from federates.grid.movement import Movement
from federates.grid.opendss import Feeder, OpenDssFeeder, OpenDssSettings
from federates.grid.setpoints import Setpoints
from federates.grid.solver import Solver
from federates.grid.switching import switch_sources
from federates.sides import sides

S = 10**9
E_V = 400.0
"""Between two phases."""
R_OHM = 0.2
"""Of each of the three wires, which share nothing."""
NOTHING = "%loadloss=1e-4 xhl=1e-4 ppm_antifloat=1"
FEEDER = f"""Clear
New Circuit.three bus1=head basekv=0.4 r1=1e-7 x1=1e-7 r0=1e-7 x0=1e-7
New Transformer.star phases=3 buses=(head, star) conns=(delta, wye) kvs=(0.4, 0.4) kvas=(1000, 1000) {NOTHING}
New Transformer.delta phases=3 buses=(head, top) conns=(wye, delta) kvs=(0.4, 0.4) kvas=(1000, 1000) {NOTHING}
New Line.service bus1=top bus2=home phases=3 r1={R_OHM} x1=0 r0={R_OHM} x0=0 c1=0 c0=0 units=none length=1
New Line.two bus1=home.1.3 bus2=end.1.3 phases=2 r1=1e-4 x1=0 r0=1e-4 x0=0 c1=0 c0=0 units=none length=1
Set VoltageBases=[0.4]
CalcVoltageBases
"""
BEHIND = f"""
New Line.tie bus1=star bus2=behind phases=3 r1=1e-4 x1=0 r0=1e-4 x0=0 c1=0 c0=0
Open Line.tie 1
New Line.spare bus1=star bus2=home phases=3 r1=1e-4 x1=0 r0=1e-4 x0=0 c1=0 c0=0 enabled=no
New Transformer.last phases=3 buses=(behind, low) conns=(delta, delta) kvs=(0.4, 0.4) kvas=(100, 100) {NOTHING}
"""

LOADED = {"home": "2.3", "end": "1.3"}


@pytest.fixture
def context(tmp_path: Path) -> Context:
    (tmp_path / "three.dss").write_text(FEEDER)
    return Context("grid", tmp_path, datetime(2025, 7, 15, tzinfo=UTC), S, 10**10, 1)


def feeder_of(context: Context) -> Feeder:
    return Feeder(OpenDssSettings(feeder="three.dss"), context)


def grid_of(context: Context, *terminals: Terminal) -> OpenDssFeeder:
    context = replace(context, terminals={"pv": terminals})
    grid = OpenDssFeeder(OpenDssSettings(feeder="three.dss"), context, feeder_of(context))
    grid.start()
    return grid


def v_of_loop(p_kw: float) -> float:
    """Return the voltage between two phases, V, at which both wires take `p_kw` to the source: V (V - E) = 2 R P."""
    return E_V / 2 + ((E_V / 2) ** 2 + 1000 * p_kw * 2 * R_OHM) ** 0.5


def nodes_of(grid: OpenDssFeeder, v_pu: np.ndarray) -> dict[str, float]:
    return dict(zip(grid.interface.outputs["v_pu"].labels, v_pu.tolist(), strict=True))


def test_what_a_source_or_a_star_point_earths_is_known_from_what_nothing_does(context: Context) -> None:
    """A delta primary is earthed by its own source, also behind an open switch; a spare line earths nothing."""
    (context.folder / "three.dss").write_text(FEEDER + BEHIND)
    earthed = {name: bus.earthed for name, bus in feeder_of(context).buses.items()}
    without = {"top", "home", "end", "low"}
    assert earthed == {name: name not in without for name in ("head", "star", "top", "home", "end", "behind", "low")}


@pytest.mark.parametrize(
    "earth",
    [
        "New Reactor.earth bus1=home phases=3 kv=0.4 kvar=1e-3",
        "New Transformer.earth phases=3 buses=(home, other) conns=(wye, delta) kvs=(0.4, 0.4) kvas=(9, 9)",
        "New Transformer.earth phases=3 buses=(home.1.2.3.4, other) conns=(wye, delta) kvs=(0.4, 0.4) wdg=1 rneut=5",
        "New Vsource.second bus1=end phases=2 basekv=0.4",
    ],
)
def test_a_reactor_a_star_point_or_a_source_earths_all_that_lines_join(context: Context, earth: str) -> None:
    (context.folder / "three.dss").write_text(FEEDER.replace("Set VoltageBases", f"{earth}\nSet VoltageBases"))
    assert all(feeder_of(context).buses[name].earthed for name in ("top", "home", "end"))


STAR = "New Transformer.near buses=(head, mid.1.2.3.4) conns=(delta, wye) kvs=(0.4, 0.4)\n"
FOUR = "rmatrix=(1 | 0 1 | 0 0 1 | 0 0 0 1) xmatrix=(0 | 0 0 | 0 0 0 | 0 0 0 0) cmatrix=(0 | 0 0 | 0 0 0 | 0 0 0 0)"


@pytest.mark.parametrize(
    ("lines", "bus", "is_earthed"),
    [
        ("New Line.earth bus1=home.1 bus2=home.0 phases=1 r1=1 x1=0 c1=0", "home", True),
        ("New Line.earth bus1=home.1 bus2=home.0 phases=1 r1=1 x1=0 c1=0\nOpen Line.earth 1", "home", False),
        ("New Line.earth bus1=rod.0 bus2=home.2 phases=1 r1=1 x1=0 c1=0", "home", True),
        (f"New Line.four bus1=home.1.2.3.4 bus2=far.1.2.3.0 phases=4 {FOUR}", "home", False),
        (f"{STAR}New Line.four bus1=mid.1.2.3.4 bus2=far.1.2.3.4 phases=4 {FOUR}", "far", False),
        (f"{STAR}New Line.four bus1=mid.1.2.3.4 bus2=far.1.2.3.0 phases=4 {FOUR}", "far", True),
    ],
)
def test_a_wire_to_ground_earths_a_phase_and_a_neutral_where_it_is_of_a_star_point(
    context: Context, lines: str, bus: str, is_earthed: bool
) -> None:
    """Only reactors counted: a device at one phase behind an earthed star point was refused."""
    (context.folder / "three.dss").write_text(FEEDER.replace("Set VoltageBases", f"{lines}\nSet VoltageBases"))
    assert feeder_of(context).buses[bus].earthed == is_earthed


@pytest.mark.parametrize(
    "winding",
    [
        "phases=3 buses=(head, low.1.2.0) conns=(wye, delta) kvs=(0.4, 0.24) kvas=(9, 9)",
        "phases=1 buses=(head.1.2, low.1.0) conns=(delta, delta) kvs=(0.4, 0.12) kvas=(9, 9)",
        "phases=1 windings=3 buses=(head.1.2, low.1.0, low.0.2) conns=(delta, delta, delta) kvs=(0.4, 0.12, 0.12)",
    ],
)
def test_an_earthed_corner_of_a_delta_or_end_of_a_single_phase_winding_earths(context: Context, winding: str) -> None:
    """Both legs of a centre-tapped winding were measured to each other, and no device was let stand at one of them."""
    more = f"New Transformer.more {winding}\nSet VoltageBases=[0.4, 0.24, 0.208]"
    (context.folder / "three.dss").write_text(FEEDER.replace("Set VoltageBases=[0.4]", more))
    buses = feeder_of(context).buses
    assert buses["low"].earthed
    assert not buses["top"].earthed


@pytest.mark.parametrize(
    "element",
    [
        "New Vsource.spare bus1=home phases=3 basekv=0.4 enabled=no",
        "New Vsource.between bus1=home.1 bus2=home.2 phases=1 basekv=0.4",
        "New Reactor.spare bus1=home phases=3 kv=0.4 kvar=1e-3 enabled=no",
        "New Transformer.spare phases=3 buses=(home, other) conns=(wye, delta) kvs=(0.4, 0.4) kvas=(9, 9) enabled=no",
    ],
)
def test_what_is_out_of_service_earths_nothing(context: Context, element: str) -> None:
    """No feeder could be read in which a transformer was not enabled, whatever else there was: a traceback."""
    (context.folder / "three.dss").write_text(FEEDER.replace("Set VoltageBases", f"{element}\nSet VoltageBases"))
    buses = feeder_of(context).buses
    assert not any(buses[name].earthed for name in ("top", "home", "end"))
    assert buses["star"].earthed


def test_a_device_between_two_phases_of_which_one_is_dead_sees_nothing(context: Context) -> None:
    """Each phase has a switch of its own; between the live phase and where the dead one floats there is no voltage."""
    wires = "\n".join(
        f"New Line.pole_{i} bus1=home.{i} bus2=yard.{i} phases=1 r1=1e-4 x1=0 c1=0 c0=0 switch=yes" for i in (1, 2, 3)
    )
    (context.folder / "three.dss").write_text(FEEDER.replace("Set VoltageBases", f"{wires}\nSet VoltageBases"))
    units = tuple(
        Terminal(f"pv_{i}", "yard", phases, 3.0) for i, phases in enumerate([(1, 2), (2, 3), (3, 1), (1, 2, 3)])
    )
    units = tuple(replace(unit, extremes=True) for unit in units)
    settings = OpenDssSettings.model_validate({"feeder": "three.dss", "operated": {"switches": ["pole_*"]}})
    grid = OpenDssFeeder(settings, replace(context, terminals={"pv": units}), Feeder(settings, context))
    grid.start()
    for number, (switches, seen, low) in enumerate(
        [([1, 1, 1], [1, 1, 1, 1], [1, 1, 1, 1]), ([1, 1, 0], [1, 0, 0, 1 / 3], [1, 0, 0, 0])]
    ):
        told = {"switch_set": np.array(switches, float), "pv.p_kw": np.zeros(4), "pv.q_kvar": np.zeros(4)}
        values = grid.step(number * S, told)
        assert values["pv.v_pu"] == pytest.approx(np.array(seen), abs=1e-3)
        assert values["pv.v_low_pu"] == pytest.approx(np.array(low), abs=1e-3)


def test_three_phases_are_in_delta(context: Context) -> None:
    """Without earth the first kW had no solution."""
    grid = grid_of(context, Terminal("pv_0", "home", (1, 2, 3), 30.0))
    values = grid.step(0, {"pv.p_kw": np.array([21.0]), "pv.q_kvar": np.zeros(1)})
    v_ln = E_V / 3**0.5
    v = v_ln / 2 + ((v_ln / 2) ** 2 + 7000 * R_OHM) ** 0.5
    assert v / v_ln == pytest.approx(1.026, abs=1e-3)
    assert values["pv.v_pu"][0] == pytest.approx(v / v_ln, abs=1e-5)
    assert values["pv.solved_kw"][0] == pytest.approx(21.0)
    assert values["losses_kw"][0] == pytest.approx(3 * R_OHM * (7000 / v) ** 2 / 1000, rel=1e-3)
    assert nodes_of(grid, values["v_pu"])["home.2"] == pytest.approx(v / v_ln, abs=1e-5)


@pytest.mark.parametrize("sees", ["mean", "worst", "positive-sequence"])
@pytest.mark.parametrize(("phases", "node"), [((1, 2), "home.1"), ((3, 2), "home.2"), ((1, 3), "home.3")])
def test_two_phases_have_both_wires_in_their_loop(
    context: Context, sees: str, phases: tuple[int, int], node: str
) -> None:
    grid = grid_of(context, Terminal("pv_0", "home", phases, 10.0, sees=sees, extremes=sees == "worst"))
    values = grid.step(0, {"pv.p_kw": np.array([9.0]), "pv.q_kvar": np.zeros(1)})
    v = v_of_loop(9.0)
    assert v == pytest.approx(408.81, abs=0.01)
    assert values["pv.v_pu"][0] == pytest.approx(v / E_V, abs=1e-5)
    assert values["losses_kw"][0] == pytest.approx(2 * R_OHM * (9000 / v) ** 2 / 1000, rel=1e-3)
    assert nodes_of(grid, values["v_pu"])[node] == pytest.approx(v / E_V, abs=1e-5)
    if sees == "worst":
        assert values["pv.v_high_pu"][0] == values["pv.v_low_pu"][0] == pytest.approx(v / E_V, abs=1e-5)


def test_devices_between_two_and_three_phases_are_told_apart(context: Context) -> None:
    """One has a side where the other has three."""
    grid = grid_of(
        context,
        Terminal("a", "home", (1, 2, 3), 10.0),
        Terminal("b", "end", (1, 3), 10.0),
        Terminal("c", "star", (2,), 10.0),
    )
    values = grid.step(0, {"pv.p_kw": np.array([0.0, 9.0, 0.0]), "pv.q_kvar": np.zeros(3)})
    at = nodes_of(grid, values["v_pu"])
    assert at["end.1"] == at["end.3"] == pytest.approx(v_of_loop(9.0) / E_V, abs=1e-4)
    mean = (at["home.1"] + at["home.2"] + at["home.3"]) / 3
    assert values["pv.v_pu"] == pytest.approx([mean, at["end.1"], 1.0], abs=1e-6)
    assert values["pv.solved_kw"] == pytest.approx([0.0, 9.0, 0.0], abs=1e-6)


def test_one_phase_is_refused(context: Context) -> None:
    context = replace(context, terminals={"pv": (Terminal("pv_0", "home", (2,), 10.0),)})
    with pytest.raises(PlaceError) as refused:
        check_terminals(context, feeder_of(context))
    ((_, told),) = refused.value.problems
    assert told.startswith("pv: 'pv_0' is at home.2, which nothing earths: a device stands between two of its phases")


def test_one_phase_of_a_list_is_refused_at_its_pointer_and_told_what_is_possible(context: Context) -> None:
    context = replace(context, name="pv", feeder=feeder_of(context))
    spots = tuple(Spot(bus=bus) for bus in ("home.3", "home.1.2", "home", "star.1", "end.1"))
    with pytest.raises(PlaceError) as refused:
        place(spots, (5.0, 5.0), context)
    assert refused.value.problems == [
        (("at", 0, "bus"), told("home", "home.3.1")),
        (("at", 4, "bus"), told("end", "end.1.3")),
    ]


def told(bus: str, side: str) -> str:
    return f"nothing earths bus {bus!r}: a device stands between phases there, as {side!r}, or all three"


def test_what_is_drawn_stands_from_its_phase_to_the_next(context: Context) -> None:
    context = replace(context, name="pv", feeder=feeder_of(context))
    found = place(Spread(count=50, on=("home", "star", "end.3")), (5.0, 5.0), context)
    assert {(t.bus, t.phases) for t in found} == {
        *(("home", side) for side in ((1, 2), (2, 3), (3, 1))),
        *(("star", (phase,)) for phase in (1, 2, 3)),
        ("end", (3, 1)),
    }


@pytest.mark.parametrize("on", ["loads", ("home.2.3", "end")])
def test_what_is_drawn_at_two_phases_stands_between_these(context: Context, on: str | tuple[str, ...]) -> None:
    """A load between two phases had half of its devices between one of them and the third."""
    loads = [f"New Load.{bus} bus1={bus}.{phases} phases=1 conn=delta kv=0.4 kw=1" for bus, phases in LOADED.items()]
    more = "\n".join([*loads, "Set VoltageBases"])
    (context.folder / "three.dss").write_text(FEEDER.replace("Set VoltageBases", more))
    context = replace(context, name="pv", feeder=feeder_of(context))
    found = place(Spread.model_validate({"count": 50, "on": on}), (5.0, 5.0), context)
    assert {(t.bus, t.phases) for t in found} == {("home", (2, 3)), ("end", (1, 3))}


@pytest.mark.parametrize(
    ("car_phases", "stand", "most_kw"),
    [
        (3, [("home", (1, 2, 3)), ("home", (1, 2, 3)), ("end", (1, 3))], [12.0, 12.0, 4.0]),
        (2, [("home", (1, 2)), ("home", (2, 3)), ("end", (1, 3))], [4.0, 4.0, 4.0]),
        (1, [("home", (1, 2)), ("home", (2, 3)), ("end", (1, 3))], [4.0, 4.0, 4.0]),
    ],
)
def test_a_car_that_uses_one_phase_stands_between_two(
    context: Context, car_phases: int, stand: list[tuple[str, tuple[int, ...]]], most_kw: list[float]
) -> None:
    """It was left at one, and refused; a charger between two phases counted as two."""
    context = replace(context, name="cars", feeder=feeder_of(context))
    at = [{"bus": "home"}, {"bus": "home"}, {"bus": "end"}]
    cars = EvSettings.model_validate({"at": at, "rated_kva": 22.0, "car_kw_per_phase": 4.0, "car_phases": car_phases})
    found = terminals(cars, context)
    assert [(t.bus, t.phases) for t in found] == stand
    check_terminals(replace(context, terminals={"cars": found}), feeder_of(context))
    assert EvFleet(cars, context).storage.charge_kw.tolist() == most_kw


def test_what_is_behind_two_phases_is_both_wires(context: Context) -> None:
    """In pu of a device: 2 R S / V^2, with its half of S at a phase, and V by the root of three."""
    feeder = feeder_of(context)
    assert feeder.source_impedance_ohm("home", (1, 2, 3)) == pytest.approx(R_OHM, abs=1e-5)
    assert feeder.source_impedance_ohm("home", (3, 1)) == pytest.approx(2 * R_OHM * 2 / 3, abs=1e-5)


def test_what_is_behind_three_phases_does_not_depend_on_what_they_have_to_earth(context: Context) -> None:
    """One that leaks to earth is near to it, and the others are a sixth of a turn apart: 109 ohm were told."""
    leak = "New Load.leak bus1=home.1 phases=1 kv=0.23 kw=0.5 model=2"
    (context.folder / "three.dss").write_text(FEEDER.replace("Set VoltageBases", f"{leak}\nSet VoltageBases"))
    assert feeder_of(context).source_impedance_ohm("home", (1, 2, 3)) == pytest.approx(R_OHM, abs=1e-5)


@pytest.mark.parametrize(
    "terminals",
    [[Terminal("a", "home", (2, 3), 10.0)], [Terminal("b", "star", (1,), 9.0), Terminal("a", "home", (2, 3), 10.0)]],
)
def test_a_converged_loop_knows_beforehand_how_voltages_answer(context: Context, terminals: list[Terminal]) -> None:
    grid = grid_of(context, *terminals)
    said = grid.answers(["pv.p_kw"], ["pv.v_pu"])
    expected = (v_of_loop(0.01) - E_V) / E_V / 0.01
    answer = said.left["pv.v_pu"] @ said.right["pv.p_kw"]
    assert float(answer[-1, -1]) == pytest.approx(expected, rel=1e-3)


def test_a_plant_knows_how_voltages_answer(context: Context) -> None:
    said = answers(context.folder / "three.dss", [Terminal("a", "home", (2, 3), 10.0)], (), {})
    v_per_kw = dict(zip(said.nodes, said.v_pu_per_kw[:, 0], strict=True))
    assert v_per_kw["home.2"] == pytest.approx(2 * R_OHM * 1000 / E_V**2, rel=0.1)
    beside = v_per_kw["home.2"] / 4  # one wire for two, and cos(120 deg) of it, with the other sign
    assert [v_per_kw["home.1"], v_per_kw["home.3"]] == pytest.approx([beside, beside], rel=0.1)


@pytest.mark.parametrize("load", ["bus1=home.1.2 conn=delta kv=0.4 kw=0.001", "bus1=home.1 conn=wye kv=0.23 kw=5"])
def test_a_feeder_without_earth_takes_what_keeps_the_voltage_between_phases(context: Context, load: str) -> None:
    """Between two phases, at 1.05 of 400 V: V (V - E) / 2 R. Beside a load to earth none was taken at all."""
    file = context.folder / "three.dss"
    file.write_text(FEEDER + f"New Load.home {load} phases=1\n")
    asked = Question(file, 1, 0.01, 0.01, 100.0, 1.0, 1.0, 1.05, 100.0, "locked")
    found = hosting_capacity(asked, 1, 1)[0]
    assert found.where == "home.1"
    assert found.kw == pytest.approx(1.05 * 0.05 * E_V**2 / (2 * R_OHM) / 1000, abs=0.1)


def test_a_star_point_that_nothing_earths_leaves_a_part_without(context: Context) -> None:
    star = "New Transformer.star2 phases=3 buses=(home.1.2.3.4, other) conns=(wye, delta) kvs=(0.4, 0.4)"
    (context.folder / "three.dss").write_text(FEEDER.replace("Set VoltageBases", f"{star}\nSet VoltageBases"))
    buses = feeder_of(context).buses
    assert not any(buses[name].earthed for name in ("top", "home", "end", "other"))
    assert buses["home"].neutral is None


UNIT = """
New Transformer.unit phases=3 buses=(head.1.2.3.4, small) conns=(wye, delta) kvs=(0.4, 0.4) kvas=(50, 50) xhl=5
New Line.switch bus1=small bus2=unit phases=3 r1=1e-6 x1=0 r0=1e-6 x0=0 c1=0 c0=0 units=none length=1
New Generator.unit bus1=unit phases=3 kv=0.4 kw=20 kvar=6 conn=delta
Edit Vsource.source r1=0.01 x1=0.01 r0=0.01 x0=0.01
New Load.uneven bus1=head.1 phases=1 kv=0.231 kw=300 kvar=50 vminpu=0.3
"""
"""As IEEE 9500 has them: a bus with next to nothing to earth, and an almost ideal switch."""
REGULATED = """
New Transformer.reg phases=3 buses=(head, far) conns=(wye, wye) kvs=(0.4, 0.4) kvas=(500, 500) xhl=1
New RegControl.reg transformer=reg winding=2 vreg=122 band=2 ptratio=1.925
New Load.far bus1=far phases=3 kv=0.4 kw=200 kvar=60
"""
RESTLESS = """
New Line.long bus1=head bus2=far phases=3 r1=0.05 x1=0.1 r0=0.05 x0=0.1 c1=0 c0=0 units=none length=1
New Load.far bus1=far phases=3 kv=0.4 kw=100 kvar=30
New Capacitor.bank bus1=far phases=3 kv=0.4 kvar=60
New CapControl.bank capacitor=bank element=Line.long terminal=2 type=voltage ptratio=1.925 onsetting=114 offsetting=115
~ delay=0 delayoff=0 deadtime=0
"""
"""A bank that moves the voltage from below its band to above it, and back."""


def test_what_rounding_moves_where_nothing_earths_is_not_waited_for(context: Context) -> None:
    """IEEE 9500 was said to have no solution finer than 1e-5; its generators had to be earthed."""
    (context.folder / "three.dss").write_text(FEEDER + UNIT)
    solver = Solver(context.folder / "three.dss")
    solver.prepare(controls=False, tolerance=1e-12, max_iterations=100)
    assert solver.judges_iterations
    found = dict(zip(solver.nodes, solver.voltages().tolist(), strict=True))
    for text in ("Set tolerance=1e-12 maxiterations=100 miniterations=2", "Solve"):
        solver.dss.Text.Command(text)
    assert not solver.dss.Solution.Converged()
    (context.folder / "three.dss").write_text(FEEDER + UNIT + "New Reactor.earth bus1=small phases=3 r=1000 x=0\n")
    earthed = Solver(context.folder / "three.dss")
    earthed.prepare(controls=False, tolerance=1e-10, max_iterations=100)
    for bus, (one, other) in product(("small", "unit"), ((1, 2), (2, 3), (3, 1))):
        volts = (found[f"{bus}.{one}"] - found[f"{bus}.{other}"], between(earthed, f"{bus}.{one}", f"{bus}.{other}"))
        assert abs(volts[0] - volts[1]) < 2e-4 * E_V  # 3 x 53 W in the earth
    assert found["head.1"] == pytest.approx(earthed.voltages()[earthed.nodes.index("head.1")], rel=1e-4)


def between(solver: Solver, one: str, other: str) -> complex:
    volts = solver.voltages()
    return complex(volts[solver.nodes.index(one)] - volts[solver.nodes.index(other)])


def test_controls_move_where_a_solver_judges_by_itself_as_where_opendss_does(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    (context.folder / "three.dss").write_text(FEEDER + REGULATED + UNIT)
    judging, plain = Solver(context.folder / "three.dss"), Solver(context.folder / "three.dss")
    judging.prepare(controls=True, tolerance=3e-9, max_iterations=100)
    monkeypatch.setattr(Solver, "_judge", lambda *_: None)
    plain.prepare(controls=True, tolerance=3e-9, max_iterations=100)
    assert (judging.judges_iterations, plain.judges_iterations) == (True, False)
    taps = []
    for solver in (judging, plain):
        taps.append(solver.positions.taps()[0])
        solver.positions.set_taps(np.array([0.0]))
        solver.solve()
        assert solver.has_acted
        taps.append(solver.positions.taps()[0])
        powers = Setpoints(solver.dss, "Load", ["far"])
        powers.p_kw[:], powers.q_kvar[:] = -400.0, 0.0
        powers.write()
        solver.solve_given()
        assert solver.has_acted
        taps.append(solver.positions.taps()[0])
        solver.solve_given()
        assert not solver.has_acted
    assert taps[:3] == taps[3:]
    assert taps[0] == taps[1] > taps[2]
    earthed = [node.startswith(("head", "far")) for node in plain.nodes]
    assert judging.voltages()[earthed] == pytest.approx(plain.voltages()[earthed], rel=1e-8)


def test_controls_that_never_rest_end_a_solution(context: Context) -> None:
    (context.folder / "three.dss").write_text(FEEDER + RESTLESS + UNIT.replace("kw=300 kvar=50", "kw=3 kvar=0"))
    with pytest.raises(SolverError, match="controls have not come to rest after 100 moves"):
        Solver(context.folder / "three.dss").prepare(controls=True, tolerance=1e-13, max_iterations=100)


def test_a_solver_that_has_judged_by_itself_leaves_it_to_opendss_again(context: Context) -> None:
    """It went on with one iteration at least, where the file has two, when it was prepared for a coarser tolerance."""
    (context.folder / "three.dss").write_text(FEEDER + UNIT)
    solver = Solver(context.folder / "three.dss")
    solver.prepare(controls=False, tolerance=1e-12, max_iterations=100)
    assert (solver.judges_iterations, solver.dss.Solution.MinIterations()) == (True, 1)
    solver.prepare(controls=False, tolerance=1e-4, max_iterations=100)
    assert (solver.judges_iterations, solver.dss.Solution.MinIterations()) == (False, 2)
    assert solver.has_usual_iterations


def test_what_no_iteration_leaves_alone_is_named(context: Context) -> None:
    (context.folder / "three.dss").write_text(FEEDER + UNIT)
    with pytest.raises(SolverError, match=r"no solution after 100 .* moves '\w+\.\d' by \S+e-1\d of its base"):
        Solver(context.folder / "three.dss").prepare(controls=False, tolerance=1e-17, max_iterations=100)


DRAWS_TO_EARTH = """
New Transformer.lent phases=3 buses=(head.1.2.3.4, lent) conns=(wye, delta) kvs=(0.4, 0.4) kvas=(50, 50) xhl=5
New Load.l1 bus1=lent.1 phases=1 kv=0.231 kw=3.2 kvar=1 model=4 cvrwatts=1.5 cvrvars=1.5 vminpu=0.3 vmaxpu=2
New Load.l2 bus1=lent.2 phases=1 kv=0.231 kw=3 kvar=1 model=4 cvrwatts=1.5 cvrvars=1.5 vminpu=0.3 vmaxpu=2
New Load.l3 bus1=lent.3 phases=1 kv=0.231 kw=3 kvar=1 model=4 cvrwatts=1.5 cvrvars=1.5 vminpu=0.3 vmaxpu=2
"""


def test_what_loads_to_earth_decide_is_waited_for_beside_what_rounding_moves(context: Context) -> None:
    """Ends of solutions were off by 17 times the tolerance there, and by 45 times 1e-4."""
    (context.folder / "three.dss").write_text(FEEDER + UNIT + DRAWS_TO_EARTH)
    solver = Solver(context.folder / "three.dss")
    solver.prepare(controls=False, tolerance=3e-10, max_iterations=100)
    assert solver.judges_iterations
    drawn = Setpoints(solver.dss, "Load", ["l1"])
    drawn.p_kw[:] = 2.9
    drawn.write()
    solver.solve_given()
    lent = [solver.nodes.index(f"lent.{phase}") for phase in (1, 2, 3)]
    found, bases_v = solver.voltages()[lent].copy(), np.full(len(solver.nodes), E_V / 3**0.5)
    for _ in range(100):
        solver.iterate_once(Movement(3e-10, bases_v))
    assert solver.voltages()[lent] == pytest.approx(found, rel=3e-10)


def test_a_solver_that_judges_by_itself_knows_nodes_whose_order_has_changed(context: Context) -> None:
    """Without the first source its bus comes last: the sums of other nodes were left out, and there was no solution."""
    more = """
New Line.wire bus1=bulk bus2=head phases=3 r1=0.01 x1=0.01 c1=0 c0=0 length=1
New Vsource.former bus1=head.1.2.3 phases=3 basekv=0.4 r1=0 x1=0.001 r0=0 x0=0.001 enabled=no
"""
    units = UNIT.replace("kw=300 kvar=50", "kw=30 kvar=5")
    feeder = FEEDER.replace("bus1=head basekv", "bus1=bulk basekv") + units + more
    (context.folder / "three.dss").write_text(feeder)
    solver = Solver(context.folder / "three.dss")
    solver.prepare(controls=False, tolerance=1e-11, max_iterations=100)
    assert solver.judges_iterations
    switch_sources(solver, ["source", "former"], [False, True])
    solver.solve()
    assert solver.dss.Circuit.YNodeOrder()[-3:] == ["BULK.1", "BULK.2", "BULK.3"]
    assert np.abs(between(solver, "bulk.1", "bulk.2")) == pytest.approx(E_V, rel=0.01)


def test_a_part_that_rounding_leaves_alone_is_waited_for_by_opendss() -> None:
    solver = Solver(Path(__file__).parents[2] / "scenarios/feeders/ieee123/ieee123.dss")
    solver.prepare(controls=True, tolerance=3e-10, max_iterations=100)
    assert not solver.judges_iterations


def test_of_what_nothing_earths_only_differences_are_judged() -> None:
    movement = Movement(1e-3, np.full(5, 100.0), [np.array([1, 2, 3])])
    for moved, is_within in (([0, 5, 5, 5, 0], True), ([0, 5, 5, 5.4, 0], False), ([0, 0, 0, 0, 0.2], False)):
        movement.begin(np.ones(5, np.complex128))
        movement.end(np.ones(5) + np.array(moved) * 1j)
        assert movement.common() == pytest.approx([sum(moved[1:4]) / 3 / 0.1])
        assert movement.is_within() == is_within


WIRES = "\n".join(f"New Line.w{k} bus1=home.{k} bus2=far.{k} phases=1 r1=1e-3 x1=0 c1=0" for k in (1, 2, 3))


def test_voltages_beyond_all_numbers_are_told_as_that(context: Context) -> None:
    """The first node was said to move by nan of its voltage."""
    load = "New Load.own bus1=home phases=3 conn=delta kv=0.4 kw=5 kvar=0 model=1"
    file = context.folder / "three.dss"
    file.write_text(FEEDER.replace("Set VoltageBases", f"{load}\nSet VoltageBases"))
    solver = Solver(file)
    solver.prepare(controls=False, tolerance=1e-9, max_iterations=100)
    solver.begin_with(np.full(len(solver.nodes), np.nan, np.complex128))
    with pytest.raises(SolverError, match="no solution after 100 iterations: voltages are beyond all numbers"):
        solver.solve()


@pytest.mark.parametrize(("phases", "given_kw"), [((1, 2), 0.0), ((1, 3), 6.0), ((1, 2, 3), 2.0)])
def test_a_device_gives_what_is_between_phases_that_are_alive(
    context: Context, phases: tuple[int, ...], given_kw: float
) -> None:
    """It drove its current into the open wire, and the run ended for want of a solution."""
    (context.folder / "three.dss").write_text(FEEDER.replace("Set VoltageBases", f"{WIRES}\nSet VoltageBases"))
    context = replace(context, terminals={"pv": (Terminal("pv_0", "far", phases, 10.0),)})
    settings = OpenDssSettings.model_validate({"feeder": "three.dss", "operated": {"switches": ["w2"]}})
    grid = OpenDssFeeder(settings, context, Feeder(settings, context))
    grid.start()
    given = {"source_v_pu": np.ones(1), "pv.p_kw": np.array([6.0]), "pv.q_kvar": np.zeros(1)}
    for k, (closed, kw) in enumerate([(1.0, 6.0), (0.0, given_kw), (1.0, 6.0)]):
        values = grid.step(k * S, {**given, "switch_set": np.array([closed])})
        assert values["pv.solved_kw"][0] == pytest.approx(kw)
        assert values["pv.undelivered_kw"][0] == pytest.approx(6.0 - kw)


def test_sides_of_a_bus() -> None:
    three, two, one = (Bus("b", phases, 1.0, earthed=False) for phases in ((1, 2, 3), (1, 3), (2,)))
    assert sides(three, (1, 2, 3)) == [(1, 2), (2, 3), (3, 1)]
    assert sides(three, (1, 3)) == [(3, 1)]
    assert sides(two, (3, 1)) == [(3, 1)]
    assert sides(one, (2,)) == [(2, 0)]
    assert sides(three, (4, 5, 6)) == [(4, 0), (5, 0), (6, 0)]  # a load of a second circuit
    assert sides(replace(three, neutral=4), (1, 3)) == [(1, 4), (3, 4)]
    assert sides(replace(three, earthed=True), (1, 3)) == [(1, 0), (3, 0)]
