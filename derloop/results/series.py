"""One file of series for each federate: Arrow while a run goes on, Parquet afterwards.

While recording: an Arrow IPC *stream*, `<federate>.arrows`, of batches that are each written at once. A process that
is killed leaves every batch that it had written; a reader stops at the first that is short. Parquet and the Arrow
*file* format are lost whole in that case, as their index is written last.

Both hold `time_ns` (int64, since the scenario's start) and a column for each output port: float64 for one element,
`FixedSizeList<float64>[n]` for n. A column's metadata has `unit` and `labels` (JSON), the schema's `federate`,
`step_ns` and `format`.

Series are read and written here alone. Whoever uses this module imports it where it is used, as pyarrow takes 0.15 s to
load.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import quote

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from derloop.contract import FloatArray, Interface, Port
from derloop.errors import DerloopError
from derloop.results.signals import Signal, TimeArray

FORMAT = "derloop-series-1"
TIME = "time_ns"
ROW_GROUP_VALUES = 2**18
"""How many values make a row group of a Parquet file: 2 MB, which is what a reader holds at a time."""

Columns = Mapping[str, FloatArray]
"""For each port its values (k, n)."""

MOST_PARTS = 1024
"""How many pieces of memory one call of the system writes (IOV_MAX)."""
END_OF_STREAM = b"\xff\xff\xff\xff\0\0\0\0"


def stem(federate: str) -> str:
    """Return the name of the federate's file, without suffix: the federate's own, as far as file names allow."""
    return quote(federate, safe="@ +,=")


def kept(interface: Interface) -> dict[str, Port]:
    """Return the outputs that have something to record."""
    return {name: port for name, port in interface.outputs.items() if port.size}


class Writer:
    """The Arrow stream of one federate. Not thread-safe. Holds the file's lock until closed or killed.

    Raises: DerloopError when the federate has a file already, or writing fails; then the file ends with the last
    whole batch, and the same batch may be tried again.
    """

    def __init__(self, folder: Path, federate: str, interface: Interface, goes_on: bool = False) -> None:
        """goes_on: append to what is there, if anything is."""
        self.federate, self.path = federate, folder / f"{stem(federate)}.arrows"
        if TIME in interface.outputs:
            raise DerloopError(f"federate {federate!r}: an output cannot be named {TIME!r}, as the results' time is")
        self._schema = _schema(federate, interface)
        self._heads: dict[int, bytes] = {}
        # The system's allocator: Arrow's own returns blocks of this size to the kernel at once, at 20 ms a time.
        self._pool = pa.system_memory_pool()
        if goes_on and self.path.exists():
            self._file = self._reopened()
            return
        self._file = self._opened()
        try:
            self._write(self._schema.serialize(memory_pool=self._pool))
        except DerloopError:
            self._file.close()
            raise

    def write(self, time_ns: TimeArray, columns: Columns) -> None:
        """Append one batch: instants (k,) and for each port values (k, n), C-contiguous.

        A message of the stream is a head, which depends on k alone, and the columns one behind the other: they are
        written from where they are.
        """
        values = [columns[name] for name in self._schema.names[1:]]
        head = self._heads.get(time_ns.size)
        if head is None:
            head = self._heads[time_ns.size] = self._head(time_ns, values)
        self._write(head, time_ns, *values)

    def _head(self, time_ns: TimeArray, values: Sequence[FloatArray]) -> bytes:
        arrays = [_flat(time_ns), *(_array(v, field.type) for v, field in zip(values, self._fields, strict=True))]
        batch = pa.record_batch(arrays, schema=self._schema)
        message = memoryview(batch.serialize(memory_pool=self._pool))
        return bytes(message[: len(message) - time_ns.nbytes - sum(v.nbytes for v in values)])

    @property
    def _fields(self) -> list[Any]:
        return list(self._schema)[1:]

    def close(self) -> None:
        """Mark the stream's end and close the file, also when the mark does not fit any more."""
        if not self._file.closed:
            with self._file:
                self._write(END_OF_STREAM)

    def _opened(self) -> FileIO:
        if self.path.exists() or self.path.with_suffix(".parquet").exists():
            raise DerloopError(f"federate {self.federate!r} has been recorded already in {self.path.parent}")
        try:
            file = self.path.open("xb", buffering=0)
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise self._failed(error) from error
        return file

    def _reopened(self) -> FileIO:
        with _stored(self.path) as stored:
            if stored is None or not stored.schema.equals(self._schema, check_metadata=True):
                raise DerloopError(
                    f"federate {self.federate!r} has other outputs than it had: it cannot go on with them"
                )
        try:
            file = self.path.open("r+b", buffering=0)
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            file.seek(0, os.SEEK_END)
        except OSError as error:
            raise self._failed(error) from error
        return file

    def _write(self, *parts: Any) -> None:
        before, rest = self._file.tell(), [memoryview(part).cast("B") for part in parts]
        try:
            while rest:
                rest = _after(rest, os.writev(self._file.fileno(), rest[:MOST_PARTS]))
        except OSError as error:
            self._file.seek(before)
            with suppress(OSError):  # a disk that has gone cuts nothing off either: what is tried again covers it
                self._file.truncate(before)
            raise self._failed(error) from error

    def _failed(self, error: OSError) -> DerloopError:
        return DerloopError(f"cannot record federate {self.federate!r} in {self.path}: {error.strerror}")


def _after(parts: list[memoryview], written: int) -> list[memoryview]:
    """Return what is left of `parts` when so many bytes of them are written."""
    for at, part in enumerate(parts):
        if written < len(part):
            return [part[written:], *parts[at + 1 :]]
        written -= len(part)
    return []


def signals(path: Path) -> tuple[Signal, ...]:
    """Return what the file holds; nothing when it was cut short before its schema was whole."""
    with _stored(path) as stored, _undamaged(path):
        return tuple(_signals(stored.schema)) if stored else ()


def batches(
    path: Path, ports: Sequence[str], start_ns: int | None = None, stop_ns: int | None = None
) -> Iterator[tuple[TimeArray, dict[str, FloatArray]]]:
    """Yield instants (k,) and for each of `ports` values (k, n), for start_ns <= instant < stop_ns."""
    with _stored(path, ports) as stored:
        for batch in stored.batches(start_ns, stop_ns) if stored else ():
            with _undamaged(path):
                time_ns, columns = _within(batch, ports, start_ns, stop_ns)
            if time_ns.size:
                yield time_ns, columns


def _within(
    batch: Any, ports: Sequence[str], start_ns: int | None, stop_ns: int | None
) -> tuple[TimeArray, dict[str, FloatArray]]:
    time_ns: TimeArray = _numbers(batch.column(TIME))
    low = 0 if start_ns is None else int(np.searchsorted(time_ns, start_ns))
    high = time_ns.size if stop_ns is None else int(np.searchsorted(time_ns, stop_ns))
    columns = {port: _numbers(batch.column(port)).reshape(time_ns.size, -1) for port in ports if low < high}
    return time_ns[low:high], {port: values[low:high] for port, values in columns.items()}


def rewind(path: Path, folder: Path, before_ns: int) -> None:
    """Have in `folder` an Arrow stream, without its end, of what `path` has of before `before_ns`; also of its own.

    Raises: DerloopError when the file is still being recorded, or the new one cannot be written.
    """
    into = folder / f"{path.stem}.arrows"
    part = into.with_name(f"{into.name}.part")
    with path.open("rb") as file:
        _refuse_if_recording(file, path)
        with _stored(path) as stored:
            if stored is None:
                return
            try:
                with part.open("wb") as rewound:
                    rewound.write(stored.schema.serialize())
                    for batch in stored.batches(None, before_ns):
                        rows = int(np.searchsorted(_numbers(batch.column(TIME)), before_ns))
                        rewound.write(batch.slice(0, rows).serialize() if rows else b"")
                part.replace(into)
            except OSError as error:
                raise DerloopError(f"cannot write {into}: {error.strerror or error}") from error
    (folder / f"{path.stem}.parquet").unlink(missing_ok=True)


def to_parquet(path: Path) -> Path | None:
    """Make Parquet of the Arrow stream `path` and remove it; return the new file.

    Holds one row group at a time. A stream without a whole schema holds nothing: it stays, and None is returned.
    Raises: DerloopError when it is still being recorded, or the new file cannot be written.
    """
    done = path.with_suffix(".parquet")
    with path.open("rb") as file:
        _refuse_if_recording(file, path)
        with _stored(path) as stored:
            if stored is None:
                return None
            if not done.exists():
                _write_whole(stored, done)
        path.unlink()
    return done


def _refuse_if_recording(file: BinaryIO, path: Path) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise DerloopError(f"{path} is still being recorded, or another process finishes it") from error


def _write_whole(stored: _Stored, done: Path) -> None:
    """Write `done` so that it is never seen in part."""
    part = done.with_name(f"{done.name}.part")
    try:
        _write_parquet(stored, part)
        part.replace(done)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise DerloopError(f"cannot write {done}: {error.strerror or error}") from error


def _write_parquet(stored: _Stored, part: Path) -> None:
    width = sum(len(signal.labels) for signal in _signals(stored.schema))
    rows = max(1, ROW_GROUP_VALUES // width)
    with part.open("wb") as file:
        how = {"compression": "zstd", "use_dictionary": False, "write_page_checksum": True}
        with pq.ParquetWriter(file, stored.schema, **how) as writer:
            for table in _tables(stored.batches(), rows):
                writer.write_table(table, row_group_size=rows)
        file.flush()
        os.fsync(file.fileno())


def _tables(found: Iterator[Any], rows: int) -> Iterator[Any]:
    """Yield the batches together, as soon as they are `rows` or more, and what is left."""
    held: list[Any] = []
    count = 0
    for batch in found:
        held.append(batch)
        count += batch.num_rows
        if count >= rows:
            yield pa.Table.from_batches(held).combine_chunks()
            held, count = [], 0
    if held:
        yield pa.Table.from_batches(held).combine_chunks()


class _Stream:
    """The Arrow stream of a run that goes on, or was killed."""

    def __init__(self, file: Any) -> None:
        self._reader = pa.ipc.open_stream(file)
        self.schema = self._reader.schema

    def batches(self, *_range: object) -> Iterator[Any]:
        while (batch := self._next()) is not None:
            yield batch

    def _next(self) -> Any | None:
        try:
            return self._reader.read_next_batch()
        except (StopIteration, pa.ArrowException, OSError):  # the end, or short
            return None


class _Finished:
    """The Parquet file of a run that has ended; its checksums tell where it is not what was written."""

    def __init__(self, file: Any, path: Path, ports: Sequence[str] | None) -> None:
        self._path, self._columns = path, None if ports is None else [TIME, *ports]
        with _undamaged(path):
            self._file = pq.ParquetFile(file, page_checksum_verification=True)
            self.schema = self._file.schema_arrow

    def batches(self, start_ns: int | None = None, stop_ns: int | None = None) -> Iterator[Any]:
        for group in range(self._file.num_row_groups):
            if self._bears_on(group, start_ns, stop_ns):
                with _undamaged(self._path):
                    table = self._file.read_row_group(group, columns=self._columns).combine_chunks()
                yield from table.to_batches()

    def _bears_on(self, group: int, start_ns: int | None, stop_ns: int | None) -> bool:
        time = self._file.metadata.row_group(group).column(0).statistics
        after_start = start_ns is None or time.max >= start_ns
        return bool(after_start and (stop_ns is None or time.min < stop_ns))


_Stored = _Stream | _Finished


@contextmanager
def _undamaged(path: Path) -> Iterator[None]:
    """Raise DerloopError where what is read is not what was written."""
    try:
        yield
    except (OSError, ValueError, KeyError) as error:  # pyarrow.ArrowInvalid is a ValueError
        raise DerloopError(f"{path} is damaged: {error}") from error


@contextmanager
def _stored(path: Path, ports: Sequence[str] | None = None) -> Iterator[_Stored | None]:
    """Open either kind of file; None for a stream that was cut short before its schema was whole."""
    with pa.OSFile(str(path), "rb") as file:
        try:
            stored: _Stored | None = _Finished(file, path, ports) if path.suffix == ".parquet" else _Stream(file)
        except (pa.ArrowException, OSError) as error:
            if path.suffix == ".parquet":
                raise DerloopError(f"{path} is damaged: {error}") from error
            stored = None
        with _undamaged(path):
            found = _metadata(stored.schema).get("format") if stored else FORMAT
        if found != FORMAT:
            raise DerloopError(f"{path} is in the format {found!r}; this derloop reads {FORMAT!r}")
        yield stored


def _schema(federate: str, interface: Interface) -> Any:
    about = {"federate": federate, "step_ns": str(interface.step_ns), "format": FORMAT}
    time = pa.field(TIME, pa.int64(), nullable=False, metadata={"unit": "ns"})
    return pa.schema([time, *(_field(name, port) for name, port in kept(interface).items())], metadata=about)


def _field(name: str, port: Port) -> Any:
    element = pa.field("element", pa.float64(), nullable=False)
    kind = element.type if port.size == 1 else pa.list_(element, port.size)
    about = {"unit": port.unit, "labels": json.dumps(port.labels)}
    return pa.field(name, kind, nullable=False, metadata=about)


def _signals(schema: Any) -> Iterator[Signal]:
    run = _metadata(schema)
    for field in list(schema)[1:]:
        port = _metadata(field)
        labels = tuple(json.loads(port["labels"]))
        yield Signal(run["federate"], field.name, port["unit"], labels, int(run["step_ns"]))


def _metadata(of: Any) -> dict[str, str]:
    return {key.decode(): value.decode() for key, value in (of.metadata or {}).items()}


def _array(values: FloatArray, kind: Any) -> Any:
    """Return values (k, n) as one Arrow column, without copying."""
    flat = _flat(values.reshape(-1))
    return flat if kind == flat.type else pa.FixedSizeListArray.from_arrays(flat, type=kind)


def _flat(values: FloatArray | TimeArray) -> Any:
    """Return values (n,), C-contiguous, as an Arrow array, without copying.

    `pa.array` does the same, but imports pandas where that is installed: 0.3 s in the middle of a run.
    """
    return pa.Array.from_buffers(pa.from_numpy_dtype(values.dtype), values.size, [None, pa.py_buffer(values)])


def _numbers(column: Any) -> Any:
    """Return an Arrow column as one flat array, without copying, and without importing pandas: see `_flat`.

    `column.flatten()` does the same where no list is null, as none is, but imports `pyarrow.compute`: 0.1 s.
    """
    flat = column
    if pa.types.is_fixed_size_list(column.type):
        n = column.type.list_size
        flat = column.values.slice(column.offset * n, len(column) * n)
    kind = flat.type.to_pandas_dtype()
    return np.frombuffer(flat.buffers()[1], kind, len(flat), flat.offset * np.dtype(kind).itemsize)
