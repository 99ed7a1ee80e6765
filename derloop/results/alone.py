"""A folder that only one process may work in at a time."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from derloop.errors import DerloopError

LOCK = ".lock"
"""A file, not the folder itself: over NFS only what is open for writing can be locked."""


@contextmanager
def alone_in(folder: Path, others: str) -> Iterator[int]:
    """Hold a folder, and make it where there is none; who is given the lock's file descriptor holds it too.

    Raises: DerloopError where `others` hold it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not os.fstat(
            lock
        ).st_nlink:  # whoever held it has removed it meanwhile: nobody else would see that it is held
            raise BlockingIOError
        yield lock
    except BlockingIOError as error:
        raise DerloopError(f"{folder}: {others} still at work there") from error
    finally:
        os.close(lock)
