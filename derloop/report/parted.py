"""Where runs part, for a terminal and as a page: in what their scenarios do, every signal, and charts of the worst."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import inf
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from derloop.calendar import Calendar
from derloop.contract import FloatArray
from derloop.errors import some_of
from derloop.report import traces
from derloop.report.figures import Figure
from derloop.report.sheet import rendered, write_whole
from derloop.report.traces import COLOURS, TimeArray, Times
from derloop.results.pairs import clock_text, distance
from derloop.results.parting import Parting, Partings, Place, Row, letter

Series = tuple[TimeArray, FloatArray]
DRAWN = 6
"""Signals that the page draws: those that part most."""

NAMED = 4
"""Settings of a run that are told, of those that others have otherwise."""
LONGEST = 60
"""Characters of a setting that is told."""
TITLES = ("$schema", "name", "description")
"""What a scenario says of itself, and does not set."""


class Run(Protocol):
    """What is needed of a run's folder."""

    @property
    def path(self) -> Path: ...
    @property
    def run(self) -> dict[str, Any]: ...
    def read(self, name: str, /) -> tuple[TimeArray, FloatArray]: ...


@dataclass(frozen=True, slots=True)
class Side:
    """One of the runs."""

    letter: str
    path: str
    realised: str
    """How it realises what the runs do not realise alike: "inverters: emulator"."""
    settings: str
    """What its scenario says where theirs do not say the same: "federates.roofs.smart={}"."""

    def __str__(self) -> str:
        own = "; ".join(filter(None, [self.realised, self.settings]))
        return f"{self.letter}  {self.path}" + (f"  ({own})" if own else "")


def sides(runs: Sequence[Run]) -> list[Side]:
    """Return what each run is called, and in what it is realised, and set, otherwise than the others."""
    realised, settings = _own(map(_vias, runs), ": "), _own(map(_settings, runs), "=")
    return [Side(letter(k), str(run.path), realised[k], settings[k]) for k, run in enumerate(runs)]


def _own(each: Iterable[Mapping[str, str]], joint: str) -> list[str]:
    """Return what each says of that in which not all say the same; the first few of it."""
    each = list(each)
    names = dict.fromkeys(name for said in each for name in said)
    differing = [name for name in names if len({said.get(name) for said in each}) > 1]
    own = [[f"{name}{joint}{_short(said[name])}" for name in differing if name in said] for said in each]
    return [some_of(said, NAMED) for said in own]


def _settings(run: Run) -> dict[str, str]:
    """Return what stands in the scenario, as JSON, by its path as in `--set`; not how devices are realised."""
    said = run.run.get("scenario")
    leaves = _leaves({key: part for key, part in said.items() if key not in TITLES}) if isinstance(said, dict) else {}
    return {path: text for path, text in leaves.items() if not path.endswith(".via")}


def _leaves(data: Any, path: str = "") -> dict[str, str]:
    inner = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    within = [leaf for key, part in inner for leaf in _leaves(part, f"{path}.{key}".lstrip(".")).items()]
    return dict(within) if within else {path: json.dumps(data, ensure_ascii=False)}


def _short(text: str) -> str:
    """Return how what is too long begins and ends: paths of one folder part at their end."""
    half = (LONGEST - len("...")) // 2
    return text if len(text) <= LONGEST else f"{text[:half]}...{text[-half:]}"


def _vias(run: Run) -> dict[str, str]:
    federates = run.run.get("federates")
    found = federates if isinstance(federates, Mapping) else {}
    return {name: str(each.get("via", "")) for name, each in found.items() if isinstance(each, Mapping)}


# --- lines -------------------------------------------------------------------------------------------

HEAD = ("signal", "unit", "", "worst", "of largest", "RMS", "where, when since the start")


def lines(runs: Sequence[Run], found: Partings) -> Iterator[str]:
    """Yield what a terminal shows."""
    yield from map(str, sides(runs))
    parted, equal = [r for r in found.rows if not r.is_equal], [r for r in found.rows if r.is_equal]
    if parted:
        yield ""
        yield from _aligned([_head(len(runs)), *(cells for row in parted for cells in _cells(row))])
        yield ""
    if equal:
        yield f"equal to the bit: {', '.join(row.signal.name for row in equal)}"
    yield from (f"not compared: {why}" for why in found.left_out)
    if not found.rows:
        yield "there is no signal that all have"


def _head(count: int) -> list[str]:
    return [*HEAD, *map(letter, range(count)), "first beyond what is allowed, since the start"]


def _cells(row: Row) -> Iterator[list[str]]:
    """Yield a line for each run but the reference."""
    for k, (parting, values) in enumerate(zip(row.partings, row.values, strict=True)):
        name = (row.signal.name, row.signal.unit) if k == 0 else ("", "")
        shown = [_number(value) for value in values] or [""] * (len(row.partings) + 1)
        yield [*name, letter(k + 1), *_amounts(row, parting), place_text(parting.at), *shown, _first(parting)]


def _amounts(row: Row, parting: Parting) -> tuple[str, str, str]:
    return _number(parting.worst), percent(row, parting), _number(parting.rms)


def percent(row: Row, parting: Parting) -> str:
    """Return the worst as a part of the largest value; nothing where that is 0."""
    share = 100 * parting.worst / row.largest if row.largest else inf
    return f"{share:.0f} %" if 10 <= share < inf else f"{share:.2g} %" if share < inf else ""


def _first(parting: Parting) -> str:
    lacking = f"; {parting.lacking} instants only one has" if parting.lacking else ""
    return (place_text(parting.first) if parting.first else "never") + lacking


def place_text(place: Place | None) -> str:
    """Return where and when in words; nothing where runs are equal."""
    return f"{place.label}, {clock_text(place.time_ns)}" if place else ""


def _number(value: float) -> str:
    return f"{value:.5g}"


def _aligned(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    texts = {0, 1, 2, len(HEAD) - 1, len(widths) - 1}
    for row in rows:
        cells = (c.ljust(w) if k in texts else c.rjust(w) for k, (c, w) in enumerate(zip(row, widths, strict=True)))
        yield "  ".join(cells).rstrip()


# --- page --------------------------------------------------------------------------------------------


def write_page(runs: Sequence[Run], found: Partings, path: Path) -> None:
    """Write the page about how `runs` part to `path`; it appears whole."""
    times, calendar = Times(), Calendar.of(runs[0].run)
    drawn = [each for row in found.rows[:DRAWN] if not row.is_equal for each in _figures(runs, row, times, calendar)]
    data = {
        "start_ms": calendar.epoch_ms,
        "elapsed": calendar.start is None,
        "figures": [asdict(figure) for figure in drawn],
        "signals": [],
        "times": times.axes,
    }
    text = rendered(
        "parted.html.j2",
        data,
        sides=(called := sides(runs)),
        columns=_columns(called),
        name=runs[0].run.get("name") or runs[0].path.name,
        partings=found,
        equal=[row.signal.name for row in found.rows if row.is_equal],
        figures=drawn,
        thinned=times.thinned,
        calendar=calendar,
        percent=percent,
        worst_of=_worst,
        letter=letter,
    )
    write_whole(text, path)


def _columns(called: Sequence[Side]) -> dict[str, list[str]]:
    """Return what the page's table of runs shows of each, by the heads: nothing in which all are alike."""
    columns = {"Realised as": [side.realised for side in called], "Set as": [side.settings for side in called]}
    return {head: column for head, column in columns.items() if any(column)}


def _worst(row: Row) -> int:
    """Return which of the partings is the worst."""
    return max(range(len(row.partings)), key=lambda k: row.partings[k].worst)


def _figures(runs: Sequence[Run], row: Row, times: Times, calendar: Calendar) -> Iterator[Figure]:
    """Yield two charts: every run where they part most, and how far they are apart at worst over all elements."""
    at = row.partings[_worst(row)].at
    if at is None:
        return
    series = [run.read(row.signal.name) for run in runs]
    own = [
        traces.line(times, letter(k), time_ns, values[:, at.element], _colour(k), dash="dot" if k else "solid")
        for k, (time_ns, values) in enumerate(series)
    ]
    note = f"At {at.label}, where they part most: {calendar.at(at.time_ns)}."
    yield Figure(f"own-{row.signal.name}", row.signal.name, note, row.signal.unit, own)
    apart = [
        traces.line(times, f"{letter(k)} from A", *_farthest(series[0], series[k]), _colour(k))
        for k in range(1, len(runs))
    ]
    note = "The largest difference from A over all elements."
    yield Figure(f"apart-{row.signal.name}", f"{row.signal.name}, apart", note, row.signal.unit, apart)


def _farthest(a: Series, b: Series) -> Series:
    common, in_a, in_b = np.intersect1d(a[0], b[0], assume_unique=True, return_indices=True)
    return common, distance(a[1][in_a], b[1][in_b]).max(axis=1)


def _colour(number: int) -> str:
    return COLOURS[number % len(COLOURS)]
