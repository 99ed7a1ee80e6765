"""The order in which smart-inverter functions take precedence, number by number."""

from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose

from federates.der.inverter import Inverters, Seen, Smart

S = 10**9


class Device:
    """One inverter of 10 kVA with 10 kW at hand."""

    def __init__(self, available_kw: float = 10.0, **smart: Any) -> None:
        self.inverters = Inverters(Smart.model_validate(smart), np.array([10.0]))
        self.now_s, self.available = 0.0, np.array([available_kw])

    def at(self, v_pu: float, f_hz: float = 60.0, for_s: float = 0.0, step_s: float = 0.5) -> tuple[float, float]:
        """Hold voltage and frequency; return P and Q in pu at the end."""
        v, f = np.array([v_pu]), np.array([f_hz])
        for _ in range(max(1, round(for_s / step_s))):
            p, q = self.inverters.step(
                round(self.now_s * S), Seen(v, v, v, f), self.available, (np.zeros(1), self.available)
            )
            self.now_s += step_s
        return float(p[0]) / 10.0, float(q[0]) / 10.0


def test_the_priority_sequence_of_ieee_1547_1() -> None:
    """IEEE 1547.1-2020, priority of responses: limit 0.5, volt-watt with P2 = 0.2, droop 0.05 and 0.036 Hz.

    The sequence's powers are rounded to one digit. Exactly: 0.4 - (60.33 - 60.036) / 3 = 0.302,
    0.4 + (59.964 - 59.36) / 3 = 0.60133, 0.5 + (59.964 - 59.36) / 3 = 0.70133.
    """
    device = Device(volt_watt={"p2_pu": 0.2}, frequency_droop={}, active_power_limit={"p_max_pu": 0.5})
    sequence = [
        (1.00, 60.00, 0.5),
        (1.09, 60.00, 0.4),
        (1.09, 60.33, 0.302),
        (1.09, 60.00, 0.4),
        (1.09, 59.36, 0.4),
        (1.00, 59.36, 0.4 + 0.604 / 3),
        (1.00, 60.00, 0.5),
        (1.00, 59.36, 0.5 + 0.604 / 3),
    ]
    for v_pu, f_hz, p_pu in sequence:
        found, _ = device.at(v_pu, f_hz, for_s=120.0)
        assert found == pytest.approx(p_pu, abs=1e-6), (v_pu, f_hz)
        rounded = {0.302: 0.3, 0.4 + 0.604 / 3: 0.6, 0.5 + 0.604 / 3: 0.7}.get(p_pu, p_pu)
        assert round(found, 1) == rounded


def test_volt_watt_caps_droop_which_may_exceed_the_limit() -> None:
    device = Device(volt_watt={}, frequency_droop={}, active_power_limit={"p_max_pu": 0.3})
    assert device.at(1.0, for_s=60)[0] == pytest.approx(0.3)
    assert device.at(1.0, 59.364, for_s=60)[0] == pytest.approx(0.5, abs=1e-6)  # 0.3 + 0.6 / 3
    assert device.at(1.09, 59.364, for_s=120)[0] == pytest.approx(0.25, abs=1e-6)  # 1 - 0.03 / 0.04


def test_droop_never_exceeds_what_is_available_nor_goes_below_the_minimum() -> None:
    device = Device(available_kw=4.0, frequency_droop={}, p_min_pu=0.1)
    device.at(1.0)
    assert device.at(1.0, 58.6, for_s=60)[0] == pytest.approx(0.4)
    assert device.at(1.0, 60.0, for_s=60)[0] == pytest.approx(0.4)
    assert device.at(1.0, 61.9, for_s=60)[0] == pytest.approx(0.1, abs=1e-6)


@pytest.mark.parametrize("least_pu", [0.1, 0.5])
def test_what_gives_less_than_the_least_power_of_droop_is_not_raised_by_too_high_a_frequency(least_pu: float) -> None:
    device = Device(frequency_droop={}, p_min_pu=least_pu, active_power_limit={"p_max_pu": 0.05})
    assert device.at(1.0) == device.at(1.0, 61.9, for_s=60) == (0.05, 0.0)
    battery = Inverters(Smart.model_validate({"frequency_droop": {}, "p_min_pu": least_pu}), np.array([10.0]))
    for second in range(60):
        seen = Seen(v_pu := np.ones(1), v_pu, v_pu, np.array([60.0 if second == 0 else 60.3]))
        p_kw, _ = battery.step(second * S, seen, np.array([-5.0]), (np.array([-10.0]), np.array([10.0])))
        assert p_kw[0] == pytest.approx(-5.0)  # it charges, and goes on


def test_trip_is_above_cessation_and_cessation_above_everything_else() -> None:
    device = Device(voltage_trip={}, ride_through={}, volt_var="category-b", enter_service={})
    device.at(1.0)
    assert device.at(0.6, for_s=1.0)[1] == pytest.approx(0.44 * (1 - 10 ** (-1 / 5)), abs=1e-9)
    assert device.at(0.45, for_s=1.0) == (0.0, 0.0)
    assert device.inverters.in_service.all()
    assert device.at(0.45, for_s=2.0) == (0.0, 0.0)
    assert not device.inverters.in_service.any()  # UV2 of category III: 2 s below 0.50 pu
    assert device.at(1.0, for_s=10.0) == (0.0, 0.0)


def test_permit_service_off_is_above_everything() -> None:
    device = Device(volt_var="category-b", enter_service={"delay_s": 0, "ramp_s": 0})
    assert device.at(0.95)[0] > 0.9
    device.inverters.set_permit_service(False)
    assert device.at(0.95) == (0.0, 0.0)
    device.inverters.set_permit_service(True)
    assert device.at(0.95, for_s=1.0)[0] > 0.9


def test_service_that_is_not_permitted_from_the_start() -> None:
    assert Device(permit_service=False).at(1.0) == (0.0, 0.0)


def test_reactive_priority_within_the_rating_comes_last() -> None:
    p, q = Device(volt_var="category-b").at(0.90)
    assert q == pytest.approx(0.44)
    assert p == pytest.approx(0.897998, abs=1e-6)  # sqrt(1 - 0.44^2)


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ((10.0, 6.0), (8.979978, 4.4)),  # down to the minimum of 0.44, then P gives way
        ((7.0, 8.0), (7.0, 7.141428)),  # sqrt(100 - 49): no further than the circle asks for
        ((5.0, 2.0), (5.0, 2.0)),
    ],
)
def test_active_power_above_the_minimum_of_table_7(wanted: tuple[float, float], expected: tuple[float, float]) -> None:
    smart = {"priority": "active-above-minimum", "constant_q": {"q_pu": wanted[1] / 10}, "q_injected_max_pu": 0.8}
    assert_allclose(np.array(Device(available_kw=wanted[0], **smart).at(1.0)) * 10, expected, atol=1e-6)
