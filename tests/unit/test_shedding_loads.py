"""Loads that a control takes off: what they draw, and how much more when they come back."""

from math import exp

import numpy as np
import pytest
from fleets import MINUTE, context, stepped
from pydantic import ValidationError

from federates.der.shedding import Sheddable, Shedding
from federates.der.zip_load import ZipLoadGroup, ZipLoadSettings

COLD = {"sheddable": True, "cold_load": {"most_pu": 0.5, "builds_s": 1800, "decays_s": 900}}


def drawn(on: list[int], **settings: object) -> list[float]:
    """Return what a load of 100 kW draws, minute by minute."""
    of, found = Shedding(Sheddable.model_validate(settings or COLD), 1), []
    for k, is_on in enumerate(on):
        inputs = {"connected": np.array([float(is_on)])}
        found.append(float(of.drawn(k * MINUTE, np.array([100.0]), np.array([20.0]), inputs)["p_kw"][0]))
    return found


def test_load_that_is_off_draws_nothing_and_still_tells_what_it_would() -> None:
    group = ZipLoadGroup(
        ZipLoadSettings.model_validate({"at": [{"bus": "671.1", "rated_kva": 10.0}], "pf": 1.0, "sheddable": True}),
        context(),
    )
    assert stepped(group, 0, connected=1.0)["p_kw"].tolist() == [10.0]
    off = stepped(group, MINUTE, connected=0.0)
    assert (off["p_kw"][0], off["q_kvar"][0], off["demand_kw"][0]) == (0.0, 0.0, 10.0)


@pytest.mark.parametrize("model", [{"p_zip_pu": [1.0, 0.0, 0.0]}, {"cutoff_v_pu": 0.6}])
def test_load_without_voltage_still_tells_what_it_would_draw(model: dict[str, object]) -> None:
    """In a blackout 10 kW are not served, and not 0 kW."""
    document = {"at": [{"bus": "671.1", "rated_kva": 10.0}], "pf": 1.0, "sheddable": True, **model}
    group = ZipLoadGroup(ZipLoadSettings.model_validate(document), context())
    assert stepped(group, 0, connected=1.0)["demand_kw"].tolist() == [10.0]
    dead = stepped(group, MINUTE, connected=1.0, v_pu=0.0)
    assert (dead["p_kw"][0], dead["demand_kw"][0]) == (0.0, 10.0)


def test_cold_load_grows_while_off_and_dies_away() -> None:
    """Off for 30 min: w = 1 - 1/e, half of it more; 15 min later that over e."""
    found = drawn([1] + [0] * 30 + [1] * 16)
    missed = 1.0 - exp(-1.0)
    assert found[0] == 100.0
    assert found[1:31] == [0.0] * 30
    assert found[31] == pytest.approx(100.0 * (1.0 + 0.5 * missed))
    assert found[46] == pytest.approx(100.0 * (1.0 + 0.5 * missed * exp(-1.0)))


def test_load_without_cold_load_comes_back_as_it_was() -> None:
    assert drawn([1, 0, 0, 1], sheddable=True) == [100.0, 0.0, 0.0, 100.0]


def test_load_that_nobody_takes_off_has_no_cold_load() -> None:
    with pytest.raises(ValidationError, match="cold_load is of loads that are sheddable"):
        Sheddable.model_validate({**COLD, "sheddable": False})
    assert Sheddable().takes == ()
