"""The devices of one federate at the feeder: what they give or draw, what they see, what the solution has of them.

Devices of a federate that meet the feeder at one place, by bus and phases, are one element in the solver, and it is
given their sum: the solver works on every element in every iteration, and devices may be far more than places.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from derloop.contract import Balance, FloatArray, Values
from derloop.kind import Bus, Terminal
from federates import sides
from federates.grid.additions import add_injection, leave_of_injection
from federates.grid.given_power import GivenPower
from federates.grid.inventory import LoadLegs
from federates.grid.places import GROUND, Legs, Places
from federates.grid.seen import Phases, extremes, voltage
from federates.grid.sensitivity import Devices, between
from federates.grid.setpoints import Setpoints
from federates.grid.solver import Solver


class Group:
    """The devices of one federate at the feeder."""

    def __init__(self, name: str, terminals: Sequence[Terminal], buses: Mapping[str, Bus]) -> None:
        self.name, self._terminals, self._buses = name, terminals, buses
        self.labels = tuple(t.label for t in terminals)
        self.sees_voltage = not any(t.element for t in terminals)
        self.p_port, self.q_port, self.solved_port = f"{name}.p_kw", f"{name}.q_kvar", f"{name}.solved_kw"
        self._v_port = f"{name}.v_pu"
        self.ports = {self.p_port, self.q_port, *(f"{name}.{port}" for port in self.seen_ports)}
        self.injects = self.sees_voltage and not terminals[0].draws
        self._solved_sign = -1.0 if self.injects else 1.0
        self._beyond = np.add if self.sees_voltage else np.subtract
        """How what the solver has of an element is apart from what it was given, which is in the element's own sign."""
        self._sign = -1.0 if terminals[0].draws and self.sees_voltage else 1.0
        self._places = Places([t.element or (t.bus, t.phases) for t in terminals])
        self._give_into(np.zeros((2, len(terminals))))

    def add(self, solver: Solver) -> None:
        for index, terminal in enumerate(self._terminals[i] for i in self._places.firsts):
            if not terminal.element:
                add_injection(solver, f"{self.name}_{index}", self._buses[terminal.bus], terminal.phases)

    def _give_into(self, given: FloatArray) -> None:
        """Have P and Q of the devices (2, devices), in their own sign, in this array from now on."""
        self._given, self._in_a_row = given, given.reshape(-1)
        self._p_kw = given[0]

    def attach(self, solver: Solver, legs: Mapping[str, LoadLegs] | None = None) -> None:
        """legs: of the loads of the file, by their names, where some of what there is may be dead."""
        self._solver, self._setpoints = solver, self._made(solver)
        self._is_direct = self._places.are_single and self._sign == 1.0 and legs is None
        if self._is_direct:
            self._give_into(self._setpoints.values)
        place = {element: index for index, element in enumerate(solver.elements.names)}
        self.elements = np.array([place[name] for name in self.element_names])
        self._drawn = np.zeros(self.elements.size, np.complex128)
        found = [(t.bus, sides.sides(self._buses[t.bus], t.phases)) for t in self._terminals]
        self._nodes, self._back, self._weights = standing = Legs.of(found, solver.nodes)
        self._count = np.array([len(each) for _, each in found])
        self._base = np.array([[sides.base(self._buses[t.bus])] for t in self._terminals])
        self._is_between = bool((self._base != 1.0).any())
        self._first = self._nodes[:, 0].copy()
        loads = [legs.get(t.element) if legs else None for t in self._terminals]
        of_loads = [(load.bus, load.legs) for load in loads if load]
        self._legs = Legs.of(of_loads, solver.nodes) if of_loads else standing
        self._are_scaled = np.array([load is None or load.is_between for load in loads])
        """Who is not, a load of the file from phases to ground, draws what its voltage model says, in each of them."""
        self._live = self._stands = np.ones(self._legs.nodes.shape, np.bool_)
        self._dead_share: FloatArray = np.zeros(len(self.labels))
        self._scale: FloatArray | None = None
        self._share = self._solved_sign / self._places.counts
        """Of what an element has beyond what it was given, that of each of its devices, in the federate's sign."""

    def _made(self, solver: Solver) -> Setpoints:
        names = [name.partition(".")[2] for name in self.element_names]
        return Setpoints(solver.dss, "Generator" if self.sees_voltage else "Load", names)

    @property
    def element_names(self) -> list[str]:
        """Return the names of its elements in the solver: "generator.pv_0", "load.671"."""
        if self.sees_voltage:
            return [f"generator.{self.name}_{i}".lower() for i in range(len(self._places.firsts))]
        return [f"load.{t.element}" for t in self._terminals]

    @property
    def setpoints(self) -> Setpoints:
        """What its elements are given."""
        return self._setpoints

    def given_power(self, solver: Solver) -> GivenPower | None:
        """Return what its elements draw, where that follows from what they are given and what phases have.

        So not of loads of the file, nor between phases.
        """
        if not self.sees_voltage or self._is_between:
            return None
        neutrals = self._back[self._back != GROUND]
        return GivenPower(solver, self._setpoints, self.elements, self._nodes, neutrals)

    def write(self, inputs: Values) -> None:
        np.concatenate((inputs[self.p_port], inputs[self.q_port]), out=self._in_a_row)
        self._give()

    def _give(self) -> None:
        """Give the solver what devices say, where they stand at what is alive."""
        if not self._is_direct:
            given = self._places.pair_summed(self._in_a_row)
            self._setpoints.values[...] = given if self._sign == 1.0 else -given
        if self._scale is not None:
            self._setpoints.values *= self._scale
        self._setpoints.write()

    def serve(self, alive: NDArray[np.bool_]) -> None:
        """Give nothing any more where nodes (nodes,) are dead: of a device at three phases the other two are left.

        Left as it is, it would be a source that raises a dead phase until there is no solution.
        """
        live = self._legs.are_live(alive)
        if np.array_equal(live, self._live):
            return
        stands = live | ~live.any(1, keepdims=True)  # who has nothing alive gives nothing wherever it stands
        firsts = self._places.firsts if self.sees_voltage else []
        for number in np.flatnonzero((stands != self._stands)[firsts].any(1)).tolist():
            self._leave(number, self._terminals[firsts[number]], stands[firsts[number]])
        self._live, self._stands, self._dead_share = live, stands, self._legs.share_of(~live)
        scale = np.where(self._are_scaled, self._legs.share_of(live), 1.0)[self._places.firsts]
        self._scale = None if live.all() else scale
        self._give()

    def _leave(self, number: int, terminal: Terminal, stands: NDArray[np.bool_]) -> None:
        """Let the element of a place stand in these of its legs alone."""
        bus = self._buses[terminal.bus]
        left = [leg for leg, is_left in zip(sides.sides(bus, terminal.phases), stands, strict=False) if is_left]
        nodes = {node for leg in left for node in leg}
        phases = [phase for phase in terminal.phases if phase in nodes]
        leave_of_injection(self._solver, f"{self.name}_{number}", bus, phases)

    def placed(self, powers: FloatArray) -> FloatArray:
        """Return the powers (devices,), in the federate's sign, of the elements (elements,), in the element's own."""
        return self._places.summed(powers) * self._sign

    def tell_solved(self, drawn: NDArray[np.complex128], told: Values) -> None:
        """Write the power (devices,) that the solution has at the terminals, in the federate's sign.

        drawn: by all elements of the solver, kVA. Devices of one element share alike what the solution has beyond what
        they give, where it is not dead.
        """
        found, kw = told[self.solved_port], drawn.take(self.elements, out=self._drawn, mode="clip").real
        if self._places.are_single:
            np.multiply(kw, self._solved_sign, out=found)
            return
        given_kw = self._p_kw if self._scale is None else self._p_kw * self._legs.share_of(self._live)
        beyond_kw = self._beyond(kw, self._setpoints.p_kw)
        np.multiply(beyond_kw, self._share, beyond_kw)
        np.add(given_kw, self._places.spread(beyond_kw), out=found)

    @property
    def dead_kw(self) -> FloatArray:
        """The power (devices,) that the devices say they give where nothing is alive, in their own sign."""
        found: FloatArray = self._p_kw * self._dead_share
        return found

    def balance(self, tolerance: float, undelivered: tuple[str, ...]) -> Balance:
        """What the federate says it injects, or draws, is what the solver has at its terminals."""
        resolution = tuple(tolerance * terminal.rated_kva for terminal in self._terminals)
        leaves = (self.solved_port, *undelivered)
        return Balance("power", (self.p_port,), leaves, partner=self.name, resolution=resolution)

    @property
    def buses(self) -> tuple[str, ...]:
        return tuple(t.bus for t in self._terminals)

    @property
    def driven(self) -> tuple[str, ...]:
        """The loads of the feeder file that its devices are."""
        return tuple(t.element for t in self._terminals if t.element)

    @property
    def devices(self) -> Devices:
        """Where they meet the feeder, for `sensitivity`."""
        sign = np.full(len(self.labels), 1.0 if self.injects else -1.0)
        return Devices(self._nodes, self._weights, sign, self._back, self._base)

    @property
    def seen_ports(self) -> tuple[str, ...]:
        """The outputs that say what its devices see."""
        if not self.sees_voltage:
            return ()
        return ("v_pu", "v_low_pu", "v_high_pu") if self._terminals[0].extremes else ("v_pu",)

    def tell_seen(self, v_pu: FloatArray, volts: NDArray[np.complex128], bases_v: FloatArray, told: Values) -> None:
        """Write what each device sees, shape (devices,), pu: `v_pu`, and the extremes where they are asked for."""
        first = self._terminals[0]
        if not self.sees_voltage:
            return
        seen = told[self._v_port]
        if first.sees == "mean" and not first.extremes:
            self._tell_means(v_pu, seen)
            return
        found = between(volts, self._nodes, self._back) / (bases_v[self._nodes] * self._base)
        phases = Phases(found * (v_pu[self._nodes] > 0.0), self._count)  # nothing where one of the two nodes is dead
        seen[:] = voltage(phases, first.sees)
        if first.extremes:
            told[f"{self.name}.v_low_pu"][:], told[f"{self.name}.v_high_pu"][:] = extremes(phases)

    def _tell_means(self, v_pu: FloatArray, seen: FloatArray) -> None:
        if self._nodes.shape[1] == 1:
            v_pu.take(self._first, out=seen, mode="clip")
        else:
            np.einsum("ij,ij->i", v_pu[self._nodes], self._weights, out=seen)
