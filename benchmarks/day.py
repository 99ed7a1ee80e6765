"""A day of 100 000 rooftops in one-minute steps, as a whole run: `python benchmarks/day.py [--devices N] [--hours H]`.

Volt-var on a made-up feeder of 10 000 nodes (a random tree, loads at each third bus), delayed coupling, HELICS in one
process, everything recorded. How many times faster than the clock on the wall, the parts of it, and the most memory.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import tempfile
from collections.abc import Iterator
from datetime import datetime
from math import pi, sin
from pathlib import Path
from time import perf_counter
from typing import Any

from rich.console import Console

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "tests" / "support"))

from large_feeder import large_feeder  # noqa: E402

from derloop.options import Options  # noqa: E402
from derloop.running import run  # noqa: E402

BUSES = 3334


def scenario(folder: Path, devices: int, hours: float) -> Path:
    """Write the scenario; 4 MW of load, 4 MVA of rooftops in all."""
    large_feeder(folder / "feeder.dss", BUSES, load_kw=4000.0)
    (folder / "light.csv").write_text("\n".join(_light()), encoding="utf-8")
    path = folder / "day.json"
    path.write_text(json.dumps(_said(devices, hours)), encoding="utf-8")
    return path


def _light() -> Iterator[str]:
    yield "time_s,poa_wm2"
    for t in range(0, 86_401, 300):
        yield f"{t},{max(0.0, 950 * sin(pi * (t - 21_600) / 43_200)):.2f}"


def _said(devices: int, hours: float) -> dict[str, Any]:
    at_noon = "00:00:00" if hours > 12 else "12:00:00"
    return {
        "name": "day",
        "start": f"2025-07-15T{at_noon}-07:00",
        "duration_s": 3600 * hours,
        "step_s": 60,
        "seed": 1,
        "federates": {
            "grid": {"kind": "opendss", "feeder": "feeder.dss", "tolerance": 1e-6, "powers": "head"},
            "sky": {"kind": "sky", "over": ["pv"], "clear_sky": {"file": "light.csv", "column": "poa_wm2"}},
            "pv": {
                "kind": "pv",
                "at": {"count": devices, "on": "loads"},
                "rated_kva": [2000 / devices, 6000 / devices],
                "smart": {"volt_var": "category-b"},
            },
        },
        "checks": [],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--devices", type=int, default=100_000)
    parser.add_argument("--hours", type=float, default=24.0)
    asked = parser.parse_args()
    (HERE / "results").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=HERE / "results") as named:
        path, steps = scenario(Path(named), asked.devices, asked.hours), [0.0, 0.0]

        def note(now_ns: int | None, until_ns: int) -> None:
            del until_ns
            if now_ns is not None:
                steps[:] = [steps[0] or perf_counter(), perf_counter()]

        began = perf_counter()
        result = run(path, (), Options("helics", "together", Path(named) / "run", report=False), note)
        if result.outcome != "completed":
            raise SystemExit(result.failure)
        whole_s = perf_counter() - began
    found = {
        "date": datetime.now().astimezone().isoformat(timespec="seconds"),
        "load": os.getloadavg(),
        "devices": asked.devices,
        "hours": asked.hours,
        "starting_s": steps[0] - began,
        "stepping_s": steps[1] - steps[0],
        "ending_s": began + whole_s - steps[1],
        "times_real_time": 3600 * asked.hours / whole_s,
        "times_real_time_stepping": 3600 * asked.hours / (steps[1] - steps[0]),
        "most_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6,
    }
    Console().print_json(data=found)
    (HERE / "results" / f"day-{datetime.now():%Y-%m-%d-%H%M%S}.json").write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
