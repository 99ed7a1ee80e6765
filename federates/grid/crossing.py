"""The switch of an island: its position, with the relay that opens it; its two sides; and what crosses it.

The relay. Where an input says when the switch is closed, it opens by itself at the instant at which the bulk system is
lost (loss of mains), and stays open until it has been told to open, and then to close. With the bulk system away it
does not close.

The two sides are the grid's and the island's: voltage (positive sequence, pu), frequency (Hz; 0 where it is dead), and
the angle by which the island is ahead of the grid,

    angle(t) = arg(V_island) - arg(V_grid) + 360 deg * integral of (f_island - f_grid) dt

since it opened: phasors turn with the frequency that was found at each instant until the next.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from derloop.contract import FloatArray, Port
from derloop.memory import remembers
from federates.grid import inventory
from federates.grid.solver import Solver

HEAD: Final = "head"
"""As the name of a switch: where the feeder is fed from."""
DEAD_PU: Final = 0.1
"""Below this a side is dead, as relays that check for synchronism are set to take it."""
PORTS = {
    "switch": Port("1", ("closed",)),
    "grid_on": Port("1", ("bulk",)),
    "switch_kw": Port("kW", ("switch",)),
    "switch_kvar": Port("kvar", ("switch",)),
    "sides_pu": Port("pu", ("grid", "island")),
    "sides_hz": Port("Hz", ("grid", "island")),
    "angle_deg": Port("deg", ("switch",)),
}


class Position(NamedTuple):
    """Where the switch stands, and whether the bulk system is there."""

    closed: bool
    grid_on: bool


@remembers("_latest", "_now_ns", "_held")
class Relay:
    """Opens the switch when the bulk system is lost. State: whether it has."""

    def __init__(self) -> None:
        self._held = self._latest = False
        self._now_ns = -1

    def position(self, now_ns: int, told: bool, grid_on: bool) -> Position:
        """Return where the switch is at this instant. told: closed, as the input says."""
        if now_ns != self._now_ns:
            self._now_ns, self._held = now_ns, self._latest
        self._latest = told and (self._held or not grid_on)
        return Position(told and not self._latest, grid_on)


@remembers("_latest", "_passed_s", "_now_ns", "_held")
class Slip:
    """The angle that an island has gained on the grid. State: it, and the difference of frequencies."""

    def __init__(self) -> None:
        self._now_ns, self._passed_s = -1, 0.0
        self._held = self._latest = (0.0, 0.0)

    def gained_deg(self, now_ns: int, off_hz: float, slips: bool) -> float:
        """Return what was gained until now.

        off_hz: the difference of frequencies from now on. slips: the switch is open, and both sides live.
        """
        if now_ns != self._now_ns:
            self._passed_s = (now_ns - self._now_ns) / 1e9 if self._now_ns >= 0 else 0.0
            self._now_ns, self._held = now_ns, self._latest
        gained_deg, was_off_hz = self._held
        gained_deg += 360.0 * was_off_hz * self._passed_s
        self._latest = (gained_deg, off_hz) if slips else (0.0, 0.0)
        return self._latest[0]


def wrapped_deg(angle_deg: float) -> float:
    """Return an angle in (-180, 180]."""
    return 180.0 - (180.0 - angle_deg) % 360.0


def positive_pu(volts: NDArray[np.complex128], phases: FloatArray, base_v: float) -> complex:
    """Return the positive sequence of the nodes of a bus, pu; of fewer than three phases the mean, turned alike."""
    turned = volts * np.exp(2j * np.pi / 3.0 * (phases - 1.0))
    return complex(turned.mean()) / base_v


class Side(NamedTuple):
    """One side of a switch: the numbers of its nodes, their phases, and the nominal voltage."""

    nodes: NDArray[np.intp]
    phases: FloatArray
    base_v: float

    @classmethod
    def of(cls, bus: str, kv_ln: float, solver: Solver) -> Side:
        found = [(i, float(n.split(".")[1])) for i, n in enumerate(solver.nodes) if n.split(".")[0] == bus]
        numbers, phases = zip(*[(i, p) for i, p in found if 1.0 <= p <= 3.0], strict=True)
        return cls(np.array(numbers, np.intp), np.array(phases), 1000.0 * kv_ln)

    def seen_pu(self, volts: NDArray[np.complex128]) -> complex:
        return positive_pu(volts[self.nodes], self.phases, self.base_v)


class Told(NamedTuple):
    """What both sides have: voltage, pu, complex; frequency, Hz."""

    grid_pu: complex
    island_pu: complex
    grid_hz: float
    island_hz: float

    @property
    def both_live(self) -> bool:
        return abs(self.grid_pu) > DEAD_PU and abs(self.island_pu) > DEAD_PU


def outputs(now_ns: int, slip: Slip, position: Position, told: Told, crossing_kva: complex) -> dict[str, FloatArray]:
    """Return the ports of the switch: see `PORTS`."""
    slips = told.both_live and not position.closed
    angle_deg = slip.gained_deg(now_ns, told.island_hz - told.grid_hz, slips)
    if slips:
        angle_deg += float(np.degrees(np.angle(told.island_pu / told.grid_pu)))
    return {
        "switch": np.array([float(position.closed)]),
        "grid_on": np.array([float(position.grid_on)]),
        "switch_kw": np.array([crossing_kva.real]),
        "switch_kvar": np.array([crossing_kva.imag]),
        "sides_pu": np.abs([told.grid_pu, told.island_pu]),
        "sides_hz": np.array([told.grid_hz, told.island_hz]),
        "angle_deg": np.array([wrapped_deg(angle_deg)]),
    }


class Crossing:
    """The switch of an island at the feeder."""

    def __init__(self, switch: str, solver: Solver) -> None:
        self._switch, self._solver, self._slip = switch, solver, Slip()
        self._emf_pu, self._base_hz = inventory.head_emf_pu(solver), inventory.base_hz(solver)
        kv_ln = {name: bus.kv_ln for name, bus in inventory.buses(solver).items()}
        if switch == HEAD:
            self._ends = [Side.of(inventory.head_bus(solver), kv_ln[inventory.head_bus(solver)], solver)]
            self._source = solver.elements.names.index("vsource.source")
            return
        ends = inventory.branches(solver)[f"line.{switch}"]
        cut_off = behind(inventory.conducting(solver), inventory.head_bus(solver), switch)
        self._terminal = 0 if ends[1] in cut_off else 1
        grid, island = ends[self._terminal], ends[1 - self._terminal]
        self._ends = [Side.of(bus, kv_ln[bus], solver) for bus in (grid, island)]

    def kva(self) -> complex:
        """Return what goes into the island, kW + j kvar; in the last solution."""
        if self._switch == HEAD:
            return complex(-self._solver.elements.powers()[self._source])
        return self._solver.elements.line_kva(self._switch, self._terminal)

    def told(
        self,
        now_ns: int,
        position: Position,
        volts: NDArray[np.complex128],
        hz: Callable[[int], float],
        kva: complex,
    ) -> dict[str, FloatArray]:
        """Return the ports of the switch. volts: (nodes,), 0 where dead. hz: frequency at a node."""
        island = self._ends[-1]
        island_pu, island_hz = island.seen_pu(volts), hz(int(island.nodes[0]))
        if self._switch == HEAD:
            grid_pu, grid_hz = (self._emf_pu, self._base_hz) if position.grid_on else (0j, 0.0)
        else:
            grid_pu, grid_hz = self._ends[0].seen_pu(volts), hz(int(self._ends[0].nodes[0]))
        return outputs(now_ns, self._slip, position, Told(grid_pu, island_pu, grid_hz, island_hz), kva)


def behind(branches: Mapping[str, tuple[str, ...]], head_bus: str, switch: str) -> frozenset[str]:
    """Return the buses that an open switch cuts off from the head; all of them where the switch is the head.

    branches: see `inventory.conducting`.
    """
    buses = {bus for ends in branches.values() for bus in ends} | {head_bus}
    if switch.lower() == HEAD:
        return frozenset(buses)
    others = [ends for name, ends in branches.items() if name != f"line.{switch.lower()}"]
    reached, before = {head_bus}, 0
    while len(reached) > before:
        before = len(reached)
        reached |= {bus for ends in others if not reached.isdisjoint(ends) for bus in ends}
    return frozenset(buses - reached)
