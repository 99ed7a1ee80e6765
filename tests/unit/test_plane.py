"""Light in tilted planes, and how warm it makes cells; pvlib's functions are the measure."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from pvlib import iam, irradiance, temperature

from federates.der.cell import SAPM, FaimanCell, PvsystCell, SapmCell
from federates.der.plane import Plane, Planes, glass
from federates.der.sunlight import FOR_ALL, Sunlight, light_ports

N = 500
CHANCE = np.random.default_rng(5)
TILT, AZIMUTH = CHANCE.uniform(0, 90, N), CHANCE.uniform(-180, 360, N)
DNI, DHI = CHANCE.uniform(0, 1000, N), CHANCE.uniform(0, 400, N)


def sunlight(zenith: float, azimuth: float, ghi: np.ndarray, dni: np.ndarray, dhi: np.ndarray) -> Sunlight:
    where = {"sun_zenith_deg": [zenith], "sun_azimuth_deg": [azimuth], "dni_extra_wm2": [1370.0]}
    return Sunlight.of({"ghi_wm2": ghi, "dni_wm2": dni, "dhi_wm2": dhi, **{k: np.array(v) for k, v in where.items()}})


@pytest.mark.parametrize(
    ("zenith", "azimuth"), [(5.0, 10.0), (40.0, 120.0), (75.0, 250.0), (89.5, 280.0), (95.0, 300.0)]
)
def test_light_in_the_plane_is_that_of_hay_and_davies(zenith: float, azimuth: float) -> None:
    ghi = DHI + DNI * max(np.cos(np.radians(zenith)), 0.0)
    ours = Planes(TILT, AZIMUTH, 0.25).light(sunlight(zenith, azimuth, ghi, DNI, DHI))
    theirs = irradiance.get_total_irradiance(
        TILT, AZIMUTH, zenith, azimuth, DNI, ghi, DHI, dni_extra=1370.0, albedo=0.25, model="haydavies"
    )
    assert_allclose(ours.poa_wm2, theirs["poa_global"], rtol=1e-11, atol=1e-9)
    aoi = irradiance.aoi(TILT, AZIMUTH, zenith, azimuth)
    through = theirs["poa_direct"] * iam.physical(aoi) + theirs["poa_diffuse"]
    assert_allclose(ours.effective_wm2, through, rtol=1e-9, atol=1e-9)


def test_glass_lets_through_what_fresnel_and_bouguer_say() -> None:
    aoi = np.array([0.0, 30.0, 60.0, 80.0, 89.0, 90.0])
    assert_allclose(glass(np.maximum(np.cos(np.radians(aoi)), 0.0)), iam.physical(aoi), atol=1e-12)
    assert glass(np.array([1.0]))[0] == pytest.approx(1.0, abs=1e-15)


def test_irradiance_below_nothing_is_nothing() -> None:
    zero = np.zeros(1)
    light = Planes(np.array([20.0]), np.array([180.0]), 0.2).light(sunlight(60.0, 180.0, zero - 5, zero - 5, zero - 5))
    assert light.poa_wm2[0] == 0.0


@pytest.mark.parametrize("mounting", SAPM)
def test_sapm_cells_are_as_warm_as_pvlibs(mounting: str) -> None:
    a, b, dt = SAPM[mounting]  # type: ignore[index]
    named = temperature.TEMPERATURE_MODEL_PARAMETERS["sapm"][mounting.replace("-", "_")]
    assert (a, b, dt) == tuple(named.values())
    rise = SapmCell(model="sapm", mounting=mounting).rise_k_m2_per_w(3.0)  # type: ignore[arg-type]
    assert 20.0 + 800.0 * rise == pytest.approx(temperature.sapm_cell(800.0, 20.0, 3.0, a, b, dt), abs=1e-9)


def test_other_cells_are_as_warm_as_pvlibs() -> None:
    faiman, pvsyst = (
        FaimanCell(model="faiman"),
        PvsystCell(model="pvsyst", u_v_w_s_per_m3_k=1.2, module_efficiency_pu=0.2),
    )
    assert 20 + 800 * faiman.rise_k_m2_per_w(3.0) == pytest.approx(temperature.faiman(800.0, 20.0, 3.0), abs=1e-9)
    expected = temperature.pvsyst_cell(800.0, 20.0, 3.0, u_c=29.0, u_v=1.2, module_efficiency=0.2)
    assert 20 + 800 * pvsyst.rise_k_m2_per_w(3.0) == pytest.approx(expected, abs=1e-9)


def test_angles_are_a_number_or_a_range() -> None:
    plane = Plane.model_validate({"tilt_deg": 20, "azimuth_deg": [-90, 90]})
    assert (plane.tilt_deg, plane.azimuth_deg) == ((20.0, 20.0), (-90.0, 90.0))
    assert plane.model_dump(mode="json")["tilt_deg"] == 20.0


@pytest.mark.parametrize("wrong", [{"tilt_deg": 91}, {"tilt_deg": [30, 10]}, {"tilt_deg": 20, "azimuth_deg": 400}, {}])
def test_angles_that_are_none_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"tilt_deg|azimuth_deg"):
        Plane.model_validate(wrong)


def test_ports_of_sun_and_air_have_one_element() -> None:
    ports = light_ports(("a", "b"))
    assert {name: port.size for name, port in ports.items()} == {
        **dict.fromkeys(("ghi_wm2", "dni_wm2", "dhi_wm2"), 2),
        **dict.fromkeys(FOR_ALL, 1),
    }
