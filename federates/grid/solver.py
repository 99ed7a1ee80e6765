"""One OpenDSS engine of our own, its fast calls bound: the only module that imports opendssdirect.

- Each `Solver` has its own context; nothing of the process's default engine is touched, nor the working directory.
- Setpoints go in as arrays, with the flag that spares the rebuild of Y; voltages are read through a view of the
  solution vector. Both were proven equal to the plain calls (`tests/unit/test_solver.py`).
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from derloop.contract import FloatArray
from derloop.kind import Bus, Connection, FeederLoad

AVOID_FULL_RECALC = 2
"""DSS C-API `SetterFlags_AvoidFullRecalc`."""


class SolverError(Exception):
    """OpenDSS refused, or did not find a solution."""


@contextmanager
def _without_pandas() -> Iterator[None]:
    """Spare half a second: opendssdirect imports pandas wherever it is installed, and we use none of it."""
    if "pandas" in sys.modules:
        yield
        return
    sys.modules["pandas"] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules["pandas"]


def _new_context() -> Any:
    with _without_pandas():
        dss = importlib.import_module("opendssdirect").dss.NewContext()
    for allow in ("AllowEditor", "AllowForms", "AllowChangeDir", "AllowDOScmd"):
        getattr(dss.Basic, allow)(False)
    return dss


class Setpoints:
    """P and Q of a group of elements, written in two calls."""

    def __init__(self, dss: Any, element_class: str, numbers: Sequence[int], p_index: int, q_index: int) -> None:
        api = dss._api_util
        self._lib, ffi = api.lib_unpatched, api.ffi
        chosen = np.array(numbers, dtype=np.int32)
        pointer, dims = ffi.new("void ***"), ffi.new("int32_t[4]")
        self._lib.Batch_CreateByIndexS(
            api.ctx, pointer, dims, element_class.encode(), ffi.from_buffer("int32_t[]", chosen), len(chosen)
        )
        if dims[0] != len(numbers):
            raise SolverError(f"OpenDSS found {dims[0]} of {len(numbers)} elements of class {element_class}")
        self._batch, self._count = pointer[0], dims[0]
        self._p_index, self._q_index = p_index, q_index
        self.p_kw, self.q_kvar = np.zeros(len(numbers)), np.zeros(len(numbers))
        self._given_p_kw, self._given_q_kvar = np.full(len(numbers), np.nan), np.full(len(numbers), np.nan)
        self._p, self._q = ffi.from_buffer("double[]", self.p_kw), ffi.from_buffer("double[]", self.q_kvar)

    def write(self) -> None:
        """Give `p_kw` and `q_kvar` to the elements, in the element's own sign, unless they have them already.

        OpenDSS works on every element that is given a value, also the same one: a third of what a solution takes.
        """
        for index, values, pointer, given in (
            (self._p_index, self.p_kw, self._p, self._given_p_kw),
            (self._q_index, self.q_kvar, self._q, self._given_q_kvar),
        ):
            if (values != given).any():
                self._lib.Batch_Float64Array(
                    self._batch, self._count, index, self._lib.BatchOperation_Set, pointer, AVOID_FULL_RECALC
                )
                given[:] = values


class Solver:
    """A feeder in OpenDSS."""

    def __init__(self, feeder: Path) -> None:
        self._dss = _new_context()
        self._run("Clear")
        self._run(f'Redirect "{feeder}"')
        if not self._dss.Basic.NumCircuits():
            raise SolverError(f"{feeder.name} defines no circuit")
        self._run("MakeBusList")
        self._run("CalcVoltageBases")

    def _run(self, command: str) -> None:
        try:
            self._dss.Text.Command(command)
        except Exception as error:  # dss.DSSException, whose module is not imported here
            raise SolverError(" ".join(str(error).split())) from error

    def buses(self) -> dict[str, Bus]:
        """Return every bus by its lower-case name."""
        found = {}
        for name in self._dss.Circuit.AllBusNames():
            self._dss.Circuit.SetActiveBus(name)
            phases = tuple(sorted(n for n in self._dss.Bus.Nodes() if 1 <= n <= 3))
            found[name.lower()] = Bus(name.lower(), phases, self._dss.Bus.kVBase())
        return found

    def loads(self) -> dict[str, FeederLoad]:
        """Return every load of the feeder file by its lower-case name."""
        loads = self._dss.Loads
        found = {}
        for _ in range(loads.First() and loads.Count()):
            name = loads.Name().lower()
            bus, *nodes = self._dss.CktElement.BusNames()[0].lower().split(".")
            phases = tuple(int(n) for n in nodes if 1 <= int(n) <= 3) or (1, 2, 3)[: self._dss.CktElement.NumPhases()]
            connection: Connection = "delta" if loads.IsDelta() else "wye"
            found[name] = FeederLoad(name, bus, phases, connection, loads.kW(), loads.kvar())
            loads.Next()
        return found

    def regulators(self) -> tuple[str, ...]:
        """Return the names of the tap-changer controls."""
        return tuple(self._dss.RegControls.AllNames()) if self._dss.RegControls.Count() else ()

    def add_injection(self, name: str, bus: str, phases: Sequence[int], kv: float) -> None:
        """Add a device that injects constant power; kv is line to neutral for one phase, line to line for more."""
        nodes = ".".join(map(str, phases))
        self._run(
            f"New Generator.{name} bus1={bus}.{nodes} phases={len(phases)} kV={kv!r} kW=0 kvar=0 model=1 "
            "vminpu=0.3 vmaxpu=2 enabled=yes"
        )

    def injections(self, names: Sequence[str]) -> Setpoints:
        """Return the setpoints of devices that were added, in this order."""
        return self._setpoints("Generator", self._dss.Generators.AllNames(), names)

    def drawn_by(self, names: Sequence[str]) -> Setpoints:
        """Return the setpoints of loads of the feeder file, in this order; positive when drawn."""
        return self._setpoints("Load", self._dss.Loads.AllNames(), names)

    def _setpoints(self, element_class: str, existing: Sequence[str], names: Sequence[str]) -> Setpoints:
        number = {name.lower(): index + 1 for index, name in enumerate(existing)}
        self._dss.Circuit.SetActiveElement(f"{element_class}.{names[0]}")
        properties = [name.lower() for name in self._dss.Element.AllPropertyNames()]
        p_index, q_index = properties.index("kw") + 1, properties.index("kvar") + 1
        return Setpoints(self._dss, element_class, [number[n.lower()] for n in names], p_index, q_index)

    def prepare(self, controls: bool, tolerance: float, max_iterations: int) -> None:
        """Set how it solves, and solve once, so that the list of nodes is final."""
        self._run(f"Set mode=snap controlmode={'static' if controls else 'off'} tolerance={tolerance!r}")
        self._run(f"Set maxiterations={max_iterations} maxcontroliter=100")
        self.solve()
        self._order = {name.lower(): i for i, name in enumerate(self._dss.Circuit.YNodeOrder())}
        api = self._dss._api_util
        self._lib, self._ffi, self._ctx = api.lib_unpatched, api.ffi, api.ctx
        self._pointer = self._ffi.new("double *[1]")
        self._find_elements()

    def _find_elements(self) -> None:
        """Tell apart what feeds, what delivers (lines, transformers, capacitors: it has losses) and what draws."""
        self.elements = tuple(name.lower() for name in self._dss.Circuit.AllElementNames())
        delivering = {name.lower() for name in self._dss.PDElements.AllNames()}
        self.sources = np.flatnonzero([name.startswith("vsource.") for name in self.elements])
        self.delivery = np.flatnonzero([name in delivering for name in self.elements])

    @property
    def nodes(self) -> tuple[str, ...]:
        """Every node as "bus.phase", lower case, in the order of `voltages`."""
        return tuple(self._order)

    def voltages(self) -> NDArray[np.complex128]:
        """Return the node voltages in V, shape (nodes,): a view that holds until the next solution."""
        self._lib.ctx_YMatrix_getVpointer(self._ctx, self._pointer)
        size = 16 * (len(self._order) + 1)
        return np.frombuffer(self._ffi.buffer(self._pointer[0], size), dtype=np.complex128)[1:]

    def solve(self) -> None:
        """Solve; raise SolverError where OpenDSS found no solution."""
        try:
            self._dss.Solution.Solve()
        except Exception as error:
            raise SolverError(" ".join(str(error).split())) from error
        if not self._dss.Solution.Converged():
            raise SolverError(f"no solution after {self._dss.Solution.Iterations()} iterations")

    def element_powers(self) -> NDArray[np.complex128]:
        """Return what each of `elements` draws of the network, kW + j kvar, shape (elements,), in one call.

        What feeds draws less than nothing; of what delivers it is the losses. It is computed from the solved voltages
        and the element's own currents, not from what was set. A view that holds until the next call.
        """
        self._lib.ctx_Circuit_Get_AllElementLosses_GR(self._ctx)
        pointer, counts = self._dss._api_util.gr_float64_pointers
        return np.frombuffer(self._ffi.buffer(pointer[0], 8 * counts[0]), dtype=np.complex128)

    def taps(self) -> FloatArray:
        """Return the tap number of each regulator."""
        taps = np.zeros(self._lib.ctx_RegControls_Get_Count(self._ctx))
        for index in range(len(taps)):
            self._lib.ctx_RegControls_Set_idx(self._ctx, index + 1)
            taps[index] = self._lib.ctx_RegControls_Get_TapNumber(self._ctx)
        return taps

    def set_taps(self, taps: FloatArray) -> None:
        for index, tap in enumerate(taps):
            self._dss.RegControls.Idx(index + 1)
            self._dss.RegControls.TapNumber(int(tap))

    def capacitor_states(self) -> list[list[int]]:
        """Return the steps of each capacitor bank that are in; nothing where no control could switch one."""
        if not self._lib.ctx_CapControls_Get_Count(self._ctx):
            return []
        capacitors = self._dss.Capacitors
        states = []
        for _ in range(capacitors.First() and capacitors.Count()):
            states.append(list(capacitors.States()))
            capacitors.Next()
        return states

    def set_capacitor_states(self, states: Sequence[list[int]]) -> None:
        self._dss.Capacitors.First()
        for state in states:
            self._dss.Capacitors.States(state)
            self._dss.Capacitors.Next()
