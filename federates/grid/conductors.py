"""Which nodes of a feeder its conductors join: what is fed is known phase by phase.

A wire of a line, of a switch, or of a reactor or bank in series joins the nodes at its two ends, and no phase to
another one, however close they run. A transformer joins the nodes of its coils that are on one core: with all windings
in star each phase by itself, by a delta all of them, for there an open phase is fed by the others. What draws joins
nothing, nor does a bank or a reactor between phases, or from these to a star point: what has nothing else is dead.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Pairs = NDArray[np.intp]
"""Pairs of nodes (2, n), counted from 0 in OpenDSS's order."""

WOUND = ("transformer", "autotrans", "gictransformer")
"""Classes of elements with coils."""
SHUNTS = ("reactor", "capacitor")
"""Classes of elements that, with both ends at one bus, join none of its nodes."""
GROUND = 0
PHASES = 3
"""Nodes of a bus beyond these are neutrals."""
COUPLED = 1e-9
"""S, of an admittance: nodes with less between them are not connected."""


class Conductors(NamedTuple):
    """Of all that delivers."""

    joined: Pairs
    """The two ends of each, where one is not ground; open switches have theirs, too."""
    starred: Pairs
    """Each phase of what has its star point at a node, and this."""


def conductors(dss: Any, elements: list[str]) -> Conductors:
    """Return what conductors these elements have, by their full names, as far as they are in service."""
    joined: list[tuple[int, int]] = []
    starred: list[tuple[int, int]] = []
    alike: dict[tuple[int, int, int], list[_Wound]] = {}
    element = dss.CktElement
    for name in elements:
        dss.Circuit.SetActiveElement(name)
        terminals = element.NumTerminals()
        if terminals < 2 or not element.Enabled():
            continue
        ends = np.array(element.NodeRef(), np.intp).reshape(terminals, -1)
        if name.startswith(WOUND):
            admittances = np.array(element.YPrim(), np.float64).view(np.complex128)
            alike.setdefault((*ends.shape, element.NumPhases()), []).append(_Wound(ends.ravel(), admittances))
        elif _is_star(ends[1]):
            starred += zip(ends[0], ends[1], strict=True)
        elif not (name.startswith(SHUNTS) and _is_at_one_bus(element)):
            joined += zip(ends[0], ends[1], strict=True)
    coupled = [_of_coils(wires, phases, of) for (_, wires, phases), of in alike.items()]
    return Conductors(_pairs(np.concatenate([_as_pairs(joined), *coupled], axis=1)), _pairs(_as_pairs(starred)))


class _Wound(NamedTuple):
    """What has coils."""

    ends: NDArray[np.intp]
    """Nodes (n,) of its terminals, one after the other."""
    admittances: NDArray[np.complex128]
    """Between all of them (n * n,), S."""


def _of_coils(wires: int, phases: int, alike: Sequence[_Wound]) -> Pairs:
    """Return which ends of their coils transformers couple that have as many wires at each terminal, and phases.

    A star point couples no phases. All at once: feeders have a thousand that are alike, one for each customer.
    """
    ends = np.array([each.ends for each in alike])
    size = ends.shape[1]
    admittances = np.array([each.admittances for each in alike]).reshape(-1, size, size)
    are_ends = (np.arange(size) % wires < phases) | (wires != phases + 1) | (phases == 1)
    coupled = (np.abs(admittances) > COUPLED) & are_ends & are_ends[:, np.newaxis]
    of, one, other = np.nonzero(np.triu(coupled, 1))
    return np.array([ends[of, one], ends[of, other]])


def _is_star(nodes: NDArray[np.intp]) -> bool:
    """Return whether several phases end at one node."""
    return nodes.size > 1 and nodes[0] != GROUND and bool((nodes == nodes[0]).all())


def _is_at_one_bus(element: Any) -> bool:
    return len({name.partition(".")[0].lower() for name in element.BusNames()}) == 1


def _as_pairs(found: list[tuple[int, int]]) -> Pairs:
    return np.array(found, np.intp).reshape(-1, 2).T


def _pairs(pairs: Pairs) -> Pairs:
    """Return each of these once, without those to ground or to themselves, counted from 0."""
    kept: Pairs = np.unique(pairs[:, (pairs != GROUND).all(0) & (pairs[0] != pairs[1])], axis=1) - 1
    return kept


def beyond_phases(nodes: Sequence[str], known: Sequence[int]) -> Pairs:
    """Return the phases of each bus, and the nodes beyond them that are not known: star points of what draws."""
    of_bus: dict[str, list[tuple[int, bool]]] = {}
    for index, node in enumerate(nodes):
        bus, _, number = node.rpartition(".")
        of_bus.setdefault(bus, []).append((index, int(number) <= PHASES))
    others, found = {*range(len(nodes))} - {*known}, of_bus.values()
    stars = [[index for index, is_phase in of if not is_phase and index in others] for of in found]
    phases = [[index for index, is_phase in of if is_phase] for of in found]
    pairs = [(one, star) for of, beyond in zip(phases, stars, strict=True) for star in beyond for one in of]
    return np.array(pairs, np.intp).reshape(-1, 2).T


def coupling(
    values: NDArray[np.complex128], rows: NDArray[np.int32], starts: NDArray[np.int32], pairs: Pairs
) -> NDArray[np.bool_]:
    """Return which pairs of nodes have an admittance between them in a sparse matrix: what is open has none."""
    size = starts.size - 1
    columns = np.repeat(np.arange(size), np.diff(starts))
    coupled = np.sort((rows + size * columns)[np.abs(values) > COUPLED], kind="stable")  # they come almost in order
    sought = pairs[0] * size + pairs[1]
    found: NDArray[np.bool_] = coupled[np.minimum(np.searchsorted(coupled, sought), coupled.size - 1)] == sought
    return found


def parts(size: int, pairs: Pairs) -> NDArray[np.intp]:
    """Return the number of the connected part (size,) of each node: that of its first one."""
    one, other = pairs
    found = np.arange(size)
    while True:
        before = found.copy()
        np.minimum.at(found, one, before[other])
        np.minimum.at(found, other, before[one])
        found = found[found]
        if np.array_equal(found, before):
            return found
