"""Where n devices stand: which of them at one place, and at which nodes."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from derloop.contract import FloatArray

GROUND = -1
"""In the place of a node's number."""


class Places:
    """m places of n devices, in the order in which they are named first."""

    def __init__(self, of: Sequence[Hashable]) -> None:
        """of: what each device's place is."""
        number = {place: index for index, place in enumerate(dict.fromkeys(of))}
        self._of = np.array([number[place] for place in of], np.intp)
        self._of_pair = np.concatenate([self._of, self._of + len(number)])
        self.firsts: list[int] = np.unique(self._of, return_index=True)[1].tolist()
        """The first device at each place (m,)."""
        self.counts: FloatArray = np.bincount(self._of).astype(np.float64)
        """How many devices are at each place (m,)."""
        self.are_single = len(number) == len(of)
        """Whether each device has its own."""

    def summed(self, values: FloatArray) -> FloatArray:
        """Return the sums (m,) of values of devices (n,)."""
        if self.are_single:
            return values
        return np.asarray(np.bincount(self._of, values, len(self.firsts)), np.float64)

    def pair_summed(self, values: FloatArray) -> FloatArray:
        """Return the sums (2, m) of two values of each device, one after the other (2 n,), in one go."""
        if self.are_single:
            return values.reshape(2, -1)
        sums = np.bincount(self._of_pair, values, 2 * len(self.firsts))
        return np.asarray(sums, np.float64).reshape(2, -1)

    def spread(self, values: FloatArray) -> FloatArray:
        """Return for each device (n,) the value of its place (m,)."""
        return values.take(self._of, mode="clip")


class Legs(NamedTuple):
    """Between which nodes n devices or loads stand, up to k legs each; who has fewer has its first in their places."""

    nodes: NDArray[np.intp]
    """(n, k)"""
    backs: NDArray[np.intp]
    """The other ends (n, k), or `GROUND`."""
    shares: FloatArray
    """How much of what each gives or draws is in each of its legs (n, k): alike in all that it has."""

    @classmethod
    def of(cls, places: Sequence[tuple[str, Sequence[tuple[int, int]]]], nodes: Iterable[str]) -> Self:
        """Return those of places, each a bus and the two nodes there of each leg, among the nodes of a feeder."""
        number: Mapping[str, int] = {node: index for index, node in enumerate(nodes)}
        shape = len(places), max((len(legs) for _, legs in places), default=1)
        found = cls(np.zeros(shape, np.intp), np.zeros(shape, np.intp), np.zeros(shape))
        for row, (bus, legs) in enumerate(places):
            filled = [*legs, *[legs[0]] * (shape[1] - len(legs))]
            found.nodes[row] = [number[f"{bus}.{node}"] for node, _ in filled]
            found.backs[row] = [number.get(f"{bus}.{back}", GROUND) for _, back in filled]
            found.shares[row, : len(legs)] = 1 / len(legs)
        return found

    def are_live(self, alive: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Return of which legs (n, k) both ends are alive, where these nodes (nodes,) are."""
        found: NDArray[np.bool_] = alive[self.nodes] & (alive[self.backs] | (self.backs == GROUND))
        return found

    def share_of(self, chosen: NDArray[np.bool_]) -> FloatArray:
        """Return how much of each (n,) is in the chosen legs (n, k): 0 to 1."""
        found: FloatArray = np.einsum("ij,ij->i", chosen, self.shares)
        return found


class Nodes(NamedTuple):
    """The nodes at which n devices or loads stand, up to k each; who has fewer has its first one in their places."""

    numbers: NDArray[np.intp]
    """(n, k)"""
    shares: FloatArray
    """How much of what each gives or draws is at each of its nodes (n, k): alike at all that it has."""

    @classmethod
    def of(cls, places: Sequence[tuple[str, Sequence[int]]], nodes: Iterable[str]) -> Self:
        """Return those of places, each a bus and its nodes there, among the nodes of a feeder, "671.2"."""
        number: Mapping[str, int] = {node: index for index, node in enumerate(nodes)}
        most = max((len(phases) for _, phases in places), default=1)
        numbers, shares = np.zeros((len(places), most), np.intp), np.zeros((len(places), most))
        for row, (bus, phases) in enumerate(places):
            numbers[row] = number[f"{bus}.{phases[0]}"]
            numbers[row, : len(phases)] = [number[f"{bus}.{phase}"] for phase in phases]
            shares[row, : len(phases)] = 1 / len(phases)
        return cls(numbers, shares)

    def share_at(self, chosen: NDArray[np.bool_]) -> FloatArray:
        """Return how much of each (n,) is at the chosen ones of all nodes: 0 to 1."""
        found: FloatArray = np.einsum("ij,ij->i", chosen[self.numbers], self.shares)
        return found
