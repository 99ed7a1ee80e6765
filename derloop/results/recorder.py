"""Records what federates give out, as it comes, so that little is lost when the process is killed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from itertools import accumulate, pairwise
from pathlib import Path
from queue import SimpleQueue
from threading import Lock, Thread
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
    batch is full or `flush_due` finds it due; once written it outlives the process. A full batch is written by a thread
    of the recorder's, while the next one is filled: who observes waits for a disk only where it does not keep up.

    Raises: DerloopError when a federate has been recorded in `folder` already, or its file cannot be written.
    """

    def __init__(self, folder: Path, interfaces: Mapping[str, Interface], goes_on: bool = False) -> None:
        """goes_on: with the streams that are in `folder`, see `series.rewind`."""
        self._tracks: dict[str, _Track | None] = {}
        self._full: SimpleQueue[_Track | None] = SimpleQueue()
        self._thread = Thread(target=self._write_full, name="derloop recorder", daemon=True)
        series = _made(folder / "series")
        self._thread.start()
        try:
            for federate, interface in interfaces.items():
                self._tracks[federate] = _track(series, federate, interface, goes_on, self._full.put)
        except BaseException:
            self.close()
            raise

    def observe(self, federate: str, now_ns: int, values: Values) -> None:
        """Take a copy of the outputs `values` of `federate` at `now_ns`, which rises from call to call.

        Raises: DerloopError when the full batch before could not be written, and cannot be now.
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
        _each([track.flush for track in self._open() if track.held_since < due or track.has_failed])

    def flush(self) -> None:
        """Write all that waits. Raises: as `flush_due`."""
        _each([track.flush for track in self._open()])

    def close(self) -> None:
        """Write what is left and close the files; every file, whichever fails. Closing again does nothing."""
        open_tracks, self._tracks = self._open(), {}
        self._full.put(None)
        self._thread.join()
        _each([track.close for track in open_tracks])

    def _write_full(self) -> None:
        while track := self._full.get():
            track.write_full()

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


class _Batch:
    """Rows of one federate, in blocks that are used again and again."""

    __slots__ = ("blocks", "moves", "time_ns")

    def __init__(self, rows: int, ports: Mapping[str, Port]) -> None:
        self.time_ns = np.empty(rows, np.int64)
        self.blocks = [_Block(rows, sizes) for sizes in _beside(ports)]
        self.moves: list[tuple[FloatArray, FloatArray]] = []
        """Where a row goes, and the part of a bundle that it comes from."""

    def come_from(self, bundle: Bundle) -> None:
        edges = pairwise(accumulate((block.rows.shape[1] for block in self.blocks), initial=0))
        parts = (bundle.vector[first:last] for first, last in edges)
        self.moves = [(block.rows, part) for block, part in zip(self.blocks, parts, strict=True)]

    def write(self, writer: Writer, rows: int) -> None:
        columns: dict[str, FloatArray] = {}
        for block in self.blocks:
            columns |= block.columns(rows)
        writer.write(self.time_ns[:rows], columns)


class _Track:
    """The rows of one federate that wait to be written: those of a full batch, and those after it.

    `_lock` is for the batch that is being filled; who holds it may take `_writing`, which is for the full one.
    """

    __slots__ = (
        *("_bundle", "_filling", "_full", "_full_rows", "_hand_over", "_lock", "_own", "_row", "_rows", "_writer"),
        *("_writing", "has_failed", "held_since"),
    )

    def __init__(self, writer: Writer, ports: Mapping[str, Port], hand_over: Callable[[_Track], None]) -> None:
        """hand_over: called with a track that has a full batch, to have `write_full` called in another thread."""
        self._writer, self._hand_over, self._lock, self._writing = writer, hand_over, Lock(), Lock()
        self._rows = _rows_of_batch(sum(port.size for port in ports.values()))
        self._filling, self._full = _Batch(self._rows, ports), _Batch(self._rows, ports)
        self._own = Bundle(ports)
        self._know(self._own)
        self._row = self._full_rows = 0
        self.held_since = np.inf
        self.has_failed = False
        """The full batch could not be written; whoever flushes tries again, and is told."""

    def add(self, now_ns: int, values: Values) -> None:
        with self._lock:
            if self._row == self._rows:  # an earlier attempt to write has failed
                self._turn_over()
            row = self._row
            if row == 0:
                self.held_since = monotonic()
            if values is not self._bundle:
                self._take(values)
            filling = self._filling
            filling.time_ns[row] = now_ns
            for rows, part in filling.moves:
                rows[row] = part
            self._row = row + 1
            if self._row == self._rows:
                self._turn_over()

    def _turn_over(self) -> None:
        """Hand the full batch over and fill the other one, once that is written."""
        self._write_full()
        self._filling, self._full = self._full, self._filling
        self._filling.come_from(self._bundle)
        self._full_rows, self._row, self.held_since = self._row, 0, np.inf
        self._hand_over(self)

    def write_full(self) -> None:
        """Write the full batch; where that cannot be, leave it to whoever flushes, or fills the next."""
        with suppress(DerloopError):
            self._write_full()

    def _write_full(self) -> None:
        with self._writing:
            if self._full_rows:
                try:
                    self._full.write(self._writer, self._full_rows)
                except BaseException:
                    self.has_failed = True
                    raise
                self._full_rows, self.has_failed = 0, False

    def _take(self, values: Values) -> None:
        """Have `values` where they are moved from: in a bundle of their own, which will come again, or else in ours."""
        if isinstance(values, Bundle) and [port for port in values if values[port].size] == [*self._own]:
            self._know(values)
            return
        if self._bundle is not self._own:
            self._know(self._own)
        for port, part in self._own.items():
            part[...] = values[port]

    def _know(self, bundle: Bundle) -> None:
        self._bundle = bundle
        self._filling.come_from(bundle)

    def flush(self) -> None:
        with self._lock:
            self._write()

    def close(self) -> None:
        with self._lock:
            _each([self._write, self._writer.close])

    def _write(self) -> None:
        self._write_full()
        with self._writing:
            if self._row:
                self._filling.write(self._writer, self._row)
                self._row, self.held_since = 0, np.inf


def _track(
    series: Path, federate: str, interface: Interface, goes_on: bool, hand_over: Callable[[_Track], None]
) -> _Track | None:
    from derloop.results.series import Writer, kept

    ports = kept(interface)
    return _Track(Writer(series, federate, interface, goes_on), ports, hand_over) if ports else None


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
