"""Electric vehicles."""

from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from fleets import DAY, HOUR, S, context, listed, places, stepped
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from pydantic import ValidationError

from derloop.kind import Context
from federates.der.ev import KIND, EvFleet, EvSettings, terminals
from federates.der.visits import draw_visits

QUARTER = 900 * S
PLAIN = {"rated_kva": 8.0, "car_kw_per_phase": 6.0, "battery_kwh": 50.0, "target_soc_pu": 0.8, "need_kwh": 12.0}
EVEN = {"charge_efficiency_pu": 1.0, "discharge_efficiency_pu": 1.0}
NIGHT = {"arrives_h": 18.0, "departs_h": 30.0, "need_kwh": 12.0}


def there(step_ns: int = HOUR, days: int = 2) -> Context:
    return context(step_ns=step_ns, until_ns=days * DAY)


def car(step_ns: int = HOUR, visits: Any = (NIGHT,), bus: str = "671.1", **settings: Any) -> EvFleet:
    at = settings.pop("at", [{"bus": bus, "visits": list(visits)}])
    return EvFleet(EvSettings.model_validate({"at": at, **PLAIN, **settings}), there(step_ns))


def night(cars: EvFleet, hours: range = range(17, 32), **inputs: Any) -> dict[str, list[float]]:
    """Return what the first car does from 17 h to 31 h, hour by hour."""
    out = [stepped(cars, h * HOUR, **inputs) for h in hours]
    return {port: [float(o[port][0]) for o in out] for port in out[0]}


def test_uncontrolled_car_charges_from_arrival_until_its_target() -> None:
    out = night(car(**EVEN))
    assert out["p_kw"] == [0.0, -6.0, -6.0] + [0.0] * 12
    assert out["plugged"] == [0.0] + [1.0] * 12 + [0.0, 0.0]
    assert out["soc_pu"][1:4] == pytest.approx([0.56, 0.68, 0.8], abs=1e-12)


def test_cars_come_and_go_by_the_clock_on_the_wall() -> None:
    """The night of 8 March 2025 is an hour short: who leaves at 6 in the morning has been there for 11 h."""
    at = context(step_ns=HOUR, until_ns=2 * DAY, start=datetime(2025, 3, 8, tzinfo=ZoneInfo("America/Los_Angeles")))
    cars = EvFleet(EvSettings.model_validate({"at": [{"bus": "671.1", "visits": [NIGHT]}], **PLAIN}), at)
    assert night(cars)["plugged"] == [0.0] + [1.0] * 11 + [0.0] * 3


def test_car_whose_charger_is_told_to_carry_less_is_ready_all_the_same() -> None:
    """It went by the rating, began with what the last two hours had had room for at 6 kW, and left with half."""
    cars = car(mode="v1g", **EVEN)
    cars.inverters.set_maxima(np.array([0.375]), np.ones(1), np.ones(1))
    out = night(cars, p_set_kw=0.0)
    assert out["p_kw"][9:13] == pytest.approx([-3.0] * 4)
    assert out["shortfall_kwh"][-1] == pytest.approx(0.0, abs=1e-9)


def test_charging_stores_less_than_it_draws() -> None:
    out = night(car(charge_efficiency_pu=0.9))
    assert out["soc_pu"][2] == pytest.approx(0.56 + 6.0 * 0.9 / 50.0, abs=1e-12)
    assert -sum(out["p_kw"]) == pytest.approx(12.0 / 0.9, abs=1e-9)


def test_spread_car_charges_evenly_over_its_stay() -> None:
    out = night(car(mode="spread", **EVEN))
    assert out["p_kw"] == pytest.approx([0.0] + [-1.0] * 12 + [0.0, 0.0], abs=1e-12)


def test_managed_car_that_is_told_to_wait_charges_when_it_must() -> None:
    out = night(car(mode="v1g", **EVEN), p_set_kw=0.0)
    assert out["p_kw"] == pytest.approx([0.0] * 11 + [-6.0, -6.0, 0.0, 0.0], abs=1e-9)
    assert out["shortfall_kwh"][-1] == 0.0
    assert out["p_max_kw"][11] == pytest.approx(-6.0, abs=1e-9)


def test_managed_car_is_ready_though_its_charger_absorbs_reactive_power() -> None:
    """At 1.08 pu 0.44 of 8 kVA are absorbed, and 7.18 kW left: 12 kWh need an hour and three quarters of that."""
    cars = car(HOUR // 4, car_kw_per_phase=8.0, mode="v1g", smart={"volt_var": "category-b"}, **EVEN)
    out = [stepped(cars, k * HOUR // 4, v_pu=1.08) for k in range(18 * 4, 31 * 4)]
    assert min(float(o["q_kvar"][0]) for o in out) == pytest.approx(-3.52)
    assert cars.statistics() == {"departures": 1, "departures_short": 0, "shortfall_kwh": 0.0}


def test_managed_car_does_not_discharge_and_one_for_the_grid_does_down_to_its_reserve() -> None:
    only_charges = night(car(mode="v1g", **EVEN), p_set_kw=5.0)
    assert max(only_charges["p_kw"]) == 0.0
    out = night(car(mode="v2g", reserve_soc_pu=0.4, **EVEN), p_set_kw=5.0)
    # 28 kWh down to 20 kWh: 5, then 3; 20 kWh to 40 kWh takes 4 hours at 6 kW, the first at 2
    assert out["p_kw"] == pytest.approx([0.0, 5.0, 3.0] + [0.0] * 6 + [-2.0, -6.0, -6.0, -6.0, 0.0, 0.0], abs=1e-9)
    assert min(out["soc_pu"]) == pytest.approx(0.4, abs=1e-12)
    assert out["shortfall_kwh"][-1] == 0.0


def test_car_covers_its_home_and_takes_its_surplus() -> None:
    cars = car(mode="v2h", reserve_soc_pu=0.4, **EVEN)
    assert [stepped(cars, h * HOUR, home_kw=kw)["p_kw"][0] for h, kw in ((18, 2.0), (19, 3.5), (20, -4.0))] == [
        2.0,
        3.5,
        -4.0,
    ]
    assert cars.interface.inputs["home_kw"].unit == "kW"


def test_car_that_starts_empty_charges_at_once_where_it_must() -> None:
    hungry = {**NIGHT, "departs_h": 20.0}
    out = night(car(visits=[hungry], mode="v2g", **EVEN), p_set_kw=6.0)
    assert out["p_kw"][1:3] == [-6.0, -6.0]


def test_car_does_not_charge_where_there_is_no_voltage() -> None:
    """Three hours of an outage, and it has what it had."""
    cars = car(smart={"volt_var": "category-b"})
    stored = night(cars, range(17, 20))["stored_kwh"]
    dark = night(cars, range(20, 23), v_pu=0.0)
    assert (dark["p_kw"], dark["q_kvar"], dark["loss_kw"]) == ([0.0] * 3, [0.0] * 3, [0.0] * 3)
    assert (dark["p_min_kw"], dark["p_max_kw"]) == ([0.0] * 3, [0.0] * 3)
    after = night(cars, range(23, 24))
    assert after["stored_kwh"][0] == dark["stored_kwh"][0] > stored[-1]
    assert after["p_kw"][0] < 0.0


def test_shortfall_at_departure_is_reported() -> None:
    cars = car(visits=[{**NIGHT, "departs_h": 19.0}], **EVEN)
    out = night(cars)
    assert out["shortfall_kwh"][1] == 0.0
    assert out["shortfall_kwh"][2:] == pytest.approx([6.0] * 13, abs=1e-12)
    assert cars.statistics() == {"departures": 1, "departures_short": 1, "shortfall_kwh": pytest.approx(6.0)}


def test_visit_shorter_than_a_step_lacks_all_that_it_needs() -> None:
    out = night(car(visits=[{"arrives_h": 18.2, "departs_h": 18.9, "need_kwh": 5.0}]))
    assert out["shortfall_kwh"][-1] == 5.0
    assert max(out["plugged"]) == 0.0


@pytest.mark.parametrize(
    ("bus", "car_phases", "rated_kva", "p_kw"),
    [
        ("671.1", 3, 8.0, -6.0),
        ("671.1", 3, 5.0, -5.0),
        ("671", 3, 22.0, -18.0),
        ("671", 1, 22.0, -6.0),
        ("671", 1, 11.0, -11.0 / 3.0),
        ("671", 2, 11.0, -22.0 / 3.0),
        ("671", 3, 11.0, -11.0),
    ],
)
def test_power_is_the_least_of_charger_and_car(bus: str, car_phases: int, rated_kva: float, p_kw: float) -> None:
    cars = car(bus=bus, car_phases=car_phases, rated_kva=rated_kva, step_ns=QUARTER)
    assert stepped(cars, 18 * HOUR)["p_kw"][0] == pytest.approx(p_kw)


def test_car_that_is_there_at_the_start_charges_then() -> None:
    out = night(car(visits=[{"arrives_h": -6.0, "departs_h": 7.0, "need_kwh": 6.0}], **EVEN), hours=range(4))
    assert out["p_kw"] == [-6.0, 0.0, 0.0, 0.0]


def test_car_comes_again() -> None:
    twice = [
        {"arrives_h": 1.0, "departs_h": 3.0, "need_kwh": 6.0},
        {"arrives_h": 3.0, "departs_h": 5.0, "need_kwh": 3.0},
    ]
    out = night(car(visits=twice, **EVEN), hours=range(7))
    assert out["p_kw"] == pytest.approx([0.0, -6.0, 0.0, -3.0, 0.0, 0.0, 0.0], abs=1e-12)


def test_absent_car_gives_neither_power_nor_reactive_power() -> None:
    cars = car(smart={"volt_var": "category-b"}, mode="v2g")
    assert stepped(cars, 12 * HOUR, v_pu=0.9, p_set_kw=5.0)["q_kvar"][0] == 0.0
    assert stepped(cars, 18 * HOUR, v_pu=0.9)["q_kvar"][0] > 0.0


def drawn(count: int = 2000, days: int = 3, **settings: Any) -> Any:
    made = EvSettings.model_validate({"at": {"count": count, "on": ["671"]}, **PLAIN, **settings})
    return draw_visits(made, there(QUARTER, days), tuple(f"c{i}" for i in range(count)))


def test_visits_are_drawn_within_their_windows_with_the_mean_in_the_middle() -> None:
    visits = drawn(arrival_h=[16.0, 20.0], departure_h=[30.0, 34.0], need_kwh=[4.0, 10.0])
    arrives, leaves = visits.first[:, 1] / 4.0, visits.end[:, 1] / 4.0
    assert arrives.min() >= 16.0
    assert arrives.max() <= 20.25
    assert arrives.mean() == pytest.approx(18.125, abs=0.05)  # rounded up to a quarter of an hour
    assert arrives.std() == pytest.approx(4.0 / 24**0.5, abs=0.05)  # triangular
    assert leaves.min() >= 29.75
    assert leaves.max() <= 34.0
    assert visits.need_kwh[:, 1].mean() == pytest.approx(7.0, abs=0.1)
    assert (np.diff(visits.first[:, :4]) > 0).all()


def test_cars_that_stay_for_two_midnights_are_there_when_the_run_begins() -> None:
    visits = drawn(20, arrival_h=[26.0, 28.0], departure_h=[49.0, 50.0])
    assert (visits.first[:, 0] < 0).all()
    assert (visits.end[:, 0] // 4 == 1).all()


def test_cars_come_with_their_probability() -> None:
    visits = drawn(plugs_in_pu=0.6)
    assert (visits.first[:, :-1] < 1e9).mean() * visits.first[:, :-1].shape[1] / 5 == pytest.approx(0.6, abs=0.02)


def test_car_that_comes_while_the_frequency_is_off_charges_as_droop_leaves_it() -> None:
    """The power before the disturbance is what it would charge with, and not that of an empty place."""
    out = night(car(smart={"frequency_droop": {}}, **EVEN), f_hz=60.096)
    assert out["p_kw"][:3] == pytest.approx([0.0, -6.0, -6.0])  # no more than it can
    out = night(car(smart={"frequency_droop": {}}, **EVEN), f_hz=59.904)
    assert out["p_kw"][:3] == pytest.approx([0.0, -5.84, -5.84])  # -6 + 8 (59.964 - 59.904) / 3


def test_visits_of_a_day_do_not_depend_on_how_long_the_run_is() -> None:
    short, long = (drawn(20, days, plugs_in_pu=0.6) for days in (2, 9))
    begun = short.first < 2 * 24 * 4
    assert begun.sum() > 30
    for one, other in zip(short, long, strict=True):
        assert_array_equal(other[:, : begun.shape[1]][begun], one[begun])


def test_visits_of_a_car_do_not_depend_on_how_many_there_are() -> None:
    few, many = drawn(3), drawn(30)
    assert few.first[2].tolist() == many.first[2].tolist()


def test_hours_are_local_ones_of_a_run_that_starts_in_the_afternoon() -> None:
    started = context(HOUR, DAY, start=datetime(2025, 7, 15, 14, tzinfo=UTC))
    made = EvSettings.model_validate({"at": [{"bus": "671.1", "visits": [NIGHT]}], **PLAIN})
    visits = draw_visits(made, started, ("c",))
    assert (visits.first[0, 0], visits.end[0, 0]) == (4, 16)


@settings(deadline=None)  # another process may hold the processor
@given(
    wishes=st.lists(st.floats(-9.0, 9.0), min_size=12, max_size=12),
    mode=st.sampled_from(["uncontrolled", "spread", "v1g", "v2g", "v2h"]),
    charge=st.floats(0.5, 1.0),
    discharge=st.floats(0.5, 1.0),
    need=st.floats(0.0, 30.0),
)
def test_energy_is_neither_made_nor_lost_and_a_need_that_can_be_met_is_met(
    wishes: list[float], mode: str, charge: float, discharge: float, need: float
) -> None:
    cars = car(
        visits=[{**NIGHT, "need_kwh": need}],
        mode=mode,
        charge_efficiency_pu=charge,
        discharge_efficiency_pu=discharge,
        reserve_soc_pu=0.25,
    )
    stored_kwh = 40.0 - need
    for k, wish in enumerate(wishes):
        out = {port: float(v[0]) for port, v in stepped(cars, (18 + k) * HOUR, p_set_kw=wish, home_kw=wish).items()}
        assert out["soc_pu"] * 50.0 == pytest.approx(stored_kwh, abs=1e-9)
        assert out["p_min_kw"] - 1e-12 <= out["p_kw"] <= out["p_max_kw"] + 1e-12
        assert abs(out["p_kw"]) <= 6.0
        assert out["stored_kwh"] == pytest.approx(stored_kwh, abs=1e-9)
        injected, charged = max(out["p_kw"], 0.0), max(-out["p_kw"], 0.0)
        lost = injected * (1 / discharge - 1) + charged * (1 - charge)
        assert out["loss_kw"] == pytest.approx(lost, abs=1e-9)
        stored_kwh += charged - injected - lost
    end = {port: float(v[0]) for port, v in stepped(cars, 30 * HOUR).items()}
    assert end["shortfall_kwh"] == pytest.approx(max(need - 72.0 * charge, 0.0), abs=1e-8)
    assert stored_kwh >= min(40.0, 40.0 - need + 72.0 * charge) - 1e-8


def test_over_days_energy_is_stored_lost_or_driven() -> None:
    fleet: dict[str, Any] = {"at": {"count": 30, "on": ["671"]}, "mode": "v2g", "need_kwh": [2.0, 20.0]}
    cars = car(QUARTER, **fleet, smart={"volt_var": "category-b", "frequency_droop": {}})
    first_kwh, taken_kwh = cars.start()["stored_kwh"].copy(), np.zeros(30)
    for k in range(192):
        out = stepped(cars, k * QUARTER, p_set_kw=6.0 * np.sin(k), v_pu=0.97, f_hz=60.0 + 0.2 * np.cos(k))
        assert_allclose(out["stored_kwh"], first_kwh - taken_kwh - out["driven_kwh"], rtol=0, atol=1e-9)
        assert out["loss_kw"].min() >= 0.0
        taken_kwh = taken_kwh + (out["p_kw"] + out["loss_kw"]) / 4.0
    assert out["driven_kwh"].min() > 0.0


def test_frequency_droop_lets_cars_that_may_wait_help() -> None:
    cars = car(mode="v2g", smart={"frequency_droop": {"k_under": 0.05, "response_s": 0.2}}, **EVEN)
    assert stepped(cars, 18 * HOUR, f_hz=60.0)["p_kw"][0] == 0.0
    # 8 kVA at 0.3 Hz beyond the dead band: 8 * 0.3 / (60 * 0.05)
    assert stepped(cars, 19 * HOUR, f_hz=60.0 - 0.036 - 0.3)["p_kw"][0] == pytest.approx(0.8, abs=1e-3)
    assert stepped(cars, 12 * HOUR + 24 * HOUR, f_hz=59.0)["p_kw"][0] == 0.0  # gone


def test_car_beside_one_with_a_power_factor_is_ready_all_the_same() -> None:
    """It counted on its whole power, which volt-var leaves it no more, and left with 4.1 kWh too little."""
    at = [{"bus": "671.1", "visits": [{**NIGHT, "need_kwh": 40.0}]}] * 2
    cars = car(mode="v1g", at=at, car_kw_per_phase=8.0, smart={"volt_var": "category-b"}, **EVEN)
    cars.inverters.adjust("constant_pf", on=[False, True], pf=0.95)
    out = night(cars, p_set_kw=0.0, v_pu=0.9)
    assert out["shortfall_kwh"][-1] == pytest.approx(0.0, abs=1e-9)


def test_car_could_give_what_a_limit_leaves() -> None:
    cars = car(mode="v2g", smart={"active_power_limit": {"p_max_pu": 0.25}}, **EVEN)
    stepped(cars, 0)
    out = stepped(cars, 18 * HOUR, p_set_kw=6.0)
    assert (out["p_kw"][0], out["p_max_kw"][0], out["p_min_kw"][0]) == (2.0, 2.0, -6.0)


def test_car_out_of_service_neither_charges_nor_discharges() -> None:
    out = night(car(smart={"permit_service": False}))
    assert set(out["p_kw"]) == {0.0}
    assert out["shortfall_kwh"][-1] == 12.0


def test_car_loads_the_phases_that_it_has_and_the_next_car_the_next_ones() -> None:
    at = [{"bus": "671", "rated_kva": 11.0}] * 4

    def phases(car_phases: int) -> list[tuple[int, ...]]:
        made = EvSettings.model_validate({**PLAIN, "at": at, "car_phases": car_phases})
        return [t.phases for t in terminals(made, there())]

    assert phases(1) == [(1,), (2,), (3,), (1,)]
    assert phases(2) == [(1, 2), (2, 3), (1, 3), (1, 2)]
    assert phases(3) == [(1, 2, 3)] * 4


def test_cars_can_be_realised_in_several_ways() -> None:
    assert KIND.is_der
    cars = car(mode="v2g", reserve_soc_pu=0.4, soc_max_pu=0.9)
    assert (cars.storage.soc_min_pu, cars.storage.soc_max_pu) == (0.4, 0.9)
    assert cars.storage.energy_kwh.tolist() == [50.0]
    assert car(mode="v1g").storage.soc_min_pu == 1.0  # nothing is to be taken out


def test_second_step_for_an_instant_starts_from_the_last_instant() -> None:
    fleet: dict[str, Any] = {"at": {"count": 8, "on": ["671"]}, "mode": "v2g", "smart": {"volt_var": "category-b"}}
    once, twice = car(QUARTER, **fleet), car(QUARTER, **fleet)
    for k in range(192):
        stepped(twice, k * QUARTER, p_set_kw=6.0, v_pu=0.9)
        stepped(twice, k * QUARTER, p_set_kw=-6.0, v_pu=1.1)
        wish = 5.0 * np.sin(k)
        a, b = stepped(once, k * QUARTER, p_set_kw=wish), stepped(twice, k * QUARTER, p_set_kw=wish)
        assert listed(a) == listed(b)


def test_forty_cars_do_what_each_of_them_does_alone() -> None:
    at = [
        {"bus": "671", "label": f"c{i}", "rated_kva": 5.0 + i, "visits": [{**NIGHT, "arrives_h": 10 + i / 4}]}
        for i in range(40)
    ]
    together, alone = car(at=at, mode="spread"), [car(at=[one], mode="spread") for one in at]
    for h in range(40):
        out = stepped(together, h * HOUR)
        for i, one in enumerate(alone):
            single = stepped(one, h * HOUR)
            assert {port: value[i] for port, value in out.items()} == {port: v[0] for port, v in single.items()}


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"rated_kva": 0}, "rated_kva"),
        ({"arrival_h": [18, 20], "departure_h": [7, 9]}, "leave before it arrives: departure_h begins at 7"),
        ({"arrival_h": [20, 18]}, r"\[earliest, latest\], but 20 is after 18"),
        ({"departure_h": [30, 41]}, "still be there when it comes on the next day: departure_h may end at 39"),
        ({"need_kwh": 41}, "41 is more than the target of the smallest battery, 40 kWh"),
        ({"reserve_soc_pu": 0.9}, "not in the order"),
        ({"mode": "smart"}, "uncontrolled"),
        ({"at": [{"bus": "671", "visits": [{**NIGHT, "departs_h": 7}]}]}, "departs_h 7 is not after arrives_h 18"),
        ({"at": [{"bus": "671", "visits": [NIGHT, NIGHT]}]}, "visits must follow each other"),
    ],
)
def test_impossible_settings_are_refused(wrong: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        EvSettings.model_validate({"at": places(1), **PLAIN, **wrong})
