"""Batteries: energy with losses that depend on power, self-discharge, reserve, temperature and ageing."""

from typing import Any

import numpy as np
import pytest
from fleets import HOUR, MINUTE, context, places, stepped
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from pydantic import ValidationError

from federates.der.battery import BatteryFleet, BatterySettings
from federates.der.battery.ageing import by_depth, by_temperature, health
from federates.der.battery.losses import Conversion, ConversionLosses
from federates.der.battery.rainflow import Rainflow

PLAIN = {"rated_kva": 5.0, "energy_kwh": 10.0, "mode": "commanded", "soc_min_pu": 0.1}
JUNELIGHT = {
    "charge": {"proportional_pu": 34.85 / 3572.0, "square_pu": 107.9 / 3572.0},
    "discharge": {"proportional_pu": 22.76 / 3507.0, "square_pu": 151.06 / 3507.0},
}
"""System S2 of PerMod's database (HTW Berlin, CC BY 4.0), Siemens Junelight Smart Battery 9.9."""


def fleet(count: int = 1, step_ns: int = HOUR, **settings: Any) -> BatteryFleet:
    document = {"at": places(count), **PLAIN, **settings}
    return BatteryFleet(BatterySettings.model_validate(document), context(step_ns))


# --- losses ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.05, 0.1, 0.25, 0.5, 1.0])
def test_losses_are_those_of_a_measured_system(share: float) -> None:
    """PerMod: loss = a p^2 + b p + c in W, with p the share of the nominal power."""
    losses = ConversionLosses.model_validate(JUNELIGHT)
    discharge, charge = Conversion(losses, np.array([3.507])), Conversion(losses, np.array([3.572]))
    lost_out = 151.06 * share**2 + 22.76 * share
    lost_in = 107.9 * share**2 + 34.85 * share
    p_out, p_in = np.array([3.507 * share]), np.array([-3.572 * share])
    assert 1000.0 * (discharge.from_store(p_out) - p_out)[0] == pytest.approx(lost_out, abs=1e-9)
    assert 1000.0 * (charge.from_store(p_in) - p_in)[0] == pytest.approx(lost_in, abs=1e-9)


@given(st.floats(-1.0, 1.0), st.floats(0.0, 0.3), st.floats(0.0, 0.34), st.floats(0.0, 0.9), st.floats(0.0, 0.9))
@example(p=0.7, b_in=0.1, a_in=0.0, b_out=0.2, a_out=0.0)
@example(p=-0.7, b_in=0.1, a_in=0.0, b_out=0.2, a_out=0.0)
def test_inverse_of_the_losses_is_exact(p: float, b_in: float, a_in: float, b_out: float, a_out: float) -> None:
    given_losses = {
        "charge": {"proportional_pu": b_in, "square_pu": a_in},
        "discharge": {"proportional_pu": b_out, "square_pu": a_out},
    }
    conversion = Conversion(ConversionLosses.model_validate(given_losses), np.array([7.0]))
    p_kw = np.array([7.0 * p])
    assert conversion.to_grid(conversion.from_store(p_kw))[0] == pytest.approx(7.0 * p, abs=1e-10)


def test_efficiency_falls_towards_full_power_and_towards_none() -> None:
    battery = fleet(losses=JUNELIGHT, standby_kw=0.05, energy_kwh=100.0)
    lost = [float(stepped(battery, k * HOUR, p_set_kw=p)["loss_kw"][0]) for k, p in enumerate([0.2, 2.0, 5.0])]
    efficiency = [p / (p + loss) for p, loss in zip([0.2, 2.0, 5.0], lost, strict=True)]
    assert efficiency[1] > max(efficiency[0], efficiency[2])


# --- energy ------------------------------------------------------------------------------------------


@given(
    setpoints=st.lists(st.floats(-8.0, 8.0), min_size=2, max_size=20),
    square=st.floats(0.0, 0.4),
    sigma=st.floats(0.0, 0.1),
    standby=st.floats(0.0, 0.3),
    reserve=st.floats(0.1, 0.6),
    ageing=st.booleans(),
    ambient_c=st.floats(-25.0, 65.0),
)
def test_state_of_charge_is_the_integral_of_power_and_loss(
    setpoints: list[float],
    square: float,
    sigma: float,
    standby: float,
    reserve: float,
    ageing: bool,
    ambient_c: float,
) -> None:
    battery = fleet(
        step_ns=10 * MINUTE,
        losses={"charge": {"square_pu": square}, "discharge": {"square_pu": square, "proportional_pu": 0.02}},
        self_discharge_pu_per_h=sigma,
        standby_kw=standby,
        reserve_soc_pu=reserve,
        temperature={"ambient_c": ambient_c},
        **({"ageing": {"speed": 100.0}} if ageing else {}),
    )
    stored_kwh = 5.0
    for k, p_set_kw in enumerate(setpoints):
        out = {port: float(v[0]) for port, v in stepped(battery, k * 10 * MINUTE, p_set_kw=p_set_kw).items()}
        assert out["stored_kwh"] == pytest.approx(stored_kwh, abs=1e-9)
        assert out["loss_kw"] >= -1e-12
        assert out["soc_pu"] <= 1.0 + 1e-12
        stored_kwh -= (out["p_kw"] + out["loss_kw"]) / 6.0


def test_self_discharge_is_exponential_at_any_step() -> None:
    coarse, fine = (
        fleet(mode="idle", self_discharge_pu_per_h=0.01, step_s=s, soc_min_pu=0.0) for s in (10 * 3600.0, 60.0)
    )
    stepped(coarse)
    for minute in range(600):
        stepped(fine, minute * MINUTE)
    expected = 5.0 * np.exp(-0.1)
    assert stepped(coarse, 10 * HOUR)["stored_kwh"][0] == pytest.approx(expected, abs=1e-12)
    assert stepped(fine, 10 * HOUR)["stored_kwh"][0] == pytest.approx(expected, abs=1e-9)


def test_energy_stays_in_its_window_at_full_power_with_all_losses() -> None:
    battery = fleet(losses=JUNELIGHT, standby_kw=0.02, self_discharge_pu_per_h=0.001, soc_max_pu=0.9)
    for k, p_set_kw in enumerate([9.0] * 4 + [-9.0] * 6):
        soc_pu = stepped(battery, k * HOUR, p_set_kw=p_set_kw)["soc_pu"][0]
        assert 0.1 <= soc_pu <= 0.9
    assert soc_pu == pytest.approx(0.9, abs=1e-12)


def test_reserve_is_not_discharged_and_its_standby_comes_from_the_grid() -> None:
    battery = fleet(reserve_soc_pu=0.4, standby_kw=0.095)
    for k in range(6):
        out = stepped(battery, k * HOUR, p_set_kw=5.0)
    assert out["soc_pu"][0] == pytest.approx(0.4, abs=1e-12)
    assert out["p_kw"][0] == pytest.approx(-0.1, abs=1e-12)  # 0.095 / 0.95


def test_battery_below_its_reserve_is_left_there_and_may_be_charged() -> None:
    battery = fleet(reserve_soc_pu=0.4, soc_initial_pu=0.2)
    assert stepped(battery, 0, p_set_kw=5.0)["p_kw"][0] == pytest.approx(0.0, abs=1e-12)
    assert stepped(battery, HOUR, p_set_kw=-1.0)["soc_pu"][0] == pytest.approx(0.2, abs=1e-12)
    assert stepped(battery, 2 * HOUR, p_set_kw=5.0)["soc_pu"][0] == pytest.approx(0.295, abs=1e-12)
    assert stepped(battery, 3 * HOUR)["soc_pu"][0] == pytest.approx(0.295, abs=1e-12)


# --- temperature -------------------------------------------------------------------------------------


def test_frozen_battery_is_not_charged_but_discharged() -> None:
    battery = fleet(2, temperature={"ambient_c": -5.0}, energy_kwh=100.0)
    out = stepped(battery, 0, p_set_kw=[-5.0, 5.0])
    assert_allclose(out["p_kw"], [0.0, 5.0], atol=1e-12)
    assert_allclose(out["p_min_kw"], 0.0, atol=1e-12)


def test_power_falls_between_the_corners() -> None:
    battery = fleet(temperature={"ambient_c": 45.0, "charge_c": [0, 10, 40, 50]}, energy_kwh=100.0)
    assert stepped(battery, 0, p_set_kw=-5.0)["p_kw"][0] == pytest.approx(-2.5)


def test_temperature_follows_the_loss_exactly() -> None:
    """5 kW at 0.95: 0.263158 kW of loss and 20 K/kW lead to 25.263158 degC with a time constant of 0.6 h."""
    battery = fleet(temperature={"ambient_c": 20.0}, energy_kwh=100.0)
    stepped(battery, 0, p_set_kw=5.0)
    expected = 20.0 + 5.263157894736842 * (1.0 - np.exp(-1.0 / 0.6))
    assert stepped(battery, HOUR)["cells_c"][0] == pytest.approx(expected, abs=1e-9)


# --- rainflow and ageing -----------------------------------------------------------------------------


def counted(history: list[float]) -> dict[float, float]:
    """Return the cycles of a history by their range."""
    ranges = sorted({abs(a - b) for a in history for b in history} - {0.0})
    found = {}
    for span in ranges:
        flow = Rainflow(np.array([history[0]]), lambda x, _, span=span: (np.abs(x - span) < 1e-9).astype(float))
        for value in history[1:]:
            flow.take(np.array([value]))
        found[span] = float(flow.counted()[0])
    return {span: count for span, count in found.items() if count}


def test_rainflow_gives_the_published_example() -> None:
    """ASTM E1049-85 (2017), figure 6: ranges 3, 4, 6, 8, 9 with 0.5, 1.5, 0.5, 1.0, 0.5 cycles."""
    history = [-2.0, 1.0, -3.0, 5.0, -1.0, 3.0, -4.0, 4.0, -2.0]
    assert counted(history) == {3.0: 0.5, 4.0: 1.5, 6.0: 0.5, 8.0: 1.0, 9.0: 0.5}


def test_histories_are_counted_together_as_each_alone() -> None:
    walks = np.random.default_rng(3).normal(size=(60, 25)).cumsum(axis=0)
    together = Rainflow(walks[0], by_square)
    alone = [Rainflow(walks[0, i : i + 1], by_square) for i in range(25)]
    for now in walks[1:]:
        together.take(now)
        for i, one in enumerate(alone):
            one.take(now[i : i + 1])
    assert_allclose(together.counted(), [one.counted()[0] for one in alone], rtol=1e-12)


def by_square(span: np.ndarray, mean: np.ndarray) -> np.ndarray:
    return span**2 * np.exp(0.1 * mean)


def test_values_between_turning_points_count_nothing() -> None:
    assert counted([0.0, 4.0, 1.0]) == counted([0.0, 1.0, 2.0, 4.0, 4.0, 3.0, 1.0])


def test_ageing_has_the_numbers_of_its_paper() -> None:
    """Xu et al. (2018), table I: k1 1.40e5, k2 -0.501, k3 -1.23e5, alpha 5.75e-2, beta 121."""
    assert by_depth(np.array([1.0]), np.array([0.5]))[0] == pytest.approx(1.0 / 1.7e4, rel=1e-12)
    assert by_depth(np.array([0.5]), np.array([0.5]))[0] == pytest.approx(1.0 / (1.4e5 * 2**0.501 - 1.23e5), rel=1e-12)
    assert by_temperature(25.0) == pytest.approx(1.0)
    assert by_temperature(35.0) == pytest.approx(np.exp(0.693 * 298.15 / 308.15))
    assert health(np.array([0.0, 0.05]))[1] == pytest.approx(0.0575 * np.exp(-6.05) + 0.9425 * np.exp(-0.05))


def test_health_after_cycles_is_that_of_their_sum() -> None:
    """20 cycles between 0.9 and 0.1 at one hour each way, and 40 h at a mean of 0.5."""
    battery = fleet(
        soc_initial_pu=0.9,
        soc_max_pu=0.9,
        rated_kva=20.0,
        charge_efficiency_pu=1.0,
        discharge_efficiency_pu=1.0,
        ageing={},
    )
    for hour in range(41):
        out = stepped(battery, hour * HOUR, p_set_kw=-20.0 if hour % 2 else 20.0)
    depth = by_depth(np.array([0.8]), np.array([0.5]))[0]
    f = 20.0 * depth + 4.14e-10 * 3600.0 * 40.0
    assert out["health_pu"][0] == pytest.approx(float(health(np.array([f]))[0]), abs=1e-6)
    assert out["health_pu"][0] < 1.0


def test_deep_cycles_age_more_than_shallow_ones_of_the_same_throughput() -> None:
    lossless = {"charge_efficiency_pu": 1.0, "discharge_efficiency_pu": 1.0, "ageing": {}, "rated_kva": 20.0}
    deep, shallow = fleet(soc_initial_pu=0.9, **lossless), fleet(soc_initial_pu=0.7, **lossless)
    for hour in range(40):
        stepped(deep, hour * HOUR, p_set_kw=[8.0, 0.0, -8.0, 0.0][hour % 4])
        stepped(shallow, hour * HOUR, p_set_kw=[4.0, -4.0][hour % 2])
    health_pu = [stepped(battery, 40 * HOUR)["health_pu"][0] for battery in (deep, shallow)]
    assert health_pu[0] < health_pu[1] < 1.0


def test_aged_battery_holds_less_and_a_full_one_loses_nothing_of_what_is_stored() -> None:
    battery = fleet(mode="idle", soc_initial_pu=1.0, ageing={"speed": 1e4})
    for hour in range(4):
        out = stepped(battery, hour * HOUR)
    assert out["health_pu"][0] < 0.99
    assert out["stored_kwh"][0] == 10.0
    assert out["soc_pu"][0] == 1.0


# --- bad input ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"reserve_soc_pu": 0.95, "soc_max_pu": 0.9}, r"reserve_soc_pu 0\.95 is outside the window, 0\.1 to 0\.9"),
        ({"reserve_soc_pu": 0.05}, "reserve_soc_pu 0.05 is outside the window"),
        ({"losses": JUNELIGHT, "charge_efficiency_pu": 0.9}, "leave one of them out"),
        ({"losses": {"charge": {"square_pu": 0.6}, "discharge": {}}}, "more power drawn would store less"),
        ({"discharge_efficiency_pu": 1.1}, "discharge_efficiency_pu"),
        ({"temperature": {"ambient_c": 20, "charge_c": [0, 10, 5, 50]}}, "must rise"),
        ({"ageing": {"speed": -1}}, "speed"),
        ({"self_discharge_pu_per_h": 2}, "self_discharge_pu_per_h"),
    ],
)
def test_impossible_settings_are_refused(wrong: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        fleet(**wrong)
