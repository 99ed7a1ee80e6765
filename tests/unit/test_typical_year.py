"""Typical years from files, and weather on the ports of a sky."""

from __future__ import annotations

import importlib.util
import json
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from pydantic import ValidationError

from derloop.kind import Context, PlaceError
from federates.der.sky import SkySettings, WeatherSky, build
from federates.der.typical_year import TypicalYear, read_typical_year

SCENARIOS = Path(__file__).parents[2] / "scenarios"
WEATHER = SCENARIOS / "weather"
FILE = "valley_synthetic.epw"
S, H = 10**9, 3600 * 10**9
YEAR = {"source": "typical-year", "file": FILE}
SITE = {"latitude_deg": 38.5, "longitude_deg": -121.5, "altitude_m": 10}
STANDARD = datetime.fromisoformat("2025-01-01T00:00:00-08:00")


@pytest.fixture(scope="module")
def year() -> TypicalYear:
    return read_typical_year(WEATHER / FILE, "epw")


def ns(*hours: float) -> Any:
    return np.array([round(h * H) for h in hours], dtype=np.int64)


# --- the shipped file --------------------------------------------------------------------------------


def test_shipped_weather_is_what_its_script_makes(tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("make_weather", WEATHER / "make_weather.py")
    assert spec
    assert spec.loader
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    script.write_weather(tmp_path)
    remade = read_typical_year(tmp_path / FILE, "epw")
    shipped = read_typical_year(WEATHER / FILE, "epw")
    for name, values in shipped.columns.items():
        assert_allclose(remade.columns[name], values, atol=1.0)


def test_shipped_weather_is_a_plausible_year(year: TypicalYear) -> None:
    """The Central Valley has about 1800 kWh/m2 global and 2000 to 2200 direct (maps of the NSRDB)."""
    assert year.columns["ghi"].sum() / 1000 == pytest.approx(1800, abs=100)
    assert year.columns["dni"].sum() / 1000 == pytest.approx(2100, abs=150)


# --- instants ----------------------------------------------------------------------------------------


def test_mean_of_an_hour_holds_in_its_middle(year: TypicalYear) -> None:
    noon = 24 * 100 + 12
    ghi = year.columns["ghi"]
    at = year.light("ghi", STANDARD, ns(noon + 0.5, noon + 1.0, noon + 1.5))
    assert_allclose(at, [ghi[noon], (ghi[noon] + ghi[noon + 1]) / 2, ghi[noon + 1]])


def test_air_of_a_row_is_that_at_its_end(year: TypicalYear) -> None:
    air = year.columns["temp_air"]
    assert_allclose(year.air("temp_air", STANDARD, ns(11.0, 10.5)), [air[10], (air[9] + air[10]) / 2])


def test_clock_of_the_file_knows_no_summer_time(year: TypicalYear) -> None:
    """10 March 2025, 12:30 by summer time is 11:30 by the file's clock."""
    summer = datetime.fromisoformat("2025-03-10T12:30:00-07:00")
    day = 31 + 28 + 9
    assert year.light("ghi", summer, ns(0))[0] == year.columns["ghi"][24 * day + 11]


def test_leap_day_has_the_weather_of_the_day_before(year: TypicalYear) -> None:
    leap = datetime.fromisoformat("2024-02-28T12:30:00-08:00")
    at = year.light("ghi", leap, ns(0, 24, 48))
    february, march = 24 * (31 + 27) + 12, 24 * (31 + 28) + 12
    assert at.tolist() == [year.columns["ghi"][h] for h in (february, february, march)]


def test_year_begins_again_where_it_ends(year: TypicalYear) -> None:
    end = datetime.fromisoformat("2025-12-31T23:30:00-08:00")
    air = year.columns["temp_air"]
    assert_allclose(year.air("temp_air", end, ns(0.5, 1.5)), [air[-1], air[0]])


# --- formats -----------------------------------------------------------------------------------------


def rows(year: TypicalYear) -> np.ndarray:
    return np.column_stack([year.columns[name] for name in ("ghi", "dni", "dhi", "temp_air", "wind_speed")])


def as_tmy3(year: TypicalYear) -> str:
    names = "GHI (W/m^2),DNI (W/m^2),DHI (W/m^2),Dry-bulb (C),Wspd (m/s)"
    first = '724839,"VALLEY",CA,-8.0,38.500,-121.500,10'
    days = np.datetime64("1999-01-01") + np.arange(365)
    stamps = [f"{str(d)[5:7]}/{str(d)[8:]}/{str(d)[:4]},{h:02d}:00" for d in days for h in range(1, 25)]
    body = [f"{stamp},{','.join(f'{v:g}' for v in row)}" for stamp, row in zip(stamps, rows(year), strict=True)]
    return "\n".join([first, f"Date (MM/DD/YYYY),Time (HH:MM),{names}", *body]) + "\n"


def as_pvgis(year: TypicalYear) -> list[dict[str, Any]]:
    hours = np.datetime64("2011-01-01T00", "h") + np.arange(8760)
    stamps = [f"{str(h)[:4]}{str(h)[5:7]}{str(h)[8:10]}:{str(h)[11:13]}00" for h in hours]
    names = ("time(UTC)", "G(h)", "Gb(n)", "Gd(h)", "T2m", "WS10m")
    return [
        dict(zip(names, (stamp, *row.tolist()), strict=True)) for stamp, row in zip(stamps, rows(year), strict=True)
    ]


def test_tmy3_gives_the_same_weather(year: TypicalYear, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(as_tmy3(year))
    other = read_typical_year(tmp_path / "t.csv", "tmy3")
    assert (other.site, other.utc_offset_h) == (year.site, -8.0)
    for hours in (0.3, 4000.7):
        for name in ("ghi", "dni", "dhi"):
            assert_array_equal(other.light(name, STANDARD, ns(hours)), year.light(name, STANDARD, ns(hours)))
        assert_array_equal(other.air("wind_speed", STANDARD, ns(hours)), year.air("wind_speed", STANDARD, ns(hours)))


def test_pvgis_gives_instants_of_utc(year: TypicalYear, tmp_path: Path) -> None:
    """Its irradiance is that of a satellite's picture, here 0.2 h after the full hour."""
    hourly = as_pvgis(year)
    location = {"latitude": 38.5, "longitude": -121.5, "elevation": 10.0, "irradiance time offset": 0.2}
    meta = {"inputs": {}, "outputs": {}}
    tree = {"inputs": {"location": location}, "outputs": {"tmy_hourly": hourly, "months_selected": []}, "meta": meta}
    (tmp_path / "p.json").write_text(json.dumps(tree))
    head = "Latitude (decimal degrees): 38.5\nLongitude (decimal degrees): -121.5\nElevation (m): 10.0\n"
    months = "Irradiance Time Offset (h): 0.2\nmonth,year\n" + "".join(f"{m},2011\n" for m in range(1, 13))
    body = "\n".join(",".join(str(v) for v in row.values()) for row in hourly)
    (tmp_path / "p.csv").write_text(f"{head}{months}{','.join(hourly[0])}\n{body}\n")
    utc = datetime.fromisoformat("2025-06-01T00:00:00+00:00")
    for name, form in (("p.json", "pvgis-json"), ("p.csv", "pvgis-csv")):
        found = read_typical_year(tmp_path / name, form)  # type: ignore[arg-type]
        assert found.site.altitude_m == 10.0
        hour = 24 * 151 + 20
        assert_allclose(found.light("ghi", utc, ns(20.2)), year.columns["ghi"][hour])
        assert_allclose(found.air("temp_air", utc, ns(20.0)), year.columns["temp_air"][hour])


# --- a sky with weather ------------------------------------------------------------------------------


def sky(folder: Path = WEATHER, start: datetime = STANDARD, run_h: float = 24, **settings: Any) -> WeatherSky:
    labels = {"pv": ("a", "b", "c")}
    at = Context("sky", folder, start, 60 * S, round(run_h * H), 7, labels=labels)
    made = build(SkySettings.model_validate({"over": ["pv"], "weather": YEAR, **settings}), at)
    assert isinstance(made, WeatherSky)
    return made


def refusal(folder: Path = WEATHER, **settings: Any) -> tuple[str, str]:
    with pytest.raises(PlaceError) as error:
        sky(folder, **settings)
    [(path, what)] = error.value.problems
    return "/".join(map(str, path)), what


def changed(tmp_path: Path, line: int, old: str, new: str) -> Path:
    lines = (WEATHER / FILE).read_text().splitlines()
    assert old in lines[line - 1]
    lines[line - 1] = lines[line - 1].replace(old, new, 1)
    (tmp_path / FILE).write_text("\n".join(lines) + "\n")
    return tmp_path


def test_all_instants_of_a_run_depend_on_time_alone() -> None:
    forth, back = sky(clouds={"cover_pu": "weather"}), sky(clouds={"cover_pu": "weather"})
    times = [12 * H + 60 * S * k for k in (0, 1, 300, 301, 2)]
    seen = {t: {name: value.copy() for name, value in back.step(t, {}).items()} for t in reversed(times)}
    for t in times:
        for name, value in forth.step(t, {}).items():
            assert_array_equal(value, seen[t][name])


def test_clouds_of_a_typical_year_keep_its_beam() -> None:
    """Over the hours of many skies; the straight lines between hours are the same with and without clouds."""
    day = datetime.fromisoformat("2025-03-09T08:00:00-08:00")
    plain = sky(start=day, run_h=8)
    times = [k * 300 * S for k in range(96)]
    beam = np.mean([float(plain.step(t, {})["pv.dni_wm2"][0]) for t in times])
    labels = {"pv": tuple(f"pv_{i}" for i in range(400))}
    settings = {"over": ["pv"], "weather": YEAR, "clouds": {"cover_pu": "weather"}, "extent_m": [50_000, 50_000]}
    wide = WeatherSky(
        SkySettings.model_validate(settings), Context("sky", WEATHER, day, 300 * S, 8 * H, 7, labels=labels)
    )
    found = np.array([wide.step(t, {})["pv.dni_wm2"].copy() for t in times])
    assert found.mean() == pytest.approx(beam, rel=0.03)
    assert found.std() > 50.0


def test_global_light_is_what_beam_and_sky_add_up_to() -> None:
    noon = datetime.fromisoformat("2025-07-05T12:00:00-08:00")
    clear = {"source": "clear-sky", "linke_turbidity": 3}
    out = sky(start=noon, weather=clear, site=SITE, clouds={"cover_pu": 0.5}).step(0, {})
    beam = out["pv.dni_wm2"] * np.cos(np.radians(out["pv.sun_zenith_deg"]))
    assert_allclose(out["pv.ghi_wm2"], out["pv.dhi_wm2"] + beam, rtol=1e-9)


def test_below_the_horizon_there_is_no_beam() -> None:
    out = sky().step(2 * H, {})
    assert out["pv.sun_zenith_deg"][0] > 90.0
    assert not out["pv.dni_wm2"].any()
    assert not out["pv.ghi_wm2"].any()


def test_series_is_split_where_only_the_global_light_was_measured(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("time,g\n2025-07-05T12:00-08:00,900\n2025-07-05T14:00-08:00,700\n")
    column = {"file": "m.csv", "column": "g"}
    noon = datetime.fromisoformat("2025-07-05T12:00:00-08:00")
    series = {"source": "series", "ghi_wm2": column, "air_c": 31}
    out = sky(tmp_path, noon, 1, weather=series, site=SITE).step(0, {})
    assert out["pv.ghi_wm2"][0] == 900.0
    assert 100 < out["pv.dhi_wm2"][0] < 250
    assert out["pv.air_c"].tolist() == [31.0]


@pytest.mark.parametrize(("has", "lacks"), [("dni_wm2", "dhi_wm2"), ("dhi_wm2", "dni_wm2")])
def test_series_with_one_of_beam_and_diffuse_light_is_refused(has: str, lacks: str) -> None:
    column = {"file": "m.csv", "column": "g"}
    with pytest.raises(ValidationError, match=f"{has} stands without {lacks}, and would not be looked at"):
        SkySettings.model_validate({"over": ["pv"], "weather": {"source": "series", "ghi_wm2": column, has: column}})


def test_series_in_the_wrong_time_zone_is_refused(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("time_s,g\n0,0\n28000,0\n43200,500\n58000,0\n86400,0\n")
    series = {"source": "series", "ghi_wm2": {"file": "m.csv", "column": "g"}}
    sky(tmp_path, weather=series, site=SITE)
    path, what = refusal(tmp_path, weather=series, site={**SITE, "longitude_deg": 60})
    assert path == "weather/ghi_wm2/file"
    assert "the time zone or the site is wrong; allowed is 20 W/m2" in what


@pytest.mark.parametrize(
    ("line", "old", "new", "why"),
    [
        (1, "-8.0", "8.0", "its header says UTC+8 h at -121.5 degrees east, which is the wrong time zone"),
        (1, "-8.0", "-12.0", "the time zone or the site is wrong"),
        (1, "38.5", "north", "it is no file of the format epw"),
        (1621, ",6.5,", ",99.9,", "line 1621: temp_air is 99.9; allowed is -90 to 60"),
        (1625, ",228,130,178,", ",228,9999,178,", "line 1625: dni is 9999"),
        (1625, ",228,", ",,", "line 1625: ghi is nan; allowed is 0 to 1500"),
        (1625, "2025,3,9,9,", "2025,3,9,10,", "line 1625: the hour 03-09T09 stands where 03-09T08 is due"),
    ],
)
def test_year_that_is_wrong_is_refused_at_its_line(tmp_path: Path, line: int, old: str, new: str, why: str) -> None:
    text = (WEATHER / FILE).read_text().splitlines()[line - 1]
    if old not in text:  # the numbers of the hour, whatever they are
        fields = text.split(",")
        old = {"6.5": fields[6], "228": fields[13]}[old.strip(",").split(",")[0]]
        old = f",{old}," if new.count(",") == 2 else ",".join(["", *fields[13:16], ""])
    path, what = refusal(changed(tmp_path, line, old, new))
    assert path == "weather/file"
    assert why in what


def test_year_with_missing_hours_is_refused(tmp_path: Path) -> None:
    lines = (WEATHER / FILE).read_text().splitlines()
    (tmp_path / FILE).write_text("\n".join(lines[:3000] + lines[3024:]) + "\n")
    assert "it has 8736 hours; allowed are the 8760" in refusal(tmp_path)[1]


@pytest.mark.parametrize(
    ("settings", "path", "why"),
    [
        ({"weather": {**YEAR, "file": "../x.epw"}}, "weather/file", "outside the scenario's folder"),
        ({"weather": {**YEAR, "file": "none.epw"}}, "weather/file", "is no file in"),
        ({"weather": {**YEAR, "file": "make_weather.py"}}, "weather/format", "allowed is 'epw', 'tmy3'"),
        ({"weather": {**YEAR, "format": "tmy3"}}, "weather/file", "it is no file of the format tmy3"),
        ({"weather": {**YEAR, "format": "pvgis-json"}}, "weather/file", "it is no file of the format pvgis-json"),
        ({"weather": {**YEAR, "format": "pvgis-csv"}}, "weather/file", "it is no file of the format pvgis-csv"),
        ({"weather": {"source": "clear-sky"}}, "site", "does not say where it is"),
        ({"weather": {"source": "clear-sky", "air_c": 80}, "site": SITE}, "weather/air_c", "-60 to 60 degC"),
    ],
)
def test_weather_that_cannot_be_had_is_refused(settings: dict[str, Any], path: str, why: str) -> None:
    found = refusal(**settings)
    assert found[0] == path
    assert why in found[1]


@pytest.mark.parametrize(
    "wrong",
    [
        {"weather": None},
        {"clear_sky": {"file": "a.csv", "column": "b"}},
        {"clouds": {"cover_pu": 0.4}},
        {"weather": {"source": "clear-sky"}, "site": SITE, "clouds": {"cover_pu": "weather"}},
        {"weather": {"source": "clear-sky"}, "site": {**SITE, "latitude_deg": 91}},
    ],
)
def test_settings_that_contradict_each_other_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        SkySettings.model_validate({"over": ["pv"], "weather": YEAR, **wrong})
