"""The turns of a paced run, as recorded: when each began and ended, what each step took, how old what it gave was."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from derloop.contract import FloatArray
from derloop.federation import Federation, Unit, pace_name
from derloop.results.signals import TimeArray
from derloop.results.store import RunFolder


@dataclass(frozen=True, slots=True)
class Turns:
    """The turns of one unit. All seconds are those of the clock on the wall."""

    unit: Unit
    allowed_s: float
    """How long after its due time a turn may end."""
    time_ns: TimeArray
    """(k,)"""
    begin_s: FloatArray
    """(k,), after the due time, as `end_s`."""
    end_s: FloatArray
    step_s: FloatArray
    """(k, members), what the step of each member took."""
    is_skipped: NDArray[np.bool_]
    """(k,)"""

    @property
    def is_missed(self) -> NDArray[np.bool_]:
        """(k,), which turns ended too late."""
        return self.end_s > self.allowed_s

    def end_of(self, time_ns: TimeArray) -> FloatArray:
        """Return how late the turns at `time_ns` ended; not a number where there was none."""
        at = np.minimum(np.searchsorted(self.time_ns, time_ns), self.time_ns.size - 1)
        return np.where(self.time_ns[at] == time_ns, self.end_s[at], np.nan)


@dataclass(frozen=True, slots=True)
class Ages:
    """How old the measurements of one federate were when it gave them."""

    labels: tuple[str, ...]
    time_ns: TimeArray
    """(k,)"""
    age_s: FloatArray
    """(k, n)"""


def turns(federation: Federation, run: RunFolder) -> Iterator[Turns]:
    """Yield the turns of each unit that has taken one, by rank."""
    if federation.pacing is None:
        return
    recorded = {signal.name for signal in run.signals()}
    for unit in federation.units:
        name = pace_name(unit)
        if f"{name}.late_s" not in recorded:
            continue
        time_ns, late_s = run.read(f"{name}.late_s")
        if time_ns.size:
            step_s, skipped = (run.read(f"{name}.{port}")[1] for port in ("step_s", "skipped"))
            allowed_s = federation.pacing.allowed_s(unit.step_ns)
            yield Turns(unit, allowed_s, time_ns, late_s[:, 0], late_s[:, 1], step_s, skipped[:, 0] > 0)


def ages(federation: Federation, run: RunFolder, of: Turns, federate: str) -> Ages:
    """Return how old the measurements of a federate that lives in wall-clock time were, from its `age_s`.

    Without one, they are taken to be of the beginning of its last step that was not skipped.
    """
    port = federation.interfaces[federate].outputs.get("age_s")
    if port is not None and port.size:
        time_ns, age_s = run.read(f"{federate}.age_s")
        return Ages(port.labels, time_ns, age_s)
    took_s = of.step_s[:, of.unit.members.index(federate)]
    last = np.maximum.accumulate(np.where(of.is_skipped, 0, np.arange(of.time_ns.size)))
    ended_s = of.end_s + of.time_ns / 1e9 / (federation.pacing.speed if federation.pacing else 1.0)
    return Ages((federate,), of.time_ns, (took_s[last] + ended_s - ended_s[last])[:, None])
