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
nobody is left, or no solution is, the part is dead: its voltages are 0. Live islands that another switch joins end the
run: nothing has brought them into step.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from derloop.contract import FloatArray, Port, Values
from derloop.errors import did_you_mean
from derloop.kind import PlaceError, Settings
from derloop.memory import remembers
from federates.grid import inventory
from federates.grid.crossing import HEAD, PORTS, Crossing, Position, Relay, behind
from federates.grid.engine import SolverError
from federates.grid.formers import NO_BALANCE, Asked, BoolArray, Flow, Formers
from federates.grid.measured import Measured
from federates.grid.outages import Outages, OutageSettings
from federates.grid.root import NoRoot
from federates.grid.solver import Solver
from federates.grid.switching import Arrangement, switch_line, switch_sources

MOST_ROUNDS: Final = 10
"""How often units and the feeder's own controls answer each other within an instant."""


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
    """What a solution must keep, and what must be alive for the feeder's own controls to act."""

    measured: Measured
    least_v: FloatArray
    """(nodes,), V, as is the next."""
    most_v: FloatArray
    looked_at: NDArray[np.intp] | None
    """Nodes that these controls look at, and act at; None: they rest."""

    def are_broken(self, faulted: bool) -> BoolArray:
        """Return at which nodes (nodes,) the last solution has a voltage outside of them; at a fault, above them."""
        volts = self.measured.magnitudes_v()
        broken: BoolArray = (volts < (0.0 if faulted else self.least_v)) | (volts > self.most_v)
        return broken


@remembers("_parts", "_head_part", "_arranged", "alive", "_position", "_head_feeds")
class Island:
    """The feeder with its switch and its grid-forming units."""

    def __init__(
        self,
        settings: IslandSettings | None,
        formers: Formers,
        solver: Solver,
        arrangement: Arrangement,
        limits: Limits,
        seed: int,
    ) -> None:
        self._settings, self.formers, self._solver, self._limits = settings, formers, solver, limits
        self._arrangement = arrangement
        _check_switch(settings, solver)
        formers.attach()
        self._head_nodes = inventory.fed_nodes(solver)
        self._arranged: tuple[Position, bytes] | None = None
        self._now_ns = -1
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
        return self._told(0, seen, zeros, np.full(zeros.shape, inventory.base_hz(self._solver)))

    @property
    def is_solved(self) -> bool:
        """Whether there is a solution of this instant: not where all of the feeder is dead."""
        return bool(self.alive.any())

    def solve(self, now_ns: int, inputs: Values, faulted: bool) -> Values:
        """Solve the feeder with who holds it at this instant; return the outputs. Raises SolverError.

        faulted: there is a fault, which is over before the feeder's own controls act.
        """
        if now_ns != self._now_ns:
            self._now_ns = now_ns
            self.formers.begin()
        position = self._where(now_ns, inputs)
        asked = self.formers.asked(inputs)
        active, fault = asked.forms >= 0.5, np.zeros(asked.forms.size)
        while True:
            self._arrange(position, active)
            flow, trips = self._held(asked, faulted)
            if not trips.any():
                break
            fault, active = np.where(trips > 0.0, trips, fault), active & (trips == 0.0)
        return self._told(now_ns, flow, fault, self.formers.f_hz(self.alive[self.formers.nodes]))

    def memory(self) -> Mapping[str, Any]:
        """Return nothing more: what is switched in the feeder follows from the state."""
        return {}

    def recall(self, memory: Mapping[str, Any]) -> None:
        """Have the feeder switched as the state says; it begins as the file has it."""
        del memory
        position = self._position
        self._position, self._head_feeds = Position(closed=True, grid_on=True), True
        self._solver.with_controls(False)
        self._switch(position)
        self._solver.rearrange()
        self._arrangement.serve(self.alive)

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
        return inventory.base_hz(self._solver) if part == self._head_part else self.formers.part_hz(part)

    def _held(self, asked: Asked, faulted: bool) -> tuple[Flow, FloatArray]:
        """Return what the units give, and the fault (n,) of those that cannot."""
        nothing = np.zeros(asked.forms.size)
        if not self.alive.any():
            return Flow(nothing, nothing, nothing.astype(np.complex128)), nothing
        try:
            flow = self._with_controls(asked, faulted)
        except (SolverError, NoRoot) as error:
            if not self.formers.free.any():
                raise SolverError(str(error)) from error
            return Flow(nothing, nothing, nothing.astype(np.complex128)), np.where(self.formers.free, NO_BALANCE, 0.0)
        trips = self.formers.beyond(asked, flow)
        if not trips.any() and self._collapsed(faulted):
            trips = np.where(self.formers.free, NO_BALANCE, 0.0)
        return flow, trips

    def _with_controls(self, asked: Asked, faulted: bool) -> Flow:
        """Return the flow once the feeder's own controls rest too; where one looks at a dead part none acts."""
        looked_at, positions = self._limits.looked_at, self._solver.positions
        acts = looked_at is not None and not faulted and bool(self.alive[looked_at].all())
        self._solver.with_controls(False)
        self._balance(asked)
        for _ in range(MOST_ROUNDS if acts else 0):
            taps, banks = positions.taps(), positions.banks()
            self._solver.with_controls(True)
            self._solver.solve_given()
            self._solver.with_controls(False)
            if np.array_equal(taps, positions.taps()) and banks == positions.banks():
                break
            self._balance(asked)
        return self.formers.flow()

    def _balance(self, asked: Asked) -> None:
        if self.formers.any_active:
            self.formers.hold(asked)
        else:
            self._solver.solve_given()

    def _collapsed(self, faulted: bool) -> bool:
        """Return whether an island has a voltage outside the band; at a fault, above it. Not what the head feeds."""
        if not self.formers.free.any():
            return False
        return bool((self._limits.are_broken(faulted) & self.alive & (self._parts != self._head_part)).any())

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
        fed = [self._head_nodes] if self._head_feeds else []
        self._parts = joined(self._arrangement.parts(), [*fed, *self.formers.phases[active]])
        if met := self.formers.meeting(self._parts):
            what = "a switch joins live islands that nothing has brought into step"
            raise SolverError(f"{what}: of {' and '.join(met)}; let all of them but one be dead before")
        self._head_part = int(self._parts[self._head_nodes[0]]) if self._head_feeds else -1
        held = set(self._parts[self.formers.nodes[active]].tolist()) | {self._head_part}
        self.alive = self._arrangement.with_neutrals(np.isin(self._parts, list(held)))
        self._arrangement.serve(self.alive)
        self.formers.arrange(self._parts, self._head_part)
        self._arranged = wanted

    def _switch(self, position: Position) -> None:
        at_head = self._settings is not None and self._settings.switch == HEAD
        feeds = position.grid_on and (position.closed or not at_head)
        if feeds != self._head_feeds:
            switch_sources(self._solver, ["source"], [feeds])
        if self._settings and not at_head and position.closed != self._position.closed:
            switch_line(self._solver, self._settings.switch.lower(), position.closed)
        self._position, self._head_feeds = position, feeds


def joined(parts: NDArray[np.intp], sources: Sequence[NDArray[np.intp]]) -> NDArray[np.intp]:
    """Return the part (nodes,) in which each node is, where the nodes of each source are in one.

    Phases that nothing couples but the source that feeds them all are no parts by themselves.
    """
    for nodes in sources:
        parts = np.where(np.isin(parts, parts[nodes]), parts[nodes].min(), parts)
    return parts


def _check_switch(settings: IslandSettings | None, solver: Solver) -> None:
    if settings is None or settings.switch == HEAD:
        return
    lines = inventory.lines(solver)
    if settings.switch.lower() not in lines:
        what = f"the feeder has no line {settings.switch!r}" + did_you_mean(settings.switch, [HEAD, *lines])
        raise PlaceError([(("island", "switch"), what)])
    if not inventory.is_closed(solver, settings.switch.lower()):
        what = f"the feeder file has {settings.switch!r} open, or not enabled: let it be closed there"
        raise PlaceError([(("island", "switch"), what)])
    if not behind(inventory.conducting(solver), inventory.head_bus(solver), settings.switch):
        what = f"{settings.switch!r} cuts nothing off from the head: there is another way round it"
        raise PlaceError([(("island", "switch"), what)])
