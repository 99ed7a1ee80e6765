"""How many feeder solutions the converged coupling takes, beside a damped fixed point.

    python benchmarks/coupling.py [--kva-times 1 3] [--trees 1000 4000] [--day-steps 288]

Feeders IEEE 13, 34 and 123, and random trees of about as many nodes as are asked for; 10 to 100 inverters, a gentle and
a steep volt-var curve, volt-watt, and both, as in the comparison with OpenDSS's InvControl (`tests/oracle`).
`cold`: solutions for the first instant at 0.8 of the rating. `mean`, `most`: over a day in steps of five minutes with
warm starts. `ms`: wall time of an instant of that day, devices included. `asked`: steps of the fleet for each instant.
`damped`: cold start and mean of a fixed point damped by 0.4, to the same tolerance; 100 where it finds none.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "support"))

from coupled import FUNCTIONS, Fixed, converged, damped, feeder_at, pair, places, smart_of, write_tree  # noqa: E402

from derloop.contract import Values  # noqa: E402

FEEDERS = ROOT / "scenarios" / "feeders"
STEP_S = 300


class Counted(Fixed):
    """The inverters, counting how often they are asked."""

    steps = 0

    def step(self, now_ns: int, inputs: Values) -> Values:
        self.steps += 1
        return super().step(now_ns, inputs)


def cases(trees: list[int], folder: Path) -> Iterator[tuple[str, Path, int, float]]:
    for name, count, kva in (("ieee13", 10, 250.0), ("ieee34", 20, 25.0), ("ieee123", 40, 40.0)):
        yield name, FEEDERS / name / f"{name}.dss", count, kva
    for nodes in trees:
        file = folder / f"tree{nodes}.dss"
        write_tree(file, nodes * 10 // 16)
        yield f"tree {nodes}", file, 100, 40.0


def row(file: Path, count: int, kva: float, function: str, steps: int) -> list[float]:
    smart, terminals = smart_of(*FUNCTIONS[function]), places(feeder_at(file)[1], count, kva)

    def fleet(day: bool) -> Counted:
        return Counted(smart, terminals, 1.0 if day else 0.8, day)

    cold = next(converged(pair(file, fleet(False), terminals))).passes
    asked = fleet(True)
    instants = converged(pair(file, asked, terminals), STEP_S)
    began = time.perf_counter()
    passes = np.array([instant.passes for instant in islice(instants, steps)])
    ms = 1e3 * (time.perf_counter() - began) / steps
    cold_damped = next(damped(pair(file, fleet(False), terminals)))
    day_damped = np.array(list(islice(damped(pair(file, fleet(True), terminals), STEP_S), steps // 4)))
    return [cold, passes.mean(), passes.max(), ms, asked.steps / steps, cold_damped, day_damped.mean()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--kva-times", type=float, nargs="+", default=[1.0], help="inverters so many times as large")
    parser.add_argument("--trees", type=int, nargs="*", default=[1000, 4000], help="nodes of random feeders")
    parser.add_argument("--day-steps", type=int, default=288)
    given = parser.parse_args()
    print(f"{'':<44} {'cold':>5} {'mean':>5} {'most':>5} {'ms':>6} {'asked':>6} | damped: cold, mean")
    with TemporaryDirectory() as folder:
        for times in given.kva_times:
            for name, file, count, kva in cases(given.trees, Path(folder)):
                for function in FUNCTIONS:
                    cold, mean, most, ms, asked, *fixed = row(file, count, times * kva, function, given.day_steps)
                    case = f"{name}, {count} x {times * kva:g} kVA, {function}"
                    print(f"{case:<44} {cold:>5} {mean:>5.2f} {most:>5} {ms:>6.2f} {asked:>6.1f} | ", end="")
                    print(f"{fixed[0]:>4} {fixed[1]:>6.2f}", flush=True)


if __name__ == "__main__":
    main()
