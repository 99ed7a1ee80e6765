"""A feeder with a clock that stops, and the bare loop that is timed while it stands still.

The kind `timed-opendss` is the kind `opendss` with three more outputs. Every `BLOCK` steps it lets a bare loop do the
same steps on a feeder of its own, in the same process. So run and loop meet the same noise, under every engine alike.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from derloop.contract import FloatArray, Port, Values
from derloop.kind import Context
from federates.grid import opendss
from federates.grid.feeder import Feeder
from federates.grid.setpoints import AVOID_FULL_RECALC

BLOCK = 20
CLOCK = {"run_s": Port("s", ("run",)), "bare_s": Port("s", ("bare",)), "v_apart_pu": Port("pu", ("largest",))}
TRACE = "DERLOOP_BENCH_TRACE"
"""The environment variable with the path of what the feeder is given."""
FIRST = "DERLOOP_BENCH_FIRST"
"""The environment variable that is "bare" where the bare loop has the feeder that was read first.

Where a feeder lies in memory decides over some per cent of what a solution takes, and the second one read lies better.
"""
LEAST = "DERLOOP_BENCH_LEAST"
"""The environment variable with the iterations that a bare solution takes at least."""
CALL = "DERLOOP_BENCH_CALL"
"""The environment variable that is "solve" where the bare loop solves by OpenDSS's own `Solve`, as everybody does.

That has each load and generator work out anew what it draws; those which were given a setpoint have done so.
"""


@dataclass(frozen=True, slots=True)
class Trace:
    """Everything that the feeder is given in a run."""

    injections: dict[str, FloatArray]
    """By input port, shape (solutions, devices), as the port has them."""
    ends: NDArray[np.intp]
    """Of each step, the number of solutions up to its end (steps,); a loop that converges needs several."""
    v_pu: FloatArray
    """What the last solution of each step gave, shape (steps, nodes)."""

    def write(self, path: Path) -> None:
        injections: dict[str, Any] = {f"in {port}": values for port, values in self.injections.items()}
        np.savez(path, ends=self.ends, v_pu=self.v_pu, **injections)

    @staticmethod
    def read(path: Path) -> Trace:
        with np.load(path) as held:
            injections = {name[3:]: held[name] for name in held.files if name.startswith("in ")}
            return Trace(injections, held["ends"], held["v_pu"])


class BareLoop:
    """The fastest calls known: two for each group of devices, two to solve, controls included, one to read voltages."""

    def __init__(self, feeder: Any, trace: Trace) -> None:
        feeder.start()
        solver = self._solver = feeder._solver
        self._lib, self._ffi, self._ctx = solver._lib, solver._ffi, solver._ctx
        self._lib.ctx_Solution_Set_MinIterations(self._ctx, int(os.environ.get(LEAST, 2)))
        self._lib.ctx_Solution_Set_Tolerance(self._ctx, feeder._settings.tolerance)  # also where derloop judges itself
        self._measured, self._trace = feeder._measured, trace
        self._solve = self._lib.ctx_Solution_Solve if os.environ.get(CALL) == "solve" else self._solve_given
        self._writes = [write for group in feeder._drives for write in self._writes_of(group)]
        self._volts, self._solved = np.zeros(len(solver.nodes)), 0

    def _writes_of(self, group: Any) -> list[tuple[Any, ...]]:
        points = group._setpoints
        sides = zip(points._indices, (group.p_port, group.q_port), strict=True)
        values = [(index, [group.placed(row) for row in self._trace.injections[port]]) for index, port in sides]
        return [
            (points._batch, points._count, index, [self._ffi.from_buffer("double[]", row) for row in rows])
            for index, rows in values
        ]

    def _solve_given(self, ctx: Any) -> None:
        lib = self._lib
        if not lib.ctx_YMatrix_Get_SystemYChanged(ctx):
            lib.ctx_Solution_SolvePflow(ctx)
            lib.ctx_Solution_Set_ControlActionsDone(ctx, 0)
            lib.ctx_Solution_CheckControls(ctx)
            if lib.ctx_Solution_Get_ControlActionsDone(ctx):
                return
        lib.ctx_Solution_Solve(ctx)

    def again(self) -> None:
        """Begin anew with the powers of the first step."""
        self._solved = 0

    def run(self, steps: int, pause: Callable[[], None] | None = None) -> float:
        """Do all up to the step `steps`; return the seconds. `pause` comes before each solution, and is not counted."""
        lib, ctx, pointer, write = self._lib, self._ctx, self._ffi.new("double *[1]"), self._lib.BatchOperation_Set
        size, volts, writes = 16 * (len(self._volts) + 1), self._volts, self._writes
        first, self._solved = self._solved, int(self._trace.ends[steps - 1])
        paused_s, began = 0.0, perf_counter()
        for solution in range(first, self._solved):
            if pause:
                left = perf_counter()
                pause()
                paused_s += perf_counter() - left
            for batch, count, index, rows in writes:
                lib.Batch_Float64Array(batch, count, index, write, rows[solution], AVOID_FULL_RECALC)
            self._solve(ctx)
            lib.ctx_YMatrix_getVpointer(ctx, pointer)
            np.abs(np.frombuffer(self._ffi.buffer(pointer[0], size), dtype=np.complex128)[1:], out=volts)
        return perf_counter() - began - paused_s

    def v_apart_pu(self, steps: int) -> float:
        """Return the largest difference between the voltages here and those of the run, after `steps` steps."""
        return float(np.abs(self._measured.magnitudes_pu() - self._trace.v_pu[steps - 1]).max())


class TimedFeeder(opendss.OpenDssFeeder):
    """A feeder with a clock. Outputs beside those of the feeder:

    - `run_s`: the monotonic clock, less all that the bare loop has taken,
    - `bare_s`: what the bare loop has taken for the blocks so far,
    - `v_apart_pu`: how far the loop's voltages were from the run's at the end of the last block.
    """

    def __init__(self, settings: opendss.OpenDssSettings, context: Context) -> None:
        trace = os.environ.get(TRACE)
        read = [context.feeder if isinstance(context.feeder, Feeder) else Feeder(settings, context)]
        if trace:
            read.append(Feeder(settings, context))
        is_later = bool(trace) and os.environ.get(FIRST) == "bare"
        self._bare_feeder = opendss.OpenDssFeeder(settings, context, read[0]) if is_later else None
        super().__init__(settings, context, read[is_later])
        if trace and not is_later:
            self._bare_feeder = opendss.OpenDssFeeder(settings, context, read[1])
        self._trace_path, self._timed_ns, self._stopped_s = trace, -1, 0.0
        self._clock = self._told.vector[-len(CLOCK) :]

    def _outputs(self) -> dict[str, Port]:
        return {**super()._outputs(), **CLOCK}

    def start(self) -> Values:
        traced = self._bare_feeder and self._trace_path
        self._bare = BareLoop(self._bare_feeder, Trace.read(Path(traced))) if traced else None
        return super().start()

    def iterate(self, now_ns: int, inputs: Values) -> Values:
        if now_ns != self._timed_ns:
            self._timed_ns = now_ns
            done = now_ns // self.interface.step_ns
            if self._bare and done and done % BLOCK == 0:
                self._let_run(self._bare, done)
        return super().iterate(now_ns, inputs)

    def conclude(self) -> Values:
        told = super().conclude()
        self._clock[0] = perf_counter() - self._stopped_s
        return told

    def _let_run(self, bare: BareLoop, steps: int) -> None:
        began = perf_counter()
        self._clock[1] += bare.run(steps)
        self._clock[2] = bare.v_apart_pu(steps)
        self._stopped_s += perf_counter() - began


KIND = replace(opendss.KIND, name="timed-opendss", build=TimedFeeder)
