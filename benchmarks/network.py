"""What a step of the network costs, by how many links it has and what they do.

    python benchmarks/network.py [--links 100 1000 10000 100000] [--steps 100]

Half of the links lead from devices to a control, with four values each, half back, with one. One core; medians of the
processor's time, so that what else runs matters less.

- `perfect`: nothing but the step that everything takes.
- `usual`: latencies uniform up to three steps, 2 % lost, in order.
- `all`: exponential latencies up to ten steps, losses in runs, duplicates, bandwidth, overtaking, watchdogs, an event.
- `bare pass`: the values of a step copied once.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(name, "1")

import numpy as np  # noqa: E402  # after the number of threads is set

from derloop.contract import Interface, Port  # noqa: E402
from derloop.kind import Context  # noqa: E402
from federates.network.links import NetworkSettings  # noqa: E402
from federates.network.network import Network  # noqa: E402

S = 10**9
WARM_UP = 20
MEASURED = {"p_kw": "kW", "soc_pu": "pu", "p_max_kw": "kW", "p_min_kw": "kW"}
CASES: dict[str, dict[str, Any]] = {
    "perfect": {"links": [{}]},
    "usual": {"links": [{"latency": {"kind": "uniform", "most_s": 3.0}, "loss_pu": 0.02}]},
    "all": {
        "links": [
            {
                "latency": {"kind": "exponential", "mean_s": 1.0, "most_s": 9.0},
                **{"loss_pu": 0.1, "burst_messages": 5.0, "duplicate_pu": 0.05, "order": "as-arrived"},
                "bandwidth": {"bits_per_s": 1e6, "message_bytes": 200.0, "buffer_s": 0.5},
                "lease": {"after_s": 20.0, "value": 0.0},
            }
        ],
        "events": [{"begins_s": 0.0, "lasts_s": 1e6, "loss_pu": 0.2, "delay_s": 0.5}],
    },
}


def network(links: int, said: dict[str, Any]) -> Network:
    """Return a network whose fleet has half as many devices as there are links."""
    labels = tuple(f"cells_{i}" for i in range(links // 2))
    told = {f"cells.{port}": Port(unit, labels, "before") for port, unit in MEASURED.items()}
    age = {"cells.age_s": Port("s", labels, "before", otherwise=0.0)}
    outputs = {port: Port(unit, labels) for port, unit in MEASURED.items()}
    interfaces = {
        "cells": Interface(S, {"p_set_kw": Port("kW", labels)}, outputs),
        "control": Interface(S, told | age, {"cells.p_set_kw": Port("kW", labels)}),
    }
    signals = tuple((f"cells.{port}", f"control.cells.{port}") for port in MEASURED)
    signals += (("control.cells.p_set_kw", "cells.p_set_kw"),)
    start = datetime(2025, 7, 15, tzinfo=UTC)
    context = Context("network", Path(), start, S, 86400 * S, 1, interfaces=interfaces, signals=signals)
    return Network(NetworkSettings.model_validate(said), context)


def timed(run: Callable[[int], object], steps: int) -> float:
    """Return the median time of a call, ms of the processor."""
    times = []
    for k in range(WARM_UP + steps):
        began = time.thread_time()
        run(k)
        times.append(time.thread_time() - began)
    return 1e3 * median(times[WARM_UP:])


def step_ms(links: int, said: dict[str, Any], steps: int) -> float:
    one = network(links, said)
    rng = np.random.default_rng(1)
    inputs = {name: rng.random(port.size) for name, port in one.interface.inputs.items()}
    one.start()
    return timed(lambda k: one.step(k * S, inputs), steps)


def bare_ms(links: int, steps: int) -> float:
    values = np.random.default_rng(1).random(links // 2 * (len(MEASURED) + 1))
    return timed(lambda _: values.copy(), steps)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--links", type=int, nargs="+", default=[100, 1_000, 10_000, 100_000])
    parser.add_argument("--steps", type=int, default=100)
    asked = parser.parse_args()
    print(f"{'links':>8} {'bare pass':>10} " + " ".join(f"{case:>10}" for case in CASES) + "   ms a step")
    for links in asked.links:
        found = [bare_ms(links, asked.steps), *(step_ms(links, said, asked.steps) for said in CASES.values())]
        print(f"{links:>8} " + " ".join(f"{ms:>10.3f}" for ms in found), flush=True)


if __name__ == "__main__":
    main()
