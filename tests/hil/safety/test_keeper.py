"""What is found is recorded, restored and verified; what must not be written is not."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from kept import KeptDevice, keep

from derloop.errors import DeviceError, Interlocked
from hil.emulator.bank import RegisterBank
from hil.modbus.endpoint import Address, Tcp
from hil.modbus.failures import Unacknowledged
from hil.modbus.pdu import Request
from hil.modbus.thread import LoopThread
from hil.safety.rules import Band, Limits, NoLease, PointBudget, SafeState, SafetyRules, WriteBudget
from hil.serving.fleet import BankServer
from hil.serving.responder import BankResponder, Units
from hil.serving.server import Line, Server
from hil.sunspec.points import Value

Keep = Callable[..., KeptDevice]
Holds = Callable[..., list[Value]]
NO_LEASE = SafetyRules(lease=NoLease(kind="none", because="an emulator burns nothing"))
NAN = float("nan")


def test_a_device_that_is_not_armed_is_read_only(kept: Keep, bank: RegisterBank, tmp_path: Path) -> None:
    device, before = kept(armed=["inv-2", "inv-*", "*"]), bank.image(0).tolist()
    device.take()
    with pytest.raises(Interlocked, match=r"read-only; .*704\.WSet = 2500.* needs `--arm inv-1`"):
        device.command(p_w=2500.0)
    with pytest.raises(Interlocked, match="read-only"):
        device.write({"704.WMaxLimPct": 50.0})
    device.let_go()
    assert bank.image(0).tolist() == before
    assert not (tmp_path / "state").exists()


def test_nothing_is_written_before_the_state_is_recorded(kept: Keep, holds: Holds) -> None:
    with pytest.raises(Interlocked, match="its state is not recorded"):
        kept().command(p_w=2500.0)
    assert holds("704.WSetEna") == [0]


def test_what_was_found_is_on_disk_before_the_first_write_and_restored_at_the_end(kept: Keep, holds: Holds) -> None:
    device = kept()
    device.take()
    record = device.records[0]
    assert record.device == "inv-1"
    assert record.identity.serial == "pv_1"
    assert (record.points["704.WSetEna"], record.points["704.WSet"]) == (0, 0)
    device.command(p_w=2500.0, limit_fraction=0.4, q_var=-300.0)
    assert holds("704.WSet", "704.WSetEna", "704.WMaxLimPct", "704.WSetRvrtTms") == [2500, 1, 40, 60]
    device.let_go()
    names = [*record.points]
    assert dict(zip(names, holds(*names), strict=True)) == record.points
    assert device.records == []


def test_a_function_that_was_on_is_on_again_and_holds_what_it_held(
    kept: Keep, bank: RegisterBank, holds: Holds
) -> None:
    first = kept(NO_LEASE)
    first.take()
    first.command(limit_fraction=0.8)
    first.die()
    next(first.folder.records.glob("*.json")).unlink()
    second = kept()
    second.take()
    second.command(limit_fraction=0.3)
    second.command(limit_fraction=NAN, now_s=1.0)
    assert holds("704.WMaxLimPctEna", "704.WMaxLimPct", "704.WMaxLimPctRvrtTms") == [0, 30, 60]
    second.let_go()
    assert holds("704.WMaxLimPctEna", "704.WMaxLimPct", "704.WMaxLimPctRvrtTms") == [1, 80, 0]


def test_functions_are_turned_off_first_and_on_last(kept: Keep, bank: RegisterBank) -> None:
    device = kept(NO_LEASE)
    device.write_unguarded({"704.WMaxLimPct": 70.0, "704.WMaxLimPctEna": 1.0})
    device.take()
    device.command(limit_fraction=NAN, p_w=2000.0)
    order: list[str] = []
    original, points = bank.write, bank.maps[0].points.values()

    def write(index: int, address: int, registers: list[int]) -> object:
        order.extend(p.name for p in points if address <= p.address < address + len(registers))
        return original(index, address, registers)

    bank.write = write  # type: ignore[method-assign,assignment]
    device.let_go()
    assert order[0] == "704.WSetEna"
    assert order[-1] == "704.WMaxLimPctEna"
    assert "704.WSet" in order


def test_a_device_that_was_not_touched_is_not_asked_again(kept: Keep) -> None:
    device = kept()
    device.take()
    exchanges = device.device.link.traffic.exchanges
    device.let_go()
    assert device.device.link.traffic.exchanges == exchanges
    assert device.records == []


def test_curves_are_the_old_ones_again(kept: Keep, holds: Holds) -> None:
    from hil.inverter.commands import Order, VoltVarCurve

    rules = SafetyRules(safe_state=SafeState(points={"705.Ena": 1.0}))
    names = [f"705.Crv.{slot}.Pt.{index}.{axis}" for slot in (0, 1) for index in range(4) for axis in ("V", "Var")]
    device, before = kept(rules), holds(*names, "705.Ena")
    device.take()
    curve = VoltVarCurve((0.9, 0.98, 1.02, 1.1), (0.2, 0.0, 0.0, -0.2))
    device.thread.run(device.device.command(Order(volt_var=curve), 0.0))
    assert holds("705.Ena", "705.Crv.0.Pt.0.Var") == [1, 20]
    device.let_go()
    assert holds(*names, "705.Ena") == before


def test_a_second_run_finds_the_device_held(kept: Keep) -> None:
    first, second = kept(), kept(run="second")
    first.take()
    with pytest.raises(Interlocked, match=r"held by process \d+ \(run /.*/first, since"):
        second.take()
    first.let_go()
    second.take()
    second.let_go()


def test_a_device_that_a_run_holds_at_another_address_is_neither_taken_nor_brought_to_safety(
    kept: Keep, emulator: BankServer, bank: RegisterBank, thread: LoopThread, tmp_path: Path
) -> None:
    first = kept()
    first.take()
    first.command(p_w=1000.0)
    with Server([Line(Tcp(port=0), Units({1: BankResponder(bank, 0)}))]) as gateway:
        other = keep(Address(gateway.endpoints[0], 1), tmp_path, thread, run="other")
        for act in (other.keeper.take, other.keeper.leave_safe):
            with pytest.raises(Interlocked, match=r"is held by process \d+ \(run /.*/first, since"):
                thread.run(act())
        other.die()
    assert len(first.records) == 1
    first.let_go()


def test_a_run_that_fails_to_take_a_device_lets_go_of_what_it_locked(kept: Keep) -> None:
    torn = kept()
    torn.take()
    torn.command(p_w=100.0)
    torn.die()
    for _ in range(2):
        with pytest.raises(
            Interlocked, match=r"was not restored: device 'inv-1' .*first; `derloop bench safe .*bench\.json`"
        ):
            kept(run="second").take()


def test_a_record_that_cannot_be_read_keeps_others_from_commanding(kept: Keep) -> None:
    device = kept()
    device.take()
    path = next(device.folder.records.glob("*.json"))
    data = path.read_bytes()
    device.die()
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(Interlocked, match=r"the record .* cannot be read: it is torn, or no record"):
        kept(run="second").take()
    assert path.read_bytes() == data[: len(data) // 2]


def test_a_state_that_cannot_be_recorded_means_that_nothing_is_written(kept: Keep, holds: Holds) -> None:
    device = kept()
    device.folder.state.mkdir()
    device.folder.records.write_text("a file where a folder should be")
    with pytest.raises(Interlocked, match=r"its state cannot be recorded: .*nothing was written"):
        device.take()
    with pytest.raises(Interlocked, match="not recorded"):
        device.command(p_w=100.0)
    assert holds("704.WSetEna") == [0]


def test_limits_hold_for_what_the_registers_will_say(kept: Keep, holds: Holds) -> None:
    device = kept(SafetyRules(limits=Limits(p_w=Band(low=-1000.0, high=5000.0), limit_pct=Band(low=10.0))))
    device.take()
    with pytest.raises(Interlocked, match=r"nothing was written: 704\.WSet \(limits\.p_w\): 5001 W is above 5000 W"):
        device.command(p_w=5001.0)
    with pytest.raises(Interlocked, match="-1200 W is below -1000 W"):
        device.command(p_w=-1200.0)
    with pytest.raises(Interlocked, match="5 % is below 10 %"):
        device.command(limit_fraction=0.05)
    assert holds("704.WSetEna", "704.WSet", "704.WMaxLimPctEna") == [0, 0, 0]
    device.command(p_w=5000.0, limit_fraction=0.1)
    device.let_go()


def test_percent_of_the_rating_is_held_to_the_limit_in_watts(kept: Keep, holds: Holds) -> None:
    """60 % of 10 kW is 6 kW, also when only the mode of the setpoint is written, and its percentage stood there."""
    device = kept(SafetyRules(limits=Limits(p_w=Band(high=5000.0), may_write=("704.*",))))
    device.take()
    with pytest.raises(Interlocked, match=r"6000 W is above 5000 W"):
        device.write({"704.WSetMod": 0.0, "704.WSetPct": 60.0})
    device.write_unguarded({"704.WSetPct": 60.0})
    with pytest.raises(Interlocked, match=r"6000 W is above 5000 W"):
        device.write({"704.WSetMod": 0.0})
    device.let_go()


def test_a_limit_in_watts_holds_also_where_what_percent_is_of_is_moved(kept: Keep, holds: Holds) -> None:
    """50 % of 5 kW is 2.5 kW, and of the rating 5 kW."""
    limits = Limits(p_w=Band(high=4000.0), may_write=("702.WMax", "704.*"))
    device = kept(SafetyRules(lease=NO_LEASE.lease, limits=limits))
    device.take()
    device.write({"702.WMax": 5000.0})
    device.write({"704.WSetMod": 0.0, "704.WSetPct": 50.0, "704.WSetEna": 1.0})
    with pytest.raises(Interlocked, match=r"5000 W is above 4000 W"):
        device.write({"702.WMax": 10_000.0})
    assert holds("702.WMax") == [5000.0]
    device.write({"704.WSetEna": 0.0})
    device.write({"702.WMax": 10_000.0})
    with pytest.raises(Interlocked, match=r"5000 W is above 4000 W"):
        device.write({"704.WSetEna": 1.0})
    device.let_go()


def test_points_that_the_device_does_not_have_are_not_restored(kept: Keep, holds: Holds) -> None:
    """With a pattern such a switch (704.AntiIslEna) may be written, too."""
    device = kept(SafetyRules(limits=Limits(may_write=("704.*",)), restore_s=2.0))
    device.take()
    device.command(p_w=1000.0)
    with pytest.raises(DeviceError, match=r"704\.AntiIslEna"):
        device.write({"704.AntiIslEna": 1.0})
    device.let_go()
    assert holds("704.WSetEna", "704.AntiIslEna") == [0, None]


def test_a_batch_is_written_as_a_whole_or_not_at_all(kept: Keep, holds: Holds) -> None:
    device = kept(SafetyRules(limits=Limits(q_var=Band(low=-1000.0, high=1000.0))))
    device.take()
    with pytest.raises(Interlocked, match=r"1500 var is above 1000 var"):
        device.command(p_w=100.0, limit_fraction=0.5, q_var=1500.0)
    assert holds("704.WSet", "704.WMaxLimPctEna", "704.VarSet", "704.WSetRvrtTms") == [0, 0, 0, 0]
    device.let_go()


def test_a_setpoint_may_change_so_fast_and_no_faster(kept: Keep, holds: Holds) -> None:
    device = kept(SafetyRules(limits=Limits(p_w=Band(rate_per_s=100.0))))
    device.take()
    device.command(p_w=2000.0, now_s=10.0)  # the function was off: nothing is known of how fast that is
    device.command(p_w=2200.0, now_s=12.0)
    with pytest.raises(Interlocked, match=r"from 2200 to 2301 W within 1 s is faster than 100 W/s"):
        device.command(p_w=2301.0, now_s=13.0)
    device.command(p_w=2300.0, now_s=13.0)
    device.command(p_w=2300.0, now_s=13.0)
    assert holds("704.WSet") == [2300]
    device.let_go()


def test_a_setpoint_that_is_in_effect_already_is_left_slowly(kept: Keep) -> None:
    device = kept(SafetyRules(lease=NO_LEASE.lease, limits=Limits(p_w=Band(rate_per_s=100.0))))
    device.write_unguarded({"704.WSetMod": 1.0, "704.WSet": 3000.0, "704.WSetEna": 1.0})
    device.take()
    with pytest.raises(Interlocked, match=r"from 3000 to 3200 W within 1 s is faster than 100 W/s"):
        device.command(p_w=3200.0, now_s=50.0)
    device.command(p_w=3100.0, now_s=50.0)
    device.let_go()


def test_turning_a_function_off_is_always_within_limits(kept: Keep, holds: Holds) -> None:
    device = kept(SafetyRules(lease=NO_LEASE.lease, limits=Limits(p_w=Band(high=1000.0, rate_per_s=1.0))))
    device.write_unguarded({"704.WSetMod": 1.0, "704.WSet": 3000.0, "704.WSetEna": 1.0})
    device.take()
    device.command(p_w=NAN)
    assert holds("704.WSetEna") == [0]
    device.die()


@pytest.mark.parametrize(("name", "value"), [("702.WMax", 5e3), ("703.ES", 0), ("704.WSetEna", 1), ("705.Ena", 1)])
def test_a_point_that_is_not_named_is_not_written(kept: Keep, name: str, value: float) -> None:
    device = kept(SafetyRules(limits=Limits(may_write=("704.WMaxLimPct*",))))
    device.take()
    with pytest.raises(Interlocked, match=rf"{name} is none of the points that may be written"):
        device.write({name: value})
    device.let_go()


def test_bands_of_points_hold_for_each_point_of_a_pattern(kept: Keep) -> None:
    rules = SafetyRules(limits=Limits(points={"705.Crv.*.Pt.*.Var": Band(low=-30.0, high=30.0)}))
    device = kept(rules)
    device.take()
    with pytest.raises(Interlocked, match=r"705\.Crv\.1\.Pt\.0\.Var \(limits\.points\): 40 .* is above 30"):
        device.write({"705.Crv.1.Pt.0.Var": 40.0})
    device.write({"705.Crv.1.Pt.0.Var": 25.0})
    device.write({"705.Crv.1.Pt.0.V": 91.0})  # another point, of which nothing is said
    device.let_go()


def test_a_point_may_change_so_fast_and_no_faster(kept: Keep) -> None:
    """By the first write as much as in one second, by what it was found with; then since the last write."""
    rules = SafetyRules(lease=NO_LEASE.lease, limits=Limits(points={"704.WMaxLimPct": Band(rate_per_s=5.0)}))
    device = kept(rules)
    device.write_unguarded({"704.WMaxLimPct": 80.0})
    device.take()
    with pytest.raises(Interlocked, match=r"from 80 to 74 Pct within 1 s is faster than 5 Pct/s"):
        device.write({"704.WMaxLimPct": 74.0}, now_s=100.0)
    device.write({"704.WMaxLimPct": 75.0}, now_s=100.0)
    with pytest.raises(Interlocked, match=r"from 75 to 64 Pct within 2 s is faster than 5 Pct/s"):
        device.write({"704.WMaxLimPct": 64.0}, now_s=102.0)
    device.write({"704.WMaxLimPct": 65.0}, now_s=102.0)
    device.let_go()


def test_a_function_is_turned_off_whatever_its_registers_have_been_worn(kept: Keep, holds: Holds) -> None:
    rules = SafetyRules(write_budget=WriteBudget(points={"704.*": PointBudget(per_day=1, interval_s=1e4)}))
    device = kept(rules)
    device.take()
    device.command(p_w=1000.0)
    with pytest.raises(Interlocked, match=r"704\.WSet was written 1 times today, its budget is 1"):
        device.command(p_w=1100.0)
    device.command(p_w=NAN)
    assert holds("704.WSetEna") == [0]
    device.let_go()
    assert holds("704.WSet", "704.WSetRvrtTms") == [0, 0]


@pytest.mark.parametrize(
    "ended", [Unacknowledged("inv-1", "no answer within 1 s; it may have been done"), RuntimeError("cut short")]
)
def test_a_write_that_nobody_acknowledged_has_worn_the_device_too(
    kept: Keep, holds: Holds, monkeypatch: pytest.MonkeyPatch, ended: Exception
) -> None:
    """It was given back as never written, though it may have been done. What was not sent yet is not counted."""
    budget = WriteBudget(points={"704.*": PointBudget(per_day=1)})
    device = kept(SafetyRules(lease=NO_LEASE.lease, write_budget=budget))
    device.take()
    exchange, sent = device.device.link.exchange, list[Request]()

    async def lost(requests: Sequence[Request], *more: Any) -> None:
        writes = [request for request in requests if request.is_write]
        sent.extend(writes)
        await exchange(writes[:1] or requests, *more)
        if writes:
            raise ended

    with monkeypatch.context() as patched:
        patched.setattr(device.device.link, "exchange", lost)
        with pytest.raises(type(ended)):
            device.write({"704.WMaxLimPct": 50.0, "704.WSet": 900.0, "704.VarSet": 100.0})
    assert len(sent) == 3
    for name in ("704.WMaxLimPct", "704.WSet"):
        with pytest.raises(Interlocked, match=rf"{name} was written 1 times today, its budget is 1"):
            device.write({name: 40.0})
    device.write({"704.VarSet": 40.0})
    device.let_go()
    assert holds("704.WMaxLimPct", "704.WSet", "704.VarSet") == [100, 0, 0]


def test_what_cannot_be_counted_is_restored_all_the_same(
    kept: Keep, holds: Holds, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = kept(SafetyRules(write_budget=WriteBudget(points={"704.WMaxLimPct": PointBudget(per_day=20)})))
    device.take()
    device.write({"704.WMaxLimPct": 50.0})

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("hil.safety.budget.write_durably", full)
    with pytest.raises(Interlocked, match="its writes cannot be counted"):
        device.write({"704.WMaxLimPct": 40.0})
    device.let_go()
    assert holds("704.WMaxLimPct") == [100]


@pytest.mark.parametrize(("is_urgent", "counted"), [(False, 2), (True, 1)])
def test_what_restoring_writes_is_counted_before_it_is_done_and_a_safe_state_waits_for_no_disk(
    kept: Keep, bank: RegisterBank, is_urgent: bool, counted: int
) -> None:
    """A run that was killed meanwhile had counted too few."""
    budget = WriteBudget(points={"704.WMaxLimPct": PointBudget(per_day=20)})
    device = kept(SafetyRules(write_budget=budget, safe_state=SafeState(points={"704.WMaxLimPct": 30.0})))
    device.take()
    device.write({"704.WMaxLimPct": 50.0})
    original, at, on_disk = bank.write, bank.maps[0].points["704.WMaxLimPct"].address, list[int]()

    def write(index: int, address: int, registers: list[int]) -> object:
        if address <= at < address + len(registers):
            counts = json.loads(next(device.folder.counts.glob("*.json")).read_text("utf-8"))
            on_disk.append(counts["points"]["704.WMaxLimPct"]["total"])
        return original(index, address, registers)

    bank.write = write  # type: ignore[method-assign,assignment]
    if is_urgent:
        device.make_safe("for a test")
    else:
        device.let_go()
    assert on_disk == [counted]
