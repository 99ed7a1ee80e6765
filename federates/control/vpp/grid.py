"""What a plant knows of the feeder that its members stand at: how voltages and loadings answer their powers.

The feeder's solver is asked once before the run (`derloop.kind.Sensitivity`). From what was measured last, with the
powers `P` of all devices at each place,

    value = measured + S (P - P_measured)          value_low <= value <= value_high

for the voltages of nodes and the loadings of lines and transformers. Where a value would be outside, the worst first,
powers are moved at the places where that has an effect, in proportion to the effect that they could have there, and at
each place in proportion to the room of each device. Places with less than a twentieth of the largest effect rest. After
64 moves it is left at that; a value that nobody can move is left as it is.
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
from federates.control.vpp.dispatch import share
from federates.control.vpp.members import Fleets, Measured

MOVES = 64
LEAST_EFFECT = 0.05
Path = tuple[str | int, ...]
Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*$", max_length=100)]


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
    """Between which powers n devices may be moved."""

    low_kw: FloatArray
    high_kw: FloatArray


class Grid:
    """The feeder, as limits of m values that answer n devices."""

    def __init__(self, limits: FeederLimits, sensitivity: Sensitivity, path: Path) -> None:
        nodes = _chosen(limits.nodes, sensitivity.nodes, (*path, "nodes"))
        with_loading = limits.loading_pu is not None
        if with_loading and not sensitivity.elements:
            what = f"{limits.feeder!r} tells no loading: its setting `monitored` names no line or transformer"
            raise PlaceError([((*path, "loading_pu"), what)])
        elements = sensitivity.elements if with_loading else ()
        self._nodes, self._place = nodes, sensitivity.place
        loading = sensitivity.loading_pu_per_kw[: len(elements)]
        self._effect = np.concatenate([sensitivity.v_pu_per_kw[nodes], loading])
        ends = (limits.v_low_pu, limits.v_high_pu), (-np.inf, limits.loading_pu or np.inf)
        low, high = (np.repeat([v, loading], [nodes.size, len(elements)]) for v, loading in zip(*ends, strict=True))
        self._low, self._high = low, high
        self._ports = {f"{limits.feeder}.v_pu": Port("pu", sensitivity.nodes, "before")}
        if elements:
            self._ports[f"{limits.feeder}.loading_pu"] = Port("pu", elements, "before")
        self._age = f"{limits.feeder}.age_s"
        self.inputs: Mapping[str, Port] = {**self._ports, self._age: Port("s", (limits.feeder,), "before", 0.0)}

    def kept(self, p_kw: FloatArray, room: Room, inputs: Values, members: Measured) -> FloatArray:
        """Return powers (n,) with which all values are in their limits, or as near as these devices can bring them.

        p_kw (n,): what they would be. room: how far they may be moved from that.
        """
        p_kw, values = p_kw.copy(), self._values(p_kw, inputs, members)
        is_stuck = np.zeros(values.size, dtype=bool)
        for _ in range(MOVES):
            outside = np.where(is_stuck, 0.0, np.maximum(values - self._high, self._low - values))
            worst = int(outside.argmax())
            if outside[worst] <= 1e-12:
                break
            moved = self._moved(worst, float(outside[worst]), values[worst] > self._high[worst], p_kw, room)
            is_stuck[worst] = not moved.any()
            p_kw = p_kw + moved
            values = values + self._effect @ self._at_places(moved)
        return p_kw

    def _measured(self, inputs: Values) -> FloatArray:
        v_pu, *loading_pu = (inputs[port] for port in self._ports)
        return np.concatenate([v_pu[self._nodes], *loading_pu])

    def _values(self, p_kw: FloatArray, inputs: Values, members: Measured) -> FloatArray:
        """Return what the values will be; silent devices are taken to go on as they did."""
        change_kw = np.where(members.is_heard, p_kw - members.p_kw, 0.0)
        values: FloatArray = self._measured(inputs) + self._effect @ self._at_places(change_kw)
        return values

    def _at_places(self, of_devices: FloatArray) -> FloatArray:
        return np.bincount(self._place, of_devices, self._effect.shape[1]).astype(np.float64)

    def _moved(self, row: int, excess: float, is_high: bool, p_kw: FloatArray, room: Room) -> FloatArray:
        """Return by how much devices (n,) move, so that one value loses its excess."""
        effect = self._effect[row] if is_high else -self._effect[row]
        effect = np.where(np.abs(effect) < LEAST_EFFECT * np.abs(effect).max(), 0.0, effect)
        down_kw, up_kw = np.maximum(p_kw - room.low_kw, 0.0), np.maximum(room.high_kw - p_kw, 0.0)
        can_kw = np.where(effect > 0.0, self._at_places(down_kw), self._at_places(up_kw))
        could = np.abs(effect) * can_kw
        pu = np.divide(share(excess, could), could, out=np.zeros(could.shape), where=could > 0.0)[self._place]
        moved: FloatArray = np.where(effect[self._place] > 0.0, -down_kw, up_kw) * pu
        return moved


def asked_of(limits: FeederLimits, fleets: Fleets, context: Context, path: Path) -> Grid:
    """Return what the feeder tells of its answers to all members; raises PlaceError where it cannot."""
    if not isinstance(context.feeder, Sensitive):
        what = "this scenario has no feeder that tells how it answers powers"
        raise PlaceError([((*path, "feeder"), what)])
    if context.kinds and limits.feeder not in context.kinds:
        what = f"no federate is called {limits.feeder!r}" + did_you_mean(limits.feeder, [*context.kinds])
        raise PlaceError([((*path, "feeder"), what)])
    terminals = [terminal for name in fleets.names for terminal in context.terminals[name]]
    return Grid(limits, context.feeder.sensitivity(terminals), path)


def _chosen(patterns: Sequence[str], nodes: Sequence[str], path: Path) -> NDArray[np.intp]:
    fits = [[i for i, node in enumerate(nodes) if fnmatchcase(node, pattern)] for pattern in patterns]
    problems = [
        ((*path, i), f"the feeder has no node {pattern!r}" + did_you_mean(pattern, nodes))
        for i, (pattern, found) in enumerate(zip(patterns, fits, strict=True))
        if not found
    ]
    if problems:
        raise PlaceError([*problems])
    return np.array(sorted({i for found in fits for i in found}), np.intp)
