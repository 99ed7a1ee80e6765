"""How a paced run kept time, in percentiles: what stands in `run.json` as `timing`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from heapq import heappop, heappush

import numpy as np

from derloop.calendar import Calendar
from derloop.contract import FloatArray
from derloop.federation import Federation
from derloop.results.signals import TimeArray
from derloop.results.store import RunFolder
from derloop.results.summary import Figure
from derloop.results.turns import Ages, Turns, ages, turns


@dataclass(frozen=True, slots=True)
class Seconds:
    """How wall-clock seconds are spread over the instants."""

    p50: float
    p95: float
    p99: float
    max: float
    max_at_ns: int
    """The instant with the largest."""

    def __str__(self) -> str:
        return f"{short(self.p50)} (median), {short(self.p99)} (99 %), {short(self.max)} (most)"


@dataclass(frozen=True, slots=True)
class FederateTiming:
    """How one federate kept time."""

    step_s: Seconds
    """What its steps took, where they were not skipped."""
    missed: int
    """In how many instants its unit ended too late."""
    skipped: int
    age_s: Seconds | None = None
    """How old its oldest measurement was; only where it lives in wall-clock time, as `delay_s`."""
    modbus_s: Seconds | None = None
    """What its exchanges took, where it says so."""
    delay_s: Seconds | None = None
    """From a measurement until a command that follows from it has taken effect, where the wires lead back to it."""


@dataclass(frozen=True, slots=True)
class Timing:
    """How a run kept time."""

    instants: int
    missed: int
    """In how many a unit ended too late."""
    begin_s: Seconds
    """How long after its due time an instant's first unit began, and its last one ended."""
    end_s: Seconds
    federates: Mapping[str, FederateTiming]

    def figures(self) -> Iterator[Figure]:
        """Yield what a person wants to know of it, a line each."""
        share = f"{self.missed:,} of {self.instants:,} instants ended too late"
        yield Figure("missed deadlines", float(self.missed), "", share)
        yield _line("lateness at the end of an instant", self.end_s)
        for name, one in self.federates.items():
            if one.age_s is not None:
                yield _line(f"step of {name}", one.step_s)
                yield _line(f"age of what {name} measured", one.age_s)
            if one.skipped:
                yield Figure(f"skipped by {name}", float(one.skipped), "", f"{one.skipped:,} instants: values held")
            if one.delay_s is not None:
                yield _line(f"delay of the loop through {name}", one.delay_s)

    def complaint(self, calendar: Calendar) -> str:
        """Return that the run did not keep up, and by whom; empty if it did."""
        if not self.missed:
            return ""
        slowest = max(self.federates, key=lambda name: self.federates[name].step_s.max)
        return (
            f"not in time: {self.missed:,} of {self.instants:,} instants ended too late, the worst "
            f"{short(self.end_s.max)} after it was due, at {calendar.at(self.end_s.max_at_ns)}; the longest step was "
            f"of {slowest!r}, {short(self.federates[slowest].step_s.max)}"
        )


def _line(label: str, seconds: Seconds) -> Figure:
    return Figure(label, seconds.p50, "s", str(seconds))


def short(seconds: float) -> str:
    """Return a span of time for a person: 0.3 ms, 120 ms, 2.5 s."""
    return f"{seconds:.3g} s" if seconds >= 1 else f"{1e3 * seconds:.3g} ms"


def timing(federation: Federation, run: RunFolder) -> Timing | None:
    """Return how the run kept time; None where it was not paced, or has taken no step."""
    found = list(turns(federation, run))
    if not found:
        return None
    times = np.unique(np.concatenate([of.time_ns for of in found]))
    begin_s, end_s, is_missed = np.full(times.size, np.inf), np.zeros(times.size), np.zeros(times.size, bool)
    for of in found:
        at = np.searchsorted(times, of.time_ns)
        begin_s[at] = np.minimum(begin_s[at], of.begin_s)
        end_s[at] = np.maximum(end_s[at], of.end_s)
        is_missed[at] |= of.is_missed
    each = {name: one for of in found for name, one in _each(federation, run, of)}
    return Timing(times.size, int(is_missed.sum()), _seconds(times, begin_s), _seconds(times, end_s), each)


def _each(federation: Federation, run: RunFolder, of: Turns) -> Iterator[tuple[str, FederateTiming]]:
    stepped = ~of.is_skipped
    for at, name in enumerate(of.unit.members):
        step_s = _seconds(of.time_ns[stepped], of.step_s[stepped, at])
        counts = int(of.is_missed.sum()), int(of.is_skipped.sum())
        if federation.interfaces[name].paced:
            found = ages(federation, run, of, name)
            yield name, FederateTiming(step_s, *counts, *_measured(federation, run, of, name, found))
        else:
            yield name, FederateTiming(step_s, *counts)


def _measured(
    federation: Federation, run: RunFolder, of: Turns, name: str, found: Ages
) -> tuple[Seconds | None, Seconds | None, Seconds | None]:
    """Return the spread of age, time of exchanges, and delay."""
    if not found.time_ns.size:
        return None, None, None
    oldest_s = found.age_s.max(axis=1)
    modbus_s = None
    if "modbus_s" in federation.interfaces[name].outputs:
        time_ns, took_s = run.read(f"{name}.modbus_s")
        modbus_s = _seconds(time_ns, took_s.sum(axis=1))
    return _seconds(found.time_ns, oldest_s), modbus_s, _delay(federation, of, name, found.time_ns, oldest_s)


def _delay(federation: Federation, of: Turns, name: str, time_ns: TimeArray, age_s: FloatArray) -> Seconds | None:
    """Return the delay of the loop through `name`: age when given, the way back, and the turn that commands."""
    back_ns = way_back_ns(federation, name)
    if back_ns is None:
        return None
    commanded_s = of.end_of(time_ns + back_ns)
    delay_s = age_s + federation.pacing.wall_s(back_ns) + commanded_s - of.end_of(time_ns)  # type: ignore[union-attr]
    known = np.isfinite(delay_s)
    return _seconds(time_ns[known] + back_ns, delay_s[known]) if known.any() else None


def way_back_ns(federation: Federation, name: str) -> int | None:
    """Return by how many ns the wires delay what leads from `name` back to it, the shortest way; None: none does.

    A delayed wire takes a step of its source.
    """
    queue, seen = [(0, name)], set[str]()
    while queue:
        so_far_ns, at = heappop(queue)
        for wire in federation.wires:
            source, target = wire.source.federate, wire.target.federate
            if source == at and target not in seen:
                later_ns = federation.interfaces[source].step_ns if wire.coupling == "delayed" else 0
                heappush(queue, (so_far_ns + later_ns, target))
        if queue and queue[0][1] == name:
            return queue[0][0]
        seen |= {at} - {name}
    return None


def _seconds(time_ns: TimeArray, seconds: FloatArray) -> Seconds:
    if not seconds.size:
        return Seconds(0.0, 0.0, 0.0, 0.0, 0)
    low, middle, high = (float(x) for x in np.percentile(seconds, [50, 95, 99]))
    at = int(seconds.argmax())
    return Seconds(low, middle, high, float(seconds[at]), int(time_ns[at]))
