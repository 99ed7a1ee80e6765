"""Devices where a line brings a neutral: their current comes back in it, and they see the voltage to it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from derloop.kind import Context, Terminal
from federates.grid.answering import answers
from federates.grid.hosting import Question, hosting_capacity
from federates.grid.opendss import Feeder, OpenDssFeeder, OpenDssSettings

S = 10**9
E_V = 400 / 3**0.5
R_OHM = 0.2
"""Of each of the four wires, which share nothing."""
FEEDER = """Clear
New Circuit.four bus1=head basekv=0.4 r1=1e-7 x1=1e-7 r0=1e-7 x0=1e-7
New Reactor.earth bus1=head.4 bus2=head.0 phases=1 r=1e-7 x=0
New Line.service bus1=head.1.2.3.4 bus2=home.1.2.3.4 phases=4 units=none length=1
~ rmatrix=(0.2 | 0 0.2 | 0 0 0.2 | 0 0 0 0.2) xmatrix=(0 | 0 0 | 0 0 0 | 0 0 0 0) cmatrix=(0 | 0 0 | 0 0 0 | 0 0 0 0)
New Line.three bus1=head bus2=star phases=3 r1=0.2 x1=0 r0=0.2 x0=0 c1=0 c0=0 units=none length=1
New Capacitor.star bus1=star.1.2.3 bus2=star.4.4.4 phases=3 kv=0.4 kvar=0.001
Set VoltageBases=[0.4]
CalcVoltageBases
"""


@pytest.fixture
def context(tmp_path: Path) -> Context:
    (tmp_path / "four.dss").write_text(FEEDER)
    return Context("grid", tmp_path, datetime(2025, 7, 15, tzinfo=UTC), S, 10**10, 1)


def feeder_of(context: Context) -> Feeder:
    return Feeder(OpenDssSettings(feeder="four.dss"), context)


def grid_of(context: Context, terminal: Terminal) -> OpenDssFeeder:
    context = replace(context, terminals={"pv": (terminal,)})
    grid = OpenDssFeeder(OpenDssSettings(feeder="four.dss"), context, feeder_of(context))
    grid.start()
    return grid


def v_of_loop(p_kw: float, r_ohm: float) -> float:
    """Return the voltage, V, at which a resistance takes `p_kw` from there to the source: V (V - E) = r P."""
    return E_V / 2 + ((E_V / 2) ** 2 + 1000 * p_kw * r_ohm) ** 0.5


@pytest.mark.parametrize("extremes", [False, True])
def test_one_phase_has_both_wires_in_its_loop(context: Context, extremes: bool) -> None:
    """Its current came back through earth, which has no resistance here: half the rise, half the losses."""
    grid = grid_of(context, Terminal("pv_0", "home", (1,), 10.0, extremes=extremes))
    values = grid.step(0, {"pv.p_kw": np.array([7.0]), "pv.q_kvar": np.zeros(1)})
    v = v_of_loop(7.0, 2 * R_OHM)
    assert v == pytest.approx(242.49, abs=0.01)
    assert values["pv.v_pu"][0] == pytest.approx(v / E_V, abs=1e-6)
    assert values["pv.solved_kw"][0] == pytest.approx(7.0)
    assert values["losses_kw"][0] == pytest.approx(2 * R_OHM * (7000 / v) ** 2 / 1000, rel=1e-4)
    at = dict(zip(grid.interface.outputs["v_pu"].labels, values["v_pu"], strict=True))
    assert at["home.1"] == pytest.approx(v / E_V, abs=1e-6)
    assert at["home.4"] * E_V == pytest.approx(R_OHM * 7000 / v, rel=1e-4)
    if extremes:
        assert values["pv.v_high_pu"][0] == pytest.approx(v / E_V, abs=1e-6)


def test_of_a_large_feeder_it_is_known_what_they_draw(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    """They were asked, and told the currents of an iteration before: the energy balance had no digit left to spare."""
    monkeypatch.setattr("federates.grid.powers.MANY", 0)
    grid = grid_of(context, Terminal("pv_0", "home", (1,), 10.0))
    assert grid.step(0, {"pv.p_kw": np.array([7.0]), "pv.q_kvar": np.array([1.0])})["pv.solved_kw"][0] == 7.0


def test_of_a_large_feeder_loads_to_earth_are_known_by_their_voltage_to_earth(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That to the neutral is in the load's band, and it draws as an impedance all the same."""
    monkeypatch.setattr("federates.grid.powers.MANY", 0)
    load = "New Load.earthed bus1=home.2 phases=1 kv=0.23094 kw=2 kvar=0 model=1 vminpu=0.5 vmaxpu=0.99\n"
    (context.folder / "four.dss").write_text(FEEDER + load)
    grid = grid_of(context, Terminal("pv_0", "home", (1,), 10.0))
    values = grid.step(0, {"pv.p_kw": np.array([8.0]), "pv.q_kvar": np.zeros(1)})
    to_neutral = values["v_pu"][grid.interface.outputs["v_pu"].labels.index("home.2")]
    assert to_neutral < 0.985
    assert values["others_kw"][0] == pytest.approx(2.0 * (0.9925 / 0.99) ** 2, rel=1e-3)


def test_devices_of_a_large_feeder_that_only_the_neutral_takes_out_of_their_band_are_asked(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("federates.grid.powers.MANY", 0)
    file = context.folder / "four.dss"
    file.write_text(FEEDER.replace("basekv=0.4", "basekv=0.4 pu=0.3045"))
    context = replace(context, terminals={"pv": (Terminal("pv_0", "home", (1,), 10.0, draws=True),)})
    grid = OpenDssFeeder(OpenDssSettings(feeder="four.dss", sane_v_pu=(0.0, 2.0)), context, feeder_of(context))
    values = grid.step(0, {"pv.p_kw": np.array([0.2]), "pv.q_kvar": np.zeros(1)})
    to_neutral = values["pv.v_pu"][0]
    assert 0.299 < to_neutral < 0.3 < abs(grid._solver.voltages()[grid._solver.nodes.index("home.1")]) / E_V - 0.001
    assert values["pv.solved_kw"][0] == pytest.approx(0.2 * (to_neutral / 0.3) ** 2, rel=1e-5)
    assert values["pv.solved_kw"][0] < 0.1999


def test_three_phases_that_are_balanced_have_nothing_in_the_neutral(context: Context) -> None:
    grid = grid_of(context, Terminal("pv_0", "home", (1, 2, 3), 30.0))
    values = grid.step(0, {"pv.p_kw": np.array([21.0]), "pv.q_kvar": np.zeros(1)})
    assert values["pv.v_pu"][0] == pytest.approx(v_of_loop(7.0, R_OHM) / E_V, abs=1e-6)


def test_a_neutral_that_carries_nothing_is_not_dead(context: Context) -> None:
    """It has no voltage at all, and counted as dead for as long as it was at rest."""
    settings = OpenDssSettings.model_validate({"feeder": "four.dss", "accounts": {}})
    grid = OpenDssFeeder(settings, context, feeder_of(context))
    values = [grid.step(k * S, {})["dead_h"] for k in range(3)][-1]
    assert not values.any()
    assert grid.statistics()["dead_node_h"] == 0.0


def test_a_star_point_at_which_no_line_ends_is_no_neutral(context: Context) -> None:
    buses = feeder_of(context).buses
    assert [buses[name].neutral for name in ("home", "star")] == [4, None]
    values = grid_of(context, Terminal("pv_0", "star", (1,), 10.0)).step(
        0, {"pv.p_kw": np.array([7.0]), "pv.q_kvar": np.zeros(1)}
    )
    assert values["pv.v_pu"][0] == pytest.approx(v_of_loop(7.0, R_OHM) / E_V, abs=1e-4)


def test_of_several_nodes_beyond_the_phases_none_is_the_neutral(context: Context) -> None:
    wire = "New Line.wire bus1=head.4 bus2=home.5 phases=1 r1=0.2 x1=0 r0=0.2 x0=0 c1=0 c0=0 units=none length=1\n"
    (context.folder / "four.dss").write_text(FEEDER.replace("Set VoltageBases", wire + "Set VoltageBases"))
    buses = feeder_of(context).buses
    assert [buses[name].neutral for name in ("head", "home")] == [4, None]


def test_what_wires_share_counts_in_what_is_behind_a_phase(context: Context) -> None:
    """By hand, of wires of 0.2 ohm that share 0.05: the loop of two has 0.4 - 2 * 0.05, three have 0.2 - 0.05."""
    shared = "rmatrix=(0.2 | 0.05 0.2 | 0.05 0.05 0.2 | 0.05 0.05 0.05 0.2)"
    (context.folder / "four.dss").write_text(FEEDER.replace("rmatrix=(0.2 | 0 0.2 | 0 0 0.2 | 0 0 0 0.2)", shared))
    of_phases = [feeder_of(context).source_impedance_ohm("home", phases) for phases in ((1,), (1, 2), (1, 2, 3))]
    assert of_phases == pytest.approx([0.3, 0.225, 0.15], abs=1e-5)


def test_what_is_behind_one_phase_is_both_wires(context: Context) -> None:
    feeder = feeder_of(context)
    of_phases = [feeder.source_impedance_ohm("home", phases) for phases in ((1,), (1, 2), (1, 2, 3))]
    assert of_phases == pytest.approx([2 * R_OHM, 1.5 * R_OHM, R_OHM], abs=1e-5)


def test_a_converged_loop_knows_beforehand_how_voltages_to_the_neutral_answer(context: Context) -> None:
    grid = grid_of(context, Terminal("pv_0", "home", (1,), 10.0))
    said = grid.answers(["pv.p_kw"], ["pv.v_pu"])
    expected = (v_of_loop(0.01, 2 * R_OHM) - E_V) / E_V / 0.01
    assert float((said.left["pv.v_pu"] @ said.right["pv.p_kw"])[0, 0]) == pytest.approx(expected, rel=1e-3)


def test_a_plant_knows_how_the_neutral_answers(context: Context) -> None:
    said = answers(context.folder / "four.dss", [Terminal("a", "home", (1,), 10.0)], (), {})
    v_per_kw = dict(zip(said.nodes, said.v_pu_per_kw[:, 0], strict=True))
    assert v_per_kw["home.4"] == pytest.approx(R_OHM * 1000 / E_V**2, rel=0.1)
    assert v_per_kw["home.1"] == pytest.approx(2 * R_OHM * 1000 / E_V**2, rel=0.1)


def test_a_feeder_on_four_wires_takes_what_keeps_the_voltage_to_the_neutral(context: Context) -> None:
    """Of 1.05 pu it was half: the voltage to earth rose by one wire alone."""
    file = context.folder / "four.dss"
    file.write_text(FEEDER + "New Load.home bus1=home.1.4 phases=1 kv=0.231 kw=0.001\n")
    asked = Question(file, 1, 0.01, 0.01, 100.0, 1.0, 1.0, 1.05, 100.0, "locked")
    found = hosting_capacity(asked, 1, 1)[0]
    assert found.where == "home.1"
    assert found.kw == pytest.approx(1.05 * 0.05 * E_V**2 / (2 * R_OHM) / 1000, abs=0.02)


@pytest.mark.parametrize("extremes", [False, True])
@pytest.mark.parametrize("dead", [1, 3])
def test_a_dead_phase_takes_no_neutral_from_the_others(context: Context, dead: int, extremes: bool) -> None:
    """The first phase spoke for the neutral: without it the others were measured to ground, which hid half of a rise.

    A dead phase was as far from the neutral as that is from ground.
    """
    poles = "".join(f"New Line.p{k} bus1=head.{k} bus2=mid.{k} phases=1 r1=1e-6 x1=0 c1=0\n" for k in (1, 2, 3, 4))
    three = FEEDER.replace("bus1=head.1.2.3.4", "bus1=mid.1.2.3.4").replace(
        "New Line.service", f"{poles}New Line.service"
    )
    (context.folder / "four.dss").write_text(three)
    terminals = tuple(Terminal(f"pv_{phase}", "home", (phase,), 10.0, extremes=extremes) for phase in (2, dead))
    settings = OpenDssSettings.model_validate({"feeder": "four.dss", "operated": {"switches": [f"p{dead}"]}})
    grid = OpenDssFeeder(settings, replace(context, terminals={"pv": terminals}), Feeder(settings, context))
    grid.start()
    given = {"source_v_pu": np.ones(1), "switch_set": np.zeros(1), "pv.q_kvar": np.zeros(2)}
    values = grid.step(S, {**given, "pv.p_kw": np.array([7.0, 0.0])})
    at = dict(zip(grid.interface.outputs["v_pu"].labels, values["v_pu"], strict=True))
    v_pu = v_of_loop(7.0, 2 * R_OHM) / E_V
    assert [at["home.2"], at[f"home.{dead}"]] == pytest.approx([v_pu, 0.0], abs=1e-5)
    assert values["pv.v_pu"] == pytest.approx([v_pu, 0.0], abs=1e-5)
    assert at["home.4"] == pytest.approx(R_OHM * 7000 / (v_pu * E_V) / E_V, rel=1e-3)
