"""Files that are there whole or not at all, also where the disk is full."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from derloop.errors import DerloopError


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Give the path of a draft, which takes the place of `path` once it is written, and of which nothing stays if not.

    Raises DerloopError, which names `path`, where it cannot be written.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}.part")  # another process may write the same
    try:
        yield draft
        draft.replace(path)
    except OSError as error:
        raise DerloopError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        with suppress(OSError):
            draft.unlink()
