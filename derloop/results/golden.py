"""Golden results: what a scenario gave when its results were found right, kept beside it as text.

`golden/<scenario>/` beside `<scenario>.json` holds

- `golden.json`: which signals, one instant of how many seconds, and what difference is allowed;
- `<federate>.csv`: a line for each element, a column for each instant; values as they are to the last bit. A number
  that changes is a line that changes, so that a diff names what moved.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from importlib.metadata import version
from math import isfinite
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import numpy as np

from derloop import document
from derloop.contract import FloatArray
from derloop.errors import DerloopError, Problem, ScenarioError, did_you_mean
from derloop.results.compare import Comparison, Tolerance, Tolerances, compare
from derloop.results.signals import Piece, Signal, Source, TimeArray
from derloop.results.whole import whole

INSTANTS = 24
"""How many steps between instants a run is divided into unless told otherwise."""
ROUND_S = (1, 2, 5, 10, 15, 20, 30, 60, 120, 300, 600, 900, 1200, 1800, 3600, 7200, 10800, 14400, 21600, 43200, 86400)
DEFAULT_TOLERANCES = Tolerances({"*": Tolerance(abs=1e-6, rel=1e-6)})
"""Loose enough for other processors and libraries, far tighter than any measurement."""
KEYS = ("signals", "every_s", "tolerances", "derloop")


@dataclass(frozen=True)
class Golden:
    """What is kept of a run, and how near another run must come."""

    every_s: float
    """The first instant in each stretch of so many seconds is kept."""
    signals: tuple[str, ...] = ("*",)
    """Patterns of signal names, as `RunFolder.select` takes them."""
    tolerances: Tolerances = field(default_factory=lambda: DEFAULT_TOLERANCES)

    @property
    def every_ns(self) -> int:
        return max(1, round(self.every_s * 1e9))

    def keeps(self, signal: Signal) -> bool:
        return not signal.is_of_the_clock and any(fnmatchcase(signal.name, pattern) for pattern in self.signals)


def golden_folder(scenario: Path) -> Path:
    """Return where the golden results of the scenario file `scenario` are."""
    return scenario.parent / "golden" / scenario.stem


def record(run: Source, folder: Path, golden: Golden | None = None) -> None:
    """Keep the results of `run` in `folder`, in place of those that are there.

    Without `golden`, what the folder's golden.json asks for; without that, every signal at 25 instants or so.
    Raises: ScenarioError for a golden.json that is wrong, or does not fit the run; DerloopError when there is nothing
    to keep, or it cannot be written; what was there stays then, as far as it was not replaced whole.
    """
    golden = golden or (_load(folder) if (folder / "golden.json").exists() else _default(run))
    sampled = Sampled(run, golden)
    federates = dict.fromkeys(signal.federate for signal in sampled.signals())
    if not federates:
        raise DerloopError(f"no signal of the run matches {', '.join(golden.signals)}: there is nothing to keep")
    _require_fits(golden, folder, run.signals())
    folder.mkdir(parents=True, exist_ok=True)
    paths = {folder / f"{quote(federate, safe='@ +,=')}.csv": federate for federate in federates}
    for path, federate in paths.items():
        with whole(path) as draft:
            _write_csv(draft, sampled, federate)
    with whole(folder / "golden.json") as draft:
        _write_json(draft, golden)
    for old in {*folder.glob("*.csv")} - paths.keys():
        old.unlink()


def check(run: Source, folder: Path) -> Comparison:
    """Compare the golden results in `folder` (the first) with `run` (the second) under golden.json's tolerances.

    Raises: ScenarioError for golden results that are missing or wrong.
    """
    if not (folder / "golden.json").exists():
        raise ScenarioError([Problem("", "there are no golden results yet")], str(folder / "golden.json"))
    golden = _load(folder)
    sampled = Sampled(run, golden)
    before = Kept(folder, golden, sampled.signals())
    _require_fits(golden, folder, (*run.signals(), *before.signals()))
    names = [signal.name for signal in sampled.signals()]
    if problems := [
        Problem(f"/tolerances/{_escaped(pattern)}", f"fits no signal{did_you_mean(pattern, names)}")
        for pattern in golden.tolerances.by_pattern
        if not any(fnmatchcase(name, pattern) for name in names)
    ]:
        raise ScenarioError(problems, str(folder / "golden.json"))
    return compare(before, sampled, golden.tolerances)


def _require_fits(golden: Golden, folder: Path, signals: Iterable[Signal]) -> None:
    """Raise ScenarioError for a pattern that is to keep signals, and fits none: what it means is compared by nobody."""
    names = [signal.name for signal in signals if not signal.is_of_the_clock]
    if problems := [
        Problem(f"/signals/{index}", f"{pattern!r} fits no signal{did_you_mean(pattern, names)}")
        for index, pattern in enumerate(golden.signals)
        if not any(fnmatchcase(name, pattern) for name in names)
    ]:
        raise ScenarioError(problems, str(folder / "golden.json"))


def kept(folder: Path) -> Kept:
    """Return the golden results in `folder`, to be read. Raises: ScenarioError for what is missing or wrong."""
    return Kept(folder, _load(folder), ())


class Sampled:
    """The part of a run that golden results keep."""

    def __init__(self, run: Source, golden: Golden) -> None:
        self._run, self._golden = run, golden

    def signals(self) -> tuple[Signal, ...]:
        return tuple(signal for signal in self._run.signals() if self._golden.keeps(signal))

    def batches(self, name: str) -> Iterator[Piece]:
        before = -1
        for time_ns, values in self._run.batches(name):
            stretch = time_ns // self._golden.every_ns
            first = np.diff(stretch, prepend=before) > 0
            before = int(stretch[-1])
            if first.any():
                yield time_ns[first], values[first]


class Kept:
    """Golden results as they were read from their folder, in the order of the run that is checked."""

    def __init__(self, folder: Path, golden: Golden, order: Sequence[Signal]) -> None:
        read = (kept for path in sorted(folder.glob("*.csv")) for kept in _read_csv(path, golden.every_ns))
        self._series = {signal.name: (signal, piece) for signal, piece in read if golden.keeps(signal)}
        self._order = {signal.name: i for i, signal in enumerate(order)}

    def signals(self) -> tuple[Signal, ...]:
        signals = (signal for signal, _ in self._series.values())
        return tuple(sorted(signals, key=lambda signal: self._order.get(signal.name, len(self._order))))

    def batches(self, name: str) -> Iterator[Piece]:
        piece = self._series[name][1]
        if piece[0].size:
            yield piece


def _default(run: Source) -> Golden:
    """Every signal, at 25 instants or a few less."""
    by_size = sorted(run.signals(), key=lambda signal: len(signal.labels), reverse=True)
    shortest = {signal.federate: signal.name for signal in by_size}
    last = [int(time_ns[-1]) for name in shortest.values() for time_ns, _ in run.batches(name)]
    return Golden(_round_s(max(last, default=0) / 1e9 / INSTANTS))


def _round_s(at_least: float) -> float:
    """Return the next round number of seconds."""
    if at_least > ROUND_S[-1]:
        return float(np.ceil(at_least / ROUND_S[-1]) * ROUND_S[-1])
    if at_least > 0.5 or at_least <= 0:
        return float(next(s for s in ROUND_S if s >= at_least))
    return next(float(f"{m}e{e}") for e in range(-11, 0) for m in (1, 2, 5) if m * 10.0**e >= at_least)


def _write_csv(path: Path, sampled: Sampled, federate: str) -> None:
    """Write every port of `federate`; they share their instants."""
    signals = [signal for signal in sampled.signals() if signal.federate == federate]
    with path.open("w", newline="", encoding="utf-8") as file:
        write = csv.writer(file, lineterminator="\n").writerow
        for i, signal in enumerate(signals):
            time_ns, values = _joined(sampled.batches(signal.name), len(signal.labels))
            if i == 0:
                write(["port", "unit", "label", *map(_seconds, time_ns.tolist())])
            for label, series in zip(signal.labels, values.T.tolist(), strict=True):
                write([signal.port, signal.unit, label, *map(repr, series)])


def _joined(pieces: Iterator[Piece], size: int) -> Piece:
    nothing: Piece = np.empty(0, np.int64), np.empty((0, size))
    times, values = zip(nothing, *pieces, strict=True)
    return np.concatenate(times), np.concatenate(values)


def _read_csv(path: Path, step_ns: int) -> Iterator[tuple[Signal, Piece]]:
    try:
        with path.open(newline="", encoding="utf-8") as file:
            (_, _, _, *seconds), *rows = csv.reader(file)
        time_ns = np.array([_nanoseconds(s) for s in seconds], np.int64)
        ports: dict[tuple[str, str], tuple[list[str], list[FloatArray]]] = {}
        for port, unit, label, *series in rows:
            labels, values = ports.setdefault((port, unit), ([], []))
            labels.append(label)
            values.append(_numbers(series, time_ns))
    except ValueError as error:
        raise ScenarioError([Problem("", f"not what was recorded: {error}")], str(path)) from error
    for (port, unit), (labels, values) in ports.items():
        yield Signal(unquote(path.stem), port, unit, tuple(labels), step_ns), (time_ns, np.array(values).T)


def _numbers(series: list[str], time_ns: TimeArray) -> FloatArray:
    if len(series) != time_ns.size:
        raise ValueError(f"a line has {len(series)} values for {time_ns.size} instants")
    return np.array([float(x) for x in series])


def _seconds(time_ns: int) -> str:
    """Nanoseconds as seconds, exactly."""
    whole, ns = divmod(time_ns, 1_000_000_000)
    return f"{whole}.{ns:09d}".rstrip("0") if ns else str(whole)


def _nanoseconds(seconds: str) -> int:
    whole, _, part = seconds.partition(".")
    return int(whole) * 1_000_000_000 + int(part.ljust(9, "0") or 0)


def _write_json(path: Path, golden: Golden) -> None:
    tolerances = {p: {"abs": t.abs, "rel": t.rel} for p, t in golden.tolerances.by_pattern.items()}
    data = {
        "signals": list(golden.signals),
        "every_s": golden.every_s,
        "tolerances": tolerances,
        "derloop": version("derloop"),
    }
    path.write_text(json.dumps(data, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _load(folder: Path) -> Golden:
    """Read golden.json, which people edit.

    Raises: ScenarioError with everything that is wrong in it.
    """
    path = folder / "golden.json"
    data = document.read(path)
    if problems := list(document.blemishes(data)) or list(_problems(data)):
        raise ScenarioError(problems, str(path))
    tolerances = {p: Tolerance(**t) for p, t in data.get("tolerances", {}).items()}
    return Golden(data["every_s"], tuple(data.get("signals", ["*"])), Tolerances(tolerances))


def _problems(data: Mapping[str, Any]) -> Iterator[Problem]:
    yield from _unknown("", data, KEYS)
    if not _positive(data.get("every_s")):
        yield Problem("/every_s", "must be a number of seconds above 0")
    signals = data.get("signals", ["*"])
    if not isinstance(signals, list) or not all(isinstance(pattern, str) for pattern in signals):
        yield Problem("/signals", "must be a list of patterns of signal names")
    tolerances = data.get("tolerances", {})
    if not isinstance(tolerances, Mapping):
        yield Problem("/tolerances", "must be an object: a tolerance for each pattern of signal names")
        return
    for pattern, tolerance in tolerances.items():
        yield from _tolerance_problems(f"/tolerances/{_escaped(pattern)}", tolerance)


def _tolerance_problems(pointer: str, tolerance: Any) -> Iterator[Problem]:
    if not isinstance(tolerance, Mapping):
        yield Problem(pointer, 'must be an object: {"abs": 1e-6, "rel": 1e-6}')
        return
    yield from _unknown(pointer, tolerance, ("abs", "rel"))
    for key in ("abs", "rel"):
        if key in tolerance and not (tolerance[key] == 0 or _positive(tolerance[key])):
            yield Problem(f"{pointer}/{key}", "must be a number, 0 or above")


def _unknown(pointer: str, data: Mapping[str, Any], known: tuple[str, ...]) -> Iterator[Problem]:
    for key in data:
        if key not in known:
            yield Problem(f"{pointer}/{_escaped(key)}", f"unknown{did_you_mean(key, known)}")


def _positive(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and isfinite(value) and value > 0


def _escaped(key: str) -> str:
    return key.replace("~", "~0").replace("/", "~1")
