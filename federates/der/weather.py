"""Weather: irradiance from sun and sky, air temperature and wind at one site, over the instants of a run.

- `clear-sky`: no clouds but those that the sky lets pass (see `federates.der.sun`);
- `typical-year`: a file of 8760 hours (see `federates.der.typical_year`), which lies in the scenario's folder;
- `series`: what was measured, in profiles (see `federates.der.profile`). Where only the global irradiance was, Erbs'
  model splits it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Final, Literal, Protocol, Self

import numpy as np
from pydantic import Field, model_validator

from derloop.contract import FloatArray
from derloop.kind import Context, FileName, PlaceError, Settings
from federates.der.course import Allowed, Course, read_course
from federates.der.inside import path_inside
from federates.der.lookahead import Instants
from federates.der.profile import ProfileColumn
from federates.der.sun import Site, Sun, clear_sky, linke_of_months, split, sun_at
from federates.der.typical_year import Format, TypicalYear, TypicalYearError, read_typical_year

AIR: Final = Allowed(-60.0, 60.0, "degC")
WIND: Final = Allowed(0.0, 100.0, "m/s")
LIGHT: Final = Allowed(-20.0, 2000.0, "W/m2")
"""Pyranometers show a little less than nothing at night."""
NIGHT_DEG: Final = 96.0
"""Zenith of the sun at the end of civil twilight."""
LIGHT_AT_NIGHT_WM2: Final = 20.0
LOOKS: Final = 2000
"""Instants of a run at which a series is compared with the sun."""

_AIR_C: Course = 20.0
_WIND: Course = 1.0
_ENDINGS: Final[dict[str, Format]] = {".epw": "epw", ".json": "pvgis-json"}


class ClearSkyWeather(Settings):
    """A sky without clouds."""

    source: Literal["clear-sky"] = Field(description="Which source this is.", examples=["clear-sky"])
    linke_turbidity: float | None = Field(
        default=None,
        ge=1.0,
        le=10.0,
        description="How turbid the air is. Without it, the month's mean of the place in pvlib's table.",
        examples=[3.0],
    )
    air_c: Course = Field(default=_AIR_C, description="Air temperature, degC.", examples=[20.0])
    wind_m_per_s: Course = Field(default=_WIND, description="Wind 10 m above ground, m/s.", examples=[1.0])


class TypicalYearWeather(Settings):
    """A file of a typical year."""

    source: Literal["typical-year"] = Field(description="Which source this is.", examples=["typical-year"])
    file: FileName = Field(
        min_length=1,
        max_length=1024,
        description="File, relative to the scenario's folder and inside it.",
        examples=["weather/valley_synthetic.epw"],
    )
    format: Format | None = Field(
        default=None, description="Without it, `.epw` is epw and `.json` is pvgis-json.", examples=["tmy3"]
    )


class SeriesWeather(Settings):
    """What was measured."""

    source: Literal["series"] = Field(description="Which source this is.", examples=["series"])
    ghi_wm2: ProfileColumn = Field(
        description="Global horizontal irradiance, W/m2.", examples=[{"file": "profiles/june.csv", "column": "ghi_wm2"}]
    )
    dni_wm2: ProfileColumn | None = Field(
        default=None,
        description="Direct normal irradiance, W/m2; with the next, or neither: then both from the global one.",
        examples=[{"file": "profiles/june.csv", "column": "dni_wm2"}],
    )
    dhi_wm2: ProfileColumn | None = Field(
        default=None,
        description="Diffuse horizontal irradiance, W/m2.",
        examples=[{"file": "profiles/june.csv", "column": "dhi_wm2"}],
    )
    air_c: Course = Field(default=_AIR_C, description="Air temperature, degC.", examples=[20.0])
    wind_m_per_s: Course = Field(default=_WIND, description="Wind 10 m above ground, m/s.", examples=[1.0])

    @model_validator(mode="after")
    def _says_both_parts(self) -> Self:
        if (self.dni_wm2 is None) != (self.dhi_wm2 is None):
            has, lacks = ("dni_wm2", "dhi_wm2") if self.dhi_wm2 is None else ("dhi_wm2", "dni_wm2")
            raise ValueError(f"{has} stands without {lacks}, and would not be looked at: give both, or neither")
        return self


WeatherSettings = Annotated[ClearSkyWeather | TypicalYearWeather | SeriesWeather, Field(discriminator="source")]


@dataclass(frozen=True, slots=True)
class Moments:
    """The weather at instants (k,)."""

    ghi_wm2: FloatArray
    dni_wm2: FloatArray
    dhi_wm2: FloatArray
    air_c: FloatArray
    wind_m_per_s: FloatArray
    sun: Sun


class Weather(Protocol):
    """A source of weather."""

    @property
    def site(self) -> Site: ...

    def at(self, instants_ns: Instants) -> Moments:
        """Return the weather at instants (k,) after the scenario's start."""
        ...


def read_weather(settings: WeatherSettings, site: Site | None, context: Context, step_ns: int) -> Weather:
    """Return the weather of the setting `weather`. Raises PlaceError."""
    if isinstance(settings, TypicalYearWeather):
        return _FromTypicalYear(settings, site, context)
    if site is None:
        raise PlaceError([(("site",), f"missing: the source {settings.source!r} does not say where it is")])
    if isinstance(settings, SeriesWeather):
        return _FromSeries(settings, site, context, step_ns)
    return _FromClearSky(settings, site, context, step_ns)


class _Air:
    """Air temperature and wind as courses."""

    def __init__(self, settings: ClearSkyWeather | SeriesWeather, context: Context, step_ns: int) -> None:
        self._air = read_course(settings.air_c, ("weather", "air_c"), AIR, context, step_ns)
        self._wind = read_course(settings.wind_m_per_s, ("weather", "wind_m_per_s"), WIND, context, step_ns)

    def at(self, instants_ns: Instants) -> tuple[FloatArray, FloatArray]:
        return self._air.at_all(instants_ns), self._wind.at_all(instants_ns)


class _FromClearSky:
    def __init__(self, settings: ClearSkyWeather, site: Site, context: Context, step_ns: int) -> None:
        self.site, self._start = site, context.start
        self._linke = linke_of_months(site, settings.linke_turbidity)
        self._air = _Air(settings, context, step_ns)

    def at(self, instants_ns: Instants) -> Moments:
        air_c, wind = self._air.at(instants_ns)
        sun = sun_at(self.site, self._start, instants_ns, air_c)
        ghi, dni, dhi = clear_sky(self.site, self._start, instants_ns, sun, self._linke)
        return Moments(ghi, dni, dhi, air_c, wind, sun)


class _FromSeries:
    def __init__(self, settings: SeriesWeather, site: Site, context: Context, step_ns: int) -> None:
        self.site, self._start = site, context.start
        self._air = _Air(settings, context, step_ns)
        columns = {"ghi_wm2": settings.ghi_wm2, "dni_wm2": settings.dni_wm2, "dhi_wm2": settings.dhi_wm2}
        self._light = {
            name: read_course(column, ("weather", name), LIGHT, context, step_ns)
            for name, column in columns.items()
            if column is not None
        }
        looks = np.linspace(0, context.until_ns - step_ns, LOOKS).astype(np.int64)
        _check_nights(self.at(looks), ("weather", "ghi_wm2", "file"), f"profile {settings.ghi_wm2.file!r}")

    def at(self, instants_ns: Instants) -> Moments:
        air_c, wind = self._air.at(instants_ns)
        sun = sun_at(self.site, self._start, instants_ns, air_c)
        light = {name: np.maximum(course.at_all(instants_ns), 0.0) for name, course in self._light.items()}
        if len(light) == 3:
            return _above_horizon(Moments(**light, air_c=air_c, wind_m_per_s=wind, sun=sun))
        dni, dhi = split(light["ghi_wm2"], self._start, instants_ns, sun)
        return _above_horizon(Moments(light["ghi_wm2"], dni, dhi, air_c, wind, sun))


class _FromTypicalYear:
    def __init__(self, settings: TypicalYearWeather, site: Site | None, context: Context) -> None:
        self._start = context.start
        self._year = _year(settings, context)
        self.site = site or self._year.site
        nights = self.at(self._year.middles_ns(context.start))
        _check_nights(nights, ("weather", "file"), f"weather file {settings.file!r}")

    def at(self, instants_ns: Instants) -> Moments:
        ghi, dni, dhi = (self._year.light(name, self._start, instants_ns) for name in ("ghi", "dni", "dhi"))
        air_c, wind = (self._year.air(name, self._start, instants_ns) for name in ("temp_air", "wind_speed"))
        sun = sun_at(self.site, self._start, instants_ns, air_c)
        return _above_horizon(Moments(ghi, dni, dhi, air_c, wind, sun))


def _year(settings: TypicalYearWeather, context: Context) -> TypicalYear:
    said = f"weather file {settings.file!r}"
    file_format = (
        settings.format or _ENDINGS.get(settings.file[-5:].lower()) or _ENDINGS.get(settings.file[-4:].lower())
    )
    if file_format is None:
        what = f"missing: the name of {said} does not say it; allowed is 'epw', 'tmy3', 'pvgis-csv' or 'pvgis-json'"
        raise PlaceError([(("weather", "format"), what)])
    try:
        return read_typical_year(path_inside(settings.file, context.folder), file_format)
    except TypicalYearError as error:
        raise PlaceError([(("weather", "file"), f"{said}: {error}")]) from error
    except (OSError, ValueError) as error:
        raise PlaceError([(("weather", "file"), f"{said} {error}")]) from error


def _above_horizon(moments: Moments) -> Moments:
    """Return the weather with no beam while the sun is below the horizon."""
    up = moments.sun.cos_zenith > 0.0
    ghi = np.where(up, moments.ghi_wm2, np.minimum(moments.ghi_wm2, moments.dhi_wm2))
    dni = np.where(up, moments.dni_wm2, 0.0)
    return Moments(ghi, dni, moments.dhi_wm2, moments.air_c, moments.wind_m_per_s, moments.sun)


def _check_nights(moments: Moments, path: tuple[str, ...], said: str) -> None:
    """Refuse light while the sun is far below the horizon: the clock of the file is another."""
    wrong = np.flatnonzero((moments.sun.zenith_deg > NIGHT_DEG) & (moments.ghi_wm2 > LIGHT_AT_NIGHT_WM2))
    if wrong.size:
        worst = wrong[np.argmax(moments.sun.zenith_deg[wrong])]
        sun = f"while the sun is {moments.sun.zenith_deg[worst] - 90.0:.0f} degrees below the horizon"
        allowed = f"the time zone or the site is wrong; allowed is {LIGHT_AT_NIGHT_WM2:g} W/m2"
        raise PlaceError([(path, f"{said} has {moments.ghi_wm2[worst]:.0f} W/m2 {sun}: {allowed}")])
