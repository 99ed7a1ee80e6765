"""Replay of measured series: columns of CSV files as outputs.

A signal is an output port. Its name is either the port's own, `wind_m_per_s`, and its elements are the columns; or
`<fleet>.<port>`, which is wired by that name to the port of a fleet: one column goes to all of its devices, or there is
a column for each. The value is

    y(t) = offset + scale x(t)

with `x` straight between two rows, or held from one row to the next. A file has the form of a profile; see there.
A series with a gap, a hole or a value that is no number is refused, and one that ends before the run does.
"""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from pydantic import Field, StringConstraints

from derloop.contract import FloatArray, Interface, Port, Values
from derloop.kind import Context, FileName, Kind, PlaceError, Settings
from derloop.memory import remembers
from derloop.texts import Shape
from federates.der import Stepped
from federates.der.course import read_column
from federates.der.profile import REPEATS_SAID, ProfileColumn
from federates.fleets import unknown

ANY_GAP_S = 1e12
"""Longer than any run."""
PortName = Annotated[
    str,
    StringConstraints(max_length=80),
    Shape(r"^[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)?$", "the name of a port, in lower case: p_kw, homes.p_kw"),
]


class ReplaySignal(Settings):
    """One output port."""

    file: FileName = Field(
        min_length=1,
        max_length=1024,
        description="CSV file, relative to the scenario's folder and inside it.",
        examples=["profiles/measured.csv"],
    )
    columns: tuple[Annotated[str, Field(min_length=1, max_length=256)], ...] = Field(
        min_length=1,
        max_length=10_000,
        description="Columns beside time_s, one for each element.",
        examples=[["a", "b"]],
    )
    unit: str = Field(
        min_length=1, max_length=20, description="Unit of the values, as ports have it.", examples=["kW", "K", "1"]
    )
    scale: float = Field(default=1.0, description="Factor on what the file has.", examples=[0.001])
    offset: float = Field(default=0.0, description="Added after scaling.", examples=[-273.15])
    between: Literal["linear", "hold"] = Field(
        default="linear",
        description="Between two rows: a straight line, or the value of the earlier row.",
        examples=["hold"],
    )
    longest_gap_s: float | None = Field(
        default=None,
        gt=0.0,
        description="Rows further apart than this, s, are refused. Without it, three times their median distance; "
        "any, where values are held.",
        examples=[900.0],
    )
    repeats: Literal["daily"] | None = Field(default=None, description=REPEATS_SAID, examples=["daily"])


class ReplaySettings(Stepped):
    """Measured series as outputs."""

    signals: dict[PortName, ReplaySignal] = Field(
        min_length=1,
        max_length=1000,
        description="Outputs by name: `<port>`, or `<fleet>.<port>` for the devices of a fleet.",
        examples=[
            {"homes.shift_k": {"file": "profiles/dr.csv", "columns": ["shift_k"], "unit": "K", "between": "hold"}}
        ],
    )


class _Series:
    """The values of one signal over time."""

    def __init__(self, name: str, signal: ReplaySignal, context: Context, step_ns: int, count: int) -> None:
        path = ("signals", name)
        gap_s = None if signal.longest_gap_s is None and signal.between == "linear" else ANY_GAP_S  # judged below
        columns = []
        for index, name_there in enumerate(signal.columns):
            column = ProfileColumn(file=signal.file, column=name_there, longest_gap_s=gap_s, repeats=signal.repeats)
            try:
                columns.append(read_column(column, path, context, step_ns))
            except PlaceError as error:
                raise _led(error, index) from error
        self._time_s, self._clock = columns[0].time_s, columns[0].clock
        values = signal.offset + signal.scale * np.column_stack([read.values for read in columns])
        self._values = np.broadcast_to(values, (len(values), count))
        self._holds = signal.between == "hold"
        _check_gaps(self._time_s, signal, path)

    def at(self, now_ns: int) -> FloatArray:
        """Return the values (n,) at a time since the scenario's start."""
        time_s = self._clock.shows_s(now_ns)
        row = int(np.searchsorted(self._time_s, time_s, side="right")) - 1
        value: FloatArray = self._values[row]
        if self._holds or row == len(self._time_s) - 1:
            return value
        way = (time_s - self._time_s[row]) / (self._time_s[row + 1] - self._time_s[row])
        between: FloatArray = value + (self._values[row + 1] - value) * way
        return between


def _led(error: PlaceError, index: int) -> PlaceError:
    """Return the error of a column with the path that leads to it in `columns`."""
    return PlaceError(
        [((*path[:-1], "columns", index) if path[-1] == "column" else path, what) for path, what in error.problems]
    )


def _check_gaps(time_s: FloatArray, signal: ReplaySignal, path: tuple[str, ...]) -> None:
    gaps = np.diff(time_s)
    longest_s = signal.longest_gap_s
    if longest_s is None and signal.between == "linear" and gaps.size:
        longest_s = 3.0 * float(np.median(gaps))
    if longest_s is not None and gaps.size and gaps.max() > longest_s:
        where = int(gaps.argmax())
        what = f"{signal.file!r} has a gap of {gaps[where]:g} s after time_s {time_s[where]:g}"
        what += f"; allowed is {longest_s:g} s, unless this says otherwise"
        raise PlaceError([((*path, "longest_gap_s"), what)])


@remembers()
class Replay:
    """Series as outputs. No state."""

    def __init__(self, settings: ReplaySettings, context: Context) -> None:
        step_ns = settings.step_ns(context)
        labels = {name: _labels(name, signal, context) for name, signal in settings.signals.items()}
        outputs = {name: Port(signal.unit, labels[name]) for name, signal in settings.signals.items()}
        self._interface = Interface(step_ns, {}, outputs)
        self._series = {
            name: _Series(name, signal, context, step_ns, len(labels[name]))
            for name, signal in settings.signals.items()
        }

    @property
    def interface(self) -> Interface:
        return self._interface

    def start(self) -> Values:
        return self.step(0, {})

    def step(self, now_ns: int, inputs: Values) -> Values:  # noqa: ARG002
        return {name: series.at(now_ns) for name, series in self._series.items()}

    def stop(self) -> None:
        pass


def _labels(name: str, signal: ReplaySignal, context: Context) -> tuple[str, ...]:
    """Return what each element of the signal is; raises PlaceError where columns and devices do not fit."""
    fleet, _, port = name.partition(".")
    if not port:
        return signal.columns
    if what := unknown(fleet, context):
        raise PlaceError([(("signals", name), what)])
    devices = context.labels[fleet]
    if len(signal.columns) not in (1, len(devices)):
        what = f"{len(signal.columns)} columns for {len(devices)} devices of {fleet!r}; allowed is 1 or {len(devices)}"
        raise PlaceError([(("signals", name, "columns"), what)])
    return devices


KIND = Kind("replay", "Columns of CSV files as outputs", ReplaySettings, Replay, outputs_at="signals")
