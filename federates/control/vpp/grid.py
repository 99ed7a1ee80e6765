"""What a plant knows of the feeder that its members stand at: how voltages and loadings answer their powers.

The feeder's solver is asked once before the run (`derloop.kind.Sensitivity`). From what was measured last, with the
powers `P` and `Q` of all devices at each place,

    value = measured + S_P (P - P_measured) + S_Q (Q - Q_measured)          value_low <= value <= value_high

for the voltages of nodes and the loadings of lines and transformers. Where a value would be outside, the worst first,
powers are moved in proportion to their effect `s` on it and to the room `r` of each device, no further than that,

    moved = min(excess |s| / sum s^2 r, 1) r

which is the least sum of `moved^2 / r` that takes the excess away. Places with less than a twentieth of the largest
effect rest. After 128 moves it is left at that; a value that nobody can move is left as it is. Reactive powers are
moved first, from 0, and active powers for what is then still outside. Beside the exact least sum of reactive powers on
IEEE 13 they come to 1.2 of it in the middle, and to 1.8 at most (`tests/unit/test_vpp_voltage.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Annotated, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, StringConstraints, model_validator

from derloop.contract import FloatArray, Port, Values
from derloop.errors import did_you_mean
from derloop.kind import Context, PlaceError, Sensitive, Sensitivity, Settings
from derloop.texts import NAME
from federates.control.vpp.members import Fleets, Measured
from federates.grid import inventory

MOVES = 128
LEAST_EFFECT = 0.05
Path = tuple[str | int, ...]
Name = Annotated[str, StringConstraints(max_length=100), NAME]


class FeederLimits(Settings):
    """Between which values voltages and loadings are kept."""

    feeder: Name = Field(default="grid", description="The feeder's federate.", examples=["grid"])
    v_low_pu: float = Field(default=0.95, gt=0.0, lt=2.0, description="Least voltage, pu.", examples=[0.95])
    v_high_pu: float = Field(default=1.05, gt=0.0, lt=2.0, description="Most voltage, pu.", examples=[1.05])
    nodes: tuple[Annotated[str, StringConstraints(min_length=1, max_length=200)], ...] = Field(
        default=("*",), min_length=1, description="Patterns of the nodes that count, as bus.phase.", examples=[["67*"]]
    )
    loading_pu: float | None = Field(
        default=None,
        gt=0.0,
        le=10.0,
        description="Most loading of what the feeder has in `monitored`, pu of the rating.",
        examples=[1.0],
    )

    @model_validator(mode="after")
    def _is_a_band(self) -> Self:
        if self.v_low_pu >= self.v_high_pu:
            raise ValueError(f"v_low_pu {self.v_low_pu:g} must be less than v_high_pu {self.v_high_pu:g}")
        return self


@dataclass(frozen=True, slots=True)
class Room:
    """Between which powers n devices may be moved, kW or kvar."""

    low: FloatArray
    high: FloatArray


@dataclass(frozen=True, slots=True)
class Effect:
    """How m values answer one sort of power of n devices, to first order."""

    of_places: FloatArray
    """(m, places), pu of a kW or a kvar."""
    place: NDArray[np.intp]
    """(n,)"""

    def on_values(self, powers: FloatArray) -> FloatArray:
        """Return by how much values (m,) change with powers (n,)."""
        change: FloatArray = self.of_places @ self._at_places(powers)
        return change

    def moved(self, row: int, excess: float, is_high: bool, powers: FloatArray, room: Room) -> FloatArray:
        """Return by how much devices (n,) move, so that one value loses its excess."""
        effect = self.of_places[row] if is_high else -self.of_places[row]
        effect = np.where(np.abs(effect) < LEAST_EFFECT * np.abs(effect).max(), 0.0, effect)
        down, up = np.maximum(powers - room.low, 0.0), np.maximum(room.high - powers, 0.0)
        room_at = np.where(effect > 0.0, self._at_places(down), self._at_places(up))
        least = float((effect**2 * room_at).sum())
        pu = np.minimum(np.abs(effect) * (excess / least), 1.0) if least > 0.0 else np.zeros(effect.shape)
        moved: FloatArray = np.where(effect[self.place] > 0.0, -down, up) * pu[self.place]
        return moved

    def _at_places(self, of_devices: FloatArray) -> FloatArray:
        return np.bincount(self.place, of_devices, self.of_places.shape[1]).astype(np.float64)


class Grid:
    """The feeder, as limits of m values that answer n devices, and the reactive powers of others."""

    def __init__(self, limits: FeederLimits, sensitivity: Sensitivity, path: Path, active: int) -> None:
        """active: how many of the sensitivity's devices, the first, are moved by active power; others by reactive."""
        nodes = _chosen(limits.nodes, sensitivity.nodes, (*path, "nodes"))
        with_loading = limits.loading_pu is not None
        if with_loading and not sensitivity.elements:
            what = f"{limits.feeder!r} tells no loading: its setting `monitored` names no line or transformer"
            raise PlaceError([((*path, "loading_pu"), what)])
        s, elements = sensitivity, sensitivity.elements if with_loading else ()
        of_kw = np.concatenate([s.v_pu_per_kw[nodes], s.loading_pu_per_kw[: len(elements)]])
        of_kvar = np.concatenate([s.v_pu_per_kvar[nodes], s.loading_pu_per_kvar[: len(elements)]])
        self._nodes = nodes
        self._active, self._reactive = Effect(of_kw, s.place[:active]), Effect(of_kvar, s.place[active:])
        ends = (limits.v_low_pu, limits.v_high_pu), (-np.inf, limits.loading_pu or np.inf)
        low, high = (np.repeat([v, loading], [nodes.size, len(elements)]) for v, loading in zip(*ends, strict=True))
        self._low, self._high = low, high
        self._ports = {f"{limits.feeder}.v_pu": Port("pu", sensitivity.nodes, "before")}
        if elements:
            self._ports[f"{limits.feeder}.loading_pu"] = Port("pu", elements, "before")
        self._age = f"{limits.feeder}.age_s"
        self.inputs: Mapping[str, Port] = {**self._ports, self._age: Port("s", (limits.feeder,), "before", 0.0)}

    def age_s(self, inputs: Values) -> float:
        """Return how old what is read of the feeder is."""
        return float(inputs[self._age].max())

    def expected(self, p_kw: FloatArray, inputs: Values, members: Measured) -> FloatArray:
        """Return what the values (m,) will be with powers (n,); silent devices are taken to go on as they did."""
        v_pu, *loading_pu = (inputs[port] for port in self._ports)
        measured = np.concatenate([v_pu[self._nodes], *loading_pu])
        return measured + self._active.on_values(np.where(members.is_heard, p_kw - members.p_kw, 0.0))

    def without(self, values: FloatArray, q_kvar: FloatArray) -> FloatArray:
        """Return what values (m,) would be without reactive powers that they were measured with."""
        return values - self._reactive.on_values(q_kvar)

    def kept(self, p_kw: FloatArray, values: FloatArray, room: Room) -> FloatArray:
        """Return powers (n,) with which all values are in their limits, or as near as these devices can bring them.

        p_kw (n,): what they would be, with these values (m,). room: how far they may be moved from that.
        """
        return self._brought(self._active, p_kw, values, room)[0]

    def supported(self, values: FloatArray, room: Room) -> tuple[FloatArray, FloatArray]:
        """Return reactive powers, kvar, that are moved from 0 as `kept` moves active ones, and the values with them."""
        return self._brought(self._reactive, np.zeros(room.low.shape), values, room)

    def _brought(
        self, effect: Effect, powers: FloatArray, values: FloatArray, room: Room
    ) -> tuple[FloatArray, FloatArray]:
        is_stuck = np.zeros(values.size, dtype=bool)
        for _ in range(MOVES):
            outside = np.where(is_stuck, 0.0, np.maximum(values - self._high, self._low - values))
            worst = int(outside.argmax())
            if outside[worst] <= 1e-12:
                break
            moved = effect.moved(worst, float(outside[worst]), values[worst] > self._high[worst], powers, room)
            is_stuck[worst] = not moved.any()
            powers, values = powers + moved, values + effect.on_values(moved)
        return powers, values


def asked_of(limits: FeederLimits, fleets: Fleets, context: Context, path: Path, reactive: Sequence[str] = ()) -> Grid:
    """Return what the feeder tells of its answers to all members, and to fleets whose reactive power is set.

    Raises PlaceError where it cannot.
    """
    feeder = context.feeders.get(limits.feeder)
    if not isinstance(feeder, Sensitive):
        raise PlaceError([((*path, "feeder"), _untold(limits.feeder, context))])
    named = (*fleets.names, *reactive)
    if elsewhere := sorted({name for name in named if context.meets[name] != limits.feeder}):
        what = f"{limits.feeder!r} says nothing of {', '.join(elsewhere)}, at another feeder"
        raise PlaceError([((*path, "feeder"), what)])
    terminals = [terminal for name in named for terminal in context.terminals[name]]
    return Grid(limits, feeder.sensitivity(terminals), path, fleets.size)


def _untold(feeder: str, context: Context) -> str:
    """Return why nothing is known of how `feeder` answers powers."""
    if feeder in context.feeders or not context.feeders:
        return "this scenario has no feeder that tells how it answers powers"
    if feeder in context.kinds:
        return f"{feeder!r} is no feeder" + did_you_mean(feeder, [*context.feeders])
    return f"no federate is called {feeder!r}" + did_you_mean(feeder, [*context.feeders])


def _chosen(patterns: Sequence[str], nodes: Sequence[str], path: Path) -> NDArray[np.intp]:
    """Return which nodes, "671.2", fit a pattern; a neutral, which has next to no voltage, is none that counts."""
    phases = [i for i, is_phase in enumerate(inventory.are_phases(nodes)) if is_phase]
    fits = [[i for i in phases if fnmatchcase(nodes[i], pattern)] for pattern in patterns]
    problems = [
        ((*path, i), f"the feeder has no node {pattern!r}" + did_you_mean(pattern, [nodes[k] for k in phases]))
        for i, (pattern, found) in enumerate(zip(patterns, fits, strict=True))
        if not found
    ]
    if problems:
        raise PlaceError([*problems])
    return np.array(sorted({i for found in fits for i in found}), np.intp)
