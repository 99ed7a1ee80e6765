"""Plans against optima known by hand, and against scipy's."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from federates.control.vpp.plan import Limit, Market, Store, cheapest, lowest_peak

ONE = np.ones


def cost(p_kw: np.ndarray, price: np.ndarray) -> float:
    return float(-(p_kw * price).sum())


def test_arbitrage_with_losses_has_the_optimum_that_is_known_by_hand() -> None:
    """1 kW and 2 kWh, empty; prices 1, 2, 9, 8; efficiency 0.9 each way. Bought in hours 0 and 1: 1 kWh each, 1.8 kWh
    stored, 1.62 kWh come out: 1 kWh at 9 and 0.62 kWh at 8. Cost 1 + 2 - 9 - 4.96 = -10.96. The second kWh pays, as
    0.81 x 8 > 2."""
    price = np.array([1.0, 2.0, 9.0, 8.0])
    p = cheapest(Store(1.0, 1.0, 0.0, 2.0, 0.9), ONE(4), Market(price))
    assert_allclose(p, [-1.0, -1.0, 1.0, 0.62], atol=1e-7)
    assert cost(p, price) == pytest.approx(-10.96)


def test_arbitrage_rests_where_losses_or_wear_cost_more_than_the_spread() -> None:
    price = np.array([1.0, 1.2])
    assert_allclose(cheapest(Store(1.0, 1.0, 0.0, 2.0, 0.9), ONE(2), Market(price)), [0.0, 0.0], atol=1e-9)
    assert_allclose(cheapest(Store(1.0, 1.0, 0.0, 2.0), ONE(2), Market(price, wear=0.3)), [0.0, 0.0], atol=1e-9)
    assert_allclose(cheapest(Store(1.0, 1.0, 0.0, 2.0), ONE(2), Market(price, wear=0.1)), [-1.0, 1.0], atol=1e-9)


def test_energy_is_kept_at_the_end_if_it_is_worth_more_than_the_price() -> None:
    store, price = Store(1.0, 1.0, 1.0, 2.0), np.array([3.0])
    assert_allclose(cheapest(store, ONE(1), Market(price, worth=2.0)), [1.0])
    assert_allclose(cheapest(store, ONE(1), Market(price, worth=4.0)), [-1.0])


def test_at_a_negative_price_a_store_does_not_charge_and_discharge_at_once() -> None:
    """Full, lossy, and paid to draw: with linear programming alone it would draw 1 and give 0.81 at the same time."""
    store, price = Store(1.0, 1.0, 1.0, 1.0, 0.9), np.array([-1.0, 5.0])
    assert_allclose(cheapest(store, ONE(2), Market(price)), [0.0, 0.9], atol=1e-7)


def test_at_a_negative_price_a_store_charges_when_that_is_paid_the_most() -> None:
    """Empty, 0.9 kWh: 1 kW fills it, for which 2 is paid in the second hour, and 0.81 kWh are sold in the third."""
    p = cheapest(Store(1.0, 1.0, 0.0, 0.9, 0.9), ONE(3), Market(np.array([-1.0, -2.0, 5.0])))
    assert_allclose(p, [0.0, -1.0, 0.81], atol=1e-7)


def test_a_plan_keeps_under_a_limit_before_it_earns() -> None:
    """4 kW of load against a limit of 3.5 kW in a cheap hour: it gives 0.5 kW there, and has 0.5 kWh left to sell."""
    limit = Limit(np.array([4.0, 1.0]), 3.5)
    p = cheapest(Store(2.0, 2.0, 1.0, 2.0), ONE(2), Market(np.array([1.0, 9.0])), limit)
    assert_allclose(p, [0.5, 0.5], atol=1e-7)


def test_a_plan_keeps_each_interval_under_its_limit() -> None:
    """4 kW come in the second hour: 0.5 kWh are left for it. Beside 3 kW no more than 0.5 kW are bought. Of 9 kW what
    can be taken is taken."""
    second = Limit(np.array([1.0, 4.0]), 3.5)
    p = cheapest(Store(2.0, 2.0, 1.0, 2.0), ONE(2), Market(np.array([9.0, 1.0])), second)
    assert_allclose(p, [0.5, 0.5], atol=1e-7)
    buying = Limit(np.array([3.0, 1.0]), 3.5)
    p = cheapest(Store(2.0, 2.0, 0.0, 2.0), ONE(2), Market(np.array([1.0, 9.0])), buying)
    assert_allclose(p, [-0.5, 0.5], atol=1e-7)
    beyond = Limit(np.array([9.0, 9.0]), 3.5)
    p = cheapest(Store(1.0, 1.0, 2.0, 2.0), ONE(2), Market(np.array([1.0, 1.0])), beyond)
    assert_allclose(p, [1.0, 1.0], atol=1e-7)


def test_the_lowest_peak_is_the_one_known_by_hand() -> None:
    """5, 9 and 7 kW, and 3 kWh stored: level L with (9 - L) + (7 - L) = 3 is 6.5 kW, and 5 kW stay below."""
    level, p = lowest_peak(Store(5.0, 5.0, 3.0, 3.0), ONE(3), np.array([5.0, 9.0, 7.0]))
    assert level == pytest.approx(6.5)
    assert_allclose(p, [0.0, 2.5, 0.5], atol=1e-6)
    level, _ = lowest_peak(Store(5.0, 2.0, 3.0, 3.0), ONE(3), np.array([5.0, 9.0, 7.0]))
    assert level == pytest.approx(7.0)  # 2 kW of power are the bound


def test_plans_are_as_cheap_as_those_of_scipy() -> None:
    """The same program, written apart: columns c, d; stored energy as sums. Ten random markets, k = 12, h = 0.5."""
    linprog = pytest.importorskip("scipy.optimize").linprog
    chance, k, eta, h = np.random.default_rng(3), 12, 0.93, 0.5
    sums = np.tril(np.ones((k, k))) * h
    inside = np.hstack([eta * sums, -sums / eta])
    for _ in range(10):
        price = chance.uniform(0.05, 0.5, k)
        first, most = chance.uniform(0.0, 4.0), 4.0
        bounds = np.concatenate([np.full(k, most - first), np.full(k, first)])
        found = linprog(
            np.concatenate([price, -price]) * h, A_ub=np.vstack([inside, -inside]), b_ub=bounds, bounds=(0.0, 1.5)
        )
        p = cheapest(Store(1.5, 1.5, first, most, eta), np.full(k, h), Market(price))
        assert cost(p, price) * h == pytest.approx(found.fun, abs=1e-7)
