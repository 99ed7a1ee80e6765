"""Typical years: the files of 8760 hours that EnergyPlus, NREL and PVGIS give away, read by pvlib.

| format | irradiance of a row | air and wind of a row | clock |
|---|---|---|---|
| `epw` (EnergyPlus) | mean of its hour | at the end of its hour | local standard time |
| `tmy3` (NREL/TP-581-43156) | mean of the hour that ends at its time | at its time | local standard time |
| `pvgis-csv`, `pvgis-json` | at its time, plus the file's irradiance time offset | at its time | UTC |

The months come from different years, so the file's years are left out: an instant of the run has the weather of its
month, day and hour, by the file's own clock, which knows no daylight-saving time. 29 February has the weather of the
day before. A mean of an hour holds for its middle; between, values are straight lines.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from derloop.contract import FloatArray
from federates.der.sun import Site

HOURS: Final = 8760
Format = Literal["epw", "tmy3", "pvgis-csv", "pvgis-json"]
ALLOWED: Final[Mapping[str, tuple[float, float]]] = {
    "ghi": (0.0, 1500.0),
    "dni": (0.0, 1500.0),
    "dhi": (0.0, 1500.0),
    "temp_air": (-90.0, 60.0),
    "wind_speed": (0.0, 100.0),
}
"""Columns as pvlib calls them, and what their values may be: EPW writes 9999, 99.9 and 999 for what is missing."""
FARTHEST_H: Final = 4.0
"""Between a clock and the sun: China's one zone spans almost 3, summer time adds 1."""


class TypicalYearError(ValueError):
    """The file cannot be used."""


class _Layout(NamedTuple):
    """How a format's rows are to be read."""

    read: Callable[[Path], tuple[Any, Mapping[str, Any]]]
    first_line: int | None
    """Of the rows, in the file."""
    label_h: int
    """The hour of the year that pvlib writes to the first row."""
    light_h: float
    """When the irradiance of a row holds, after the begin of its hour; `air_h`: air and wind."""
    air_h: float


@dataclass(frozen=True, slots=True)
class TypicalYear:
    """8760 hours, and the site that they are of."""

    site: Site
    columns: Mapping[str, FloatArray]
    utc_offset_h: float
    light_h: float
    air_h: float

    def light(self, name: str, start: datetime, instants_ns: NDArray[np.int64]) -> FloatArray:
        """Return irradiance (k,) at instants (k,) after `start`; `name` is pvlib's."""
        return self._between(name, self._hours(start, instants_ns) - self.light_h)

    def air(self, name: str, start: datetime, instants_ns: NDArray[np.int64]) -> FloatArray:
        """Return air temperature or wind (k,)."""
        return self._between(name, self._hours(start, instants_ns) - self.air_h)

    def middles_ns(self, start: datetime) -> NDArray[np.int64]:
        """Return when the irradiance of each row holds in the year 2025, after `start`."""
        first = datetime(2025, 1, 1, tzinfo=UTC) - timedelta(hours=self.utc_offset_h) - start.astimezone(UTC)
        hours = np.arange(HOURS) + self.light_h + first.total_seconds() / 3600.0
        middles: NDArray[np.int64] = np.rint(hours * 3600e9).astype(np.int64)
        return middles

    def _hours(self, start: datetime, instants_ns: NDArray[np.int64]) -> FloatArray:
        """Return the hours (k,) since the begin of a year without 29 February, by the file's clock."""
        local = start.astimezone(UTC) + timedelta(hours=self.utc_offset_h)
        since = np.datetime64(local.replace(tzinfo=None), "ns") + instants_ns.astype("timedelta64[ns]")
        years = since.astype("datetime64[Y]")
        day = (since.astype("datetime64[D]") - years.astype("datetime64[D]")).astype(np.int64)
        number = years.astype(np.int64) + 1970
        leap = (number % 4 == 0) & ((number % 100 != 0) | (number % 400 == 0))
        day -= leap & (day >= 59)  # 29 February is day 59 of a leap year: that of the day before
        hours: FloatArray = 24.0 * day + (since - since.astype("datetime64[D]")).astype(np.int64) / 3600e9
        return hours

    def _between(self, name: str, position: FloatArray) -> FloatArray:
        before = np.floor(position).astype(np.int64)
        way = position - before
        values = self.columns[name]
        between: FloatArray = values[before % HOURS] * (1.0 - way) + values[(before + 1) % HOURS] * way
        return between


def read_typical_year(path: Path, file_format: Format) -> TypicalYear:
    """Return the year that a file holds. Raises TypicalYearError."""
    layout = _layouts()[file_format]
    try:
        table, meta = layout.read(path)
        site, utc_offset_h, late_h = _header(meta)
        _check_hours(table, layout)
        columns = {name: table[name].to_numpy(dtype=np.float64) for name in ALLOWED}
    except (TypicalYearError, OSError):
        raise
    except ValidationError as error:
        raise TypicalYearError(f"its header is not that of {file_format}: {error.errors()[0]['msg']}") from error
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, ArithmeticError) as error:
        raise TypicalYearError(f"it is no file of the format {file_format}: {error!r}") from error
    for name, values in columns.items():
        _check_values(name, values, layout)
    return TypicalYear(site, columns, utc_offset_h, layout.light_h + late_h, layout.air_h)


def _layouts() -> dict[str, _Layout]:
    from pvlib import iotools

    def text(read: Callable[[Any], Any]) -> Callable[[Path], Any]:
        def opened(path: Path) -> Any:
            with path.open(encoding="latin-1") as file:
                return read(file)

        return opened

    return {
        "epw": _Layout(text(iotools.read_epw), 9, 0, 0.5, 1.0),
        "tmy3": _Layout(text(iotools.read_tmy3), 3, 1, 0.5, 1.0),
        "pvgis-csv": _Layout(lambda path: iotools.read_pvgis_tmy(path, pvgis_format="csv"), None, 0, 0.0, 0.0),
        "pvgis-json": _Layout(lambda path: iotools.read_pvgis_tmy(path, pvgis_format="json"), None, 0, 0.0, 0.0),
    }


def _header(meta: Mapping[str, Any]) -> tuple[Site, float, float]:
    """Return the site, how far the clock is ahead of UTC, h, and the irradiance time offset, h."""
    if "inputs" in meta:
        inputs = meta["inputs"].get("location", meta["inputs"])
        site = Site(
            latitude_deg=inputs["latitude"],
            longitude_deg=inputs["longitude"],
            altitude_m=inputs.get("elevation") or 0.0,
        )
        return site, 0.0, float(inputs.get("irradiance time offset", 0.0))
    site = Site(latitude_deg=meta["latitude"], longitude_deg=meta["longitude"], altitude_m=meta["altitude"])
    _check_zone(site, float(meta["TZ"]))
    return site, float(meta["TZ"]), 0.0


def _check_zone(site: Site, utc_offset_h: float) -> None:
    sun_h = site.longitude_deg / 15.0
    if abs(utc_offset_h - sun_h) > FARTHEST_H:
        says = f"its header says UTC{utc_offset_h:+g} h at {site.longitude_deg:g} degrees east"
        allowed = f"{sun_h - FARTHEST_H:+.1f} to {sun_h + FARTHEST_H:+.1f} h"
        raise TypicalYearError(f"{says}, which is the wrong time zone: there the sun allows {allowed}")


def _check_hours(table: Any, layout: _Layout) -> None:
    if len(table) != HOURS:
        raise TypicalYearError(f"it has {len(table)} hours; allowed are the {HOURS} of a year without 29 February")
    year = np.datetime64("2025-01-01T00", "h") + np.arange(layout.label_h, HOURS + layout.label_h)
    expected = [str(hour)[5:] for hour in year]
    has = table.index.strftime("%m-%dT%H")
    wrong = np.flatnonzero(np.asarray(has) != np.asarray(expected))
    if wrong.size:
        row = int(wrong[0])
        raise TypicalYearError(f"{_line(row, layout)}: the hour {has[row]} stands where {expected[row]} is due")


def _check_values(name: str, values: FloatArray, layout: _Layout) -> None:
    least, most = ALLOWED[name]
    wrong = np.flatnonzero(~((values >= least) & (values <= most)))
    if wrong.size:
        row = int(wrong[0])
        raise TypicalYearError(f"{_line(row, layout)}: {name} is {values[row]:g}; allowed is {least:g} to {most:g}")


def _line(row: int, layout: _Layout) -> str:
    return f"hour {row + 1} of the year" if layout.first_line is None else f"line {row + layout.first_line}"
