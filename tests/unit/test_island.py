"""Islands at the feeder: the droop equations, sharing, OpenDSS with an equivalent source, and collapse."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose

import derloop
from derloop.kind import Context, PlaceError, Terminal
from federates.der.grid_forming import GridForming, GridFormingSettings, terminals
from federates.grid.engine import SolverError, engine
from federates.grid.opendss import Feeder, OpenDssFeeder, OpenDssSettings
from federates.grid.root import NoRoot, Root

SCENARIOS = Path(__file__).parents[2] / "scenarios"
S = 10**9
plain = engine().dss
"""Loaded as derloop does: a plain import crashes threads once somebody has set a variable."""
SMALL = """Clear
New Circuit.small bus1=a basekv=12.47 pu=1 r1=0 x1=0.0001 r0=0 x0=0.0001
New Line.switch phases=3 bus1=a bus2=b switch=yes r1=0.0001 x1=0 r0=0.0001 x0=0 c1=0 c0=0 length=1
New Line.bc phases=3 bus1=b bus2=c r1=0.4 x1=0.8 r0=0.4 x0=0.8 c1=0 c0=0 length=1
New Line.cd phases=3 bus1=c bus2=d r1=0.2 x1=0.4 r0=0.2 x0=0.4 c1=0 c0=0 length=1
New Load.c phases=3 bus1=c kv=12.47 kw=1200 kvar=300 model=1 vminpu=0.5 vmaxpu=1.5
Set VoltageBases=(12.47)
CalcVoltageBases
"""
THREE_WINDINGS = """New Transformer.three phases=3 windings=3 buses=(a m n) conns=(delta wye wye)
~ kvs=(12.47 12.47 4.16) kvas=(5000 5000 1000) xhl=1 xht=1 xlt=1
"""
FOUR_WIRES = """New Transformer.de phases=3 windings=2 buses=(d e.1.2.3.4) conns=(delta wye)
~ kvs=(12.47 0.4) kvas=(500 500)
New Reactor.earth phases=1 bus1=e.4 bus2=e.0 R=1 X=0
New Load.e phases=1 bus1=e.1.4 kv=0.231 kw=20 pf=0.95
Set VoltageBases=(12.47 0.4)
CalcVoltageBases
"""
UNITS = [{"bus": "b", "rated_kva": 2000.0}, {"bus": "d", "rated_kva": 1000.0}]


class Isle:
    """A feeder with grid-forming units, stepped as wired: units first, then the feeder."""

    def __init__(self, folder: Path, units: dict[str, Any], step_s: float = 1.0, **grid: Any) -> None:
        self._step_ns = round(step_s * S)
        settings = OpenDssSettings.model_validate({"feeder": "small.dss", "tolerance": 1e-9, **grid})
        forming = GridFormingSettings.model_validate({"energy_kwh": 1e6, "filter_s": 0.0, "p_droop_pu": 0.01, **units})
        start = datetime(2025, 7, 15, tzinfo=UTC)
        at_grid = Context("grid", folder, start, self._step_ns, 86400 * S, 1)
        feeder = self.feeder = Feeder(settings, at_grid)
        at_units = Context("units", folder, start, self._step_ns, 86400 * S, 1, feeder=feeder)
        found: dict[str, tuple[Terminal, ...]] = {"units": terminals(forming, at_units)}
        self.units = GridForming(forming, at_units)
        self.grid = OpenDssFeeder(settings, Context(*self._of(at_grid), terminals=found), feeder)
        self.found = {port: value.copy() for port, value in self.grid.start().items()}
        self.lines: dict[str, np.ndarray] = {}
        self.count = 0

    @staticmethod
    def _of(context: Context) -> tuple[Any, ...]:
        return context.name, context.folder, context.start, context.step_ns, context.until_ns, context.seed

    def step(self, **told: float) -> dict[str, np.ndarray]:
        """Step once; return what the feeder found, the units' ports without their name."""
        now = self.count * self._step_ns
        inputs = {port: self.found[f"units.{port}"] for port in self.units.interface.inputs}
        self.lines = {port: value.copy() for port, value in self.units.step(now, inputs).items()}
        given = {port: self.lines[port.removeprefix("units.")] for port in self.grid.interface.inputs if "." in port}
        given |= {port: np.array([value]) for port, value in told.items()}
        self.found = {port: value.copy() for port, value in self.grid.step(now, given).items()}
        self.count += 1
        return {port.removeprefix("units."): value for port, value in self.found.items()}

    def v_pu(self, node: str) -> float:
        return float(self.found["v_pu"][self.grid.interface.outputs["v_pu"].labels.index(node)])


@pytest.fixture
def small(tmp_path: Path) -> Path:
    (tmp_path / "small.dss").write_text(SMALL)
    return tmp_path


OPEN = {"island": {"switch": "head", "opens_at_s": 0.0}}


@pytest.mark.parametrize("device", ["Fuse", "Recloser", "Relay"])
def test_what_the_files_own_protection_opens_is_no_switch_of_an_island(small: Path, device: str) -> None:
    """A relay closed it again at once: it was said to be open, and the head went on to feed all that is behind it."""
    own = f"New {device}.own monitoredobj=Line.switch switchedobj=Line.switch"
    (small / "small.dss").write_text(SMALL.replace("Set VoltageBases", f"{own}\nSet VoltageBases"))
    island = {"switch": "Switch", "opens_at_s": 1.0}
    with pytest.raises(PlaceError) as refused:
        Isle(small, {"at": UNITS}, island=island)
    found = [(where, what.split(" of ")[0]) for where, what in refused.value.problems]
    assert found == [(("island", "switch"), f"'switch': {device.lower()}.own")]
    Isle(small, {"at": UNITS}, island=island, regulators="locked")


@pytest.mark.parametrize("step_s", [1.0, 10.0, 60.0])
@pytest.mark.parametrize("filter_s", [0.0, 5.0])
def test_two_units_share_as_their_droops(small: Path, step_s: float, filter_s: float) -> None:
    """By hand: 2 to 1, and f = 60 - 0.6 Hz (demand / 3000 kVA), with the demand of load and losses."""
    isle = Isle(small, {"at": UNITS, "filter_s": filter_s}, step_s, **OPEN)
    for _ in range(30):
        out = isle.step()
    demand_kw = 1200.0 + out["losses_kw"][0]
    assert out["p_kw"].sum() == pytest.approx(demand_kw, abs=1e-2)
    assert out["p_kw"][0] / out["p_kw"][1] == pytest.approx(2.0, abs=1e-6)
    left = np.exp(-29 * step_s / filter_s) if filter_s else 0.0
    assert_allclose(out["f_hz"], 60.0 - 0.6 * demand_kw / 3000.0 * (1 - left), atol=1e-5 + 0.6 * left)


def test_units_share_in_the_same_way_while_the_frequency_falls(small: Path) -> None:
    """With equal filters P_i = P_f,i - tau / m_i df/dt: 2 to 1 at all times, and one exponential."""
    isle = Isle(small, {"at": UNITS, "filter_s": 5.0}, island={"switch": "head", "opens_at_s": 1.0})
    fall = []
    for _ in range(20):
        out = isle.step()
        fall.append(60.0 - out["f_hz"][0])
        if len(fall) > 1:
            assert out["p_kw"][0] / out["p_kw"][1] == pytest.approx(2.0, abs=1e-6)
    expected = 0.6 * out["p_kw"].sum() / 3000.0 * (1.0 - np.exp(-np.arange(20) / 5.0))
    assert_allclose(fall, expected, atol=2e-5)


def test_one_unit_follows_its_droop_equations(small: Path) -> None:
    isle = Isle(small, {"at": UNITS[:1], "q_droop_pu": 0.05, "v_set_pu": 1.02, "q_set_pu": 0.05}, **OPEN)
    out = isle.step()
    assert out["f_hz"][0] == pytest.approx(60.0 - 0.6 * out["p_kw"][0] / 2000.0, abs=1e-8)
    assert out["v_pu"][0] == pytest.approx(1.02 - 0.05 * (out["q_kvar"][0] - 100.0) / 2000.0, abs=1e-8)
    assert isle.v_pu("b.1") == pytest.approx(out["v_pu"][0], abs=1e-6)


def test_reactive_power_follows_the_voltage_at_each_terminal(small: Path) -> None:
    out = Isle(small, {"at": UNITS, "q_droop_pu": 0.04}, **OPEN).step()
    assert_allclose(out["v_pu"], 1.0 - 0.04 * out["q_kvar"] / [2000.0, 1000.0], atol=1e-8)
    assert out["q_kvar"].sum() > 300.0


def test_unit_at_the_head_gives_its_set_point(small: Path) -> None:
    isle = Isle(small, {"at": UNITS, "p_set_pu": 0.25})
    out = isle.step()
    assert_allclose(out["p_kw"], [500.0, 250.0], atol=1e-4)
    assert_allclose(out["f_hz"], 60.0)
    assert out["head_kw"][0] == pytest.approx(1200.0 + out["losses_kw"][0] - 750.0, abs=1e-2)


def test_units_of_one_bus_share_too(small: Path) -> None:
    at = [{"bus": "c", "rated_kva": 2000.0}, {"bus": "c", "rated_kva": 1000.0}, {"bus": "c", "rated_kva": 500.0}]
    out = Isle(small, {"at": at}, **OPEN).step()
    assert_allclose(out["p_kw"] / out["p_kw"].sum(), [4 / 7, 2 / 7, 1 / 7], atol=1e-6)
    assert_allclose(out["q_kvar"] / out["q_kvar"].sum(), [4 / 7, 2 / 7, 1 / 7], atol=1e-6)


# --- against OpenDSS ---------------------------------------------------------------------------------


def test_ieee13_island_equals_opendss_with_an_equivalent_source() -> None:
    """The same feeder whose only source stands at 671, with the magnitude that the unit came to."""
    unit = {"at": [{"bus": "671", "rated_kva": 5000.0}]}
    grid = {"feeder": "feeders/ieee13/ieee13.dss", "regulators": "locked", **OPEN}
    isle = Isle(SCENARIOS, unit, **grid)
    out = isle.step()
    sources = isle.grid._island.formers._sources  # type: ignore[union-attr]
    x_ohm = 1e-3 * 4.16**2 * 1000.0 / 5000.0
    plain.Basic.AllowChangeDir(False)
    source = f"New Vsource.g bus1=671 basekv=4.16 pu={float(sources.v_pu[0])!r} angle={float(sources.angle_deg[0])!r}"
    for command in (
        "Clear",
        f'Redirect "{SCENARIOS / "feeders/ieee13/ieee13.dss"}"',
        f"{source} r1=0 x1={x_ohm!r} r0=0 x0={x_ohm!r}",
        "Edit Vsource.source enabled=no",
        "Set controlmode=off tolerance=1e-10 maxiterations=200",
        "Solve",
    ):
        plain.Text.Command(command)
    volts = np.array(plain.YMatrix.getV())[2:]
    named = dict(zip(plain.Circuit.YNodeOrder(), np.abs(volts[::2] + 1j * volts[1::2]), strict=True))
    for node, v_pu in zip(isle.grid.interface.outputs["v_pu"].labels, isle.found["v_pu"], strict=True):
        bus_v = 277.128 if node.startswith("634") else 2401.777
        assert named[node.upper()] / bus_v == pytest.approx(float(v_pu), rel=2e-6), node
    p_kw, q_kvar = plain.Circuit.TotalPower()
    assert out["p_kw"][0] == pytest.approx(-p_kw, rel=1e-6)
    assert out["q_kvar"][0] == pytest.approx(-q_kvar, rel=1e-6)


def test_island_behind_a_switch_in_the_feeder_leaves_the_rest_to_the_head() -> None:
    unit = {"at": [{"bus": "675", "rated_kva": 2000.0}]}
    island = {"switch": "sw_671_692", "opens_at_s": 1.0, "closes_at_s": 3.0}
    isle = Isle(SCENARIOS, unit, feeder="feeders/ieee13/ieee13.dss", regulators="locked", island=island)
    steps = [isle.step() for _ in range(4)]
    drawn, given = [float(s["head_kw"][0]) for s in steps], [float(s["p_kw"][0]) for s in steps]
    assert given == pytest.approx([0.0, 1010.0, 1010.0, 0.0], abs=30.0)  # 485 + 68 + 290 + 170 kW, after voltage
    assert drawn[1] == pytest.approx(drawn[0] - 1013.0, abs=60.0)
    assert drawn[3] == pytest.approx(drawn[0], rel=1e-6)
    assert [float(s["switch"][0]) for s in steps] == [1.0, 0.0, 0.0, 1.0]
    assert steps[1]["f_hz"][0] == pytest.approx(60.0 - 0.6 * given[1] / 2000.0, abs=1e-7)


def test_switch_may_be_told_by_an_input(small: Path) -> None:
    isle = Isle(small, {"at": UNITS}, island={"switch": "switch"})
    assert isle.grid.interface.inputs["closed"].arrival == "now"
    assert [float(isle.step(closed=c)["head_kw"][0]) > 100.0 for c in (1.0, 0.0, 1.0)] == [True, False, True]


@pytest.mark.parametrize("operated", [{}, {"switches": ["tie"]}])
def test_an_open_tie_leads_to_no_other_side_of_the_switch(small: Path, operated: dict[str, Any]) -> None:
    """It was taken for a way round: the island was the grid, what crosses had the other sign."""
    with (small / "small.dss").open("a") as feeder:
        feeder.write("New Line.tie phases=3 bus1=a bus2=d switch=yes length=1\nOpen Line.tie 1\n")
    isle = Isle(small, {"at": UNITS}, island={"switch": "switch", "opens_at_s": 1.0}, operated=operated)
    told = {"switch_set": 0.0} if operated else {}
    assert isle.step(**told)["switch_kw"][0] == pytest.approx(1204.0, abs=1.0)
    alone = isle.step(**told)
    assert alone["sides_hz"].tolist() == [60.0, pytest.approx(59.7596, abs=1e-4)]
    assert alone["sides_pu"][0] == pytest.approx(1.0, abs=1e-6)
    assert "d" in isle.feeder.behind("switch")


@pytest.mark.parametrize("second", [True, False])
def test_live_islands_that_a_switch_joins_out_of_step_end_the_run(small: Path, second: bool) -> None:
    """They were one from then on, as if they had turned at one speed, and nobody said so."""
    with (small / "small.dss").open("a") as feeder:
        feeder.write("Edit Line.cd enabled=no\nNew Line.inner phases=3 bus1=c bus2=d switch=yes length=1\n")
    isle = Isle(small, {"at": UNITS if second else UNITS[:1]}, operated={"switches": ["inner"]}, **OPEN)
    for closed in (1.0, 0.0, 1.0, 0.0, 0.0):
        isle.count -= isle.count == 2  # the same instant again: what is joined then was never apart
        isle.step(switch_set=closed)
    if second:
        with pytest.raises(SolverError, match=r"joins live islands .*: of 'units: \S+' at \S+ Hz and 'units: \S+' at"):
            isle.step(switch_set=1.0)
    else:
        assert isle.step(switch_set=1.0)["unserved_kw"][0] == 0.0


def test_a_transformer_of_three_windings_feeds_what_is_at_its_second(small: Path) -> None:
    """What is at the second was taken for cut off: of a switch that ends there, both sides were in the island."""
    text = SMALL.replace("Line.switch phases=3 bus1=a bus2=b", "Line.switch phases=3 bus1=b bus2=m")
    text = text.replace("New Line.bc", f"{THREE_WINDINGS}New Line.bc")
    (small / "small.dss").write_text(text.replace("(12.47)", "(12.47 4.16)"))
    isle = Isle(small, {"at": UNITS}, island={"switch": "switch", "opens_at_s": 1.0})
    assert isle.feeder.behind("switch") == {"b", "c", "d"}
    assert isle.step()["switch_kw"][0] == pytest.approx(1204.0, abs=3.0)
    assert isle.step()["sides_hz"].tolist() == [60.0, pytest.approx(59.7596, abs=1e-3)]


def test_repeated_step_gives_the_same(small: Path) -> None:
    isle = Isle(small, {"at": UNITS, "filter_s": 3.0}, **OPEN)
    isle.step()
    first = isle.step()
    isle.count -= 1
    lines = {p: isle.lines[p.removeprefix("units.")] for p in isle.grid.interface.inputs}
    again = isle.grid.step(S, lines)
    for port in ("units.p_kw", "units.f_hz", "v_pu"):
        assert_allclose(again[port], first[port.removeprefix("units.")] if port != "v_pu" else isle.found["v_pu"],
                        rtol=1e-8)  # fmt: skip


# --- collapse ----------------------------------------------------------------------------------------


def test_overloaded_unit_leaves_the_island_to_the_other_which_collapses_too(small: Path) -> None:
    at = [{"bus": "b", "rated_kva": 900.0}, {"bus": "d", "rated_kva": 300.0}]
    isle = Isle(small, {"at": at, "overload_pu": 1.0}, **OPEN)
    out = isle.step()
    assert out["fault"].tolist() == [1.0, 1.0]
    assert out["p_kw"].tolist() == [0.0, 0.0]
    assert isle.found["v_pu"].max() == 0.0
    assert out["f_hz"].tolist() == [0.0, 0.0]
    assert isle.found["losses_kw"][0] == isle.found["head_kw"][0] == 0.0
    isle.step()
    assert isle.lines["forms"].tolist() == [0.0, 0.0]
    assert isle.lines["trip_cause"].tolist() == [1.0, 1.0]


def test_unit_that_runs_empty_leaves_the_island_to_the_other(small: Path) -> None:
    at = [{"bus": "b", "rated_kva": 2000.0}, {"bus": "d", "rated_kva": 2000.0, "energy_kwh": 20.0}]
    isle = Isle(small, {"at": at, "soc_initial_pu": 1.0}, 60.0, **OPEN)
    held = [isle.step() for _ in range(4)]
    assert [s["fault"].tolist() for s in held] == [[0.0, 0.0], [0.0, 2.0], [0.0, 0.0], [0.0, 0.0]]
    assert held[2]["p_kw"][1] == 0.0
    assert held[2]["p_kw"][0] == pytest.approx(1200.0, rel=0.02)
    assert isle.lines["stored_kwh"].min() >= 0.0
    assert isle.v_pu("d.1") > 0.9


def test_last_unit_that_runs_empty_leaves_nothing(small: Path) -> None:
    isle = Isle(small, {"at": UNITS, "energy_kwh": 30.0, "soc_initial_pu": 1.0}, 60.0, **OPEN)
    energised = [isle.step()["f_hz"].max() > 0.0 for _ in range(6)]
    assert energised == [True, True, False, False, False, False]
    assert isle.lines["stored_kwh"].min() >= 0.0


def test_dead_feeder_lives_again_when_the_head_returns(small: Path) -> None:
    island = {"switch": "head", "opens_at_s": 0.0, "closes_at_s": 2.0}
    isle = Isle(small, {"at": [{"bus": "b", "rated_kva": 100.0}]}, island=island)
    lives = [float(isle.step()["head_kw"][0]) for _ in range(3)]
    assert lives == pytest.approx([0.0, 0.0, 1200.0], abs=20.0)
    assert isle.v_pu("d.1") == pytest.approx(1.0, abs=0.05)


def test_balances_close_also_where_an_island_collapses_under_a_plant_that_goes_on(tmp_path: Path) -> None:
    changes = ["duration_s=780", "federates.formers.energy_kwh=100", "federates.formers.soc_initial_pu=0.9"]
    changes += ['federates.formers.at=[{"bus": "632", "rated_kva": 3000}]', "checks=[]"]
    result = derloop.run(
        SCENARIOS / "kind_grid_forming.json", changes, engine="local", out=tmp_path / "run", report=False
    )
    assert {verdict.outcome for verdict in result.verdicts} == {"PASS"}
    lost_kw = result["grid.plant.undelivered_kw"]
    assert lost_kw[:60].max() == 0.0
    assert lost_kw[-1, 0] > 1000.0
    assert result["formers.trip_cause"][-1].tolist() == [2.0]


def test_island_with_a_neutral_that_is_a_node_stays(small: Path) -> None:
    """The neutral has next to no voltage, and the island was taken for collapsed: its sources tripped at once."""
    with (small / "small.dss").open("a") as feeder:
        feeder.write(FOUR_WIRES)
    isle = Isle(small, {"at": UNITS}, **OPEN)
    for _ in range(5):
        values = isle.step()
    assert list(values["fault"]) == [0.0, 0.0]
    assert values["p_kw"].sum() > 1200.0
    assert isle.v_pu("e.1") > 0.9
    assert 0.0 < isle.v_pu("e.4") < 0.05


@pytest.mark.parametrize("opens_at_s", [0.0, 100.0])
def test_phases_that_only_their_source_feeds_together_are_alive(small: Path, opens_at_s: float) -> None:
    """With z0 = z1 nothing couples them: two of three were dead, beside the head too."""
    isle = Isle(small, {"at": UNITS}, island={"switch": "switch", "opens_at_s": opens_at_s})
    isle.step()
    assert [isle.v_pu(f"c.{phase}") for phase in (1, 2, 3)] == pytest.approx([isle.v_pu("c.1")] * 3, abs=1e-9)


TAPS = """New Transformer.reg phases=3 windings=2 buses=(d e) conns=(wye wye) kvs=(12.47 12.47) kvas=(5000 5000) xhl=8
New RegControl.reg transformer=reg winding=2 vreg=120 band=1 ptratio=60 ctprim=300
New Line.sw phases=3 bus1=e bus2=f switch=yes r1=0.001 x1=0 r0=0.001 x0=0 c1=0 c0=0 length=1
New Load.f phases=3 bus1=f kv=12.47 kw=900 kvar=600 model=1 vminpu=0.5
"""


def test_an_arc_in_an_island_burns_for_as_long_as_the_island_lives(small: Path) -> None:
    """It went out by itself after a step, as if what the head does not feed were dead."""
    fault = {"bus": "d", "begins_s": 2.0, "r_ohm": 400.0, "arc": True}
    isle = Isle(small, {"at": UNITS}, faults=[fault], island={"switch": "switch", "opens_at_s": 0.0})
    given_kw = [float(isle.step()["p_kw"].sum()) for _ in range(5)]
    assert given_kw[2] > given_kw[1] + 350.0
    assert given_kw[3:] == pytest.approx([given_kw[2]] * 2, rel=1e-6)


def test_tap_changers_of_an_island_act_also_once_something_was_switched_in_it(small: Path) -> None:
    """They rested, as those do that look at a dead bus."""
    with (small / "small.dss").open("a") as feeder:
        feeder.write(TAPS)
    isle = Isle(small, {"at": UNITS}, operated={"switches": ["sw"]}, island={"switch": "switch", "opens_at_s": 0.0})
    isle.step(switch_set=0.0)
    closed = isle.step(switch_set=1.0)
    assert closed["unserved_kw"][0] == 0.0
    assert 119.5 / 120 <= isle.v_pu("e.1") <= 120.5 / 120


def test_an_instant_in_which_an_island_died_is_stepped_again_as_if_it_had_not(small: Path) -> None:
    """Its tap changers rested in the second pass, as if what they look at were dead still."""
    with (small / "small.dss").open("a") as feeder:
        feeder.write(TAPS)
    grid = {"operated": {"switches": ["sw"]}, "island": {"switch": "switch", "opens_at_s": 1.0}}
    isle = Isle(small, {"at": UNITS, "v_set_pu": 0.95}, **grid)
    isle.step(switch_set=1.0)
    before = isle.found["taps"][0]
    lines = isle.units.step(S, {port: isle.found[f"units.{port}"] for port in isle.units.interface.inputs})
    given = {f"units.{port}": value.copy() for port, value in lines.items()} | {"switch_set": np.ones(1)}
    given = {port: given[port] for port in isle.grid.interface.inputs}
    assert not isle.grid.step(S, {**given, "units.forms": np.zeros(2)})["units.p_kw"].any()
    isle.found = dict(isle.grid.step(S, given))
    assert isle.found["taps"][0] > before
    assert 119.5 / 120 <= isle.v_pu("e.1") <= 120.5 / 120


def test_tap_changers_beside_grid_forming_units_rest_while_there_is_a_fault(small: Path) -> None:
    """They went up to their highest tap at once, as nowhere else: a fault is over before they act."""
    text = SMALL.replace("r1=0 x1=0.0001 r0=0 x0=0.0001", "r1=0 x1=1 r0=0 x0=1")
    (small / "small.dss").write_text(text + TAPS)
    fault = {"bus": "c", "begins_s": 1.0, "lasts_s": 1.0, "r_ohm": 8.0}
    isle = Isle(small, {"at": UNITS}, island={"switch": "switch", "opens_at_s": 100.0}, faults=[fault])
    steps = [(isle.step()["taps"].tolist(), isle.v_pu("e.1")) for _ in range(3)]
    assert [taps for taps, _ in steps[:2]] == [[4.0], [4.0]]
    assert steps[1][1] < 0.95


def test_an_island_that_can_carry_a_fault_holds_until_a_relay_has_cleared_it(small: Path) -> None:
    """It was taken for collapsed, as the voltage at a fault is low; beside the head it is not."""
    with (small / "small.dss").open("a") as feeder:
        feeder.write("New Line.side phases=3 bus1=d bus2=e r1=60 x1=5 r0=60 x0=5 c1=0 c0=0 length=1\n")
    fault = {"bus": "e", "phases": [1], "begins_s": 1.0, "r_ohm": 1.0}
    relay = {"switch": "side", "pickup_a": 30.0, "curve": "definite", "time_dial": 1.5}
    isle = Isle(small, {"at": UNITS}, faults=[fault], protection=[relay], monitored=["side"], **OPEN)
    steps = [isle.step() for _ in range(4)]
    assert [step["fault"].max() for step in steps] == [0.0] * 4
    assert [step["switches"][0] for step in steps] == [1.0, 1.0, 1.0, 0.0]
    assert steps[1]["current_a"][0] == pytest.approx(7200 / np.hypot(61, 5), rel=0.03)
    assert isle.v_pu("c.1") > 0.95


BANK = """New Capacitor.f phases=3 bus1=f kv=12.47 kvar=300
New CapControl.f capacitor=f element=line.sw terminal=2 type=voltage onsetting=112 offsetting=128 ptratio=60
"""


@pytest.mark.parametrize("bus", ["e", "a"])
def test_tap_changers_of_an_island_act_while_the_bulk_system_is_away_unless_one_looks_at_what_is_dead(
    small: Path, bus: str
) -> None:
    """They rested through every outage, for what is on the grid's side of the switch is dead then."""
    with (small / "small.dss").open("a") as feeder:
        feeder.write(
            TAPS + BANK.replace("element=line.sw terminal=2", f"element=line.switch terminal={1 + (bus == 'e')}")
        )
    away = {"events": [{"begins_s": 1.0, "lasts_s": 100.0}]}
    isle = Isle(small, {"at": UNITS, "v_set_pu": 0.98}, island={"switch": "switch", "outages": away})
    isle.step(closed=1.0)
    isle.step(closed=0.0)
    assert isle.v_pu("a.1") == 0.0
    assert (119.5 / 120 <= isle.v_pu("e.1") <= 120.5 / 120) == (bus == "e")


STREET = """Clear
New Circuit.street bus1=a basekv=12.47 pu=1 r1=0 x1=0.0001 r0=0 x0=0.0001
New Transformer.t phases=3 windings=2 buses=(a s.1.2.3.4) conns=(delta wye) kvs=(12.47 0.4) kvas=(630 630) xhl=4
New Reactor.earth phases=1 bus1=s.4 bus2=s.0 R=0.01 X=0
New Linecode.cable nphases=4 r1=0.3 x1=0.1 r0=0.9 x0=0.3 c1=0 c0=0
New Line.switch phases=4 bus1=s.1.2.3.4 bus2=b.1.2.3.4 linecode=cable length=0.01
New Line.bc phases=4 bus1=b.1.2.3.4 bus2=c.1.2.3.4 linecode=cable length=0.1
New Load.one phases=1 bus1=c.1.4 kv=0.231 kw=20 kvar=0
New Load.two phases=1 bus1=c.2.4 kv=0.231 kw=5 kvar=0
Set VoltageBases=(12.47 0.4)
CalcVoltageBases
"""


def test_the_neutral_of_an_island_on_four_wires_is_that_of_its_source(small: Path) -> None:
    """The source had its star point in earth, and no neutral: that floated at half of nominal, and loads drew less."""
    (small / "small.dss").write_text(STREET)
    units = [{"bus": "b", "rated_kva": 100.0}]
    isle = Isle(small, {"at": units}, island={"switch": "switch", "opens_at_s": 1.0})
    isle.step()
    alone = isle.step()
    assert alone["others_kw"][0] == pytest.approx(25.0, abs=1e-6)
    assert isle.v_pu("b.4") < 1e-3
    back_a = abs(20e3 / 226 + 5e3 / 230 * np.exp(-2j * np.pi / 3))  # in the neutral, of z1 beside its two phases
    assert isle.v_pu("c.4") * 230.94 == pytest.approx(abs(0.03 + 0.01j) * back_a, rel=0.03)
    assert alone["p_kw"][0] + alone["head_kw"][0] - alone["losses_kw"][0] == pytest.approx(25.0, abs=1e-5)


def test_island_on_four_wires_collapses_by_its_voltages_to_the_neutral(small: Path) -> None:
    """To earth it had 0.97 pu, and did not: the run ended, as there was 0.94 pu to the neutral."""
    feeder = STREET.replace("basekv=12.47 pu=1", "basekv=12.47 pu=1.05")
    (small / "small.dss").write_text(feeder.replace("kw=20 kvar=0", "kw=60 kvar=0 model=2"))
    switch = {"switch": "switch", "opens_at_s": 1.0}
    isle = Isle(small, {"at": [{"bus": "b", "rated_kva": 1000.0}]}, island=switch, sane_v_pu=[0.95, 1.2])
    assert list(isle.step()["fault"]) == [0.0]
    assert isle.v_pu("c.1") == pytest.approx(0.956, abs=0.002)
    assert list(isle.step()["fault"]) == [3.0]
    assert isle.v_pu("c.1") == 0.0


# --- bad input ---------------------------------------------------------------------------------------


def test_switch_that_is_not_is_refused(small: Path) -> None:
    with pytest.raises(PlaceError, match="no line 'swich'; did you mean 'switch'"):
        Isle(small, {"at": UNITS}, island={"switch": "swich"})


@pytest.mark.parametrize("line", ["Open Line.switch 1", "Disable Line.switch"])
def test_switch_that_the_file_has_open_is_refused(small: Path, line: str) -> None:
    """One that is not enabled ended in a traceback, and behind an open one the voltage was said to have collapsed."""
    with (small / "small.dss").open("a") as feeder:
        feeder.write(f"{line}\n")
    with pytest.raises(PlaceError, match="the feeder file has 'switch' open, or not enabled: let it be closed there"):
        Isle(small, {"at": UNITS}, island={"switch": "switch"})


def test_switch_in_a_ring_is_refused(small: Path) -> None:
    """It opened, and nothing was an island: the feeder went on as before, with the two sides of the switch mixed up."""
    with (small / "small.dss").open("a") as feeder:
        feeder.write("New Line.tie phases=3 bus1=a bus2=d switch=yes length=1\n")
    with pytest.raises(PlaceError, match="'switch' cuts nothing off from the head: there is another way round it"):
        Isle(small, {"at": UNITS}, island={"switch": "switch"})


PROTECTED = {"protection": [{"switch": "switch", "pickup_a": 100.0}]}


@pytest.mark.parametrize("others", [{"operated": {"switches": ["sw*"]}}, PROTECTED])
def test_switch_that_others_move_too_is_refused(small: Path, others: dict[str, Any]) -> None:
    """They closed it while the island's output said that it is open, whatever the angle between the two."""
    with pytest.raises(PlaceError, match="'switch' is among the switches of operated or protection too"):
        Isle(small, {"at": UNITS}, island={"switch": "switch"}, **others)


def test_line_that_is_called_head_may_be_operated_beside_an_island_of_all_of_the_feeder(small: Path) -> None:
    """It was taken for the island's own switch, and refused."""
    (small / "small.dss").write_text(SMALL.replace("Line.cd", "Line.head"))
    isle = Isle(small, {"at": UNITS}, operated={"switches": ["head"]}, **OPEN)
    assert isle.step(switch_set=1.0)["fault"].tolist() == [0.0, 0.0]


def test_island_that_nothing_could_hold_is_refused(small: Path) -> None:
    settings = OpenDssSettings.model_validate({"feeder": "small.dss", **OPEN})
    context = Context("grid", small, datetime(2025, 7, 15, tzinfo=UTC), S, 86400 * S, 1)
    with pytest.raises(PlaceError, match="no federate is of kind 'grid-forming'") as error:
        OpenDssFeeder(settings, context, Feeder(settings, context))
    assert error.value.problems[0][0] == ("island",)


def test_feeder_of_several_sources_is_refused_beside_grid_forming_units(small: Path) -> None:
    """What its second source fed alone was told as dead and unserved, while it was fed."""
    with (small / "small.dss").open("a") as feeder:
        feeder.write("New Vsource.second bus1=e basekv=12.47\nNew Line.de bus1=d bus2=e switch=yes enabled=no\n")
    with pytest.raises(PlaceError, match="other sources than its circuit's, at a, e: beside grid-forming"):
        Isle(small, {"at": UNITS}, operated={"switches": ["de"]})


def test_switch_that_closes_before_it_opens_is_refused() -> None:
    with pytest.raises(ValueError, match="must come after opens_at_s"):
        OpenDssSettings.model_validate({"feeder": "f", "island": {"switch": "head", "opens_at_s": 9, "closes_at_s": 3}})


# --- the method --------------------------------------------------------------------------------------


def test_a_root_far_away_is_found_and_its_slopes_are_kept() -> None:
    asked = []

    def circle(x: np.ndarray, radius: float) -> np.ndarray:
        asked.append(x)
        return np.array([x[0] ** 2 + x[1] ** 2 - radius, x[0] - x[1] ** 3])

    root, furthest = Root(), np.array([0.5, 0.5])
    found = root.found(lambda x: circle(x, 4.0), np.array([3.0, 2.0]), furthest)
    assert_allclose(circle(found, 4.0), 0.0, atol=1e-9)
    asked.clear()
    root.found(lambda x: circle(x, 4.01), found, furthest)
    assert len(asked) <= 7


def test_no_root_is_told() -> None:
    with pytest.raises(NoRoot, match="still off by"):
        Root().found(lambda x: x**2 + 1.0, np.array([2.0]), np.array([1.0]))
