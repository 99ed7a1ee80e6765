"""The bulk system's frequency."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fleets import S, context, places
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from pydantic import ValidationError

from derloop.kind import PlaceError
from federates.der.battery.settings import BatterySettings
from federates.der.grid_forming import GridForming, GridFormingSettings
from federates.der.inverter import Inverters, Smart
from federates.grid.engine import SolverError
from federates.grid.frequency import Frequency, FrequencySettings, System, SystemModel

MODEL: dict[str, Any] = {"base_mw": 1000.0, "inertia_s": 5.0, "damping_pu": 1.0, "droop_pu": 0.05, "reserve_pu": 1.0}
LOSS = [{"at_s": 10.0, "lost_mw": 100.0}]


def made(**model: Any) -> FrequencySettings:
    return FrequencySettings.model_validate({"model": {**MODEL, **model}})


def system(step_s: float = 1.0, **model: Any) -> Frequency:
    return Frequency(made(**model), context(round(step_s * S)))


def course(one: Frequency, seconds: float, step_s: float = 1.0, port: str = "f_hz", **kw: float) -> np.ndarray:
    """Return an output at each step; ports `draws` have a constant value."""
    inputs = {name: np.array([kw.get(name.partition(".")[0], 0.0)]) for name in one.interface.inputs}
    times = range(round(seconds / step_s) + 1)
    return np.array([one.step(round(k * step_s * S), inputs)[port][0] for k in times])


def test_system_rests_at_its_nominal_frequency() -> None:
    assert (course(system(), 20.0) == 60.0).all()


def test_loss_makes_the_frequency_fall_at_the_rate_that_inertia_allows() -> None:
    one = system(step_s=0.01, losses=LOSS)
    f_hz = course(one, 10.1, 0.01)
    assert f_hz[1000] == 60.0
    assert (f_hz[1001] - f_hz[1000]) / 0.01 == pytest.approx(-0.6, rel=1e-3)  # 0.1 pu * 60 Hz / (2 * 5 s)
    rocof = course(system(losses=LOSS), 10.0, port="rocof_hz_per_s")
    assert rocof[-1] == pytest.approx(-0.6)


def test_droop_and_damping_hold_the_frequency() -> None:
    f_hz = course(system(losses=LOSS), 120.0)
    assert f_hz[-1] == pytest.approx(59.714286, abs=1e-6)  # 60 (1 - 0.1 / (1 / 0.05 + 1)): Kundur, eq. 11.7
    assert f_hz.min() < 59.65


def test_generation_control_brings_the_frequency_back() -> None:
    one = system(losses=LOSS, agc_per_s=0.05)
    f_hz = course(one, 400.0)
    assert f_hz[-1] == pytest.approx(60.0, abs=1e-4)
    assert f_hz.min() < 59.7


def test_governors_rest_within_their_dead_band() -> None:
    f_hz = course(system(losses=[{"at_s": 0.0, "lost_mw": 0.5}], deadband_hz=0.036), 300.0)
    assert f_hz[-1] == pytest.approx(60.0 - 0.0005 * 60.0, abs=1e-6)  # damping alone


def test_reserve_limits_what_governors_give() -> None:
    one = system(losses=LOSS, reserve_pu=0.04)
    assert course(one, 300.0)[-1] == pytest.approx(60.0 * (1.0 - 0.06), abs=1e-6)  # 0.1 - 0.04 left to damping of 1
    assert course(system(losses=LOSS, reserve_pu=0.04), 300.0, port="governed_mw")[-1] == pytest.approx(40.0, abs=1e-6)


@pytest.mark.parametrize(("lost_mw", "said"), [(500.0, "47.45 Hz, with 500 MW"), (-500.0, "72.55 Hz, with -500 MW")])
def test_a_frequency_that_no_system_survives_ends_the_run(lost_mw: float, said: str) -> None:
    # 0.4 pu are not made up for: 3 Hz/s, and so 12 Hz in 4 s, and 0.55 Hz until governors gave their 0.1 pu
    one = system(damping_pu=0.0, reserve_pu=0.1, inertia_s=4.0, losses=[{"at_s": 0.0, "lost_mw": lost_mw}])
    with pytest.raises(SolverError, match=f"frequency collapse: {said} that are lost and drawn; .* from 48 to 72 Hz"):
        course(one, 30.0)


def test_model_follows_its_linear_equations_at_any_step() -> None:
    """Against the solution by eigenvectors, which knows neither steps nor Runge and Kutta."""
    h, d, r, tg, tt, k = 5.0, 1.0, 0.05, 0.2, 0.5, 0.03
    a = np.array(
        [[-d, 1, 0, 0], [0, -1 / tt, 1 / tt, 0], [-1 / r / tg, 0, -1 / tg, 1 / tg], [-k * (1 / r + d), 0, 0, 0]]
    )
    a[0] /= 2 * h
    b = np.array([-0.1 / (2 * h), 0.0, 0.0, 0.0])
    rates, modes = np.linalg.eig(a)
    end = -np.linalg.solve(a, b)
    for step_s in (0.5, 1.0, 10.0):
        f_hz = course(system(step_s, losses=LOSS, agc_per_s=k), 60.0, step_s)
        for k_step, found in enumerate(f_hz):
            t = max(k_step * step_s - 10.0, 0.0)
            exact = end + (modes @ (np.exp(rates * t) * np.linalg.solve(modes, -end.astype(complex)))).real
            assert found == pytest.approx(60.0 * (1.0 + exact[0]), abs=2e-5)


def test_event_between_two_steps_counts_from_its_time() -> None:
    fine, coarse = (course(system(s, losses=[{"at_s": 3.7, "lost_mw": 80.0}]), 8.0, s) for s in (0.1, 2.0))
    assert_allclose(coarse, fine[::20], atol=1e-5)


def test_devices_bear_on_the_frequency() -> None:
    one = system(draws=["grid.head_kw"], injects=["storage.p_kw"], stands_for=10.0)
    idle = {"grid.head_kw": np.array([3000.0]), "storage.p_kw": np.array([500.0])}
    busy = {"grid.head_kw": np.array([1000.0]), "storage.p_kw": np.array([500.0])}
    for k in range(5):
        assert one.step(k * S, idle)["f_hz"][0] == 60.0
    for k in range(5, 120):
        f_hz = one.step(k * S, busy)["f_hz"][0]
    assert f_hz == pytest.approx(60.0 * (1.0 + 0.02 / 21.0), abs=1e-6)  # 2 MW * 10 less are drawn


def test_what_is_there_at_the_first_instant_is_the_steady_state() -> None:
    one = system(draws=["grid.head_kw"])
    one.step(0, {"grid.head_kw": np.array([0.0])})
    assert one.step(S, {"grid.head_kw": np.array([3000.0])})["f_hz"][0] == 60.0
    assert one.step(2 * S, {"grid.head_kw": np.array([3000.0])})["f_hz"][0] == 60.0
    assert one.step(3 * S, {"grid.head_kw": np.array([8000.0])})["f_hz"][0] < 60.0


@settings(deadline=None)  # another process may hold the processor
@given(
    lost=st.floats(-200.0, 200.0),
    drawn=st.lists(st.floats(-2e5, 2e5), min_size=2, max_size=8),
    agc=st.floats(0.0, 0.2),
    deadband=st.floats(0.0, 0.1),
    reserve=st.floats(0.01, 0.5),
)
def test_energy_is_neither_made_nor_lost(
    lost: float, drawn: list[float], agc: float, deadband: float, reserve: float
) -> None:
    losses = [{"at_s": 1.3, "lost_mw": lost}]
    one = system(losses=losses, agc_per_s=agc, deadband_hz=deadband, reserve_pu=reserve, draws=["grid.head_kw"])
    imbalance_mws = 0.0
    for k, kw in enumerate(drawn):
        out = {port: float(v[0]) for port, v in one.step(k * S, {"grid.head_kw": np.array([kw])}).items()}
        balance = out["supplied_mws"] - out["damped_mws"] - out["imbalance_mws"]
        assert out["kinetic_mws"] == pytest.approx(balance, rel=1e-12, abs=1e-9)
        if k > 0:
            past = (kw - drawn[1]) / 1000.0
            imbalance_mws += past + lost * min(max(k - 1.3, 0.0), 1.0)
        assert out["imbalance_mws"] == pytest.approx(imbalance_mws, rel=1e-9, abs=1e-9)


def test_second_step_for_an_instant_starts_from_the_last_instant() -> None:
    once, twice = (system(draws=["grid.head_kw"], agc_per_s=0.02) for _ in range(2))
    for k in range(30):
        head = {"grid.head_kw": np.array([3000.0 + 500.0 * np.sin(k)])}
        twice.step(k * S, {"grid.head_kw": np.array([9e5])})
        assert twice.step(k * S, head)["f_hz"].tolist() == once.step(k * S, head)["f_hz"].tolist()


def test_trace_is_the_frequency_for_all_fleets_named(tmp_path: Path) -> None:
    (tmp_path / "f.csv").write_text("time_s,f_hz\n0,50\n10,49.8\n86400,49.8\n")
    settings = {"nominal_hz": 50, "trace": {"file": "f.csv", "column": "f_hz"}, "over": ["cars"]}
    one = Frequency(
        FrequencySettings.model_validate(settings), context(S, folder=tmp_path, labels={"cars": ("c0", "c1")})
    )
    out = one.step(5 * S, {})
    assert out["f_hz"].tolist() == pytest.approx([49.9])
    assert out["cars.f_hz"].tolist() == pytest.approx([49.9, 49.9])  # for each of them
    assert (
        one.interface.outputs["cars.f_hz"]
        == Inverters(Smart(frequency_droop={}), np.ones(2)).ports(("c0", "c1"))["f_hz"]
    )
    assert one.start()["f_hz"].tolist() == [50.0]


def test_imbalance_has_what_is_lost_by_then() -> None:
    model = SystemModel.model_validate({**MODEL, "losses": [*LOSS, {"at_s": 20.0, "lost_mw": -30.0}]})
    one = System(model, 60.0)
    assert [one.imbalance_pu(t, 5.0) for t in (9.9, 10.0, 20.0)] == pytest.approx([0.005, 0.105, 0.075])


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({}, "needs one of trace and model"),
        ({"trace": 60.0, "model": MODEL}, "needs one of trace and model"),
        ({"model": {**MODEL, "base_mw": 0}}, "base_mw"),
        ({"model": {**MODEL, "inertia_s": 0}}, "inertia_s"),
        ({"model": {**MODEL, "droop_pu": 0}}, "droop_pu"),
        ({"trace": 60.0, "nominal_hz": 55}, "nominal_hz"),
    ],
)
def test_impossible_settings_are_refused(wrong: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        FrequencySettings.model_validate(wrong)


def test_what_does_not_fit_is_refused_where_it_stands() -> None:
    with pytest.raises(PlaceError, match="did you mean 'cars'") as error:
        Frequency(FrequencySettings.model_validate({"trace": 60.0, "over": ["car"]}), context(labels={"cars": ("c",)}))
    assert error.value.problems[0][0] == ("over", 0)
    with pytest.raises(PlaceError, match="40 is not allowed: 48 to 72 Hz"):
        Frequency(FrequencySettings.model_validate({"trace": 40.0}), context())
    with pytest.raises(PlaceError, match="named twice"):
        system(draws=["grid.head_kw"], injects=["grid.head_kw"])


@pytest.mark.parametrize(
    "own",
    [{"smart": {"frequency_trip": {}, "f_nominal_hz": 50}}, {"mode": "regulation", "regulation": {"nominal_hz": 50}}],
)
def test_fleets_of_another_nominal_frequency_are_refused(own: dict[str, Any]) -> None:
    """They would take 60 Hz for 10 Hz too much, and trip at once."""
    fleet = BatterySettings.model_validate({"at": places(1), "rated_kva": 5.0, **own})
    where = context(labels={"cars": ("c",)}, settings={"cars": fleet})
    said = "'cars' takes 50 Hz for nominal, and would see one about 60 Hz"
    with pytest.raises(PlaceError, match=said) as error:
        Frequency(FrequencySettings.model_validate({"trace": 60.0, "over": ["cars"]}), where)
    assert error.value.problems[0][0] == ("over", 0)
    Frequency(FrequencySettings.model_validate({"nominal_hz": 50, "trace": 50.0, "over": ["cars"]}), where)
    forming = {"at": [{"bus": "671", "rated_kva": 100.0}], "over": ["cars"]}
    with pytest.raises(PlaceError, match=said):
        GridForming(GridFormingSettings.model_validate(forming), where)
