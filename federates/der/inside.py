"""Data files: only what lies in the scenario's folder is read."""

from __future__ import annotations

from pathlib import Path
from typing import Final

MAX_BYTES: Final = 256 * 2**20


def path_inside(file: str, folder: Path) -> Path:
    """Return the real path of `file`, which must lie in `folder` when all links are followed.

    Raises ValueError with what is to be said after the name of the file.
    """
    try:
        what = _refused(file, folder)
    except ValueError as error:
        raise ValueError("cannot be opened: it holds a null character") from error
    except (OSError, RuntimeError) as error:  # a ring of links is a RuntimeError before Python 3.13
        raise ValueError(f"cannot be opened: {error}") from error
    if what:
        raise ValueError(what)
    return (folder / file).resolve()


def _refused(file: str, folder: Path) -> str:
    """Return why the file must not be read, empty if it may."""
    root = folder.resolve(strict=True)
    path = (root / file).resolve()
    if not path.is_relative_to(root):
        return f"is outside the scenario's folder {str(root)!r}"
    if not path.is_file():
        return f"is no file in the scenario's folder {str(root)!r}"
    if path.stat().st_size > MAX_BYTES:
        return f"is larger than {MAX_BYTES // 2**20} MiB"
    return ""
