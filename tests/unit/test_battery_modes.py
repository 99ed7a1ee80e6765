"""Batteries: who decides on their power."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from fleets import HOUR, MINUTE, context, listed, places, stepped
from numpy.testing import assert_allclose
from pydantic import ValidationError

from derloop.kind import PlaceError
from federates.der.battery import BatteryFleet, BatterySettings

PLAIN = {"rated_kva": 5.0, "energy_kwh": 100.0}
SITE = {"draws": ["homes.p_kw"], "injects": ["roofs.p_kw"]}
LABELS = {"homes": ("h0", "h1"), "roofs": ("r0", "r1")}
EVENING = [{"from_h": 0, "to_h": 6, "action": "charge"}, {"from_h": 17, "to_h": 21, "action": "discharge"}]


def fleet(count: int = 2, step_ns: int = HOUR, at: dict[str, Any] | None = None, **settings: Any) -> BatteryFleet:
    document = {"at": places(count), **PLAIN, **settings}
    return BatteryFleet(BatterySettings.model_validate(document), context(step_ns, labels=LABELS, **(at or {})))


# --- self-consumption --------------------------------------------------------------------------------


def test_self_consumption_covers_the_load_and_takes_the_surplus_of_this_instant() -> None:
    battery = fleet(mode="self-consumption", site=SITE)
    out = stepped(battery, 0, **{"homes.p_kw": [3.0, 1.0], "roofs.p_kw": [0.5, 4.5]})
    assert_allclose(out["p_kw"], [2.5, -3.5])
    assert battery.interface.inputs["homes.p_kw"].arrival == "now"


def test_one_battery_has_a_site_of_all_that_is_named() -> None:
    out = stepped(fleet(1, mode="self-consumption", site=SITE), 0, **{"homes.p_kw": [3.0, 1.0], "roofs.p_kw": 0.5})
    assert_allclose(out["p_kw"], [3.0])


def test_meter_that_counts_the_battery_leads_to_the_same_one_step_later() -> None:
    """The site draws 3 kW: the meter shows 3 at first, and 0 once the battery covers it."""
    battery = fleet(1, mode="self-consumption", site={"draws": ["grid.head_kw"], "includes_battery": True})
    assert battery.interface.inputs["grid.head_kw"].arrival == "before"
    powers, meter = [], 3.0
    for hour in range(4):
        stepped(battery, hour * HOUR, **{"grid.head_kw": 99.0})  # a repeated step finds the last instant
        powers.append(float(stepped(battery, hour * HOUR, **{"grid.head_kw": meter})["p_kw"][0]))
        meter = 3.0 - powers[-1]
    assert powers == pytest.approx([3.0] * 4)


# --- time of use -------------------------------------------------------------------------------------


def test_time_of_use_follows_the_hours_of_the_day() -> None:
    battery = fleet(1, mode="time-of-use", time_of_use={"periods": EVENING})
    powers = [float(stepped(battery, hour * HOUR)["p_kw"][0]) for hour in range(48)]
    day = [-5.0] * 6 + [0.0] * 11 + [5.0] * 4 + [0.0] * 3
    assert powers == pytest.approx([*day, *day])


@pytest.mark.parametrize("start", ["2025-07-15T00:00:00+00:00", "2025-07-15T10:30:00+00:00"])
def test_period_that_falls_between_two_instants_is_refused(start: str) -> None:
    periods = [{"from_h": 17.1, "to_h": 17.4, "action": "charge"}, {"from_h": 17.5, "to_h": 17.6, "action": "charge"}]
    told = {"mode": "time-of-use", "time_of_use": {"periods": periods}}
    with pytest.raises(PlaceError, match="falls between two instants of the batteries, whose step is 1800 s") as error:
        fleet(1, 30 * MINUTE, {"start": datetime.fromisoformat(start)}, **told)
    assert [path for path, _ in error.value.problems] == [("time_of_use", "periods", 0)]
    assert fleet(1, 15 * MINUTE, {"start": datetime.fromisoformat(start)}, **told)


def test_periods_are_seen_at_the_instants_that_the_start_leads_to() -> None:
    """Of 17:06 to 17:24 and 17:30 to 17:36 the second has none, with steps of half an hour from 10:36 on."""
    periods = [{"from_h": 17.1, "to_h": 17.4, "action": "charge"}, {"from_h": 17.5, "to_h": 17.6, "action": "charge"}]
    start = {"start": datetime.fromisoformat("2025-07-15T10:36:00+00:00")}
    with pytest.raises(PlaceError) as error:
        fleet(1, 30 * MINUTE, start, mode="time-of-use", time_of_use={"periods": periods})
    assert [path for path, _ in error.value.problems] == [("time_of_use", "periods", 1)]


def test_hours_are_those_on_the_wall_where_the_scenario_starts() -> None:
    start = datetime.fromisoformat("2025-07-15T16:00:00-07:00")
    battery = fleet(1, at={"start": start}, mode="time-of-use", time_of_use={"periods": EVENING})
    assert stepped(battery, 0)["p_kw"][0] == 0.0
    assert stepped(battery, HOUR)["p_kw"][0] == 5.0


def test_hours_follow_the_clock_when_it_is_set_forward() -> None:
    at = {"start": datetime(2025, 3, 9, tzinfo=ZoneInfo("America/Los_Angeles"))}  # 02:00 is 03:00
    battery = fleet(1, at=at, mode="time-of-use", time_of_use={"periods": EVENING})
    powers = [float(stepped(battery, hour * HOUR)["p_kw"][0]) for hour in range(23)]
    assert powers == pytest.approx([-5.0] * 5 + [0.0] * 11 + [5.0] * 4 + [0.0] * 3)


def test_weekends_may_be_otherwise() -> None:
    periods = [
        {"from_h": 0, "to_h": 24, "days": "weekdays", "action": "discharge", "power_pu": 0.1},
        {"from_h": 0, "to_h": 24, "days": "weekends", "action": "charge", "power_pu": 0.2},
    ]
    friday = {"start": datetime(2025, 7, 18, tzinfo=UTC)}
    battery = fleet(1, at=friday, mode="time-of-use", time_of_use={"periods": periods})
    powers = [float(stepped(battery, day * 24 * HOUR)["p_kw"][0]) for day in range(4)]
    assert powers == pytest.approx([0.5, -1.0, -1.0, 0.5])


@pytest.mark.parametrize(("exports", "expected"), [(False, [2.0, 0.0]), (True, [5.0, 5.0])])
def test_discharge_gives_no_more_than_the_site_draws_unless_it_may_export(exports: bool, expected: list[float]) -> None:
    periods = [{"from_h": 0, "to_h": 24, "action": "discharge"}]
    battery = fleet(mode="time-of-use", site=SITE, time_of_use={"periods": periods, "exports": exports})
    out = stepped(battery, 0, **{"homes.p_kw": [3.0, 1.0], "roofs.p_kw": [1.0, 4.0]})
    assert_allclose(out["p_kw"], expected)


def test_price_decides(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("time_s,price\n0,0.1\n3600,0.2\n7200,0.4\n90000,0.4\n")
    price = {"per_kwh": {"file": "p.csv", "column": "price"}, "charge_below": 0.15, "discharge_above": 0.3}
    battery = fleet(1, at={"folder": tmp_path}, mode="time-of-use", time_of_use={"price": price})
    powers = [float(stepped(battery, hour * HOUR)["p_kw"][0]) for hour in range(3)]
    assert powers == pytest.approx([-5.0, 0.0, 5.0])


# --- regulation --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("f_hz", "p_kw"),
    [(60.0, 0.0), (59.98, 0.0), (59.68, 2.5), (60.32, -2.5), (59.0, 5.0), (61.5, -5.0)],
)
def test_regulation_answers_the_frequency(f_hz: float, p_kw: float) -> None:
    """Droop 1 % of 60 Hz: all of 5 kW at 0.6 Hz beyond a dead band of 0.02 Hz."""
    assert stepped(fleet(1, mode="regulation", regulation={}), 0, f_hz=f_hz)["p_kw"][0] == pytest.approx(p_kw, abs=1e-9)


def test_regulation_follows_its_signal(tmp_path: Path) -> None:
    (tmp_path / "s.csv").write_text("time_s,s\n0,-1\n3600,0.5\n90000,0.5\n")
    settings = {"signal": {"file": "s.csv", "column": "s"}, "offered_pu": 0.8}
    battery = fleet(1, at={"folder": tmp_path}, mode="regulation", regulation=settings)
    assert "f_hz" not in battery.interface.inputs
    assert stepped(battery, 0)["p_kw"][0] == pytest.approx(-4.0)
    assert stepped(battery, HOUR)["p_kw"][0] == pytest.approx(2.0)


def test_state_of_charge_returns_inside_the_dead_band_only() -> None:
    battery = fleet(1, mode="regulation", soc_initial_pu=0.8, regulation={"restore_pu": 0.1})
    assert stepped(battery, 0, f_hz=60.01)["p_kw"][0] == pytest.approx(0.5)
    assert stepped(battery, HOUR, f_hz=60.32)["p_kw"][0] == pytest.approx(-2.5)


def test_regulation_and_a_droop_of_the_inverter_share_one_frequency() -> None:
    battery = fleet(1, mode="regulation", regulation={}, smart={"frequency_droop": {}})
    assert battery.interface.inputs["f_hz"].unit == "Hz"
    assert stepped(battery, 0, f_hz=60.0)["p_kw"][0] == 0.0


@pytest.mark.parametrize(
    "settings",
    [
        {"mode": "self-consumption", "site": SITE},
        {"mode": "self-consumption", "site": {"draws": ["homes.p_kw"], "includes_battery": True}},
        {"mode": "time-of-use", "time_of_use": {"periods": EVENING}, "ageing": {"speed": 1000}},
        {"mode": "regulation", "regulation": {"restore_pu": 0.2}, "temperature": {"ambient_c": 30.0}},
    ],
)
def test_second_step_for_an_instant_starts_from_the_last_instant(settings: dict[str, Any]) -> None:
    once, twice = (fleet(step_ns=15 * MINUTE, **settings) for _ in range(2))
    chance = np.random.default_rng(1)
    for k in range(40):
        seen = {"homes.p_kw": chance.uniform(0, 6, 2), "roofs.p_kw": chance.uniform(0, 6, 2), "f_hz": 60.1}
        stepped(twice, k * 15 * MINUTE, **{"homes.p_kw": 9.0, "f_hz": 58.0})
        assert listed(stepped(once, k * 15 * MINUTE, **seen)) == listed(stepped(twice, k * 15 * MINUTE, **seen))


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"mode": "self-consumption"}, "mode 'self-consumption' needs the setting site"),
        ({"mode": "time-of-use"}, "needs the setting time_of_use"),
        ({"mode": "regulation"}, "needs the setting regulation"),
        ({"mode": "idle", "regulation": {}}, "regulation is for mode 'regulation'"),
        ({"mode": "commanded", "site": SITE}, "the mode is 'commanded'"),
        ({"mode": "time-of-use", "time_of_use": {}}, "needs one of periods and price"),
        (
            {"mode": "time-of-use", "time_of_use": {"periods": [{"from_h": 22, "to_h": 6, "action": "charge"}]}},
            "a period over midnight is written as two",
        ),
        (
            {
                "mode": "time-of-use",
                "time_of_use": {
                    "periods": [
                        {"from_h": 0, "to_h": 6, "action": "charge"},
                        {"from_h": 5, "to_h": 7, "days": "weekends", "action": "discharge"},
                    ]
                },
            },
            "periods must not overlap: 0 and 1 both have 5 to 6 h",
        ),
        (
            {
                "mode": "time-of-use",
                "time_of_use": {"periods": [{"from_h": 0, "to_h": 6, "action": "self-consumption"}]},
            },
            "needs the setting site",
        ),
        (
            {"mode": "time-of-use", "time_of_use": {"price": {"per_kwh": 1, "charge_below": 2, "discharge_above": 1}}},
            "between them it would do both",
        ),
        ({"mode": "self-consumption", "site": {}}, "needs a port"),
        ({"mode": "self-consumption", "site": {"draws": ["a.b"], "injects": ["a.b"]}}, "named twice"),
    ],
)
def test_impossible_settings_are_refused(wrong: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        fleet(**wrong)


def test_site_that_does_not_fit_is_refused_where_it_stands() -> None:
    with pytest.raises(PlaceError, match=r"'homes\.p_kw' has 2 elements, and there are 3 batteries") as error:
        fleet(3, mode="self-consumption", site={"draws": ["homes.p_kw"]})
    assert error.value.problems[0][0] == ("site", "draws", 0)
    with pytest.raises(PlaceError, match="is the batteries' own"):
        fleet(mode="self-consumption", site={"draws": ["fleet.p_kw"]})
