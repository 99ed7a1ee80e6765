"""When something was so: instants in a row, and how they are said."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from derloop.calendar import Calendar
from derloop.federation import Federation
from derloop.verdict import Doubt


def spells(is_so: NDArray[np.bool_]) -> Iterator[slice]:
    """Yield where `is_so`, (k,), holds in a row."""
    edges = np.flatnonzero(np.diff(is_so.astype(np.int8), prepend=0, append=0))
    for first, end in edges.reshape(-1, 2).tolist():
        yield slice(first, end)


def doubted(federation: Federation, name: str, time_ns: NDArray[np.int64], what: str, calendar: Calendar) -> Doubt:
    """Return a doubt about a federate from the first to the last of some instants, as far as it reaches.

    What others made of it is in doubt until the slowest of them has been stepped again.
    """
    affected = tuple(sorted(federation.downstream([name])))
    first, last = int(time_ns[0]), int(time_ns[-1])
    span = f"at {calendar.at(first)}" if first == last else f"from {calendar.at(first)} to {calendar.at(last)}"
    own_ns, slowest_ns = federation.interfaces[name].step_ns, max(federation.interfaces[n].step_ns for n in affected)
    return Doubt(f"{name} {span}: {what}", first, affected, last + own_ns + slowest_ns)
