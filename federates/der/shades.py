"""The shadows of clouds on the devices of fleets, each at the place of its bus."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from derloop.contract import FloatArray
from derloop.kind import Context, Place
from federates.der.clouds import CloudField, Clouds
from federates.der.lookahead import Instants
from federates.der.placement import stream

Extent = tuple[float, float]
"""Size of the area, east and north, m."""


class Shades:
    """What passing clouds leave of the light, at the devices of all fleets, one after the other."""

    def __init__(self, over: Sequence[str], clouds: Clouds | None, extent_m: Extent, context: Context) -> None:
        counts = [len(context.labels[fleet]) for fleet in over]
        places = np.concatenate([_places(fleet, context) for fleet in over]) * extent_m
        places, self._place_of = np.unique(places, axis=0, return_inverse=True)
        self._clouds = None if clouds is None else CloudField(clouds, context, places)
        edges = [0, *np.cumsum(counts).tolist()]
        self._parts = [slice(first, last) for first, last in pairwise(edges)]

    def clearness(self, instants_ns: Instants, cover_pu: FloatArray | None = None) -> FloatArray:
        """Return the share (k, n) that is left at k instants. cover_pu: see `CloudField`."""
        if self._clouds is None:
            return np.ones((instants_ns.size, self._place_of.size))
        return self._clouds.clearness(instants_ns, cover_pu).take(self._place_of, axis=1)

    def split(self, values: FloatArray) -> list[FloatArray]:
        """Return the values (k, n) of each fleet."""
        return [values[:, part] for part in self._parts]


def _places(fleet: str, context: Context) -> FloatArray:
    """Return where the devices of `fleet` stand on the area (n, 2), 0 to 1: by bus, or else by label."""
    terminals = context.terminals.get(fleet, ())
    buses = [terminal.bus for terminal in terminals] or [f"{fleet} {label}" for label in context.labels[fleet]]
    drawn = _drawn(context.feeders.get(context.meets.get(fleet, "")))
    place = {bus: drawn.get(bus, _by_chance(bus, context)) for bus in dict.fromkeys(buses)}
    return np.array([place[bus] for bus in buses])


def _by_chance(bus: str, context: Context) -> FloatArray:
    return stream(context, f"place {bus}").uniform(0.0, 1.0, 2)


def _drawn(feeder: Place | None) -> dict[str, FloatArray]:
    """Return where the feeder's file draws its buses, from 0 to 1 in the box around them."""
    buses = feeder.buses if feeder else {}
    xy = {name: np.array(bus.xy) for name, bus in buses.items() if bus.xy is not None}
    if len(xy) < 2:
        return {}
    corner, opposite = np.min([*xy.values()], axis=0), np.max([*xy.values()], axis=0)
    size = np.where(opposite > corner, opposite - corner, 1.0)
    return {name: (at - corner) / size for name, at in xy.items()}
