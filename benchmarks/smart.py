"""What a step of the smart-inverter functions costs, beside a bare numpy pass and OpenDER.

    python benchmarks/smart.py [--devices 10000 100000] [--steps 200] [--opender]

One core. `quiet`: voltages and frequency in the normal region. `stormy`: some devices are always outside it, so that
timers, droop, cessation and returns all run. `own numbers`: every device has volt-var and volt-watt points of its own.
`bare pass`: each array of a step read and written once (16 arrays). Times are medians.
"""

from __future__ import annotations

import argparse
import os
import time
import tracemalloc
from collections.abc import Callable
from statistics import median
from typing import Any

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(name, "1")

import numpy as np  # noqa: E402  # after the number of threads is set

from federates.der.inverter import Inverters, Seen, Smart  # noqa: E402

S = 10**9
ALL_ON: dict[str, Any] = {
    **{"volt_var": {"category": "category-b", "autonomous_vref": {}}, "volt_watt": {}, "frequency_droop": {}},
    **{"active_power_limit": {"p_max_pu": 0.9, "response_s": 15}, "ramp": {"up_s": 60, "down_s": 60}},
    **{"voltage_trip": {}, "frequency_trip": {}, "ride_through": {}, "enter_service": {"delay_s": 20, "ramp_s": 30}},
    "current_max_pu": 1.2,
}


def fleet(n: int, own_numbers: bool) -> Inverters:
    inverters = Inverters(Smart.model_validate(ALL_ON), np.full(n, 5.0), seed=1, q_full_above_p_pu=0.2)
    if own_numbers:
        rng = np.random.default_rng(3)
        inverters.adjust("volt_var", v1_pu=rng.uniform(0.90, 0.94, n), q1_pu=rng.uniform(0.3, 0.44, n))
        inverters.adjust("volt_watt", v1_pu=rng.uniform(1.05, 1.08, n), p2_pu=rng.uniform(0.0, 0.3, n))
    return inverters


def weather(n: int, stormy: bool) -> list[tuple[Seen, np.ndarray]]:
    """Sixteen instants, over and over."""
    rng = np.random.default_rng(2)
    found = []
    for k in range(16):
        v = rng.uniform(0.95, 1.08, n)
        f = np.array([60.0 + 0.01 * np.sin(k)])
        if stormy:
            v = np.where(rng.random(n) < 0.05, rng.uniform(0.3, 1.22, n), v)
            f = np.array([60.0 + 0.3 * np.sin(k)])
        found.append((Seen(v, v * 0.99, v * 1.01, f), rng.uniform(0.0, 5.0, n)))
    return found


def timed(run: Callable[[int], None], steps: int) -> float:
    """Return the median time of a call, ms."""
    for k in range(20):
        run(k)
    times = []
    for k in range(20, 20 + steps):
        began = time.perf_counter()
        run(k)
        times.append(time.perf_counter() - began)
    return 1e3 * median(times)


def step_ms(n: int, steps: int, *, stormy: bool, own_numbers: bool) -> float:
    inverters, series, zero = fleet(n, own_numbers), weather(n, stormy), np.zeros(n)

    def run(k: int) -> None:
        seen, p_kw = series[k % len(series)]
        inverters.step(k * S, seen, p_kw, (zero, p_kw))

    return timed(run, steps)


def bare_pass_ms(n: int, steps: int) -> float:
    arrays = [np.random.default_rng(k).random(n) for k in range(16)]

    def run(_: int) -> None:
        for array in arrays:
            np.multiply(array, 1.0000001, out=array)

    return timed(run, steps)


def bytes_per_device(n: int) -> tuple[float, float]:
    """Return the memory of a fleet for each device, and what 500 steps add, bytes."""
    series, zero = weather(n, True), np.zeros(n)
    tracemalloc.start()
    inverters = fleet(n, False)
    for k in range(20):
        seen, p_kw = series[k % 16]
        inverters.step(k * S, seen, p_kw, (zero, p_kw))
    first = tracemalloc.get_traced_memory()[0]
    for k in range(20, 520):
        seen, p_kw = series[k % 16]
        inverters.step(k * S, seen, p_kw, (zero, p_kw))
    later = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    return first / n, (later - first) / n


def opender_us(steps: int) -> float:
    """Return OpenDER's time for one device and step, us."""
    import logging

    import opender

    logging.disable(logging.CRITICAL)
    opender.DER.t_s = 1.0
    device = opender.DER_PV()
    der_file = device.der_file
    der_file.NP_P_MAX = der_file.NP_VA_MAX = 5000.0
    der_file.QV_MODE_ENABLE = der_file.PV_MODE_ENABLE = der_file.AP_LIMIT_ENABLE = True

    def run(k: int) -> None:
        device.update_der_input(v_pu=1.0 + 0.03 * np.sin(k), f=60.0, p_dc_pu=0.8)
        device.run()

    return 1e3 * timed(run, steps)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--devices", type=int, nargs="+", default=[1000, 10_000, 100_000])
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--opender", action="store_true", help="time OpenDER too; it must be installed")
    given = parser.parse_args()
    print(f"{'ms a step':>10} {'quiet':>8} {'stormy':>8} {'own numbers':>12} {'bare pass':>10}")
    for n in given.devices:
        steps = max(20, min(given.steps, 4_000_000 // n))
        quiet = step_ms(n, steps, stormy=False, own_numbers=False)
        stormy = step_ms(n, steps, stormy=True, own_numbers=False)
        own = step_ms(n, steps, stormy=True, own_numbers=True)
        print(f"{n:>10} {quiet:>8.3f} {stormy:>8.3f} {own:>12.3f} {bare_pass_ms(n, steps):>10.3f}")
    each, growth = bytes_per_device(10_000)
    print(f"{each:.0f} bytes for each device; 500 more steps add {growth:.2f}")
    if given.opender:
        us = opender_us(2000)
        print(f"OpenDER: {us:.0f} us for each device and step; 10 000 devices {us * 10:.0f} ms")


if __name__ == "__main__":
    main()
