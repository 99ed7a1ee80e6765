"""Model 715: heartbeats, what happens when the controller's is lost, starting and stopping; and alarms (701)."""

from __future__ import annotations

import numpy as np
import pytest
from banked import get, put
from conforming import BATTERY, INVERTER
from emulated import equipped

from hil.emulator.access import Refusal
from hil.emulator.bank import RegisterBank
from hil.inverter.measurements import Measurements

UNDER_VOLT, OVER_VOLT, OVER_FREQUENCY, GRID_DISCONNECT, MANUAL_SHUTDOWN = 1 << 11, 1 << 10, 1 << 8, 1 << 4, 1 << 6


def bank_of(**profile: object) -> RegisterBank:
    return equipped([BATTERY, INVERTER], models="all", **profile)


def show(bank: RegisterBank, v_ln_v: float = 240.0, f_hz: float = 60.0, state: float = 3.0) -> None:
    p = np.zeros(len(bank))
    bank.set_measurements(Measurements.of(p, p, p + v_ln_v, f_hz=f_hz, state=state))


def test_the_device_counts_its_heartbeat_by_the_second() -> None:
    bank = bank_of()
    for _ in range(25):
        bank.advance(0.1)
    assert [get(bank, name) for name in ("715.DERHb", "802.Hb")] == [2, 2]
    bank.advance(65533.0)
    assert [get(bank, name) for name in ("715.DERHb", "802.Hb")] == [65535, 0]


def test_a_lost_heartbeat_reverts_every_setpoint_of_that_device_alone() -> None:
    bank = bank_of(heartbeat_timeout_s=10)
    for device in (0, 1):
        put(bank, {"704.WMaxLimPctRvrt": 80.0, "704.WMaxLimPct": 40.0, "704.WMaxLimPctEna": 1}, device)
    put(bank, {"704.VarSet": 500.0, "704.VarSetEna": 1, "715.ControllerHb": 1})
    bank.advance(9.9)
    assert get(bank, "704.WMaxLimPctEna") == 1
    bank.advance(0.2)
    assert [get(bank, f"704.{name}") for name in ("WMaxLimPctEna", "WMaxLimPct", "VarSetEna")] == [0, 80.0, 0]
    assert get(bank, "123.WMaxLim_Ena") == 0
    assert get(bank, "704.WMaxLimPctEna", 1) == 1


def test_a_heartbeat_that_changes_keeps_everything_as_it_is() -> None:
    bank = bank_of(heartbeat_timeout_s=10)
    put(bank, {"704.WMaxLimPct": 40.0, "704.WMaxLimPctEna": 1})
    for beat in range(1, 30):
        put(bank, {"715.ControllerHb": beat})
        bank.advance(5.0)
    assert get(bank, "704.WMaxLimPctEna") == 1


def test_a_heartbeat_that_is_written_and_does_not_change_is_lost() -> None:
    bank = bank_of(heartbeat_timeout_s=10)
    put(bank, {"704.WMaxLimPct": 40.0, "704.WMaxLimPctEna": 1})
    for _ in range(3):
        put(bank, {"715.ControllerHb": 7})
        bank.advance(4.0)
    assert get(bank, "704.WMaxLimPctEna") == 0


def test_a_heartbeat_that_never_came_is_not_missed() -> None:
    bank = bank_of(heartbeat_timeout_s=10)
    put(bank, {"704.WMaxLimPct": 40.0, "704.WMaxLimPctEna": 1})
    bank.advance(1e5)
    assert get(bank, "704.WMaxLimPctEna") == 1


def test_a_lost_heartbeat_can_cease_power_until_it_is_back() -> None:
    bank = bank_of(heartbeat_timeout_s=10, on_heartbeat_loss="cease")
    put(bank, {"802.CtrlHb": 1})
    version = bank.version
    bank.advance(10.0)
    assert bank.version != version
    assert bank.settings().in_service.tolist() == [False, True]
    put(bank, {"715.ControllerHb": 2})
    assert bank.settings().in_service.tolist() == [True, True]


def test_or_nothing_happens() -> None:
    bank = bank_of(heartbeat_timeout_s=10, on_heartbeat_loss="nothing")
    put(bank, {"704.WMaxLimPct": 40.0, "704.WMaxLimPctEna": 1, "715.ControllerHb": 1})
    bank.advance(20.0)
    assert get(bank, "704.WMaxLimPctEna") == 1
    assert bank.settings().in_service.all()


@pytest.mark.parametrize(("operation", "serves", "state"), [(0, False, 0), (1, True, 3), (2, False, 7)])
def test_operation_is_started_stopped_and_put_in_standby(operation: int, serves: bool, state: int) -> None:
    bank = bank_of()
    put(bank, {"715.OpCtl": operation})
    show(bank, state=3.0 if serves else 7.0)
    assert bank.settings().in_service.tolist() == [serves, True]
    assert get(bank, "701.InvSt") == state
    assert get(bank, "103.St") == state + 1


def test_only_a_device_in_standby_leaves_it() -> None:
    bank = bank_of()
    assert put(bank, {"715.OpCtl": 3}) is Refusal.VALUE
    assert put(bank, {"715.OpCtl": 0, "802.AlmRst": 0}) is None
    assert put(bank, {"715.OpCtl": 3}) is Refusal.VALUE
    assert put(bank, {"715.OpCtl": 2}) is None
    assert put(bank, {"715.OpCtl": 3}) is None
    assert bank.settings().in_service.all()


def test_a_voltage_beyond_the_trip_setting_raises_an_alarm_until_it_is_reset() -> None:
    bank = bank_of()
    put(bank, {"707.Ena": 1})
    show(bank)
    assert get(bank, "701.Alrm") == 0
    show(bank, v_ln_v=0.87 * 240)
    assert [get(bank, "701.Alrm", device) for device in (0, 1)] == [UNDER_VOLT, 0]
    assert get(bank, "103.Evt1") == UNDER_VOLT
    put(bank, {"715.AlarmReset": 1})
    assert get(bank, "701.Alrm") == UNDER_VOLT
    show(bank)
    assert get(bank, "701.Alrm") == UNDER_VOLT
    put(bank, {"715.AlarmReset": 1})
    assert [get(bank, name) for name in ("701.Alrm", "715.AlarmReset", "802.AlmRst")] == [0, 0, 0]
    show(bank)
    assert get(bank, "701.Alrm") == 0


@pytest.mark.parametrize(
    ("enable", "seen", "alarm"),
    [
        ("708.Ena", {"v_ln_v": 1.11 * 240}, OVER_VOLT),
        ("709.Ena", {"f_hz": 58.4}, 1 << 9),
        ("710.Ena", {"f_hz": 61.3}, OVER_FREQUENCY),
    ],
)
def test_every_trip_function_has_its_alarm_while_it_is_on(enable: str, seen: dict[str, float], alarm: int) -> None:
    bank = bank_of()
    show(bank, **seen)
    assert get(bank, "701.Alrm") == 0
    put(bank, {enable: 1})
    show(bank, **seen)
    assert get(bank, "701.Alrm") == alarm


def test_an_alarm_is_raised_at_the_setting_of_the_curve_that_was_adopted() -> None:
    bank = bank_of()
    put(bank, {"707.Ena": 1, "707.Crv.1.MustTrip.Pt.0.V": 70.0, "707.AdptCrvReq": 2})
    bank.advance(1.0)
    show(bank, v_ln_v=0.75 * 240)
    assert get(bank, "701.Alrm") == 0
    show(bank, v_ln_v=0.69 * 240)
    assert get(bank, "701.Alrm") == UNDER_VOLT


def test_a_trip_disconnects_and_being_told_to_stop_is_no_trip() -> None:
    bank = bank_of()
    show(bank)
    show(bank, state=7.0)
    assert get(bank, "701.Alrm") == GRID_DISCONNECT
    bank = bank_of()
    show(bank)
    put(bank, {"715.OpCtl": 0})
    show(bank, state=7.0)
    assert get(bank, "701.Alrm") == MANUAL_SHUTDOWN
    put(bank, {"715.OpCtl": 1})
    show(bank)
    assert get(bank, "701.Alrm") == 0


@pytest.mark.parametrize("reset", ["715.AlarmReset", "802.AlmRst"])
def test_an_alarm_is_reset_in_all_models_at_once(reset: str) -> None:
    bank = equipped([BATTERY], models="all")
    put(bank, {"707.Ena": 1})
    show(bank, v_ln_v=100.0)
    show(bank)
    shown = ("701.Alrm", "103.Evt1", "113.Evt1")
    assert [get(bank, name) for name in shown] == [UNDER_VOLT] * 3
    put(bank, {reset: 1})
    assert [get(bank, name) for name in shown] == [0] * 3


def test_a_restarted_device_has_forgotten_its_controller_and_its_alarms() -> None:
    bank = bank_of(heartbeat_timeout_s=10, on_heartbeat_loss="cease")
    put(bank, {"707.Ena": 1, "715.ControllerHb": 1})
    show(bank, v_ln_v=100.0)
    bank.advance(20.0)
    bank.restart(0)
    assert bank.settings().in_service.all()
    show(bank)
    assert get(bank, "701.Alrm") == 0
