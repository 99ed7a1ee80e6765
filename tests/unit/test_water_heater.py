"""Water heaters."""

from typing import Any

import numpy as np
import pytest
from fleets import DAY, HOUR, MINUTE, context, listed, places, stepped
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from pydantic import ValidationError

from derloop.kind import PlaceError
from federates.der.hot_water import HotWater
from federates.der.thermostatic import ThermostaticFleet
from federates.der.water_heater import WaterHeaterSettings, terminals
from federates.der.water_heater import fleet as water_heaters

PLAIN = {"rated_kva": 4.5, "volume_l": 200.0, "loss_kw_per_k": 0.002, "room_c": 20.0, "inlet_c": 12.0}


def made(**settings: Any) -> WaterHeaterSettings:
    return WaterHeaterSettings.model_validate({"at": places(1), **PLAIN, **settings})


def fleet(count: int = 1, step_ns: int = MINUTE, **settings: Any) -> ThermostaticFleet:
    return water_heaters(made(at=places(count), **settings), context(step_ns))


def test_tank_that_is_not_used_cools_with_its_time_constant() -> None:
    tank = fleet(step_ns=HOUR, draws_per_day=0)
    before = stepped(tank)["water_c"][0]
    after = stepped(tank, HOUR)["water_c"][0]
    # C = 200 kg * 4.186 kJ/(kg K) = 0.232556 kWh/K, tau = 116.278 h
    assert after == pytest.approx(20.0 + (before - 20.0) * np.exp(-1.0 / 116.277778), abs=1e-9)


def test_element_warms_the_tank_by_its_energy() -> None:
    tank = fleet(step_ns=HOUR, draws_per_day=0, loss_kw_per_k=1e-9, responds=True)
    before = stepped(tank, shift_k=30.0)["water_c"][0]
    assert stepped(tank, HOUR, shift_k=30.0)["water_c"][0] - before == pytest.approx(
        19.350209, abs=1e-5
    )  # 4.5 / 0.232556


def test_each_day_has_its_draws_and_their_water() -> None:
    water = HotWater(made(draws_per_day=10, draw_l=[5.0, 15.0]), context(), 500)
    litres = water.litres(0, 3 * DAY) / 3.0
    assert litres.mean() == pytest.approx(100.0, rel=0.02)
    assert litres.min() > 0.0


def test_peaks_have_their_share_of_the_draws() -> None:
    water = HotWater(made(draw_l=1.0, draws_per_day=20, peak_pu=0.8), context(), 500)
    all_day = water.litres(0, DAY).sum()
    morning, evening = water.litres(6 * HOUR, 9 * HOUR).sum(), water.litres(17 * HOUR, 22 * HOUR).sum()
    assert morning / all_day == pytest.approx(0.4 + 0.2 * 3 / 24, abs=0.01)
    assert evening / all_day == pytest.approx(0.4 + 0.2 * 5 / 24, abs=0.01)


def test_water_drawn_does_not_depend_on_the_step() -> None:
    water = HotWater(made(), context(), 20)
    whole = water.litres(5 * HOUR, 30 * HOUR)
    parts = sum(water.litres(5 * HOUR + k * MINUTE, 5 * HOUR + (k + 1) * MINUTE) for k in range(25 * 60))
    assert_allclose(parts, whole, atol=1e-9)


def test_day_of_a_tank_needs_the_energy_of_its_water_and_its_losses() -> None:
    tanks = fleet(100, draw_l=10.0, draws_per_day=12)
    out = [stepped(tanks, k * MINUTE) for k in range(1440)]
    drawn_kwh = sum(o["p_kw"] for o in out).mean() / 60.0
    # 120 l * 4.186 kJ/(kg K) * 43 K = 6.0 kWh and 0.002 kW/K * 35 K * 24 h = 1.68 kWh, about
    assert drawn_kwh == pytest.approx(7.7, rel=0.05)


def test_water_leaves_the_tank_no_colder_than_it_came() -> None:
    tanks = fleet(20, rated_kva=0.5, draws_per_day=40)
    water = np.array([stepped(tanks, k * MINUTE)["water_c"] for k in range(1440)])
    assert water.min() >= 12.0


@settings(deadline=None)  # another process may hold the processor
@given(
    minutes=st.sampled_from([1, 5, 20]),
    cop=st.floats(0.5, 4.0),
    inlet_c=st.floats(1.0, 30.0),
    draws=st.integers(0, 60),
)
def test_heat_is_neither_made_nor_lost(minutes: int, cop: float, inlet_c: float, draws: int) -> None:
    tanks = fleet(5, minutes * MINUTE, cop=cop, inlet_c=inlet_c, draws_per_day=draws, loss_kw_per_k=[0.001, 0.01])
    before = stepped(tanks)
    for k in range(1, 20):
        now = stepped(tanks, k * minutes * MINUTE)
        assert_allclose(before["heat_kw"], before["p_kw"] * cop)
        flowed_kw = before["heat_kw"] - before["loss_kw"] - before["used_kw"]
        assert_allclose(now["stored_kwh"], before["stored_kwh"] + flowed_kw * minutes / 60.0, rtol=0, atol=1e-9)
        before = now


def test_event_lets_tanks_rest_and_a_rebound_follows() -> None:
    event = {"begins_s": 6.5 * 3600, "lasts_s": 5400.0, "shift_k": -10.0}
    tanks = fleet(200, events=[event])
    p_kw = np.array([stepped(tanks, k * MINUTE)["p_kw"].sum() for k in range(9 * 60)])
    assert p_kw[391:450].mean() < 0.2 * p_kw[375:390].mean()
    assert p_kw[481:490].mean() > 2.0 * p_kw[375:390].mean()


def test_second_step_for_an_instant_starts_from_the_last_instant() -> None:
    once, twice = fleet(9, responds=True), fleet(9, responds=True)
    for k in range(200):
        stepped(twice, k * 5 * MINUTE, shift_k=9.0)
        stepped(twice, k * 5 * MINUTE, shift_k=-9.0)
        shift = 4.0 * np.sin(k / 9.0)
        a, b = stepped(once, k * 5 * MINUTE, shift_k=shift), stepped(twice, k * 5 * MINUTE, shift_k=shift)
        assert listed(a) == listed(b)


def test_tanks_draw_from_the_feeder() -> None:
    assert terminals(made(), context())[0].draws


HOT = [
    {"begins_s": 0, "lasts_s": 7200, "shift_k": 20},
    {"begins_s": 0, "lasts_s": 3600, "shift_k": -10},
]


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"rated_kva": 0}, "rated_kva"),
        ({"volume_l": 0}, "volume_l"),
        ({"morning_h": [9, 6]}, "9 is not before 6"),
        ({"draws_per_day": -1}, "draws_per_day"),
        ({"peak_pu": 1.2}, "peak_pu"),
        ({"setpoint_c": 98}, "setpoint_c 98 to 98 is not allowed: 20 to 96.5 degC"),
        (
            {"setpoint_c": 80, "events": HOT},
            "80 to 80 is not allowed: 20 to 76.5 degC with this deadband_k and these ev",
        ),
    ],
)
def test_impossible_settings_are_refused(wrong: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        made(**wrong)


def test_step_in_which_water_would_boil_is_refused() -> None:
    # 4.5 kW for an hour in 50 l: 4.5 / (50 x 4.186 / 3600) = 77.4 K; in half an hour 38.7 K, from 57.5 degC on
    with pytest.raises(PlaceError, match=r"a step of 3600 s is too long: .* by 77\.4 K, from 57\.5 degC on") as error:
        fleet(1, 60 * MINUTE, volume_l=50)
    assert error.value.problems[0][0] == ("step_s",)
    tanks = fleet(1, 30 * MINUTE, volume_l=50)
    assert max(stepped(tanks, k * 30 * MINUTE)["water_c"][0] for k in range(48)) < 100.0


@pytest.mark.parametrize("minutes", [1, 15])
def test_a_shift_that_a_control_asks_for_brings_no_water_to_the_boil(minutes: int) -> None:
    tanks = fleet(5, minutes * MINUTE, setpoint_c=75.0, responds=True, draws_per_day=0)
    hottest_c = max(stepped(tanks, k * minutes * MINUTE, shift_k=40.0)["water_c"].max() for k in range(960 // minutes))
    assert 96.0 < hottest_c < 100.0


def test_after_a_blackout_heaters_start_together() -> None:
    """They went on heating in a dead feeder. What comes back is far more than what was switched off."""
    many = fleet(count=200, draws_per_day=0, loss_kw_per_k=0.02)
    before = [stepped(many, k * MINUTE)["on"].mean() for k in range(600)]
    dark = [stepped(many, (600 + k) * MINUTE, v_pu=0.0) for k in range(240)]
    assert not any(told["p_kw"].any() for told in dark)
    assert (dark[-1]["water_c"] < dark[1]["water_c"]).all()
    back = stepped(many, 840 * MINUTE)["on"].mean()
    assert np.mean(before[-120:]) < 0.35
    assert back > 0.95
