"""Make the shipped weather: `python scenarios/weather/make_weather.py`.

`valley_synthetic.epw` has the form of an EnergyPlus weather file and is made up: nobody measured it. It is there so
that scenarios and tests have a year of hours that is free of rights. Needs pvlib.

Place and clock are those of California's Central Valley (38.5 N, 121.5 W, 10 m, UTC-8). Light: the clear sky of
Ineichen and Perez with a Linke turbidity of 3, mean of each hour; days are more or less clouded by a seeded chain,
hours vary around their day; clouds take from the beam, and half of what they take comes as diffuse light. Air: a
yearly and a daily wave. Wind: more in the afternoon.
"""

from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pvlib.irradiance import get_extra_radiation
from pvlib.location import Location

FloatArray = NDArray[np.float64]

FILE = "valley_synthetic.epw"
SITE = Location(38.5, -121.5, "Etc/GMT+8", 10)
SEED = 36
MINUTES = 5
HEADER = """\
LOCATION,Valley (synthetic),CA,USA,derloop,000000,38.5,-121.5,-8.0,10.0
DESIGN CONDITIONS,0
TYPICAL/EXTREME PERIODS,0
GROUND TEMPERATURES,0
HOLIDAYS/DAYLIGHT SAVINGS,No,0,0,0
COMMENTS 1,Synthetic: made by scenarios/weather/make_weather.py of derloop; nobody measured it
COMMENTS 2,Licence: as derloop
DATA PERIODS,1,1,Data,Sunday,1/1,12/31
"""


def light() -> tuple[FloatArray, FloatArray, FloatArray]:
    """Global horizontal, direct normal and diffuse horizontal irradiance, mean of each hour, W/m2."""
    times = pd.date_range("2025-01-01", periods=8760 * 60 // MINUTES, freq=f"{MINUTES}min", tz=SITE.tz)
    sun = SITE.get_solarposition(times + pd.Timedelta(minutes=MINUTES / 2))
    extra = get_extra_radiation(times.day_of_year.to_numpy())
    sky = SITE.get_clearsky(times, solar_position=sun.set_index(times), linke_turbidity=3.0, dni_extra=extra)
    cos_zenith = np.maximum(np.cos(np.radians(sun["apparent_zenith"].to_numpy())), 0.0)
    left = np.repeat(beam_left(), 60 // MINUTES)
    dni = sky["dni"].to_numpy() * left
    dhi = sky["dhi"].to_numpy() + 0.5 * sky["dni"].to_numpy() * (1.0 - left) * cos_zenith
    return hourly(dhi + dni * cos_zenith), hourly(dni), hourly(dhi)


def beam_left() -> FloatArray:
    """Share of the beam (8760,) that the clouds of each hour leave."""
    chance = np.random.default_rng(SEED)
    days = np.empty(365)
    cloud = 0.0
    for day, season in enumerate(np.cos(2 * np.pi * (np.arange(365) - 15) / 365)):
        cloud = 0.6 * cloud + 0.8 * chance.standard_normal()
        days[day] = cloud + 0.8 * season - 0.6
    hours = np.repeat(days, 24) + 0.4 * chance.standard_normal(8760)
    left: FloatArray = 1.0 / (1.0 + np.exp(3.0 * hours))
    return left


def hourly(values: FloatArray) -> FloatArray:
    means: FloatArray = values.reshape(8760, -1).mean(axis=1)
    return means


def air() -> tuple[FloatArray, FloatArray]:
    """Temperature, degC, and wind, m/s, at the end of each hour."""
    hours = np.arange(1, 8761)
    warm = -np.cos(2 * np.pi * (hours / 24 - 20) / 365)
    daily = -np.cos(2 * np.pi * (hours - 4) / 24)
    return 16.5 + 8.0 * warm + (6.0 + 2.0 * warm) * daily, 2.5 + 1.5 * -np.cos(2 * np.pi * (hours - 5) / 24)


def write_weather(folder: Path) -> None:
    ghi, dni, dhi = light()
    temperature, wind = air()
    hours = pd.date_range("2025-01-01", periods=8760, freq="h")
    rows = [
        f"{at:%Y,%-m,%-d},{at.hour + 1},60,?9,{t:.1f},99.9,999,999999,9999,9999,9999,{g:.0f},{b:.0f},{d:.0f},"
        f"999999,999999,999999,9999,999,{w:.1f},99,99,9999,99999,9,999999999,999,.999,999,99,999,999,99"
        for at, t, g, b, d, w in zip(hours, temperature, ghi, dni, dhi, wind, strict=True)
    ]
    (folder / FILE).write_text(HEADER + "\n".join(rows) + "\n", encoding="ascii", newline="\r\n")


if __name__ == "__main__":
    write_weather(Path(__file__).parent)
