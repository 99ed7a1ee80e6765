"""Grid-forming units at the feeder: sources whose magnitudes and angles agree with the lines that the units offer.

The equations are those of `island`: with the unknown magnitude and angle of each source, and the frequency of each
island in the place of the angle of its first source,

    f_free - hz_per_kw P = f            v_free - pu_per_kvar Q = v
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from derloop.contract import FloatArray, Port, Values
from derloop.kind import Bus, Terminal
from derloop.memory import remembers
from federates.grid import inventory
from federates.grid.additions import add_source
from federates.grid.root import Root
from federates.grid.seen import A
from federates.grid.setpoints import Sources
from federates.grid.solver import Solver
from federates.grid.switching import switch_sources

BoolArray = NDArray[np.bool_]
REACTANCE_PU: Final = 1e-3
"""Of each source, on its rating: small beside any line, so that the terminal is where the source is."""
FURTHEST: Final = (0.1, 0.3)
"""How far one step of the solution goes: pu of a source's magnitude; rad of its angle, or Hz of the frequency."""
ROUNDING: Final = 1e-7
"""pu of rating by which a limit may be passed."""
OVERLOAD, ENERGY, NO_BALANCE = 1.0, 2.0, 3.0
"""Why a unit trips: `fault`."""
LINES: Final = {
    **{"forms": "1", "f_free_hz": "Hz", "hz_per_kw": "Hz/kW", "v_free_pu": "pu", "pu_per_kvar": "pu/kvar"},
    **{"p_least_kw": "kW", "p_most_kw": "kW", "s_most_kva": "kVA"},
}
FOUND: Final = {"p_kw": "kW", "q_kvar": "kvar", "f_hz": "Hz", "v_pu": "pu", "fault": "1"}


class Asked(NamedTuple):
    """What the units offer at an instant, each (n,): see `LINES`."""

    forms: FloatArray
    f_free_hz: FloatArray
    hz_per_kw: FloatArray
    v_free_pu: FloatArray
    pu_per_kvar: FloatArray
    p_least_kw: FloatArray
    p_most_kw: FloatArray
    s_most_kva: FloatArray


class Flow(NamedTuple):
    """What the units give: P and Q, kW and kvar, and the positive sequence at the terminal, pu, complex; each (n,)."""

    p_kw: FloatArray
    q_kvar: FloatArray
    v1_pu: NDArray[np.complex128]


@remembers("_v_pu", "_angle", "_off_hz", "_active", "_part", "free", "_first", "_led_by", "_used")
class Formers:
    """n grid-forming units. State: magnitude and angle of their sources, and the frequency of their parts."""

    def __init__(self, groups: Mapping[str, Sequence[Terminal]], buses: Mapping[str, Bus], solver: Solver) -> None:
        """groups: the units of each federate."""
        self._groups = {name: tuple(t.label for t in units) for name, units in groups.items()}
        units = [unit for of in groups.values() for unit in of]
        self._names = [f"{name}_{i}" for name, of in groups.items() for i in range(len(of))]
        self._solver = solver
        self._rated_kva = np.array([unit.rated_kva for unit in units])
        self._base_v = 1000.0 * np.array([buses[unit.bus].kv_ln for unit in units])
        x_ohm = REACTANCE_PU * 3.0 * self._base_v**2 / (1000.0 * self._rated_kva)
        self._buses = [unit.bus for unit in units]
        for name, unit, x in zip(self._names, units, x_ohm, strict=True):
            add_source(solver, name, buses[unit.bus], float(x))
        self._root = Root()
        self._edges = np.cumsum([len(of) for of in groups.values()])[:-1]
        self._active = self.free = np.zeros(len(units), np.bool_)
        self._part = self._led_by = self._used = np.zeros(len(units), np.intp)
        self.begin()
        self._first = np.zeros(len(units), np.bool_)

    @property
    def inputs(self) -> dict[str, Port]:
        return self._ports(LINES)

    @property
    def outputs(self) -> dict[str, Port]:
        return self._ports(FOUND)

    def _ports(self, units: Mapping[str, str]) -> dict[str, Port]:
        return {f"{g}.{name}": Port(u, labels) for g, labels in self._groups.items() for name, u in units.items()}

    @property
    def given_ports(self) -> list[str]:
        """The outputs of active power that enters the feeder."""
        return [f"{g}.p_kw" for g in self._groups]

    def has(self, element: str) -> bool:
        """Return whether this element of the feeder, by its full lower-case name, is one of the units."""
        return element.removeprefix("vsource.") in {name.lower() for name in self._names}

    def attach(self) -> None:
        """Take the voltages of the feeder as it stands for a first guess."""
        number = {node: index for index, node in enumerate(self._solver.nodes)}
        self._nodes = np.array([[number[f"{bus}.{phase}"] for phase in (1, 2, 3)] for bus in self._buses])
        place = {element: index for index, element in enumerate(self._solver.elements.names)}
        self._elements = np.array([place[f"vsource.{name}".lower()] for name in self._names])
        self._base_hz = inventory.base_hz(self._solver)
        self._sources = Sources(self._solver.dss, self._names)
        seen = self._positive_pu()
        self._v_pu, self._angle, self._off_hz = np.abs(seen), np.angle(seen), np.zeros(seen.size)

    def memory(self) -> Mapping[str, Any]:
        """Return nothing more: the feeder's sources follow from the state."""
        return {}

    def recall(self, memory: Mapping[str, Any]) -> None:
        """Have the feeder's sources as the state says."""
        del memory
        switch_sources(self._solver, self._names, list(self._active))
        self._sources.v_pu[:], self._sources.angle_deg[:] = self._v_pu, np.degrees(self._angle)
        self._sources.write()

    def asked(self, inputs: Values) -> Asked:
        return Asked(*(np.concatenate([inputs[f"{g}.{name}"] for g in self._groups]) for name in LINES))

    def told(self, found: Mapping[str, FloatArray]) -> dict[str, FloatArray]:
        """Return the outputs from what was found for all units: see `FOUND`."""
        split = {name: np.split(found[name], self._edges) for name in FOUND}
        return {f"{g}.{name}": split[name][i] for i, g in enumerate(self._groups) for name in FOUND}

    def take(self, active: BoolArray) -> None:
        """Take these units (n,) into service; those that were not there begin with the voltage at their terminals."""
        new = active & ~self._active
        seen = self._positive_pu()
        at_voltage = new & (np.abs(seen) > 0.5)
        self._v_pu = np.where(at_voltage, np.abs(seen), self._v_pu)
        self._angle = np.where(at_voltage, np.angle(seen), self._angle)
        self._active = active
        switch_sources(self._solver, self._names, list(active))

    def begin(self) -> None:
        """Take it that an instant begins: what is apart now are islands that may meet in it."""
        self._were_free, self._were_in = self.free, self._part

    def meeting(self, parts: NDArray[np.intp]) -> list[str]:
        """Return a unit, with its frequency, of each island that was apart from others and is no more.

        parts (nodes,): in which part each node is now.
        """
        held = np.flatnonzero(self._were_free & self._active)
        firsts = [int(held[self._were_in[held] == part][0]) for part in np.unique(self._were_in[held])]
        now = parts[self._nodes[firsts, 0]]
        names = [f"{g}: {label}" for g, labels in self._groups.items() for label in labels]
        said = [f"{names[i]!r} at {self._base_hz + self._off_hz[i]:.3f} Hz" for i in firsts]
        return [text for text, part in zip(said, now, strict=True) if np.count_nonzero(now == part) > 1]

    def arrange(self, parts: NDArray[np.intp], head_part: int) -> None:
        """Take in which parts the nodes are now, and which part the head feeds; -1: none."""
        self._part = parts[self._nodes[:, 0]]
        self.free = self._active & (self._part != head_part)
        used = np.flatnonzero(self._active)
        firsts = [int(np.flatnonzero(self.free & (self._part == p))[0]) for p in np.unique(self._part[self.free])]
        self._first = np.isin(np.arange(used.size), np.searchsorted(used, firsts))
        leads = {int(self._part[i]): i for i in firsts}
        self._led_by = np.searchsorted(used, np.array([leads.get(int(self._part[i]), int(i)) for i in used], np.intp))
        self._used = used
        self._root.forget()

    def hold(self, asked: Asked) -> None:
        """Find the sources that agree with the lines and with the feeder, and leave the feeder solved with them.

        Raises SolverError, NoRoot.
        """
        used, first = self._used, self._first
        guess = np.concatenate([self._v_pu[used], np.where(first, self._off_hz[used], self._angle[used])])
        furthest = np.repeat(FURTHEST, used.size)
        found = self._root.found(lambda x: self._residual(x, asked), guess, furthest)
        self._keep(found)

    def _keep(self, x: FloatArray) -> None:
        """Let the unknowns be the state, and the sources of the feeder follow."""
        used, first = self._used, self._first
        v_pu, others = np.split(x, 2)
        self._v_pu[used] = v_pu
        self._angle[used] = np.where(first, self._angle[used], others)
        in_island = self.free[used]
        self._off_hz[used] = np.where(in_island, others[self._led_by], 0.0)
        self._sources.v_pu[:], self._sources.angle_deg[:] = self._v_pu, np.degrees(self._angle)
        self._sources.write()

    def _residual(self, x: FloatArray, asked: Asked) -> FloatArray:
        used = self._used
        self._keep(x)
        self._solver.solve_given()
        flow = self.flow()
        of_rating = asked.hz_per_kw * self._rated_kva
        off_pu = (asked.f_free_hz - self._base_hz - self._off_hz - asked.hz_per_kw * flow.p_kw) / of_rating
        off_v = asked.v_free_pu - asked.pu_per_kvar * flow.q_kvar - np.abs(flow.v1_pu)
        return np.concatenate([off_v[used], off_pu[used]])

    def flow(self) -> Flow:
        """Return what the sources give in the last solution; nothing of those out of service."""
        s_kva = np.where(self._active, -self._solver.elements.powers()[self._elements], 0.0)
        return Flow(s_kva.real, s_kva.imag, self._positive_pu())

    def _positive_pu(self) -> NDArray[np.complex128]:
        v1, v2, v3 = self._solver.voltages()[self._nodes].T / self._base_v
        positive: NDArray[np.complex128] = (v1 + A * v2 + A * A * v3) / 3.0
        return positive

    def beyond(self, asked: Asked, flow: Flow) -> FloatArray:
        """Return the fault (n,) of each unit that is asked for more than it can; 0 where it is not."""
        some = ROUNDING * self._rated_kva
        over = np.hypot(flow.p_kw, flow.q_kvar) > asked.s_most_kva + some
        empty = (flow.p_kw > asked.p_most_kw + some) | (flow.p_kw < asked.p_least_kw - some)
        return np.where(self._active, np.where(over, OVERLOAD, np.where(empty, ENERGY, 0.0)), 0.0)

    def part_hz(self, part: int) -> float:
        """Return the frequency of a part of the feeder that the units hold; 0 where none of them does."""
        held = np.flatnonzero(self._active & (self._part == part))
        return self._base_hz + float(self._off_hz[held[0]]) if held.size else 0.0

    def f_hz(self, parts_alive: BoolArray) -> FloatArray:
        """Return the frequency (n,) where the units stand, 0 where nothing is alive. parts_alive: (n,)."""
        of_part = {int(self._part[i]): float(self._off_hz[i]) for i in np.flatnonzero(self._active)}
        off_hz = np.array([of_part.get(int(part), 0.0) for part in self._part])
        return np.where(parts_alive, self._base_hz + off_hz, 0.0)

    @property
    def any_active(self) -> bool:
        return bool(self._active.any())

    @property
    def held_at(self) -> NDArray[np.intp]:
        """Numbers of the nodes of the units that are in service."""
        held: NDArray[np.intp] = self._nodes[self._active].ravel()
        return held

    @property
    def phases(self) -> NDArray[np.intp]:
        """Numbers of the nodes of each unit (n, 3)."""
        return self._nodes

    @property
    def nodes(self) -> NDArray[np.intp]:
        """Number of the first node of each unit (n,)."""
        first: NDArray[np.intp] = self._nodes[:, 0]
        return first
