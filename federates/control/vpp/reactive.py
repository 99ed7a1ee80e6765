"""Reactive power that a plant may set: of which fleets, within what capability, and what it hears of it.

A device can inject or absorb what its settings allow (`smart.q_injected_max_pu`, `q_absorbed_max_pu`, by default the
0.44 of its rating that IEEE 1547-2018 asks of category B), as far as its active power `P` leaves it room:

    -q_absorbed_max <= Q <= q_injected_max          Q^2 <= S^2 - P^2

A fleet of which nothing was heard for `silent_after_s` is asked for 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

import numpy as np

from derloop.contract import FloatArray, Port, Values
from derloop.errors import did_you_mean
from derloop.kind import Context, PlaceError
from federates.control.vpp.grid import Room
from federates.control.vpp.members import Fleets, Pattern
from federates.der.smart.capability import leg
from federates.fleets import Path, Problems, untaken

SET = "q_set_pu"


class Reactive:
    """Fleets whose reactive power is set: m devices, fleet after fleet."""

    def __init__(self, names: Sequence[str], fleets: Fleets, context: Context) -> None:
        self.names, self._silent_after_s = tuple(names), fleets.silent_after_s
        self.labels = {name: context.labels[name] for name in names}
        self._member = [_places(name, fleets) for name in names]
        self._rated_kva = np.array([t.rated_kva for name in names for t in context.terminals[name]])
        smart = [getattr(context.settings.get(name), "smart", None) for name in names]
        self._least_pu = -self._each([getattr(s, "q_absorbed_max_pu", 0.44) for s in smart])
        self._most_pu = self._each([getattr(s, "q_injected_max_pu", 0.44) for s in smart])
        self._edges = np.cumsum([len(self.labels[name]) for name in names])[:-1]

    @property
    def inputs(self) -> dict[str, Port]:
        ports: dict[str, Port] = {}
        for name, labels in self.labels.items():
            ports |= {f"{name}.{port}": Port(unit, labels, "before") for port, unit in _MEASURED.items()}
            ports[f"{name}.age_s"] = Port("s", labels, "before", 0.0)
        return ports

    @property
    def outputs(self) -> dict[str, Port]:
        return {f"{name}.{SET}": Port("pu", labels) for name, labels in self.labels.items()}

    def parted(self, q_kvar: FloatArray) -> dict[str, FloatArray]:
        """Return reactive powers (m,) as setpoints, by `fleet.port`."""
        parts = np.split(q_kvar / self._rated_kva, self._edges)
        return {f"{name}.{SET}": part for name, part in zip(self.names, parts, strict=True)}

    def measured_kvar(self, inputs: Values) -> FloatArray:
        """Return what is injected (m,); 0 of silent devices, which are taken to go on as they do."""
        return np.where(self._heard(inputs), self._gathered(inputs, "q_kvar"), 0.0)

    def room(self, inputs: Values, asked_kw: FloatArray) -> Room:
        """Return between which reactive powers (m,) may be asked for. asked_kw (n,): of members, who follow it."""
        told_kw = np.split(self._gathered(inputs, "p_kw"), self._edges)
        p_kw = [told if at is None else asked_kw[at] for told, at in zip(told_kw, self._member, strict=True)]
        left_kvar = np.where(self._heard(inputs), leg(self._rated_kva, np.concatenate(p_kw)), 0.0)
        least, most = self._least_pu * self._rated_kva, self._most_pu * self._rated_kva
        return Room(np.maximum(least, -left_kvar), np.minimum(most, left_kvar))

    def beside(self, q_kvar: FloatArray, room: Room) -> Room:
        """Return what is left of the members' active room (n,) beside reactive powers (m,)."""
        most_kw = np.full(room.low.shape, np.inf)
        for at, part in zip(self._member, np.split(leg(self._rated_kva, q_kvar), self._edges), strict=True):
            if at is not None:
                most_kw[at] = part
        return Room(np.maximum(room.low, -most_kw), np.minimum(room.high, most_kw))

    def _heard(self, inputs: Values) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        return self._gathered(inputs, "age_s") <= self._silent_after_s

    def _gathered(self, inputs: Values, port: str) -> FloatArray:
        return np.concatenate([inputs[f"{name}.{port}"] for name in self.names])

    def _each(self, of_fleet: Sequence[float]) -> FloatArray:
        return np.repeat(np.asarray(of_fleet, float), [len(labels) for labels in self.labels.values()])


_MEASURED = {"p_kw": "kW", "q_kvar": "kvar"}


def _places(name: str, fleets: Fleets) -> slice | None:
    """Return where a fleet's devices are among the members'; None for one that is no member."""
    if name not in fleets.names:
        return None
    first = sum(len(fleets.labels[other]) for other in fleets.names[: fleets.names.index(name)])
    return slice(first, first + len(fleets.labels[name]))


def takers(patterns: Sequence[Pattern] | None, fleets: Fleets, context: Context, path: Path) -> tuple[str, ...]:
    """Return the fleets whose reactive power is set: those named, or members that say that they take it.

    Raises PlaceError for patterns that nothing fits, and for fleets that do not take it.
    """
    if patterns is None:
        return tuple(name for name in fleets.names if SET in getattr(context.settings.get(name), "takes", ()))
    problems: Problems = []
    names: list[str] = []
    for i, pattern in enumerate(patterns):
        found = [name for name in context.labels if fnmatchcase(name, pattern)]
        if not found:
            what = f"no fleet is called {pattern!r}" + did_you_mean(pattern, [*context.labels])
            problems.append(((*path, i), what))
        problems += [((*path, i), what) for name in found if (what := untaken(name, SET, context))]
        names += [name for name in found if name not in names]
    if problems:
        raise PlaceError(problems)
    return tuple(names)
