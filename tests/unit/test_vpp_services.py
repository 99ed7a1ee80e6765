"""The services of a virtual power plant: small cases with a known optimum, alone and stacked."""

import re
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from numpy.testing import assert_allclose
from plants import Batteries, context, plant, run, written
from pydantic import ValidationError

from derloop.kind import PlaceError
from federates.control.vpp.settings import VppSettings

REST = [0.0] * 8


def test_peak_shaving_by_forecast_holds_the_lowest_level_that_the_energy_can_hold(tmp_path: Path) -> None:
    """10, 30, 50, 40, 10 kW after an hour of rest, 30 kWh stored: (50 - L) + (40 - L) = 30, so L is 30 kW."""
    load = [10.0, 10.0, 30.0, 50.0, 40.0, 10.0]
    forecast = written(tmp_path, "load.csv", 3600.0, load)
    shaving = {"kind": "peak-shaving", "forecast": forecast, "recharges": False, "hold_s": 0, "gain": 0, "margin_kw": 0}
    horizon = {"ahead_h": 6, "interval_s": 3600, "replan_s": 86400}
    control = plant([{**shaving, "horizon": horizon}], context({"b": 2}, tmp_path, 6), efficiency_pu=1.0)
    told = run(control, Batteries([40.0, 40.0], [20.0, 40.0]), load)
    assert told["limit_kw"][-1, 0] == pytest.approx(30.0)
    assert_allclose(told["target_kw"][:, 0], [0.0, 0.0, 0.0, 20.0, 10.0, 0.0], atol=1e-6)
    assert told["head_kw"].max() == pytest.approx(30.0)


@pytest.mark.parametrize(("valley_kw", "limit_kw"), [(38.0, 45.0), (20.0, 40.0), (34.0, 43.889)])
def test_a_limit_is_planned_with_no_more_recharging_than_there_will_be(
    valley_kw: float, limit_kw: float, tmp_path: Path
) -> None:
    """10 kWh, and 50 kW twice: members recharge up to 80 % of the limit. 38 kW between are above that: 2 (50 - L) = 10.
    At 20 kW there is room for all 10 kWh; at 34 kW for 0.8 L - 34 in each of two hours: 2 (50 - L) = 10 + 1.6 L - 68.
    """
    load = [10.0, 10.0, 50.0, valley_kw, valley_kw, 50.0, 10.0]
    forecast = written(tmp_path, "load.csv", 3600.0, load)
    shaving = {"kind": "peak-shaving", "forecast": forecast, "hold_s": 0, "gain": 0, "margin_kw": 0}
    horizon = {"ahead_h": 7, "interval_s": 3600, "replan_s": 86400}
    control = plant([{**shaving, "horizon": horizon}], context({"b": 1}, tmp_path, 7), efficiency_pu=1.0)
    told = run(control, Batteries([100.0], [10.0], 0.9999), load)
    assert told["limit_kw"][-1, 0] == pytest.approx(limit_kw, abs=0.02)


def test_a_limit_counts_on_what_is_charged_before_the_peak(tmp_path: Path) -> None:
    """10 of 20 kWh, and 50 kW twice after an hour of 20: 10 kWh more are charged there, as 80 % of 40 kW leave room."""
    load = [20.0, 20.0, 50.0, 50.0, 20.0]
    shaving = {"kind": "peak-shaving", "forecast": written(tmp_path, "load.csv", 3600.0, load), "margin_kw": 0}
    horizon = {"ahead_h": 5, "interval_s": 3600, "replan_s": 86400}
    where = context({"b": 1}, tmp_path, 5)
    control = plant([{**shaving, "hold_s": 0, "gain": 0, "horizon": horizon}], where, efficiency_pu=1.0)
    told = run(control, Batteries([10.0], [20.0]), load)
    assert told["limit_kw"][-1, 0] == pytest.approx(40.0, abs=0.02)
    assert_allclose(told["p_kw"][:, 0], [0.0, -10.0, 10.0, 10.0, -10.0], atol=0.05)


@pytest.mark.parametrize(
    ("own", "before"),
    [({}, [{"kind": "reserve", "up_kw": 10, "lasts_h": 1}]), ({"reserve_soc_pu": 0.25}, [])],
    ids=["held for reserve", "its own reserve"],
)
def test_a_limit_is_planned_without_energy_that_is_not_to_be_had(
    own: dict[str, Any], before: list[dict[str, Any]], tmp_path: Path
) -> None:
    """50 and 40 kW to come, 30 kWh stored, of which 10 are not to be had: 90 - 2 L = 20, so L is 35 kW."""
    load = [10.0, 10.0, 30.0, 50.0, 40.0, 10.0]
    forecast = written(tmp_path, "load.csv", 3600.0, load)
    shaving = {"kind": "peak-shaving", "forecast": forecast, "recharges": False, "hold_s": 0, "gain": 0, "margin_kw": 0}
    shaving |= {"horizon": {"ahead_h": 6, "interval_s": 3600, "replan_s": 86400}, **own}
    control = plant([*before, shaving], context({"b": 2}, tmp_path, 6), efficiency_pu=1.0)
    told = run(control, Batteries([40.0, 40.0], [20.0, 20.0], 0.75), load)
    assert told["limit_kw"][-1, 0] == pytest.approx(35.0)
    assert told["head_kw"].max() == pytest.approx(35.0)


def test_arbitrage_by_plan_earns_what_the_best_plan_earns(tmp_path: Path) -> None:
    """Two unlike batteries, 6 kW and 12 kWh in all, empty, without losses. Cheapest after the first hour, at rest:
    1 and 2, dearest 9 and 8: 6 kW bought twice and sold twice earns 6 (9 + 8 - 1 - 2) = 84."""
    price = [5.0, 1.0, 2.0, 5.0, 9.0, 8.0, 5.0, 5.0]
    arbitrage = {"kind": "arbitrage", "price": written(tmp_path, "price.csv", 3600.0, price), "worth_per_kwh": 0}
    arbitrage["horizon"] = {"ahead_h": 8, "interval_s": 3600, "replan_s": 3600}
    where = context({"b": 2}, tmp_path, 8)
    control = plant([arbitrage], where, efficiency_pu=1.0, shares="longest-first")
    told = run(control, Batteries([2.0, 4.0], [4.0, 8.0], [0.01, 0.01]), REST)
    earned = float((told["p_kw"].sum(axis=1) * np.array(price)).sum())
    assert earned == pytest.approx(84.0, abs=0.12 * 9)  # and what was in store before
    assert_allclose(told["p_kw"].sum(axis=1)[[1, 2, 4]], [-6.0, -5.88, 6.0], atol=0.01)


def test_a_plan_is_followed_from_interval_to_interval_until_the_next_one(tmp_path: Path) -> None:
    """6 of 12 kWh: 6 kWh more are bought at 1, and 6 sold at 9 and at 8, by one plan for all hours."""
    price = written(tmp_path, "price.csv", 3600.0, [5.0, 1.0, 2.0, 5.0, 9.0, 8.0, 5.0, 5.0])
    horizon = {"ahead_h": 8, "interval_s": 3600, "replan_s": 28800}
    arbitrage = {"kind": "arbitrage", "price": price, "worth_per_kwh": 0, "horizon": horizon}
    told = run(plant([arbitrage], context({"b": 1}, tmp_path, 8), efficiency_pu=1.0), Batteries([6.0], [12.0]), REST)
    assert_allclose(told["p_kw"][:, 0], [0.0, -6.0, 0.0, 0.0, 6.0, 6.0, 0.0, 0.0], atol=1e-3)


@pytest.mark.parametrize(("limit_kw", "p_kw"), [(None, [0.0, -6.0, 6.0, 6.0]), (10.0, [0.0, -2.0, 2.0, 6.0])])
def test_a_plan_buys_no_more_than_the_feeder_may_draw(
    limit_kw: float | None, p_kw: list[float], tmp_path: Path
) -> None:
    """6 of 12 kWh, and 8 kW drawn besides: under 10 kW there is room for 2 kW."""
    price = written(tmp_path, "price.csv", 3600.0, [5.0, 1.0, 5.0, 9.0])
    load = written(tmp_path, "load.csv", 3600.0, [8.0] * 4)
    horizon = {"ahead_h": 4, "interval_s": 3600, "replan_s": 3600}
    arbitrage = {"kind": "arbitrage", "price": price, "worth_per_kwh": 0, "horizon": horizon}
    if limit_kw is not None:
        arbitrage["keeps_under"] = {"limit_kw": limit_kw, "forecast": load}
    control = plant([arbitrage], context({"b": 1}, tmp_path, 4), efficiency_pu=1.0)
    told = run(control, Batteries([6.0], [12.0]), [8.0] * 4)
    assert_allclose(told["p_kw"][:, 0], p_kw, atol=1e-3)


def test_what_an_earlier_service_charges_no_call_undoes(tmp_path: Path) -> None:
    price = written(tmp_path, "price.csv", 3600.0, [1.0] * 3)
    buying = {"kind": "arbitrage", "price": price, "method": "rule-based", "charge_below": 2, "discharge_above": 6}
    called = {"kind": "demand-response", "offered_kw": 8, "calls": [{"begins_s": 7200, "lasts_s": 3600}]}
    control = plant([buying, {**called, "incentive_per_kwh": 1}], context({"b": 1}, tmp_path, 3))
    told = run(control, Batteries([10.0], [40.0]), [0.0] * 3)
    assert told["p_kw"][:, 0].tolist() == [0.0, -10.0, -10.0]


def test_a_plan_knows_the_last_hour_of_a_day_of_25(tmp_path: Path) -> None:
    """The clock is set back on 2 November 2025: its hour from 23 to 24 is the 25th of the day, and the dearest."""
    price = written(tmp_path, "price.csv", 3600.0, [2.0] * 23 + [9.0])
    horizon = {"ahead_h": 24, "interval_s": 3600, "replan_s": 3600}
    arbitrage = {"kind": "arbitrage", "price": price, "horizon": horizon, "worth_per_kwh": 0}
    start = datetime(2025, 11, 2, tzinfo=ZoneInfo("America/Los_Angeles"))
    where = replace(context({"b": 1}, tmp_path, 25), start=start)
    told = run(plant([arbitrage], where, efficiency_pu=1.0), Batteries([10.0], [20.0]), [0.0] * 25)
    assert told["price_per_kwh"][-1, 0] == 9.0
    assert told["p_kw"][-1, 0] == pytest.approx(10.0)


def test_a_plan_looks_into_the_next_of_days_that_repeat(tmp_path: Path) -> None:
    """Bought in the last hour of the first day, at 1, and sold in the second of the next, at 9."""
    price = {**written(tmp_path, "price.csv", 3600.0, [5.0, 9.0, *[5.0] * 21, 1.0]), "repeats": "daily"}
    horizon = {"ahead_h": 24, "interval_s": 3600, "replan_s": 3600}
    arbitrage = {"kind": "arbitrage", "price": price, "horizon": horizon, "worth_per_kwh": 0}
    control = plant([arbitrage], context({"b": 1}, tmp_path, 48), efficiency_pu=1.0)
    told = run(control, Batteries([10.0], [10.0], 0.0), [0.0] * 48)
    assert told["price_per_kwh"][[23, 25, 47], 0].tolist() == [1.0, 9.0, 1.0]
    assert_allclose(told["p_kw"][[23, 24, 25], 0], [-10.0, 0.0, 10.0], atol=1e-3)


def test_an_engine_fills_no_store_in_a_plan(tmp_path: Path) -> None:
    """10 kW for two hours fill the store, also beside an engine of 100 kW: it begins in the first of the cheap hours,
    and not only in the cheapest."""
    price = written(tmp_path, "price.csv", 3600.0, [2.0, 2.0, 1.0, 9.0, 9.0, 9.0])
    horizon = {"ahead_h": 6, "interval_s": 3600, "replan_s": 3600}
    arbitrage = {"kind": "arbitrage", "price": price, "horizon": horizon, "worth_per_kwh": 0}
    control = plant([arbitrage], context({"b": 2}, tmp_path, 6), efficiency_pu=1.0)
    told = Batteries([10.0, 100.0], [20.2, 1.0], [0.01, 0.0]).told()
    told["b.soc_pu"][1] = told["b.stored_kwh"][1] = -1.0
    told["b.p_min_kw"][1], told["b.p_max_kw"][1] = 0.0, 100.0
    asked = [control.step(k * 3600 * 10**9, told)["b.p_set_kw"] for k in range(2)][-1]
    assert asked.tolist() == pytest.approx([-10.0, 0.0], abs=0.05)


@pytest.mark.parametrize("shares", ["proportional", "longest-first"])
def test_a_plan_sells_what_is_stored_and_not_what_an_engine_gives(shares: str, tmp_path: Path) -> None:
    """20 kWh, bought at 1, are sold with 10 kW in the two hours at 9, beside an engine of 100 kW."""
    price = written(tmp_path, "price.csv", 3600.0, [1.0, 1.0, 1.0, 5.0, 9.0, 9.0, 5.0, 5.0])
    horizon = {"ahead_h": 8, "interval_s": 3600, "replan_s": 3600}
    arbitrage = {"kind": "arbitrage", "price": price, "horizon": horizon, "worth_per_kwh": 0}
    control = plant([arbitrage], context({"b": 2}, tmp_path, 8), efficiency_pu=1.0, shares=shares)
    batteries, given = Batteries([10.0, 100.0], [20.0, 1e9]), []
    for k in range(8):
        told = batteries.told()
        told["b.soc_pu"][1] = told["b.stored_kwh"][1] = -1.0
        told["b.p_min_kw"][1] = 0.0
        batteries.hold(control.step(k * 3600 * 10**9, told)["b.p_set_kw"])
        given.append(batteries.p_kw.tolist())
    assert_allclose(given[4:], [[10.0, 0.0], [10.0, 0.0], [0.0, 0.0], [0.0, 0.0]], atol=1e-6)


@pytest.mark.parametrize("shares", ["proportional", "longest-first"])
def test_by_a_rule_an_engine_goes_on_when_stores_are_empty(shares: str, tmp_path: Path) -> None:
    """5 kW for two hours are in store; the engine beside it gives its 100 kW for as long as the price is high."""
    price = written(tmp_path, "price.csv", 3600.0, [9.0] * 6)
    rule = {"kind": "arbitrage", "method": "rule-based", "price": price, "charge_below": 1, "discharge_above": 5}
    control = plant([rule], context({"b": 2}, tmp_path, 6), efficiency_pu=1.0, shares=shares)
    batteries, given = Batteries([5.0, 100.0], [20.0, 1e9]), []
    for k in range(6):
        told = batteries.told()
        told["b.soc_pu"][1] = told["b.stored_kwh"][1] = -1.0
        batteries.hold(control.step(k * 3600 * 10**9, told)["b.p_set_kw"])
        given.append(batteries.p_kw.tolist())
    assert given == [[0.0, 0.0], *[[5.0, 100.0]] * 2, *[[0.0, 100.0]] * 3]


def test_by_a_rule_no_engine_is_planned_to_charge(tmp_path: Path) -> None:
    """10 kW can be drawn beside an engine of 100 kW: -110 kW were told as planned."""
    price = written(tmp_path, "price.csv", 3600.0, [1.0] * 3)
    rule = {"kind": "arbitrage", "method": "rule-based", "price": price, "charge_below": 2, "discharge_above": 5}
    control = plant([rule], context({"b": 2}, tmp_path, 3))
    told = Batteries([10.0, 100.0], [40.0, 1e9]).told()
    told["b.soc_pu"][1] = told["b.stored_kwh"][1] = -1.0
    told["b.p_min_kw"][1] = 0.0
    asked = [control.step(k * 3600 * 10**9, told) for k in range(2)][-1]
    assert asked["b.p_set_kw"].tolist() == [-10.0, 0.0]
    assert asked["planned_kw"].tolist() == [-10.0]


@pytest.mark.parametrize("shares", ["proportional", "longest-first"])
def test_a_store_that_does_not_tell_what_it_holds_does_what_it_says_that_it_can(shares: str, tmp_path: Path) -> None:
    price = written(tmp_path, "price.csv", 3600.0, [1.0, 1.0, 9.0, 9.0, 9.0, 9.0])
    rule = {"kind": "arbitrage", "method": "rule-based", "price": price, "charge_below": 2, "discharge_above": 5}
    control = plant([rule], context({"b": 1}, tmp_path, 6), efficiency_pu=1.0, shares=shares)
    batteries, given = Batteries([10.0], [40.0]), []
    for k in range(6):
        told = batteries.told() | {"b.stored_kwh": np.full(1, -1.0)}
        batteries.hold(control.step(k * 3600 * 10**9, told)["b.p_set_kw"])
        given.append(float(batteries.p_kw[0]))
    assert given == [0.0, -10.0, 10.0, 10.0, 10.0, 0.0]


@pytest.mark.parametrize("shares", ["proportional", "longest-first"])
@pytest.mark.parametrize("method", ["rolling-horizon", "rule-based"])
def test_stores_that_begin_empty_are_charged(method: str, shares: str, tmp_path: Path) -> None:
    """They tell not how large they are until they hold something: 4 kW for two hours fill them."""
    price = written(tmp_path, "price.csv", 3600.0, [1.0] * 4 + [9.0] * 4)
    rule = {"charge_below": 5, "discharge_above": 10} if method == "rule-based" else {}
    horizon = {"ahead_h": 8, "interval_s": 3600, "replan_s": 3600}
    arbitrage = {"kind": "arbitrage", "method": method, "price": price, "horizon": horizon, **rule}
    control = plant([arbitrage], context({"b": 2}, tmp_path, 8), efficiency_pu=1.0, shares=shares)
    batteries = Batteries([1.0, 3.0], [2.0, 6.0], 0.0)
    told = run(control, batteries, [0.0] * 4)
    assert told["p_kw"].sum() == pytest.approx(-8.0)


def test_arbitrage_by_rule_follows_the_price_that_is_told(tmp_path: Path) -> None:
    price = written(tmp_path, "price.csv", 3600.0, [1.0] * 8)
    rule = {"kind": "arbitrage", "method": "rule-based", "charge_below": 2.0, "discharge_above": 6.0}
    control = plant(
        [{**rule, "price": price, "reads": "retail.price_per_kwh", "currency": "EUR"}], context({"b": 1}, tmp_path, 8)
    )
    assert control.interface.inputs["retail.price_per_kwh"].unit == "EUR/kWh"
    told = run(
        control,
        Batteries([4.0], [100.0]),
        REST,
        retail__price_per_kwh=[4.0, 1.0, 4.0, 9.0, 9.0, 4.0, 4.0, 4.0],
        retail__age_s=[0, 0, 0, 0, 4000.0, 0, 0, 0],
    )
    # in the fifth hour nothing was heard of the price: the file's, 1.0, holds
    assert told["b.p_set_kw"][:, 0].tolist() == [0.0, -4.0, 0.0, 4.0, -4.0, 0.0, 0.0, 0.0]


def test_a_schedule_is_followed_in_spite_of_members_that_give_less(tmp_path: Path) -> None:
    power = written(tmp_path, "plan.csv", 3600.0, [10.0] * 40)
    control = plant([{"kind": "schedule", "power": power}], context({"b": 2}, tmp_path, 40))
    batteries = Batteries([20.0, 20.0], [1e4, 1e4])
    given = []
    for k in range(40):
        asked = control.step(k * 3600 * 10**9, batteries.told())["b.p_set_kw"]
        batteries.hold(0.8 * asked)
        given.append(float(batteries.p_kw.sum()))
    assert given[1] == pytest.approx(8.0)
    assert given[-1] == pytest.approx(10.0, abs=0.01)


def test_what_is_promised_is_told_also_before_any_member_was_heard(tmp_path: Path) -> None:
    power = written(tmp_path, "plan.csv", 3600.0, [40.0] * 40)
    control = plant([{"kind": "schedule", "power": power}], context({"b": 2}, tmp_path, 40))
    for told in (control.start(), control.step(0, {})):
        assert (told["schedule_kw"].tolist(), told["target_kw"].tolist()) == ([40.0], [0.0])


def test_regulation_moves_members_around_the_schedule_that_they_follow(tmp_path: Path) -> None:
    """Base 5 kW, signal 1, -1 and 0.5 of 10 kW: 15, -5 and 10 kW; told of the step before as response."""
    signal = written(tmp_path, "signal.csv", 3600.0, [0.0, 1.0, -1.0, 0.5, 0.0, 0.0])
    power = written(tmp_path, "plan.csv", 3600.0, [5.0] * 6)
    regulation = {"kind": "frequency-regulation", "capacity_kw": 10, "signal": signal, "centre_soc_pu": None}
    where = context({"b": 2}, tmp_path, 6)
    control = plant([regulation, {"kind": "schedule", "power": power}], where)
    told = run(control, Batteries([10.0, 30.0], [1e4, 1e4]), [0.0] * 6)
    assert_allclose(told["p_kw"].sum(axis=1), [0.0, 15.0, -5.0, 10.0, 5.0, 5.0])
    assert_allclose(told["signal_kw"][1:, 0], [10.0, -10.0, 5.0, 0.0, 0.0])
    assert_allclose(told["response_kw"][2:, 0], [10.0, -10.0, 5.0, 0.0])
    assert_allclose(told["lacking_kw"][1:], 0.0)


@pytest.mark.parametrize("kind", ["frequency-regulation", "reserve"])
@pytest.mark.parametrize(("load_kw", "down_kw"), [(150.0, 0.0), (90.0, 10.0), (50.0, 20.0)])
def test_headroom_that_is_deployed_makes_no_peak_that_was_to_be_shaved(
    kind: str, load_kw: float, down_kw: float, tmp_path: Path
) -> None:
    """100 kW may be drawn, and 20 kW are offered to draw more: what there is room for is held, the rest lacks."""
    shaving = {"kind": "peak-shaving", "limit_kw": 100, "margin_kw": 0, "gain": 0, "hold_s": 0, "recharges": False}
    signal = written(tmp_path, "signal.csv", 3600.0, [-1.0] * 6)
    offered = {
        "frequency-regulation": {"capacity_kw": 20, "signal": signal, "centre_soc_pu": None},
        "reserve": {"down_kw": 20, "down_calls": [{"begins_s": 0, "lasts_s": 21600}]},
    }
    price = written(tmp_path, "price.csv", 3600.0, [1.0] * 6)
    buying = {"kind": "arbitrage", "price": price, "method": "rule-based", "charge_below": 5, "discharge_above": 9}
    where = context({"b": 1}, tmp_path, 6)
    for services in ([], [buying]):
        control = plant([shaving, {"kind": kind, **offered[kind]}, *services], where)
        told = run(control, Batteries([200.0], [1e4]), [load_kw] * 6)
        lacking = told["lacking_kw" if kind == "frequency-regulation" else "reserve_lacking_kw"]
        assert told["head_kw"][1:].max() <= 100.0 + 1e-9
        assert_allclose(lacking[1:, 0], 20.0 - down_kw)


def test_what_reserve_deploys_is_no_response_to_regulation(tmp_path: Path) -> None:
    """A signal of 5 kW, and a call of 4 kW in hours 2 and 3: 9 kW are given, of which 5 answer the signal."""
    signal = written(tmp_path, "signal.csv", 3600.0, [0.5] * 6)
    regulation = {"kind": "frequency-regulation", "capacity_kw": 10, "signal": signal, "centre_soc_pu": None}
    reserve = {"kind": "reserve", "up_kw": 4, "up_calls": [{"begins_s": 2 * 3600, "lasts_s": 7200}]}
    control = plant([regulation, reserve], context({"b": 1}, tmp_path, 6))
    told = run(control, Batteries([30.0], [1e4]), [0.0] * 6)
    assert told["p_kw"][1:, 0].tolist() == pytest.approx([5.0, 9.0, 9.0, 5.0, 5.0])
    assert told["response_kw"][2:, 0].tolist() == pytest.approx([5.0] * 4)


def test_regulation_says_what_it_lacks_and_leads_stores_to_their_centre(tmp_path: Path) -> None:
    signal = written(tmp_path, "signal.csv", 3600.0, [0.0] * 6)
    regulation = {"kind": "frequency-regulation", "capacity_kw": 10, "signal": signal, "lean_pu": 0.1}
    control = plant([regulation], context({"b": 1}, tmp_path, 6))
    told = run(control, Batteries([6.0], [100.0], 0.75), [0.0] * 6)
    assert told["p_kw"][1, 0] == pytest.approx(0.5)  # half of 0.1 x 10 kW, as 0.25 is half of 0.5
    assert told["lacking_kw"][1, 0] == pytest.approx(10.0 - 5.5)  # 6 kW less the lean, upwards


def test_reserve_is_kept_from_other_services_and_deployed_on_call(tmp_path: Path) -> None:
    """10 kW, of which 4 are held for an hour: arbitrage sells 6 kW, a call in hour 3 makes it 10 kW."""
    price = written(tmp_path, "price.csv", 3600.0, [9.0] * 8)
    reserve = {"kind": "reserve", "up_kw": 4, "lasts_h": 1, "up_calls": [{"begins_s": 3 * 3600, "lasts_s": 3600}]}
    selling = {"kind": "arbitrage", "price": price, "method": "rule-based", "charge_below": 1, "discharge_above": 5}
    control = plant([reserve, selling], context({"b": 1}, tmp_path, 8), efficiency_pu=1.0)
    told = run(control, Batteries([10.0], [60.0]), REST)
    # of 30 kWh, 8 are left after the fourth hour: beyond the 4 that are held, 4 are sold
    assert told["p_kw"][:, 0].tolist() == [0.0, 6.0, 6.0, 10.0, 4.0, 0.0, 0.0, 0.0]
    assert told["reserve_deployed_kw"][:, 0].tolist() == [0.0, 0.0, 0.0, 4.0, 0.0, 0.0, 0.0, 0.0]


@pytest.mark.parametrize(("scheduled_kw", "lacking_kw"), [(0.0, 0.0), (6.0, 4.0), (-6.0, 4.0)])
def test_reserve_holds_what_an_earlier_service_leaves_of_each_way(
    scheduled_kw: float, lacking_kw: float, tmp_path: Path
) -> None:
    """Of 10 kW each way, giving or taking 6 kW leaves 4 kW on that side for a reserve of 8 kW."""
    schedule = {"kind": "schedule", "power": written(tmp_path, "power.csv", 3600.0, [scheduled_kw] * 4)}
    reserve = {"kind": "reserve", "up_kw": 8, "down_kw": 8}
    told = run(plant([schedule, reserve], context({"b": 1}, tmp_path, 4)), Batteries([10.0], [1e4]), [0.0] * 4)
    assert told["p_kw"][1:, 0].tolist() == pytest.approx([scheduled_kw] * 3)
    assert told["reserve_lacking_kw"][1:, 0].tolist() == pytest.approx([lacking_kw] * 3)


def test_an_empty_store_that_charges_holds_no_reserve(tmp_path: Path) -> None:
    """It could charge less, but has nothing that it could give."""
    services = [
        {"kind": "schedule", "power": written(tmp_path, "power.csv", 3600.0, [-6.0] * 4)},
        {"kind": "reserve", "up_kw": 8},
    ]
    control = plant(services, context({"b": 1}, tmp_path, 4))
    told = [control.step(k * 3600 * 10**9, Batteries([10.0], [20.0], 0.0).told()) for k in range(2)][-1]
    assert told["b.p_set_kw"].tolist() == [-6.0]
    assert told["reserve_lacking_kw"].tolist() == [8.0]


@pytest.mark.parametrize("kind", ["peak-shaving", "schedule", "demand-response"])
@pytest.mark.parametrize("shares", ["proportional", "longest-first"])
def test_energy_that_is_held_for_reserve_is_left_by_whatever_service(kind: str, shares: str, tmp_path: Path) -> None:
    """20 and 10 kWh stored, 4 kW held for 2 h: 22 kWh are left to others, who would have 6 kW for longer than that."""
    power = written(tmp_path, "plan.csv", 3600.0, [6.0] * 8)
    other = {
        "peak-shaving": {"limit_kw": 10, "margin_kw": 0, "recharges": False, "gain": 0},
        "schedule": {"power": power, "gain": 0},
        "demand-response": {
            "offered_kw": 6,
            "calls": [{"begins_s": 3600, "lasts_s": 36000}],
            "incentive_per_kwh": 1,
        },
    }
    services = [{"kind": "reserve", "up_kw": 4, "lasts_h": 2}, {"kind": kind, **other[kind]}]
    control = plant(services, context({"b": 2}, tmp_path, 8), efficiency_pu=1.0, shares=shares)
    batteries = Batteries([8.0, 8.0], [20.0, 10.0], 1.0)
    told = run(control, batteries, [16.0] * 8)
    assert batteries.stored_kwh.sum() == pytest.approx(8.0)
    assert told["reserve_lacking_kw"].max() == pytest.approx(0.0)


def test_a_call_of_reserve_is_answered_to_its_end_in_spite_of_losses(tmp_path: Path) -> None:
    """4 kW for 2 h take 8 / 0.9 kWh out of store, which arbitrage leaves; full, there is room for 8 * 0.9 kWh more."""
    price = written(tmp_path, "price.csv", 3600.0, [9.0] * 9)
    selling, buying = {"charge_below": 1, "discharge_above": 5}, {"charge_below": 10, "discharge_above": 11}
    for way, threshold, sign in (("up", selling, 1.0), ("down", buying, -1.0)):
        trading = {"kind": "arbitrage", "price": price, "method": "rule-based", **threshold}
        reserve = {"kind": "reserve", f"{way}_kw": 4, "lasts_h": 2}
        reserve[f"{way}_calls"] = [{"begins_s": 6 * 3600, "lasts_s": 7200}]
        control = plant([reserve, trading], context({"b": 1}, tmp_path, 9), efficiency_pu=0.9)
        told = run(control, Batteries([10.0], [40.0], efficiency=0.9), [0.0] * 8)
        assert told["reserve_lacking_kw"][:, 0].max() == pytest.approx(0.0, abs=1e-9)
        assert told["p_kw"][5:, 0].tolist() == pytest.approx([0.0, 4.0 * sign, 4.0 * sign], abs=1e-9)


@pytest.mark.parametrize(
    ("held", "planned_kw"),
    [({}, -10.0), ({"up_kw": 6}, -10.0), ({"down_kw": 6}, -4.0), ({"down_kw": 2, "lasts_h": 22.5}, -5.0)],
)
def test_a_plan_charges_with_what_is_not_held_to_draw_more(
    held: dict[str, Any], planned_kw: float, tmp_path: Path
) -> None:
    """10 kW and 100 kWh, half full, and one cheap hour: what is held to inject more takes nothing of it."""
    price = written(tmp_path, "price.csv", 3600.0, [9.0, 1.0, *[9.0] * 22])
    horizon = {"ahead_h": 24, "interval_s": 3600, "replan_s": 3600}
    buying = {"kind": "arbitrage", "price": price, "horizon": horizon, "worth_per_kwh": 0}
    reserve = [{"kind": "reserve", "lasts_h": 0, **held}] if held else []
    control = plant([*reserve, buying], context({"b": 1}, tmp_path, 24), efficiency_pu=1.0)
    told = run(control, Batteries([10.0], [100.0]), [0.0] * 2)
    assert told["planned_kw"][1, 0] == pytest.approx(planned_kw)
    assert told["p_kw"][1, 0] == pytest.approx(planned_kw)


@pytest.mark.parametrize("shares", ["proportional", "longest-first"])
def test_room_that_is_held_for_reserve_is_left_by_what_charges(shares: str, tmp_path: Path) -> None:
    """30 kWh when full, 15 stored, 4 kW to be drawn held for 2 h: 7 kWh are bought, and a call finds its 8."""
    price = written(tmp_path, "price.csv", 3600.0, [1.0] * 8)
    buying = {"kind": "arbitrage", "price": price, "method": "rule-based", "charge_below": 5, "discharge_above": 9}
    reserve = {"kind": "reserve", "down_kw": 4, "lasts_h": 2, "down_calls": [{"begins_s": 6 * 3600, "lasts_s": 7200}]}
    control = plant([reserve, buying], context({"b": 2}, tmp_path, 8), efficiency_pu=1.0, shares=shares)
    batteries = Batteries([8.0, 8.0], [20.0, 10.0], 0.5)
    told = run(control, batteries, REST)
    assert told["p_kw"][:6].sum() == pytest.approx(-7.0)
    assert told["reserve_lacking_kw"][:7].max() == pytest.approx(0.0)
    assert told["p_kw"][6].sum() == pytest.approx(-4.0)


@pytest.mark.parametrize(("way", "sign"), [("up", 1.0), ("down", -1.0)])
def test_in_half_an_hour_all_that_reserve_leaves_can_be_traded(way: str, sign: float, tmp_path: Path) -> None:
    """5 of 10 kWh, of which 4 kW for 1 h are held: 1 kWh is left, 2 kW for half an hour; of the room as much."""
    price = written(tmp_path, "price.csv", 1800.0, [5.0] * 4)
    thresholds = {"charge_below": 1, "discharge_above": 4} if way == "up" else {"charge_below": 6, "discharge_above": 9}
    trading = {"kind": "arbitrage", "price": price, "method": "rule-based", **thresholds}
    reserve = {"kind": "reserve", f"{way}_kw": 4, "lasts_h": 1}
    control = plant([reserve, trading], context({"b": 1}, tmp_path, 4, 1800.0), efficiency_pu=1.0)
    told = run(control, Batteries([10.0], [10.0], step_h=0.5), [0.0] * 4)
    assert told["p_kw"][:, 0].tolist() == pytest.approx([0.0, 2.0 * sign, 0.0, 0.0], abs=1e-9)


@pytest.mark.parametrize(("soc", "lacking_kw"), [(0.02, 8.0), (0.1, 0.0), (0.97, 7.0)])
def test_reserve_lacks_what_energy_does_not_last_for(soc: float, lacking_kw: float, tmp_path: Path) -> None:
    """10 kW each way for an hour, of 100 kWh: 2 kWh last for 2 kW, and room for 3 kWh for 3 kW. In a call that takes
    of the energy, what is given counts."""
    reserve = {"kind": "reserve", "up_kw": 10, "down_kw": 10, "lasts_h": 1}
    reserve |= {f"{way}_calls": [{"begins_s": 120, "lasts_s": 60}] for way in ("up", "down")}
    control = plant([reserve], context({"b": 1}, tmp_path, 60, 60.0), efficiency_pu=1.0)
    told = run(control, Batteries([10.0], [100.0], soc, step_h=1 / 60), [0.0] * 3)
    assert told["reserve_lacking_kw"][1:, 0].tolist() == pytest.approx([lacking_kw, 0.0])


def test_an_engine_holds_reserve_and_goes_on_the_longest(tmp_path: Path) -> None:
    """The first tells no state of charge. Both hold 4 kW; a need of 8 kW takes what it has left, 6 kW, first."""
    shaving = {"kind": "peak-shaving", "limit_kw": 100, "margin_kw": 0, "gain": 0, "hold_s": 0, "recharges": False}
    services = [{"kind": "reserve", "up_kw": 8, "lasts_h": 1}, shaving]
    control = plant(services, context({"b": 2}, tmp_path, 8), shares="longest-first")
    members = Batteries([10.0, 10.0], [20.0, 20.0]).told()
    members["b.soc_pu"][0] = members["b.stored_kwh"][0] = -1.0
    told = [
        control.step(k * 3600 * 10**9, {"grid.head_kw": np.array([108.0]), "grid.age_s": np.zeros(1), **members})
        for k in range(2)
    ][-1]
    assert told["reserve_lacking_kw"].tolist() == [0.0]
    assert told["b.p_set_kw"].tolist() == pytest.approx([6.0, 2.0])


def test_a_call_is_answered_and_paid_for_what_was_given(tmp_path: Path) -> None:
    """8 kW for 3 h, 20 kWh stored: 8, 8 and 4 kW. 20 kWh at 0.5, less 4 kWh that lacked at 0.25, is 9."""
    called = {"kind": "demand-response", "offered_kw": 8, "calls": [{"begins_s": 2 * 3600, "lasts_s": 3 * 3600}]}
    called |= {"incentive_per_kwh": 0.5, "penalty_per_kwh": 0.25}
    told = run(plant([called], context({"b": 1}, tmp_path, 8)), Batteries([10.0], [40.0]), REST)
    assert told["p_kw"][:, 0].tolist() == [0.0, 0.0, 8.0, 8.0, 4.0, 0.0, 0.0, 0.0]
    assert told["delivered_kwh"][-1, 0] == pytest.approx(20.0)
    assert told["paid"][-1, 0] == pytest.approx(9.0)


@pytest.mark.parametrize(
    ("powers_kw", "scheduled_kw", "delivered_kwh", "paid"),
    [([2.0, 4.0], None, 3.0, 1.25), ([10.0, 10.0], 10.0, 4.0, 2.0), ([10.0, 10.0], -5.0, 0.0, -1.0)],
)
def test_a_call_is_paid_for_what_all_give_and_no_more_than_is_called(
    powers_kw: list[float], scheduled_kw: float | None, delivered_kwh: float, paid: float, tmp_path: Path
) -> None:
    """8 kW for two quarters are 4 kWh. 6 kW that there are: 3 kWh, 1.5 less 0.25. 10 kW that an earlier service gives
    are no more than 8, and 5 kW that it draws are none: 1 is owed."""
    called = {"kind": "demand-response", "offered_kw": 8, "calls": [{"begins_s": 900, "lasts_s": 1800}]}
    services: list[dict[str, Any]] = [{**called, "incentive_per_kwh": 0.5, "penalty_per_kwh": 0.25}]
    if scheduled_kw is not None:
        power = written(tmp_path, "plan.csv", 900.0, [scheduled_kw] * 5)
        services.insert(0, {"kind": "schedule", "power": power, "gain": 0})
    batteries = Batteries(powers_kw, [40.0, 40.0], step_h=0.25)
    told = run(plant(services, context({"b": 2}, tmp_path, 5, 900.0)), batteries, [0.0] * 5)
    assert told["delivered_kwh"][-1, 0] == pytest.approx(delivered_kwh)
    assert told["paid"][-1, 0] == pytest.approx(paid)


@pytest.mark.parametrize(
    ("kind", "key"), [("demand-response", "calls"), ("reserve", "up_calls"), ("reserve", "down_calls")]
)
def test_a_call_that_no_step_sees_is_refused(kind: str, key: str, tmp_path: Path) -> None:
    other = {"reserve": {"up_kw": 1, "down_kw": 1}, "demand-response": {"offered_kw": 8, "incentive_per_kwh": 1}}[kind]
    for begins_s, lasts_s, is_seen in ((9000, 1800, False), (9000, 1801, True), (7200, 1, True)):
        calls = {key: [{"begins_s": begins_s, "lasts_s": lasts_s}]}
        if is_seen:
            plant([{"kind": kind, **other, **calls}], context({"b": 1}, tmp_path, 8))
            continue
        with pytest.raises(PlaceError, match="falls between two instants of the plant, whose step is 3600 s") as error:
            plant([{"kind": kind, **other, **calls}], context({"b": 1}, tmp_path, 8))
        assert error.value.problems[0][0] == ("services", 0, key, 0)


def test_calls_of_parts_of_a_second_end_when_they_say_and_may_follow_each_other(tmp_path: Path) -> None:
    """0.1 and 0.2 are a little more than 0.3 where they are added up as they stand."""
    calls = [{"begins_s": 0.1, "lasts_s": 0.2}, {"begins_s": 0.3, "lasts_s": 0.1, "share_pu": 0.5}]
    called = {"kind": "demand-response", "offered_kw": 8, "calls": calls, "incentive_per_kwh": 0.5}
    control = plant([called], context({"b": 1}, tmp_path, 10, 0.1))
    told = run(control, Batteries([10.0], [40.0]), [0.0] * 6)
    assert told["called_kw"][:, 0].tolist() == [0.0, 8.0, 8.0, 4.0, 0.0, 0.0]


def test_members_charge_before_a_call_if_they_prepare(tmp_path: Path) -> None:
    called = {"kind": "demand-response", "offered_kw": 8, "calls": [{"begins_s": 4 * 3600, "lasts_s": 3600}]}
    told = run(
        plant([{**called, "incentive_per_kwh": 1, "prepares_h": 2}], context({"b": 1}, tmp_path, 8)),
        Batteries([10.0], [40.0], 0.25),
        REST,
    )
    assert told["p_kw"][:, 0].tolist() == [0.0, 0.0, -10.0, -10.0, 8.0, 0.0, 0.0, 0.0]


def test_a_load_of_before_a_silence_is_held_no_longer_than_hold_s(tmp_path: Path) -> None:
    """Over 60 kW until the second hour, held for one; nothing is heard from the third on, and 10 kW in the last."""
    shaving = {"kind": "peak-shaving", "limit_kw": 60, "margin_kw": 0, "hold_s": 3600, "recharges": False}
    control, batteries = plant([shaving], context({"b": 1}, tmp_path)), Batteries([100.0], [1e4])
    given = []
    for k, (load_kw, age_s) in enumerate([(50, 0), (100, 0), (100, 0), (10, 4e3), (10, 4e3), (10, 0), (70, 0)]):
        seen = {"grid.head_kw": np.array([load_kw]) - batteries.p_kw, "grid.age_s": np.array([age_s])}
        batteries.hold(control.step(k * 3600 * 10**9, seen | batteries.told())["b.p_set_kw"])
        given.append(float(batteries.p_kw[0]))
    assert given == pytest.approx([0.0, 40.0, 40.0, 0.0, 0.0, 0.0, 10.0])


def test_each_site_is_kept_under_its_own_limit(tmp_path: Path) -> None:
    """Limits 50 and 20 kW; loads 60 and 10 kW, then 40 and 30 kW; no margin."""
    sites = {"kind": "site-peak-shaving", "member": "b", "draws": ["shops.p_kw"], "limit_kw": [50, 20], "margin_pu": 0}
    control = plant([{**sites, "recharge_below_pu": 0.75}], context({"b": 2}, tmp_path, 8), members=["b"])
    batteries = Batteries([20.0, 20.0], [1e3, 1e3])
    batteries_asked = []
    for k, load in enumerate([[0.0, 0.0], [60.0, 10.0], [40.0, 30.0]]):
        heard = {"shops.p_kw": np.array(load), "shops.age_s": np.zeros(2)}
        asked = control.step(k * 3600 * 10**9, {**heard, **batteries.told()})["b.p_set_kw"]
        batteries_asked.append(asked.tolist())
    assert batteries_asked[1] == [10.0, -5.0]  # recharges up to 15 kW
    assert batteries_asked[2] == [0.0, 10.0]


@pytest.mark.parametrize("recharges", [True, False])
def test_sites_take_back_nothing_of_what_earlier_services_have(recharges: bool, tmp_path: Path) -> None:
    """8 kW called: site 0 would recharge with all it has. 3 kW scheduled: site 1 is 6 kW above its limit."""
    heard = {"shops.p_kw": np.array([5.0, 56.0]), "shops.age_s": np.zeros(2)}
    sites = {"kind": "site-peak-shaving", "member": "b", "draws": ["shops.p_kw"], "limit_kw": 50, "margin_pu": 0}
    called = {"kind": "demand-response", "offered_kw": 8, "calls": [{"begins_s": 0, "lasts_s": 9999}]}
    schedule = {"kind": "schedule", "power": written(tmp_path, "plan.csv", 3600.0, [3.0] * 8), "gain": 0}
    first = {**called, "incentive_per_kwh": 1} if recharges else schedule
    control = plant([first, {**sites, "recharges": recharges}], context({"b": 2}, tmp_path, 8), members=["b"])
    for k in range(2):
        asked = control.step(k * 3600 * 10**9, {**heard, **Batteries([20.0, 20.0], [1e3, 1e3]).told()})["b.p_set_kw"]
    assert asked.sum() == pytest.approx(8.0 if recharges else 3.0)
    assert asked[1] > asked[0]


@pytest.mark.parametrize(
    ("draws", "injects", "why"),
    [
        (["shops.p_kw", "shops.p_kw"], [], "a power is named twice in draws and injects"),
        (["shops.p_kw"], ["roofs.p_kw", "shops.p_kw"], "a power is named twice in draws and injects"),
        (["shops.p_kw"], ["roofs.p_kw", "b.p_kw"], "b.p_kw is what shaves: sites draw and inject without it"),
    ],
)
def test_what_a_site_draws_counts_once_and_without_its_device(draws: list[str], injects: list[str], why: str) -> None:
    said = {"kind": "site-peak-shaving", "member": "b", "draws": draws, "injects": injects, "limit_kw": 50}
    with pytest.raises(ValueError, match=re.escape(why)):
        VppSettings.model_validate({"members": ["b"], "services": [said]})


def test_sites_of_which_nothing_is_heard_are_asked_for_nothing(tmp_path: Path) -> None:
    sites = {"kind": "site-peak-shaving", "member": "b", "draws": ["shops.p_kw"], "limit_kw": 50}
    control = plant([sites], context({"b": 2}, tmp_path, 8), members=["b"])
    asked = []
    for k, age_s in enumerate([0.0, 0.0, 301.0]):
        heard = {"shops.p_kw": np.array([60.0, 60.0]), "shops.age_s": np.array([0.0, age_s])}
        told = control.step(k * 3600 * 10**9, {**heard, **Batteries([20.0, 20.0], [1e3, 1e3]).told()})
        asked.append(told["b.p_set_kw"].tolist())
    assert asked == [[0.0, 0.0], [11.0, 11.0], [0.0, 0.0]]  # aims at 49 kW


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"margin_kw": 100, "recharges": False}, "margin_kw 100 must be less than limit_kw 100"),
        ({"reserve_soc_pu": 0.9, "recharge_to_soc_pu": 0.5}, "reserve_soc_pu 0.9 must be less than recharge_to_soc_pu"),
        ({"recharges": False, "recharge_below_kw": 50}, "recharges is false"),
    ],
)
def test_peak_shaving_that_contradicts_itself_is_refused(said: dict[str, Any], why: str, tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match=why):
        plant([{"kind": "peak-shaving", "limit_kw": 100, **said}], context({"b": 1}, tmp_path))


def test_peak_shaving_goes_before_arbitrage_and_takes_back_nothing(tmp_path: Path) -> None:
    """Energy is cheap, so arbitrage charges with all it has, 20 kW; but what the feeder may draw leaves 5 kW."""
    price = written(tmp_path, "price.csv", 3600.0, [1.0] * 8)
    shaving = {"kind": "peak-shaving", "limit_kw": 100, "recharges": False, "margin_kw": 0, "gain": 0, "hold_s": 0}
    buying = {"kind": "arbitrage", "price": price, "method": "rule-based", "charge_below": 5, "discharge_above": 9}
    control = plant([shaving, buying], context({"b": 1}, tmp_path, 8))
    told = run(control, Batteries([20.0], [1e3]), [50.0, 50.0, 95.0, 95.0, 110.0, 110.0, 50.0, 50.0])
    assert told["p_kw"][:, 0].tolist() == [0.0, -20.0, -20.0, -5.0, -5.0, 10.0, 10.0, -20.0]


@pytest.mark.parametrize(
    ("pair", "why"),
    [
        (("peak-shaving", "arbitrage"), r"when members charge; set recharges to false in service 0 \(peak-shaving\)"),
        (("schedule", "arbitrage"), "the power of all members"),
        (("schedule", "peak-shaving"), "the power of all members"),
        (("reserve", "reserve"), "one of a kind"),
    ],
)
def test_services_that_contradict_each_other_are_refused(pair: tuple[str, str], why: str, tmp_path: Path) -> None:
    column = written(tmp_path, "x.csv", 3600.0, [0.0] * 24)
    known: dict[str, dict[str, Any]] = {
        "peak-shaving": {"limit_kw": 100},
        "arbitrage": {"price": column},
        "schedule": {"power": column},
        "reserve": {"up_kw": 1},
    }
    with pytest.raises(ValidationError, match=f"services 0 and 1 contradict each other: both decide on .*{why}"):
        plant([{"kind": kind, **known[kind]} for kind in pair], context({"b": 1}, tmp_path))


def test_a_horizon_longer_than_the_prices_is_refused(tmp_path: Path) -> None:
    price = written(tmp_path, "price.csv", 3600.0, [1.0] * 24)
    with pytest.raises(PlaceError, match="looks 25 h ahead is longer than the forecast") as e:
        plant([{"kind": "arbitrage", "price": price, "horizon": {"ahead_h": 25}}], context({"b": 1}, tmp_path))
    assert e.value.problems[0][0] == ("services", 0, "horizon", "ahead_h")


def test_a_service_that_would_do_nothing_is_refused(tmp_path: Path) -> None:
    where = context({"b": 1}, tmp_path)
    calls = [{"begins_s": 0, "lasts_s": 60}]
    price = written(tmp_path, "price.csv", 3600.0, [1.0] * 24)
    for service, why in (
        ({"kind": "reserve"}, "nothing would be held"),
        ({"kind": "reserve", "down_kw": 1, "up_calls": calls}, "up_calls call what is not held"),
        (
            {"kind": "demand-response", "offered_kw": 1, "calls": calls, "incentive_per_kwh": 0.1, "cost_per_kwh": 0.2},
            "no call would be answered",
        ),
        ({"kind": "peak-shaving"}, "needs one of limit_kw and forecast"),
        (
            {"kind": "arbitrage", "price": price, "horizon": {"ahead_h": 2, "replan_s": 7201}},
            "replan_s 7201 is longer than ahead_h 2: between two plans there would be none",
        ),
        (
            {"kind": "arbitrage", "price": price, "charge_below": 1, "discharge_above": 2},
            "what method 'rule-based' need",
        ),
        ({"kind": "arbitrage", "price": price, "method": "rule-based", "charge_below": 1}, "'rule-based' needs"),
        (
            {"kind": "site-peak-shaving", "member": "b", "draws": ["a.p_kw"], "limit_kw": 9, "recharge_below_pu": 0.99},
            "recharge_below_pu makes a new peak",
        ),
    ):
        with pytest.raises(ValidationError, match=why):
            plant([service], where)


def test_a_penalty_that_is_spared_covers_the_cost_of_a_call(tmp_path: Path) -> None:
    called = {"kind": "demand-response", "offered_kw": 1, "calls": [{"begins_s": 0, "lasts_s": 60}]}
    called |= {"incentive_per_kwh": 0.25, "penalty_per_kwh": 0.25}
    plant([{**called, "cost_per_kwh": 0.4}], context({"b": 1}, tmp_path))
    with pytest.raises(ValidationError, match=r"do not cover cost_per_kwh 0\.5"):
        plant([{**called, "cost_per_kwh": 0.5}], context({"b": 1}, tmp_path))


@pytest.mark.parametrize("beyond", [-1.25, 1.25])
def test_a_signal_beyond_what_is_offered_is_refused(beyond: float, tmp_path: Path) -> None:
    signal = written(tmp_path, "signal.csv", 3600.0, [0.0, beyond, 0.0])
    regulation = {"kind": "frequency-regulation", "capacity_kw": 5, "signal": signal}
    with pytest.raises(PlaceError, match="a regulation signal is between -1 and 1, and this one goes from"):
        plant([regulation], context({"b": 1}, tmp_path, 3))


def test_errors_of_a_forecast_are_those_that_were_asked_for_its_own_and_the_same_in_every_run(tmp_path: Path) -> None:
    """sigma 0.2 of a level of 10, a day ahead: a standard deviation of 2 after 24 h, and of 1 after 6 h."""
    from federates.control.vpp.forecast import Forecast, ForecastColumn
    from federates.control.vpp.members import Fleets
    from federates.control.vpp.service import Stand

    where = context({"b": 1}, tmp_path, 24 * 60)
    column = ForecastColumn(**written(tmp_path, "load.csv", 3600.0, [10.0] * 24 * 60), sigma_pu=0.2)
    forecast = Forecast(column, (), Stand(where, where.step_ns, Fleets(["b"], [], 300.0, where, 1.0, 1.0), ()))
    made = np.arange(0, 30 * 24) * 3600 * 10**9
    leads = np.arange(1, 25) * 3600 * 10**9
    errors = np.array([forecast.over(now + leads, int(now)) for now in made]) - 10.0
    assert errors[:, 23].std() == pytest.approx(2.0, rel=0.1)
    assert errors[:, 5].std() == pytest.approx(1.0, rel=0.1)
    assert abs(errors[:, 23].mean()) < 0.25
    other = ForecastColumn(**written(tmp_path, "price.csv", 3600.0, [10.0] * 24 * 60), sigma_pu=0.2)
    another = Forecast(other, (), Stand(where, where.step_ns, Fleets(["b"], [], 300.0, where, 1.0, 1.0), ()))
    unlike = np.array([another.over(now + leads, int(now)) for now in made]) - 10.0
    assert abs(np.corrcoef(errors[:, 23], unlike[:, 23])[0, 1]) < 0.15
    assert_allclose(forecast.over(leads, 0), forecast.over(leads, 0), rtol=0)
