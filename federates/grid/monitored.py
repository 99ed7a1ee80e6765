"""Currents and loading of lines and transformers: the largest phase current at the first terminal, over the rating.

The rating of a line is its `normamps`, that of a transformer its kVA at nominal voltage, unless `ratings_a` says
otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase

import numpy as np

from derloop.contract import FloatArray, Port
from derloop.errors import did_you_mean
from derloop.kind import PlaceError
from federates.fleets import Problems
from federates.grid import inventory
from federates.grid.apparatus import matching
from federates.grid.solver import Solver

MOST_NAMED = 10
"""In a message."""


class Monitored:
    """n lines and transformers that are measured."""

    def __init__(
        self, patterns: Sequence[str], ratings_a: Mapping[str, float], solver: Solver, may_lack_ratings: bool = False
    ) -> None:
        """Raises PlaceError for a pattern that fits nothing, and for what has no rating: its loading would be none."""
        delivering = inventory.delivering(solver)
        known = [name for name in delivering if name.startswith(("line.", "transformer."))]
        self.names, problems = matching(
            [_full(pattern) for pattern in patterns], known, "line or transformer", ("monitored",)
        )
        problems += _unrated(ratings_a, self.names)
        if problems:
            raise PlaceError(problems)
        self.rating_a = np.array([_rating_a(name, ratings_a, solver) for name in self.names])
        unrated = [self.names[i] for i in np.flatnonzero(np.isinf(self.rating_a))]
        if unrated and not may_lack_ratings:
            what = f"the feeder file has no rating of {', '.join(unrated[:MOST_NAMED])} (normamps 0): see ratings_a"
            raise PlaceError([(("monitored",), what)])
        self._element = np.array([delivering.index(name) for name in self.names], np.intp)

    @property
    def outputs(self) -> dict[str, Port]:
        return {"current_a": Port("A", self.names), "loading_pu": Port("pu", self.names)}

    def measured(self, currents_a: FloatArray) -> dict[str, FloatArray]:
        """Return the outputs from the currents of `delivering`."""
        current_a = currents_a[self._element]
        return {"current_a": current_a, "loading_pu": current_a / self.rating_a}


def _full(pattern: str) -> str:
    """Return a pattern of full names: `sw_*` means lines."""
    return pattern if pattern.lower().startswith(("line.", "transformer.", "*")) else f"line.{pattern}"


def _rating_a(name: str, ratings_a: Mapping[str, float], solver: Solver) -> float:
    own = (rating for pattern, rating in ratings_a.items() if fnmatchcase(name, _full(pattern.lower())))
    return next(own, None) or inventory.rating_a(solver, name) or np.inf


def _unrated(ratings_a: Mapping[str, float], names: Sequence[str]) -> Problems:
    return [
        (("ratings_a", pattern), "fits nothing that is monitored" + did_you_mean(_full(pattern.lower()), names))
        for pattern in ratings_a
        if not any(fnmatchcase(name, _full(pattern.lower())) for name in names)
    ]
