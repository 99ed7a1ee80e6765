"""Bills against examples that are computed by hand, one for each feature of a tariff. Intervals of an hour."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from billing import FLAT, HOUR_NS, MIDNIGHT, billed, line, tariff, total

from federates.market.bill import bills
from federates.market.schedule import Run, make_schedule
from federates.market.usage import metered

PEAK = {"name": "peak", "price_per_kwh": 0.5, "hours": [{"days": "weekdays", "from_h": 16, "to_h": 21}]}
REST = {
    "name": "rest",
    "price_per_kwh": 0.1,
    "hours": [
        {"days": "weekdays", "from_h": 0, "to_h": 16},
        {"days": "weekdays", "from_h": 21, "to_h": 24},
        {"days": "weekends"},
    ],
}
TIME_OF_USE = {"periods": [PEAK, REST]}
JUNE_30 = datetime.fromisoformat("2025-06-30T00:00:00-07:00")


def test_time_of_use_prices_each_hour_by_the_clock() -> None:
    # Tuesday, 2 kW all day: 5 h x 2 kW x 0.5 + 19 h x 2 kW x 0.1 = 5 + 3.8
    (bill,) = billed(tariff(**TIME_OF_USE), [2.0] * 24)
    assert line(bill, "peak") == pytest.approx((10.0, 5.0))
    assert line(bill, "rest") == pytest.approx((38.0, 3.8))
    assert bill.total[0] == pytest.approx(8.8)


def test_hours_are_those_of_each_day() -> None:
    # Tuesday and Wednesday, 2 kW: twice 10 kWh x 0.5 and 38 kWh x 0.1
    (bill,) = billed(tariff(**TIME_OF_USE), [2.0] * 48)
    assert (line(bill, "peak"), line(bill, "rest")) == (pytest.approx((20.0, 10.0)), pytest.approx((76.0, 7.6)))


@pytest.mark.parametrize("day", ["2025-07-19", "2025-07-20", "2025-07-04"])
def test_weekends_and_holidays_have_no_peak(day: str) -> None:
    # a Saturday, a Sunday, and a Friday that is a holiday: 48 kWh x 0.1
    of = tariff(**TIME_OF_USE, holidays=["2025-07-04"])
    (bill,) = billed(of, [2.0] * 24, start=datetime.fromisoformat(f"{day}T00:00:00-07:00"))
    assert bill.total[0] == pytest.approx(4.8)


def test_seasons_change_the_price_at_midnight_of_their_first_day() -> None:
    # 31 May 1 kW at 0.1, 1 June 1 kW at 0.3: 24 x 0.1 and 24 x 0.3, in the bills of two months
    seasons = [
        {"name": "summer", "first": "06-01", "last": "09-30"},
        {"name": "winter", "first": "10-01", "last": "05-31"},
    ]
    periods = [
        {"name": "cheap", "price_per_kwh": 0.1, "seasons": ["winter"]},
        {"name": "dear", "price_per_kwh": 0.3, "seasons": ["summer"]},
    ]
    start = datetime.fromisoformat("2025-05-31T00:00:00-07:00")
    may, june = billed(tariff(seasons=seasons, periods=periods), [1.0] * 48, start=start)
    assert (may.period, june.period) == ("2025-05", "2025-06")
    assert (may.total[0], june.total[0]) == pytest.approx((2.4, 7.2))


def test_a_season_may_be_a_day_and_another_go_over_new_year() -> None:
    # 24 December 24 kWh at 0.1, 25 December at 0.5, 26 December and 1 January at 0.1
    seasons = [
        {"name": "holiday", "first": "12-25", "last": "12-25"},
        {"name": "rest", "first": "12-26", "last": "12-24"},
    ]
    periods = [
        {"name": "dear", "price_per_kwh": 0.5, "seasons": ["holiday"]},
        {"name": "cheap", "price_per_kwh": 0.1, "seasons": ["rest"]},
    ]
    of = tariff(seasons=seasons, periods=periods)
    (december,) = billed(of, [1.0] * 72, start=datetime.fromisoformat("2025-12-24T00:00:00-08:00"))
    assert (line(december, "dear"), line(december, "cheap")) == (pytest.approx((24, 12)), pytest.approx((48, 4.8)))
    (january,) = billed(of, [1.0] * 24, start=datetime.fromisoformat("2026-01-01T00:00:00-08:00"))
    assert january.total[0] == pytest.approx(2.4)


def test_tiers_price_what_is_drawn_beyond_them() -> None:
    # 48 kWh: 30 at 0.1, 10 at 0.2, 8 at 0.4 = 3 + 2 + 3.2
    steps = [
        {"up_to_kwh": 30, "price_per_kwh": 0.1},
        {"up_to_kwh": 40, "price_per_kwh": 0.2},
        {"price_per_kwh": 0.4},
    ]
    (bill,) = billed(tariff(tiers={"steps": steps}), [2.0] * 24)
    assert [line(bill, f"tier {n}")[0] for n in (1, 2, 3)] == pytest.approx([30.0, 10.0, 8.0])
    assert bill.total[0] == pytest.approx(8.2)


def test_tiers_by_the_day_grow_with_the_days_of_the_billing_period() -> None:
    # three days, 72 kWh: 3 x 10 kWh at 0, 42 kWh at 0.1; beside the 72 kWh at 0.2: 14.4 + 4.2
    steps = [{"up_to_kwh": 10, "price_per_kwh": 0.0}, {"price_per_kwh": 0.1}]
    (bill,) = billed(tariff(**FLAT, tiers={"per": "day", "steps": steps}), [1.0] * 72)
    assert bill.total[0] == pytest.approx(18.6)


def test_tiers_begin_anew_with_each_billing_period() -> None:
    # 30 June and 1 July, 24 kWh each: each 20 at 0.1 and 4 at 0.5 = 4
    steps = [{"up_to_kwh": 20, "price_per_kwh": 0.1}, {"price_per_kwh": 0.5}]
    made = billed(tariff(tiers={"steps": steps}), [1.0] * 48, start=JUNE_30)
    assert [float(bill.total[0]) for bill in made] == pytest.approx([4.0, 4.0])


def test_demand_charges_take_the_highest_mean_of_their_own_hours() -> None:
    # 9 kW at 8 h, 7 kW at 17 h, else 1 kW: any time 9 kW x 6, on-peak 7 kW x 14 = 54 + 98
    demand = [
        {"name": "any time", "per_kw": 6},
        {"name": "on-peak", "per_kw": 14, "hours": [{"days": "weekdays", "from_h": 16, "to_h": 21}]},
    ]
    load = [1.0] * 24
    load[8], load[17] = 9.0, 7.0
    (bill,) = billed(tariff(**FLAT, demand=demand), load)
    assert line(bill, "any time") == pytest.approx((9.0, 54.0))
    assert line(bill, "on-peak") == pytest.approx((7.0, 98.0))
    assert bill.of("demand")[0] == pytest.approx(152.0)


def test_demand_is_the_mean_power_of_its_interval_whatever_that_lasts() -> None:
    # quarters of an hour with 2, 2, 8 and 2 kW: 8 kW x 3
    of = tariff(**FLAT, interval_s=900, demand=[{"name": "any time", "per_kw": 3}])
    energy = metered(np.array([[0.5], [0.5], [2.0], [0.5]]), np.zeros((4, 1)), of.is_gross)
    (bill,) = bills(of, make_schedule(of, Run(MIDNIGHT, HOUR_NS)), energy)
    assert line(bill, "any time") == pytest.approx((8.0, 24.0))
    assert line(bill, "energy") == pytest.approx((3.5, 0.7))


def test_a_ratchet_bills_a_share_of_the_highest_demand_before() -> None:
    # June 10 kW; July 3 kW, of which 80 % of 10 = 8 kW is billed at 5: 50 and 40
    demand = [{"name": "any time", "per_kw": 5, "ratchet_pu": 0.8}]
    june, july = billed(tariff(**FLAT, demand=demand), [10.0] * 24 + [3.0] * 24, start=JUNE_30)
    assert line(june, "any time") == pytest.approx((10.0, 50.0))
    assert line(july, "any time") == pytest.approx((8.0, 40.0))


def test_fixed_charges_count_days_and_the_share_of_the_month() -> None:
    # 15 and 16 July: 2 x 0.5 + 12 x 2/31
    (bill,) = billed(tariff(**FLAT, fixed={"per_day": 0.5, "per_month": 12}), [0.0] * 48)
    assert bill.of("fixed")[0] == pytest.approx(1.0 + 12.0 * 2.0 / 31.0)


def test_a_run_that_ends_within_a_metering_interval_has_no_more_of_a_day_than_its_time() -> None:
    # 1.5 h are two intervals of an hour, of which the second counts half
    made = make_schedule(tariff(**FLAT), Run(JUNE_30, 5400 * 10**9))
    assert (made.days * 24.0).tolist() == pytest.approx([1.0, 0.5])


@pytest.mark.parametrize(("day", "hours"), [("2025-03-09", 23), ("2025-11-02", 25)])
def test_a_day_on_which_the_clock_is_set_is_one_day(day: str, hours: int) -> None:
    start = datetime.fromisoformat(day).replace(tzinfo=ZoneInfo("America/Los_Angeles"))
    (bill,) = billed(tariff(**FLAT, fixed={"per_day": 1}), [1.0] * hours, start=start)
    assert bill.of("fixed")[0] == pytest.approx(1.0)
    assert bill.of("energy")[0] == pytest.approx(0.2 * hours)


def test_net_metering_takes_what_is_injected_off_what_is_drawn() -> None:
    # drawn 12 x 1 kWh, injected 12 x 0.5 kWh: 6 kWh at 0.2
    export = {"kind": "net-metering"}
    (bill,) = billed(tariff(**FLAT, export=export), [1.0] * 12 + [0.0] * 12, [0.0] * 12 + [0.5] * 12)
    assert line(bill, "energy") == pytest.approx((6.0, 1.2))
    assert bill.total[0] == pytest.approx(1.2)


def test_net_metering_nets_within_each_period_alone() -> None:
    # peak: 5 kWh drawn at 0.5. Rest: 19 h injecting 1 kWh, which leaves the peak alone: paid at 0.03
    export = {"kind": "net-metering", "surplus_per_kwh": 0.03}
    is_peak = [16 <= hour < 21 for hour in range(24)]
    load, der = [float(peak) for peak in is_peak], [float(not peak) for peak in is_peak]
    (bill,) = billed(tariff(**TIME_OF_USE, export=export), load, der)
    assert bill.total[0] == pytest.approx(5 * 0.5 - 19 * 0.03)


def test_net_metering_without_carry_over_pays_the_surplus_of_each_month() -> None:
    # June injects 24 kWh, July draws 30: -24 x 0.05 and 30 x 0.2
    export = {"kind": "net-metering", "surplus_per_kwh": 0.05}
    made = billed(tariff(**FLAT, export=export), [0.0] * 24 + [1.25] * 24, [1.0] * 24 + [0.0] * 24, start=JUNE_30)
    assert [float(bill.total[0]) for bill in made] == pytest.approx([-1.2, 6.0])


def test_net_metering_with_carry_over_takes_the_surplus_off_the_next_month() -> None:
    # June injects 24 kWh; of July's 30 kWh 6 are billed: 0 and 1.2
    export = {"kind": "net-metering", "carry_over": True, "surplus_per_kwh": 0.05}
    made = billed(tariff(**FLAT, export=export), [0.0] * 24 + [1.25] * 24, [1.0] * 24 + [0.0] * 24, start=JUNE_30)
    assert [float(bill.total[0]) for bill in made] == pytest.approx([0.0, 1.2])


def test_what_is_still_carried_at_the_end_is_paid() -> None:
    # June injects 24 kWh, July draws 10: 14 kWh x 0.05
    export = {"kind": "net-metering", "carry_over": True, "surplus_per_kwh": 0.05}
    load, der = [0.0] * 24 + [1.0] * 10 + [0.0] * 14, [1.0] * 24 + [0.0] * 24
    assert total(billed(tariff(**FLAT, export=export), load, der, start=JUNE_30)) == pytest.approx(-0.7)


def test_net_billing_pays_injected_energy_at_its_own_price() -> None:
    # 12 kWh drawn at 0.2, 6 kWh injected at 0.07
    export = {"kind": "net-billing", "price_per_kwh": 0.07}
    (bill,) = billed(tariff(**FLAT, export=export), [1.0] * 12 + [0.0] * 12, [0.0] * 12 + [0.5] * 12)
    assert bill.total[0] == pytest.approx(12 * 0.2 - 6 * 0.07)


def test_net_billing_can_pay_a_share_of_the_price_of_the_time() -> None:
    # 5 kWh injected in the peak at half of 0.5
    export = {"kind": "net-billing", "share_of_price_pu": 0.5}
    der = [1.0 if 16 <= hour < 21 else 0.0 for hour in range(24)]
    assert total(billed(tariff(**TIME_OF_USE, export=export), [0.0] * 24, der)) == pytest.approx(-1.25)


def test_a_feed_in_tariff_pays_the_surplus() -> None:
    # 24 h of 1 kW, 12 h of 3 kW: 12 kWh drawn at 0.2, 24 kWh injected at 0.08
    export = {"kind": "feed-in", "price_per_kwh": 0.08}
    made = billed(tariff(**FLAT, export=export), [1.0] * 24, [0.0] * 12 + [3.0] * 12)
    assert total(made) == pytest.approx(12 * 0.2 - 24 * 0.08)


def test_a_feed_in_tariff_of_generation_buys_all_and_sells_all() -> None:
    # the same: 24 kWh drawn at 0.2, 36 kWh generated at 0.08
    export = {"kind": "feed-in", "price_per_kwh": 0.08, "of": "generation"}
    made = billed(tariff(**FLAT, export=export), [1.0] * 24, [0.0] * 12 + [3.0] * 12)
    assert total(made) == pytest.approx(24 * 0.2 - 36 * 0.08)


def test_nothing_is_paid_where_nothing_is_said() -> None:
    assert total(billed(tariff(), [0.0] * 24, [1.0] * 24)) == 0.0


def test_real_time_prices_hold_for_each_interval_beside_others() -> None:
    # 2 kWh each hour at 0.2 and 0.01 x hour: 48 x 0.2 + 2 x 0.01 x 276
    real_time = {"file": "prices.csv", "column": "price"}
    prices = [0.01 * hour for hour in range(24)]
    (bill,) = billed(tariff(**FLAT, real_time=real_time), [2.0] * 24, real_time=prices)
    assert line(bill, "real-time prices")[1] == pytest.approx(2 * 0.01 * 276)
    assert bill.total[0] == pytest.approx(9.6 + 5.52)
