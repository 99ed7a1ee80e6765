"""Batteries."""

from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from pydantic import ValidationError

from derloop.kind import Bus, Context
from federates.der.battery import KIND, BatteryFleet, BatterySettings

HOUR = 3600 * 10**9
FEEDER = SimpleNamespace(buses={"671": Bus("671", (1, 2, 3), 2.4)}, loads={})
PLAIN = {"rated_kva": 5.0, "energy_kwh": 10.0, "mode": "commanded", "soc_min_pu": 0.1}


def fleet(at: Any = 1, step_ns: int = HOUR, **settings: Any) -> BatteryFleet:
    places = [{"bus": "671.1"}] * at if isinstance(at, int) else at
    start = datetime(2025, 7, 15, tzinfo=UTC)
    context = Context("batteries", Path.cwd(), start, step_ns, 24 * HOUR, 7, feeder=FEEDER)
    return BatteryFleet(BatterySettings.model_validate({"at": places, **PLAIN, **settings}), context)


def stepped(battery: BatteryFleet, now_ns: int, p_set_kw: Any = 0.0, v_pu: Any = 1.0) -> dict[str, np.ndarray]:
    n = battery.interface.outputs["p_kw"].size
    inputs = {"v_pu": v_pu, "p_set_kw": p_set_kw}
    arrays = {k: np.broadcast_to(np.asarray(inputs[k], float), (n,)) for k in battery.interface.inputs}
    return {port: value.copy() for port, value in battery.step(now_ns, arrays).items()}


def test_discharging_takes_more_from_store_than_it_injects() -> None:
    battery = fleet()
    assert stepped(battery, 0, 1.9)["soc_pu"][0] == 0.5
    assert stepped(battery, HOUR)["soc_pu"][0] == pytest.approx(0.3, abs=1e-12)  # 0.5 - 1.9 / 0.95 / 10


def test_charging_stores_less_than_it_draws() -> None:
    battery = fleet()
    stepped(battery, 0, -2.0)
    assert stepped(battery, HOUR)["soc_pu"][0] == pytest.approx(0.69, abs=1e-12)  # 0.5 + 2 * 0.95 / 10


def test_state_at_an_instant_is_before_what_is_done_at_it() -> None:
    battery = fleet()
    assert stepped(battery, 0, 2.0)["soc_pu"][0] == 0.5
    assert stepped(battery, 0, -2.0)["soc_pu"][0] == 0.5


def test_power_is_limited_by_rating_and_by_power_setting() -> None:
    battery = fleet(2, energy_kwh=100.0)
    out = stepped(battery, 0, [20.0, -20.0])
    assert_allclose(out["p_kw"], [5.0, -5.0])
    out = stepped(fleet(2, energy_kwh=100.0, power_kw=3.0), 0, [20.0, -20.0])
    assert_allclose(out["p_kw"], [3.0, -3.0])
    assert_allclose([out["p_min_kw"], out["p_max_kw"]], [[-3.0, -3.0], [3.0, 3.0]])


def test_power_is_limited_by_energy_for_one_step() -> None:
    battery = fleet(soc_initial_pu=0.2)
    out = stepped(battery, 0, 5.0)
    assert out["p_max_kw"][0] == pytest.approx(0.95, abs=1e-12)  # (0.2 - 0.1) * 10 kWh * 0.95 in 1 h
    assert out["p_kw"][0] == out["p_max_kw"][0]
    out = stepped(battery, HOUR, 5.0)
    assert out["soc_pu"][0] == pytest.approx(0.1, abs=1e-12)
    assert out["p_kw"][0] == pytest.approx(0.0, abs=1e-12)
    full = fleet(soc_initial_pu=0.9)
    assert stepped(full, 0, -5.0)["p_min_kw"][0] == pytest.approx(-1.0 / 0.95, abs=1e-12)


def test_shorter_steps_allow_more_power_from_the_same_energy() -> None:
    assert stepped(fleet(soc_initial_pu=0.2, step_s=900.0), 0)["p_max_kw"][0] == pytest.approx(3.8, abs=1e-12)


def test_idle_battery_takes_no_setpoint_and_loses_its_standby() -> None:
    battery = fleet(mode="idle", standby_kw=0.1)
    assert "p_set_kw" not in battery.interface.inputs
    assert stepped(battery, 0)["p_kw"][0] == 0.0
    assert stepped(battery, 2 * HOUR)["soc_pu"][0] == pytest.approx(0.48, abs=1e-12)


def test_battery_neither_charges_nor_discharges_where_there_is_no_voltage() -> None:
    battery = fleet(2, standby_kw=0.1, smart={"volt_var": "category-b"})
    before = stepped(battery, 0, [3.0, -3.0], v_pu=0.0)
    assert (before["p_kw"].tolist(), before["q_kvar"].tolist()) == ([0.0, 0.0], [0.0, 0.0])
    after = stepped(battery, HOUR, [3.0, -3.0], v_pu=[0.0, 1.0])
    assert_allclose(before["stored_kwh"] - after["stored_kwh"], [0.1, 0.1])  # the standby of an hour
    assert_allclose(after["p_kw"], [0.0, -3.0])
    assert (after["p_min_kw"].tolist(), after["p_max_kw"][0]) == ([0.0, -5.0], 0.0)  # nor could it


@pytest.mark.parametrize(
    ("smart", "most_kw"),
    [
        ({"active_power_limit": {"p_max_pu": 0.3}}, 1.5),
        ({"active_power_limit": {"p_max_pu": -0.2}}, -1.0),
        ({"volt_watt": {}}, 1.25),  # a quarter of 5 kW at 1.09 pu
        ({"active_power_limit": {"p_max_pu": 0.3}, "volt_watt": {}}, 1.25),
        ({}, 5.0),
    ],
)
def test_battery_could_give_what_limit_and_volt_watt_leave(smart: dict[str, Any], most_kw: float) -> None:
    out = stepped(fleet(step_ns=HOUR // 60, smart=smart), 0, 5.0, v_pu=1.09)
    assert (out["p_kw"][0], out["p_max_kw"][0], out["p_min_kw"][0]) == pytest.approx((most_kw, most_kw, -5.0))


def test_no_limit_makes_a_full_battery_one_that_could_be_charged() -> None:
    out = stepped(fleet(soc_initial_pu=1.0, smart={"active_power_limit": {"p_max_pu": -0.2}}), 0)
    assert (out["p_max_kw"][0], out["p_min_kw"][0]) == (0.0, 0.0)


def test_empty_battery_draws_its_standby_from_the_grid() -> None:
    battery = fleet(mode="idle", standby_kw=0.19, soc_initial_pu=0.1)
    out = stepped(battery, 0)
    assert out["p_kw"][0] == pytest.approx(-0.2, abs=1e-12)  # 0.19 / 0.95
    assert stepped(battery, HOUR)["soc_pu"][0] == pytest.approx(0.1, abs=1e-12)


def test_second_step_for_an_instant_starts_from_the_last_instant() -> None:
    smart = {"volt_var": "category-b"}
    once, twice = fleet(smart=smart), fleet(smart=smart)
    for k, p_set_kw in enumerate([1.0, -2.0, 5.0, 0.5, -4.0]):
        stepped(twice, k * HOUR, 5.0, v_pu=1.1)
        stepped(twice, k * HOUR, -5.0, v_pu=0.9)
        first, second = stepped(once, k * HOUR, p_set_kw), stepped(twice, k * HOUR, p_set_kw)
        assert {port: value.tolist() for port, value in first.items()} == {p: v.tolist() for p, v in second.items()}


def test_starting_tells_the_state_before_the_first_step() -> None:
    battery = fleet(2)
    start = {port: value.tolist() for port, value in battery.start().items()}
    # 4 kWh * 0.95 down to the reserve; 5 kWh / 0.95 up to full, but the inverter has 5 kVA
    assert start["p_max_kw"] == pytest.approx([3.8, 3.8])
    assert start["p_min_kw"] == [-5.0, -5.0]
    assert start["soc_pu"] == [0.5, 0.5]
    assert start["p_kw"] == start["q_kvar"] == [0.0, 0.0]


def test_reactive_power_leaves_less_room_for_active_power() -> None:
    battery = fleet(energy_kwh=100.0, smart={"volt_var": "category-b"})
    out = stepped(battery, 0, 5.0, v_pu=1.2)
    assert out["q_kvar"][0] == pytest.approx(-2.2, abs=1e-12)
    assert out["p_max_kw"][0] == pytest.approx(4.489989, abs=1e-6)  # sqrt(5^2 - 2.2^2)
    assert out["p_kw"][0] == pytest.approx(4.489989, abs=1e-6)


def test_constant_power_factor_follows_what_is_injected_and_not_what_was_asked() -> None:
    battery = fleet(soc_initial_pu=0.2, smart={"constant_pf": {"pf": 0.95}})
    out = stepped(battery, 0, 5.0)
    assert out["p_kw"][0] == pytest.approx(0.95)
    assert out["q_kvar"][0] == pytest.approx(-0.312250, abs=1e-6)  # 0.95 tan(acos 0.95)


@given(
    setpoints=st.lists(st.floats(-8.0, 8.0), min_size=2, max_size=30),
    charge=st.floats(0.5, 1.0),
    discharge=st.floats(0.5, 1.0),
    standby=st.floats(0.0, 0.5),
    window=st.tuples(st.floats(0.0, 0.4), st.floats(0.6, 1.0)),
)
def test_energy_is_neither_made_nor_lost(
    setpoints: list[float], charge: float, discharge: float, standby: float, window: tuple[float, float]
) -> None:
    battery = fleet(
        charge_efficiency_pu=charge,
        discharge_efficiency_pu=discharge,
        standby_kw=standby,
        soc_min_pu=window[0],
        soc_max_pu=window[1],
        step_s=600.0,
    )
    stored_kwh, h = 5.0, 600.0 / 3600.0
    for k, p_set_kw in enumerate(setpoints):
        out = {port: float(value[0]) for port, value in stepped(battery, k * 600 * 10**9, p_set_kw).items()}
        assert out["soc_pu"] * 10.0 == pytest.approx(stored_kwh, abs=1e-9)
        assert window[0] - 1e-12 <= out["soc_pu"] <= window[1] + 1e-12
        assert out["p_min_kw"] <= out["p_kw"] <= out["p_max_kw"]
        assert -5.0 <= out["p_kw"] <= 5.0
        injected, drawn = max(out["p_kw"], 0.0), max(-out["p_kw"], 0.0)
        lost = injected * (1 / discharge - 1) + drawn * (1 - charge) + standby
        stored_kwh += (drawn - injected - lost) * h


def test_forty_batteries_do_what_each_of_them_does_alone() -> None:
    chance = np.random.default_rng(1)
    sizes = chance.uniform(3, 9, 40)
    places = [{"bus": "671.2", "rated_kva": s, "energy_kwh": 2 * s} for s in sizes]
    smart = {"volt_var": "category-b"}
    together, alone = fleet(places, smart=smart), [fleet([place], smart=smart) for place in places]
    for k in range(6):
        p_set, v_pu = chance.uniform(-9, 9, 40), chance.uniform(0.9, 1.1, 40)
        out = stepped(together, k * HOUR, p_set, v_pu)
        for i, one in enumerate(alone):
            single = stepped(one, k * HOUR, p_set[i], v_pu[i])
            assert {port: value[i] for port, value in out.items()} == {port: v[0] for port, v in single.items()}


def test_energies_are_drawn_within_their_range() -> None:
    battery = fleet(30, energy_kwh=[10.0, 16.0], rated_kva=100.0, soc_initial_pu=1.0, soc_min_pu=0.0)
    energy_kwh = battery.start()["p_max_kw"] / 0.95
    assert energy_kwh.min() >= 10.0
    assert energy_kwh.max() <= 16.0
    assert len(set(energy_kwh.tolist())) == 30
    assert_array_equal(
        energy_kwh,
        fleet(30, energy_kwh=[10.0, 16.0], rated_kva=100.0, soc_initial_pu=1.0, soc_min_pu=0.0).start()["p_max_kw"]
        / 0.95,
    )


def test_ports_carry_units_and_arrival() -> None:
    interface = fleet().interface
    assert {name: port.unit for name, port in interface.outputs.items()} == {
        "p_kw": "kW",
        "q_kvar": "kvar",
        "soc_pu": "pu",
        "p_max_kw": "kW",
        "p_min_kw": "kW",
        "loss_kw": "kW",
        "stored_kwh": "kWh",
    }
    assert interface.inputs["v_pu"].arrival == "coupled"
    assert interface.inputs["p_set_kw"].arrival == "now"
    assert interface.outputs["soc_pu"].labels == ("batteries_0",)


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"soc_initial_pu": 0.05}, "soc_initial_pu 0.05 is outside the window, 0.1 to 1"),
        ({"soc_min_pu": 0.9, "soc_max_pu": 0.8}, "must be less"),
        ({"energy_kwh": 0}, "energy_kwh"),
        ({"rated_kva": -1}, "rated_kva"),
        ({"charge_efficiency_pu": 0}, "charge_efficiency_pu"),
        ({"mode": "commandd"}, "commanded"),
        ({"capacity_kwh": 3}, "capacity_kwh"),
    ],
)
def test_impossible_settings_are_refused(wrong: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        fleet(**wrong)


def test_kind_is_a_der_that_meets_the_feeder() -> None:
    assert KIND.is_der
    assert KIND.terminals is not None
