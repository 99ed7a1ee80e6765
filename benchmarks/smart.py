"""What a step of the smart-inverter functions costs, beside a bare numpy pass and OpenDER.

    python benchmarks/smart.py [--devices 10000 100000] [--steps 200]

One core, every function on. Times are medians, of the processor's time, so that what else runs matters less.

- `quiet`: voltages and frequency in the normal region.
- `disturbed`: at each step another 5 % of the devices are outside it, and all are in frequency droop, so that trips,
  ride-through, cessation and entering service go on all the time.
- `own numbers`: disturbed, and every device has volt-var and volt-watt points of its own.
- `all`: every device is outside the normal region at every step, in voltage and in frequency.
- `bare pass`: each array of a step read and written once (16 arrays).
- `OpenDER`: the time of one device, times the devices; without it where it is not installed.
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
LIMIT_MS = {10_000: 1.0, 100_000: 12.0}
"""What a step of so many devices may take."""
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


def weather(n: int, disturbed: float) -> list[tuple[Seen, np.ndarray]]:
    """Sixteen instants, over and over; `disturbed`: which share of the devices is outside the normal region."""
    rng = np.random.default_rng(2)
    found = []
    for k in range(16):
        outside = rng.random(n) < disturbed
        v = np.where(outside, rng.uniform(0.3, 1.22, n), rng.uniform(0.95, 1.08, n))
        f = np.full(n, 60.0 + (0.3 if disturbed else 0.01) * np.sin(k) - (2.0 if disturbed == 1.0 else 0.0))
        found.append((Seen(v, v * 0.99, v * 1.01, f), rng.uniform(0.0, 5.0, n)))
    return found


def timed(run: Callable[[int], None], steps: int) -> float:
    """Return the median time of a call, ms of the processor."""
    for k in range(20):
        run(k)
    times = []
    for k in range(20, 20 + steps):
        began = time.thread_time()
        run(k)
        times.append(time.thread_time() - began)
    return 1e3 * median(times)


def step_ms(n: int, steps: int, *, disturbed: float = 0.0, own_numbers: bool = False) -> float:
    inverters, series, zero = fleet(n, own_numbers), weather(n, disturbed), np.zeros(n)

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
    series, zero = weather(n, 0.05), np.zeros(n)
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


def opender_us(steps: int) -> float | None:
    """Return OpenDER's time for one device and step, us; None where it is not installed."""
    import logging

    try:
        import opender
    except ImportError:
        return None

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
    given = parser.parse_args()
    each_us = opender_us(2000)
    names = ("quiet", "disturbed", "own numbers", "all", "limit", "bare pass", "OpenDER")
    print(" ".join(f"{name:>11}" for name in ("ms a step", *names)))
    for n in given.devices:
        steps = max(20, min(given.steps, 4_000_000 // n))
        row = (
            step_ms(n, steps),
            step_ms(n, steps, disturbed=0.05),
            step_ms(n, steps, disturbed=0.05, own_numbers=True),
            step_ms(n, steps, disturbed=1.0),
            LIMIT_MS.get(n, float("nan")),
            bare_pass_ms(n, steps),
            float("nan") if each_us is None else each_us * n / 1000.0,
        )
        print(" ".join(f"{x:>11}" for x in (n, *(f"{x:.3f}" for x in row))))
    each, growth = bytes_per_device(10_000)
    print(f"{each:.0f} bytes for each device; 500 more steps add {growth:.2f}")
    print("OpenDER is not installed" if each_us is None else f"OpenDER takes {each_us:.0f} us for a device and step")


if __name__ == "__main__":
    main()
