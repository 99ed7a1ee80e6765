"""Profiles: one quantity over time, from a column of a CSV file.

Lines that begin with `#` are comments; then comes a header row. The column `time_s` counts seconds since local
midnight of the day on which the scenario starts, and rises from row to row; it must cover the run. Between rows
the value is interpolated linearly. Elapsed time counts: a change of daylight-saving time during the run does
not shift a profile.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
from pydantic import Field

from derloop.contract import FloatArray
from derloop.errors import did_you_mean
from derloop.kind import Context, PlaceError, Settings

MAX_BYTES = 256 * 2**20
TIME = "time_s"


class ProfileError(PlaceError):
    """A profile cannot be used. `path` leads to the setting that is wrong."""

    def __init__(self, what: str, *path: str) -> None:
        self.what, self.path = what, path
        super().__init__([(path, what)])


class ProfileColumn(Settings):
    """A column of a CSV file."""

    file: str = Field(
        min_length=1,
        max_length=1024,
        description="CSV file, relative to the scenario's folder and inside it.",
        examples=["profiles/load_shapes_summer.csv"],
    )
    column: str = Field(min_length=1, max_length=256, description="Column beside time_s.", examples=["residential_pu"])


@dataclass(frozen=True, slots=True)
class Profile:
    """Values over time since local midnight, and where in it the run begins."""

    time_s: FloatArray
    values: FloatArray
    start_s: float

    def at(self, now_ns: int) -> float:
        """Return the value `now_ns` after the scenario's start."""
        return float(np.interp(self.start_s + now_ns / 1e9, self.time_s, self.values))


def read_profile(column: ProfileColumn, context: Context, step_ns: int, *at: str) -> Profile:
    """Return the profile that `column` names, proven to have a value at every step of the run.

    at: the setting that holds `column`. Raises ProfileError.
    """
    try:
        return _profile(column, context, step_ns)
    except ProfileError as error:
        raise ProfileError(error.what, *at, *error.path) from error.__cause__


def _profile(column: ProfileColumn, context: Context, step_ns: int) -> Profile:
    path = _inside(column.file, context.folder)
    numbers, rows = _rows(path, column.file)
    time_s = _numbers(column, TIME, numbers, rows)
    values = _numbers(column, column.column, numbers, rows)
    _check_rising(column.file, time_s, numbers)
    profile = Profile(time_s, values, seconds_of_day(context.start))
    _check_covers(column.file, profile, (context.until_ns - 1) // step_ns * step_ns)
    return profile


def seconds_of_day(moment: datetime) -> float:
    """Return what a clock on the wall shows, in seconds since midnight."""
    return moment.hour * 3600.0 + moment.minute * 60.0 + moment.second + moment.microsecond / 1e6


def _inside(file: str, folder: Path) -> Path:
    """Return the real path of `file`, which must lie in `folder` when all links are followed."""
    try:
        what = _refused(file, folder)
    except ValueError as error:
        raise ProfileError(f"profile {file!r} cannot be opened: it holds a null character", "file") from error
    except (OSError, RuntimeError) as error:  # a ring of links is a RuntimeError before Python 3.13
        raise ProfileError(f"profile {file!r} cannot be opened: {error}", "file") from error
    if what:
        raise ProfileError(f"profile {file!r} {what}", "file")
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


def _rows(path: Path, file: str) -> tuple[list[int], list[list[str]]]:
    """Return the header and the rows below it, and the number of the line of each."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
        kept = [n for n, line in enumerate(lines) if line.strip() and not line.lstrip().startswith("#")]
        rows = list(csv.reader([lines[n] for n in kept], strict=True))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ProfileError(f"profile {file!r} is no CSV file in UTF-8: {error}", "file") from error
    if len(rows) != len(kept):
        raise ProfileError(f"profile {file!r}: a quoted field must not go over lines", "file")
    if len(rows) < 2:
        raise ProfileError(f"profile {file!r} has no rows", "file")
    return [n + 1 for n in kept], rows


def _numbers(column: ProfileColumn, name: str, numbers: Sequence[int], rows: Sequence[Sequence[str]]) -> FloatArray:
    """Return one column (rows,), all of it finite numbers."""
    header = [field.strip() for field in rows[0]]
    if header.count(name) != 1:
        many = f"has the column {name!r} {header.count(name)} times"
        what = many if name in header else f"has no column {name!r}" + did_you_mean(name, header)
        raise ProfileError(f"profile {column.file!r} {what}", "file" if name == TIME else "column")
    index = header.index(name)
    values = np.array([_number(row[index]) if len(row) == len(header) else np.nan for row in rows[1:]])
    bad = np.flatnonzero(~np.isfinite(values))
    if bad.size:
        first = int(bad[0]) + 1
        where = f"profile {column.file!r}, line {numbers[first]}"
        if len(rows[first]) != len(header):
            raise ProfileError(f"{where}: {len(rows[first])} fields under {len(header)} columns", "file")
        raise ProfileError(f"{where}: {name} is {rows[first][index]!r}, which is no finite number", "file")
    return values


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return np.nan


def _check_rising(file: str, time_s: FloatArray, numbers: Sequence[int]) -> None:
    falls = np.flatnonzero(np.diff(time_s) <= 0.0)
    if falls.size:
        i = int(falls[0]) + 1
        what = f"time_s must rise from row to row, but {time_s[i]:g} follows {time_s[i - 1]:g}"
        raise ProfileError(f"profile {file!r}, line {numbers[i + 1]}: {what}", "file")


def _check_covers(file: str, profile: Profile, last_ns: int) -> None:
    first_s, last_s = profile.start_s, profile.start_s + last_ns / 1e9
    begin_s, end_s = float(profile.time_s[0]), float(profile.time_s[-1])
    if begin_s > first_s or end_s < last_s:
        has = f"covers {_clock(begin_s)} to {_clock(end_s)}"
        needs = f"the run needs {_clock(first_s)} to {_clock(last_s)}, counted from local midnight"
        raise ProfileError(f"profile {file!r} {has}, but {needs}", "file")


def _clock(time_s: float) -> str:
    minutes, seconds = divmod(time_s, 60.0)
    hours, minutes = divmod(int(minutes), 60)
    return f"{hours:02d}:{minutes:02d}:{seconds:02.0f}"
