"""Our chain from a weather file to AC power beside pvlib's own ModelChain, for every hour of a year.

pvlib gives our sky the sun's position; transposition, reflection, cell temperature, DC and AC power are written
again here as vectors over systems, and compared with its PVSystem (PVWatts, Hay-Davies, physical IAM, SAPM cells).
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from pvlib.iotools import read_epw
from pvlib.location import Location
from pvlib.modelchain import ModelChain
from pvlib.pvsystem import PVSystem

from derloop.contract import FloatArray
from derloop.kind import Context, Terminal
from federates.der.pv import PvFleet, PvSettings
from federates.der.sky import SkySettings, WeatherSky

pytestmark = pytest.mark.filterwarnings("ignore:DatetimeIndex.dayofyear is deprecated")  # pvlib 0.16 with pandas 3.1

SCENARIOS = Path(__file__).parents[2] / "scenarios"
FILE = "weather/valley_synthetic.epw"
HOURS, H = 8760, 3600 * 10**9
START = datetime.fromisoformat("2025-01-01T00:30:00-08:00")
"""In the middle of the first hour: there the file's means hold."""

KVA, DC_KW = 10.0, 15.0
ARRAYS = [(0.0, 180.0), (20.0, 180.0), (35.0, 95.0), (90.0, 200.0), (30.0, 350.0)]
SAPM = {"a": -2.98, "b": -0.0471, "deltaT": 1}


def settings() -> PvSettings:
    at = [{"bus": "1.1", "tilt_deg": tilt, "azimuth_deg": azimuth} for tilt, azimuth in ARRAYS]
    more: dict[str, Any] = {
        "rated_kva": KVA,
        "dc_ac_ratio": DC_KW / KVA,
        "plane": {"tilt_deg": 0},
        "cell": {"model": "sapm"},
    }
    return PvSettings.model_validate({"at": at, **more})


@pytest.fixture(scope="module")
def ours() -> dict[str, FloatArray]:
    """What sky and fleet give in each hour: (hours, systems)."""
    labels = {"pv": tuple(f"pv_{i}" for i in range(len(ARRAYS)))}
    terminals = {"pv": tuple(Terminal(label, "1", (1,), KVA) for label in labels["pv"])}
    of = {"labels": labels, "terminals": terminals}
    sky_settings = SkySettings.model_validate({"over": ["pv"], "weather": {"source": "typical-year", "file": FILE}})
    sky = WeatherSky(sky_settings, Context("sky", SCENARIOS, START, H, HOURS * H, 1, **of))
    fleet = PvFleet(settings(), Context("pv", SCENARIOS, START, H, HOURS * H, 1, **of))
    steps = []
    for hour in range(HOURS):
        light = {name.removeprefix("pv."): value.copy() for name, value in sky.step(hour * H, {}).items()}
        given = fleet.step(hour * H, {"v_pu": np.ones(len(ARRAYS)), **light})
        steps.append({**{name: values.copy() for name, values in given.items()}, **light})
    return {name: np.array([step[name] for step in steps]) for name in steps[0]}


@pytest.fixture(scope="module")
def chains() -> list[ModelChain]:
    """pvlib's chain for each system, run over the file's rows at the middles of their hours.

    Air and wind of a row are those of its end; in the middle is the mean of two.
    """
    table, meta = read_epw(SCENARIOS / FILE)
    middles = pd.date_range(START, periods=HOURS, freq="h").tz_convert("UTC")
    air = {name: (table[name] + np.roll(table[name], 1)).to_numpy() / 2 for name in ("temp_air", "wind_speed")}
    light = {name: table[name].to_numpy() for name in ("ghi", "dni", "dhi")}
    weather = pd.DataFrame({**light, **air}, index=middles)
    site = Location(meta["latitude"], meta["longitude"], altitude=meta["altitude"])
    return [_chain(site, tilt, azimuth).run_model(weather) for tilt, azimuth in ARRAYS]


def _chain(site: Location, tilt: float, azimuth: float) -> ModelChain:
    none = ("shading", "snow", "mismatch", "wiring", "connections", "lid", "nameplate_rating", "age", "availability")
    system = PVSystem(
        surface_tilt=tilt,
        surface_azimuth=azimuth,
        albedo=0.25,
        module_parameters={"pdc0": DC_KW, "gamma_pdc": -0.0035},
        temperature_model_parameters=SAPM,
        inverter_parameters={"pdc0": KVA / 0.96, "eta_inv_nom": 0.96},
        losses_parameters={"soiling": 14.0, **dict.fromkeys(none, 0.0)},
    )
    return ModelChain(
        system,
        site,
        transposition_model="haydavies",
        aoi_model="physical",
        spectral_model="no_loss",
        dc_model="pvwatts",
        ac_model="pvwatts",
        losses_model="pvwatts",
    )


@pytest.fixture(scope="module")
def day(chains: list[ModelChain]) -> np.ndarray:
    """The hours in whose middle the sun is up: below the horizon, pvlib takes a file's beam as it is, we take none."""
    up: np.ndarray = chains[0].results.solar_position["apparent_zenith"].to_numpy() < 90.0
    assert 4300 < up.sum() < 4600
    return up


def test_sun_is_where_pvlibs_chain_has_it(ours: dict[str, FloatArray], chains: list[ModelChain]) -> None:
    theirs = chains[0].results.solar_position
    assert_allclose(ours["sun_zenith_deg"][:, 0], theirs["apparent_zenith"], atol=1e-9)
    assert_allclose(ours["sun_azimuth_deg"][:, 0], theirs["azimuth"], atol=1e-9)


@pytest.mark.parametrize("index", range(len(ARRAYS)))
def test_each_step_of_the_chain_agrees(
    index: int, ours: dict[str, FloatArray], chains: list[ModelChain], day: np.ndarray
) -> None:
    theirs = chains[index].results
    pairs = {
        "poa_wm2": theirs.total_irrad["poa_global"],
        "cell_c": theirs.cell_temperature,
        "p_available_kw": theirs.ac,
    }
    for name, value in pairs.items():
        assert_allclose(ours[name][day, index], value.to_numpy()[day], rtol=1e-6, atol=1e-9, err_msg=name)


def test_nothing_comes_at_night(ours: dict[str, FloatArray]) -> None:
    night = ours["sun_zenith_deg"][:, 0] > 96.0
    assert night.sum() > 3500
    assert not ours["p_available_kw"][night].any()


def test_arrays_clip_at_the_rating(ours: dict[str, FloatArray]) -> None:
    assert ours["p_available_kw"].max() == KVA
    assert (ours["p_available_kw"][:, 1] == KVA).sum() > 100


def test_year_has_the_energy_that_such_systems_have(ours: dict[str, FloatArray]) -> None:
    """Without clipping: 0.86 before the inverter, 0.95 to 0.96 in it, 0.96 to 0.98 at the glass, 0.92 to 0.97 of the
    power at 25 degC: a performance ratio of 0.72 to 0.78. Facing south gives most.
    """
    poa_kwh, ac_kwh = ours["poa_wm2"] / 1000.0, ours["p_available_kw"]
    free = ac_kwh < KVA
    ratios = (ac_kwh * free).sum(axis=0) / (DC_KW * (poa_kwh * free).sum(axis=0))
    assert ((ratios > 0.72) & (ratios < 0.78)).all()
    yields = ac_kwh.sum(axis=0) / DC_KW
    assert yields.argmax() == 1
    assert 1400.0 < yields[1] < 1700.0
