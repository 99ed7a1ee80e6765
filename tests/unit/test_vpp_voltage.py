"""Voltage support by reactive power: cases whose least powers are known by hand, and what it does if it hears nothing.

Two batteries of 50 kVA, each at a node of its own: 1 kW raises the first by 1e-3 pu and the second by 2e-3, 1 kvar by
2e-3 and by 4e-3. 0.44 of the rating, 22 kvar, may be injected or absorbed.
"""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from fleets import context as fleet_context
from fleets import places
from numpy.testing import assert_allclose
from plants import Batteries, context, plant, written
from scipy.optimize import linprog

from derloop.contract import FloatArray
from derloop.kind import Context, PlaceError, Sensitivity, Terminal
from federates.control.vpp import Vpp
from federates.control.vpp.grid import FeederLimits, Grid, Room
from federates.der.battery import BatteryFleet, BatterySettings
from federates.grid.answering import answers

H = 3600 * 10**9
IEEE13 = Path(__file__).parents[2] / "scenarios/feeders/ieee13/ieee13.dss"
SUPPORT = {"kind": "voltage-support"}
DEVICES = [{"bus": "a"}, {"bus": "b"}]
COMMANDED = {"at": DEVICES, "rated_kva": 50, "mode": "commanded", "q_commanded": True}


def answering(terminals: Any) -> Sensitivity:
    place = np.array([0 if terminal.bus == "a" else 1 for terminal in terminals])
    per_kw, none = np.array([[1e-3, 0.0], [0.0, 2e-3]]), np.zeros((0, 2))
    return Sensitivity(place, ("a.1", "b.1"), per_kw, (), none, 2 * per_kw, none)


def where(folder: Path = Path(), fleets: tuple[str, ...] = ("b",), **battery: Any) -> Context:
    settings = BatterySettings.model_validate({**COMMANDED, **battery})
    feeder = SimpleNamespace(buses={}, loads={}, source_impedance_ohm=None, sensitivity=answering)
    stand = (Terminal("a", "a", (1,), 50.0), Terminal("b", "b", (1,), 50.0))
    every = {"terminals": dict.fromkeys(fleets, stand), "settings": dict.fromkeys(fleets, settings)}
    kinds = {"grid": "opendss", **dict.fromkeys(fleets, "battery")}
    meets = dict.fromkeys(fleets, "grid")
    return context(dict.fromkeys(fleets, 2), folder, feeders={"grid": feeder}, meets=meets, kinds=kinds, **every)


def heard(v_pu: Any, q_kvar: Any = (0.0, 0.0), age_s: Any = 0.0, feeder_age_s: float = 0.0) -> dict[str, FloatArray]:
    told = Batteries([50.0] * 2, [1e3] * 2).told(age_s) | {"b.q_kvar": np.array(q_kvar, float)}
    return told | {"grid.v_pu": np.array(v_pu, float), "grid.age_s": np.array([feeder_age_s])}


def asked(control: Vpp, inputs: dict[str, FloatArray]) -> dict[str, FloatArray]:
    control.step(0, inputs)
    return dict(control.step(H, inputs))


def test_reactive_power_is_used_first_and_as_little_of_it_as_it_takes() -> None:
    """0.01 too high: -5 kvar at 2e-3. 0.03 too low: 7.5 kvar at 4e-3. Of 50 kVA: -0.1 and 0.15 pu."""
    out = asked(plant([SUPPORT], where()), heard([1.06, 0.92]))
    assert_allclose(out["b.q_set_pu"], [-0.1, 0.15])
    assert_allclose(out["b.p_set_kw"], [0.0, 0.0])
    assert_allclose([out["support_kvar"][0], out["support_kw"][0]], [12.5, 0.0], atol=1e-12)


def test_a_neutral_that_is_a_node_is_not_kept_within_limits() -> None:
    """It has next to no voltage: powers were moved in vain to raise it."""
    per_kw, none = np.full((2, 1), 1e-3), np.zeros((0, 1))
    sensitivity = Sensitivity(np.zeros(1, np.intp), ("a.1", "a.4"), per_kw, (), none, per_kw, none)
    grid = Grid(FeederLimits(), sensitivity, (), 1)
    members = SimpleNamespace(is_heard=np.ones(1, np.bool_), p_kw=np.zeros(1))
    values = grid.expected(np.zeros(1), {"grid.v_pu": np.array([1.0, 0.01])}, members)  # type: ignore[arg-type]
    assert list(grid.kept(np.zeros(1), values, Room(np.full(1, -50.0), np.full(1, 50.0)))) == [0.0]


def test_active_power_is_used_for_what_remains() -> None:
    """0.15 too low: 22 kvar are 0.088 of it, and 0.062 at 2e-3 are 31 kW."""
    out = asked(plant([SUPPORT], where()), heard([1.0, 0.80]))
    assert_allclose(out["b.q_set_pu"], [0.0, 0.44])
    assert_allclose(out["b.p_set_kw"], [0.0, 31.0])


@pytest.mark.parametrize(("v_pu", "q_pu"), [(0.80, 0.27), (0.79, 0.28)])
def test_reactive_power_takes_no_active_power_from_other_services(v_pu: float, q_pu: float, tmp_path: Path) -> None:
    """48 kW are asked of each, and leave 14 kvar. They raise the second node by 0.096.

    To 0.896: 13.5 kvar are missing. To 0.886: 16 kvar are, of which there are 14, and no more active power beside them.
    """
    schedule = {"kind": "schedule", "power": written(tmp_path, "plan.csv", 3600.0, [96.0] * 24)}
    out = asked(plant([schedule, SUPPORT], where(tmp_path)), heard([1.0, v_pu]))
    assert_allclose(out["b.q_set_pu"], [0.0, q_pu])
    assert_allclose(out["b.p_set_kw"], [48.0, 48.0])


@pytest.mark.parametrize(("measured_pu", "asked_pu"), [(0.95, 0.15), (0.96, 0.10), (1.0, 0.0)])
def test_reactive_power_stays_as_long_as_it_is_needed_and_no_longer(measured_pu: float, asked_pu: float) -> None:
    """7.5 kvar are given, 0.03 pu: without them there would be 0.92, 0.93 and 0.97, of which the last is enough."""
    out = asked(plant([SUPPORT], where()), heard([1.0, measured_pu], q_kvar=[0.0, 7.5]))
    assert_allclose(out["b.q_set_pu"], [0.0, asked_pu], atol=1e-12)


def test_what_voltages_need_is_not_taken_back_by_later_services(tmp_path: Path) -> None:
    """At the second node 0.06 too high, for which its battery charges with 30 kW, and 0.15 too low, for which it gives
    22 kvar and 31 kW: selling, and buying, move the first battery alone."""
    price = written(tmp_path, "price.csv", 3600.0, [5.0] * 24)
    trading = {"kind": "arbitrage", "price": price, "method": "rule-based"}
    selling, buying = {"charge_below": 1, "discharge_above": 2}, {"charge_below": 9, "discharge_above": 10}
    control = plant([SUPPORT, {**trading, **selling}], where(tmp_path, q_commanded=False), constraints={})
    assert_allclose(asked(control, heard([1.0, 1.11]))["b.p_set_kw"], [50.0, -30.0])
    control = plant([SUPPORT, {**trading, **buying}], where(tmp_path), constraints={})
    assert_allclose(asked(control, heard([1.0, 0.80]))["b.p_set_kw"], [-50.0, 31.0])


def test_services_after_voltage_support_have_limits_of_its_feeder(tmp_path: Path) -> None:
    """At 0.96 pu nothing is to be mended; 50 kW that are bought would bring the second node to 0.86, and 5 kW are."""
    price = written(tmp_path, "price.csv", 3600.0, [5.0] * 24)
    buying = {"kind": "arbitrage", "price": price, "method": "rule-based", "charge_below": 9, "discharge_above": 10}
    control = plant([SUPPORT, buying], where(tmp_path), constraints={})
    assert_allclose(asked(control, heard([1.0, 0.96]))["b.p_set_kw"], [-50.0, -5.0])
    plant([buying, SUPPORT], where(tmp_path))
    why = r"does not see what those after it ask for, 1 \(arbitrage\).*constraints of 'grid'"
    for other in ({}, {"constraints": {"feeder": "elsewhere"}}):
        with pytest.raises(ValueError, match=why):
            plant([SUPPORT, buying], where(tmp_path), **other)


@pytest.mark.parametrize(("v_pu", "given_kw"), [([1.0, 1.03], 0.0), ([1.03, 1.09], 30.0)])
def test_voltages_are_kept_also_with_reserve_that_is_deployed(v_pu: list[float], given_kw: float) -> None:
    """30 kW of each raise the second node by 0.06, from 1.03 to 1.09, before and once it is measured: by 10 kvar."""
    reserve = {"kind": "reserve", "up_kw": 60, "lasts_h": 0, "up_calls": [{"begins_s": 0, "lasts_s": 7200}]}
    measured = heard(v_pu) | {"b.p_kw": np.full(2, given_kw)}
    out = asked(plant([reserve, SUPPORT], where()), measured)
    assert_allclose(out["b.p_set_kw"], [30.0, 30.0])
    assert_allclose(out["b.q_set_pu"], [0.0, -0.2], atol=1e-12)


@pytest.mark.parametrize(
    ("signal_pu", "v_pu", "cut_kw", "response_kw"),
    [(0.0, 0.96, 40.0, 0.0), (1.0, 0.96, 35.0, 10.0), (-1.0, 0.96, 45.0, -10.0), (-1.0, 0.95, 50.0, -5.0)],
)
def test_a_base_point_that_is_cut_is_no_response_to_regulation(
    signal_pu: float, v_pu: float, cut_kw: float, response_kw: float, tmp_path: Path
) -> None:
    """45 kW of each are bought, and 5 kW follow the signal. The second node has room for 5 kW down to 0.95 pu, or none:
    what is bought is cut first, and only what of the signal is cut lacks in the response."""
    signal = written(tmp_path, "signal.csv", 3600.0, [signal_pu] * 24)
    price = written(tmp_path, "price.csv", 3600.0, [5.0] * 24)
    regulation = {"kind": "frequency-regulation", "capacity_kw": 10, "signal": signal, "centre_soc_pu": None}
    buying = {"kind": "arbitrage", "price": price, "method": "rule-based", "charge_below": 9, "discharge_above": 10}
    control = plant([regulation, buying], where(tmp_path, q_commanded=False), constraints={"v_low_pu": 0.95})
    batteries, told = Batteries([50.0] * 2, [1e3] * 2), {}
    for k in range(4):
        measured_pu = np.array([1.0, v_pu]) + np.array([1e-3, 2e-3]) * batteries.p_kw
        told = control.step(k * H, {"grid.v_pu": measured_pu, "grid.age_s": np.zeros(1), **batteries.told()})
        batteries.hold(told["b.p_set_kw"])
    assert told["cut_kw"][0] == pytest.approx(cut_kw)
    assert told["response_kw"][0] == pytest.approx(response_kw)


def test_without_members_that_take_it_active_power_does_it_all() -> None:
    out = asked(plant([SUPPORT], where(q_commanded=False)), heard([1.06, 0.92]))
    assert "b.q_set_pu" not in out
    assert_allclose(out["b.p_set_kw"], [-10.0, 15.0])


def test_fleets_that_are_no_members_can_give_reactive_power_beside_what_they_inject() -> None:
    """48 kW of 50 kVA leave 14 kvar, 0.056 of 0.06 pu; the member beside it has the other 1 kvar, which it shares."""
    control = plant([{**SUPPORT, "reactive": ["roofs"]}], where(fleets=("b", "roofs")), members=["b"])
    inputs = heard([1.0, 0.89]) | {"roofs.p_kw": np.array([0.0, 48.0]), "roofs.q_kvar": np.zeros(2)}
    out = asked(control, inputs | {"roofs.age_s": np.zeros(2)})
    assert_allclose(out["roofs.q_set_pu"], [0.0, 0.28])
    assert_allclose(out["b.p_set_kw"], [0.0, 0.004 / 2e-3])


def test_reactive_power_is_near_the_least_that_would_do_and_found_wherever_there_is_any() -> None:
    """Eighty states of voltages on IEEE 13 beside an exact solution by linear programming."""
    stand = [Terminal("a", "675", (1, 2, 3), 400.0), Terminal("b", "611", (3,), 80.0), Terminal("c", "652", (1,), 80.0)]
    told, most_kvar = answers(IEEE13, stand, (), {}), 0.44 * np.array([400.0, 80.0, 80.0])
    limits = FeederLimits(v_low_pu=0.97, v_high_pu=1.06, nodes=("611.*", "652.*", "675.*", "684.*"))
    grid = Grid(limits, told, (), 0)
    nodes = [i for i, node in enumerate(told.nodes) if node.split(".")[0] in ("611", "652", "675", "684")]
    per_kvar, ratios = told.v_pu_per_kvar[nodes][:, told.place], []
    for v_pu in np.random.default_rng(1).uniform(0.963, 0.985, (80, len(nodes))):
        least_kvar = least(per_kvar, v_pu - 0.97, most_kvar)
        q_kvar, v_then_pu = grid.supported(v_pu, Room(-most_kvar, most_kvar))
        if least_kvar is not None and least_kvar > 1.0:
            assert v_then_pu.min() >= 0.97 - 1e-4
            ratios.append(np.abs(q_kvar).sum() / least_kvar)
    assert len(ratios) > 50
    assert np.median(ratios) < 1.25
    assert max(ratios) < 1.85


def least(per_kvar: FloatArray, spare_pu: FloatArray, most_kvar: FloatArray) -> float | None:
    """Return the least sum of reactive powers that keeps voltages up; None where there is none."""
    both, bounds = np.hstack([-per_kvar, per_kvar]), [(0.0, most) for most in [*most_kvar, *most_kvar]]
    found = linprog(np.ones(2 * most_kvar.size), A_ub=both, b_ub=spare_pu, bounds=bounds)
    return float(found.fun) if found.status == 0 else None


# --- silence -----------------------------------------------------------------------------------------


def test_if_nothing_is_heard_of_the_feeder_nothing_is_asked_for() -> None:
    out = asked(plant([SUPPORT], where()), heard([1.0, 0.80], q_kvar=[0.0, 7.5], feeder_age_s=301.0))
    assert_allclose(out["b.q_set_pu"], [0.0, 0.0])
    assert_allclose(out["b.p_set_kw"], [0.0, 0.0])
    assert_allclose([out["support_kvar"][0], out["support_kw"][0]], [0.0, 0.0])


def test_of_a_silent_member_nothing_is_asked_and_others_go_on() -> None:
    out = asked(plant([SUPPORT], where()), heard([1.06, 0.92], age_s=[0.0, 301.0]))
    assert_allclose(out["b.q_set_pu"], [-0.1, 0.0])
    assert_allclose(out["b.p_set_kw"], [0.0, 0.0])


# --- what is refused ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reactive", "why"),
    [
        (["b"], "'b' does not take q_set_pu, as it is set, with mode 'commanded'; it takes p_set_kw"),
        (["c"], "no fleet is called 'c'"),
    ],
)
def test_fleets_that_take_no_reactive_power_are_refused(reactive: list[str], why: str) -> None:
    with pytest.raises(PlaceError, match=why) as error:
        plant([{**SUPPORT, "reactive": reactive}], where(q_commanded=False))
    assert error.value.problems[0][0] == ("services", 0, "reactive", 0)


def test_a_battery_has_one_reactive_function() -> None:
    with pytest.raises(ValueError, match=r"q_commanded takes the place of smart\.volt_var"):
        BatterySettings.model_validate({**COMMANDED, "smart": {"volt_var": "category-b"}})


def test_a_battery_gives_the_reactive_power_that_it_is_asked_for_and_tells_what_is_left() -> None:
    """0.44 of 50 kVA are 22 kvar, beside which sqrt(50^2 - 22^2) = 44.9 kW are left."""
    settings = BatterySettings.model_validate({**COMMANDED, "at": places(2), "energy_kwh": 1000})
    fleet = BatteryFleet(settings, fleet_context())
    inputs = {"p_set_kw": np.zeros(2), "q_set_pu": np.array([-0.2, 0.44]), "v_pu": np.ones(2)}
    out = fleet.step(0, inputs)
    assert_allclose(out["q_kvar"], [-10.0, 22.0])
    assert_allclose(out["p_max_kw"][1], 44.9, atol=0.01)
