"""Where the time of a step goes: `python benchmarks/stages.py [--only ieee13-10-delayed ...] [--engine local helics]`.

A clock is put around each part of a step, in a run as a user's; what a part calls that has a clock itself is not
counted twice, so that the parts add up to the step. A clock costs about a microsecond, which its caller is charged.
The time between steps of a unit, in which the engine works, is what is left of the step.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from time import perf_counter_ns
from typing import Any, NamedTuple

import numpy as np
from cases import CASES, Case
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from timed import timed

from derloop.engines.exchange import Inbox, Outbox
from derloop.engines.hunting import Watch
from derloop.engines.loop import Loop
from derloop.engines.outputs import Outputs
from derloop.engines.stepping import Member, Stepper
from derloop.results.recorder import Recorder
from federates.der.pv import PvFleet
from federates.der.sky import Sky
from federates.grid import powers
from federates.grid.elements import Elements
from federates.grid.group import Group
from federates.grid.head import Head
from federates.grid.opendss import OpenDssFeeder
from federates.grid.setpoints import Setpoints
from federates.grid.solver import Solver
from federates.grid.warm_start import WarmStart

SOLUTION = "OpenDSS: the solution"
STAGES: dict[str, tuple[tuple[type, str], ...]] = {
    "OpenDSS: it is given powers": ((Setpoints, "write"),),
    SOLUTION: ((Solver, "_solve"), (Solver, "iterate"), (Solver, "let_controls_act")),
    "OpenDSS: it tells powers": ((powers.Each, "drawn"), (powers.Summed, "drawn"), (Elements, "powers_of")),
    "feeder: what is given": ((Group, "write"), (Head, "write")),
    "feeder: where a solution begins": ((WarmStart, "begin"), (WarmStart, "end")),
    "feeder: sums of powers": ((powers.Each, "totals"), (powers.Summed, "totals"), (Group, "tell_solved")),
    "feeder: voltages": ((OpenDssFeeder, "_volts"), (OpenDssFeeder, "_check_sane"), (Group, "tell_seen")),
    "feeder: the rest": ((OpenDssFeeder, "step"), (OpenDssFeeder, "iterate"), (OpenDssFeeder, "conclude")),
    "rooftops": ((PvFleet, "step"),),
    "sky": ((Sky, "step"),),
    "outputs taken and checked": ((Outputs, "take"),),
    "moved": ((Inbox, "read"), (Outbox, "post")),
    "recorded": ((Recorder, "observe"),),
    "watched for hunting": ((Watch, "see"),),
    "converging": ((Loop, "step"),),
    "steps of units, failures named": ((Stepper, "step"), (Member, "_stepped")),
}
BETWEEN = "engine, between the units' steps"
WHOLE = "the whole step"
WARM_UP = 0.2


class Span(NamedTuple):
    stage: str
    began_ns: int
    own_ns: int


class Clocks:
    """Clocks around the methods of `STAGES`, while it is entered."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self._inner_ns: list[int] = []
        self._plain: list[tuple[type, str, Any]] = []

    def __enter__(self) -> Clocks:
        for stage, methods in STAGES.items():
            for owner, name in methods:
                self._plain.append((owner, name, owner.__dict__[name]))
                setattr(owner, name, self._timed(stage, owner.__dict__[name]))
        return self

    def __exit__(self, *_: object) -> None:
        for owner, name, plain in self._plain:
            setattr(owner, name, plain)

    def _timed(self, stage: str, plain: Callable[..., Any]) -> Callable[..., Any]:
        inner_ns, spans = self._inner_ns, self.spans

        def timed(*given: Any) -> Any:
            inner_ns.append(0)
            began_ns = perf_counter_ns()
            try:
                return plain(*given)
            finally:
                took_ns = perf_counter_ns() - began_ns
                own_ns = took_ns - inner_ns.pop()
                if inner_ns:
                    inner_ns[-1] += took_ns
                spans.append(Span(stage, began_ns, own_ns))

        return timed


def measured(case: Case, engine: str) -> dict[str, float]:
    """Return the microseconds of each stage, and of the whole step: means over the middle half of the steps by length.

    So a stage that is rare, or long now and then, counts as it does in most steps, and all of them make up the whole.
    """
    overrides = [each for each in case.overrides if "timed-opendss" not in each]
    with Clocks() as clocks, tempfile.TemporaryDirectory() as folder:
        timed(case.path, overrides, engine, "together", Path(folder) / "run")
    found = dict(by_step(clocks.spans, case.steps))
    quick, slow = np.quantile(found[WHOLE], [0.25, 0.75])
    is_usual = (found[WHOLE] >= quick) & (found[WHOLE] <= slow)
    return {stage: float(ns[is_usual].mean()) / 1000 for stage, ns in found.items()}


def by_step(spans: Sequence[Span], steps: int) -> Iterator[tuple[str, NDArray[np.float64]]]:
    """Yield the nanoseconds of each stage in each step, from one step of the sky to the next, and of the whole."""
    first = np.sort([span.began_ns for span in spans if span.stage == "sky"])[-steps:][round(steps * WARM_UP) :]
    whole = np.diff(first).astype(np.float64)
    left = whole.copy()
    for stage in STAGES:
        mine = [span for span in spans if span.stage == stage]
        where = np.searchsorted(first, [span.began_ns for span in mine], "right") - 1
        is_counted = (where >= 0) & (where < whole.size)
        own_ns = np.array([float(span.own_ns) for span in mine])
        sums = np.asarray(np.bincount(where[is_counted], own_ns[is_counted], whole.size), np.float64)
        left -= sums
        yield stage, sums
    yield BETWEEN, left
    yield WHOLE, whole


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", default=["ieee13-10-delayed"], help="cases whose name holds one of these")
    parser.add_argument("--engine", nargs="+", default=["local", "helics"])
    parser.add_argument("--share", type=float, default=1.0, help="of the steps of each case")
    given = parser.parse_args()
    cases = [case for case in CASES if any(part in case.name for part in given.only)]
    found = {(c.name, e): measured(c.shortened(given.share), e) for c in cases for e in given.engine}
    table = Table("us a step", *(f"{case}\n{engine}" for case, engine in found))
    for stage in next(iter(found.values())):
        table.add_row(stage, *(f"{each[stage]:.1f}" for each in found.values()))
    Console(width=200).print(table)


if __name__ == "__main__":
    main()
