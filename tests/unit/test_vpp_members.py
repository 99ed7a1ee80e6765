"""Whom a virtual power plant has as members, what it respects of them, and what it does when it hears nothing."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from fleets import MINUTE, places
from fleets import context as fleet_context
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from plants import Batteries, context, plant, written

from derloop.kind import PlaceError, Sensitivity, Terminal
from federates.der.battery import BatterySettings
from federates.der.ev import EvFleet, EvSettings

H = 3600 * 10**9
SHAVING = {"kind": "peak-shaving", "limit_kw": 100, "margin_kw": 0, "gain": 0, "hold_s": 0, "recharges": False}


def seen(batteries: Batteries, head_kw: float, age_s: Any = 0.0, head_age_s: float = 0.0) -> dict[str, np.ndarray]:
    return {"grid.head_kw": np.array([head_kw]), "grid.age_s": np.array([head_age_s]), **batteries.told(age_s)}


# --- who they are ------------------------------------------------------------------------------------


def where(**other: Any) -> Any:
    idle = BatterySettings.model_validate({"at": places(1), "rated_kva": 5})
    commanded = BatterySettings.model_validate({"at": places(1), "rated_kva": 5, "mode": "commanded"})
    fleets = {"homes_north": commanded, "homes_south": commanded, "cars": commanded, "idle": idle}
    kinds = {"homes_north": "battery", "homes_south": "battery", "cars": "ev", "idle": "battery", "vpp": "vpp"}
    stand = {"homes_north": ["671", "675"], "homes_south": ["611"], "cars": ["671"], "idle": ["671"]}
    terminals = {name: tuple(Terminal(b, b, (1,), 5.0) for b in buses) for name, buses in stand.items()}
    sizes = {name: len(found) for name, found in terminals.items()}
    return context(sizes, settings=fleets, kinds=kinds, terminals=terminals, **other)


@pytest.mark.parametrize(
    ("members", "names"),
    [
        (["homes_*"], {"homes_north", "homes_south"}),
        (["*"], {"homes_north", "homes_south", "cars"}),  # those that take no setpoint are left out of patterns
        ({"kinds": ["battery"]}, {"homes_north", "homes_south"}),
        ({"buses": ["67*"]}, {"homes_north", "cars"}),
        ({"names": ["homes_*"], "buses": ["6?1"]}, {"homes_south"}),
    ],
)
def test_members_are_chosen_by_name_kind_and_place(members: Any, names: set[str]) -> None:
    outputs = plant([SHAVING], where(), members=members).interface.outputs
    assert {port.partition(".")[0] for port in outputs if port.endswith(".p_set_kw")} == names


@pytest.mark.parametrize(
    ("members", "path", "why"),
    [
        (["homes_west*"], ("members", 0), "like 'homes_west.'; did you mean 'homes_"),
        (["x*"], ("members", 0), "like 'x.'; there are: cars, homes_north, homes_south$"),
        (
            ["cars", "idle"],
            ("members", 1),
            "'idle' does not take p_set_kw, as it is set, with mode 'idle'; it takes nothing",
        ),
        ({"kinds": ["battery", "evs"]}, ("members", "kinds", 1), "did you mean 'ev'"),
        ({"names": ["cars"], "buses": ["611"]}, ("members", "buses", 0), "no fleet that takes p_set_kw fits '611'"),
        (["cars", "cars"], ("members",), "named twice"),
    ],
)
def test_members_that_cannot_be_reached_are_refused(members: Any, path: Any, why: str) -> None:
    with pytest.raises(PlaceError, match=why.replace("*", ".")) as error:
        plant([SHAVING], where(), members=members)
    assert error.value.problems[0][0] == path


def test_what_was_agreed_with_nobody_is_refused() -> None:
    with pytest.raises(PlaceError, match="no member is called 'car'; did you mean 'cars'") as error:
        plant([SHAVING], where(), members=["cars"], preferences=[{"members": ["car*", "car"]}])
    assert error.value.problems[0][0] == ("preferences", 0, "members", 1)


def test_names_that_fit_nobody_are_no_fault_of_buses_that_nobody_gave() -> None:
    with pytest.raises(PlaceError) as error:
        plant([SHAVING], where(), members={"names": ["x*"], "kinds": ["bttery"]})
    assert [path for path, _ in error.value.problems] == [("members", "names", 0), ("members", "kinds", 0)]


# --- what is respected -------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.floats(0, 1), min_size=3, max_size=3),
    st.floats(-300, 300),
    st.floats(-1, 1),
    st.sampled_from(["proportional", "longest-first"]),
)
def test_no_stack_of_services_asks_for_more_than_members_can_or_owners_allow(
    soc: list[float], head_kw: float, signal: float, shares: str
) -> None:
    """Regulation, reserve, peak shaving and a call at once; half of the power, states of charge of 0.3 to 0.8."""
    folder = Path(__file__).parents[2] / "scenarios"
    column = {"file": "profiles/prices_july.csv", "column": "per_kwh", "scale": signal / 2.0}
    stack = [
        {"kind": "frequency-regulation", "capacity_kw": 15, "signal": column},
        {"kind": "reserve", "up_kw": 5, "down_kw": 5, "up_calls": [{"begins_s": 0, "lasts_s": 9999}]},
        SHAVING | {"recharges": True},
        {
            "kind": "demand-response",
            "offered_kw": 90,
            "calls": [{"begins_s": 0, "lasts_s": 99}],
            "incentive_per_kwh": 1,
        },
    ]
    agreed = [{"share_pu": 0.5, "reserve_soc_pu": 0.3, "top_soc_pu": 0.8}]
    control = plant(stack, context({"b": 3}, folder), shares=shares, preferences=agreed)
    batteries = Batteries([10.0, 20.0, 30.0], [20.0, 20.0, 60.0], soc)
    control.step(0, seen(batteries, head_kw))
    asked = control.step(H, seen(batteries, head_kw))["b.p_set_kw"]
    assert (asked <= 0.5 * batteries.most_kw + 1e-9).all()
    assert (asked >= 0.5 * batteries.least_kw - 1e-9).all()
    assert (asked[np.array(soc) <= 0.3] <= 1e-9).all()
    assert (asked[np.array(soc) >= 0.8] >= -1e-9).all()


@pytest.mark.parametrize(
    ("soc", "head_kw", "asked_kw"),
    [(0.9, 500, 10.0), (0.4, 500, 1.9), (0.3, 500, 0.0), (0.2, -500, -10.0), (0.7, -500, -2.105263), (0.8, -500, 0.0)],
)
@pytest.mark.parametrize("by", ["owners", "the service"])
def test_nobody_is_asked_beyond_what_is_kept_within_a_step(
    soc: float, head_kw: float, asked_kw: float, by: str
) -> None:
    """20 kWh in steps of an hour. From 40 % down to 30 % are 2 kWh, 1.9 kWh at the terminals; from 70 % up to 80 % too,
    and 2.105 kWh at the terminals."""
    agreed = [{"reserve_soc_pu": 0.3, "top_soc_pu": 0.8}] if by == "owners" else []
    kept = {} if by == "owners" else {"reserve_soc_pu": 0.3, "recharge_to_soc_pu": 0.8}
    control = plant([SHAVING | {"recharges": True} | kept], context({"b": 1}), preferences=agreed)
    batteries = Batteries([10.0], [20.0], [soc])
    control.step(0, seen(batteries, head_kw))
    assert_allclose(control.step(H, seen(batteries, head_kw))["b.p_set_kw"], [asked_kw], rtol=1e-6)


@pytest.mark.parametrize("by", ["owners", "the service", "reserve"])
def test_nobody_is_asked_beyond_what_is_kept_within_the_longer_step_of_a_fleet(by: str) -> None:
    """20 kWh, 40 % of them stored, 30 % kept: 1.9 kW last for the hour for which the fleet holds what it is told."""
    agreed = [{"reserve_soc_pu": 0.3}] if by == "owners" else []
    kept = {"reserve_soc_pu": 0.3} if by == "the service" else {}
    reserve = [{"kind": "reserve", "up_kw": 5.7, "lasts_h": 1}] if by == "reserve" else []
    where = context({"b": 1}, step_s=60.0, settings={"b": SimpleNamespace(step_s=3600.0)})
    control = plant([*reserve, SHAVING | kept], where, preferences=agreed)
    batteries = Batteries([10.0], [20.0], [0.4])
    control.step(0, seen(batteries, 500.0))
    assert_allclose(control.step(MINUTE, seen(batteries, 500.0))["b.p_set_kw"], [1.9], rtol=1e-6)


def test_a_car_leaves_with_what_it_needs_though_the_plant_wants_to_take_it() -> None:
    """Comes at 18:00 with 20 kWh missing, leaves at 21:00; 11 kW charge that in 2 h. A peak is shaved all evening."""
    visits = [{"arrives_h": 18.0, "departs_h": 21.0, "need_kwh": 20.0}]
    spots = [{"bus": "671", "rated_kva": 11.0, "visits": visits}]
    cars = EvFleet(EvSettings.model_validate({"at": spots, "mode": "v2g"}), fleet_context(15 * MINUTE))
    labels = cars.interface.outputs["p_kw"].labels
    control = plant([SHAVING], context({"b": 1}, steps=96, step_s=900.0))
    values, given_kw = dict(cars.start()), []
    for k in range(96):
        told = {f"b.{port}": values[port] for port in ("p_kw", "p_max_kw", "p_min_kw", "soc_pu", "stored_kwh")}
        head = {"grid.head_kw": np.array([500.0]), "grid.age_s": np.zeros(1), "b.age_s": np.zeros(1)}
        asked = control.step(k * 15 * MINUTE, head | told)["b.p_set_kw"]
        values = dict(cars.step(k * 15 * MINUTE, {"v_pu": np.ones(len(labels)), "p_set_kw": asked}))
        given_kw.append(float(values["p_kw"][0]))
    assert max(given_kw) > 5.0  # it helped first
    assert cars.statistics()["shortfall_kwh"] == pytest.approx(0.0, abs=1e-6)


def test_energy_that_a_member_gave_since_it_was_heard_is_taken_off_once() -> None:
    """10 of 20 kWh an hour ago, and 4 kW since: 6 are left, whether a network tells that age or nothing stands between.

    Two hours over a network leave 2 kWh. All without losses; with them, 4 / 0.8 kWh are taken in an hour.
    """
    batteries = Batteries([10.0], [20.0])
    batteries.p_kw = np.array([4.0])
    for efficiency_pu, expected_kwh in ((1.0, [6.0, 6.0, 2.0]), (0.8, [5.0, 5.0, 0.0])):
        fleets = plant([SHAVING], context({"b": 1}), silent_after_s=1e4, efficiency_pu=efficiency_pu)._fleets
        left_kwh = [fleets.measured(batteries.told(age_s)).discharging_kwh for age_s in (0.0, 3600.0, 7200.0)]
        assert_allclose(np.concatenate(left_kwh), expected_kwh, atol=1e-12)


def test_of_what_a_device_must_do_no_share_is_taken() -> None:
    """Half of 11 kW may be used. One car must charge with 7 kW to be ready, one with 2: they do, whatever is asked."""
    control = plant([{**SHAVING, "recharges": True}], context({"b": 2}), preferences=[{"share_pu": 0.5}])
    told = Batteries([11.0, 11.0], [40.0, 40.0]).told() | {"b.p_max_kw": np.array([-7.0, -2.0])}
    told["b.p_min_kw"] = np.array([-11.0, -11.0])
    control.step(0, {})
    for head_kw, asked_kw in ((200.0, [-7.0, -2.0]), (-200.0, [-7.0, -5.5])):
        out = control.step(H, {"grid.head_kw": np.array([head_kw]), "grid.age_s": np.zeros(1), **told})
        assert out["b.p_set_kw"].tolist() == pytest.approx(asked_kw)


# --- silence -----------------------------------------------------------------------------------------


def test_silent_devices_are_asked_to_rest_and_others_do_their_part() -> None:
    """Need 30 kW, 10 each; the first was heard 10 minutes ago, when it injected 10 kW: nothing is taken from that."""
    control = plant([SHAVING], context({"b": 4}))
    batteries = Batteries([10.0] * 4, [1e3] * 4)
    batteries.p_kw = np.array([10.0, 0.0, 0.0, 0.0])
    control.step(0, seen(batteries, 100.0))
    out = control.step(H, seen(batteries, 130.0, age_s=np.array([600.0, 0.0, 0.0, 0.0])))
    assert_allclose(out["b.p_set_kw"], [0.0, 10.0, 10.0, 10.0])
    assert out["silent"].tolist() == [1.0]
    assert out["baseline_kw"].tolist() == [130.0]


@pytest.mark.parametrize(("step_s", "silent_after_s"), [(60.0, 300.0), (900.0, 2700.0)])
def test_one_step_over_a_network_is_no_silence_however_long_steps_are(step_s: float, silent_after_s: float) -> None:
    control = plant([SHAVING], context({"b": 1}, step_s=step_s), silent_after_s=None)
    for age_s, silent in ((step_s, 0.0), (silent_after_s, 0.0), (silent_after_s + 1.0, 1.0)):
        batteries = Batteries([50.0], [1e3])
        for k in (0, 10):
            out = control.step(k * round(step_s) * 10**9, seen(batteries, 130.0, age_s=np.array([age_s])))
        assert out["silent"].tolist() == [silent]


def test_what_was_said_before_the_run_began_is_not_used() -> None:
    """Until the first message arrives, after four steps, a network hands on what the feeder and members began with."""
    control, batteries = plant([SHAVING], context({"b": 1}, step_s=60.0)), Batteries([50.0], [1e3])
    asked = []
    for k, age_s in enumerate([60.0, 120.0, 180.0, 240.0, 240.0]):
        told = seen(batteries, 130.0, age_s=np.array([min(age_s, 60.0)]), head_age_s=age_s)
        asked.append(control.step(k * MINUTE, told)["b.p_set_kw"].tolist())
    assert asked == [[0.0]] * 4 + [[30.0]]
    control = plant([SHAVING], context({"b": 1}, step_s=60.0))
    silent = [control.step(k * MINUTE, seen(batteries, 130.0, np.array([240.0])))["silent"][0] for k in range(5)]
    assert silent == [0.0, 1.0, 1.0, 1.0, 0.0]


def test_a_plant_that_hears_nothing_of_the_feeder_asks_for_nothing_and_begins_again() -> None:
    control, batteries = plant([SHAVING], context({"b": 1})), Batteries([50.0], [1e3])
    control.step(0, seen(batteries, 100.0))
    assert control.step(H, seen(batteries, 130.0))["target_kw"].tolist() == [30.0]
    assert control.step(2 * H, seen(batteries, 130.0, head_age_s=301.0))["target_kw"].tolist() == [0.0]
    assert control.step(3 * H, seen(batteries, 130.0, head_age_s=299.0))["target_kw"].tolist() == [30.0]


def test_all_members_silent_is_a_plant_at_rest(tmp_path: Path) -> None:
    power = written(tmp_path, "plan.csv", 3600.0, [10.0] * 24)
    control, batteries = (
        plant([{"kind": "schedule", "power": power}], context({"b": 2}, tmp_path)),
        Batteries([9, 9], [50, 50]),
    )
    control.step(0, seen(batteries, 0.0))
    assert control.step(H, seen(batteries, 0.0, age_s=1e4))["b.p_set_kw"].tolist() == [0.0, 0.0]


# --- the feeder's limits -----------------------------------------------------------------------------


def feeder(**other: Any) -> Any:
    """Two places: 1 kW at the first raises its node by 1e-3, at the second the other by 2e-3; both the line by 1e-2.

    1 kvar raises them by twice as much.
    """
    told = Sensitivity(
        np.array([0, 1]),
        ("a.1", "b.1"),
        np.array([[1e-3, 0.0], [0.0, 2e-3]]),
        ("line.l",),
        np.array([[-1e-2, -1e-2]]),
        np.array([[2e-3, 0.0], [0.0, 4e-3]]),
        np.array([[0.0, 0.0]]),
    )
    place = SimpleNamespace(buses={}, loads={}, source_impedance_ohm=None, sensitivity=lambda terminals: told)
    stand = (Terminal("a", "a", (1,), 50.0), Terminal("b", "b", (1,), 50.0))
    kinds = {"grid": "opendss", "b": "battery"}
    return context({"b": 2}, feeders={"grid": place}, meets={"b": "grid"}, terminals={"b": stand}, kinds=kinds, **other)


def guarded(services: Any, v_pu: list[float], loading_pu: float, folder: Path, age_s: float = 0.0, **other: Any) -> Any:
    control, batteries = plant(services, feeder(folder=folder), **other), Batteries([50.0] * 2, [1e3] * 2)
    inputs = seen(batteries, 0.0, head_age_s=age_s)
    inputs |= {"grid.v_pu": np.array(v_pu), "grid.loading_pu": np.array([loading_pu])}
    control.step(0, inputs)
    return control.step(H, inputs)


def test_what_is_asked_for_is_cut_where_it_would_break_a_voltage_limit(tmp_path: Path) -> None:
    """40 kW, 20 each. At 1.03 pu the second may rise by 0.02: 10 kW. 20 kW raise the first by 0.02: allowed."""
    schedule = {"kind": "schedule", "power": written(tmp_path, "plan.csv", 3600.0, [40.0] * 24)}
    limits = {"v_low_pu": 0.95, "v_high_pu": 1.05}
    out = guarded([schedule], [1.02, 1.03], 0.0, tmp_path, constraints=limits)
    assert_allclose(out["b.p_set_kw"], [20.0, 10.0])
    assert_allclose(out["cut_kw"], [10.0])


def test_what_is_asked_for_is_cut_where_it_would_overload_a_line(tmp_path: Path) -> None:
    """Charging with 40 kW loads the line by 0.4 more; 0.7 was measured: 30 kW are left, 15 each."""
    schedule = {"kind": "schedule", "power": written(tmp_path, "plan.csv", 3600.0, [-40.0] * 24)}
    out = guarded([schedule], [1.0, 1.0], 0.7, tmp_path, constraints={"loading_pu": 1.0})
    assert_allclose(out["b.p_set_kw"], [-15.0, -15.0])


def test_limits_do_not_make_members_do_more_than_they_were_asked_for(tmp_path: Path) -> None:
    schedule = {"kind": "schedule", "power": written(tmp_path, "plan.csv", 3600.0, [40.0] * 24)}
    out = guarded([schedule], [1.2, 0.8], 0.0, tmp_path, constraints={})
    assert_allclose(out["b.p_set_kw"], [0.0, 20.0])


def test_members_rest_if_nothing_is_heard_of_a_feeder_whose_limits_count(tmp_path: Path) -> None:
    schedule = {"kind": "schedule", "power": written(tmp_path, "plan.csv", 3600.0, [40.0] * 24)}
    out = guarded([schedule], [1.0, 1.0], 0.0, tmp_path, age_s=301.0, constraints={})
    assert_allclose(out["b.p_set_kw"], [0.0, 0.0])


def test_voltage_support_moves_members_where_they_have_the_effect(tmp_path: Path) -> None:
    """0.03 pu too low at the second node: 15 kW there. The first is 0.01 too high: it draws 10 kW."""
    out = guarded([{"kind": "voltage-support"}], [1.06, 0.92], 0.0, tmp_path)
    assert_allclose(out["b.p_set_kw"], [-10.0, 15.0])
    assert_allclose(out["support_kw"], [25.0])


def test_limits_of_a_feeder_that_tells_nothing_are_refused() -> None:
    with pytest.raises(PlaceError, match="no feeder that tells how it answers"):
        plant([SHAVING], context({"b": 2}), constraints={})
    with pytest.raises(PlaceError, match=r"the feeder has no node '9\*'") as error:
        plant([SHAVING], feeder(), constraints={"nodes": ["a.*", "9*"]})
    assert error.value.problems[0][0] == ("constraints", "nodes", 1)
