"""Loads with ZIP coefficients."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fleets import HOUR, context, places, stepped
from numpy.testing import assert_allclose
from pydantic import ValidationError

from derloop.kind import PlaceError
from federates.der.zip_load import ZipLoadGroup, ZipLoadSettings, terminals

PLAIN = {"rated_kva": 10.0, "pf": 0.8}


def made(**settings: Any) -> ZipLoadSettings:
    return ZipLoadSettings.model_validate({"at": places(1), **PLAIN, **settings})


def group(count: int = 1, **settings: Any) -> ZipLoadGroup:
    return ZipLoadGroup(made(at=places(count), **settings), context())


@pytest.mark.parametrize(
    ("zip_pu", "p_kw"),
    [([1.0, 0.0, 0.0], 6.48), ([0.0, 1.0, 0.0], 7.2), ([0.0, 0.0, 1.0], 8.0), ([0.5, 0.2, 0.3], 7.08)],
)
def test_power_follows_voltage_by_its_coefficients(zip_pu: list[float], p_kw: float) -> None:
    out = stepped(group(p_zip_pu=zip_pu), v_pu=0.9)
    assert out["p_kw"][0] == pytest.approx(p_kw)
    assert out["q_kvar"][0] == pytest.approx(6.0)


def test_reactive_power_has_coefficients_of_its_own() -> None:
    # IEEE Trans. Power Deliv. 29 (2014) has sets like 4.0, -5.1, 2.1: at 1.05 pu 4.41 - 5.355 + 2.1
    out = stepped(group(q_zip_pu=[4.0, -5.1, 2.1]), v_pu=1.05)
    assert out["q_kvar"][0] == pytest.approx(6.0 * 1.155)
    assert out["p_kw"][0] == pytest.approx(8.0)


def test_nominal_voltage_gives_nominal_power_whatever_the_coefficients() -> None:
    out = stepped(group(p_zip_pu=[1.5, -2.3, 1.8], q_zip_pu=[4.0, -5.1, 2.1]))
    assert_allclose([out["p_kw"][0], out["q_kvar"][0]], [8.0, 6.0])


def test_profile_scales_both_powers(tmp_path: Path) -> None:
    (tmp_path / "s.csv").write_text("time_s,s\n0,0\n86400,2.4\n")
    loads = ZipLoadGroup(made(share={"file": "s.csv", "column": "s"}), context(folder=tmp_path))
    assert stepped(loads, 6 * HOUR)["p_kw"][0] == pytest.approx(4.8)
    assert stepped(loads, 6 * HOUR)["q_kvar"][0] == pytest.approx(3.6)


def test_below_its_cutoff_a_load_draws_nothing() -> None:
    out = stepped(group(3, cutoff_v_pu=0.7), v_pu=[0.69, 0.7, 1.0])
    assert_allclose(out["p_kw"], [0.0, 8.0, 8.0])


def test_forty_loads_do_what_each_of_them_does_alone() -> None:
    v_pu = np.linspace(0.8, 1.1, 40)
    together = stepped(group(40, p_zip_pu=[0.5, 0.2, 0.3]), v_pu=v_pu)
    one = group(p_zip_pu=[0.5, 0.2, 0.3])
    assert together["p_kw"].tolist() == [float(stepped(one, v_pu=v)["p_kw"][0]) for v in v_pu]


def test_loads_draw_from_the_feeder() -> None:
    assert terminals(made(), context())[0].draws
    assert group().interface.inputs["v_pu"].arrival == "coupled"


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"rated_kva": 0}, "rated_kva"),
        ({"p_zip_pu": [0.5, 0.2, 0.2]}, "impedance, current and power add up to 0.9; they must add up to 1"),
        ({"q_zip_pu": [0.5, 0.5]}, "q_zip_pu"),
    ],
)
def test_impossible_settings_are_refused(wrong: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        made(**wrong)


def test_share_below_zero_is_refused_where_it_stands() -> None:
    with pytest.raises(PlaceError) as error:
        group(share=-1.0)
    assert error.value.problems[0][0] == ("share",)
