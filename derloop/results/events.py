"""What happened in a run besides its values: one JSON object a line, there as soon as it is added."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import numpy as np

from derloop.errors import DerloopError

DEPTH = 8
"""How deep a fact may nest; what lies deeper (or in a circle) is shown as text."""

WAIT_S = 1.0
"""How long a line waits for those who add others; it is written then all the same, perhaps behind an empty line."""


class Events:
    """An append-only `events.jsonl`. Any number of threads and processes may add to one file.

    A line is one `write` to a file opened with O_APPEND: lines do not mix, and a kill -9 leaves whole lines. Of a full
    disk there may be a part of one, behind which the next begins a line of its own; for a line that another is still
    writing is no such part, who adds locks the file where the file system has locks.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def add(self, what: str, /, **facts: object) -> None:
        """Append `what` with its wall-clock time and `facts`; a fact of any kind is written as well as can be.

        Raises: DerloopError when the file cannot be written.
        """
        now = datetime.now().astimezone().isoformat(timespec="milliseconds")
        line = json.dumps({**_object(facts, DEPTH), "time": now, "what": _text(what)}, allow_nan=False) + "\n"
        try:
            self._append(line.encode("ascii"))
        except OSError as error:
            raise DerloopError(f"cannot add {what!r} to {self.path}: {error.strerror}") from error

    def _append(self, line: bytes) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        file = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            _wait_for_other_writers(file)
            left = line if _is_at_line_begin(file) else b"\n" + line
            while left:
                left = left[os.write(file, left) :]
        finally:
            _let_other_writers(file)
            os.close(file)


def _wait_for_other_writers(file: int) -> None:
    """Lock `file`; not where there are no locks, nor once `WAIT_S` is over."""
    deadline = monotonic() + WAIT_S
    while monotonic() < deadline:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            sleep(0.0005)
        except OSError:
            return
        else:
            return


def _let_other_writers(file: int) -> None:
    """Unlock `file`. Closing it would not where a process was forked meanwhile, which has it open until it ends."""
    with suppress(OSError):
        fcntl.flock(file, fcntl.LOCK_UN)


def _is_at_line_begin(file: int) -> bool:
    size = os.fstat(file).st_size
    return not size or os.pread(file, 1, size - 1) == b"\n"


def read_events(path: Path) -> list[dict[str, Any]]:
    """Return the events in `path`, oldest first; none without a file. A line that was cut short is left out."""
    if not path.exists():
        return []
    found = (_parsed(line) for line in path.read_bytes().splitlines())
    return [event for event in found if event is not None]


def _parsed(line: bytes) -> dict[str, Any] | None:
    try:
        event = json.loads(line)
    except ValueError:
        return None
    return event if isinstance(event, dict) else None


def _plain(value: object, depth: int) -> object:
    """Return `value` as what JSON can hold: what is no number, list or object becomes text."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, (np.ndarray, np.generic)):
        return _plain(value.tolist(), depth) if value.dtype.kind in "biufSU" else _text(value)
    if isinstance(value, int):
        return int(value) if abs(value) < 2**63 else hex(value)
    if isinstance(value, float):
        return float(value) if np.isfinite(value) else str(float(value))
    if depth and isinstance(value, Mapping):
        return _object(value, depth - 1)
    if depth and isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(x, depth - 1) for x in value]
    return _text(value)


def _object(facts: Mapping[Any, object], depth: int) -> dict[str, object]:
    return {_text(key): _plain(value, depth) for key, value in facts.items()}


def _text(value: object) -> str:
    if isinstance(value, str):
        return str.__str__(value)
    try:
        return f"{type(value).__name__}: {value}" if isinstance(value, BaseException) else str(value)
    except Exception as error:  # noqa: BLE001 - an event is noted whatever its facts do
        return f"<{type(value).__name__} without text: {type(error).__name__}>"
