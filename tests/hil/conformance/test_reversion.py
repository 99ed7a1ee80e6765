"""REV: a command that is not renewed ends when its reversion time has passed; each timer of 704 to 712, 123, 124."""

from __future__ import annotations

from typing import NamedTuple

import pytest
from conforming import Served


class Timer(NamedTuple):
    """A function with a reversion time: what commands it, and what is then to be seen."""

    commands: dict[str, float]
    enable: tuple[str, float]
    """The switch, and what it says when the function is on."""
    off: float
    """What the switch says after the reversion."""
    time: str
    remaining: str | None
    reversion: dict[str, float]
    """What it reverts to, where that can be told."""
    after: dict[str, float]
    """What stands there after the reversion."""


def _setpoint(name: str, value: float, reverted: float, *, path: str = "") -> Timer:
    point = f"704.{name}{path}"
    rvrt = f"704.{name}Rvrt{path}"
    return Timer(
        {point: value},
        (f"704.{name}Ena", 1),
        0,
        f"704.{name}RvrtTms",
        f"704.{name}RvrtRem",
        {rvrt: reverted},
        {point: reverted},
    )


def _curve(model: int, group: str, point: str, value: float) -> Timer:
    return Timer(
        {f"{model}.{group}.2.{point}": value},
        (f"{model}.Ena", 1),
        1,
        f"{model}.RvrtTms",
        f"{model}.RvrtRem",
        {f"{model}.Rvrt{group}": 3},
        {f"{model}.{group}.0.{point}": value},
    )


def _old(name: str, enable: str, value: float, at_rest: float) -> Timer:
    return Timer(
        {f"123.{name}": value}, (f"123.{enable}", 1), 0, f"123.{name}_RvrtTms", None, {}, {f"123.{name}": at_rest}
    )


TIMERS = {
    "limit": _setpoint("WMaxLimPct", 40.0, 80.0),
    "active power": _setpoint("WSet", -2000.0, 500.0),
    "reactive power": _setpoint("VarSet", 1200.0, -300.0),
    "power factor injecting": _setpoint("PFWInj", 0.9, 0.97, path=".PF"),
    "power factor absorbing": _setpoint("PFWAbs", 0.92, 0.98, path=".PF"),
    "volt-var": _curve(705, "Crv", "RspTms", 9.0),
    "volt-watt": _curve(706, "Crv", "RspTms", 20.0),
    "frequency droop": _curve(711, "Ctl", "DbOf", 0.2),
    "watt-var": _curve(712, "Crv", "Pt.5.Var", -30.0),
    "limit (123)": _old("WMaxLimPct", "WMaxLim_Ena", 40.0, 100.0),
    "power factor (123)": _old("OutPFSet", "OutPFSet_Ena", -0.9, 1.0),
    "connection (123)": Timer({}, ("123.Conn", 0), 1, "123.Conn_RvrtTms", None, {}, {"703.ES": 1, "802.SetOp": 1}),
    "volt-var (126)": Timer({"126.ActCrv": 2}, ("126.ModEna", 1), 0, "126.RvrtTms", None, {}, {"705.Ena": 0}),
    "storage (124)": Timer(
        {"124.OutWRte": 30.0}, ("124.StorCtl_Mod", 2), 0, "124.InOutWRte_RvrtTms", None, {}, {"124.OutWRte": 30.0}
    ),
}
PARAMETERS = pytest.mark.parametrize("timer", TIMERS.values(), ids=TIMERS)


def _command(device: Served, timer: Timer, time_s: int, *, enable: bool = True) -> None:
    for name, value in {**timer.reversion, timer.time: time_s, **timer.commands}.items():
        device.put(name, value)
    if enable:
        device.put(*timer.enable)


def _remaining(device: Served, timer: Timer) -> float | None:
    return device.read(timer.remaining) if timer.remaining else None


@PARAMETERS
def test_a_command_reverts_when_its_time_has_passed(battery: Served, timer: Timer) -> None:
    _command(battery, timer, 60)
    for elapsed_s in (0, 20, 59):
        assert battery.read(timer.enable[0]) == timer.enable[1]
        assert _remaining(battery, timer) in (None, 60 - elapsed_s)
        battery.bank.advance({0: 20.0, 20: 39.0, 59: 1.0}[elapsed_s])
    assert battery.read(timer.enable[0]) == timer.off
    assert _remaining(battery, timer) in (None, 0)
    for name, value in timer.after.items():
        assert battery.read(name) == pytest.approx(value), name


@PARAMETERS
def test_the_time_runs_only_while_the_function_is_on(battery: Served, timer: Timer) -> None:
    _command(battery, timer, 30, enable=False)
    battery.bank.advance(300.0)
    assert _remaining(battery, timer) in (None, 0)
    battery.put(*timer.enable)
    battery.bank.advance(29.0)
    assert battery.read(timer.enable[0]) == timer.enable[1]
    battery.bank.advance(1.0)
    assert battery.read(timer.enable[0]) == timer.off


@PARAMETERS
def test_a_command_that_is_renewed_goes_on(battery: Served, timer: Timer) -> None:
    _command(battery, timer, 30)
    for _ in range(5):
        battery.bank.advance(20.0)
        battery.put(*timer.enable)
    assert battery.read(timer.enable[0]) == timer.enable[1]
    battery.bank.advance(30.0)
    assert battery.read(timer.enable[0]) == timer.off


@PARAMETERS
def test_without_a_time_a_command_stays(battery: Served, timer: Timer) -> None:
    _command(battery, timer, 0)
    battery.bank.advance(1e6)
    assert battery.read(timer.enable[0]) == timer.enable[1]


@PARAMETERS
def test_a_function_that_is_switched_off_has_no_time_left(battery: Served, timer: Timer) -> None:
    _command(battery, timer, 30)
    battery.put(timer.enable[0], 1 if timer.enable == ("123.Conn", 0) else 0)
    assert _remaining(battery, timer) in (None, 0)
    before = battery.bank.image(0).tolist()
    battery.bank.advance(60.0)
    beats = ("715.DERHb", "802.Hb")
    spans = [battery.bank.maps[0][name] for name in beats]
    after = battery.bank.image(0).tolist()
    moved = {i + 40000 for i, (a, b) in enumerate(zip(before, after, strict=True)) if a != b}
    assert moved <= {address for point in spans for address in range(point.address, point.end)}


def test_vars_in_percent_revert_with_their_setpoint(battery: Served) -> None:
    battery.put("123.VArPct_Mod", 1)
    battery.put("123.VArWMaxPct", -20.0)
    battery.put("123.VArPct_RvrtTms", 10)
    battery.put("123.VArPct_Ena", 1)
    assert battery.bank.settings().q_var.tolist() == [-1000.0]
    battery.bank.advance(10.0)
    assert battery.read("123.VArPct_Ena") == 0
    assert battery.read("704.VarSetEna") == 0
