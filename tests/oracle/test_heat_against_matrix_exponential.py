"""Buildings and tanks beside the exact solution of their differential equations by SciPy's matrix exponential.

`expm` of the equations, augmented by a row for the constant sources and one for each integral (C. Van Loan, "Computing
integrals involving the matrix exponential", IEEE Trans. Autom. Control 23, 1978): it has no modes and no steps.
"""

from __future__ import annotations

import numpy as np
import pytest
from fleets import MINUTE, context, places, stepped
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from federates.der.heat_network import HeatNetworks
from federates.der.heat_pump import HeatPumpSettings
from federates.der.heat_pump import fleet as heat_pumps
from federates.der.hot_water import HotWater
from federates.der.water_heater import KWH_PER_L_K, WaterHeaterSettings
from federates.der.water_heater import fleet as water_heaters

linalg = pytest.importorskip("scipy.linalg", reason="SciPy is not installed: pip install scipy")


def exact(a: np.ndarray, b: np.ndarray, x: np.ndarray, h: float) -> tuple[np.ndarray, np.ndarray]:
    """Return x(h) and the mean of x until h, for x' = a x + b."""
    n = x.size
    whole = np.zeros((2 * n + 1, 2 * n + 1))
    whole[:n, :n], whole[:n, n], whole[n + 1 :, :n] = a, b, np.eye(n)
    end = linalg.expm(whole * h) @ np.concatenate([x, [1.0], np.zeros(n)])
    return end[:n], end[n + 1 :] / h


def house(c_air: float, c_mass: float, outward: float, between: float) -> np.ndarray:
    return np.array([[-(outward + between) / c_air, between / c_air], [between / c_mass, -between / c_mass]])


@settings(deadline=None, max_examples=200)
@given(
    c=st.tuples(st.floats(0.05, 20.0), st.floats(0.5, 100.0)),
    g=st.tuples(st.floats(0.02, 2.0), st.floats(0.02, 20.0)),
    t=st.tuples(st.floats(-20.0, 40.0), st.floats(-20.0, 40.0)),
    source=st.floats(-20.0, 40.0),
    h=st.sampled_from([1 / 3600, 1 / 60, 0.25, 1.0, 24.0]),
)
@example(c=(0.0625, 0.5), g=(0.03125, 9.0), t=(0.0, 0.0), source=18.0, h=24.0)
def test_second_order_building_is_solved_exactly(
    c: tuple[float, float], g: tuple[float, float], t: tuple[float, float], source: float, h: float
) -> None:
    networks = HeatNetworks(np.array([c]), np.array([g[0]]), np.array([g[1]]))
    now, mean = networks.after(np.array([t]), np.array([source]), h)
    a = house(*c, *g)
    end, average = exact(a, np.array([source / c[0], 0.0]), np.array(t), h)
    rtol = 1e-11 + 1e-14 * float(np.abs(a).sum()) * h  # of the example, in 50 digits: theirs 1.4e-11 away, ours 2.5e-14
    assert_allclose(now[0], end, rtol=rtol, atol=1e-9)
    assert_allclose(mean[0], average, rtol=rtol, atol=1e-8)  # the mean of a second loses digits, ours and theirs


@pytest.mark.parametrize("duty", ["heating", "cooling"])
def test_fleet_with_thermostats_follows_its_equations(duty: str) -> None:
    outside_c, heats = (0.0, True) if duty == "heating" else (38.0, False)
    made = HeatPumpSettings.model_validate(
        {
            **{"at": places(1), "rated_kva": 3.0, "duty": duty, "outside_c": outside_c, "setpoint_c": 22.0},
            **{"capacity_kwh_per_k": 1.0, "resistance_k_per_kw": 4.0, "gain_kw": 0.4},
            "mass": {"capacity_kwh_per_k": 6.0, "resistance_k_per_kw": 0.5},
        }
    )
    homes = heat_pumps(made, context(MINUTE))
    a = house(1.0, 6.0, 0.25, 2.0)
    x, switched = None, 0.0
    for k in range(480):
        out = {port: float(v[0]) for port, v in stepped(homes, k * MINUTE).items()}
        x = np.full(2, out["inside_c"]) if x is None else x
        assert out["inside_c"] == pytest.approx(x[0], abs=1e-9)
        assert out["stored_kwh"] == pytest.approx(x[0] + 6.0 * x[1], abs=1e-9)
        source_kw = out["heat_kw"] + 0.4 + 0.25 * outside_c
        x, mean = exact(a, np.array([source_kw, 0.0]), x, 1 / 60)
        assert out["loss_kw"] == pytest.approx(0.25 * (mean[0] - outside_c), abs=1e-9)
        switched += out["on"]
    assert 60 < switched < 420
    assert heats == (out["loss_kw"] > 0.0)


def test_tank_of_which_water_is_drawn_follows_its_equation_for_a_day() -> None:
    made = WaterHeaterSettings.model_validate(
        {"at": places(1), "rated_kva": 4.5, "volume_l": 200.0, "loss_kw_per_k": 0.002, "room_c": 20.0, "inlet_c": 12.0}
    )
    tanks, hot_water = water_heaters(made, context(5 * MINUTE)), HotWater(made, context(5 * MINUTE), 1)
    x, capacity, h, used_kwh = None, 200.0 * KWH_PER_L_K, 1 / 12, 0.0
    for k in range(288):
        out = {port: float(v[0]) for port, v in stepped(tanks, k * 5 * MINUTE).items()}
        x = np.array([out["water_c"]]) if x is None else x
        assert out["water_c"] == pytest.approx(x[0], abs=1e-9)
        flow = KWH_PER_L_K * hot_water.litres(k * 5 * MINUTE, (k + 1) * 5 * MINUTE)[0] / h
        source = (out["heat_kw"] + 0.002 * 20.0 + flow * 12.0) / capacity
        x, mean = exact(np.array([[-(0.002 + flow) / capacity]]), np.array([source]), x, h)
        assert out["loss_kw"] == pytest.approx(0.002 * (mean[0] - 20.0), abs=1e-9)
        assert out["used_kw"] == pytest.approx(flow * (mean[0] - 12.0), abs=1e-9)
        used_kwh += out["used_kw"] * h
    assert used_kwh > 3.0
