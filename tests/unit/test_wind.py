"""Wind turbines."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fleets import DAY, HOUR, MINUTE, S, context, listed, places, stepped
from numpy.testing import assert_allclose
from pydantic import ValidationError

from derloop.kind import PlaceError
from federates.der.wind import KIND, LogLaw, PowerLaw, Wind, WindFleet, WindSettings, air_density

PLAIN = {"rated_kva": 100.0, "wind": 8.0, "measured_at_m": 80.0, "averaging_s": 0.0}
GUSTS = {"intensity_pu": 0.14, "time_scale_s": 34.0}


def fleet(at: Any = 1, folder: Path | None = None, seed: int = 7, **settings: Any) -> WindFleet:
    there = places(at) if isinstance(at, int) else at
    where = {} if folder is None else {"folder": folder}
    return WindFleet(
        WindSettings.model_validate({"at": there, **PLAIN, **settings}), context(seed=seed, until_ns=HOUR, **where)
    )


def blown(folder: Path, speeds: list[float], **settings: Any) -> list[dict[str, float]]:
    """Return the outputs of one turbine at the minutes at which the wind is `speeds`."""
    rows = "".join(f"{60 * k},{v}\n" for k, v in enumerate([*speeds, *[speeds[-1]] * 60]))
    (folder / "w.csv").write_text(f"time_s,v\n{rows}")
    turbine = fleet(folder=folder, **{"wind": {"file": "w.csv", "column": "v"}, **settings})
    return [{k: float(x[0]) for k, x in stepped(turbine, k * MINUTE).items()} for k in range(len(speeds))]


@pytest.mark.parametrize(
    ("wind", "p_kw"),
    [(2.9, 0.0), (3.4, 0.0), (8.0, 28.512640), (10.0, 57.201646), (12.0, 100.0), (24.9, 100.0), (25.1, 0.0)],
)
def test_power_grows_with_the_cube_between_stop_and_rated_wind(wind: float, p_kw: float) -> None:
    # 100 (v^3 - 3^3) / (12^3 - 3^3); the density of dry air at 15 degC and sea level is 1.22500 kg/m3
    assert stepped(fleet(wind=wind))["p_kw"][0] == pytest.approx(p_kw, abs=2e-3)


def test_power_curve_by_points_is_straight_between_them() -> None:
    curve = {"v_m_per_s": [4.0, 8.0, 12.0], "p_pu": [0.0, 0.3, 1.0]}
    assert stepped(fleet(wind=10.0, curve=curve))["p_kw"][0] == pytest.approx(65.0, abs=1e-2)
    assert stepped(fleet(wind=20.0, curve=curve))["p_kw"][0] == 100.0


def test_log_law_and_power_law_carry_wind_to_the_hub() -> None:
    assert LogLaw(law="log", roughness_m=0.03).factor(80.0, 10.0) == pytest.approx(
        1.357960, abs=1e-6
    )  # ln(2666.7)/ln(333.33)
    assert PowerLaw(law="power", exponent=1 / 7).factor(80.0, 10.0) == pytest.approx(1.345900, abs=1e-6)  # 8^(1/7)
    assert stepped(fleet(measured_at_m=10.0))["wind_m_per_s"][0] == pytest.approx(10.863681, abs=1e-6)


def test_air_density_is_that_of_the_standard_atmosphere() -> None:
    # ISO 2533, table 1: 1.22500 kg/m3 at 0 m and 15 degC, 1.11164 at 1000 m and 8.5 degC, 1.00649 at 2000 m and 2 degC
    assert air_density(0.0, 15.0) == pytest.approx(1.22500, abs=2e-5)
    assert air_density(1000.0, 8.5) == pytest.approx(1.11164, abs=2e-4)
    assert air_density(2000.0, 2.0) == pytest.approx(1.00649, abs=4e-4)


def test_thin_air_gives_less_power_and_the_cubic_scales_with_density() -> None:
    thick, thin = stepped(fleet(stop_m_per_s=0.0)), stepped(fleet(stop_m_per_s=0.0, altitude_m=1000.0, ambient_c=8.5))
    assert thin["p_kw"][0] / thick["p_kw"][0] == pytest.approx(1.11164 / 1.225, abs=3e-4)


def test_turbine_that_stands_waits_for_cut_in_and_one_that_runs_goes_on_to_stop(tmp_path: Path) -> None:
    out = blown(tmp_path, [3.2, 3.6, 3.2, 2.9, 3.2])
    assert [o["running"] for o in out] == [0.0, 1.0, 1.0, 0.0, 0.0]
    assert out[2]["p_kw"] == pytest.approx(100 * (3.2**3 - 27) / (1728 - 27), abs=1e-3)


def test_storm_stops_a_turbine_until_the_wind_is_well_below(tmp_path: Path) -> None:
    out = blown(tmp_path, [20.0, 24.0, 25.5, 24.0, 22.5, 21.9])
    assert [o["p_kw"] for o in out] == [100.0, 100.0, 0.0, 0.0, 0.0, 100.0]


def test_short_gust_does_not_stop_a_turbine_whose_mean_wind_is_low(tmp_path: Path) -> None:
    out = blown(tmp_path, [20.0, 20.0, 30.0, 20.0, 20.0], averaging_s=600.0)
    assert [o["running"] for o in out] == [1.0] * 5


def test_mean_wind_does_not_depend_on_the_step(tmp_path: Path) -> None:
    stops = []
    for step_s in (1, 10, 60):
        (tmp_path / "w.csv").write_text("time_s,v\n0,20\n0.5,20\n1,40\n86400,40\n")
        turbine = fleet(folder=tmp_path, wind={"file": "w.csv", "column": "v"}, averaging_s=600.0)
        steps = range(60, 601, step_s)
        stepped(turbine, 0)
        running = [stepped(turbine, t * S)["running"][0] for t in (30, *steps)]
        stops.append(steps[running.index(0.0) - 1])
    # 20 + 20 (1 - exp(-t / 600)) = 25 at t = 172.6 s; its first 30 s still hold the 20 m/s of before
    assert stops[0] == pytest.approx(203, abs=1)
    assert stops[1] == pytest.approx(203, abs=10)
    assert stops[2] == pytest.approx(203, abs=60)


def test_turbulence_has_the_deviation_of_the_normal_turbulence_model() -> None:
    settings = WindSettings.model_validate({"at": places(40), **PLAIN, "wind": 15.0, "turbulence": GUSTS})
    wind = Wind(settings, context(), tuple(f"t{i}" for i in range(40)))
    v = np.array([wind.at(k * 7 * S) for k in range(4000)])
    assert v.mean() == pytest.approx(15.0, rel=0.01)
    assert v.std() == pytest.approx(2.359, rel=0.05)  # 0.14 (0.75 * 15 + 5.6): IEC 61400-1, eq. 11
    assert np.abs(np.corrcoef(v.T) - np.eye(40)).max() < 0.2


def test_turbulence_has_kaimals_spectrum() -> None:
    settings = WindSettings.model_validate({"at": places(60), **PLAIN, "wind": 15.0, "turbulence": GUSTS})
    wind = Wind(settings, context(), tuple(f"t{i}" for i in range(60)))
    v = np.array([wind.at(k * S) for k in range(4096)]) - 15.0
    spectrum = (np.abs(np.fft.rfft(v, axis=0)) ** 2).mean(axis=1)
    f = np.fft.rfftfreq(4096, 1.0)
    slow = spectrum[(f > 0) & (f < 0.01)].sum() / spectrum[1:].sum()
    assert slow == pytest.approx(1.0 - (1.0 + 6.0 * 34.0 * 0.01) ** (-2.0 / 3.0), abs=0.04)  # the integral to 0.01 Hz


def test_drawn_wind_has_its_mean_and_is_the_same_for_all_turbines() -> None:
    drawn = fleet(3, wind={"mean_m_per_s": 7.0, "period_s": 600})
    v = np.array([stepped(drawn, k * MINUTE)["wind_m_per_s"] for k in range(3000)])
    assert v.mean() == pytest.approx(7.0, rel=0.1)
    assert v.std() == pytest.approx(7.0 * 0.5227, rel=0.15)  # Rayleigh: sqrt(4 / pi - 1) of the mean
    assert (v[:, 0] == v[:, 2]).all()


def test_wind_depends_on_seed_and_time_alone() -> None:
    settings: dict[str, Any] = {"wind": {"mean_m_per_s": 7.0}, "turbulence": GUSTS}
    one, other, third = fleet(2, **settings), fleet(2, **settings), fleet(2, seed=8, **settings)
    backwards = [stepped(other, k * MINUTE)["wind_m_per_s"].tolist() for k in reversed(range(5))][::-1]
    assert [stepped(one, k * MINUTE)["wind_m_per_s"].tolist() for k in range(5)] == backwards
    assert stepped(third)["wind_m_per_s"].tolist() != backwards[0]


def test_power_never_exceeds_what_the_wind_offers_nor_the_rating() -> None:
    turbines = fleet(20, curtailable=True, turbulence=GUSTS, wind={"mean_m_per_s": 10.0, "period_s": 600})
    for k in range(200):
        out = stepped(turbines, k * MINUTE, p_limit_kw=80.0)
        offered = np.where(out["running"] > 0, 100.0 * np.clip((out["wind_m_per_s"] ** 3 - 27) / 1701, 0, 1), 0.0)
        assert_allclose(out["p_available_kw"], offered, rtol=1e-4, atol=1e-3)
        assert (out["p_kw"] <= np.minimum(out["p_available_kw"], 80.0)).all()
        assert (out["p_kw"] >= 0.0).all()


def test_second_step_for_an_instant_starts_from_the_last_instant() -> None:
    settings: dict[str, Any] = {
        "wind": {"mean_m_per_s": 12.0, "period_s": 300},
        "turbulence": GUSTS,
        "smart": {"volt_var": "category-b"},
    }
    once, twice = fleet(5, **settings), fleet(5, **settings)
    for k in range(60):
        stepped(twice, k * MINUTE, v_pu=0.9)
        assert listed(stepped(twice, k * MINUTE, v_pu=1.05)) == listed(stepped(once, k * MINUTE, v_pu=1.05))


def test_forty_turbines_do_what_each_of_them_does_alone() -> None:
    there = [{"bus": "671", "rated_kva": 100.0 + i, "label": f"t{i}"} for i in range(40)]
    settings: dict[str, Any] = {"turbulence": GUSTS, "wind": {"mean_m_per_s": 9.0, "period_s": 600}}
    together, alone = fleet(there, **settings), [fleet([one], **settings) for one in there]
    for k in range(20):
        out = stepped(together, k * MINUTE)
        for i, one in enumerate(alone):
            single = stepped(one, k * MINUTE)
            assert {port: value[i] for port, value in out.items()} == {port: v[0] for port, v in single.items()}


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"rated_kva": 0}, "rated_kva"),
        ({"curve": {"v_m_per_s": [3, 3], "p_pu": [0, 1]}}, "wind speeds of a power curve must rise"),
        ({"curve": {"v_m_per_s": [3, 9, 12], "p_pu": [0, 1, 0.9]}}, "powers of a power curve must not fall"),
        ({"curve": {"v_m_per_s": [3, 9], "p_pu": [0, 0.5, 1]}}, "2 points and p_pu has 3"),
        ({"restart_m_per_s": 26}, "restart_m_per_s 26 is more than cut_out_m_per_s 25; allowed is stop"),
        ({"cut_in_m_per_s": 2}, "stop_m_per_s 3 is more than cut_in_m_per_s 2"),
        ({"measured_at_m": 0.02}, "must be more than roughness_m"),
        ({"height": {"law": "linear"}}, "height"),
        ({"wind": {"mean_m_per_s": 0}}, "mean_m_per_s"),
    ],
)
def test_impossible_settings_are_refused(wrong: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        fleet(**wrong)


def test_wind_that_cannot_be_is_refused_where_it_stands(tmp_path: Path) -> None:
    (tmp_path / "w.csv").write_text("time_s,v\n0,3\n86400,-1\n")
    with pytest.raises(PlaceError, match="-1 is not allowed: 0 to 100 m/s") as error:
        fleet(folder=tmp_path, wind={"file": "w.csv", "column": "v"})
    assert error.value.problems[0][0] == ("wind", "column")
    with pytest.raises(PlaceError, match="120 is not allowed") as error:
        fleet(wind=120.0)
    assert error.value.problems[0][0] == ("wind",)
    with pytest.raises(PlaceError, match="is no file") as error:
        fleet(wind={"file": "none.csv", "column": "v"})
    assert error.value.problems[0][0] == ("wind", "file")


def test_profile_that_ends_before_the_run_is_refused(tmp_path: Path) -> None:
    (tmp_path / "w.csv").write_text("time_s,v\n0,3\n600,4\n")
    with pytest.raises(PlaceError, match="covers 00:00:00 to 00:10:00"):
        fleet(folder=tmp_path, wind={"file": "w.csv", "column": "v"})


def test_kind_is_a_der_that_meets_the_feeder() -> None:
    assert KIND.is_der
    assert KIND.terminals is not None
    assert DAY == 24 * HOUR


def test_turbines_have_all_smart_inverter_functions() -> None:
    # volt-watt from 1.06 (100 %) to 1.10 pu (0 %): half at 1.08; droop over 60.036 Hz, 5 %: 100 (1 - 0.464 / 3) kW
    assert stepped(fleet(wind=15.0, smart={"volt_watt": {}}), v_pu=1.08)["p_kw"][0] == pytest.approx(50.0)
    drooping = fleet(wind=15.0, smart={"frequency_droop": {}})
    stepped(drooping, f_hz=60.0)
    assert stepped(drooping, HOUR // 2, f_hz=60.5)["p_kw"][0] == pytest.approx(84.533333)
