"""Profiles: one quantity over time, from a column of a CSV file.

Lines that begin with `#` are comments; then comes a header row. Time is one of two columns, and rises from row to row:

- `time_s`: seconds since midnight of the day on which the scenario starts, as the clock on the wall there shows them.
  For what follows the clock, such as the shape of a day: where the scenario has a `time_zone`, the hour that is skipped
  in spring is skipped in the profile, and the one that comes twice in autumn is gone through twice.
- `time`: timestamps of ISO 8601. For what was measured. Each says its offset from UTC (`2025-03-09T03:00:00-07:00`, or
  `Z`), or the setting `time_zone` says where its clock hung. An hour that was shown twice is then gone through twice
  by the rows, one time after the other; where they do that once, the file does not say which one it means, and is
  refused. So is an hour that was never shown.

The rows must cover the run. With `repeats`, rows of a whole day, `time_s` from 0 to 86400, are gone through anew on
each day, by the same clock; at midnight the first row holds. Between rows the value is interpolated linearly. Where
more than half of the rows follow each other by one interval (and there are five or more), a longer one is a gap and is
refused, unless `longest_gap_s` allows it.
"""

from __future__ import annotations

import csv
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from derloop.contract import FloatArray
from derloop.errors import did_you_mean
from derloop.kind import Context, FileName, PlaceError, Settings
from derloop.zone import ZoneName
from federates.der.clock import Clock
from federates.der.inside import path_inside
from federates.der.stamps import StampError, seconds_between

TIME, STAMP = "time_s", "time"
DAY_S = 86400.0
FEW = 4
"""Intervals: with fewer of them, none is the usual one."""
REPEATS_SAID = "daily: the rows are a day, with time_s from 0 to 86400, and hold on each day of the run."


class ProfileError(PlaceError):
    """A profile cannot be used. `path` leads to the setting that is wrong."""

    def __init__(self, what: str, *path: str) -> None:
        self.what, self.path = what, path
        super().__init__([(path, what)])


class ProfileColumn(Settings):
    """A column of a CSV file."""

    file: FileName = Field(
        min_length=1,
        max_length=1024,
        description="CSV file, relative to the scenario's folder and inside it.",
        examples=["profiles/load_shapes_summer.csv"],
    )
    column: str = Field(
        min_length=1, max_length=256, description="Column beside the time.", examples=["residential_pu"]
    )
    time_zone: ZoneName | None = Field(
        default=None,
        description="Where the clock hung that gave timestamps without offset: an IANA name.",
        examples=["America/Los_Angeles"],
    )
    longest_gap_s: float | None = Field(
        default=None,
        gt=0.0,
        description="Rows further apart than this, s, are refused. Without it, the interval at which most rows follow.",
        examples=[900.0],
    )
    repeats: Literal["daily"] | None = Field(default=None, description=REPEATS_SAID, examples=["daily"])


@dataclass(frozen=True, slots=True)
class Profile:
    """Values over time, and the clock that says where in it an instant is."""

    time_s: FloatArray
    values: FloatArray
    clock: Clock

    def at(self, now_ns: int) -> float:
        """Return the value `now_ns` after the scenario's start."""
        shown_s, time_s, values = self.clock.shows_s(now_ns), self.time_s.data, self.values.data
        after = bisect_right(time_s, shown_s)
        if after == 0 or after == len(time_s):
            return float(values[min(after, len(time_s) - 1)])
        before_s, value = time_s[after - 1], values[after - 1]
        slope = (values[after] - value) / (time_s[after] - before_s)
        return float(slope * (shown_s - before_s) + value)  # as numpy.interp has it, in a fifth of its time

    def at_all(self, instants_ns: NDArray[np.int64]) -> FloatArray:
        """Return the values (k,) at some instants (k,) after the scenario's start."""
        values: FloatArray = np.interp(self.clock.shows_all_s(instants_ns), self.time_s, self.values)
        return values


def read_profile(column: ProfileColumn, context: Context, step_ns: int, *at: str) -> Profile:
    """Return the profile that `column` names, proven to have a value at every step of the run.

    at: the setting that holds `column`. Raises ProfileError.
    """
    try:
        return _profile(column, context, step_ns)
    except ProfileError as error:
        raise ProfileError(error.what, *at, *error.path) from error.__cause__


def _profile(column: ProfileColumn, context: Context, step_ns: int) -> Profile:
    table = _Table(column, *_rows(_inside(column.file, context.folder), column.file))
    axis = _stamped(table, context) if STAMP in table.header else _counted(table, context)
    values = table.numbers(column.column, "column")
    _check_rising(table, axis)
    _check_gaps(table, axis)
    needs = _needs_s(axis, (context.until_ns - 1) // step_ns * step_ns, step_ns)
    if column.repeats:
        _check_is_a_day(table, axis)
        return Profile(*_each_day(axis.time_s, values, needs), axis.clock)
    _check_covers(table, axis, needs)
    return Profile(axis.time_s, values, axis.clock)


def _counted(table: _Table, context: Context) -> _Axis:
    if table.column.time_zone is not None:
        what = f"{table.said}: the rows have no timestamps; allowed with a column {STAMP!r} alone"
        raise ProfileError(what, "time_zone")
    return _Axis(TIME, table.numbers(TIME, "file"), Clock.of(context.start, context.until_ns))


def _stamped(table: _Table, context: Context) -> _Axis:
    if TIME in table.header:
        raise ProfileError(f"{table.said} has both columns {TIME!r} and {STAMP!r}; allowed is one", "file")
    zone = ZoneInfo(table.column.time_zone) if table.column.time_zone else None
    try:
        time_s = seconds_between(context.start, table.texts(STAMP, "file"), zone)
    except StampError as error:
        raise ProfileError(f"{table.line(error.row)}: {error}", "file") from error
    return _Axis(STAMP, time_s, Clock(0.0))


def _inside(file: str, folder: Path) -> Path:
    try:
        return path_inside(file, folder)
    except ValueError as error:
        raise ProfileError(f"profile {file!r} {error}", "file") from error


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


@dataclass(frozen=True, slots=True)
class _Axis:
    """When each row holds."""

    name: str
    time_s: FloatArray
    clock: Clock


class _Table:
    """What stands in a file: rows below a header, and the number of the line of each."""

    def __init__(self, column: ProfileColumn, numbers: Sequence[int], rows: Sequence[Sequence[str]]) -> None:
        self.column, self.said = column, f"profile {column.file!r}"
        self.header = [field.strip() for field in rows[0]]
        self._lines, self._rows = numbers[1:], rows[1:]

    def line(self, row: int) -> str:
        return f"{self.said}, line {self._lines[row]}"

    def stamp(self, row: int, axis: _Axis) -> str:
        """Return what the file has as the time of a row."""
        return self._rows[row][self.header.index(axis.name)].strip()

    def texts(self, name: str, path: str) -> list[str]:
        """Return one column (rows,); `path` is the setting that is wrong if there is no such column."""
        if self.header.count(name) != 1:
            many = f"has the column {name!r} {self.header.count(name)} times"
            what = many if name in self.header else f"has no column {name!r}" + did_you_mean(name, self.header)
            raise ProfileError(f"{self.said} {what}", path)
        for row, fields in enumerate(self._rows):
            if len(fields) != len(self.header):
                what = f"{len(fields)} fields under {len(self.header)} columns"
                raise ProfileError(f"{self.line(row)}: {what}", "file")
        index = self.header.index(name)
        return [fields[index] for fields in self._rows]

    def numbers(self, name: str, path: str) -> FloatArray:
        """Return one column (rows,), all of it finite numbers."""
        texts = self.texts(name, path)
        values = np.array([_number(text) for text in texts])
        bad = np.flatnonzero(~np.isfinite(values))
        if bad.size:
            row = int(bad[0])
            raise ProfileError(f"{self.line(row)}: {name} is {texts[row]!r}, which is no finite number", "file")
        return values


def too_dense(profile: Profile, interval_s: float) -> str:
    """Return that rows lie within metering intervals, for each of which one value holds; empty if they do not."""
    nearest_s = float(np.diff(profile.time_s).min(initial=np.inf))
    if nearest_s >= interval_s:
        return ""
    of = f"its rows are {nearest_s:g} s apart, and metering intervals are of {interval_s:g} s"
    return f"{of}: give a row for each, the mean of it"


def _number(text: str) -> float:
    """Return a number as the field writes it: Python's own 1_000 is none, nor are other scripts' digits."""
    try:
        return float(text) if text.isascii() and "_" not in text else np.nan
    except ValueError:
        return np.nan


def _check_rising(table: _Table, axis: _Axis) -> None:
    falls = np.flatnonzero(np.diff(axis.time_s) <= 0.0)
    if falls.size:
        row = int(falls[0]) + 1
        pair = f"{table.stamp(row, axis)} follows {table.stamp(row - 1, axis)}"
        raise ProfileError(f"{table.line(row)}: {axis.name} must rise from row to row, but {pair}", "file")


def _check_gaps(table: _Table, axis: _Axis) -> None:
    intervals_s = np.diff(axis.time_s)
    allowed_s = table.column.longest_gap_s or usual_interval_s(intervals_s)
    wide = np.flatnonzero(intervals_s > allowed_s * (1.0 + 1e-6))
    if wide.size:
        row = int(wide[0])
        has = f"nothing for {intervals_s[row]:g} s after {table.stamp(row, axis)}"
        gap = f"{table.line(row + 1)}: {has}; allowed is {allowed_s:g} s between rows"
        if table.column.longest_gap_s:
            raise ProfileError(gap, "longest_gap_s")
        raise ProfileError(f"{gap}, at which most of them follow, or what longest_gap_s says", "file")


def usual_interval_s(intervals_s: FloatArray) -> float:
    """Return the interval of more than half of the rows, if there are five or more; infinite where there is none."""
    if intervals_s.size < FEW:
        return np.inf
    middle_s = float(np.median(intervals_s))
    alike = np.abs(intervals_s - middle_s) <= 1e-6 * middle_s
    return middle_s if 2 * alike.sum() > alike.size else np.inf


def _needs_s(axis: _Axis, last_ns: int, step_ns: int) -> tuple[float, float]:
    """Return the first and the last time that the run asks for, as the axis counts."""
    needs = [axis.clock.shows_s(ns) for ns in axis.clock.turns_ns(last_ns, step_ns)]
    return min(needs), max(needs)


def _check_covers(table: _Table, axis: _Axis, needs_s: tuple[float, float]) -> None:
    if axis.time_s[0] <= needs_s[0] and needs_s[1] <= axis.time_s[-1]:
        return
    since = "counted from local midnight" if axis.name == TIME else "counted from the scenario's start"
    needs = f"{_covers(table, axis)}, but the run needs {_clock(needs_s[0])} to {_clock(needs_s[1])}, {since}"
    hint = "; with repeats 'daily' it holds on each day" if _is_a_day(axis) else ""
    raise ProfileError(needs + hint, "file")


def _covers(table: _Table, axis: _Axis) -> str:
    return f"{table.said} covers {_clock(float(axis.time_s[0]))} to {_clock(float(axis.time_s[-1]))}"


def _is_a_day(axis: _Axis) -> bool:
    return axis.name == TIME and bool(axis.time_s[0] == 0.0 and axis.time_s[-1] == DAY_S)


def _check_is_a_day(table: _Table, axis: _Axis) -> None:
    if not _is_a_day(axis):
        what = f"{_covers(table, axis)} by {axis.name}; what repeats is a day, with {TIME} from 0 to {DAY_S:.0f}"
        raise ProfileError(what, "repeats")


def _each_day(time_s: FloatArray, values: FloatArray, needs_s: tuple[float, float]) -> tuple[FloatArray, FloatArray]:
    """Return the rows of a day (k,) on each day of a run; where two meet at midnight, the first of the day holds."""
    days = np.arange(needs_s[0] // DAY_S, needs_s[1] // DAY_S + 1)
    each_s = (days[:, None] * DAY_S + time_s[:-1]).ravel()
    return np.append(each_s, (days[-1] + 1) * DAY_S), np.append(np.tile(values[:-1], days.size), values[-1])


def _clock(time_s: float) -> str:
    minutes, seconds = divmod(abs(time_s), 60.0)
    hours, minutes = divmod(int(minutes), 60)
    return f"{'-' if time_s < 0.0 else ''}{hours:02d}:{minutes:02d}:{seconds:02.0f}"
