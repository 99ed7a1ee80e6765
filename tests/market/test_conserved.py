"""What holds of every bill, whatever is drawn."""

from __future__ import annotations

from datetime import datetime

import numpy as np
import pytest
from billing import FLAT, MIDNIGHT, billed, schedule, tariff, total
from hypothesis import given, settings
from hypothesis import strategies as st

from derloop.contract import FloatArray
from federates.market.account import Counter
from federates.market.bill import bills
from federates.market.tariff import Tariff
from federates.market.usage import Energy, metered, usage

POWERS = st.lists(st.floats(-50.0, 50.0).map(lambda p: round(p, 3)), min_size=48, max_size=48)
JUNE_30 = datetime.fromisoformat("2025-06-30T00:00:00-07:00")
PERIODS = [
    {"name": "day", "price_per_kwh": 0.3, "hours": [{"from_h": 7, "to_h": 22}]},
    {"name": "night", "price_per_kwh": 0.1, "hours": [{"from_h": 0, "to_h": 7}, {"from_h": 22, "to_h": 24}]},
]
STEPS = [{"up_to_kwh": 100, "price_per_kwh": 0.0}, {"up_to_kwh": 300, "price_per_kwh": 0.1}, {"price_per_kwh": 0.2}]
DEMAND = [{"name": "any time", "per_kw": 5, "ratchet_pu": 0.5}]


def _split(der_kw: list[float]) -> tuple[FloatArray, FloatArray]:
    net = np.array(der_kw)[:, None]
    return np.maximum(net, 0.0), np.maximum(-net, 0.0)


@settings(max_examples=25, deadline=None)
@given(POWERS, st.integers(1, 23))
def test_a_period_that_is_cut_in_two_costs_the_same(powers: list[float], cut: int) -> None:
    halves = [
        {"name": "before", "price_per_kwh": 0.2, "hours": [{"from_h": 0, "to_h": cut}]},
        {"name": "after", "price_per_kwh": 0.2, "hours": [{"from_h": cut, "to_h": 24}]},
    ]
    loads = [abs(p) for p in powers]
    assert total(billed(tariff(periods=halves), loads)) == pytest.approx(total(billed(tariff(), loads)), abs=1e-9)


@settings(max_examples=25, deadline=None)
@given(POWERS, st.integers(1, 47))
def test_usage_adds_up_wherever_time_is_cut(powers: list[float], cut: int) -> None:
    of = tariff(periods=PERIODS, demand=DEMAND)
    hourly = schedule(of, 48)
    imported, exported = _split(powers)
    parts = [usage(hourly, slice(a, b), Energy(imported[a:b], exported[a:b]), 2) for a, b in ((0, cut), (cut, 48))]
    whole = usage(hourly, slice(0, 48), Energy(imported, exported), 2)
    for one, other in zip(parts[0].plus(parts[1]), whole, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-9)


@settings(max_examples=25, deadline=None)
@given(POWERS, st.booleans())
def test_net_metering_conserves_energy(powers: list[float], carry_over: bool) -> None:
    export = {"kind": "net-metering", "carry_over": carry_over, "surplus_per_kwh": 0.03}
    made = billed(tariff(periods=PERIODS, export=export), powers, start=JUNE_30)
    names = ("day", "night")
    taken = sum(float(line.quantity[0]) for bill in made for line in bill.lines if line.name in names)
    paid = sum(float(line.quantity[0]) for bill in made for line in bill.lines if line.group == "export")
    assert taken - paid == pytest.approx(sum(powers), abs=1e-6)


@settings(max_examples=25, deadline=None)
@given(POWERS)
def test_carry_over_never_costs_more(powers: list[float]) -> None:
    def bill(carry_over: bool) -> float:
        export = {"kind": "net-metering", "carry_over": carry_over, "surplus_per_kwh": 0.03}
        return total(billed(tariff(periods=PERIODS, export=export), powers, start=JUNE_30))

    assert bill(True) <= bill(False) + 1e-9


def _counted(of: Tariff, load_kw: FloatArray, der_kw: FloatArray, start: datetime) -> float:
    """Return what is owed in the end, counted in steps of a quarter of an hour."""
    counter = Counter(of, schedule(of, len(load_kw), start), 1)
    account = counter.empty
    for step in range(4 * len(load_kw)):
        hour = step // 4
        account = counter.add(account, hour, load_kw[hour : hour + 1] / 4.0, der_kw[hour : hour + 1] / 4.0)
    return float(counter.owed(account)[0][0])


EXPORTS = [
    {"kind": "none"},
    {"kind": "net-metering", "carry_over": True, "surplus_per_kwh": 0.03},
    {"kind": "net-billing", "price_per_kwh": 0.05},
    {"kind": "feed-in", "price_per_kwh": 0.08, "of": "generation"},
]


@pytest.mark.parametrize("export", EXPORTS, ids=lambda export: str(export["kind"]))
def test_bills_while_a_run_goes_on_come_to_those_after_it(export: dict[str, object]) -> None:
    of = tariff(
        periods=PERIODS, tiers={"steps": STEPS}, demand=DEMAND, fixed={"per_day": 1, "per_month": 9}, export=export
    )
    rng = np.random.default_rng(7)
    load_kw, der_kw = rng.uniform(0, 30, 48), rng.uniform(-10, 40, 48)
    after = bills(of, schedule(of, 48, JUNE_30), metered(load_kw[:, None], der_kw[:, None], of.is_gross))
    assert _counted(of, load_kw, der_kw, JUNE_30) == pytest.approx(total(after), rel=1e-12)


def test_prices_of_a_market_are_added_up_while_a_run_goes_on() -> None:
    # an interval that is over, 2 kWh at 0.1, and one that goes on, 3 kWh at 0.4
    of = tariff(real_time={"file": "prices.csv", "column": "usd"})
    counter = Counter(of, schedule(of, 2, real_time=[0.1, 0.4]), 1)
    account = counter.add(counter.empty, 0, np.array([2.0]), np.zeros(1))
    assert counter.owed(counter.add(account, 1, np.array([3.0]), np.zeros(1)))[0][0] == pytest.approx(0.2 + 1.2)


def test_what_is_left_over_is_carried_while_a_run_goes_on_and_not_paid() -> None:
    # 24 kWh are left over from June; of the 36 kWh of July 12 are billed at 0.2
    of = tariff(**FLAT, export=EXPORTS[1])
    load_kw, der_kw = np.repeat([0.0, 1.5], 24), np.repeat([1.0, 0.0], 24)
    assert _counted(of, load_kw, der_kw, JUNE_30) == pytest.approx(2.4)


def test_what_was_drawn_and_injected_is_counted_also_of_the_interval_that_goes_on() -> None:
    of = tariff()
    counter = Counter(of, schedule(of, 4), 1)
    account, found = counter.empty, []
    for hour, load_kwh, der_kwh in [(0, 4.0, 1.0), (0, 2.0, 0.0), (1, 1.0, 6.0), (2, 3.0, 1.0), (3, 0.0, 2.0)]:
        account = counter.add(account, hour, np.array([load_kwh]), np.array([der_kwh]))
        energy = counter.energy(account)
        found.append((float(energy.imported_kwh[0]), float(energy.exported_kwh[0])))
    assert found == [(3.0, 0.0), (5.0, 0.0), (5.0, 5.0), (7.0, 5.0), (7.0, 7.0)]


def test_customers_do_not_bear_on_each_other() -> None:
    of = tariff(periods=PERIODS, tiers={"steps": STEPS}, demand=DEMAND, export=EXPORTS[1])
    rng = np.random.default_rng(3)
    net = rng.uniform(-20, 30, (48, 3))
    together = bills(of, schedule(of, 48, MIDNIGHT), metered(net, np.zeros(net.shape), False))
    for i in range(3):
        assert float(sum(b.total[i] for b in together)) == pytest.approx(total(billed(of, net[:, i].tolist())))


@pytest.mark.parametrize("is_gross", [False, True])
def test_what_is_drawn_less_what_is_injected_is_what_meters_let_through(is_gross: bool) -> None:
    rng = np.random.default_rng(5)
    load_kwh, der_kwh = rng.uniform(-5, 30, (48, 3)), rng.uniform(-10, 40, (48, 3))
    found = metered(load_kwh, der_kwh, is_gross)
    assert min(found.imported_kwh.min(), found.exported_kwh.min()) >= 0.0
    np.testing.assert_allclose(found.imported_kwh - found.exported_kwh, load_kwh - der_kwh, atol=1e-12)
