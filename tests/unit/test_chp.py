"""Combined heat and power."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fleets import MINUTE, context, listed, places, stepped
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from pydantic import ValidationError

from derloop.kind import PlaceError
from federates.der.chp import KIND, ChpGroup, ChpSettings
from federates.der.engine import Efficiency

QUARTER = 15 * MINUTE
PLAIN = {
    "rated_kva": 100.0,
    "heat_demand_kw": 60.0,
    "ramp_pu_per_min": 10.0,
    "least_run_s": 0.0,
    "least_off_s": 0.0,
    "store_loss_pu_per_h": 0.0,
}
COMMANDED: dict[str, Any] = {"mode": "commanded"}


def made(**settings: Any) -> ChpSettings:
    return ChpSettings.model_validate({"at": places(1), **PLAIN, **settings})


def group(count: int = 1, step_ns: int = QUARTER, **settings: Any) -> ChpGroup:
    return ChpGroup(made(at=places(count), **settings), context(step_ns))


def course(plant: ChpGroup, port: str, count: int, **inputs: Any) -> list[float]:
    return [float(stepped(plant, k * QUARTER, **inputs)[port][0]) for k in range(count)]


@pytest.mark.parametrize(
    ("p_kw", "fuel_kw", "heat_kw"),
    [
        (100.0, 256.410256, 120.512821),
        (75.0, 202.702703, 99.324324),
        (50.0, 147.058824, 76.470588),
        (60.0, 170.454545, 86.590909),
    ],
)
def test_fuel_and_heat_follow_the_part_load_efficiencies(p_kw: float, fuel_kw: float, heat_kw: float) -> None:
    # 100 / 0.39, 0.47 of it; 75 / 0.37, 0.49; 50 / 0.34, 0.52; at 60 %: 0.352 and 0.508
    out = stepped(group(**COMMANDED), p_set_kw=p_kw)
    assert out["p_kw"][0] == pytest.approx(p_kw)
    assert out["fuel_kw"][0] == pytest.approx(fuel_kw, abs=1e-6)
    assert out["heat_kw"][0] == pytest.approx(heat_kw, abs=1e-6)
    assert out["flue_kw"][0] == pytest.approx(fuel_kw - p_kw - heat_kw, abs=1e-6)


def test_engine_stops_below_its_least_load_and_never_exceeds_its_rating() -> None:
    plant = group(**COMMANDED)
    assert [stepped(plant, k * QUARTER, p_set_kw=p)["p_kw"][0] for k, p in enumerate([49.0, 50.0, 120.0, 10.0])] == [
        0.0,
        50.0,
        100.0,
        0.0,
    ]


def test_power_follows_with_its_ramp() -> None:
    plant = group(step_ns=MINUTE, ramp_pu_per_min=0.3, **COMMANDED)
    p_kw = [stepped(plant, k * MINUTE, p_set_kw=100.0 if k < 5 else 0.0)["p_kw"][0] for k in range(9)]
    assert p_kw == pytest.approx([30.0, 60.0, 90.0, 100.0, 100.0, 70.0, 40.0, 10.0, 0.0])


def test_engine_runs_and_stands_for_its_least_times() -> None:
    plant = group(least_run_s=2700.0, least_off_s=1800.0, **COMMANDED)
    asked = [100.0, 0.0, 0.0, 0.0, 100.0, 100.0, 100.0]
    p_kw = [stepped(plant, k * QUARTER, p_set_kw=p)["p_kw"][0] for k, p in enumerate(asked)]
    assert p_kw == [100.0, 50.0, 50.0, 0.0, 0.0, 100.0, 100.0]


def test_each_start_takes_fuel_and_money() -> None:
    plant = group(start_fuel_kwh=5.0, start_cost=3.0, fuel_price_per_kwh=0.1, **COMMANDED)
    for k, p_kw in enumerate([100.0, 0.0, 100.0, 0.0]):
        out = stepped(plant, k * QUARTER, p_set_kw=p_kw)
    assert out["starts"][0] == 2.0
    assert out["fuel_kwh"][0] == pytest.approx(138.205128, abs=1e-6)  # 2 quarters of 256.41 kW and 2 * 5
    assert out["cost"][0] == pytest.approx(19.820513, abs=1e-6)


def test_heat_led_engine_fills_its_store_and_rests() -> None:
    plant = group(store_kwh=200.0, store_initial_pu=0.2, heat_demand_kw=20.0)
    out = [stepped(plant, k * QUARTER) for k in range(96)]
    on = [float(o["on"][0]) for o in out]
    assert on[0] == 1.0
    assert 0.0 in on
    assert max(o["stored_kwh"][0] for o in out) <= 200.0
    assert min(o["stored_kwh"][0] for o in out) > 40.0 - 1e-9
    assert max(o["dumped_kw"][0] for o in out) == 0.0


def test_heat_led_engine_gives_the_heat_that_is_used_and_what_its_store_lacks() -> None:
    out = stepped(group(heat_demand_kw=40.0, store_initial_pu=0.2))
    # 40 kW and 70 kWh in an hour; heat is 99.324 kW at 75 and 120.513 at 100 % of power, about straight between
    assert out["heat_kw"][0] == pytest.approx(110.0, abs=1.0)
    assert out["p_kw"][0] == pytest.approx(75.0 + 25.0 * (110.0 - 99.324324) / (120.512821 - 99.324324), abs=1e-6)


def test_power_led_engine_follows_its_schedule(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("time_s,p\n0,0.4\n1800,0.4\n3600,0.9\n86400,0.9\n")
    settings = made(mode="power-led", power_pu={"file": "p.csv", "column": "p"})
    plant = ChpGroup(settings, context(QUARTER, folder=tmp_path))
    assert course(plant, "p_kw", 6) == pytest.approx([0.0, 0.0, 0.0, 65.0, 90.0, 90.0])


def test_store_alone_loses_its_share_at_any_step() -> None:
    for step_ns in (MINUTE, QUARTER):
        plant = group(step_ns=step_ns, heat_demand_kw=0.0, store_loss_pu_per_h=0.1, store_initial_pu=0.8, **COMMANDED)
        stored = [stepped(plant, k * step_ns)["stored_kwh"][0] for k in range(4 * QUARTER // step_ns + 1)]
        assert stored[-1] == pytest.approx(72.386993, abs=1e-6)  # 80 exp(-0.1)


def test_boiler_helps_when_the_store_is_empty_and_what_lacks_is_unmet() -> None:
    plant = group(store_initial_pu=0.0, boiler_kw=40.0, boiler_efficiency_pu=0.8, **COMMANDED)
    out = stepped(plant)
    assert (out["boiler_kw"][0], out["used_kw"][0], out["unmet_heat_kw"][0]) == (40.0, 40.0, 20.0)
    assert stepped(plant, QUARTER)["fuel_kwh"][0] == pytest.approx(12.5)  # 40 / 0.8 for a quarter


def test_heat_that_finds_no_room_is_dumped() -> None:
    out = stepped(group(store_initial_pu=1.0, heat_demand_kw=20.0, **COMMANDED), p_set_kw=100.0)
    assert out["dumped_kw"][0] == pytest.approx(100.512821, abs=1e-6)


def test_chiller_makes_cold_of_heat_up_to_its_capacity() -> None:
    chiller = {"capacity_kw": 70.0, "cop": 0.7, "demand_kw": 84.0}
    out = stepped(group(heat_demand_kw=10.0, store_initial_pu=1.0, chiller=chiller, **COMMANDED), p_set_kw=100.0)
    assert out["chiller_kw"][0] == pytest.approx(100.0)
    assert out["cooling_kw"][0] == pytest.approx(70.0)
    assert out["unmet_cooling_kw"][0] == pytest.approx(14.0)


def test_cold_goes_short_before_heat_does() -> None:
    chiller = {"capacity_kw": 70.0, "cop": 0.7, "demand_kw": 35.0}
    out = stepped(group(heat_demand_kw=60.0, store_initial_pu=0.0, boiler_kw=80.0, chiller=chiller, **COMMANDED))
    assert out["unmet_heat_kw"][0] == pytest.approx(0.0, abs=1e-12)
    assert out["cooling_kw"][0] == pytest.approx(14.0)  # 20 of 50 kW of heat are left
    assert out["unmet_cooling_kw"][0] == pytest.approx(21.0)


@settings(deadline=None)  # another process may hold the processor
@given(
    asked=st.lists(st.floats(0.0, 120.0), min_size=3, max_size=30),
    demand=st.floats(0.0, 200.0),
    cold=st.floats(0.0, 100.0),
    boiler=st.floats(0.0, 100.0),
    loss=st.sampled_from([0.0, 0.01, 0.5]),
    mode=st.sampled_from(["commanded", "heat-led"]),
)
def test_energy_is_neither_made_nor_lost(
    asked: list[float], demand: float, cold: float, boiler: float, loss: float, mode: str
) -> None:
    plant = group(
        mode=mode,
        heat_demand_kw=demand,
        boiler_kw=boiler,
        store_loss_pu_per_h=loss,
        chiller={"capacity_kw": 60.0, "demand_kw": cold},
        ramp_pu_per_min=0.03,
        least_run_s=1800.0,
        start_fuel_kwh=4.0,
    )
    stored_kwh, fuel_kwh = 50.0, 0.0
    for k, p_set_kw in enumerate(asked):
        o = {port: float(v[0]) for port, v in stepped(plant, k * QUARTER, p_set_kw=p_set_kw).items()}
        assert o["stored_kwh"] == pytest.approx(stored_kwh, abs=1e-9)
        assert o["fuel_kwh"] == pytest.approx(fuel_kwh + 4.0 * o["starts"], abs=1e-9)
        assert o["fuel_kw"] == pytest.approx(o["p_kw"] + o["heat_kw"] + o["flue_kw"], abs=1e-9)
        assert o["used_kw"] + o["unmet_heat_kw"] == pytest.approx(demand, abs=1e-9)
        assert o["cooling_kw"] == pytest.approx(0.7 * o["chiller_kw"], abs=1e-9)
        assert o["cooling_kw"] + o["unmet_cooling_kw"] == pytest.approx(cold, abs=1e-9)
        assert min(o[port] for port in o if port.endswith("_kw")) >= -1e-9
        assert -1e-9 <= o["stored_kwh"] <= 100.0 + 1e-9
        used = o["used_kw"] + o["chiller_kw"] + o["dumped_kw"] + o["loss_kw"]
        stored_kwh += (o["heat_kw"] + o["boiler_kw"] - used) / 4.0
        assert o["boiler_kw"] == pytest.approx(0.9 * o["boiler_fuel_kw"], abs=1e-9)
        fuel_kwh += (o["fuel_kw"] + o["boiler_fuel_kw"]) / 4.0


def test_loss_is_its_share_of_what_is_stored() -> None:
    plant = group(store_loss_pu_per_h=0.2, heat_demand_kw=80.0, **COMMANDED)
    before, after = stepped(plant, p_set_kw=70.0), stepped(plant, QUARTER, p_set_kw=70.0)
    mean_kwh = (before["stored_kwh"] + after["stored_kwh"]) / 2.0
    assert_allclose(before["loss_kw"], 0.2 * mean_kwh, rtol=1e-3)


def test_second_step_for_an_instant_starts_from_the_last_instant() -> None:
    slow: dict[str, Any] = {"ramp_pu_per_min": 0.02, "least_run_s": 3600.0, "least_off_s": 1800.0, **COMMANDED}
    once, twice = group(3, **slow), group(3, **slow)
    for k in range(96):
        stepped(twice, k * QUARTER, p_set_kw=100.0)
        stepped(twice, k * QUARTER, p_set_kw=0.0)
        p_kw = 60.0 + 40.0 * np.sin(k / 5.0)
        assert listed(stepped(once, k * QUARTER, p_set_kw=p_kw)) == listed(stepped(twice, k * QUARTER, p_set_kw=p_kw))


def test_forty_plants_do_what_each_of_them_does_alone() -> None:
    at = [{"bus": "671", "rated_kva": 50.0 + 5 * i} for i in range(40)]
    together = ChpGroup(made(at=at), context(QUARTER))
    alone = [ChpGroup(made(at=[one]), context(QUARTER)) for one in at]
    for k in range(20):
        out = stepped(together, k * QUARTER)
        for i, one in enumerate(alone):
            single = stepped(one, k * QUARTER)
            assert {port: value[i] for port, value in out.items()} == {port: v[0] for port, v in single.items()}


def test_power_factor_injects_reactive_power_within_the_rating() -> None:
    smart = {"constant_pf": {"pf": 0.8, "reactive": "injected"}, "q_injected_max_pu": 0.6}
    out = stepped(group(smart=smart, **COMMANDED), p_set_kw=1e6)
    assert (out["p_kw"][0], out["q_kvar"][0]) == (pytest.approx(80.0), pytest.approx(60.0))


def test_engine_that_rests_gives_no_reactive_power() -> None:
    plant = group(smart={"volt_var": "category-b"}, **COMMANDED)
    assert stepped(plant, p_set_kw=80.0, v_pu=0.95)["q_kvar"][0] == pytest.approx(22.0)  # half of 0.44 pu
    assert stepped(plant, QUARTER, p_set_kw=0.0, v_pu=0.95)["q_kvar"][0] == 0.0


def test_frequency_droop_moves_an_engine_within_its_ramp_and_least_load() -> None:
    smart = {"frequency_droop": {"k_over": 0.05, "response_s": 0.2}}
    plant = group(step_ns=MINUTE, ramp_pu_per_min=0.2, smart=smart, **COMMANDED)
    p_kw = [stepped(plant, k * MINUTE, p_set_kw=100.0, f_hz=60.0)["p_kw"][0] for k in range(5)]
    assert p_kw == pytest.approx([20.0, 40.0, 60.0, 80.0, 100.0])
    # 0.9 Hz beyond the dead band asks for 100 - 100 * 0.9 / 3 = 70 kW, a ramp of 20 kW a minute
    out = [stepped(plant, k * MINUTE, p_set_kw=100.0, f_hz=60.936) for k in range(5, 8)]
    assert [o["p_kw"][0] for o in out] == pytest.approx([80.0, 70.0, 70.0], abs=1e-6)
    out = [stepped(plant, k * MINUTE, p_set_kw=100.0, f_hz=63.0) for k in range(8, 12)]
    assert [o["p_kw"][0] for o in out] == pytest.approx([50.0] * 4, abs=1e-6)
    assert out[-1]["fuel_kw"][0] == pytest.approx(50.0 / 0.34)


def test_engine_that_the_grid_throws_off_stops_and_starts_anew() -> None:
    smart = {"voltage_trip": {}, "enter_service": {"delay_s": 300, "ramp_s": 300}}
    plant = group(step_ns=MINUTE, smart=smart, start_fuel_kwh=5.0, **COMMANDED)
    v_pu = [1.0] * 10 + [0.3] * 3 + [1.0] * 20
    seen = [{"v_pu": v, "v_low_pu": v, "v_high_pu": v, "f_hz": 60.0} for v in v_pu]
    out = [stepped(plant, k * MINUTE, p_set_kw=80.0, **s) for k, s in enumerate(seen)]
    ran = [bool(o["on"][0]) for o in out]
    assert ran[9]
    assert not any(ran[12:17])
    assert [o["fuel_kw"][0] for o, on in zip(out, ran, strict=True) if not on] == [0.0] * ran.count(False)
    back = ran.index(True, 12)
    assert 17 <= back <= 18  # 300 s after the voltage came back
    p_kw = [o["p_kw"][0] for o in out[back : back + 5]]
    assert p_kw == pytest.approx([20.0, 40.0, 60.0, 80.0, 80.0])  # 100 kW in 300 s
    assert out[-1]["starts"][0] == out[8]["starts"][0] + 1.0


def test_engine_stands_while_its_feeder_has_no_voltage_and_starts_anew() -> None:
    plant = group(store_kwh=1000.0, store_initial_pu=0.5, smart={"volt_var": "category-b"}, **COMMANDED)
    out = [stepped(plant, k * QUARTER, p_set_kw=80.0, v_pu=0.0 if k in (2, 3) else 1.0) for k in range(6)]
    assert [o["on"][0] for o in out] == [1.0, 1.0, 0.0, 0.0, 1.0, 1.0]
    for o in out[2:4]:
        assert [o[port][0] for port in ("p_kw", "q_kvar", "heat_kw", "fuel_kw")] == [0.0] * 4
    assert out[4]["stored_kwh"][0] == pytest.approx(out[2]["stored_kwh"][0] - 30.0)  # 60 kW for half an hour
    assert out[5]["starts"][0] == 2.0


def test_plants_can_be_realised_in_several_ways() -> None:
    assert KIND.is_der
    assert group().inverters.rated_kva.tolist() == [100.0]


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"rated_kva": 0}, "rated_kva"),
        ({"efficiency": {"load_pu": [0.5, 0.5, 1.0]}}, "loads of an efficiency curve must rise"),
        ({"efficiency": {"thermal_pu": [0.52, 0.65, 0.47]}}, "at load 0.75 power and heat are 1.02 of the fuel"),
        ({"efficiency": {"load_pu": [0.5, 1.0]}}, "have 2, 3 and 3 points"),
        ({"efficiency": {"thermal_pu": [0.6, 0.3, 0.2]}}, "heat must rise with load"),
        ({"start_below_pu": 0.9}, "start_below_pu 0.9 must be less than stop_above_pu 0.9"),
        ({"mode": "power-led"}, "power_pu is what a power-led engine follows"),
        ({"power_pu": 0.5}, "power_pu is what a power-led engine follows"),
        ({"store_kwh": 0}, "store_kwh"),
    ],
)
def test_impossible_settings_are_refused(wrong: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        made(**wrong)


def test_demand_below_zero_is_refused_where_it_stands() -> None:
    with pytest.raises(PlaceError) as error:
        group(chiller={"capacity_kw": 5.0, "demand_kw": -1.0})
    assert error.value.problems[0] == (("chiller", "demand_kw"), "-1 is not allowed: 0 to 1e+09 kW")


def test_default_efficiencies_are_physical() -> None:
    assert Efficiency().heat_pu == pytest.approx((0.764706, 0.993243, 1.205128), abs=1e-6)
