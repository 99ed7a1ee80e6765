"""One OpenDSS engine of our own, its fast calls bound.

- A feeder file is read by `circuit.py`; what is in it, by `inventory.py`; what its elements draw, by `elements.py`.
- Each `Solver` has its own context; nothing of the process's default engine is touched, nor the working directory.
- Setpoints go in as arrays (`setpoints.py`); voltages are read through a view of the solution vector. Both were proven
  equal to the plain calls (`tests/unit/test_solver.py`).
"""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from derloop.contract import FloatArray
from federates.grid import circuit
from federates.grid.earthing import unearthed
from federates.grid.elements import Elements
from federates.grid.engine import SolverError, command, new_context
from federates.grid.movement import LEAST_V, Movement, of_buses
from federates.grid.positions import Positions
from federates.grid.views import View

WHOLE_MATRIX = 2
"""OpenDSS `WHOLEMATRIX`; 1 is the matrix of series elements alone, with which a solution begins from nothing."""

USUAL_ITERATIONS = 2
"""OpenDSS `MinIterations`, where nobody says otherwise."""

WHATEVER = 1e30
"""A tolerance that every iteration keeps."""

OFF = -1
"""OpenDSS `ControlModes_Off`."""

MOST_MOVES = 100
"""How often the feeder's controls may move something within one solution."""


class Solver:
    """A feeder in OpenDSS."""

    def __init__(self, feeder: Path) -> None:
        self._dss = new_context()
        api = self._dss._api_util
        self._lib, self._ffi, self._ctx = api.lib_unpatched, api.ffi, api.ctx
        self._pointer = self._ffi.new("double *[1]")
        self._volts = View(self._ffi, skipped=1)
        self.has_acted = False
        """Whether a control of the feeder's may have moved something in the last solution: it was solved again then."""
        self._has_failed = True
        self._least: int | None = None
        """How many iterations a solution takes at least, as the file has it; known once it is prepared."""
        self._movement: Movement | None = None
        """By what it judges when to end; None: OpenDSS does."""
        self.built = 0
        """How often its matrix was built anew: after each move of a tap or a bank, it is."""
        self._error = self._lib.ctx_Error_Get_NumberPtr(self._ctx)
        circuit.read(self._dss, feeder)
        self.positions = Positions(self._dss)

    @property
    def dss(self) -> Any:
        """The engine itself, for those who operate and measure what is in the feeder."""
        return self._dss

    def _run(self, text: str) -> None:
        command(self._dss, text)

    def prepare(self, controls: bool, tolerance: float, max_iterations: int) -> None:
        """Set how it solves, and solve once, so that the list of nodes is final.

        OpenDSS waits for every voltage to ground. Where nothing earths a part of the feeder, and rounding moves that
        more than the tolerance allows, the solver judges by itself when a solution has been found (`Movement`).
        """
        self._tolerance, self._max_iterations = tolerance, max_iterations
        self._order: dict[str, int] = {}
        self._where: NDArray[np.intp] | None = None
        self._movement = None
        self._least = self._least or self._lib.ctx_Solution_Get_MinIterations(self._ctx)
        self._have_iterate(self._least, tolerance)
        circuit.take_snapshots(self._dss)
        self._run(f"Set controlmode={'static' if controls else 'off'}")
        # Newton's algorithm stops farther off
        self._run(f"Set maxiterations={max_iterations} maxcontroliter={MOST_MOVES} algorithm=normal")
        self._run("MakeBusList")  # of what was added, too
        if lost := unearthed(self._dss):
            self._judge(lost)
        if not self._movement:
            self.solve()
            self._order = self._node_order()
        self.elements = Elements(self._dss)

    def _judge(self, unearthed: Collection[str]) -> None:
        """Solve with iterations that end by `Movement`, and go on with these where rounding would be waited for."""
        self._have_iterate(least=1, tolerance=WHATEVER)
        self._solve_without_controls()
        self._order = self._node_order()
        movement = self._movement = Movement(self._tolerance, self._bases_v(), of_buses(unearthed, self._order))
        self.solve()
        self._movement = movement.of_restless(partial(self._iterate_once, movement), self._max_iterations)
        if not self._movement:
            self._have_iterate(self._least, self._tolerance)

    def _bases_v(self) -> FloatArray:
        """Return the base voltages (nodes,), line to neutral, V."""
        circuit, bus = self._dss.Circuit, self._dss.Bus
        of_bus = {}
        for name in circuit.AllBusNames():
            circuit.SetActiveBus(name)
            of_bus[name.lower()] = 1000.0 * bus.kVBase()
        return np.array([of_bus[node.rpartition(".")[0]] for node in self._order])

    @property
    def nodes(self) -> tuple[str, ...]:
        """Every node as "bus.phase", lower case, in the order of `voltages`."""
        return tuple(self._order)

    def voltages(self) -> NDArray[np.complex128]:
        """Return the node voltages in V, to ground, shape (nodes,), valid until the next solution."""
        found = self._held()
        return found if self._where is None else found[self._where]

    def _held(self) -> NDArray[np.complex128]:
        """Return the voltages where the solver has them, in its own order; a solution begins with what is there."""
        self._lib.ctx_YMatrix_getVpointer(self._ctx, self._pointer)
        return self._volts.at(self._pointer[0], len(self._order) + 1)

    def solve(self) -> None:
        """Solve, whatever has been changed; raise SolverError where OpenDSS found no solution.

        Where a tap or a bank has moved, OpenDSS adds the change to its matrix, whose last digits then depend on every
        move there was; it is built anew, so that they depend on where everything stands alone.
        """
        self.has_acted = False
        self._solve()

    def _solve(self) -> None:
        if self._movement:
            self._solve_judging()
            return
        moved, self._has_failed = self.is_rearranged, True
        self._lib.ctx_Solution_Solve(self._ctx)
        self._check()
        self.has_acted |= self._lib.ctx_Solution_Get_ControlIterations(self._ctx) > 1
        if moved or self.has_acted:
            self.build_matrix()
        self._has_failed = False

    def _solve_judging(self) -> None:
        for _ in range(MOST_MOVES):
            moved, self._has_failed = self.is_rearranged, True
            self._solve_without_controls()
            if moved:
                self._find_nodes()
            if moved or self.has_acted:
                self.build_matrix()
            self.iterate()
            if not self._controls_act():
                return
            self.has_acted = True
        raise SolverError(f"the feeder's controls have not come to rest after {MOST_MOVES} moves")

    def _solve_without_controls(self) -> None:
        mode = self._lib.ctx_Solution_Get_ControlMode(self._ctx)
        self._lib.ctx_Solution_Set_ControlMode(self._ctx, OFF)
        self._lib.ctx_Solution_Solve(self._ctx)
        self._lib.ctx_Solution_Set_ControlMode(self._ctx, mode)
        self._check()

    def solve_given(self) -> None:
        """Solve as `solve` does, to the bit, where nothing but setpoints has been given since it was last solved.

        `solve` has every load and generator work out anew what it is to draw, which one that is given a setpoint does
        at once: a seventh of a solution with thousands of them.
        """
        if self.is_rearranged:
            self.solve()
        else:
            self.iterate()
            self.let_controls_act()

    @property
    def is_rearranged(self) -> bool:
        """Whether the next solution must be a whole one: the matrix is not that of the last, or there was no last."""
        return self._has_failed or bool(self._lib.ctx_YMatrix_Get_SystemYChanged(self._ctx))

    def iterate(self) -> None:
        """Iterate to the tolerance, as `solve_given` does; controls have not acted then."""
        if not self._movement:
            self._iterate()
        elif not any(self.iterate_once(self._movement) for _ in range(self._max_iterations)):
            self._has_failed = True
            raise SolverError(f"no solution after {self._max_iterations} iterations{self._unrest()}")

    def _iterate(self) -> None:
        self._has_failed = True
        self._lib.ctx_Solution_SolvePflow(self._ctx)
        self._check()
        self._has_failed = False

    def iterate_once(self, movement: Movement) -> bool:
        """Do one iteration, however far from the solution; return whether it moved what the tolerance allows."""
        self._iterate_once(movement)
        return movement.is_within()

    def _iterate_once(self, movement: Movement) -> None:
        movement.begin(self.voltages())
        if self._movement:
            self._iterate()
        else:
            self._have_iterate(least=1, tolerance=WHATEVER)
            try:
                self._iterate()
            finally:
                self._have_iterate(self._least, self._tolerance)
        movement.end(self.voltages())

    def _have_iterate(self, least: int | None, tolerance: float) -> None:
        """Have OpenDSS do so many iterations at least, and more until they move magnitudes by less than this."""
        self._lib.ctx_Solution_Set_MinIterations(self._ctx, least)
        self._lib.ctx_Solution_Set_Tolerance(self._ctx, tolerance)

    def let_controls_act(self) -> None:
        """End a solution: let the feeder's controls look at it, and solve again for what they have moved."""
        self.has_acted = self._controls_act()
        if self.has_acted:
            self._solve()

    def _controls_act(self) -> bool:
        """Let the feeder's controls look at a solution; return whether they have moved something."""
        self._has_failed = True
        self._lib.ctx_Solution_Set_ControlActionsDone(self._ctx, 0)
        self._lib.ctx_Solution_CheckControls(self._ctx)
        self._check()
        self._has_failed = False
        return not self._lib.ctx_Solution_Get_ControlActionsDone(self._ctx)

    def _check(self) -> None:
        if self._error[0]:
            self._raise()
        if not self._lib.ctx_Solution_Get_Converged(self._ctx):
            raise SolverError(f"no solution after {self._dss.Solution.Iterations()} iterations{self._unrest()}")

    def _unrest(self) -> str:
        """Return what another iteration still moves; the voltages are left as they are."""
        self._order = self._order or self._node_order()
        names, before = self.nodes, self.voltages().copy()
        self._lib.ctx_Solution_Set_MaxIterations(self._ctx, 1)
        self._lib.ctx_Solution_SolvePflow(self._ctx)
        self._lib.ctx_Solution_Set_MaxIterations(self._ctx, self._max_iterations)
        with np.errstate(all="ignore"):
            moved_v = self.voltages() - before
            if self._movement:
                self._movement.judged(moved_v)
            moved = np.abs(moved_v) / np.maximum(self._bases_v(), LEAST_V)
        self.begin_with(before)
        if not np.isfinite(moved).all():
            return ": voltages are beyond all numbers"
        worst = int(moved.argmax())
        return f": another one still moves {names[worst]!r} by {moved[worst]:.1e} of its base voltage"

    @property
    def judges_iterations(self) -> bool:
        """Whether it judges by itself when to end, as `prepare` says."""
        return self._movement is not None

    @property
    def has_usual_iterations(self) -> bool:
        """Whether a solution takes two iterations at least, as it does unless a feeder file says otherwise."""
        return self._least == USUAL_ITERATIONS

    def build_matrix(self) -> None:
        """Build the matrix of all admittances, of loads at their powers of now."""
        self.built += 1
        self._lib.ctx_YMatrix_BuildYMatrixD(self._ctx, WHOLE_MATRIX, 0)

    def _raise(self) -> None:
        """Raise what OpenDSS says is wrong, and let it forget that."""
        try:
            self._dss.Solution._check_for_error()
        except Exception as error:
            raise SolverError(" ".join(str(error).split())) from error

    def _node_order(self) -> dict[str, int]:
        return {name.lower(): i for i, name in enumerate(self._dss.Circuit.YNodeOrder())}

    # --- where solutions begin, and what is switched before them -------------------------------------

    def quench(self, dead: NDArray[np.bool_]) -> None:
        """Let the voltages of dead nodes (nodes,) be none, for solutions to begin with."""
        where = np.arange(dead.size) if self._where is None else self._where
        self._held()[where[dead]] = 0.0

    def begin_with(self, volts: NDArray[np.complex128]) -> None:
        """Let the next solution begin with these voltages (nodes,), V."""
        self._held()[... if self._where is None else self._where] = volts

    def begin_further(self, last_v: NDArray[np.complex128], by_v: NDArray[np.complex128]) -> None:
        """Let the next solution begin with the voltages of the last, as `voltages` has just given them, and `by_v`."""
        if self._where is None:
            last_v += by_v
        else:
            self._held()[self._where] += by_v

    def rearrange(self) -> NDArray[np.intp]:
        """Solve with what was switched; return where OpenDSS has each node (nodes,) since then.

        What cannot be solved shows later: here it is the matrix that is needed, which is built before.
        """
        if not self._held().any():  # from nothing, generators that hold a voltage lead beyond all numbers
            self._solve_directly()
        try:
            self.solve()
        except SolverError:
            self._solve_directly()
        if self._has_failed or not self._movement:  # else it has, to judge by them
            self._find_nodes()
        return np.arange(len(self._order)) if self._where is None else self._where

    def _solve_directly(self) -> None:
        """Let a solution begin with what it would be were loads admittances, where OpenDSS finds that."""
        with suppress(Exception):
            self._dss.Solution.SolveDirect()

    def _find_nodes(self) -> None:
        """Take note of where OpenDSS has the nodes (nodes,) now: sources in and out of service change its order."""
        order = self._node_order()
        where = np.array([order[name] for name in self._order], dtype=np.intp)
        self._where = None if (where == np.arange(where.size)).all() else where

    def with_controls(self, on: bool) -> None:
        """Let the feeder's own controls act in solutions from now on, or not."""
        self._run(f"Set controlmode={'static' if on else 'off'}")

    def answer(self, currents_a: NDArray[np.complex128]) -> NDArray[np.complex128]:
        """Return by how much the voltages (nodes,), V, move for small currents into the nodes (nodes,), A.

        To first order, every element as the admittance that it has in Y. The solution stays as it is.
        """
        size = 16 * (len(self._order) + 1)
        self._lib.ctx_YMatrix_getIpointer(self._ctx, self._pointer)
        into = np.frombuffer(self._ffi.buffer(self._pointer[0], size), dtype=np.complex128)
        where = slice(None) if self._where is None else self._where
        into[0], into[1:][where] = 0.0, currents_a
        moved = np.zeros(len(self._order) + 1, np.complex128)
        self._lib.ctx_YMatrix_SolveSystem(self._ctx, self._ffi.from_buffer("double[]", moved.view(np.float64)))
        found: NDArray[np.complex128] = moved[1:][where]
        return found
