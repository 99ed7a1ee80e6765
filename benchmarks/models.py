"""What a step of a fleet of rooftops and of its sky costs in a run: `python benchmarks/models.py [--devices 10 1000]`.

IEEE 13, rooftops with volt-var, one-second steps, local engine, everything recorded. The clock is around each call of
`step`, so the models meet the caches as the feeder's solution has left them. `alone`: the same calls in a loop, with
the same light and voltages, in which nothing else is done in between.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import quantiles
from time import perf_counter_ns
from typing import Any

import numpy as np

from derloop.contract import Values
from derloop.options import Options
from derloop.running import run
from federates.der.pv import PvFleet
from federates.der.sky import Sky

SCENARIO = Path(__file__).resolve().parent.parent / "scenarios" / "kind_pv.json"
KEPT = 64
"""Instants whose inputs are gone through again alone."""


class Timed:
    """The steps of all federates of a class: how long each took, and the first inputs."""

    def __init__(self, of: type[Any]) -> None:
        self._step: Callable[..., Values] = of.step
        self.ns: list[int] = []
        self.inputs: list[dict[str, np.ndarray]] = []
        self.federate: Any = None

    def __call__(self, federate: Any, now_ns: int, inputs: Values) -> Values:
        if len(self.inputs) < KEPT:
            self.federate = federate
            self.inputs.append({name: value.copy() for name, value in inputs.items()})
        began = perf_counter_ns()
        outputs = self._step(federate, now_ns, inputs)
        self.ns.append(perf_counter_ns() - began)
        return outputs

    def alone(self, steps: int) -> list[int]:
        """Return how long each step takes, ns, with nothing in between."""
        last, found = len(self.ns), []
        for k in range(steps):
            began = perf_counter_ns()
            self._step(self.federate, (last + k) * 10**9, self.inputs[k % KEPT])
            found.append(perf_counter_ns() - began)
        return found


def measured(devices: int, mode: str, steps: int) -> list[tuple[str, list[int], list[int]]]:
    """Return for PV and sky the times of each step in a run, and alone."""
    overrides = [
        *(
            "federates.homes=null",
            f"federates.rooftops.at.count={devices}",
            f"federates.rooftops.rated_kva={300 / devices}",
        ),
        *("step_s=1", f"duration_s={steps}", "checks=[]", f'coupling={{"mode": "{mode}"}}'),
    ]
    kinds: dict[str, type[Any]] = {"pv": PvFleet, "sky": Sky}
    timed = {name: Timed(of) for name, of in kinds.items()}
    before = {of: of.step for of in kinds.values()}
    for name, of in kinds.items():
        of.step = lambda self, now_ns, inputs, name=name: timed[name](self, now_ns, inputs)
    try:
        with tempfile.TemporaryDirectory() as folder:
            run(SCENARIO, overrides, Options("local", "together", Path(folder) / "run", report=False))
    finally:
        for of, step in before.items():
            of.step = step
    return [(name, each.ns, each.alone(steps)) for name, each in timed.items()]


def _us(times_ns: list[int]) -> str:
    twentieths = quantiles(times_ns, n=20)
    return f"{twentieths[0] / 1000:8.1f} {twentieths[9] / 1000:8.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(description="What a step of the models costs.")
    parser.add_argument("--devices", type=int, nargs="+", default=[10, 1000])
    parser.add_argument("--steps", type=int, default=1500)
    given = parser.parse_args()
    print(f"{'us a step':32} {'in a run, 5 %':>8} median    alone, 5 % median")
    for devices in given.devices:
        for mode in ("delayed", "converged"):
            for name, in_run, alone in measured(devices, mode, given.steps):
                print(f"{devices:6} {mode:10} {name:5} {len(in_run):6} calls {_us(in_run)}    {_us(alone)}")


if __name__ == "__main__":
    main()
