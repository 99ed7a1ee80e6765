"""A control is enabled only when the device lets go of it by itself, to its safe state."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from kept import KeptDevice, state_in
from registers_only import battery_inverter, served

from derloop.errors import Interlocked
from hil.emulator.bank import RegisterBank
from hil.inverter.commands import Order, VoltVarCurve
from hil.inverter.device import Device
from hil.inverter.lease import NO_LEASE, reversion
from hil.inverter.mapped import read_register_map, shipped_maps
from hil.modbus.link import Link
from hil.modbus.thread import LoopThread
from hil.safety.folder import Run
from hil.safety.keeper import Keeper
from hil.safety.rules import Heartbeat, Limits, NoLease, Reversion, SafeState, SafetyRules
from hil.sunspec.points import Value

Keep = Callable[..., KeptDevice]
Holds = Callable[..., list[Value]]
Write = Callable[[Mapping[str, float | str], float], None]
CURVE = VoltVarCurve((0.9, 0.98, 1.02, 1.1), (0.3, 0.0, 0.0, -0.3))
ANY = Limits(may_write=("704.*", "705.*", "711.*", "703.*"))


def taken(kept: Keep, **rules: Any) -> KeptDevice:
    device = kept(SafetyRules(**rules))
    device.take()
    return device


def test_a_control_without_a_lease_is_not_enabled(kept: Keep, holds: Holds) -> None:
    device = taken(kept, limits=ANY)
    with pytest.raises(Interlocked, match=r"704\.WMaxLimPctRvrtTms is not armed before 704\.WMaxLimPctEna"):
        device.write({"704.WMaxLimPct": 40.0, "704.WMaxLimPctEna": 1.0})
    assert holds("704.WMaxLimPctEna", "704.WMaxLimPct") == [0, 100]


def test_a_lease_that_comes_behind_the_enable_is_not_there_before_it(kept: Keep, holds: Holds) -> None:
    """SunSpec puts the timer behind the enable: neighbours that are written in one request arrive in that order."""
    device = taken(kept, limits=ANY)
    together = {"704.WMaxLimPctEna": 1.0, "704.WMaxLimPct": 40.0, "704.WMaxLimPctRvrt": 90.0}
    with pytest.raises(Interlocked, match="is not armed before"):
        device.write({**together, "704.WMaxLimPctEnaRvrt": 1.0, "704.WMaxLimPctRvrtTms": 30.0})
    assert holds("704.WMaxLimPctEna", "704.WMaxLimPctRvrtTms") == [0, 0]
    device.write({"704.WMaxLimPctRvrtTms": 30.0, "704.WMaxLimPct": 40.0, "704.WMaxLimPctEna": 1.0})
    assert holds("704.WMaxLimPctEna", "704.WMaxLimPct") == [1, 40]


def test_a_lease_that_is_taken_away_under_a_control_is_refused(kept: Keep, holds: Holds) -> None:
    device = taken(kept, limits=ANY)
    device.command(p_w=1000.0)
    with pytest.raises(Interlocked, match="is not armed before"):
        device.write({"704.WSetRvrtTms": 0.0})
    assert holds("704.WSetRvrtTms") == [60]


def test_a_control_that_somebody_else_enabled_without_a_lease_is_not_commanded(kept: Keep, holds: Holds) -> None:
    device = kept(SafetyRules(limits=ANY))
    device.write_unguarded({"704.WSetMod": 1.0, "704.WSet": 500.0, "704.WSetEna": 1.0})
    device.take()
    with pytest.raises(Interlocked, match="is not armed before"):
        device.write({"704.WSet": 900.0})
    assert holds("704.WSet") == [500]


def test_a_lease_longer_than_the_bench_allows_is_refused(kept: Keep) -> None:
    device = taken(kept, lease=Reversion(seconds=10))
    device.device._controls.lease = reversion(11)
    with pytest.raises(Interlocked, match=r"704\.WSetRvrtTms: 11 s is more than the 10 s of the lease"):
        device.command(p_w=1000.0)


def test_the_device_reverts_to_its_safe_state(kept: Keep, bank: RegisterBank, holds: Holds) -> None:
    """The safe state of this bench is a limit of 30 %, not 'no limit'."""
    safe = {"704.WMaxLimPctEna": 1.0, "704.WMaxLimPct": 30.0}
    device = taken(kept, safe_state=SafeState(points=safe))
    device.command(limit_fraction=0.8, p_w=1000.0)
    device.die()
    bank.advance(59.0)
    assert holds("704.WMaxLimPctEna", "704.WMaxLimPct", "704.WSetEna") == [1, 80, 1]
    bank.advance(2.0)
    assert holds("704.WMaxLimPctEna", "704.WMaxLimPct", "704.WSetEna") == [1, 30, 0]


def test_a_lease_that_has_run_out_is_told_though_it_is_renewed_at_once(
    kept: Keep, bank: RegisterBank, holds: Holds
) -> None:
    """The process was suspended for longer than the lease: the device had let go meanwhile."""
    device = taken(kept)
    device.command(p_w=1000.0, now_s=0.0)
    bank.advance(29.0)
    device.command(p_w=1000.0, now_s=29.0)
    bank.advance(29.0)
    device.command(p_w=1000.0, now_s=58.0)
    assert device.device.lapses == 0
    bank.advance(61.0)
    assert holds("704.WSetEna") == [0]
    device.command(p_w=1000.0, now_s=119.0)
    assert holds("704.WSetEna") == [1]
    assert device.device.lapses == 1


def test_a_reversion_to_anything_but_the_safe_state_is_refused(kept: Keep) -> None:
    safe = {"704.WMaxLimPctEna": 1.0, "704.WMaxLimPct": 30.0}
    device = taken(kept, limits=ANY, safe_state=SafeState(points=safe))
    device.write({"704.WMaxLimPctRvrtTms": 30.0, "704.WMaxLimPctEnaRvrt": 0.0, "704.WMaxLimPct": 50.0})
    with pytest.raises(Interlocked, match=r"704\.WMaxLimPctEna would revert to off, and the safe state is on"):
        device.write({"704.WMaxLimPctEna": 1.0})
    device.write({"704.WMaxLimPctEnaRvrt": 1.0, "704.WMaxLimPctRvrt": 90.0})
    with pytest.raises(Interlocked, match=r"704\.WMaxLimPct would revert to 90.*, and the safe state is 30"):
        device.write({"704.WMaxLimPctEna": 1.0})


def test_the_safe_state_itself_needs_no_lease(kept: Keep, holds: Holds) -> None:
    safe = {"704.WMaxLimPctEna": 1.0, "704.WMaxLimPct": 30.0}
    device = taken(kept, limits=ANY, safe_state=SafeState(points=safe))
    device.write(safe)
    assert holds("704.WMaxLimPctEna", "704.WMaxLimPct") == [1, 30]


def test_a_function_that_no_timer_ends_is_not_enabled(kept: Keep) -> None:
    device = taken(kept, limits=Limits(may_write=("707.*", "703.*")))
    device.write_unguarded({"703.ES": 0.0})
    with pytest.raises(Interlocked, match=r"703\.ES has no reversion timer, so nothing would end it"):
        device.write({"703.ES": 1.0})


def test_volt_var_needs_a_lease_unless_it_is_part_of_the_safe_state(kept: Keep, holds: Holds) -> None:
    device = taken(kept)
    device.device._controls.lease = NO_LEASE
    device.device.lease = NO_LEASE
    with pytest.raises(Interlocked, match=r"705\.RvrtTms is not armed before 705\.Ena"):
        device.thread.run(device.device.command(Order(volt_var=CURVE), 0.0))
    assert holds("705.Ena") == [0]
    device.let_go()
    device = taken(kept, safe_state=SafeState(points={"705.Ena": 1.0}))
    device.thread.run(device.device.command(Order(volt_var=CURVE), 0.0))
    assert holds("705.Ena") == [1]


def test_a_bench_without_leases_says_so_on_disk(kept: Keep, holds: Holds) -> None:
    device = taken(kept, lease=NoLease(kind="none", because="the load bank takes everything"))
    device.command(p_w=1000.0)
    assert holds("704.WSetEna", "704.WSetRvrtTms") == [1, 0]
    assert "the load bank takes everything" in device.records[0].lease


def test_a_lease_without_a_reason_is_no_setting() -> None:
    with pytest.raises(ValueError, match="because"):
        SafetyRules.model_validate({"lease": {"kind": "none"}})
    with pytest.raises(ValueError, match="at least 8 characters"):
        SafetyRules.model_validate({"lease": {"kind": "none", "because": "   no    "}})


@pytest.fixture
def beating(tmp_path: Path, thread: LoopThread) -> Iterator[Write]:
    """Return what writes to a battery that lets go when its heartbeat stops, which may be for 10 s: values, when."""
    language = read_register_map(shipped_maps()["example_battery_inverter"])
    with served(battery_inverter()) as address:
        device = Device(Link("bat-1", address), language=language)
        thread.run(device.discover())
        rules = SafetyRules(lease=Heartbeat(seconds=10))
        keeper = Keeper(device, rules, ["bat-1"], state_in(tmp_path), Run(tmp_path / "run", tmp_path / "bench.json"))
        thread.run(keeper.take())
        yield lambda values, now_s: thread.run(device.write(values, now_s))
        thread.run(keeper.let_go())
        thread.run(device.link.close())


DISCHARGE: dict[str, float | str] = {"power_setpoint": -1000.0, "mode": "POWER"}


@pytest.mark.parametrize(("written", "waits_s"), [({}, 60), ({"heartbeat_timeout": 11.0}, 11)])
def test_a_heartbeat_for_which_the_device_waits_too_long_enables_nothing(
    beating: Write, written: Mapping[str, float | str], waits_s: int
) -> None:
    beating({**written, "heartbeat": 1.0}, 0.0)
    with pytest.raises(Interlocked, match=rf"heartbeat_timeout is {waits_s}(\.0)? before .* is enabled, not 1 to 10 s"):
        beating(DISCHARGE, 1.0)


def test_a_control_is_enabled_while_its_heartbeat_beats_and_no_longer(beating: Write) -> None:
    beating({"heartbeat_timeout": 10.0}, 0.0)
    with pytest.raises(Interlocked, match="heartbeat does not beat before"):
        beating(DISCHARGE, 1.0)
    beating({"heartbeat": 1.0}, 1.0)
    beating(DISCHARGE, 11.0)
    with pytest.raises(Interlocked, match="heartbeat does not beat before"):
        beating({**DISCHARGE, "power_setpoint": -2000.0}, 11.5)
    beating({"heartbeat": 2.0, **DISCHARGE, "power_setpoint": -2000.0}, 30.0)


def test_what_a_register_map_would_not_let_be_restored_is_not_written(tmp_path: Path, thread: LoopThread) -> None:
    """It was written, and neither the run's end nor `derloop bench safe` could restore it: 0 s is below the least."""
    registers = battery_inverter()
    with served(registers) as address:
        device = Device(Link("bat-1", address), language=read_register_map(shipped_maps()["example_battery_inverter"]))
        thread.run(device.discover())
        timeout = device.map["heartbeat_timeout"].address
        registers.holding[timeout] = 0
        rules = SafetyRules(lease=Heartbeat(seconds=10), restore_s=1.0)
        keeper = Keeper(device, rules, ["bat-1"], state_in(tmp_path), Run(tmp_path / "run", tmp_path / "bench.json"))
        thread.run(keeper.take())
        with pytest.raises(
            Interlocked, match=r"heartbeat_timeout: what it holds cannot be read or written.*safe_state"
        ):
            thread.run(device.write({"heartbeat_timeout": 10.0, "heartbeat": 1.0}, 0.0))
        thread.run(keeper.let_go())
        thread.run(device.link.close())
    assert registers.holding[timeout] == 0


def test_a_device_without_a_heartbeat_is_not_commanded_under_one(kept: Keep, holds: Holds) -> None:
    device = taken(kept, lease=Heartbeat(seconds=10))
    with pytest.raises(Interlocked, match=r"704\.WSetEna: the device has no heartbeat"):
        device.command(p_w=1000.0)
    assert holds("704.WSetEna") == [0]
    device.let_go()
