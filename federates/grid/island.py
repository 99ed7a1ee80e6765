"""Grid-forming units at the feeder, and the islands that they hold where a switch opens.

Each unit is a balanced three-phase source behind a small reactance. At an instant it offers two lines: of the frequency
against the active power that it gives, and of the voltage at its terminal (positive sequence) against its reactive
power. In a part of the feeder that is connected to the head, the frequency is the feeder's; in a part that is not, all
units have one frequency, which follows from the balance of power. So with the unknown magnitude and angle of each
source, and the frequency of each island in the place of the angle of its first source,

    f_free - hz_per_kw P = f            v_free - pu_per_kvar Q = v

are as many equations as unknowns. They are solved together with the power flow at each instant: exact at any step, with
no delay between the units (decision 13).

A unit that would have to give more than it can until the next step trips at once, and the others are asked again. Where
nobody is left, or no solution is, the part is dead: its voltages are 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from derloop.contract import FloatArray, Port, Values
from derloop.errors import did_you_mean
from derloop.kind import PlaceError, Settings, Terminal
from federates.grid.balance import Balance, NoBalance
from federates.grid.crossing import HEAD, PORTS, Crossing, Position, Relay
from federates.grid.outages import Outages, OutageSettings
from federates.grid.seen import A
from federates.grid.solver import Solver, SolverError

BoolArray = NDArray[np.bool_]
REACTANCE_PU: Final = 1e-3
"""Of each source, on its rating: small beside any line, so that the terminal is where the source is."""
FURTHEST: Final = (0.1, 0.3)
"""How far one step of the solution goes: pu of a source's magnitude; rad of its angle, or Hz of the frequency."""
ROUNDING: Final = 1e-7
"""pu of rating by which a limit may be passed."""
MOST_ROUNDS: Final = 10
"""How often units and the feeder's own controls answer each other within an instant."""
OVERLOAD, ENERGY, NO_BALANCE = 1.0, 2.0, 3.0
"""Why a unit trips: `fault`."""
LINES: Final = {
    **{"forms": "1", "f_free_hz": "Hz", "hz_per_kw": "Hz/kW", "v_free_pu": "pu", "pu_per_kvar": "pu/kvar"},
    **{"p_least_kw": "kW", "p_most_kw": "kW", "s_most_kva": "kVA"},
}
FOUND: Final = {"p_kw": "kW", "q_kvar": "kvar", "f_hz": "Hz", "v_pu": "pu", "fault": "1"}


class IslandSettings(Settings):
    """A switch behind which grid-forming units may hold an island."""

    switch: str = Field(
        min_length=1,
        max_length=200,
        description="Name of a line of the feeder, or head: where the feeder is fed from.",
        examples=["head", "sw_671_692"],
    )
    opens_at_s: float | None = Field(
        default=None,
        ge=0.0,
        le=1e10,
        description="When it opens, s since the scenario's start. Without it, the input `closed` says: 1 or 0.",
        examples=[3600.0],
    )
    closes_at_s: float | None = Field(
        default=None, gt=0.0, le=1e10, description="When it closes again, s. Without it, not.", examples=[7200.0]
    )

    outages: OutageSettings | None = Field(
        default=None,
        description="When the bulk system is away. A switch that an input closes then opens by itself.",
        examples=[{"events": [{"begins_s": 7200, "lasts_s": 43200}]}],
    )

    @model_validator(mode="after")
    def _closes_after_it_opens(self) -> Self:
        if self.closes_at_s is not None and (self.opens_at_s is None or self.closes_at_s <= self.opens_at_s):
            raise ValueError(f"closes_at_s {self.closes_at_s:g} must come after opens_at_s")
        return self

    @property
    def is_told(self) -> bool:
        """Whether an input says when it is closed."""
        return self.opens_at_s is None

    def is_closed(self, now_ns: int, inputs: Values) -> bool:
        if self.opens_at_s is None:
            return bool(inputs["closed"][0] >= 0.5)
        opens, closes = self.opens_at_s * 1e9, np.inf if self.closes_at_s is None else self.closes_at_s * 1e9
        return not opens <= now_ns < closes


class Limits(NamedTuple):
    """What a solution must keep, and whether the feeder's own controls act."""

    least_v: FloatArray
    """(nodes,), V, as is the next."""
    most_v: FloatArray
    controls: bool


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


class Formers:
    """n grid-forming units. State: magnitude and angle of their sources, and the frequency of their parts."""

    def __init__(self, groups: Mapping[str, Sequence[Terminal]], kv_ln: Mapping[str, float], solver: Solver) -> None:
        """groups: the units of each federate. kv_ln: nominal voltage of each bus."""
        self._groups = {name: tuple(t.label for t in units) for name, units in groups.items()}
        units = [unit for of in groups.values() for unit in of]
        self._names = [f"{name}_{i}" for name, of in groups.items() for i in range(len(of))]
        self._solver = solver
        self._rated_kva = np.array([unit.rated_kva for unit in units])
        self._base_v = 1000.0 * np.array([kv_ln[unit.bus] for unit in units])
        x_ohm = REACTANCE_PU * 3.0 * self._base_v**2 / (1000.0 * self._rated_kva)
        self._buses = [unit.bus for unit in units]
        for name, unit, x in zip(self._names, units, x_ohm, strict=True):
            solver.add_source(name, unit.bus, (1, 2, 3), kv_ln[unit.bus] * 3**0.5, float(x))
        self._balance = Balance()
        self._edges = np.cumsum([len(of) for of in groups.values()])[:-1]
        self._active = np.zeros(len(units), np.bool_)

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
        place = {element: index for index, element in enumerate(self._solver.elements)}
        self._elements = np.array([place[f"vsource.{name}".lower()] for name in self._names])
        self._base_hz = self._solver.base_hz()
        self._sources = self._solver.emfs(self._names)
        seen = self._positive_pu()
        self._v_pu, self._angle, self._off_hz = np.abs(seen), np.angle(seen), np.zeros(seen.size)

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
        self._solver.switch_sources(self._names, list(active))

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
        self._balance.forget()

    def hold(self, asked: Asked) -> None:
        """Find the sources that agree with the lines and with the feeder, and leave the feeder solved with them.

        Raises SolverError, NoBalance.
        """
        used, first = self._used, self._first
        guess = np.concatenate([self._v_pu[used], np.where(first, self._off_hz[used], self._angle[used])])
        furthest = np.repeat(FURTHEST, used.size)
        found = self._balance.root(lambda x: self._residual(x, asked), guess, furthest)
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
        self._solver.solve()
        flow = self.flow()
        of_rating = asked.hz_per_kw * self._rated_kva
        off_pu = (asked.f_free_hz - self._base_hz - self._off_hz - asked.hz_per_kw * flow.p_kw) / of_rating
        off_v = asked.v_free_pu - asked.pu_per_kvar * flow.q_kvar - np.abs(flow.v1_pu)
        return np.concatenate([off_v[used], off_pu[used]])

    def flow(self) -> Flow:
        """Return what the sources give in the last solution; nothing of those out of service."""
        s_kva = np.where(self._active, -self._solver.element_powers()[self._elements], 0.0)
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
    def nodes(self) -> NDArray[np.intp]:
        """Number of the first node of each unit (n,)."""
        first: NDArray[np.intp] = self._nodes[:, 0]
        return first


class Island:
    """The feeder with its switch and its grid-forming units."""

    def __init__(
        self, settings: IslandSettings | None, formers: Formers, solver: Solver, limits: Limits, seed: int = 0
    ) -> None:
        self._settings, self.formers, self._solver, self._limits = settings, formers, solver, limits
        _check_switch(settings, solver)
        formers.attach()
        self._head_node = solver.nodes.index(f"{solver.head_bus()}.1")
        self._arranged: tuple[Position, bytes] | None = None
        self.alive = np.ones(len(solver.nodes), np.bool_)
        """Which nodes (nodes,) are energised."""
        self._position = Position(closed=True, grid_on=True)
        self._head_feeds = True
        self._outages = Outages(settings.outages if settings else None, seed)
        self._relay = Relay()
        self._crossing = None if settings is None else Crossing(settings.switch.lower(), solver)

    @property
    def inputs(self) -> dict[str, Port]:
        told = self._settings is not None and self._settings.is_told
        return self.formers.inputs | ({"closed": Port("1", ("switch",))} if told else {})

    @property
    def outputs(self) -> dict[str, Port]:
        return self.formers.outputs | (PORTS if self._crossing else {})

    def at_rest(self) -> Values:
        """Return the outputs before the first step: the units are out of service, and see the feeder's voltage."""
        seen = self.formers.flow()
        zeros = np.zeros(seen.p_kw.shape)
        self._parts = np.zeros(len(self._solver.nodes), np.intp)
        self._head_part = 0
        return self._told(0, seen, zeros, np.full(zeros.shape, self._solver.base_hz()))

    @property
    def is_solved(self) -> bool:
        """Whether there is a solution of this instant: not where all of the feeder is dead."""
        return bool(self.alive.any())

    def solve(self, now_ns: int, inputs: Values) -> Values:
        """Solve the feeder with who holds it at this instant; return the outputs. Raises SolverError."""
        position = self._where(now_ns, inputs)
        asked = self.formers.asked(inputs)
        active, fault = asked.forms >= 0.5, np.zeros(asked.forms.size)
        while True:
            self._arrange(position, active)
            flow, trips = self._held(asked)
            if not trips.any():
                break
            fault, active = np.where(trips > 0.0, trips, fault), active & (trips == 0.0)
        return self._told(now_ns, flow, fault, self.formers.f_hz(self.alive[self.formers.nodes]))

    def _where(self, now_ns: int, inputs: Values) -> Position:
        """Return where the switch stands at this instant, and whether the bulk system is there."""
        grid_on = not self._outages.is_out(now_ns)
        closed = self._settings is None or self._settings.is_closed(now_ns, inputs)
        if self._settings is not None and self._settings.is_told:
            return self._relay.position(now_ns, closed, grid_on)
        return Position(closed, grid_on)

    def _told(self, now_ns: int, flow: Flow, fault: FloatArray, f_hz: FloatArray) -> Values:
        v_pu = np.abs(flow.v1_pu) * self.alive[self.formers.nodes]
        found = {"p_kw": flow.p_kw, "q_kvar": flow.q_kvar, "v_pu": v_pu, "fault": fault, "f_hz": f_hz}
        return self.formers.told(found) | self._switch_told(now_ns)

    def _switch_told(self, now_ns: int) -> dict[str, FloatArray]:
        if self._crossing is None:
            return {}
        volts = self._solver.voltages() * (self.alive if self.is_solved else 0.0)
        kva = self._crossing.kva() if self.is_solved and self._position.closed else 0j
        return self._crossing.told(now_ns, self._position, volts, self._node_hz, kva)

    def _node_hz(self, node: int) -> float:
        """Return the frequency at a node, Hz; 0 where it is dead."""
        part = int(self._parts[node])
        return self._solver.base_hz() if part == self._head_part else self.formers.part_hz(part)

    def _held(self, asked: Asked) -> tuple[Flow, FloatArray]:
        """Return what the units give, and the fault (n,) of those that cannot."""
        nothing = np.zeros(asked.forms.size)
        if not self.alive.any():
            return Flow(nothing, nothing, nothing.astype(np.complex128)), nothing
        try:
            flow = self._with_controls(asked)
        except (SolverError, NoBalance) as error:
            if not self.formers.free.any():
                raise SolverError(str(error)) from error
            return Flow(nothing, nothing, nothing.astype(np.complex128)), np.where(self.formers.free, NO_BALANCE, 0.0)
        trips = self.formers.beyond(asked, flow)
        if not trips.any() and self._collapsed():
            trips = np.where(self.formers.free, NO_BALANCE, 0.0)
        return flow, trips

    def _with_controls(self, asked: Asked) -> Flow:
        """Return the flow once the feeder's own controls rest too; where a part is dead they do not act."""
        self._solver.with_controls(False)
        self._balance(asked)
        for _ in range(MOST_ROUNDS if self._limits.controls and self.alive.all() else 0):
            taps, capacitors = self._solver.taps(), self._solver.capacitor_states()
            self._solver.with_controls(True)
            self._solver.solve()
            self._solver.with_controls(False)
            if np.array_equal(taps, self._solver.taps()) and capacitors == self._solver.capacitor_states():
                break
            self._balance(asked)
        return self.formers.flow()

    def _balance(self, asked: Asked) -> None:
        if self.formers.any_active:
            self.formers.hold(asked)
        else:
            self._solver.solve()

    def _collapsed(self) -> bool:
        """Return whether an island, and not what the head feeds, has a voltage outside the band."""
        if not self.formers.free.any():
            return False
        volts = np.abs(self._solver.voltages())
        outside = (volts < self._limits.least_v) | (volts > self._limits.most_v)
        return bool((outside & self.alive & (self._parts != self._head_part)).any())

    def forget(self) -> None:
        """Other switches have moved: find out anew which parts there are."""
        self._arranged = None

    def _arrange(self, position: Position, active: BoolArray) -> None:
        """Switch as it is to be, and find out which parts of the feeder are alive then."""
        wanted = position, active.tobytes()
        if wanted == self._arranged:
            return
        self._solver.with_controls(False)
        self.formers.take(active)
        self._switch(position)
        self._parts = self._solver.rearrange()
        self._head_part = int(self._parts[self._head_node]) if self._head_feeds else -1
        held = set(self._parts[self.formers.nodes[active]].tolist()) | {self._head_part}
        self.alive = np.isin(self._parts, list(held))
        self.formers.arrange(self._parts, self._head_part)
        self._arranged = wanted

    def _switch(self, position: Position) -> None:
        at_head = self._settings is not None and self._settings.switch == HEAD
        feeds = position.grid_on and (position.closed or not at_head)
        if feeds != self._head_feeds:
            self._solver.switch_sources(["source"], [feeds])
        if self._settings and not at_head and position.closed != self._position.closed:
            self._solver.switch_line(self._settings.switch.lower(), position.closed)
        self._position, self._head_feeds = position, feeds


def _check_switch(settings: IslandSettings | None, solver: Solver) -> None:
    if settings is None or settings.switch == HEAD:
        return
    lines = solver.lines()
    if settings.switch.lower() not in lines:
        what = f"the feeder has no line {settings.switch!r}" + did_you_mean(settings.switch, [HEAD, *lines])
        raise PlaceError([(("island", "switch"), what)])
