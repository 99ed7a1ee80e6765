"""Demand response: what is asked for, and what is measured."""

from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from fleets import DAY, HOUR, MINUTE, context
from pydantic import ValidationError

from derloop.kind import PlaceError
from federates.control.demand_response import DemandResponse, DemandResponseSettings

TUESDAY = datetime(2025, 7, 1, tzinfo=UTC)
THIRD_TUESDAY = 14
"""Ten working days lie between."""
EVENT = {"begins_s": (THIRD_TUESDAY * 24 + 15) * 3600.0, "lasts_s": 7200.0}
LABELS = {"homes": ("h0", "h1"), "plants": ("p0",)}
HISTORY = {"homes": {"file": "h.csv", "columns": [f"d{k}" for k in range(10)]}}


def made(**other: Any) -> DemandResponseSettings:
    given = {"members": {"homes": {"shift_k": 2.0}}, "events": [EVENT], "interval_s": 3600, **other}
    return DemandResponseSettings.model_validate(given)


def programme(days: int = 15, step_ns: int = HOUR, start: datetime = TUESDAY, **other: Any) -> DemandResponse:
    folder, kinds = other.pop("folder", Path.cwd()), other.pop("kinds", {})
    there = context(step_ns, days * DAY, start=start, folder=folder, labels=LABELS, settings=kinds)
    return DemandResponse(made(**other), there)


def metered(one: DemandResponse, homes_kw: np.ndarray, step_ns: int = HOUR) -> dict[str, np.ndarray]:
    """Return each output at the end of each step, with what the two homes (steps, 2) draw in it."""
    sent, told = one.start(), []
    for k, kw in enumerate([*homes_kw, homes_kw[-1]]):
        inputs = {port: np.zeros(p.size) for port, p in one.interface.inputs.items()}
        inputs["homes.p_kw"] = homes_kw[k - 1] if k else kw
        sent = one.step(k * step_ns, inputs)
        told.append(sent)
    return {port: np.array([t[port] for t in told[1:]]) for port in sent}


def usual(days: int, kw: float = 5.0) -> np.ndarray:
    return np.full((days * 24, 2), kw)


def test_members_are_asked_in_the_event_and_left_alone_outside() -> None:
    members = {"homes": {"shift_k": 2.0}, "plants": {"curtail_pu": 0.5}}
    one = programme(members=members)
    out = metered(one, usual(15))
    hours = np.arange(1, 15 * 24 + 1)
    asked = (hours >= 14 * 24 + 15) & (hours < 14 * 24 + 17)
    assert out["homes.shift_k"].tolist() == [[2.0, 2.0] if a else [0.0, 0.0] for a in asked]
    assert out["plants.curtail_pu"].tolist() == [[0.5] if a else [0.0] for a in asked]
    assert out["event"][:, 0].tolist() == asked.tolist()


def test_appliances_are_free_outside_of_events() -> None:
    one = programme(members={"homes": {"allow": 0}})
    out = metered(one, usual(15))["homes.allow"]
    assert out.min() == 0.0
    assert (out == 1.0).all(axis=1).sum() == 15 * 24 - 2


def test_reduction_is_measured_against_the_days_before() -> None:
    drawn = usual(15)
    drawn[14 * 24 + 15 : 14 * 24 + 17] = 2.0  # both homes, for two hours: 6 kW less than 10
    drawn[14 * 24 + 17] = 8.0  # 6 kW more for one hour
    one = programme()
    out = metered(one, drawn)
    assert out["baseline_kw"][14 * 24 + 15, 0] == 10.0
    assert out["reduction_kw"][14 * 24 + 15 : 14 * 24 + 18, 0].tolist() == [6.0, 6.0, -6.0]
    assert out["reduced_kwh"][-1, 0] == pytest.approx(12.0)
    assert out["rebound_kwh"][-1, 0] == pytest.approx(6.0)
    said = {"homes_reduced_kwh": 12.0, "homes_rebound_kwh": 6.0, "reduced_kwh": 12.0, "rebound_kwh": 6.0}
    assert one.statistics() == pytest.approx(said)


def test_warm_day_raises_the_baseline() -> None:
    drawn = usual(15)
    drawn[14 * 24 :] = 5.5  # a tenth more than usual, in the event too
    out = metered(programme(), drawn)
    assert out["reduction_kw"][14 * 24 + 15, 0] == pytest.approx(0.0, abs=1e-9)


def test_weekends_and_days_with_events_do_not_count() -> None:
    drawn = usual(16)
    weekend = [d for d in range(16) if (TUESDAY.day + d) in (5, 6, 12, 13)]
    for day in weekend:
        drawn[day * 24 : day * 24 + 24] = 50.0
    drawn[14 * 24 + 15 : 14 * 24 + 17] = 0.0
    later = {**EVENT, "begins_s": EVENT["begins_s"] + 86400}
    out = metered(programme(days=16, events=[EVENT, later]), drawn)
    assert out["baseline_kw"][14 * 24 + 15, 0] == 10.0
    assert out["baseline_kw"][15 * 24 + 15, 0] == 10.0  # the day before had an event


def test_history_stands_for_days_before_the_run(tmp_path: Path) -> None:
    rows = [f"{k * 3600}," + ",".join(str(10.0 + d) for d in range(10)) for k in range(25)]
    (tmp_path / "h.csv").write_text("time_s," + ",".join(HISTORY["homes"]["columns"]) + "\n" + "\n".join(rows))
    event = {"begins_s": 15 * 3600.0, "lasts_s": 3600.0}
    out = metered(programme(days=1, events=[event], history=HISTORY, folder=tmp_path), usual(1, 14.5 / 2))
    assert out["baseline_kw"][15, 0] == pytest.approx(14.5)  # the mean of 10 to 19


@pytest.mark.parametrize(("seed", "minutes", "most"), [(1, 60, 0.2), (2, 60, 0.01), (3, 15, 0.2), (4, 15, 0.02)])
def test_baseline_is_the_one_that_pandas_finds(seed: int, minutes: int, most: float) -> None:
    """The tariff's words once more, with calendar and groups that are pandas': beside ours, not from it."""
    pd = pytest.importorskip("pandas")
    drawn = np.random.default_rng(seed).uniform(0.0, 10.0, (15 * 24 * 60 // minutes, 2))
    one = programme(step_ns=minutes * MINUTE, most_adjustment_pu=most)
    out = metered(one, drawn, minutes * MINUTE)
    index = pd.date_range(TUESDAY, periods=len(drawn), freq=f"{minutes}min")
    hourly = pd.Series(drawn.sum(axis=1), index).resample("1h").mean()
    today = hourly[hourly.index.normalize() == "2025-07-15"]
    earlier = hourly[hourly.index < today.index[0]]
    earlier = earlier[earlier.index.day_of_week < 5]
    mean = earlier[earlier.index >= "2025-07-01"].groupby(earlier.index.hour).mean()
    window = [11, 12, 13]  # the hours that end at 12, 13 and 14: the event begins at 15
    ratio = today[today.index.hour.isin(window)].sum() / mean[window].sum()
    baseline = mean * np.clip(ratio, 1.0 - most, 1.0 + most)
    ours = pd.Series(out["baseline_kw"][:, 0], index)
    assert ours["2025-07-15 15:00":"2025-07-15 15:59"].to_numpy() == pytest.approx(baseline[15], rel=1e-12)
    assert ours["2025-07-15 23:00":].to_numpy() == pytest.approx(baseline[23], rel=1e-12)
    in_event = pd.Series(drawn.sum(axis=1), index)["2025-07-15 15:00":"2025-07-15 16:59"].mean()
    assert out["reduced_kwh"][-1, 0] == pytest.approx(baseline[15] + baseline[16] - 2.0 * in_event, abs=1e-9)


def test_second_step_for_an_instant_starts_from_the_last_instant() -> None:
    once, twice = programme(), programme()
    rng = np.random.default_rng(1)
    for k in range(15 * 24):
        inputs = {"homes.p_kw": rng.uniform(0.0, 9.0, 2), "homes.age_s": np.array([0.0, 7200.0 * (k % 3)])}
        twice.step(k * HOUR, inputs)
        a, b = once.step(k * HOUR, inputs), twice.step(k * HOUR, inputs)
        assert {p: v.tolist() for p, v in a.items()} == {p: v.tolist() for p, v in b.items()}


@pytest.mark.parametrize(
    ("wrong", "path", "why"),
    [
        ({"members": {"home": {"shift_k": 1}}}, ("members", "home"), "did you mean 'homes'?"),
        ({"kinds": {"homes": SimpleNamespace(takes=())}}, ("members", "homes"), "does not take shift_k, as it is set"),
        ({"days": 16, "events": [{**EVENT, "begins_s": 15.1 * 3600}]}, ("events", 0, "begins_s"), "with an interval"),
        ({"events": [{**EVENT, "begins_s": 14 * 86400 + 10800}]}, ("events", 0, "begins_s"), "it begins 3 h after"),
        ({"events": [{**EVENT, "lasts_s": 10 * 3600}]}, ("events", 0, "lasts_s"), "at most 32400 s, not 36000"),
        ({"events": [{**EVENT, "begins_s": 13 * 86400 + 54000}]}, ("events", 0), "9 like it in the run are fewer"),
        ({"step_ns": 7 * MINUTE}, ("interval_s",), "a step of 420 s does not divide 3600 s"),
    ],
)
def test_what_cannot_be_measured_is_refused_where_it_stands(wrong: dict[str, Any], path: Any, why: str) -> None:
    with pytest.raises(PlaceError) as error:
        programme(**wrong)
    assert error.value.problems[0][0] == path
    assert why in error.value.problems[0][1]


@pytest.mark.parametrize("step_s", [0.1, 0.3, 0.9])
def test_a_step_that_is_no_binary_number_divides_an_interval(step_s: float) -> None:
    assert programme(step_ns=round(step_s * 1e9)).interface.step_ns == round(step_s * 1e9)


def test_run_in_which_the_clock_is_set_is_refused() -> None:
    with pytest.raises(PlaceError, match="the clock is changed during the run, and a baseline needs days of 24 h"):
        programme(start=datetime(2025, 3, 4, tzinfo=ZoneInfo("America/Los_Angeles")))


def test_run_that_starts_within_the_four_hours_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PlaceError, match="metered, before an event begins; it begins 3 h after"):
        programme(start=TUESDAY.replace(hour=12), events=[{"begins_s": 10800, "lasts_s": 3600}], history=HISTORY)


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"members": {}}, "members"),
        ({"members": {"homes": {}}}, "needs one of shift_k, curtail_pu, allow"),
        ({"members": {"homes": {"shift_k": 1, "curtail_pu": 1}}}, "needs one of"),
        ({"events": []}, "events"),
        ({"events": [EVENT, EVENT]}, "events must follow each other"),
        ({"interval_s": 1000}, "interval_s 1000 does not divide an hour"),
        ({"history": {"shops": HISTORY["homes"]}}, "history of shops, which is no member"),
    ],
)
def test_impossible_settings_are_refused(wrong: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        made(**wrong)


def test_event_after_the_end_of_the_run_asks_for_nothing() -> None:
    out = metered(programme(days=2), usual(2))
    assert out["event"].max() == 0.0


def test_no_reduction_is_credited_of_devices_that_are_silent() -> None:
    """Two homes draw 5 kW each, and 2 kW each from 15 h to 17 h; of the second nothing is heard from 16 h on.

    Its age is then more than two steps an hour later: what ends at 17 h is credited for the first home alone.
    """
    one = programme()
    assert one.start()["silent"].tolist() == [0.0]
    reductions, silent = [], []
    for k in range(15 * 24):
        hour = k - THIRD_TUESDAY * 24
        inputs = {port: np.zeros(p.size) for port, p in one.interface.inputs.items()}
        inputs["homes.p_kw"] = np.array([2.0, 2.0] if 16 <= hour <= 17 else [5.0, 5.0])
        inputs["homes.age_s"] = np.array([3600.0, 3600.0 if hour < 17 else 7201.0])
        out = one.step(k * HOUR, inputs)
        reductions.append(float(out["reduction_kw"][0]))
        silent.append(float(out["silent"][0]))
    event = THIRD_TUESDAY * 24 + 15
    assert reductions[event + 1 : event + 4] == [6.0, 3.0, 0.0]
    assert silent[event + 1 : event + 4] == [0.0, 1.0, 1.0]


def test_a_device_is_silent_after_300_s_or_two_steps_where_these_are_longer() -> None:
    assert [made().silent_s(round(step_s * 1e9)) for step_s in (1, 60, 150, 900)] == [300.0, 300.0, 300.0, 1800.0]
    assert made(silent_after_s=60).silent_s(HOUR) == 60.0


def test_before_an_event_what_was_heard_last_of_silent_devices_is_metered() -> None:
    one = programme()
    one.start()
    inputs = {"homes.p_kw": np.array([5.0, 4.0]), "homes.age_s": np.array([0.0, 90000.0])}
    one.step(0, inputs)
    assert one.step(HOUR, inputs)["metered_kw"].tolist() == [9.0]
