"""Where the sun stands."""

from contextlib import nullcontext
from datetime import UTC, datetime

import numpy as np
import pytest
from numpy.testing import assert_allclose

from federates.der.plane import Planes
from federates.der.sun import MIDDLES, Site, clear_sky, linke_of_months, split, sun_at
from federates.der.sunlight import Sunlight

H = 3600 * 10**9
GOLDEN = Site(latitude_deg=39.742476, longitude_deg=-105.1786, altitude_m=1830.14)
NOW = np.zeros(1, dtype=np.int64)


def test_position_is_that_of_the_worked_example() -> None:
    """I. Reda and A. Andreas, NREL/TP-560-34302, table A5.1: 17 October 2003, 12:30:30, UTC-7.

    The example has 820 mbar; the standard atmosphere has 812 there, which refracts 0.00016 degrees less.
    """
    start = datetime.fromisoformat("2003-10-17T12:30:30-07:00")
    sun = sun_at(GOLDEN, start, NOW, np.array([11.0]))
    assert sun.zenith_deg[0] == pytest.approx(50.11162, abs=3e-4)
    assert sun.azimuth_deg[0] == pytest.approx(194.34024, abs=1e-5)


def test_incidence_is_that_of_the_worked_example() -> None:
    """The same: a plane tilted by 30 degrees and turned by 10 degrees from south to east has the sun at 25.18700."""
    start = datetime.fromisoformat("2003-10-17T12:30:30-07:00")
    sun = sun_at(GOLDEN, start, NOW, np.array([11.0]))
    inputs = {"ghi_wm2": [0.0], "dni_wm2": [1.0], "dhi_wm2": [0.0], "dni_extra_wm2": [1361.0]}
    where = {"sun_zenith_deg": sun.zenith_deg, "sun_azimuth_deg": sun.azimuth_deg}
    seen = Sunlight.of({name: np.array(value) for name, value in {**inputs, **where}.items()})
    beam = Planes(np.array([30.0]), np.array([170.0]), 0.0).light(seen).poa_wm2[0]
    assert np.degrees(np.arccos(beam)) == pytest.approx(25.18700, abs=3e-4)


def test_position_does_not_depend_on_how_the_start_is_written() -> None:
    ways = ["2025-07-15T12:00:00-07:00", "2025-07-15T19:00:00+00:00", "2025-07-16T00:45:00+05:45"]
    found = [sun_at(GOLDEN, datetime.fromisoformat(way), NOW, np.array([20.0])) for way in ways]
    assert len({(float(s.zenith_deg[0]), float(s.azimuth_deg[0]), float(s.extra_wm2[0])) for s in found}) == 1


def test_clear_sky_adds_up_and_is_dark_at_night() -> None:
    start = datetime(2025, 6, 21, tzinfo=UTC)
    instants_ns = np.arange(0, 24 * H, H // 4)
    sun = sun_at(GOLDEN, start, instants_ns, np.full(instants_ns.shape, 20.0))
    ghi, dni, dhi = clear_sky(GOLDEN, start, instants_ns, sun, np.full(12, 3.0))
    up = sun.zenith_deg < 85.0
    assert_allclose(ghi[up], dhi[up] + dni[up] * sun.cos_zenith[up], rtol=1e-9)
    assert 900.0 < dni.max() < 1050.0
    night = sun.zenith_deg > 90.0
    assert night.sum() > 20
    assert not ghi[night].any()
    assert not dni[night].any()


def test_turbidity_is_that_of_the_table_where_none_is_given() -> None:
    """J. Remund et al., "Worldwide Linke turbidity information", ISES 2003: hazy summers, clear winters in Colorado."""
    table = linke_of_months(GOLDEN, None)
    assert table.shape == (12,)
    assert table[[11, 0]].max() < 2.6 < table[[5, 6, 7]].min() < 4.0
    assert linke_of_months(GOLDEN, 3.2).tolist() == [3.2] * 12


def test_turbidity_between_the_months_is_that_of_pvlib() -> None:
    import pandas as pd
    from pvlib.clearsky import lookup_linke_turbidity

    days = pd.date_range("2025-01-01", periods=365, freq="D", tz="UTC")
    with pytest.warns(match="dayofyear") if pd.__version__ >= "3.1" else nullcontext():
        theirs = lookup_linke_turbidity(days, GOLDEN.latitude_deg, GOLDEN.longitude_deg).to_numpy()
    ours = np.interp(np.arange(1, 366), MIDDLES, linke_of_months(GOLDEN, None), period=365.0)
    assert_allclose(ours, theirs, atol=0.01)


def test_global_irradiance_is_split_by_how_clear_it_is() -> None:
    """Erbs: under an overcast sky (kt below 0.22) more than 98 % is diffuse; at kt 0.8 16.5 %."""
    start = datetime(2025, 7, 15, 19, tzinfo=UTC)
    sun = sun_at(GOLDEN, start, NOW, np.array([20.0]))
    above = sun.extra_wm2 * sun.cos_zenith
    dull, bright = (split(kt * above, start, NOW, sun) for kt in (0.1, 0.85))
    assert dull[1][0] / (0.1 * above[0]) == pytest.approx(1 - 0.09 * 0.1)
    assert bright[1][0] / (0.85 * above[0]) == pytest.approx(0.165)
