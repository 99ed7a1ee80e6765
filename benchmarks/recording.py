"""What recording costs beside plain numpy written to disk: `python benchmarks/recording.py [--steps 86400]`.

10 000 signals of one federate at each step, as a run records them, in turns with `values.tofile(file)`: blocks of both
alternate, so that they meet the same machine. Both files are on the same disk. Then what the end of a run makes of the
stream: a Parquet file.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import tempfile
from datetime import datetime
from pathlib import Path
from statistics import median
from time import perf_counter

import numpy as np
from rich.console import Console
from rich.table import Table

from derloop.contract import FloatArray, Interface, Port
from derloop.results.recorder import Recorder
from derloop.results.store import finish

HERE = Path(__file__).resolve().parent
SIGNALS = 10_000
BLOCK = 480
S = 1_000_000_000


def measured(steps: int, folder: Path) -> dict[str, float]:
    """Record `steps` steps, and write as many with numpy; return the figures."""
    interface = Interface(S, outputs={"v_pu": Port("pu", tuple(f"n{i}" for i in range(SIGNALS)))})
    recorder = Recorder(folder, {"grid": interface})
    rng = np.random.default_rng(1)
    drawn = rng.normal(1.0, 0.01, (64, SIGNALS))
    ours, theirs = [], []
    before_kb = 0
    with (folder / "plain.bin").open("wb", buffering=0) as plain:
        for first in range(0, steps, BLOCK):
            block = range(first, min(first + BLOCK, steps))
            ours.append(_recorded(recorder, block, drawn))
            began = perf_counter()
            for step in block:
                drawn[step % 64].tofile(plain)
            theirs.append((perf_counter() - began) / len(block))
            before_kb = before_kb or _most_kb()
    recorder.close()
    grown_kb = _most_kb() - before_kb
    (folder / "plain.bin").unlink()
    began = perf_counter()
    finish(folder)
    return {
        "steps": steps,
        "ours_us": median(ours) * 1e6,
        "plain_us": median(theirs) * 1e6,
        "ratio": median(a / b for a, b in zip(ours, theirs, strict=True)),
        "ratio_of_all": sum(ours) / sum(theirs),
        "grown_mb": grown_kb / 1000,
        "finish_s": perf_counter() - began,
        "plain_s": sum(theirs) * BLOCK,
        "ours_s": sum(ours) * BLOCK,
    }


def _recorded(recorder: Recorder, block: range, drawn: FloatArray) -> float:
    began = perf_counter()
    for step in block:
        recorder.observe("grid", step * S, {"v_pu": drawn[step % 64]})
    return (perf_counter() - began) / len(block)


def _most_kb() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=86_400)
    parser.add_argument("--folder", type=Path, default=HERE / "results", help="where to write: 80 kB a step, twice")
    asked = parser.parse_args()
    asked.folder.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=asked.folder) as folder:
        found = measured(asked.steps, Path(folder))
    table = Table(title=f"{SIGNALS:,} signals, {asked.steps:,} steps")
    for column in found:
        table.add_column(column, justify="right")
    table.add_row(*(f"{value:,.2f}" for value in found.values()))
    Console(width=140).print(table)
    said = {"date": datetime.now().astimezone().isoformat(timespec="seconds"), "load": os.getloadavg(), **found}
    path = HERE / "results" / f"recording-{datetime.now():%Y-%m-%d-%H%M%S}.json"
    path.write_text(json.dumps(said, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
