"""The numbers of IEEE 1547-2018 by category: defaults, and the range of each, taken at its edges and refused beyond.

Typed from public models and test scripts of the standard (EPRI OpenDER 2.2.0, the SunSpec platform's scripts for
IEEE 1547.1), and not from the code. Frequencies at 60 Hz.
"""

from typing import Any

import pytest
from pydantic import ValidationError

from federates.der.smart.settings import Smart

Number = tuple[float, float, float]
"""Default, and range beside the other defaults."""
TRIP_ALL: dict[str, Number] = {"ov2_pu": (1.20, 1.20, 1.20), "ov2_s": (0.16, 0.16, 0.16)}
STANDARD: dict[tuple[str, str], dict[str, Number]] = {
    ("volt_var", "category-a"): {
        **{
            "v1_pu": (0.90, 0.82, 0.98),
            "v2_pu": (1.0, 1.0, 1.0),
            "v3_pu": (1.0, 1.0, 1.0),
            "v4_pu": (1.10, 1.02, 1.18),
        },
        **{"q1_pu": (0.25, 0.0, 1.0), "q4_pu": (-0.25, -1.0, 0.0), "response_s": (10.0, 1.0, 90.0)},
    },
    ("volt_var", "category-b"): {
        **{"v1_pu": (0.92, 0.82, 0.96), "v2_pu": (0.98, 0.97, 1.0)},
        **{"v3_pu": (1.02, 1.0, 1.03), "v4_pu": (1.08, 1.04, 1.18)},
        **{"q1_pu": (0.44, 0.0, 1.0), "q4_pu": (-0.44, -1.0, 0.0), "response_s": (5.0, 1.0, 90.0)},
    },
    ("constant_q", ""): {"q_pu": (0.0, -1.0, 1.0), "response_s": (0.0, 0.0, 10.0)},
    ("watt_var", "category-a"): {"q3_pu": (-0.25, -1.0, 1.0), "q3_drawn_pu": (0.44, -1.0, 1.0)},
    ("watt_var", "category-b"): {
        **{"p1_pu": (0.2, 0.0, 0.4), "p2_pu": (0.5, 0.4, 0.8), "p3_pu": (1.0, 0.6, 1.0)},
        **{"p1_drawn_pu": (-0.2, -0.4, 0.0), "p2_drawn_pu": (-0.5, -0.8, -0.4), "p3_drawn_pu": (-1.0, -1.0, -0.6)},
        **{"q3_pu": (-0.44, -1.0, 1.0), "q3_drawn_pu": (0.44, -1.0, 1.0), "response_s": (10.0, 0.0, 10.0)},
    },
    ("volt_watt", ""): {
        **{"v1_pu": (1.06, 1.05, 1.09), "v2_pu": (1.10, 1.07, 1.10), "response_s": (10.0, 0.5, 60.0)},
        **{"p1_pu": (1.0, 0.0, 1.0), "p2_pu": (0.0, -1.0, 1.0)},
    },
    **{
        ("frequency_droop", category): {
            **{"db_over_hz": (0.036, 0.017, 1.0), "db_under_hz": (0.036, 0.017, 1.0)},
            **{"k_over": (0.05, least_k, 0.05), "k_under": (0.05, least_k, 0.05), "response_s": (5.0, least_s, 10.0)},
        }
        for category, least_k, least_s in (
            ("category-i", 0.03, 1.0),
            ("category-ii", 0.03, 1.0),
            ("category-iii", 0.02, 0.2),
        )
    },
    ("active_power_limit", ""): {"p_max_pu": (1.0, -1.0, 1.0), "response_s": (0.0, 0.0, 30.0)},
    ("voltage_trip", "category-i"): {
        **{"ov1_pu": (1.10, 1.10, 1.20), "ov1_s": (2.0, 1.0, 13.0), "uv1_pu": (0.70, 0.0, 0.88)},
        **{"uv1_s": (2.0, 2.0, 21.0), "uv2_pu": (0.45, 0.0, 0.50), "uv2_s": (0.16, 0.16, 2.0), **TRIP_ALL},
    },
    ("voltage_trip", "category-ii"): {
        **{"ov1_pu": (1.10, 1.10, 1.20), "ov1_s": (2.0, 1.0, 13.0), "uv1_pu": (0.70, 0.0, 0.88)},
        **{"uv1_s": (10.0, 2.0, 21.0), "uv2_pu": (0.45, 0.0, 0.50), "uv2_s": (0.16, 0.16, 2.0), **TRIP_ALL},
    },
    ("voltage_trip", "category-iii"): {
        **{"ov1_pu": (1.10, 1.10, 1.20), "ov1_s": (13.0, 1.0, 13.0), "uv1_pu": (0.88, 0.0, 0.88)},
        **{"uv1_s": (21.0, 2.0, 50.0), "uv2_pu": (0.50, 0.0, 0.50), "uv2_s": (2.0, 0.16, 21.0), **TRIP_ALL},
    },
    ("frequency_trip", ""): {
        **{"of2_hz": (62.0, 61.8, 66.0), "of2_s": (0.16, 0.16, 1000.0)},
        **{"of1_hz": (61.2, 61.0, 66.0), "of1_s": (300.0, 180.0, 1000.0)},
        **{"uf1_hz": (58.5, 50.0, 59.0), "uf1_s": (300.0, 180.0, 1000.0)},
        **{"uf2_hz": (56.5, 50.0, 57.0), "uf2_s": (0.16, 0.16, 1000.0)},
    },
    ("ride_through", "category-iii"): {
        **{"momentary_low_pu": (0.50, 0.0, 0.50), "momentary_high_pu": (1.10, 1.10, 1.20)},
        **{"cessation_s": (0.083, 0.0, 0.083), "cease_s": (0.16, 0.0, 0.16), "return_s": (0.4, 0.0, 0.4)},
    },
    ("enter_service", ""): {
        **{"v_low_pu": (0.917, 0.88, 0.95), "v_high_pu": (1.05, 1.05, 1.06)},
        **{"f_low_hz": (59.5, 59.0, 59.9), "f_high_hz": (60.1, 60.1, 61.0), "delay_s": (300.0, 0.0, 600.0)},
        "ramp_s": (300.0, 1.0, 1000.0),
    },
}
EACH = [(function, category, name) for (function, category), numbers in STANDARD.items() for name in numbers]


def smart(function: str, category: str, f_nominal_hz: int, **numbers: float) -> Smart:
    own: dict[str, Any] = {"category": category} if category else {}
    required = {"q_pu": 0.0} if function == "constant_q" else {}
    whole = {"f_nominal_hz": f_nominal_hz, "q_injected_max_pu": 1.0, "q_absorbed_max_pu": 1.0}
    return Smart.model_validate({**whole, function: {**own, **required, **numbers}})


@pytest.mark.parametrize(("function", "category", "name"), EACH)
def test_default_and_range_are_the_standards(function: str, category: str, name: str) -> None:
    for f_nominal_hz in (60, 50):
        scale = f_nominal_hz / 60 if name.endswith("_hz") else 1.0
        default, low, high = (x * scale for x in STANDARD[function, category][name])
        points = getattr(smart(function, category, f_nominal_hz), function).points(f_nominal_hz)
        assert points[name][0] == pytest.approx(default, abs=1e-12)
        for edge in (low, high):
            smart(function, category, f_nominal_hz, **{name: edge})
        for beyond in (low - 1e-4, high + 1e-4):
            with pytest.raises(ValidationError, match=name):
                smart(function, category, f_nominal_hz, **{name: beyond})


def test_power_factor_and_ramp_rates() -> None:
    """Unity is the default mode; a ramp of an hour is the longest."""
    for pf in (0.001, 1.0):
        Smart.model_validate({"constant_pf": {"pf": pf}, "q_absorbed_max_pu": 1.0})
    for wrong in ({"constant_pf": {"pf": 1.1}}, {"constant_pf": {"pf": 0.0}}, {"ramp": {"up_s": -1.0}}):
        with pytest.raises(ValidationError):
            Smart.model_validate(wrong)
    Smart.model_validate({"ramp": {"up_s": 0.0, "down_s": 3600.0}})
    with pytest.raises(ValidationError, match="down_s is 3601"):
        Smart.model_validate({"ramp": {"down_s": 3601.0}})
