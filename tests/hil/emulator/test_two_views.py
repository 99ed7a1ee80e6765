"""One state, two views: the old models (121 to 124, 802) say what 702 to 715 say, whichever of them is written."""

from __future__ import annotations

import numpy as np
import pytest
from banked import get, held, put
from conforming import BATTERY, INVERTER
from emulated import equipped

from federates.der.inverter import Inverters, Smart
from hil.emulator.access import Refusal
from hil.emulator.bank import RegisterBank
from hil.emulator.nameplate import Ratings
from hil.emulator.profile import Profile
from hil.fleet.steering import equipped_bank, settings_of

PAIRS = [
    ("121.WMax", 4000.0, {"702.WMax": 4000.0}),
    ("121.VArMaxQ1", 1500.0, {"702.VarMaxInj": 1500.0}),
    ("121.VArMaxQ4", -1500.0, {"702.VarMaxAbs": 1500.0, "121.VArMaxQ3": -1500.0}),
    ("123.Conn", 0, {"703.ES": 0, "802.SetOp": 2}),
    ("123.WMaxLimPct", 50.0, {"704.WMaxLimPct": 50.0}),
    ("123.WMaxLim_Ena", 1, {"704.WMaxLimPctEna": 1}),
    ("123.WMaxLimPct_RvrtTms", 60, {"704.WMaxLimPctRvrtTms": 60}),
    ("123.OutPFSet", -0.9, {"704.PFWInj.PF": 0.9, "704.PFWInj.Ext": 0, "704.PFWAbs.PF": 0.9}),
    ("123.OutPFSet", 0.95, {"704.PFWInj.PF": 0.95, "704.PFWInj.Ext": 1}),
    ("123.OutPFSet_Ena", 1, {"704.PFWInjEna": 1, "704.PFWAbsEna": 1}),
    ("124.WChaMax", 3000.0, {"702.WChaRteMax": 3000.0}),
    ("802.SetOp", 2, {"703.ES": 0, "123.Conn": 0}),
    ("802.SetInvState", 1, {"715.OpCtl": 0}),
    ("802.SetInvState", 2, {"715.OpCtl": 2}),
    ("802.CtrlHb", 17, {"715.ControllerHb": 17}),
]
BACK = [
    ("702.WMax", 4500.0, {"121.WMax": 4500.0}),
    ("702.VarMaxAbs", 1000.0, {"121.VArMaxQ4": -1000.0, "121.VArMaxQ3": -1000.0}),
    ("703.ES", 0, {"123.Conn": 0, "802.SetOp": 2}),
    ("704.WMaxLimPct", 33.0, {"123.WMaxLimPct": 33.0}),
    ("704.WMaxLimPctRvrtTms", 100_000, {"123.WMaxLimPct_RvrtTms": 65534}),
    ("704.PFWInj.PF", 0.8, {"123.OutPFSet": 0.8}),
    ("704.VarSetMod", 1, {"123.VArPct_Mod": 2}),
    ("704.VarSetMod", 3, {"123.VArPct_Mod": 0}),
    ("715.OpCtl", 2, {"802.SetInvState": 2}),
]


@pytest.fixture
def bank() -> RegisterBank:
    return equipped([BATTERY], models="all")


@pytest.mark.parametrize(("name", "value", "expected"), [*PAIRS, *BACK])
def test_what_is_written_to_one_shows_in_the_other(
    bank: RegisterBank, name: str, value: float, expected: dict[str, float]
) -> None:
    assert put(bank, {name: value}) is None
    assert {each: get(bank, each) for each in expected} == pytest.approx(expected)


@pytest.mark.parametrize(("name", "value", "expected"), PAIRS)
def test_a_device_that_shows_the_old_models_alone_holds_the_same(
    name: str, value: float, expected: dict[str, float]
) -> None:
    bank = equipped([BATTERY], models="legacy")
    assert put(bank, {name: value}) is None
    assert {each: held(bank, each) for each in expected} == pytest.approx(expected)


def test_percentages_of_vars_are_those_of_their_mode(bank: RegisterBank) -> None:
    put(bank, {"123.VArPct_Mod": 1, "123.VArWMaxPct": -20.0, "123.VArMaxPct": 50.0})
    assert (held(bank, "704.VarSetMod"), held(bank, "704.VarSetPct")) == (0, -20.0)
    put(bank, {"123.VArPct_Mod": 2, "123.VArPct_Ena": 1})
    assert (held(bank, "704.VarSetMod"), held(bank, "704.VarSetPct")) == (1, 50.0)
    assert bank.settings().q_var.tolist() == [1210.0]
    assert get(bank, "123.VArWMaxPct") == -20.0


def test_a_mode_of_vars_is_given_up_as_it_was_found_but_not_while_vars_are_held(bank: RegisterBank) -> None:
    """What had commanded vars could not be restored: the write was acknowledged, and the mode stayed."""
    put(bank, {"123.VArPct_Mod": 2, "123.VArMaxPct": 50.0, "123.VArPct_Ena": 1})
    assert put(bank, {"123.VArPct_Mod": 0}) is Refusal.VALUE
    assert put(bank, {"123.VArPct_Ena": 0, "123.VArPct_Mod": 0}) is None
    assert (get(bank, "123.VArPct_Mod"), held(bank, "704.VarSetMod")) == (0, 4)


def test_a_mode_of_vars_that_123_does_not_know_stays_where_none_is_written_over_none(bank: RegisterBank) -> None:
    put(bank, {"704.VarSetMod": 3, "704.VarSetPct": 10.0, "704.VarSetEna": 1})
    assert put(bank, {"123.VArPct_Mod": 0}) is None
    assert held(bank, "704.VarSetMod") == 3


def test_old_views_begin_with_what_the_device_is_set_to() -> None:
    bank = equipped([INVERTER], models="legacy")
    assert get(bank, "123.WMaxLimPct") == 100.0
    assert get(bank, "123.OutPFSet") == 1.0
    assert get(bank, "121.WMax") == 10000.0


def test_adjustments_that_a_rating_forbids_are_refused_in_both(bank: RegisterBank) -> None:
    before = bank.image(0).tolist()
    for name, value in (("121.WMax", 5001.0), ("702.WMax", 5001.0), ("121.VArMaxQ4", -2001.0), ("124.WChaMax", 4001.0)):
        assert put(bank, {name: value}) is Refusal.VALUE
    assert bank.image(0).tolist() == before


def test_a_device_that_cannot_enter_service_stays_connected() -> None:
    settings = settings_of(Inverters(Smart.model_validate({}), np.ones(1)))
    bank = equipped_bank([INVERTER], settings, [Profile(models="all")])
    assert put(bank, {"123.Conn": 1}) is None
    assert put(bank, {"123.Conn": 0}) is Refusal.VALUE
    assert put(bank, {"123.Conn_WinTms": 1}) is Refusal.ADDRESS
    assert put(bank, {"715.OpCtl": 0}) is Refusal.ADDRESS


FALLING = {"V1": 90.0, "VAr1": 33.0, "V2": 97.0, "VAr2": 0.0, "V3": 103.0, "VAr3": 0.0, "V4": 110.0, "VAr4": -33.0}


def _old_curve(place: int, **values: float) -> dict[str, float]:
    return {f"126.curve.{place}.{name}": value for name, value in values.items()}


def test_an_old_curve_is_followed_from_the_write_that_makes_it_active() -> None:
    bank = equipped([BATTERY], models="legacy")
    put(bank, _old_curve(1, **FALLING, ActPt=4, RmpTms=13) | {"126.ActCrv": 2})
    assert not bank.settings().volt_var_on.any()
    assert put(bank, {"126.ModEna": 1}) is None
    settings = bank.settings()
    assert settings.volt_var_on.all()
    assert settings.volt_var_v_pu[0, :4] == pytest.approx([0.9, 0.97, 1.03, 1.1])
    assert settings.volt_var_q_var[0, :4] == pytest.approx([1650.0, 0.0, 0.0, -1650.0])
    assert settings.volt_var_response_s[0] == pytest.approx(10.0, abs=0.01)
    put(bank, {"126.ActCrv": 0})
    assert not bank.settings().volt_var_on.any()


def test_an_old_curve_that_cannot_be_followed_is_refused_where_it_would_be() -> None:
    bank = equipped([BATTERY], models="legacy")
    put(bank, _old_curve(1, V1=105.0, ActPt=4))
    put(bank, {"126.ActCrv": 2})
    assert put(bank, {"126.ModEna": 1}) is Refusal.VALUE
    assert get(bank, "126.ModEna") == 0
    assert put(bank, _old_curve(2, DeptRef=3) | {"126.ActCrv": 3, "126.ModEna": 1}) is Refusal.VALUE


def test_a_curve_that_was_adopted_shows_in_the_old_model_too(bank: RegisterBank) -> None:
    put(bank, {"705.Crv.1.Pt.0.V": 90.0, "705.Crv.1.RspTms": 20.0, "705.AdptCrvReq": 2, "705.Ena": 1})
    bank.advance(1.0)
    assert (get(bank, "126.ActCrv"), get(bank, "126.ModEna")) == (1, 1)
    assert (get(bank, "126.curve.0.V1"), get(bank, "126.curve.0.RmpTms")) == (90.0, 26)
    assert get(bank, "126.curve.0.VAr1") == pytest.approx(44 * 5500 / 5000)


def test_a_large_device_has_its_whole_rating_in_both() -> None:
    large = Ratings("large", 300e3, 330e3, 132e3, 132e3, 2400.0, p_max_charge_w=300e3, energy_wh=1.2e6)
    bank = equipped([large], models="all")
    pairs = {"121.WMax": 300e3, "121.VAMax": 330e3, "121.VArMaxQ4": -132e3, "124.WChaMax": 300e3, "702.WMax": 300e3}
    assert {name: get(bank, name) for name in pairs} == pairs
