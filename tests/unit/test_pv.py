"""Solar PV systems."""

from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from pydantic import ValidationError

from derloop.kind import Bus, Context, PlaceError
from federates.der.pv import KIND, PvFleet, PvSettings

S = 10**9
FEEDER = SimpleNamespace(buses={"671": Bus("671", (1, 2, 3), 2.4)}, loads={})
PLAIN = {"losses_pu": 0.0, "temperature_coefficient_per_k": 0.0, "dc_ac_ratio": 1.0, "rated_kva": 10.0}


def fleet(at: Any = 1, **settings: Any) -> PvFleet:
    places = [{"bus": "671.1"}] * at if isinstance(at, int) else at
    start = datetime(2025, 7, 15, tzinfo=UTC)
    context = Context("pv", Path.cwd(), start, 60 * S, 3600 * S, 7, feeder=FEEDER)
    return PvFleet(PvSettings.model_validate({"at": places, **PLAIN, **settings}), context)


def stepped(pv: PvFleet, now_ns: int = 0, v_pu: Any = 1.0, sun: Any = 1000.0, **inputs: Any) -> dict[str, np.ndarray]:
    n = pv.interface.outputs["p_kw"].size
    given_inputs = {"v_pu": v_pu, "irradiance_wm2": sun, **inputs}
    return dict(pv.step(now_ns, {k: np.broadcast_to(np.asarray(v, float), (n,)) for k, v in given_inputs.items()}))


def test_power_at_standard_conditions_is_the_rated_power_of_the_inverter() -> None:
    pv = fleet(dc_ac_ratio=1 / 0.96)
    assert stepped(pv)["p_kw"][0] == pytest.approx(10.0, abs=1e-9)


@pytest.mark.parametrize(
    ("sun", "p_kw"),
    [(0.0, 0.0), (1.0, 0.0), (200.0, 1.896611), (500.0, 4.810123), (1000.0, 9.604006)],
)
def test_inverter_has_the_part_load_efficiency_of_pvwatts(sun: float, p_kw: float) -> None:
    """NREL/TP-6A20-62641, eq. 11; pvlib 0.16.1: pvwatts(pdc=10 G/1000, pdc0=10/0.96, eta_inv_nom=0.96)."""
    assert stepped(fleet(), sun=sun)["p_kw"][0] == pytest.approx(p_kw, abs=1e-6)


def test_losses_and_cell_temperature_lower_the_power() -> None:
    """At 800 W/m2 and 20 degC of air the cell is at NOCT, 45 degC: pvlib 0.16.1, pvwatts_dc and pvwatts."""
    pv = fleet(losses_pu=0.14, temperature_coefficient_per_k=-0.0035, ambient_c=20.0, noct_c=45.0)
    assert stepped(pv, sun=800.0)["p_kw"][0] == pytest.approx(6.158679, abs=1e-6)


def test_inverter_clips_what_a_larger_array_gives() -> None:
    assert stepped(fleet(dc_ac_ratio=1.5), sun=1000.0)["p_kw"][0] == pytest.approx(10.0, abs=1e-12)
    assert stepped(fleet(dc_ac_ratio=1.5), sun=1e6)["p_kw"][0] == pytest.approx(10.0, abs=1e-12)


def test_a_place_may_name_its_own_array() -> None:
    pv = fleet([{"bus": "671.1", "dc_kw": 5.0}, {"bus": "671.2"}])
    p_kw = stepped(pv)["p_kw"]
    assert_allclose(p_kw, [4.810123, 9.604006], atol=1e-6)


def test_volt_var_absorbs_and_reactive_priority_takes_active_power() -> None:
    pv = fleet(dc_ac_ratio=1.5, smart={"volt_var": "category-b"})
    out = stepped(pv, v_pu=1.10)
    assert out["q_kvar"][0] == pytest.approx(-4.4, abs=1e-12)
    assert out["p_kw"][0] == pytest.approx(8.979978, abs=1e-6)  # sqrt(10^2 - 4.4^2)
    assert out["p_available_kw"][0] == pytest.approx(10.0, abs=1e-12)


def test_constant_power_factor_is_kept_when_the_sun_gives_more() -> None:
    out = stepped(fleet(dc_ac_ratio=1.5, smart={"constant_pf": {"pf": 0.95, "reactive": "injected"}}))
    assert out["p_kw"][0] == pytest.approx(9.5)
    assert out["q_kvar"][0] == pytest.approx(3.122499, abs=1e-6)


def test_a_limit_curtails_what_is_available() -> None:
    pv = fleet(3, curtailable=True)
    out = stepped(pv, p_limit_kw=[2.5, 100.0, -1.0])
    assert_allclose(out["p_kw"], [2.5, 9.604006, 0.0], atol=1e-6)
    assert_allclose(out["p_available_kw"], 9.604006, atol=1e-6)


def test_only_a_curtailable_fleet_takes_a_limit() -> None:
    assert set(fleet().interface.inputs) == {"v_pu", "irradiance_wm2"}
    assert fleet(curtailable=True).interface.inputs["p_limit_kw"].unit == "kW"


def test_there_is_no_reactive_power_at_night_unless_asked_for() -> None:
    smart = {"volt_var": "category-b"}
    assert stepped(fleet(smart=smart), v_pu=0.9, sun=0.0)["q_kvar"][0] == 0.0
    always = fleet(smart=smart, q_full_above_p_pu=0.0)
    assert stepped(always, v_pu=0.9, sun=0.0)["q_kvar"][0] == pytest.approx(4.4)


def test_reactive_capability_grows_with_power_up_to_a_fifth_of_the_rating() -> None:
    out = stepped(fleet(smart={"volt_var": "category-b"}), v_pu=0.9, sun=100.0)
    assert out["q_kvar"][0] == pytest.approx(4.4 * out["p_kw"][0] / 2.0, abs=1e-12)


def test_second_step_for_an_instant_starts_from_the_last_instant() -> None:
    smart = {"volt_var": "category-b"}
    once, twice = fleet(smart=smart, step_s=1.0), fleet(smart=smart, step_s=1.0)
    for k in range(5):
        v_pu = 1.0 + 0.02 * k
        stepped(twice, k * S, v_pu=0.9)
        stepped(twice, k * S, v_pu=1.2)
        assert_array_equal(stepped(twice, k * S, v_pu=v_pu)["q_kvar"], stepped(once, k * S, v_pu=v_pu)["q_kvar"])


def test_forty_systems_do_what_each_of_them_does_alone() -> None:
    chance = np.random.default_rng(1)
    places = [{"bus": "671.2", "rated_kva": s, "dc_kw": 1.2 * s} for s in chance.uniform(3, 9, 40)]
    smart = {"volt_var": "category-b"}
    together, alone = fleet(places, smart=smart), [fleet([place], smart=smart) for place in places]
    for k in range(4):
        v_pu, sun = chance.uniform(0.9, 1.1, 40), chance.uniform(0, 1200, 40)
        out = stepped(together, k * S, v_pu, sun)
        for i, one in enumerate(alone):
            single = stepped(one, k * S, v_pu[i], sun[i])
            assert {port: value[i] for port, value in out.items()} == {port: v[0] for port, v in single.items()}


@given(st.floats(-100, 1500), st.floats(0.5, 1.5), st.floats(-5, 20), st.sampled_from(["reactive", "active"]))
def test_power_is_within_rating_sun_and_limit(sun: float, v_pu: float, limit: float, priority: str) -> None:
    pv = fleet(curtailable=True, dc_ac_ratio=1.4, smart={"volt_var": "category-b", "priority": priority})
    out = stepped(pv, v_pu=v_pu, sun=sun, p_limit_kw=limit)
    p, q, available = out["p_kw"][0], out["q_kvar"][0], out["p_available_kw"][0]
    assert 0.0 <= p <= min(available, max(limit, 0.0))
    assert np.hypot(p, q) <= 10.0 * (1 + 1e-12)
    assert abs(q) <= 4.4


def test_ports_carry_units_labels_and_arrival() -> None:
    interface = fleet([{"bus": "671.1", "label": "roof"}, {"bus": "671.2"}], step_s=0.5).interface
    assert {name: port.unit for name, port in interface.outputs.items()} == {
        "p_kw": "kW",
        "q_kvar": "kvar",
        "p_available_kw": "kW",
    }
    assert interface.inputs["v_pu"].arrival == "coupled"
    assert interface.inputs["irradiance_wm2"].labels == ("roof", "pv_1")
    assert interface.step_ns == 500_000_000


def test_before_the_first_step_nothing_is_injected() -> None:
    pv = fleet(2)
    assert {port: value.tolist() for port, value in pv.start().items()} == {
        "p_kw": [0.0, 0.0],
        "q_kvar": [0.0, 0.0],
        "p_available_kw": [0.0, 0.0],
    }


def test_kind_is_a_der_that_meets_the_feeder() -> None:
    assert KIND.is_der
    assert KIND.terminals is not None
    with pytest.raises(PlaceError):
        fleet([{"bus": "672"}])


@pytest.mark.parametrize(
    "wrong",
    [{"rated_kva": 0}, {"dc_ac_ratio": [2, 1]}, {"inverter_efficiency_pu": 1.1}, {"rated_kw": 5}, {"losses_pu": 1.0}],
)
def test_impossible_settings_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        fleet(**wrong)


# --- arrays with planes ------------------------------------------------------------------------------

NOON = {"sun_zenith_deg": 30.0, "sun_azimuth_deg": 180.0, "dni_extra_wm2": 1330.0, "air_c": 25.0, "wind_m_per_s": 2.0}


def lit(pv: PvFleet, ghi: float = 850.0, dni: float = 900.0, dhi: float = 70.0, **more: float) -> dict[str, np.ndarray]:
    n = pv.interface.outputs["p_kw"].size
    here = {"v_pu": 1.0, "ghi_wm2": ghi, "dni_wm2": dni, "dhi_wm2": dhi}
    inputs = {name: np.full(n, value) for name, value in here.items()}
    return dict(pv.step(0, inputs | {name: np.array([value]) for name, value in {**NOON, **more}.items()}))


def test_array_that_faces_the_sun_has_the_most_light() -> None:
    places = [{"bus": "671.1", "tilt_deg": tilt} for tilt in (0.0, 15.0, 30.0, 45.0, 90.0)]
    poa = lit(fleet(places, plane={"tilt_deg": 10}))["poa_wm2"]
    assert poa.argmax() == 2
    up = np.cos(np.pi / 6)
    sky = 70.0 * (430.0 / 1330.0 * (1 + up) / 2 + 900.0 / 1330.0 / up)
    assert poa[2] == pytest.approx(900.0 + sky + 850.0 * 0.25 * (1 - up) / 2)


def test_wind_cools_the_cells_and_so_gives_power() -> None:
    pv = fleet(plane={"tilt_deg": 30}, cell={"model": "faiman"}, temperature_coefficient_per_k=-0.0035)
    still = {name: values.copy() for name, values in lit(pv, wind_m_per_s=0.0).items()}
    windy = lit(pv, wind_m_per_s=10.0)
    assert still["cell_c"][0] == pytest.approx(25.0 + still["poa_wm2"][0] / 25.0)
    assert windy["cell_c"][0] == pytest.approx(25.0 + still["poa_wm2"][0] / (25.0 + 68.4))
    assert windy["p_kw"][0] > 1.05 * still["p_kw"][0]


def test_cells_are_by_noct_where_no_model_is_named() -> None:
    out = lit(fleet(plane={"tilt_deg": 0}, noct_c=45.0), air_c=10.0)
    assert out["cell_c"][0] == pytest.approx(10.0 + out["poa_wm2"][0] * 25.0 / 800.0)


def test_angles_of_a_fleet_are_drawn_and_those_of_a_place_are_its_own() -> None:
    places = [{"bus": "671.1"}] * 30 + [{"bus": "671.1", "tilt_deg": 30, "azimuth_deg": 180}]
    drawn = lit(fleet(places, plane={"tilt_deg": [0, 60], "azimuth_deg": [90, 270]}))["poa_wm2"]
    alone = lit(fleet(plane={"tilt_deg": 30}))["poa_wm2"]
    assert drawn[-1] == alone[0]
    assert len(set(drawn.tolist())) == 31
    again = lit(fleet(places, plane={"tilt_deg": [0, 60], "azimuth_deg": [90, 270]}))["poa_wm2"]
    assert_array_equal(drawn, again)


def test_fleet_with_planes_sees_sun_sky_and_air() -> None:
    interface = fleet(plane={"tilt_deg": 30}).interface
    assert set(interface.inputs) == {"v_pu", "ghi_wm2", "dni_wm2", "dhi_wm2", *NOON}
    assert {"poa_wm2", "cell_c"} <= set(interface.outputs)
    assert "irradiance_wm2" not in interface.inputs


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"at": [{"bus": "671.1", "tilt_deg": 30}]}, "plane is missing: place 0"),
        ({"cell": {"model": "sapm"}}, "cell needs plane"),
        ({"plane": {"tilt_deg": 30}, "cell": {"model": "sapm", "mounting": "car"}}, "open-rack-glass-glass"),
        ({"plane": {"azimuth_deg": 180}}, "tilt_deg"),
        ({"plane": {"tilt_deg": 30}, "ambient_c": 20}, "ambient_c is only without plane"),
        ({"plane": {"tilt_deg": 30}, "cell": {"model": "faiman"}, "noct_c": 47}, "noct_c is only without cell"),
    ],
)
def test_planes_that_cannot_be_are_refused(wrong: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        PvSettings.model_validate({"at": [{"bus": "671.1"}], "rated_kva": 5, **wrong})
