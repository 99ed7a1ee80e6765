"""Grid-forming engines: their lines, their limits, their fuel and heat; and units that a control supervises."""

from typing import Any

import numpy as np
import pytest
from fleets import S, context, stepped
from numpy.testing import assert_allclose
from pydantic import ValidationError

from federates.der.droop import Forming
from federates.der.forming_chp import FormingChp, FormingChpSettings, terminals
from federates.der.grid_forming import GridForming, GridFormingSettings

MINUTE = 60 * S
UNIT = [{"bus": "671", "rated_kva": 200.0}]
CURVE = {"load_pu": [1.0], "electrical_pu": [0.4], "thermal_pu": [0.45]}
PLAIN = {"at": UNIT, "heat_demand_kw": 90.0, "store_kwh": 100.0, "efficiency": CURVE, "supervised": True, "start_s": 60}


def engine(**settings: Any) -> FormingChp:
    return FormingChp(FormingChpSettings.model_validate({**PLAIN, **settings}), context(MINUTE))


def run(of: FormingChp, *steps: dict[str, float]) -> list[dict[str, np.ndarray]]:
    """Step minute by minute, told to run and with voltage unless a step says otherwise."""
    usual = {"run": 1.0, "f_hz": 60.0, "v_set_pu": 1.0}
    return [stepped(of, k * MINUTE, **{**usual, **step}) for k, step in enumerate(steps)]


def test_engine_is_in_service_when_it_has_started() -> None:
    forms = [out["forms"][0] for out in run(engine(), {}, {}, {}, {"run": 0.0}, {}, {})]
    assert forms == [0.0, 1.0, 1.0, 0.0, 0.0, 1.0]


def test_start_takes_fuel_and_money_once() -> None:
    *_, out = run(engine(start_fuel_kwh=5.0, start_cost=3.0), {}, {}, {"run": 0.0}, {}, {})
    assert (out["starts"][0], out["fuel_kwh"][0], out["cost"][0]) == (2.0, 10.0, 6.0)


def test_droop_of_an_engine_is_four_percent() -> None:
    """60 Hz: 2.4 Hz over 200 kW."""
    _, out = run(engine(filter_s=0.0), {}, {})
    assert out["hz_per_kw"][0] == pytest.approx(0.012)


def test_what_was_given_is_fuel_and_heat_of_the_step_that_has_passed() -> None:
    """100 kW at 0.4 and 0.45: 250 kW of fuel, 112.5 kW of heat, of which 22.5 kW are left over for a minute."""
    *_, out = run(engine(store_loss_pu_per_h=0.0, store_initial_pu=0.0), {}, {}, {"p_kw": 100.0})
    assert (out["given_kw"][0], out["fuel_kw"][0], out["heat_kw"][0]) == (100.0, 250.0, 112.5)
    assert out["flue_kw"][0] == pytest.approx(37.5)
    assert out["used_kw"][0] == pytest.approx(90.0)
    assert out["stored_kwh"][0] == pytest.approx(22.5 / 60.0)


def test_engine_takes_no_more_than_a_block_at_once() -> None:
    """0.6 of 200 kW from nothing, and 120 kW more than what it gives; never more than it is rated."""
    out = run(engine(block_load_pu=0.6), {}, {}, {"p_kw": 50.0}, {"p_kw": 150.0})
    assert [o["p_most_kw"][0] for o in out] == pytest.approx([120.0, 120.0, 170.0, 200.0])
    assert [o["p_least_kw"][0] for o in out] == [0.0] * 4


def test_set_point_follows_its_ramp_and_least_load() -> None:
    """0.2 a minute of 200 kW; 10 kW are not asked for in earnest: it gives half of its rating at least."""
    out = run(engine(ramp_pu_per_min=0.2), *[{"p_set_kw": 10.0}] * 5)
    set_kw = [float(((o["f_free_hz"] - 60.0) / 0.012)[0]) for o in out]
    assert set_kw == pytest.approx([40.0, 80.0, 100.0, 100.0, 100.0])


def test_engine_without_black_start_waits_for_voltage() -> None:
    dead, live = {"f_hz": 0.0}, {"f_hz": 60.0}
    assert [o["forms"][0] for o in run(engine(black_start=False), dead, dead, dead, live)] == [0.0, 0.0, 0.0, 1.0]
    assert [o["forms"][0] for o in run(engine(), dead, dead)] == [0.0, 1.0]


def test_each_engine_waits_for_the_voltage_where_it_stands() -> None:
    of = engine(black_start=False, at=UNIT * 2)
    for k in range(3):
        out = stepped(of, k * MINUTE, run=1.0, f_hz=np.array([0.0, 60.0]), v_set_pu=1.0)
    assert out["forms"].tolist() == [0.0, 1.0]


def test_empty_tank_ends_it() -> None:
    """5 kWh of fuel are 1.2 min of 250 kW."""
    out = run(engine(tank_kwh=5.0), {}, {}, {"p_kw": 100.0}, {"p_kw": 100.0})
    assert [o["tank_pu"][0] for o in out] == pytest.approx([1.0, 1.0, 1.0 - 250.0 / 60.0 / 5.0, 0.0])
    assert out[2]["p_most_kw"][0] == pytest.approx((5.0 - 250.0 / 60.0) * 60.0 * 0.4)
    assert out[3]["forms"][0] == 0.0


def test_power_for_heat_is_told() -> None:
    """90 kW are asked for, and 0.9 - 0.5 of 100 kWh within an hour: 130 kW of heat are 130 * 0.4 / 0.45 kW."""
    assert engine().start()["p_heat_kw"][0] == pytest.approx(130.0 * 0.4 / 0.45)


def test_phases_and_set_points_that_contradict_are_refused() -> None:
    with pytest.raises(ValueError, match="a grid-forming unit has three phases; 671 is given 1"):
        terminals(FormingChpSettings.model_validate({**PLAIN, "at": [{"bus": "671.1", "rated_kva": 1.0}]}), context())
    with pytest.raises(ValidationError, match="p_set_pu and supervised both say what P_0 is"):
        FormingChpSettings.model_validate({**PLAIN, "p_set_pu": 0.2})


# --- inverters that are supervised -------------------------------------------------------------------


def test_unit_that_has_tripped_is_cleared_by_rest_and_comes_back() -> None:
    settings = GridFormingSettings.model_validate({"at": UNIT, "energy_kwh": 100.0, "supervised": True})
    of, out = GridForming(settings, context(MINUTE)), []
    for k, (run_, fault) in enumerate([(1, 0), (1, 1), (1, 0), (0, 0), (1, 0), (1, 0)]):
        out.append(stepped(of, k * MINUTE, run=run_, fault=fault, f_hz=60.0, v_set_pu=1.0))
    assert [o["forms"][0] for o in out] == [1.0, 0.0, 0.0, 0.0, 1.0, 1.0]
    assert [o["trip_cause"][0] for o in out] == [0.0, 1.0, 1.0, 1.0, 0.0, 0.0]


def test_supervised_unit_has_the_voltage_and_power_that_it_is_told() -> None:
    settings = GridFormingSettings.model_validate({"at": UNIT, "energy_kwh": 1e4, "supervised": True, "filter_s": 0})
    out = stepped(GridForming(settings, context(S)), 0, run=1.0, f_hz=60.0, v_set_pu=1.03, p_set_kw=50.0)
    assert out["v_free_pu"][0] == pytest.approx(1.03)
    assert out["f_free_hz"][0] == pytest.approx(60.0 + 0.003 * 50.0)


def test_what_a_unit_takes_follows_its_settings() -> None:
    assert Forming().takes == ()
    assert Forming(commanded=True).takes == ("p_set_kw",)
    assert Forming(supervised=True).takes == ("p_set_kw", "v_set_pu", "run")
    assert_allclose(Forming().p_droop_pu, 0.01)
