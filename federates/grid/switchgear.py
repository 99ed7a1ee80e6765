"""What may change in a feeder while it runs: switches, taps, banks, faults; and which of its parts are energised.

A switch is closed where it is told to be (or, untold, where the file has it so) and no relay holds it open. Parts that
no source feeds are dead: their voltages are 0 and nothing is drawn there; tap changers and controls of banks that would
look at dead buses rest. While there is a fault, tap changers and banks rest, for a fault is over before they act.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from derloop.contract import FloatArray, Port, Values
from derloop.errors import did_you_mean
from derloop.kind import Settings
from derloop.memory import remembers
from federates.fleets import Problems
from federates.grid import inventory
from federates.grid.apparatus import Apparatus, BoolArray, OperatedSettings
from federates.grid.faults import Faults, FaultSettings
from federates.grid.protection import Relays, RelaySettings
from federates.grid.solver import Solver
from federates.grid.switching import Arrangement

NEVER_S = -1e12
"""Commands of before the first one: too old for anybody."""


class IndicatorSettings(Settings):
    """Fault passage indicators at every switch that is operated."""

    pickup_a: float = Field(gt=0.0, le=1e6, description="Current above which they fall, A.", examples=[900.0])
    reset_s: float = Field(
        3600.0, ge=0.0, le=1e6, description="They rise again when load has flown for so long, s.", examples=[3600.0]
    )


class SwitchgearSettings(Settings):
    """The parts of a feeder's settings that are about what may change."""

    operated: OperatedSettings = Field(
        default=OperatedSettings(),
        description="Which switches, regulators and banks inputs move: names of the feeder file.",
    )
    protection: tuple[RelaySettings, ...] = Field(
        default=(), description="Relays that open switches where there is a fault."
    )
    indicators: IndicatorSettings | None = Field(default=None, description="Fault passage indicators at the switches.")
    faults: tuple[FaultSettings, ...] = Field(default=(), description="Faults in the feeder, and when they come.")

    @property
    def can_change(self) -> bool:
        """Whether anything may: without, there is no switchgear, and nothing of it is told."""
        unchanging = SwitchgearSettings()
        return any(getattr(self, name) != getattr(unchanging, name) for name in SwitchgearSettings.model_fields)


class _Seen(NamedTuple):
    """Fault passage indicators, each (switches,)."""

    fallen: BoolArray
    calm_s: FloatArray


@remembers(
    *("_closed", "_passed_s", "_now_ns", "_seen", "_seen_held"),
    *("alive", "_held_at", "_found", "_controls_on", "_resting", "_banks_resting"),
)
class Switchgear:
    """The switchgear of a feeder. State: what is closed, what is energised, and that of relays and faults."""

    def __init__(self, settings: SwitchgearSettings, apparatus: Apparatus, solver: Solver, acting: bool) -> None:
        """acting: whether the feeder's own tap changers and banks act."""
        self._settings, self._apparatus, self._solver, self._acting = settings, apparatus, solver, acting
        self.faults = Faults(settings.faults, solver) if settings.faults else None
        self._relays = Relays(settings.protection) if settings.protection else None
        names = apparatus.movable
        self._relay_at = np.array([names.index(s) for s in (self._relays.switches if self._relays else ())], np.intp)
        self._closed = apparatus.closed_in_file.copy()
        self._told = np.arange(len(names)) < len(apparatus.switches)
        self._seen = self._seen_held = _Seen(np.zeros(len(names), np.bool_), np.zeros(len(names)))
        self._now_ns: int | None = None
        self._passed_s = 0.0

    def attach(self, arrangement: Arrangement) -> None:
        """Find everything in the prepared solver; dead parts are as the file has them."""
        self._arrangement = arrangement
        delivering = inventory.delivering(self._solver)
        self._element = np.array([delivering.index(f"line.{n}") for n in self._apparatus.movable], np.intp)
        bus_of = np.array([node.rpartition(".")[0] for node in self._solver.nodes])
        self._heads = inventory.fed_nodes(self._solver)
        self._regulated = [np.flatnonzero(np.isin(bus_of, buses)) for buses in self._apparatus.regulated_buses()]
        self._banked = [np.flatnonzero(np.isin(bus_of, buses)) for buses in self._apparatus.banked_buses()]
        self._limits = self._apparatus.limit_taps()
        self._most_steps = self._apparatus.most_steps()
        self.alive: BoolArray = np.ones(bus_of.size, np.bool_)
        self._held_at = np.zeros(0, np.intp)
        self._found = self.alive, self._held_at
        """As islands left both at the last instant, and as switching left them at this one."""
        self._resting: bytes | None = None
        self._controls_on: bool | None = None
        self._banks_resting = bytes(len(self._banked))
        self._arrange(in_force=False)

    def memory(self) -> Mapping[str, Any]:
        """Return nothing more: what is switched in the feeder follows from the state."""
        return {}

    def recall(self, memory: Mapping[str, Any]) -> None:
        """Have the feeder switched, and its controls at rest, as the state says."""
        del memory
        self._apparatus.switch(self._apparatus.movable, self._closed.tolist())
        if self.faults:
            self.faults.switch()
        self._solver.with_controls(False)
        self._solver.rearrange()
        self._arrangement.serve(self.alive)
        self._apparatus.rest_regulators(np.frombuffer(self._resting or b"", np.bool_))
        self._apparatus.rest_capacitors(np.frombuffer(self._banks_resting, np.bool_))
        self._solver.with_controls(bool(self._controls_on))

    # --- ports ---------------------------------------------------------------------------------------

    @property
    def inputs(self) -> dict[str, Port]:
        a = self._apparatus
        told = {"switch_set": a.switches, "tap_set": a.regulators, "capacitor_set": a.capacitors}
        ports = {name: Port("1", labels) for name, labels in told.items() if labels}
        if self._is_dated:
            ports["commanded_at_s"] = Port("s", ("commands",), otherwise=NEVER_S)
        return ports

    @property
    def _is_dated(self) -> bool:
        return self._settings.operated.local_after_s is not None

    @property
    def outputs(self) -> dict[str, Port]:
        a = self._apparatus
        ports = {"unserved_kw": Port("kW", ("feeder",)), "measured_at_s": Port("s", ("feeder",))}
        if a.movable:
            ports["switches"] = Port("1", a.movable)
        if a.capacitors:
            ports["capacitors"] = Port("1", a.capacitors)
        if self._relays:
            ports["locked_out"] = Port("1", self._relays.switches)
        if self._settings.indicators:
            ports["fault_seen"] = Port("1", a.movable)
        return ports

    def outcome(self) -> dict[str, FloatArray]:
        """Return the outputs of this instant, but for what is not served."""
        found = {"measured_at_s": np.array([NEVER_S if self._now_ns is None else self._now_ns / 1e9])}
        if self._apparatus.movable:
            found["switches"] = self._closed.astype(np.float64)
        if self._apparatus.capacitors:
            found["capacitors"] = self._apparatus.capacitor_steps()
        if self._relays:
            found["locked_out"] = self._relays.locked_out
        if self._settings.indicators:
            found["fault_seen"] = self._seen.fallen.astype(np.float64)
        return found

    # --- an instant ----------------------------------------------------------------------------------

    def take(self, now_ns: int, inputs: Values) -> bool:
        """Switch, and move taps and banks, as it is to be at this instant; return whether any part changed places."""
        is_new = now_ns != self._now_ns
        if is_new:
            self._passed_s = 0.0 if self._now_ns is None else (now_ns - self._now_ns) / 1e9
            self._now_ns, self._seen_held = now_ns, self._seen
            self._found = self.alive, self._held_at
        self.alive, self._held_at = self._found
        closed = self._wanted(now_ns, inputs)
        changed = np.flatnonzero(closed != self._closed)
        names = self._apparatus.movable
        self._apparatus.switch([names[i] for i in changed], closed[changed])
        self._closed = closed
        faulted = self.faults.take(now_ns, is_new) if self.faults else False
        in_force = self._in_force(now_ns, inputs)
        if moved := bool(changed.size) or faulted:
            self._arrange(in_force)
            self._found = self.alive, self._held_at
        self._rest(in_force)
        if in_force:
            self._operate(inputs)
        return moved

    def _wanted(self, now_ns: int, inputs: Values) -> BoolArray:
        closed = self._apparatus.closed_in_file.copy()
        if self._apparatus.switches:
            closed[self._told] = inputs["switch_set"] >= 0.5
        if self._relays:
            closed[self._relay_at] &= ~self._relays.take(now_ns, ~closed[self._relay_at])
        return closed

    def _in_force(self, now_ns: int, inputs: Values) -> bool:
        """Return whether commands to tap changers and banks hold: they are young enough."""
        longest_s = self._settings.operated.local_after_s
        return longest_s is None or now_ns / 1e9 - float(inputs["commanded_at_s"][0]) <= longest_s

    def _operate(self, inputs: Values) -> None:
        if self._apparatus.regulators:
            self._apparatus.set_taps(np.clip(np.rint(inputs["tap_set"]), *self._limits))
        if self._apparatus.capacitors:
            self._apparatus.set_capacitors(np.clip(np.rint(inputs["capacitor_set"]), 0.0, self._most_steps))

    def _arrange(self, in_force: bool) -> None:
        """Find out which nodes are energised now, and leave the others without voltage."""
        self._solver.with_controls(False)
        self._controls_on = None
        parts = self._arrangement.parts()
        self.alive = self._arrangement.with_neutrals(np.isin(parts, [*parts[self._heads], *parts[self._held_at]]))
        self._solver.quench(~self.alive)
        self._arrangement.serve(self.alive)
        self._rest(in_force)

    def hold(self, alive: BoolArray, at: NDArray[np.intp]) -> None:
        """Take in what islands have alive (nodes,) too, and which nodes (n,) are those of who holds them."""
        self.alive, self._held_at = alive, at

    def _rest(self, in_force: bool) -> None:
        """Let those controls rest that are commanded, look at dead buses, or have no time to act."""
        resting = self._dead(self._regulated)
        banks_resting = self._dead(self._banked)
        if in_force:
            resting |= self._apparatus.operated_regulators()
            banks_resting |= self._apparatus.operated_capacitors()
        if resting.tobytes() != self._resting:
            self._apparatus.rest_regulators(resting)
            self._resting = resting.tobytes()
        if banks_resting.tobytes() != self._banks_resting:
            self._apparatus.rest_capacitors(banks_resting)
            self._banks_resting = banks_resting.tobytes()
        controls_on = self._acting and not self.is_faulted
        if controls_on != self._controls_on:
            self._solver.with_controls(controls_on)
            self._controls_on = controls_on

    def _dead(self, looked_at: Sequence[NDArray[np.intp]]) -> BoolArray:
        """Return which of controls have a dead node among those that they look at, and act at."""
        return np.array([not self.alive[nodes].all() for nodes in looked_at], np.bool_)

    @property
    def is_faulted(self) -> bool:
        """Whether a fault draws current."""
        return self.faults is not None and self.faults.any_on(self.alive)

    def see(self, currents_a: FloatArray | None) -> None:
        """Take what the solution of this instant has: the currents of `delivering`, A, where they are asked for."""
        if self.faults:
            self.faults.see(self.alive)
        if currents_a is None:
            return
        at_switches = currents_a[self._element]
        if self._relays:
            self._relays.see(at_switches[self._relay_at])
        if indicators := self._settings.indicators:
            fell = at_switches > indicators.pickup_a
            calm_s = np.where(fell | (at_switches < 1.0), 0.0, self._seen_held.calm_s + self._passed_s)
            rises = calm_s > indicators.reset_s
            self._seen = _Seen((self._seen_held.fallen & ~rises) | fell, calm_s)

    @property
    def needs_currents(self) -> bool:
        return self._relays is not None or self._settings.indicators is not None


def relayed(protection: Sequence[RelaySettings], solver: Solver) -> tuple[tuple[str, ...], Problems]:
    """Return the switches at which relays stand, and what is wrong with them."""
    lines = inventory.lines(solver)
    names = [relay.switch.lower() for relay in protection]
    problems: Problems = [
        (("protection", i, "switch"), f"the feeder has no line {relay.switch!r}" + did_you_mean(relay.switch, lines))
        for i, relay in enumerate(protection)
        if relay.switch.lower() not in lines
    ]
    if len(set(names)) < len(names):
        problems.append((("protection",), "a switch has two relays"))
    return tuple(name for name in dict.fromkeys(names) if name in lines), problems
