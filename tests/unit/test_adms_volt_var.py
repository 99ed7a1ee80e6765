"""Volt-var optimisation: the search against brute force over taps and banks, on IEEE 34 and 123."""

from dataclasses import replace
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from pydantic import ValidationError

from derloop.contract import FloatArray
from derloop.kind import Context, Terminal
from federates.control.adms.model import Commands, GridModel
from federates.control.adms.search import Point, Score, Search
from federates.control.adms.settings import VoltVarSettings
from federates.control.adms.volt_var import Limits, VoltVar
from federates.der.pv import PvFleet, PvSettings
from federates.grid.opendss import Feeder, OpenDssSettings

SCENARIOS = Path(__file__).parents[2] / "scenarios"
S = 10**9


def model_of(feeder: str, **settings: Any) -> GridModel:
    grid = OpenDssSettings.model_validate({"feeder": f"feeders/{feeder}/{feeder}.dss", **settings})
    context = Context("adms", SCENARIOS, datetime(2025, 7, 15, tzinfo=UTC), 60 * S, 3600 * S, 1)
    return GridModel(
        replace(context, settings={"grid": grid}, feeders={"grid": Feeder(grid, replace(context, name="grid"))})
    )


WEAK = """Clear
New Circuit.weak bus1=head basekv=12.47 pu=1 r1=0 x1=0.1 r0=0 x0=0.1
New Line.sw_a phases=3 bus1=head bus2=a switch=yes
New Line.long phases=3 bus1=head bus2=b r1=60 x1=90 r0=60 x0=90 c1=0 c0=0 length=1
New Line.sw_b phases=3 bus1=a bus2=b switch=yes
New Load.a phases=3 bus1=a kv=12.47 kw=90000 kvar=30000
Set VoltageBases=(12.47)
CalcVoltageBases
"""


def test_a_voltage_that_has_collapsed_is_outside_of_the_band_and_one_that_is_dead_is_not(tmp_path: Path) -> None:
    """Below 0.1 pu it was taken for dead: a plan that fed a load over far too weak a line kept all limits."""
    (tmp_path / "weak.dss").write_text(WEAK)
    grid = OpenDssSettings.model_validate({"feeder": "weak.dss", "operated": {"switches": ["sw_*"]}})
    context = Context("adms", tmp_path, datetime(2025, 7, 15, tzinfo=UTC), 60 * S, 3600 * S, 1)
    feeders = {"grid": Feeder(grid, replace(context, name="grid"))}
    model = GridModel(replace(context, settings={"grid": grid}, feeders=feeders))
    collapsed, dead = (model.solved(model.in_file()._replace(switches=np.array(s))) for s in ((0.0, 1.0), (0.0, 0.0)))
    assert collapsed
    assert dead
    assert 0.0 < collapsed.v_pu.min() < 0.1
    assert Limits.alike(model, (0.9, 1.1)).passed_by(collapsed, model.watched(())) > 5.0
    assert Limits.alike(model, (0.9, 1.1)).passed_by(dead, model.watched(())) == 0.0


def test_a_feeder_that_tells_the_head_alone_is_managed_as_any_other() -> None:
    """Its losses are in the trials: a run ended with a KeyError where its own results are without them."""
    found = [model_of("ieee13", powers=told, operated={"regulators": ["*"]}) for told in ("head", "everywhere")]
    head, everywhere = (model.solved(model.in_file()) for model in found)
    assert head
    assert everywhere
    assert head.losses_kw == everywhere.losses_kw > 0.0


class Tried(NamedTuple):
    """Of all settings of what is operated: violation, head and losses (kW)."""

    violation: FloatArray
    head_kw: FloatArray
    losses_kw: FloatArray

    def best(self, objective: str) -> tuple[float, float]:
        """Return the least violation, and the least cost that can be had with it."""
        least = self.violation.min()
        cost = self.head_kw if objective == "energy" else self.losses_kw
        return float(least), float(cost[self.violation <= least + 1e-9].min())


def brute_force(model: GridModel, settings: VoltVarSettings, start: Commands) -> Tried:
    """Solve every setting of the taps and banks that are operated."""
    free = np.flatnonzero(model.regulators)
    watched = model.watched(settings.ignore)
    band = settings.v_pu[0] + settings.margin_pu, settings.v_pu[1] - settings.margin_pu
    limits = Limits.alike(model, band)
    taps_of = [range(settings.taps[0], settings.taps[1] + 1)] * free.size
    tried = []
    for chosen in product(*taps_of, *([(0, 1)] * start.capacitors.size)):
        taps = start.taps.copy()
        taps[free] = chosen[: free.size]
        outcome = model.solved(Commands(start.switches, taps, np.array(chosen[free.size :], dtype=float), start.q_pu))
        assert outcome
        tried.append((limits.passed_by(outcome, watched), outcome.head_kw, outcome.losses_kw))
    return Tried(*np.array(tried).T)


CASES = [
    ("ieee34", {"regulators": ["rg10a", "rg11a"], "capacitors": ["*"]}, {"taps": (5, 13), "v_pu": (0.92, 1.05)}),
    ("ieee123", {"regulators": ["rg1", "rg4a"], "capacitors": ["83", "88a"]}, {"taps": (-2, 8)}),
]
LONG = [
    ("ieee34", {"regulators": ["rg10?"], "capacitors": ["*"]}, {"taps": (0, 13), "v_pu": (0.92, 1.05)}),
    ("ieee123", {"regulators": ["rg1", "rg4a", "rg4c"], "capacitors": ["*"]}, {"taps": (0, 8)}),
]


@pytest.mark.parametrize(("feeder", "operated", "settings"), CASES)
def test_the_search_finds_what_brute_force_finds(
    feeder: str, operated: dict[str, Any], settings: dict[str, Any]
) -> None:
    _compare(feeder, operated, settings)


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize(("feeder", "operated", "settings"), LONG)
def test_the_search_finds_what_brute_force_finds_among_thousands(
    feeder: str, operated: dict[str, Any], settings: dict[str, Any]
) -> None:
    _compare(feeder, operated, settings)


def _compare(feeder: str, operated: dict[str, Any], plain: dict[str, Any]) -> None:
    model = model_of(feeder, operated=operated)
    start = model.in_file()
    tried = brute_force(model, VoltVarSettings.model_validate(plain), start)
    for objective in ("energy", "losses"):
        settings = VoltVarSettings.model_validate({**plain, "objective": objective, "least_gain_pu": 0.0})
        violation, cost = tried.best(objective)
        found = VoltVar(settings, model).search(start)
        assert found.violation == pytest.approx(violation, abs=1e-5)
        assert found.cost_kw == pytest.approx(cost, rel=1e-5)
        assert found.solutions < 400


def test_with_only_impossible_limits_the_least_violation_is_found() -> None:
    """890 of IEEE 34 is at 0.917 pu as published: no tap brings it above 0.985 with all else below 1.05."""
    model = model_of("ieee34", operated={"regulators": ["*"]})
    settings = VoltVarSettings.model_validate({"v_pu": (0.985, 1.05), "most_solutions": 150})
    start = model.in_file()
    found = VoltVar(settings, model).search(start)
    before = model.solved(start)
    assert before
    assert 0.0 < found.violation < Limits.alike(model, (0.988, 1.047)).passed_by(before, model.watched(()))


def test_settings_stay_where_there_is_little_to_gain() -> None:
    model = model_of("ieee34", operated={"regulators": ["rg11a"]})
    settings = VoltVarSettings.model_validate({"v_pu": (0.9, 1.1), "least_gain_pu": 0.2})
    start = model.in_file()
    found = VoltVar(settings, model).search(start)
    assert found.commands is start
    assert found.cost_kw == found.before_kw


def test_a_search_ends_at_its_limit_of_solutions() -> None:
    def bowl(point: Point) -> Score:
        return Score(0.0, float(sum((x - 7) ** 2 for x in point)))

    assert Search(bowl, (0, 0), (10, 10), 1000).best((0, 0))[0] == (7, 7)
    short = Search(bowl, (0, 0), (10, 10), 5)
    assert len(short.tried) == 0
    short.best((0, 0))
    assert len(short.tried) == 5


def test_two_that_only_help_together_are_found() -> None:
    """A valley along x = -y: neither can move alone, only one up and the other down."""

    def valley(point: Point) -> Score:
        x, y = point
        return Score(abs(x + y), float(abs(x - 4)))

    assert Search(valley, (-9, -9), (9, 9), 1000).best((0, 0), [[0, 1]])[0] == (4, -4)


def rooftop_model(rated_kva: float) -> GridModel:
    """One PV system at a weak end of IEEE 34, at noon: its reactive power is the only thing that can be set."""
    rooftop = Terminal("pv_0", "848", (1, 2, 3), rated_kva)
    grid = OpenDssSettings.model_validate({"feeder": "feeders/ieee34/ieee34.dss", "monitored": ["800_802"]})
    context = Context("adms", SCENARIOS, datetime(2025, 7, 15, tzinfo=UTC), 60 * S, 3600 * S, 1)
    pv = PvSettings.model_validate({"at": {"count": 1, "on": "loads"}, "rated_kva": rated_kva, "q_commanded": True})
    context = replace(context, settings={"grid": grid, "pv": pv}, terminals={"pv": (rooftop,)}, meets={"pv": "grid"})
    model = GridModel(replace(context, feeders={"grid": Feeder(grid, replace(context, name="grid"))}), ["pv"])
    model.measure({"pv.p_kw": np.array([rated_kva / 2.0]), "pv.q_kvar": np.array([0.0])})
    return model


@pytest.mark.parametrize(("q_most_pu", "q_step_pu", "found_pu"), [(0.4, 0.25, 0.25), (0.44, 0.11, 0.44)])
def test_no_more_reactive_power_is_asked_for_than_the_most(q_most_pu: float, q_step_pu: float, found_pu: float) -> None:
    """A small system, which would give all that it can: 0.5 is beyond 0.4, and 0.44 are four steps."""
    plain = {"objective": "losses", "v_pu": (0.8, 1.2), "inverters": ["pv"], "least_gain_pu": 0.0}
    settings = VoltVarSettings.model_validate({**plain, "q_most_pu": q_most_pu, "q_step_pu": q_step_pu})
    model = rooftop_model(60.0)
    assert VoltVar(settings, model).search(model.in_file()).commands.q_pu[0] == pytest.approx(found_pu)


def test_the_reactive_power_of_inverters_is_set_for_the_least_losses() -> None:
    model = rooftop_model(600.0)
    plain = {"objective": "losses", "v_pu": (0.8, 1.2), "inverters": ["pv"], "least_gain_pu": 0.0}
    settings = VoltVarSettings.model_validate(plain)
    found = VoltVar(settings, model).search(model.in_file())
    losses_kw = []
    for q in np.arange(-4, 5) * 0.11:
        outcome = model.solved(model.in_file()._replace(q_pu=np.array([q])))
        assert outcome
        losses_kw.append(outcome.losses_kw)
    assert found.cost_kw == pytest.approx(min(losses_kw), rel=1e-6)
    assert found.commands.q_pu[0] == pytest.approx((int(np.argmin(losses_kw)) - 4) * 0.11)
    assert found.cost_kw < losses_kw[4]


def test_a_commanded_fleet_gives_the_reactive_power_that_it_is_told() -> None:
    context = Context("pv", SCENARIOS, datetime(2025, 7, 15, tzinfo=UTC), 60 * S, 3600 * S, 1)
    context = replace(context, terminals={"pv": (Terminal("pv_0", "671", (1, 2, 3), 10.0),)})
    settings = PvSettings.model_validate({"at": {"count": 1, "on": "loads"}, "rated_kva": 10, "q_commanded": True})
    fleet = PvFleet(settings, context)
    light = {"v_pu": np.ones(1), "irradiance_wm2": np.array([500.0])}
    assert fleet.step(0, {**light, "q_set_pu": np.array([-0.3])})["q_kvar"][0] == pytest.approx(-3.0)
    assert fleet.step(60 * S, {**light, "q_set_pu": np.array([0.2])})["q_kvar"][0] == pytest.approx(2.0)


def test_a_fleet_with_a_reactive_function_of_its_own_cannot_be_commanded() -> None:
    with pytest.raises(ValidationError, match=r"takes the place of smart\.volt_var"):
        PvSettings.model_validate(
            {
                "at": {"count": 1, "on": "loads"},
                "rated_kva": 10,
                "q_commanded": True,
                "smart": {"volt_var": "category-b"},
            }
        )


def test_trials_begin_where_the_last_one_ended() -> None:
    """They are no instants: nothing goes on from one to the next as it went before."""
    assert model_of("ieee123", operated={"regulators": ["*"]}).grid._warm_start is None
