"""Make the shipped profiles: `python scenarios/profiles/make_profiles.py`.

Needs demandlib and pvlib. Both days are Tuesday 15 July 2025, from midnight to midnight, both ends included,
so that interpolation between the rows covers the whole day. Arizona keeps standard time all year, so that the
clock of the load shapes and that of the sky agree without a shift for summer time.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
from demandlib.bdew import G25, H25
from numpy.typing import NDArray
from pvlib.irradiance import get_extra_radiation, get_total_irradiance
from pvlib.location import Location

FloatArray = NDArray[np.float64]

DAY = "2025-07-15"
DAY_S = 86_400

LATITUDE_DEG = 33.45
LONGITUDE_DEG = -112.07
ALTITUDE_M = 340.0
TIME_ZONE = "Etc/GMT+7"  # POSIX sign: seven hours behind UTC

TILT_DEG = 25.0
AZIMUTH_DEG = 180.0  # from north, clockwise: south
ALBEDO = 0.25

# July's mean daily extremes at Phoenix, 81.0 and 105.9 degF: Arizona State Climate Office
# (azclimate.asu.edu/july-weather)
TEMPERATURE_MIN_C = 27.22
TEMPERATURE_MAX_C = 41.06
WARMEST_S = 16 * 3600

LOAD_SHAPES_ABOUT = f"""\
Load shapes of one summer weekday ({DAY}), each in per unit of its own peak on that day.
Source: BDEW standard load profiles 2025, H25 (households) and G25 (trade and commerce), Germany, from
  demandlib {version("demandlib")}. They are means over many customers: smooth, and without air conditioning.
Licence: MIT, Copyright (c) oemof developer group
Script: scenarios/profiles/make_profiles.py
Units: time_s in s since local midnight;
  residential_pu and commercial_pu in pu of the day's peak, positive when drawn.
Each row holds the mean of the 15 minutes that begin at time_s; the last row begins the next day."""

CLEAR_SKY_ABOUT = f"""\
A clear summer day ({DAY}) at Phoenix, Arizona, USA:
  {LATITUDE_DEG} N, {-LONGITUDE_DEG} W, {ALTITUDE_M:.0f} m, UTC-7.
Source: computed with pvlib {version("pvlib")}: Ineichen-Perez clear sky, Linke turbidity from pvlib's table;
  plane of array tilted {TILT_DEG:.0f} deg to the south, Hay-Davies sky, albedo {ALBEDO}, no reflection loss.
  The temperature is synthetic: a sinusoid from {TEMPERATURE_MIN_C} to {TEMPERATURE_MAX_C} degC, July's mean
  daily extremes there (azclimate.asu.edu/july-weather), warmest at {WARMEST_S // 3600}:00.
Licence: BSD-3-Clause, Copyright (c) pvlib python Contributors, PVLIB python Development Team,
  Sandia National Laboratories
Script: scenarios/profiles/make_profiles.py
Units: time_s in s since local standard midnight;
  ghi_wm2 (global horizontal) and poa_wm2 (plane of array) in W/m2; temperature_c (ambient air) in degC.
Each row holds the values at the instant time_s."""


@dataclass(frozen=True, slots=True)
class Profile:
    """One CSV file: its columns by name, and the printf format, thus the resolution, of each."""

    file: str
    about: str
    columns: Mapping[str, FloatArray]
    formats: tuple[str, ...]

    def write(self, folder: Path) -> None:
        comments = "".join(f"# {line}\n" for line in self.about.splitlines())
        rows = np.column_stack(list(self.columns.values()))
        with (folder / self.file).open("w", encoding="utf-8", newline="\n") as out:
            out.write(comments + ",".join(self.columns) + "\n")
            np.savetxt(out, rows, fmt=list(self.formats), delimiter=",")


def load_shapes() -> Profile:
    """A residential and a commercial weekday, every 15 minutes."""
    times = instants(15)
    columns = {
        "time_s": seconds(times),
        "residential_pu": per_unit_of_peak(H25(times)),
        "commercial_pu": per_unit_of_peak(G25(times)),
    }
    return Profile("load_shapes_summer.csv", LOAD_SHAPES_ABOUT, columns, ("%d", "%.4f", "%.4f"))


def clear_sky() -> Profile:
    """Irradiance and air temperature of a clear day, every 5 minutes."""
    times = instants(5, TIME_ZONE)
    ghi_wm2, poa_wm2 = irradiance(times)
    columns = {
        "time_s": seconds(times),
        "ghi_wm2": ghi_wm2,
        "poa_wm2": poa_wm2,
        "temperature_c": temperature_c(seconds(times)),
    }
    return Profile("clear_sky_july.csv", CLEAR_SKY_ABOUT, columns, ("%d", "%.1f", "%.1f", "%.2f"))


def instants(step_min: int, time_zone: str | None = None) -> pd.DatetimeIndex:
    """From 00:00 to 24:00, both included."""
    return pd.date_range(DAY, periods=24 * 60 // step_min + 1, freq=f"{step_min}min", tz=time_zone)


def seconds(times: pd.DatetimeIndex) -> FloatArray:
    return (times - times[0]).total_seconds().to_numpy()


def per_unit_of_peak(power: pd.Series) -> FloatArray:
    return (power / power.max()).to_numpy()


def irradiance(times: pd.DatetimeIndex) -> tuple[FloatArray, FloatArray]:
    """Global horizontal and plane-of-array irradiance in W/m2."""
    site = Location(LATITUDE_DEG, LONGITUDE_DEG, TIME_ZONE, ALTITUDE_M)
    sun = site.get_solarposition(times)
    sky = site.get_clearsky(times, model="ineichen", solar_position=sun)
    plane = get_total_irradiance(
        TILT_DEG,
        AZIMUTH_DEG,
        sun["apparent_zenith"],
        sun["azimuth"],
        sky["dni"],
        sky["ghi"],
        sky["dhi"],
        dni_extra=get_extra_radiation(times),
        albedo=ALBEDO,
        model="haydavies",
    )
    return sky["ghi"].to_numpy(), plane["poa_global"].to_numpy()


def temperature_c(time_s: FloatArray) -> FloatArray:
    """Air temperature in degC: a sinusoid of one day, warmest at WARMEST_S."""
    mean = (TEMPERATURE_MAX_C + TEMPERATURE_MIN_C) / 2
    amplitude = (TEMPERATURE_MAX_C - TEMPERATURE_MIN_C) / 2
    return mean + amplitude * np.cos(2 * np.pi * (time_s - WARMEST_S) / DAY_S)


def write_profiles(folder: Path) -> None:
    for profile in (load_shapes(), clear_sky()):
        profile.write(folder)


if __name__ == "__main__":
    write_profiles(Path(__file__).parent)
