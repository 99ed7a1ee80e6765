"""How a paced run kept time: a table and charts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from derloop.report import traces
from derloop.report.figures import Charted, Figure
from derloop.report.traces import COLOURS, Trace
from derloop.report.wording import is_number, number

PACE = "pace@"
PERCENTILES = ("p50", "p95", "p99", "max")
OF_A_FEDERATE = {
    "step_s": "step of {}",
    "modbus_s": "exchanges of {}",
    "age_s": "age of what {} measured",
    "delay_s": "delay of the loop through {}, from a measurement until a command has taken effect",
}


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table: wall-clock seconds over the instants, as ms."""

    what: str
    ms: tuple[str, ...]
    when_ns: object
    """Of the largest."""


@dataclass(frozen=True, slots=True)
class KeptTime:
    """The table, and a sentence about it."""

    said: str
    rows: list[Row]


def kept_time(facts: Mapping[str, Any]) -> KeptTime | None:
    """Return what `run.json` says of how the run kept time; None where it was not paced."""
    timing = facts.get("timing")
    if not isinstance(timing, Mapping):
        return None
    missed, instants = timing.get("missed"), timing.get("instants")
    said = f"{number(missed)} of {number(instants)} instants ended later than allowed after they were due."
    return KeptTime(said, [row for row in _rows(timing) if row.ms])


def _rows(timing: Mapping[str, Any]) -> Iterator[Row]:
    yield _row("begin of an instant after it was due", timing.get("begin_s"))
    yield _row("end of an instant after it was due", timing.get("end_s"))
    federates = timing.get("federates")
    for name, one in federates.items() if isinstance(federates, Mapping) else ():
        for key, what in OF_A_FEDERATE.items() if isinstance(one, Mapping) else ():
            yield _row(what.format(name), one.get(key))


def _row(what: str, seconds: object) -> Row:
    if not isinstance(seconds, Mapping) or not all(is_number(seconds.get(key)) for key in PERCENTILES):
        return Row(what, (), None)
    return Row(what, tuple(number(1e3 * seconds[key], 3) for key in PERCENTILES), seconds.get("max_at_ns"))


def pace_figures(run: Charted) -> Iterator[Figure]:
    """Yield the charts of a paced run: how late instants ended, what steps took, how old measurements were."""
    paced = [s for s in run.signals if s.federate.startswith(PACE) and s.labels]
    ended = [_line(run, i, s.federate.removeprefix(PACE), s.name, -1) for i, s in enumerate(_port(paced, "late_s"))]
    if ended:
        note = "After the instant's due time on the wall clock, for the units of which a step is made."
        yield Figure("pace-late", "How late each step ended", note, "s", ended)
    members = [(s.name, at, label) for s in _port(paced, "step_s") for at, label in enumerate(s.labels)]
    took = [_line(run, i, label, name, at) for i, (name, at, label) in enumerate(members)]
    if took:
        yield Figure("pace-steps", "What each step took", "Wall-clock time of each federate's step.", "s", took)
    aged = [s for s in run.ending("age_s") if s.unit == "s"]
    drawn = [trace for i, s in enumerate(aged) for trace in _aged(run, i, s)]
    if drawn:
        note = "When they were given: mean of each fleet, within its smallest and largest."
        yield Figure("pace-age", "Age of measurements", note, "s", drawn)


def _port(signals: list[Any], port: str) -> list[Any]:
    return [s for s in signals if s.port == port]


def _line(run: Charted, index: int, title: str, signal: str, element: int) -> Trace:
    time_ns, values = run.read(signal)
    return traces.line(run.times, title, time_ns, values[:, element], COLOURS[index % len(COLOURS)], width=1.2)


def _aged(run: Charted, index: int, signal: Any) -> list[Trace]:
    time_ns, values = run.read(signal.name)
    if not values.size:
        return []
    colour = COLOURS[index % len(COLOURS)]
    return traces.mean_band(run.times, signal.federate, time_ns, values, signal.labels, colour)
