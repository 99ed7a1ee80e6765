"""Records what federates give out, as it comes, so that little is lost when the process is killed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import accumulate, pairwise
from pathlib import Path
from threading import Lock
from time import monotonic
from typing import TYPE_CHECKING

import numpy as np

from derloop.contract import Bundle, FloatArray, Interface, Port, Values
from derloop.errors import DerloopError, did_you_mean

if TYPE_CHECKING:
    from derloop.results.series import Writer

BATCH_ROWS = 256
BATCH_BYTES = 2**20
"""A batch holds no more than this, unless one row is longer. Larger ones leave the processor's cache and cost more."""
WIDE = 64
"""Values of a port from which on putting them in order, for writing, costs more than copying them apart."""
HELD_S = 0.5
"""How long a value may wait before `flush_due` writes it."""


class Recorder:
    """Writes `folder/series/<federate>.arrows` for each federate in `interfaces` that has outputs.

    Several processes may record into one folder, each its own federates. What is observed waits in memory until its
    batch is full or `flush_due` finds it due; once written it outlives the process.

    Raises: DerloopError when a federate has been recorded in `folder` already, or its file cannot be written.
    """

    def __init__(self, folder: Path, interfaces: Mapping[str, Interface], goes_on: bool = False) -> None:
        """goes_on: with the streams that are in `folder`, see `series.rewind`."""
        self._tracks: dict[str, _Track | None] = {}
        series = _made(folder / "series")
        try:
            for federate, interface in interfaces.items():
                self._tracks[federate] = _track(series, federate, interface, goes_on)
        except BaseException:
            self.close()
            raise

    def observe(self, federate: str, now_ns: int, values: Values) -> None:
        """Take a copy of the outputs `values` of `federate` at `now_ns`, which rises from call to call.

        Raises: DerloopError when a full batch cannot be written.
        """
        try:
            track = self._tracks[federate]
        except KeyError:
            raise DerloopError(f"{federate!r} is not being recorded{did_you_mean(federate, [*self._tracks])}") from None
        if track is not None:
            track.add(now_ns, values)

    def flush_due(self) -> None:
        """Write what has waited for longer than 0.5 s. For a thread that calls it every 50 ms or so.

        Raises: DerloopError when something could not be written; it is kept, and tried again at the next call.
        """
        due = monotonic() - HELD_S
        _each([track.flush for track in self._open() if track.held_since < due])

    def flush(self) -> None:
        """Write all that waits. Raises: as `flush_due`."""
        _each([track.flush for track in self._open()])

    def close(self) -> None:
        """Write what is left and close the files; every file, whichever fails. Closing again does nothing."""
        open_tracks, self._tracks = self._open(), {}
        _each([track.close for track in open_tracks])

    def _open(self) -> list[_Track]:
        return [track for track in self._tracks.values() if track is not None]


class _Block:
    """The rows of some ports, one beside the other: a copy for each row costs more than its values."""

    __slots__ = ("_parts", "rows")

    def __init__(self, rows: int, sizes: Mapping[str, int]) -> None:
        edges = pairwise(accumulate(sizes.values(), initial=0))
        self._parts = {port: slice(first, last) for port, (first, last) in zip(sizes, edges, strict=True)}
        self.rows = np.empty((rows, sum(sizes.values())))

    def columns(self, rows: int) -> dict[str, FloatArray]:
        """Return the values of each port (rows, n), C-contiguous."""
        return {port: np.ascontiguousarray(self.rows[:rows, part]) for port, part in self._parts.items()}


class _Track:
    """The rows of one federate that wait to be written, in blocks that are used again and again."""

    __slots__ = ("_blocks", "_bundle", "_lock", "_moves", "_own", "_row", "_rows", "_time_ns", "_writer", "held_since")

    def __init__(self, writer: Writer, ports: Mapping[str, Port]) -> None:
        self._writer, self._lock = writer, Lock()
        self._rows = _rows_of_batch(sum(port.size for port in ports.values()))
        self._time_ns = np.empty(self._rows, np.int64)
        self._blocks = [_Block(self._rows, sizes) for sizes in _beside(ports)]
        self._own = Bundle(ports)
        self._know(self._own)
        self._row = 0
        self.held_since = np.inf

    def add(self, now_ns: int, values: Values) -> None:
        with self._lock:
            if self._row == self._rows:  # an earlier attempt to write has failed
                self._write()
            row = self._row
            if row == 0:
                self.held_since = monotonic()
            if values is not self._bundle:
                self._take(values)
            self._time_ns[row] = now_ns
            for rows, part in self._moves:
                rows[row] = part
            self._row = row + 1
            if self._row == self._rows:
                self._write()

    def _take(self, values: Values) -> None:
        """Have `values` where they are moved from: in a bundle of their own, which will come again, or else in ours."""
        if isinstance(values, Bundle) and [port for port in values if values[port].size] == [*self._own]:
            self._know(values)
            return
        self._know(self._own)
        for port, part in self._own.items():
            part[...] = values[port]

    def _know(self, bundle: Bundle) -> None:
        edges = pairwise(accumulate((block.rows.shape[1] for block in self._blocks), initial=0))
        parts = (bundle.vector[first:last] for first, last in edges)
        self._bundle, self._moves = bundle, [(b.rows, part) for b, part in zip(self._blocks, parts, strict=True)]

    def flush(self) -> None:
        with self._lock:
            self._write()

    def close(self) -> None:
        with self._lock:
            _each([self._write, self._writer.close])

    def _write(self) -> None:
        if self._row:
            columns: dict[str, FloatArray] = {}
            for block in self._blocks:
                columns |= block.columns(self._row)
            self._writer.write(self._time_ns[: self._row], columns)
            self._row, self.held_since = 0, np.inf


def _track(series: Path, federate: str, interface: Interface, goes_on: bool) -> _Track | None:
    from derloop.results.series import Writer, kept

    ports = kept(interface)
    return _Track(Writer(series, federate, interface, goes_on), ports) if ports else None


def _beside(ports: Mapping[str, Port]) -> Iterator[dict[str, int]]:
    """Yield the sizes of ports that are kept beside each other, in order; a wide one by itself, as it is written."""
    beside: dict[str, int] = {}
    for name, port in ports.items():
        if beside and (port.size > WIDE or sum(beside.values()) > WIDE):
            yield beside
            beside = {}
        beside[name] = port.size
    yield beside


def _made(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DerloopError(f"cannot record in {folder}: {error.strerror}") from error
    return folder


def _rows_of_batch(width: int) -> int:
    return min(BATCH_ROWS, max(1, BATCH_BYTES // (8 * (width + 1))))


def _each(acts: list[Callable[[], None]]) -> None:
    """Do every one of `acts`, also when one fails; then raise the first failure."""
    failed: list[DerloopError] = []
    for act in acts:
        try:
            act()
        except DerloopError as error:
            failed.append(error)
    if failed:
        raise failed[0]
