"""A run's folder, read while the run goes on, after it has ended, and after it was killed."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from datetime import datetime, tzinfo
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from derloop.calendar import Calendar
from derloop.contract import FloatArray
from derloop.errors import DerloopError, did_you_mean
from derloop.results.events import read_events
from derloop.results.signals import Piece, Signal, TimeArray

FILES_AT_ONCE = 4
"""How many series are made Parquet at the same time: each holds some megabytes of its rows meanwhile."""


class UnknownSignal(DerloopError, LookupError):
    """The run has no such signal."""


def existing(run: Path) -> Path:
    """Return the folder of a run; DerloopError where it is none."""
    if not (run / "run.json").is_file() and not (run / "series").is_dir():
        raise DerloopError(f"{run} is no folder of a run: it has neither run.json nor series")
    return run


class RunFolder:
    """What a run has left in `path`.

    Raises: DerloopError when there is no such folder.
    """

    def __init__(self, path: Path) -> None:
        if not path.is_dir():
            raise DerloopError(f"there is no run at {path}")
        self.path = path
        self._heads: dict[Path, tuple[Signal, ...]] = {}

    @cached_property
    def run(self) -> dict[str, Any]:
        """What `run.json` says; empty when the run was killed before it was written."""
        found = _json(self.path / "run.json")
        return found if isinstance(found, dict) else {}

    @property
    def verdicts(self) -> list[Any]:
        """What `verdicts.json` says; empty when the run was not judged."""
        found = _json(self.path / "verdicts.json")
        return found if isinstance(found, list) else []

    @property
    def events(self) -> list[dict[str, Any]]:
        """What happened, oldest first."""
        return read_events(self.path / "events.jsonl")

    @property
    def start(self) -> datetime | None:
        """The scenario's start on its own calendar, if it has one."""
        scenario = self.run.get("scenario")
        inner = scenario.get("start") if isinstance(scenario, dict) else None
        return _instant(self.run.get("start", inner))

    @property
    def zone(self) -> tzinfo | None:
        """Whose clocks the scenario follows: those of its time zone, else of the start's offset."""
        return self.calendar.zone

    @property
    def calendar(self) -> Calendar:
        """How its instants are said."""
        return Calendar.of(self.run)

    def signals(self) -> tuple[Signal, ...]:
        """Return every signal: federates as `run.json` lists them (else by name), ports as they were declared."""
        return tuple(signal for _, signals in self._files() for signal in signals)

    def select(self, pattern: str) -> tuple[Signal, ...]:
        """Return the signals whose name matches `pattern` as a file's name would: "grid.*", "*.p_kw"."""
        return tuple(signal for signal in self.signals() if fnmatchcase(signal.name, pattern))

    def signal(self, name: str) -> Signal:
        """Return the signal "federate.port".

        Raises: UnknownSignal, naming what is near.
        """
        return self._find(name)[1]

    def batches(self, name: str, start_ns: int | None = None, stop_ns: int | None = None) -> Iterator[Piece]:
        """Yield instants (k,) and values (k, n) of the signal `name` in pieces of a few MB at most.

        With start_ns <= instant < stop_ns where these are given. Raises: UnknownSignal.
        """
        path, signal = self._find(name)
        from derloop.results import series

        for time_ns, columns in series.batches(path, [signal.port], start_ns, stop_ns):
            yield time_ns, columns[signal.port]

    def read(self, name: str, start_ns: int | None = None, stop_ns: int | None = None) -> tuple[TimeArray, FloatArray]:
        """Return instants (k,) and values (k, n) of the signal `name`, for start_ns <= instant < stop_ns.

        Raises: UnknownSignal.
        """
        pieces = list(self.batches(name, start_ns, stop_ns))
        if not pieces:
            return np.empty(0, np.int64), np.empty((0, len(self.signal(name).labels)))
        return np.concatenate([t for t, _ in pieces]), np.concatenate([v for _, v in pieces])

    def frame(self, name: str) -> Any:
        """Return a pandas DataFrame of the signal "grid.v_pu", a column for each label; or of all of federate "grid",
        with columns "v_pu:671.2". Its index is the scenario's calendar, or the time since the start.

        Raises: UnknownSignal; PluginError without pandas.
        """
        from derloop.results.frames import frame

        ports = [signal for signal in self.signals() if signal.federate == name]
        if not ports:
            return frame(*_alone(self.read(name)), self.signal(name).labels, self.calendar.start)
        columns = [f"{signal.port}:{label}" for signal in ports for label in signal.labels]
        read = [self.read(signal.name) for signal in ports]
        rows = min(time_ns.size for time_ns, _ in read)  # a run that goes on grows between two reads
        return frame(read[0][0][:rows], [values[:rows] for _, values in read], columns, self.calendar.start)

    def _find(self, name: str) -> tuple[Path, Signal]:
        for path in _may_have(self.path, name):
            for signal in self._head(path):
                if signal.name == name:
                    return path, signal
        possible = [signal.name for signal in self.signals()]
        raise UnknownSignal(f"{self.path}: no signal {name!r}{did_you_mean(name, possible)}")

    def _files(self) -> list[tuple[Path, tuple[Signal, ...]]]:
        """The file of each federate that has signals, in the run's order."""
        found = [(path, self._head(path)) for path in _series_files(self.path)]
        order = {str(name): i for i, name in enumerate(self.run.get("federates") or ())}
        recorded = [(path, signals) for path, signals in found if signals]
        return sorted(recorded, key=lambda item: (order.get(item[1][0].federate, len(order)), item[1][0].federate))

    def _head(self, path: Path) -> tuple[Signal, ...]:
        from derloop.results import series

        if not self._heads.get(path):
            self._heads[path] = series.signals(path)
        return self._heads[path]


def finish(folder: Path) -> None:
    """Make Parquet of every Arrow stream in the run's folder; also of a run that was killed.

    What has been done is not done again; what fails can be tried again. Each Parquet file appears whole.
    Raises: DerloopError when a federate is still being recorded or its file cannot be written; the others' are done.
    """
    from derloop.results.series import to_parquet

    streams = sorted((folder / "series").glob("*.arrows"))
    by_size = sorted(streams, key=lambda path: -path.stat().st_size)  # so that none is left alone at the end
    pool = ThreadPoolExecutor(max_workers=min(os.cpu_count() or 1, FILES_AT_ONCE))
    try:
        done = {path: pool.submit(to_parquet, path) for path in by_size}
        wait(done.values())
    finally:
        pool.shutdown(cancel_futures=True)  # by Ctrl-C, what has not begun stays as it is
    failed = [error for path in streams if (error := done[path].exception()) is not None]
    if failed:
        raise failed[0]


def recorded_until_ns(folder: Path) -> dict[str, int]:
    """Return for each federate of which a run has series, by name, until when the last of its values holds."""
    from derloop.results.series import batches, signals

    found = {}
    for path in _series_files(folder):
        if of := signals(path):
            lasts_ns = [int(time_ns[-1]) for time_ns, _ in batches(path, [])]
            found[of[0].federate] = lasts_ns[-1] + of[0].step_ns if lasts_ns else 0
    return found


def rewind(series: Path, into: Path, federate: str, before_ns: int) -> None:
    """Have in the folder `into` a stream to go on with, of what `series` has of a federate before an instant.

    Nothing where that has nothing of it. Raises: as `series.rewind`.
    """
    from derloop.results.series import rewind, stem

    for suffix in (".arrows", ".parquet"):  # the second is whole where both are there
        if (path := series / f"{stem(federate)}{suffix}").exists():
            rewind(path, into, before_ns)


def _may_have(folder: Path, signal: str) -> Iterator[Path]:
    """Yield the files that a signal may be in: a federate's name, and a port's, may have dots."""
    from derloop.results.series import stem

    for federate in (signal[:at] for at, letter in enumerate(signal) if letter == "."):
        both = (folder / "series" / f"{stem(federate)}{suffix}" for suffix in (".parquet", ".arrows"))
        yield from [path for path in both if os.path.exists(path)][:1]  # noqa: PTH110 - Path raises for long names


def _series_files(folder: Path) -> list[Path]:
    """The files with series, the Parquet one where both kinds are there."""
    series = folder / "series"
    finished = sorted(series.glob("*.parquet"))
    names = {path.stem for path in finished}
    return finished + [path for path in sorted(series.glob("*.arrows")) if path.stem not in names]


def _alone(read: tuple[TimeArray, FloatArray]) -> tuple[TimeArray, list[FloatArray]]:
    return read[0], [read[1]]


def _json(path: Path) -> object:
    """What the file holds; None when it is missing or was cut short."""
    try:
        return json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return None


def _instant(text: object) -> datetime | None:
    try:
        return datetime.fromisoformat(text) if isinstance(text, str) else None
    except ValueError:
        return None
