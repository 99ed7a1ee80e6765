"""Heat pumps, air conditioners, and the thermostats that they share with water heaters."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fleets import HOUR, MINUTE, context, listed, places, stepped
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from pydantic import ValidationError

from derloop.kind import PlaceError
from federates.der.heat_network import HeatNetworks
from federates.der.heat_pump import HeatPumpSettings, terminals
from federates.der.heat_pump import fleet as heat_pumps
from federates.der.thermostatic import ThermostaticFleet

PLAIN = {
    "rated_kva": 3.0,
    "pf": 1.0,
    "outside_c": 0.0,
    "capacity_kwh_per_k": 6.0,
    "resistance_k_per_kw": 5.0,
    "gain_kw": 0.0,
}
MASS = {"capacity_kwh_per_k": 8.0, "resistance_k_per_kw": 0.5}


def fleet(
    count: int = 1, step_ns: int = MINUTE, at: Any = None, folder: Path | None = None, **settings: Any
) -> ThermostaticFleet:
    there = places(count) if at is None else at
    where = {} if folder is None else {"folder": folder}
    made = HeatPumpSettings.model_validate({"at": there, **PLAIN, **settings})
    return heat_pumps(made, context(step_ns, **where))


def test_house_without_heat_cools_with_its_time_constant() -> None:
    house = HeatNetworks(np.array([[6.0]]), np.array([0.2]), np.zeros(1))
    inside, mean = house.after(np.array([[20.0]]), np.array([0.0]), 1.0)
    assert inside[0, 0] == pytest.approx(19.344322, abs=1e-6)  # 20 exp(-1 / 30)
    assert mean[0, 0] == pytest.approx(19.670340, abs=1e-6)  # 20 * 30 (1 - exp(-1 / 30))


def test_second_order_house_follows_its_differential_equations() -> None:
    house = HeatNetworks(np.array([[1.0, 8.0]]), np.array([0.25]), np.array([2.0]))
    inside, mean = house.after(np.array([[20.0, 22.0]]), np.array([5.0]), 2.0)

    def slope(x: np.ndarray) -> np.ndarray:
        return np.array([(5.0 - 0.25 * x[0] + 2.0 * (x[1] - x[0])) / 1.0, 2.0 * (x[0] - x[1]) / 8.0, x[0], x[1]])

    x, h = np.array([20.0, 22.0, 0.0, 0.0]), 2.0 / 4000
    for _ in range(4000):  # Runge-Kutta of fourth order, with the integrals of both temperatures
        a = slope(x)
        b = slope(x + h / 2 * a)
        c = slope(x + h / 2 * b)
        x = x + h / 6 * (a + 2 * b + 2 * c + slope(x + h * c))
    assert_allclose(inside[0], x[:2], atol=1e-9)
    assert_allclose(mean[0], x[2:] / 2.0, atol=1e-9)


def test_temperatures_do_not_depend_on_the_step() -> None:
    house = HeatNetworks(np.array([[1.0, 8.0]]), np.array([0.25]), np.array([2.0]))
    once, _ = house.after(np.array([[20.0, 22.0]]), np.array([5.0]), 2.0)
    many = np.array([[20.0, 22.0]])
    for _ in range(7200):
        many, _ = house.after(many, np.array([5.0]), 2.0 / 7200)
    assert_allclose(many, once, atol=1e-9)


@pytest.mark.parametrize(
    ("duty", "outside_c", "cop"),
    [
        ("heating", 5.0, 3.1815),
        ("heating", -15.0, 2.1210),
        ("heating", 44.9, 7.0),
        ("cooling", 35.0, 4.165185),
        ("cooling", 7.0, 7.0),
    ],
)
def test_coefficient_of_performance_is_a_share_of_carnots(duty: str, outside_c: float, cop: float) -> None:
    # 0.4 * 318.15 K / 40 K; 0.4 * 281.15 K / 27 K; at most cop_max
    made = HeatPumpSettings.model_validate({"at": places(1), **PLAIN, "duty": duty})
    assert made.cop(outside_c) == pytest.approx(cop, abs=1e-6)


def test_power_and_heat_are_those_of_the_machine_while_it_is_on() -> None:
    houses = fleet(200, outside_c=5.0, pf=0.9)
    out = stepped(houses)
    on = out["on"] > 0
    assert 0 < on.sum() < 200
    assert_allclose(out["p_kw"], np.where(on, 2.7, 0.0))
    assert_allclose(out["q_kvar"], np.where(on, 1.307670, 0.0), atol=1e-6)  # 3 sin(acos 0.9)
    assert_allclose(out["heat_kw"], np.where(on, 2.7 * 3.1815, 0.0))


def test_share_of_time_that_is_on_carries_the_losses() -> None:
    houses = fleet(50, outside_c=5.0)
    on = np.array([stepped(houses, k * MINUTE)["on"] for k in range(1440)])
    assert on.mean() == pytest.approx(16.0 / 5.0 / (3.0 * 3.1815), rel=0.02)


def test_temperature_stays_in_its_dead_band_but_for_what_a_step_adds() -> None:
    houses = fleet(30, outside_c=5.0, deadband_k=1.0)
    inside = np.array([stepped(houses, k * MINUTE)["inside_c"] for k in range(1440)])
    assert inside.min() > 20.5 - 0.02
    assert inside.max() < 21.5 + 0.02
    assert inside.std() > 0.2


def test_air_conditioner_cools_when_it_is_warm() -> None:
    houses = fleet(30, duty="cooling", outside_c=38.0, setpoint_c=24.0)
    out = [stepped(houses, k * MINUTE) for k in range(600)]
    inside = np.array([o["inside_c"] for o in out])
    assert 23.5 - 0.03 < inside.min() < inside.max() < 24.5 + 0.03
    assert min(o["heat_kw"].min() for o in out) < 0.0 == max(o["heat_kw"].max() for o in out)


def test_what_is_off_stays_off_for_its_least_time() -> None:
    houses = fleet(20, outside_c=5.0, deadband_k=0.05, capacity_kwh_per_k=0.5, least_off_s=600.0)
    on = np.array([stepped(houses, k * MINUTE)["on"] for k in range(600)])
    rests = []
    for one in on.T:
        changes = np.diff(one)
        off, again = np.flatnonzero(changes < 0), np.flatnonzero(changes > 0)
        again = again[again > off[0]]
        rests += [end - begin for begin, end in zip(off, again, strict=False)]
    assert min(rests) == 10
    assert len(rests) > 100


def test_event_that_falls_between_two_instants_is_refused() -> None:
    events = [{"begins_s": 7230.0, "lasts_s": 30.0, "shift_k": -1.5}]
    with pytest.raises(PlaceError, match="falls between two instants of 'fleet', whose step is 60 s"):
        fleet(events=events)


def test_event_shifts_the_setpoints_and_a_rebound_follows() -> None:
    event = {"begins_s": 7200.0, "lasts_s": 3600.0, "shift_k": -1.5}
    houses = fleet(200, outside_c=0.0, events=[event], capacity_kwh_per_k=[4.0, 8.0])
    p_kw = np.array([stepped(houses, k * MINUTE)["p_kw"].sum() for k in range(360)])
    before, during, after = p_kw[:120].mean(), p_kw[121:150].mean(), p_kw[181:210].mean()
    assert during < 0.02 * before
    assert after > 1.5 * before


def test_a_control_shifts_the_setpoints_of_a_fleet_that_responds() -> None:
    houses = fleet(50, outside_c=0.0, responds=True)
    assert houses.interface.inputs["shift_k"].unit == "K"
    stepped(houses)
    assert stepped(houses, MINUTE, shift_k=-3.0)["on"].sum() == 0.0
    for k in range(2, 10):
        stepped(houses, k * MINUTE, shift_k=-3.0)
    assert stepped(houses, 10 * MINUTE, shift_k=3.0)["on"].sum() == 50.0
    assert "shift_k" not in fleet().interface.inputs


@settings(deadline=None)  # another process may hold the processor
@given(
    outside_c=st.floats(-30.0, 30.0),
    mass=st.sampled_from([None, MASS]),
    duty=st.sampled_from(["heating", "cooling"]),
    minutes=st.sampled_from([1, 15, 60]),
    gain_kw=st.floats(0.0, 5.0),
)
def test_heat_is_neither_made_nor_lost(outside_c: float, mass: Any, duty: str, minutes: int, gain_kw: float) -> None:
    houses = fleet(
        5, minutes * MINUTE, outside_c=outside_c, mass=mass, duty=duty, gain_kw=gain_kw, resistance_k_per_kw=[2.0, 9.0]
    )
    before = stepped(houses)
    for k in range(1, 20):
        now = stepped(houses, k * minutes * MINUTE)
        flowed_kw = before["heat_kw"] + before["gain_kw"] - before["loss_kw"]
        assert_allclose(now["stored_kwh"], before["stored_kwh"] + flowed_kw * minutes / 60.0, rtol=1e-12, atol=1e-9)
        before = now


def test_second_step_for_an_instant_starts_from_the_last_instant() -> None:
    once, twice = (fleet(9, outside_c=0.0, mass=MASS, responds=True) for _ in range(2))
    for k in range(100):
        stepped(twice, k * MINUTE, shift_k=5.0)
        stepped(twice, k * MINUTE, shift_k=-5.0)
        shift = np.sin(k / 9.0)
        assert listed(stepped(once, k * MINUTE, shift_k=shift)) == listed(stepped(twice, k * MINUTE, shift_k=shift))


def test_forty_buildings_are_like_one_that_is_repeated() -> None:
    houses = fleet(40, outside_c=3.0, mass=MASS, setpoint_c=21.0)
    for k in range(60):
        out = stepped(houses, k * MINUTE)
    alone = HeatNetworks(np.array([[6.0, 8.0]]), np.array([0.2]), np.array([2.0]))
    inside = np.repeat(out["inside_c"][:, None], 2, axis=1)
    many = HeatNetworks(np.tile([6.0, 8.0], (40, 1)), np.full(40, 0.2), np.full(40, 2.0)).after(
        inside, out["heat_kw"], 0.5
    )
    for i in range(40):
        assert_allclose(
            alone.after(inside[i : i + 1], out["heat_kw"][i : i + 1], 0.5)[0][0], many[0][i], rtol=0, atol=1e-12
        )


def test_buildings_draw_from_the_feeder() -> None:
    made = HeatPumpSettings.model_validate({"at": places(1), **PLAIN})
    assert terminals(made, context())[0].draws


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"rated_kva": 0}, "rated_kva"),
        ({"capacity_kwh_per_k": 0}, "capacity_kwh_per_k"),
        ({"resistance_k_per_kw": -1}, "resistance_k_per_kw"),
        ({"deadband_k": 0}, "deadband_k"),
        ({"setpoint_c": [24, 20]}, "24 is more than 20"),
        ({"duty": "both"}, "heating"),
        ({"setpoint_c": 60}, "60 to 60 is not allowed: 5 to 40 degC"),
        ({"supply_c": 20}, "supply_c 20 must be above the highest setpoint in heating"),
        ({"supply_c": 25, "duty": "cooling"}, "supply_c 25 must be below the lowest setpoint in cooling"),
        ({"events": [{"begins_s": 5, "lasts_s": 0, "shift_k": 1}]}, "lasts_s"),
    ],
)
def test_impossible_settings_are_refused(wrong: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        fleet(**wrong)


def test_weather_that_cannot_be_is_refused_where_it_stands(tmp_path: Path) -> None:
    (tmp_path / "w.csv").write_text("time_s,t\n0,290\n86400,295\n")
    with pytest.raises(PlaceError, match="290 is not allowed: -60 to 60 degC") as error:
        fleet(folder=tmp_path, outside_c={"file": "w.csv", "column": "t"})
    assert error.value.problems[0][0] == ("outside_c", "column")
    assert HOUR == 60 * MINUTE
