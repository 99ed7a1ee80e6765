"""What a virtual power plant's dispatch costs, and how near it comes to the best that could be.

    python benchmarks/vpp.py [--devices 10000 100000] [--days 5]

One core, processor time.

- `step`: a step of the whole plant (regulation, reserve, peak shaving and arbitrage stacked, longest first, with the
  plan of 48 half hours made anew in it), for batteries of unlike power and energy.
- `aggregated`: what batteries earn by arbitrage when they are planned as one store, and what was planned is shared
  among them, over what a linear program of all of them earns that knows them one by one.
- `perfect foresight`: what a day yields by rolling plans with errors in their forecasts, over what the best plan with
  hindsight yields, of the same batteries: of arbitrage the money earned, of peak shaving how far the peak was lowered.
  Regulation: energy delivered of the energy that the signal asked for.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(name, "1")

import numpy as np  # noqa: E402  # after the number of threads is set

sys.path.insert(0, str(Path(__file__).parents[1] / "tests/support"))
from plants import Batteries, context, plant, run, written  # noqa: E402

from federates.control.vpp.dispatch import Hours  # noqa: E402
from federates.control.vpp.linear_program import LinearProgram  # noqa: E402
from federates.control.vpp.plan import Market, Store, cheapest, lowest_peak  # noqa: E402

K, H = 48, 0.5
"""A day in half hours."""
EFFICIENCY = 0.95


def batteries(n: int, seed: int = 1) -> Batteries:
    """Unlike ones: for 1.5 to 4 h, 10 to 90 % full."""
    chance = np.random.default_rng(seed)
    power_kw = chance.uniform(3.0, 7.0, n)
    energy_kwh = power_kw * chance.uniform(1.5, 4.0, n)
    return Batteries(power_kw, energy_kwh, chance.uniform(0.1, 0.9, n), EFFICIENCY, H)


def prices(seed: int) -> np.ndarray:
    """A day of half-hourly prices with two peaks, and chance."""
    hour, chance = np.arange(K) * H, np.random.default_rng(seed)
    shape = 0.2 + 0.12 * np.exp(-(((hour - 8) / 2) ** 2)) + 0.25 * np.exp(-(((hour - 19) / 2.5) ** 2))
    return shape * chance.uniform(0.8, 1.2, K)


def load(seed: int) -> np.ndarray:
    """A day's load with an evening peak, kW for each kW of batteries' power."""
    hour, chance = np.arange(K) * H, np.random.default_rng(seed + 1000)
    return (2.0 + 2.0 * np.exp(-(((hour - 19) / 2.0) ** 2))) * chance.uniform(0.97, 1.03, K)


def step_s(n: int, folder: Path) -> float:
    """Return the median time of a step of a plant with n devices."""
    price = written(folder, "price.csv", 1800.0, list(prices(0)) * 2)
    signal = written(folder, "signal.csv", 1800.0, [0.5, -0.5] * K)
    horizon = {"ahead_h": 24, "interval_s": 1800, "replan_s": 1800}
    services = [
        {"kind": "frequency-regulation", "capacity_kw": 0.1 * n, "signal": signal},
        {"kind": "reserve", "up_kw": 0.1 * n},
        {"kind": "peak-shaving", "limit_kw": 100.0 * n, "recharges": False},
        {"kind": "arbitrage", "price": price, "horizon": horizon},
    ]
    control = plant(services, context({"b": n}, folder, 2 * K, 1800.0), shares="longest-first")
    fleet, times = batteries(n), []
    inputs = {"grid.head_kw": np.array([10.0 * n]), "grid.age_s": np.zeros(1), **fleet.told()}
    for k in range(6):
        begin = time.process_time()
        control.step(k * 1800 * 10**9, inputs)
        times.append(time.process_time() - begin)
    return float(np.median(times[1:]))


def earned(p_kw: np.ndarray, price: np.ndarray) -> float:
    return float((p_kw * price[:, None]).sum() * H)


def apart(fleet: Batteries, price: np.ndarray) -> float:
    """Return what a linear program earns that knows every battery: they do not meet, so one for each."""
    return sum(
        earned(cheapest(Store(p, p, s, e, EFFICIENCY), np.full(K, H), Market(price))[:, None], price)
        for p, s, e in zip(fleet.power_kw, fleet.stored_kwh, fleet.energy_kwh, strict=True)
    )


def aggregated(fleet: Batteries, price: np.ndarray, longest: bool) -> float:
    """Return what they earn when planned anew as one store in each half hour, and shared by vectors."""
    gained = 0.0
    for k in range(K):
        store = Store(
            float(fleet.power_kw.sum()), float(fleet.power_kw.sum()), float(fleet.stored_kwh.sum()),
            float(fleet.energy_kwh.sum()), EFFICIENCY,
        )  # fmt: skip
        planned_kw = float(cheapest(store, np.full(K - k, H), Market(price[k:]))[0])
        room_kw = fleet.most_kw if planned_kw > 0.0 else -fleet.least_kw
        if longest:
            hours = Hours(fleet.stored_kwh, fleet.energy_kwh - fleet.stored_kwh, H)
            shared = hours.share(planned_kw, room_kw)
        else:
            shared = room_kw * min(abs(planned_kw) / max(float(room_kw.sum()), 1e-9), 1.0)
        fleet.hold(np.copysign(shared, planned_kw))
        gained += earned(fleet.p_kw[None, :], price[k : k + 1])
    return gained


def arbitrage_ratio(seed: int, sigma: float, folder: Path) -> float:
    """Return what the plant earns in a day, over what the best plan with hindsight earns."""
    price = prices(seed)
    column = {**written(folder, "price.csv", 1800.0, list(price)), "sigma_pu": sigma}
    horizon = {"ahead_h": 24, "interval_s": 1800, "replan_s": 1800}
    service = {"kind": "arbitrage", "price": column, "horizon": horizon, "worth_per_kwh": 0}
    control = plant([service], context({"b": 50}, folder, K, 1800.0), shares="longest-first", efficiency_pu=EFFICIENCY)
    told = run(control, batteries(50), [0.0] * K)
    return earned(told["p_kw"], price) / apart(batteries(50), price)


def peak_ratio(seed: int, sigma: float, folder: Path) -> float:
    """Return how far the plant lowers a day's peak, over how far the best plan with hindsight lowers it."""
    fleet = batteries(50)
    load_kw = load(seed) * float(fleet.power_kw.sum())
    column = {**written(folder, "load.csv", 1800.0, list(load_kw)), "sigma_pu": sigma}
    horizon = {"ahead_h": 24, "interval_s": 1800, "replan_s": 1800}
    service: dict[str, Any] = {"kind": "peak-shaving", "forecast": column, "horizon": horizon, "hold_s": 0}
    control = plant([service], context({"b": 50}, folder, K, 1800.0), shares="longest-first", efficiency_pu=EFFICIENCY)
    told = run(control, fleet, list(load_kw))
    best = batteries(50)
    store = Store(
        float(best.power_kw.sum()), float(best.power_kw.sum()), float(best.stored_kwh.sum()),
        float(best.energy_kwh.sum()), EFFICIENCY,
    )  # fmt: skip
    level, _ = lowest_peak(store, np.full(K, H), load_kw)
    return float((load_kw.max() - told["head_kw"].max()) / (load_kw.max() - level))


def regulation_ratio(folder: Path) -> float:
    """Return what was delivered of an hour's signal in the signal's direction, of what was asked for."""
    chance = np.random.default_rng(5)
    signal = np.clip(np.convolve(chance.normal(size=360), np.ones(6) / 6.0, "same"), -1.0, 1.0)
    column = written(folder, "signal.csv", 10.0, list(signal))
    service = {"kind": "frequency-regulation", "capacity_kw": 150.0, "signal": column, "centre_soc_pu": None}
    control = plant([service], context({"b": 50}, folder, 360, 10.0))
    fleet = batteries(50)
    fleet.step_h = 10.0 / 3600.0
    given_kw = run(control, fleet, [0.0] * 360)["p_kw"].sum(axis=1)
    asked_kw = 150.0 * signal
    return float(np.minimum(np.sign(asked_kw) * given_kw, np.abs(asked_kw))[1:].sum() / np.abs(asked_kw)[1:].sum())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--devices", type=int, nargs="+", default=[1000, 10_000, 100_000])
    parser.add_argument("--days", type=int, default=5)
    asked = parser.parse_args()
    LinearProgram(np.ones(1), np.zeros(1), np.ones(1), [(np.zeros(1, int), np.ones(1), np.zeros(2))]).solved()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for n in asked.devices:
            print(f"step, {n} devices: {1e3 * step_s(n, folder):.1f} ms")
        days = range(asked.days)
        for longest in (True, False):
            ratios = [aggregated(batteries(50), prices(d), longest) / apart(batteries(50), prices(d)) for d in days]
            how = "longest first" if longest else "in proportion"
            print(f"aggregated, {how}: {np.mean(ratios):.4f} of the full program (least {min(ratios):.4f})")
        for sigma in (0.0, 0.1, 0.3):
            found = [arbitrage_ratio(d, sigma, folder) for d in days]
            print(f"arbitrage, sigma {sigma}: {np.mean(found):.3f} of perfect foresight (least {min(found):.3f})")
        for sigma in (0.0, 0.05, 0.1):
            found = [peak_ratio(d, sigma, folder) for d in days]
            print(f"peak shaving, sigma {sigma}: {np.mean(found):.3f} of perfect foresight (least {min(found):.3f})")
        print(f"regulation: {regulation_ratio(folder):.3f} of what was asked for")


if __name__ == "__main__":
    main()
