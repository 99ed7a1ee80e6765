"""What derloop costs beside a bare OpenDSS loop: `python benchmarks/run.py [--quick] [--only NAME ...]`.

See README.md beside this file for what is measured and how.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import pairwise, product
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np
from cases import CASES, MOVERS, Case, Mover
from kept import facts, kept
from rich.console import Console
from rich.table import Table
from timed import BLOCK, CALL, FIRST, LEAST, TRACE, Trace, timed
from tracing import traced

from derloop.contract import FloatArray

HERE = Path(__file__).resolve().parent
WARM_UP = 0.2
"""The share of a run's blocks that is not counted: late imports, caches, the first controls."""
QUICKEST = 0.25
"""The share of the blocks by which `ratio_quiet` is told: what others do on the machine can only add to a block."""
COLUMNS = ("solutions/step", "steps/s", "bare steps/s", "ratio", "(least..most)", "quiet", "added ms/step", "V apart")


@dataclass(frozen=True, slots=True)
class Run:
    """One run by blocks: seconds a step in the run, and in the bare loop right after each block."""

    step_s: FloatArray
    bare_s: FloatArray
    v_apart_pu: float


@dataclass(frozen=True, slots=True)
class Cost:
    """One case under one mover: medians over the blocks of all rounds."""

    case: str
    mover: str
    steps: int
    solutions_a_step: float
    steps_per_s: float
    bare_steps_per_s: float
    ratio: float
    ratio_least: float
    """The least and the most of the rounds' medians."""
    ratio_most: float
    ratio_quiet: float
    """Of what the quickest blocks take at most (`QUICKEST`), on either side."""
    added_ms: float
    v_apart_pu: float
    """The largest difference between a voltage of the bare loop and of the run."""


@dataclass(frozen=True, slots=True)
class Start:
    """Seconds from the start of a process, medians."""

    case: str
    mover: str
    imported_s: float
    """Python, and all that the run has imported before its federates start, alone."""
    first_step_s: float
    """Until the feeder has been solved for the first instant."""
    ended_s: float


def measured(case: Case, movers: Sequence[Mover], rounds: int) -> Iterator[Cost]:
    """Run the case `rounds` times under every mover in turn, with a bare loop within each run.

    In every other round the bare loop has the feeder that was read first.
    """
    trace = traced(case)
    runs: dict[Mover, list[Run]] = {mover: [] for mover in movers}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.npz"
        trace.write(path)
        with _environment(TRACE, str(path)):
            for number, mover in product(range(rounds), movers):
                with _environment(FIRST, "bare" if number % 2 else "run"):
                    runs[mover].append(_run(case, mover, Path(folder) / f"{mover.engine}-{mover.placement}-{number}"))
    for mover in movers:
        yield _cost(case, mover, trace, runs[mover])


def _run(case: Case, mover: Mover, folder: Path) -> Run:
    result = timed(case.path, case.overrides, mover.engine, mover.placement, folder)
    # The clock at the end of each block's last step; the bare loop's time for that block is known one step later.
    run_s = result["grid.run_s"][BLOCK - 1 :: BLOCK, 0]
    bare_s = result["grid.bare_s"][BLOCK::BLOCK, 0]
    skipped = round(len(bare_s) * WARM_UP)
    blocks = slice(skipped, len(bare_s) - 1)
    apart = float(result["grid.v_apart_pu"].max())
    return Run(np.diff(run_s)[blocks] / BLOCK, np.diff(bare_s)[blocks] / BLOCK, apart)


def _cost(case: Case, mover: Mover, trace: Trace, runs: Sequence[Run]) -> Cost:
    step_s = np.concatenate([each.step_s for each in runs])
    bare_s = np.concatenate([each.bare_s for each in runs])
    of_rounds = [float(np.median(each.step_s / each.bare_s)) for each in runs]
    return Cost(
        case=case.name,
        mover=mover.name,
        steps=case.steps,
        solutions_a_step=float(trace.ends[-1]) / len(trace.ends),
        steps_per_s=float(1 / np.median(step_s)),
        bare_steps_per_s=float(1 / np.median(bare_s)),
        ratio=float(np.median(step_s / bare_s)),
        ratio_least=min(of_rounds),
        ratio_most=max(of_rounds),
        ratio_quiet=float(np.quantile(step_s, QUICKEST) / np.quantile(bare_s, QUICKEST)),
        added_ms=float(np.median(step_s - bare_s)) * 1000,
        v_apart_pu=max(each.v_apart_pu for each in runs),
    )


def started(case: Case, mover: Mover, rounds: int) -> Start:
    """Time the start in fresh processes."""
    words = [str(case.path), mover.engine, mover.placement, *case.overrides]
    found = []
    with tempfile.TemporaryDirectory() as folder:
        modules = Path(folder) / "modules.json"
        for _ in range(rounds):
            began = perf_counter()
            clock = _said("startup.py", *words)
            ended_s = perf_counter() - began
            modules.write_text(json.dumps(clock["modules"]), encoding="utf-8")
            began_again = perf_counter()
            imported_s = _said("startup.py", "--imports", str(modules))["imported_s"] - began_again
            found.append((imported_s, clock["first_s"] - began, ended_s))
    return Start(case.name, mover.name, *(median(column) for column in zip(*found, strict=True)))


def _said(program: str, *words: str) -> Any:
    """Return what a program beside this one prints, as JSON."""
    ended = subprocess.run([sys.executable, str(HERE / program), *words], capture_output=True, text=True)
    if ended.returncode:
        raise SystemExit(f"{program} {' '.join(words)}: {ended.stderr.strip()[-500:]}")
    return json.loads(ended.stdout)


def cost_table(costs: Sequence[Cost]) -> Table:
    table = Table(title="Stepping, everything recorded, beside a bare OpenDSS loop")
    for column in ("case", "mover"):
        table.add_column(column)
    for column in COLUMNS:
        table.add_column(column, justify="right")
    for before, cost in pairwise([None, *costs]):
        assert cost
        if before and before.case != cost.case:
            table.add_section()
        table.add_row(
            cost.case,
            cost.mover,
            f"{cost.solutions_a_step:.2f}",
            f"{cost.steps_per_s:,.0f}",
            f"{cost.bare_steps_per_s:,.0f}",
            f"{cost.ratio:.2f}",
            f"{cost.ratio_least:.2f}..{cost.ratio_most:.2f}",
            f"{cost.ratio_quiet:.2f}",
            f"{cost.added_ms:.3f}",
            f"{cost.v_apart_pu:.0e}",
        )
    return table


def start_table(starts: Sequence[Start]) -> Table:
    table = Table(title="Start in a fresh process, s")
    for column in ("case", "mover"):
        table.add_column(column)
    for column in ("imports alone", "first step", "added", "ended"):
        table.add_column(column, justify="right")
    for start in starts:
        added_s = start.first_step_s - start.imported_s
        figures = (start.imported_s, start.first_step_s, added_s, start.ended_s)
        table.add_row(start.case, start.mover, *(f"{figure:.2f}" for figure in figures))
    return table


@contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
    os.environ[name] = value
    try:
        yield
    finally:
        del os.environ[name]


def _asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a fifth of the steps, two rounds")
    parser.add_argument("--only", action="append", metavar="NAME", help="cases whose name holds NAME; may be repeated")
    parser.add_argument("--mover", action="append", metavar="NAME", help="movers whose name holds NAME")
    parser.add_argument("--rounds", type=int, help="runs of each, with a bare loop in each; an even number (default 6)")
    help_least = "iterations of a bare solution at least (default 2, as OpenDSS has it)"
    parser.add_argument("--bare-least", type=int, default=2, metavar="N", help=help_least)
    help_call = "given: the fastest calls known; solve: OpenDSS's own Solve"
    parser.add_argument("--bare-call", choices=("given", "solve"), default="given", help=help_call)
    return parser.parse_args()


def main() -> None:
    asked, console = _asked(), Console(width=140)
    rounds = asked.rounds or (2 if asked.quick else 6)
    cases = [c for c in CASES if not asked.only or any(part in c.name for part in asked.only)]
    movers = [m for m in MOVERS if not asked.mover or any(part in m.name for part in asked.mover)]
    if not cases or not movers:
        raise SystemExit(f"cases: {', '.join(c.name for c in CASES)}; movers: {', '.join(m.name for m in MOVERS)}")
    known = facts(rounds=rounds, bare_least=asked.bare_least, bare_call=asked.bare_call)
    costs: list[Cost] = []
    for case in cases:
        told = _environment(LEAST, str(asked.bare_least)), _environment(CALL, asked.bare_call)
        with console.status(case.what), told[0], told[1]:
            costs += measured(case.shortened(0.2) if asked.quick else case, movers, rounds)
    console.print(cost_table(costs))
    shortest = cases[0].shortened(0.05)
    with console.status("start in a fresh process"):
        starts = [started(shortest, mover, rounds) for mover in movers]
    console.print(start_table(starts))
    figures = {"costs": [asdict(cost) for cost in costs], "starts": [asdict(start) for start in starts]}
    console.print(f"kept as {kept(known | figures)}")


if __name__ == "__main__":
    main()
