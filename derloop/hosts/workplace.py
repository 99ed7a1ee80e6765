"""The folder in which a host works: a new one that is removed, if not by the host then by the next one.

A host that is killed cannot tidy up. So whoever works in a folder of its making holds the folder's lock, which the
kernel takes from the dead; and who comes next removes what nobody holds. Machines may share a place and not its locks,
as some file systems do: each removes what has its own name.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from shutil import rmtree
from socket import gethostname
from tempfile import gettempdir, mkdtemp
from time import time

from derloop.errors import DerloopError

PREFIX = f"derloop-host-{gethostname()}-"
NEW_S = 10.0
"""How old a folder must be to be taken for left: a new one may not have its lock yet."""


@contextmanager
def working_folder(wanted: Path | None) -> Iterator[Path]:
    """Yield a new folder to work in, which is removed afterwards: in `wanted`, or where temporary files are."""
    place = Path(gettempdir()) if wanted is None else _made(wanted)
    remove_left(place)
    made = Path(mkdtemp(prefix=PREFIX, dir=place))
    lock = _locked(made)  # None where the file system has no locks: then nobody removes anything
    try:
        yield made
    finally:
        rmtree(made, ignore_errors=True)
        if lock is not None:
            os.close(lock)


def _made(wanted: Path) -> Path:
    try:
        wanted.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise DerloopError(f"{wanted} is no folder; a host makes one of its own in it") from error
    return wanted.resolve()


def remove_left(place: Path) -> None:
    """Remove the folders in `place` of hosts of this machine and user that were killed."""
    for path in place.glob(f"{PREFIX}*"):
        if (lock := _locked(path, older_s=NEW_S)) is not None:
            rmtree(path, ignore_errors=True)
            os.close(lock)


def _locked(path: Path, older_s: float = 0.0) -> int | None:
    """Return a descriptor that holds the lock of a folder of this user, so old or older; None where that cannot be."""
    with suppress(OSError):
        lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        with suppress(OSError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            found = os.fstat(lock)
            if found.st_uid == os.geteuid() and found.st_mtime <= time() - older_s:
                return lock
        os.close(lock)
    return None
