"""One point of a sweep in a fresh process: `python growing/point.py POINT`, a `Point` as JSON.

Prints its `Cost` as JSON. With a process for each point, memory is the point's own.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from time import perf_counter

HERE = Path(__file__).resolve().parent
PLUGIN = str(HERE.parent / "plugin")
sys.path[:0] = [PLUGIN, str(HERE.parent)]
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (PLUGIN, os.environ.get("PYTHONPATH"))))  # for child processes

import numpy as np  # noqa: E402 - what follows looks for plug-ins
from growing import scenarios  # noqa: E402
from growing.points import Cost, Point  # noqa: E402

from derloop.contract import FloatArray  # noqa: E402
from derloop.options import Options  # noqa: E402
from derloop.result import Result  # noqa: E402
from derloop.running import run  # noqa: E402

BLOCK = 10
WARM_UP = 0.2
"""The share of a run's blocks that is not counted: late imports, caches, the first taps."""
STEP_NS = {"star": 10**9, "chain": 10**9, "rooftops": scenarios.STEP_S * 10**9, "several": scenarios.STEP_S * 10**9}
SHAPES: dict[str, Callable[[Path, int, int], Path]] = {"star": scenarios.star, "chain": scenarios.chain}


def written(point: Point, folder: Path) -> Path:
    """Write the point's scenario; return the path."""
    if point.shape == "rooftops":
        return scenarios.rooftops(folder, point.feeder, point.devices, point.federates - 2, point.steps)
    if point.shape == "several":
        assert isinstance(point.feeder, int)
        return scenarios.several(folder, point.feeder, point.devices, point.feeders, point.steps)
    return SHAPES[point.shape](folder, point.federates, point.steps)


def measured(point: Point) -> Cost:
    """Run it; raise SystemExit where the run fails."""
    engine, placement = ("local", "together") if point.mover == "local" else ("helics", point.mover)
    (HERE.parent / "results").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=HERE.parent / "results") as named:
        path, began = written(point, Path(named)), perf_counter()
        options = Options(
            engine, placement, Path(named) / "run", trust_feeder=True, report=False, workers=point.workers
        )
        stepping_mb, instants = [0.0], list[tuple[int, float]]()

        def note(now_ns: int | None, until_ns: int) -> None:
            stepping_mb[0] = _most_mb()
            if now_ns is not None and now_ns > WARM_UP * until_ns:
                instants.append((now_ns, time.process_time()))

        result = run(path, (), options, note)
        ended = perf_counter()
        if result.outcome != "completed":
            raise SystemExit(f"{point}: {result.failure}")
        hub_ms = _a_step_ms(instants, STEP_NS[point.shape]) if point.mover == "apart" else 0.0
        return replace(_cost(point, result, began, ended), memory_mb=stepping_mb[0], hub_ms=hub_ms)


def _a_step_ms(instants: Sequence[tuple[int, float]], step_ns: int) -> float:
    """Return the processor time of this process for a step, while others took the turns that it gave."""
    (began_ns, began_s), (ended_ns, ended_s) = instants[0], instants[-1]
    return (ended_s - began_s) / max((ended_ns - began_ns) / step_ns, 1.0) * 1e3


def _most_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def _cost(point: Point, result: Result, began: float, ended: float) -> Cost:
    timed = {"rooftops": "grid", "several": "grid0"}.get(point.shape, "middle")
    wall_s = result[f"{timed}.wall_s"][1:, 0]  # the first is of before the first step
    least_ms, median_ms = np.quantile(_blocks(np.diff(wall_s)), [0.1, 0.5])
    return Cost(
        least_ms=float(least_ms),
        median_ms=float(median_ms),
        slow_ms=float(np.quantile(np.diff(wall_s)[len(wall_s) // 5 :], 0.99)) * 1e3,
        cpu_ms=float(np.median(_blocks(np.diff(result[f"{timed}.cpu_s"][1:, 0])))),
        feeder_ms=_took_ms(result, ["grid"]) if timed == "grid" else 0.0,
        fleets_ms=_took_ms(result, ["sky", "pv0"]) if timed == "grid" and point.federates == 3 else 0.0,
        nodes=result["grid.v_pu"].shape[1] if timed == "grid" else 0,
        iterations=float(result["grid.iterations"][1:].mean()) if timed == "grid" else 0.0,
        starting_s=float(wall_s[0]) - began,
        ending_s=ended - float(wall_s[-1]),
        ending_mb=_most_mb(),
    )


def _took_ms(result: Result, names: list[str]) -> float:
    took_s: FloatArray = np.sum([result[f"{name}.took_s"][2:, 0] for name in names], axis=0)
    return float(np.median(_blocks(took_s)))


def _blocks(steps_s: FloatArray) -> FloatArray:
    """Return the mean of each counted block, ms."""
    blocks = len(steps_s) // BLOCK
    means: FloatArray = steps_s[: blocks * BLOCK].reshape(blocks, BLOCK).mean(axis=1) * 1e3
    return means[round(blocks * WARM_UP) :]


def main() -> None:
    print(json.dumps(asdict(measured(Point(**json.loads(sys.argv[1]))))))


if __name__ == "__main__":
    main()
