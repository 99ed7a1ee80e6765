"""What a pause before it costs a solution: `python benchmarks/pauses.py [--only ieee9500-delayed-0.0001-head ...]`.

A co-simulation lets the solver rest while devices compute. Here the bare loop rests before each solution, and nothing
is computed but the sum of 16 kB, again and again in one call, so that neither Python nor data drive what the solver
uses from the processor's caches. What the solutions then take longer is none of derloop's work, and is paid by whatever
comes between them: caches are shared, with other machines on one processor too, and who rests loses them.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from time import perf_counter

import numpy as np
from cases import CASES, Case
from kept import facts, kept
from rich.console import Console
from rich.table import Table
from timed import BLOCK, BareLoop
from tracing import feeder_of, traced

PAUSES_US = (0, 50, 100, 200, 300, 500, 1000)
SUMMED = np.ones(2048)
"""16 kB."""
TIMED = 1000


@dataclass(frozen=True, slots=True)
class Cost:
    case: str
    pause_us: int
    step_ms: float
    """Without the pauses: median of the blocks."""
    least_ms: float
    most_ms: float
    """Medians of single rounds."""


def resting(pause_us: int) -> Callable[[], None] | None:
    """Return what sums for about so long."""
    if not pause_us:
        return None
    many = np.broadcast_to(SUMMED, (TIMED, SUMMED.size))
    once_s = min(_took_s(many) for _ in range(20)) / TIMED
    rows = np.broadcast_to(SUMMED, (max(1, round(pause_us * 1e-6 / once_s)), SUMMED.size))

    def rest() -> None:
        rows.sum()

    return rest


def _took_s(values: np.ndarray) -> float:
    began = perf_counter()
    values.sum()
    return perf_counter() - began


def measured(case: Case, pauses_us: Sequence[int], rounds: int) -> list[Cost]:
    """Time blocks of steps after each pause in turn, so that all meet the same noise."""
    trace = traced(case)
    loop = BareLoop(feeder_of(case), trace)
    rests = {pause_us: resting(pause_us) for pause_us in pauses_us}
    found: dict[int, list[list[float]]] = {pause_us: [] for pause_us in pauses_us}
    steps = len(trace.ends)
    for _ in range(rounds):
        blocks: dict[int, list[float]] = {pause_us: [] for pause_us in pauses_us}
        for pause_us in pauses_us:
            loop.again()
            for first in range(0, min(steps, 4 * BLOCK), BLOCK):
                took_s = loop.run(first + BLOCK, rests[pause_us])
                if first:  # the first block comes from another pause
                    blocks[pause_us].append(1000 * took_s / BLOCK)
        for pause_us in pauses_us:
            found[pause_us].append(blocks[pause_us])
    return [_cost(case.name, pause_us, of_rounds) for pause_us, of_rounds in found.items()]


def _cost(case: str, pause_us: int, of_rounds: Sequence[Sequence[float]]) -> Cost:
    medians = [median(blocks) for blocks in of_rounds]
    return Cost(case, pause_us, median(ms for blocks in of_rounds for ms in blocks), min(medians), max(medians))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--only", nargs="+", default=["ieee13-10-delayed", "ieee9500-delayed-0.0001-head"])
    parser.add_argument("--rounds", type=int, default=7)
    given = parser.parse_args()
    stated = facts()
    cases = [case for case in CASES if any(part in case.name for part in given.only)]
    found = [cost for case in cases for cost in measured(case, PAUSES_US, given.rounds)]
    table = Table("case", "pause us", "ms a step without it", "(rounds)", "times", title="A bare loop that rests")
    for cost in found:
        plain = next(each.step_ms for each in found if each.case == cost.case and not each.pause_us)
        rounds = f"{cost.least_ms:.3f}..{cost.most_ms:.3f}"
        table.add_row(cost.case, str(cost.pause_us), f"{cost.step_ms:.3f}", rounds, f"{cost.step_ms / plain:.2f}")
    console = Console()
    console.print(table)
    console.print(f"kept as {kept({**stated, 'pauses': [asdict(cost) for cost in found]}, 'pauses-')}")


if __name__ == "__main__":
    main()
