"""What points of SunSpec ask for in watts and vars, by hand; modes as models 123 and 704 have them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pytest

from hil.inverter.dialect import Function, Term
from hil.safety.amounts import AMOUNTS, Amount, amounts_of
from hil.safety.outcome import Outcome
from hil.sunspec.points import Value

NEW = {"702.WMax": 10_000.0, "702.VAMax": 11_000.0, "702.VarMaxInj": 4800.0, "702.VarMaxAbs": 3000.0}
OLD = {"121.WMax": 10_000.0, "121.VArMaxQ1": 4800.0, "121.VArMaxQ4": 3000.0, "124.WChaMax": 5000.0}


class Held(Outcome):
    """A device that holds values, and has no other points."""

    def __init__(self, values: Mapping[str, Value]) -> None:
        self._new, self._map = dict(values), {}  # type: ignore[assignment]


def amount(key: str) -> Amount:
    return next(each for each in AMOUNTS if each.key == key)


@pytest.mark.parametrize(
    ("mode", "percent", "q_var"),
    [
        (0, 40.0, 4000.0),
        (0, -40.0, -4000.0),
        (1, 50.0, 2400.0),
        (1, -50.0, -1500.0),
        (2, 50.0, 2400.0),
        (2, -50.0, -1500.0),
        (3, 40.0, 4400.0),
        (4, 40.0, 700.0),
        (1, 0.5, 24.0),
        (1, 0.0, 0.0),
    ],
)
@pytest.mark.parametrize("way", ["", "Rvrt"])
def test_vars_of_704_are_percent_of_what_their_mode_says(mode: int, percent: float, q_var: float, way: str) -> None:
    held = Held({**NEW, "704.VarSetMod": mode, f"704.VarSetPct{way}": percent, f"704.VarSet{way}": 700.0})
    assert amount(f"q_var of 704.VarSet{way}").of(held) == pytest.approx(q_var)


def test_absorbed_vars_are_percent_of_the_injected_ones_where_a_device_tells_no_others() -> None:
    held = Held({"702.VarMaxInj": 4800.0, "704.VarSetMod": 1, "704.VarSetPct": -50.0})
    assert amount("q_var of 704.VarSet").of(held) == pytest.approx(-2400.0)


@pytest.mark.parametrize(
    ("mode", "q_var"), [(0, None), (1, -4000.0), (2, -1500.0), (3, -600.0)], ids=["none", "WMax", "VArMax", "VArAval"]
)
def test_vars_of_123_are_percent_of_what_their_mode_says(mode: int, q_var: float | None) -> None:
    percents = {"123.VArWMaxPct": -40.0, "123.VArMaxPct": -50.0, "123.VArAvalPct": -20.0}
    found = amount("q_var of 123.VArAvalPct").of(Held({**OLD, **percents, "123.VArPct_Mod": mode}))
    assert found == (None if q_var is None else pytest.approx(q_var))


def test_what_a_store_is_to_draw_is_negative_and_what_it_gives_positive() -> None:
    held = Held({**OLD, "124.OutWRte": 30.0, "124.InWRte": 30.0})
    assert amount("p_w of 124.OutWRte").of(held) == pytest.approx(3000.0)
    assert amount("p_w of 124.InWRte").of(held) == pytest.approx(-1500.0)


def test_percent_of_what_a_device_does_not_tell_is_no_amount() -> None:
    held = Held({"704.WSetMod": 0, "704.WSetPct": 30.0, "124.InWRte": 30.0})
    assert [amount(key).of(held) for key in ("p_w of 704.WSet", "p_w of 124.InWRte")] == [None, None]


def test_only_what_holds_once_a_lease_has_lapsed_is_in_reserve() -> None:
    assert {each.points[-1] for each in AMOUNTS if each.is_in_reserve} == {
        "704.WMaxLimPctRvrt", "704.WSetRvrt", "704.VarSetRvrt",
    }  # fmt: skip


@dataclass(frozen=True)
class Dialect:
    functions: Mapping[str, Function]


@dataclass(frozen=True)
class Mapped:
    """A device of a register map."""

    dialect: Dialect
    map: tuple[str, ...] = ()


def test_a_register_map_asks_for_limits_in_percent_and_for_powers_in_watts_and_vars() -> None:
    """The limit is told in tenths of a percent, power in kW that are positive when drawn."""
    functions = {
        "limit_fraction": Function((Term("limit", 1000.0),), on={"limit_on": 1.0}),
        "p_w": Function((Term("power", -0.001),), modes={"mode": 2.0}),
    }
    limit, power = amounts_of(Mapped(Dialect(functions)))  # type: ignore[arg-type]
    held = Held({"limit": 405.0, "power": 1.5})
    assert (limit.meaning, limit.points, limit.switch) == ("limit_pct", ("limit",), "limit_on")
    assert limit.of(held) == pytest.approx(40.5)
    assert (power.meaning, power.points, power.switch) == ("p_w", ("mode", "power"), "")
    assert power.of(held) == pytest.approx(-1500.0)
    assert [each.of(Held({})) for each in (limit, power)] == [None, None]
