"""A search among whole numbers, near where they are, with a power flow as its oracle.

Steps of one in each variable, of one in several that go together, and of one in each of two variables (of two that go
together, in opposite directions) are tried in this order; a step that betters the score is taken, and again in its
direction as long as it does. It ends where none does. What was solved once is not solved again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import combinations, product
from typing import NamedTuple

Point = tuple[int, ...]
SAME = 1e-9


class Score(NamedTuple):
    """How good a setting is: less is better, the first counts first."""

    violation: float
    """By how much limits are passed, summed."""
    cost: float

    def beats(self, other: Score) -> bool:
        if abs(self.violation - other.violation) > SAME:
            return self.violation < other.violation
        return self.cost < other.cost - SAME * max(1.0, abs(other.cost))


class Search:
    """State: what has been tried."""

    def __init__(self, score: Callable[[Point], Score], low: Point, high: Point, most: int) -> None:
        """most: how often `score` may be called."""
        self._score, self._low, self._high, self._most = score, low, high, most
        self.tried: dict[Point, Score] = {}

    def best(self, start: Point, together: Sequence[Sequence[int]] = ()) -> tuple[Point, Score]:
        """Return the best setting found from `start`. together: variables that are also moved in one."""
        at = tuple(min(max(x, low), high) for x, low, high in zip(start, self._low, self._high, strict=True))
        found = self._scored(at) or Score(float("inf"), float("inf"))
        rounds = [[*_singles(len(at)), *_gangs(len(at), together)], [*_pairs(len(at), together)]]
        level = 0
        while level < len(rounds):
            better, score = self._descended(at, found, rounds[level])
            level = 0 if better != at and level > 0 else level + (better == at)
            at, found = better, score
        return at, found

    def _descended(self, at: Point, found: Score, steps: Sequence[Point]) -> tuple[Point, Score]:
        """Try each step once, and go on in its direction while that is better."""
        for step in steps:
            while (next_score := self._scored(moved := _add(at, step))) and next_score.beats(found):
                at, found = moved, next_score
        return at, found

    def _scored(self, at: Point) -> Score | None:
        """Return the score; None outside of the bounds, or where no more may be tried."""
        if at in self.tried:
            return self.tried[at]
        if len(self.tried) >= self._most or not all(
            low <= x <= high for x, low, high in zip(at, self._low, self._high, strict=True)
        ):
            return None
        self.tried[at] = self._score(at)
        return self.tried[at]


def _add(at: Point, step: Point) -> Point:
    return tuple(x + d for x, d in zip(at, step, strict=True))


def _step(n: int, moves: dict[int, int]) -> Point:
    return tuple(moves.get(i, 0) for i in range(n))


def _singles(n: int) -> Iterator[Point]:
    yield from (_step(n, {i: d}) for i in range(n) for d in (-1, 1))


def _gangs(n: int, together: Sequence[Sequence[int]]) -> Iterator[Point]:
    yield from (_step(n, dict.fromkeys(gang, d)) for gang in together if len(gang) > 1 for d in (-1, 1))


def _pairs(n: int, together: Sequence[Sequence[int]]) -> Iterator[Point]:
    for (i, j), (a, b) in product(combinations(range(n), 2), product((-1, 1), repeat=2)):
        if a != b or not any(i in gang and j in gang for gang in together):
            yield _step(n, {i: a, j: b})
