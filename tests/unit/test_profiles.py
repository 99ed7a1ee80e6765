"""The shipped profiles are sound, and are what their script makes."""

import csv
import importlib.util
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

PROFILES = Path(__file__).parents[2] / "scenarios" / "profiles"
LOAD_SHAPES = "load_shapes_summer.csv"
CLEAR_SKY = "clear_sky_july.csv"

# each column with the last digit that its file holds
COLUMNS = {
    LOAD_SHAPES: {"time_s": 1.0, "residential_pu": 1e-4, "commercial_pu": 1e-4},
    CLEAR_SKY: {"time_s": 1.0, "ghi_wm2": 0.1, "poa_wm2": 0.1, "temperature_c": 0.01},
}
STEP_S = {LOAD_SHAPES: 900, CLEAR_SKY: 300}

# Extraterrestrial normal irradiance on 15 July: 1361 W/m2 (Kopp and Lean 2011) x 0.968 (earth near aphelion,
# 1 + 0.033 cos(2 pi 196 / 365): Duffie and Beckman, eq. 1.4.1a)
EXTRATERRESTRIAL_WM2 = 1317.0
# The sun at noon: latitude 33.45 deg - declination 21.5 deg = zenith 11.9 deg
COS_ZENITH_AT_NOON = 0.978

every_file = pytest.mark.parametrize("file", COLUMNS)


def read(path: Path) -> dict[str, FloatArray]:
    lines = path.read_text(encoding="utf-8").splitlines()
    rows = list(csv.DictReader(line for line in lines if not line.startswith("#")))
    return {name: np.array([float(row[name]) for row in rows]) for name in rows[0]}


@pytest.fixture(scope="module")
def remade(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("demandlib", reason="the load shapes are made with demandlib")
    pytest.importorskip("pvlib", reason="the clear sky is made with pvlib")
    spec = importlib.util.spec_from_file_location("make_profiles", PROFILES / "make_profiles.py")
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    folder = tmp_path_factory.mktemp("profiles")
    script.write_profiles(folder)
    return folder


# what pandas 3.1 deprecates and demandlib 0.2.2 and pvlib 0.16.1 still use
@pytest.mark.filterwarnings("ignore:The inplace keyword:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:DatetimeIndex.dayofyear:DeprecationWarning")
@every_file
def test_the_script_makes_the_shipped_values_to_the_last_digit(file: str, remade: Path) -> None:
    shipped, made = read(PROFILES / file), read(remade / file)
    assert list(shipped) == list(made)
    for name, last_digit in COLUMNS[file].items():
        np.testing.assert_allclose(shipped[name], made[name], rtol=0, atol=1.01 * last_digit, err_msg=name)


@every_file
def test_columns_are_as_documented(file: str) -> None:
    assert list(read(PROFILES / file)) == list(COLUMNS[file])


@every_file
def test_file_begins_with_its_source_licence_script_and_units(file: str) -> None:
    lines = (PROFILES / file).read_text(encoding="utf-8").splitlines()
    comments = lines[: lines.index(",".join(COLUMNS[file]))]
    assert all(line.startswith("# ") for line in comments)
    for word in ("Source:", "Licence:", "Script:", "Units:"):
        assert any(line.startswith(f"# {word} ") for line in comments), word


@every_file
def test_time_runs_evenly_from_midnight_to_midnight(file: str) -> None:
    time_s = read(PROFILES / file)["time_s"]
    np.testing.assert_array_equal(time_s, np.arange(0, 86_400 + 1, STEP_S[file]))


@every_file
def test_values_are_finite_and_not_negative(file: str) -> None:
    for name, values in read(PROFILES / file).items():
        assert np.isfinite(values).all(), name
        assert (values >= 0).all(), name


@pytest.mark.parametrize("column", ["residential_pu", "commercial_pu"])
def test_load_shape_peaks_at_one_and_never_rests(column: str) -> None:
    shape = read(PROFILES / LOAD_SHAPES)[column]
    assert shape.max() == 1.0
    assert shape.min() > 0.1  # refrigeration and standby: a mean of many customers has a base load


def test_homes_peak_in_the_evening_and_commerce_by_day() -> None:
    shapes = read(PROFILES / LOAD_SHAPES)
    peak_h = {name: shapes["time_s"][values.argmax()] / 3600 for name, values in shapes.items()}
    assert 17 <= peak_h["residential_pu"] <= 21
    assert 9 <= peak_h["commercial_pu"] <= 15


def test_clear_sky_lies_under_the_sun_outside_the_atmosphere() -> None:
    sky = read(PROFILES / CLEAR_SKY)
    assert sky["ghi_wm2"].max() < EXTRATERRESTRIAL_WM2 * COS_ZENITH_AT_NOON
    assert sky["poa_wm2"].max() < EXTRATERRESTRIAL_WM2


def test_clear_sky_at_noon_agrees_with_haurwitz() -> None:
    # Haurwitz (1945), as in Reno, Hansen and Stein, SAND2012-2389: 1098 cos z exp(-0.059 / cos z).
    # Here 1011 W/m2. It knows neither turbidity nor altitude: hence 5 %.
    haurwitz_wm2 = 1098 * COS_ZENITH_AT_NOON * np.exp(-0.059 / COS_ZENITH_AT_NOON)
    assert read(PROFILES / CLEAR_SKY)["ghi_wm2"].max() == pytest.approx(haurwitz_wm2, rel=0.05)


@pytest.mark.parametrize("column", ["ghi_wm2", "poa_wm2"])
def test_clear_sky_peaks_at_solar_noon_and_is_dark_at_night(column: str) -> None:
    # Phoenix lies 7.07 deg west of its meridian, 28.3 min; the equation of time in mid-July is -6 min: 12:34
    sky = read(PROFILES / CLEAR_SKY)
    time_s, values = sky["time_s"], sky[column]
    assert time_s[values.argmax()] == pytest.approx((12 * 60 + 34) * 60, abs=STEP_S[CLEAR_SKY])
    assert (values[(time_s < 5 * 3600) | (time_s > 20 * 3600)] == 0).all()


def test_temperature_swings_between_the_mean_extremes_of_july() -> None:
    # 81.0 and 105.9 degF at Phoenix: State Climate Office, azclimate.asu.edu/july-weather
    temperature_c = read(PROFILES / CLEAR_SKY)["temperature_c"]
    assert temperature_c.min() == pytest.approx((81.0 - 32) / 1.8, abs=0.01)
    assert temperature_c.max() == pytest.approx((105.9 - 32) / 1.8, abs=0.01)
