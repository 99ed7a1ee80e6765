"""Grid-forming inverters: the lines that they offer, their filters, limits and stores."""

from typing import Any

import numpy as np
import pytest
from fleets import FEEDER, S, context, listed, stepped
from numpy.testing import assert_allclose
from pydantic import ValidationError

from derloop.kind import PlaceError
from federates.der.grid_forming import GridForming, GridFormingSettings, terminals

UNITS = [{"bus": "671", "rated_kva": 200.0}, {"bus": "671", "rated_kva": 100.0}]
PLAIN = {"at": UNITS, "energy_kwh": 100.0, "filter_s": 2.0}


def units(step_ns: int = S, labels: dict[str, tuple[str, ...]] | None = None, **settings: Any) -> GridForming:
    document = GridFormingSettings.model_validate({**PLAIN, **settings})
    return GridForming(document, context(step_ns, labels=labels or {}))


def after(of: GridForming, *given_kw: float, step_ns: int = S, **measured: Any) -> dict[str, np.ndarray]:
    """Step once, and once more after each of these powers has held for a step; return the last lines."""
    out = stepped(of, 0, f_hz=60.0)
    for k, p_kw in enumerate(given_kw, 1):
        out = stepped(of, k * step_ns, f_hz=60.0, p_kw=p_kw, **measured)
    return out


def test_line_at_rest_is_the_droop() -> None:
    """1 % of 60 Hz at 200 and 100 kVA; 5 % of voltage."""
    out = after(units())
    assert_allclose(out["hz_per_kw"], [0.003, 0.006])
    assert_allclose(out["f_free_hz"], 60.0)
    assert_allclose(out["pu_per_kvar"], [0.00025, 0.0005])
    assert_allclose(out["v_free_pu"], 1.0)


def test_set_points_shift_the_lines() -> None:
    out = after(units(p_set_pu=0.5, q_set_pu=-0.2, v_set_pu=1.02))
    assert_allclose(out["f_free_hz"] - out["hz_per_kw"] * [100.0, 50.0], 60.0)
    assert_allclose(out["v_free_pu"] - out["pu_per_kvar"] * [-40.0, -20.0], 1.02)


def test_filter_is_exact_at_any_step() -> None:
    """100 kW from one instant on: the filter has 100 (1 - exp(-t / 2)) after t, in one step or in many."""
    for step_s, count in ((4.0, 1), (1.0, 4), (0.1, 40)):
        of = units(round(step_s * S))
        out = after(of, *[0.0] * 2, step_ns=round(step_s * S))
        for k in range(3, 3 + count):
            f_hz = out["f_free_hz"] - out["hz_per_kw"] * 100.0
            out = stepped(of, round(k * step_s * S), f_hz=60.0, p_kw=100.0)
        assert f_hz[0] == pytest.approx(60.0 - 0.003 * 100.0 * (1.0 - np.exp(-4.0 / 2.0)), abs=1e-9)


def test_what_was_given_and_lost_is_what_is_stored_less() -> None:
    of = units(standby_kw=1.0, soc_initial_pu=0.5)
    stored_kwh = np.full(2, 50.0)
    for k, p_kw in enumerate([0.0, 50.0, -80.0, 20.0, 0.0]):
        out = stepped(of, k * S, f_hz=60.0, p_kw=p_kw)
        stored_kwh = stored_kwh - (out["given_kw"] + out["loss_kw"]) / 3600.0
        assert_allclose(out["stored_kwh"], stored_kwh, atol=1e-12)
        assert_allclose(out["given_kw"], p_kw)
    assert out["loss_kw"].tolist() == [1.0, 1.0]


def test_overload_is_allowed_for_its_time_only() -> None:
    of = units(overload_pu=1.5, overload_s=3.0)
    found = [stepped(of, k * S, f_hz=60.0, p_kw=p)["s_most_kva"][1] for k, p in enumerate([0, 120, 120, 120, 90, 120])]
    assert found == pytest.approx([150.0, 150.0, 150.0, 100.0, 150.0, 150.0])


def test_what_can_be_given_until_the_next_step_follows_the_store() -> None:
    out = after(units(60 * S, soc_initial_pu=0.01), step_ns=60 * S)
    assert_allclose(out["p_most_kw"], 57.0)  # 1 kWh in a minute at 0.95


def test_unit_that_has_tripped_stays_out() -> None:
    of = units()
    out = after(of, 50.0, fault=[0.0, 2.0])
    assert out["forms"].tolist() == [1.0, 0.0]
    assert out["trip_cause"].tolist() == [0.0, 2.0]
    assert stepped(of, 2 * S, f_hz=60.0)["forms"].tolist() == [1.0, 0.0]
    assert of.statistics() == {"tripped": 1.0}


def test_command_is_the_set_point_within_what_the_store_can() -> None:
    out = after(units(60 * S, commanded=True, soc_initial_pu=0.01), step_ns=60 * S)
    assert_allclose(out["f_free_hz"], 60.0)
    of = units(60 * S, commanded=True, soc_initial_pu=0.01)
    out = stepped(of, 0, f_hz=60.0, p_set_kw=90.0)
    assert_allclose(out["f_free_hz"] - out["hz_per_kw"] * 57.0, 60.0)


def test_frequency_goes_to_the_fleets_that_are_named() -> None:
    of = units(labels={"roofs": ("r0", "r1", "r2")}, over=["roofs"])
    out = stepped(of, 0, f_hz=59.7)
    assert out["roofs.f_hz"].tolist() == [59.7, 59.7, 59.7]


def test_second_step_for_an_instant_starts_from_the_last_instant() -> None:
    once, twice = units(), units()
    for k in range(10):
        seen = {"f_hz": 59.9, "p_kw": 30.0 * np.sin(k), "q_kvar": 5.0 * k}
        stepped(twice, k * S, **seen)
        assert listed(stepped(once, k * S, **seen)) == listed(stepped(twice, k * S, **seen))


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"p_droop_pu": 0.0}, "p_droop_pu"),
        ({"at": []}, "at"),
        ({"overload_pu": 0.9}, "overload_pu"),
        ({"soc_initial_pu": 0.02, "soc_min_pu": 0.1}, "soc_initial_pu 0.02 is outside the window, 0.1 to 1"),
        ({"commanded": True, "p_set_pu": 0.5}, "leave one of them out"),
    ],
)
def test_impossible_settings_are_refused(wrong: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        units(**wrong)


def test_what_does_not_fit_is_refused_where_it_stands() -> None:
    with pytest.raises(PlaceError, match="has three phases") as error:
        terminals(GridFormingSettings.model_validate({**PLAIN, "at": [{"bus": "671.1", "rated_kva": 5}]}), context())
    assert error.value.problems[0][0] == ("at", 0, "bus")
    with pytest.raises(PlaceError, match="did you mean 'roofs'"):
        units(labels={"roofs": ("r0",)}, over=["roof"])
    assert FEEDER.buses
