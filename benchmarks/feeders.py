"""How several feeders scale with cores: `python benchmarks/feeders.py [--feeders 1 2 4] [--steps 300] [--rounds 3]`.

Made-up feeders of 3000 nodes with 300 rooftops each, which hang on one bus of the transmission system, in one-second
steps with delayed coupling, everything recorded: in one thread, in as many threads or processes as there are cores, and
in a process for each federate. What a step takes is the difference between a long and a short run, so that the start is
not in it.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

from kept import facts, kept
from rich.console import Console
from rich.table import Table

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "tests" / "support"))

from large_feeder import large_feeder  # noqa: E402

from derloop.options import Options  # noqa: E402
from derloop.running import run  # noqa: E402

BUSES = 1000
CORES = os.cpu_count() or 1
PLACEMENTS = {
    "one thread": ("together", None),
    f"{CORES} threads": ("threads", CORES),
    f"{CORES} processes": ("apart", CORES),
    "a process each": ("apart", None),
}
"""What each way of placing is called: the placement, and its workers."""


@dataclass(frozen=True, slots=True)
class Scaling:
    """So many feeders, placed in one way."""

    feeders: int
    how: str
    ms_a_step: float
    least_ms: float
    most_ms: float


def scenario(folder: Path, feeders: int) -> Path:
    """Write the scenario, with a file for each feeder; return its path."""
    names = [f"f{i}" for i in range(feeders)]
    for name in names:
        large_feeder(folder / f"{name}.dss", BUSES, load_kw=2000.0)
    (folder / "light.csv").write_text("time_s,poa_wm2\n0,600\n43200,900\n86400,600\n", encoding="utf-8")
    path = folder / "feeders.json"
    path.write_text(json.dumps(_said(names)), encoding="utf-8")
    return path


def _said(names: list[str]) -> dict[str, Any]:
    federates: dict[str, Any] = {
        "bulk": {"kind": "transmission-bus", "feeders": names, "short_circuit_mva": 100.0 * len(names)},
        "sky": {
            "kind": "sky",
            "over": [f"pv_{name}" for name in names],
            "clear_sky": {"file": "light.csv", "column": "poa_wm2"},
        },
    }
    for name in names:
        federates[name] = {"kind": "opendss", "feeder": f"{name}.dss", "tolerance": 1e-6}
        federates[f"pv_{name}"] = {
            "kind": "pv",
            "feeder": name,
            "at": {"count": 300, "on": "loads"},
            "rated_kva": 5,
            "smart": {"volt_var": "category-b"},
        }
    start = "2025-07-15T12:00:00-07:00"
    return {"name": "feeders", "start": start, "duration_s": 60, "step_s": 1, "seed": 1, "federates": federates}


def measured(counts: list[int], steps: int, rounds: int) -> Iterator[Scaling]:
    """Run each number of feeders in each placement, in turns."""
    for feeders in counts:
        found: dict[str, list[float]] = {how: [] for how in PLACEMENTS}
        with tempfile.TemporaryDirectory() as folder:
            path = scenario(Path(folder), feeders)
            for number in range(rounds):
                for how in PLACEMENTS:
                    out = Path(folder) / f"{how}-{number}"
                    short_s, long_s = (_took_s(path, n, how, Path(f"{out}-{n}")) for n in (steps // 5, steps))
                    found[how].append(1000 * (long_s - short_s) / (steps - steps // 5))
        for how, ms in found.items():
            yield Scaling(feeders, how, median(ms), min(ms), max(ms))


def _took_s(path: Path, steps: int, how: str, out: Path) -> float:
    overrides = [f"duration_s={steps}", 'deadlines={"join_s": 300, "step_s": 300}']
    placement, workers = PLACEMENTS[how]
    options = Options("helics", placement, out, trust_feeder=True, report=False, workers=workers)
    began = perf_counter()
    result = run(path, overrides, options)
    if result.outcome != "completed":
        raise SystemExit(f"{how}: {result.failure}")
    return perf_counter() - began


def table(found: list[Scaling]) -> Table:
    shown = Table(title=f"Feeders of {3 * BUSES} nodes with 300 rooftops on one bus, HELICS")
    for column in ("feeders", "how", "ms a step", "(least..most)", "beside one thread"):
        shown.add_column(column, justify="right")
    for each in found:
        alone = next(f for f in found if (f.feeders, f.how) == (each.feeders, "one thread"))
        ratio = f"{alone.ms_a_step / each.ms_a_step:.2f} times as fast"
        span = f"{each.least_ms:.2f}..{each.most_ms:.2f}"
        shown.add_row(str(each.feeders), each.how, f"{each.ms_a_step:.2f}", span, ratio)
    return shown


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--feeders", type=int, nargs="*", default=[1, 2, 4])
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=3)
    asked, console, about = parser.parse_args(), Console(width=120), facts()
    found = list(measured(asked.feeders, asked.steps, asked.rounds))
    console.print(table(found))
    console.print(f"kept as {kept({**about, 'feeders': [asdict(each) for each in found]}, 'feeders-')}")


if __name__ == "__main__":
    main()
