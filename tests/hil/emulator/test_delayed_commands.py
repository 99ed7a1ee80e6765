"""Commands of model 123 wait within their window and go along their ramp; the clock is the bank's own."""

from __future__ import annotations

import pytest
from banked import get, held, put
from conforming import BATTERY
from emulated import equipped

from hil.emulator.bank import RegisterBank


@pytest.fixture
def bank() -> RegisterBank:
    return equipped([BATTERY], models="legacy")


def _fraction(bank: RegisterBank) -> float:
    return float(bank.settings().limit_fraction[0])


def test_a_limit_goes_along_its_ramp_from_where_the_device_was(bank: RegisterBank) -> None:
    put(bank, {"123.WMaxLimPct_RmpTms": 10, "123.WMaxLimPct": 40.0, "123.WMaxLim_Ena": 1})
    found = [_fraction(bank)]
    for _ in range(11):
        bank.advance(1.0)
        found.append(_fraction(bank))
    assert found == pytest.approx([1.0 - 0.06 * i for i in range(11)] + [0.4])
    assert get(bank, "123.WMaxLimPct") == 40.0


def test_what_is_asked_is_shown_while_it_is_on_its_way(bank: RegisterBank) -> None:
    put(bank, {"123.WMaxLimPct_RmpTms": 10, "123.WMaxLimPct": 40.0, "123.WMaxLim_Ena": 1})
    bank.advance(5.0)
    assert (get(bank, "123.WMaxLimPct"), held(bank, "704.WMaxLimPct")) == (40.0, 70.0)


def test_a_second_limit_goes_on_from_where_the_first_has_come(bank: RegisterBank) -> None:
    put(bank, {"123.WMaxLimPct_RmpTms": 10, "123.WMaxLimPct": 40.0, "123.WMaxLim_Ena": 1})
    bank.advance(5.0)
    put(bank, {"123.WMaxLimPct": 90.0})
    bank.advance(5.0)
    assert _fraction(bank) == pytest.approx(0.8)
    bank.advance(5.0)
    assert _fraction(bank) == pytest.approx(0.9)


def test_within_its_window_a_command_waits_a_time_that_is_the_same_in_every_run() -> None:
    def waited(seed: int) -> int:
        bank = equipped([BATTERY], seed=seed, models="legacy")
        put(bank, {"123.WMaxLimPct_WinTms": 60, "123.WMaxLimPct": 40.0, "123.WMaxLim_Ena": 1})
        for second in range(61):
            if _fraction(bank) < 1.0:
                return second
            bank.advance(1.0)
        raise AssertionError("never")

    times = [waited(seed) for seed in range(20)]
    assert times == [waited(seed) for seed in range(20)]
    assert len(set(times)) > 10
    assert max(times) <= 60


def test_connecting_waits_too_and_then_the_reversion_time_begins(bank: RegisterBank) -> None:
    put(bank, {"123.Conn_WinTms": 20, "123.Conn_RvrtTms": 100, "123.Conn": 0})
    assert bank.settings().in_service.all()
    bank.advance(20.0)
    assert not bank.settings().in_service.any()
    bank.advance(99.0)
    assert not bank.settings().in_service.any()
    bank.advance(1.0)
    assert bank.settings().in_service.all()
    assert get(bank, "123.Conn") == 1


def test_a_limit_with_window_ramp_and_reversion_does_all_three(bank: RegisterBank) -> None:
    times = {"123.WMaxLimPct_WinTms": 10, "123.WMaxLimPct_RmpTms": 10, "123.WMaxLimPct_RvrtTms": 60}
    put(bank, {**times, "123.WMaxLimPct": 40.0, "123.WMaxLim_Ena": 1})
    bank.advance(20.0)
    assert _fraction(bank) == pytest.approx(0.4)
    bank.advance(39.0)
    assert _fraction(bank) == pytest.approx(0.4)
    bank.advance(21.0)
    assert _fraction(bank) == 1.0
    assert get(bank, "123.WMaxLim_Ena") == 0


def test_a_reversion_ends_a_ramp(bank: RegisterBank) -> None:
    put(
        bank, {"123.WMaxLimPct_RmpTms": 100, "123.WMaxLimPct_RvrtTms": 10, "123.WMaxLimPct": 40.0, "123.WMaxLim_Ena": 1}
    )
    bank.advance(10.0)
    assert _fraction(bank) == 1.0
    bank.advance(50.0)
    assert _fraction(bank) == 1.0


def test_vars_go_along_their_ramp(bank: RegisterBank) -> None:
    put(bank, {"123.VArPct_Mod": 2, "123.VArPct_RmpTms": 10, "123.VArMaxPct": 50.0, "123.VArPct_Ena": 1})
    found = []
    for _ in range(5):
        bank.advance(2.5)
        found.append(float(bank.settings().q_var[0]))
    assert found == pytest.approx([302.5, 605.0, 907.5, 1210.0, 1210.0])


def test_a_new_command_takes_the_place_of_one_that_waits() -> None:
    bank = equipped([BATTERY], seed=3, models="all")
    put(bank, {"123.WMaxLimPct_WinTms": 60, "123.WMaxLimPct": 40.0, "123.WMaxLim_Ena": 1})
    put(bank, {"704.WMaxLimPct": 70.0, "704.WMaxLimPctEna": 1})
    bank.advance(61.0)
    assert _fraction(bank) == pytest.approx(0.7)
    assert get(bank, "123.WMaxLimPct") == 70.0


def test_a_command_that_is_renewed_goes_on_along_its_ramp(bank: RegisterBank) -> None:
    put(bank, {"123.WMaxLimPct_RmpTms": 10, "123.WMaxLimPct": 40.0, "123.WMaxLim_Ena": 1})
    for _ in range(10):
        bank.advance(1.0)
        put(bank, {"123.WMaxLim_Ena": 1})
    assert _fraction(bank) == pytest.approx(0.4)


def test_a_function_is_switched_off_at_once(bank: RegisterBank) -> None:
    put(bank, {"123.WMaxLimPct": 40.0, "123.WMaxLim_Ena": 1, "123.WMaxLimPct_WinTms": 60})
    put(bank, {"123.WMaxLim_Ena": 0})
    assert _fraction(bank) == 1.0
