"""A device is left as it was found, whatever happens on the way; where that fails it is said."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from emulated import described, equipped
from kept import KeptDevice, keep
from registers_only import RegistersOnly, served

from derloop.errors import Interlocked
from hil.emulator.access import Refusal
from hil.emulator.bank import RegisterBank
from hil.emulator.nameplate import Ratings
from hil.inverter.device import Identity
from hil.modbus.endpoint import Tcp
from hil.modbus.thread import LoopThread
from hil.safety.record import Records
from hil.safety.restore import NotRestored, OnlyTarget
from hil.safety.rules import Limits, SafeState, SafetyRules
from hil.serving.fleet import BankServer
from hil.serving.responder import BankResponder, Units
from hil.serving.server import Line, Server
from hil.sunspec.points import Value

Keep = Callable[..., KeptDevice]
Holds = Callable[..., list[Value]]


def at(port: int, bank: RegisterBank, thread: LoopThread | None = None) -> Server:
    """Return a server of a bank's first device at a given port."""
    return Server([Line(Tcp(port=port), Units({1: BankResponder(bank, 0)}))], thread)


def port_of(emulator: BankServer) -> int:
    endpoint = emulator.addresses[0].endpoint
    assert isinstance(endpoint, Tcp)
    return endpoint.port


def leave(device: KeptDevice) -> str:
    """Do what `derloop bench safe` does."""
    return device.thread.run(device.keeper.leave_safe())


def test_restoring_waits_for_a_link_that_comes_back(kept: Keep, emulator: BankServer, bank: RegisterBank) -> None:
    device, port = kept(SafetyRules(restore_s=20.0)), port_of(emulator)
    device.take()
    device.command(p_w=1000.0)
    emulator.stop()
    plugged: list[Server] = []

    def plug_in() -> None:
        time.sleep(0.4)
        plugged.append(at(port, bank))
        plugged[0].start()

    engineer = threading.Thread(target=plug_in)
    engineer.start()
    try:
        device.let_go()
    finally:
        engineer.join()
        plugged[0].stop()
    assert bank.maps[0].value("704.WSetEna", bank.image(0)) == 0
    assert device.records == []


def test_a_device_that_stays_away_is_not_restored_and_that_is_said(kept: Keep, emulator: BankServer) -> None:
    device = kept(SafetyRules(restore_s=0.4))
    device.take()
    device.command(p_w=1000.0)
    emulator.stop()
    before_s = time.monotonic()
    with pytest.raises(NotRestored, match=r"inv-1.*COULD NOT BE BROUGHT TO WHAT IT HELD BEFORE: .*refused"):
        device.let_go()
    assert time.monotonic() - before_s < 5.0
    assert [record.device for record in device.records] == ["inv-1"]


def test_the_next_command_says_what_a_killed_run_left_and_how_to_restore_it(kept: Keep, holds: Holds) -> None:
    dead = kept()
    dead.take()
    dead.command(p_w=1000.0)
    dead.die()
    device = kept(run="second")
    with pytest.raises(Interlocked, match="derloop bench safe"):
        device.take()
    assert "restored" in leave(device)
    assert holds("704.WSetEna", "704.WSetRvrtTms") == [0, 0]
    assert device.records == []
    device.take()


def test_what_restoring_a_killed_run_writes_is_counted_too(kept: Keep, tmp_path: Path) -> None:
    dead = kept()
    dead.take()
    dead.command(p_w=1000.0)
    dead.die()
    (counts,) = (tmp_path / "state" / "writes").iterdir()
    before = json.loads(counts.read_text())["points"]["704.WSetEna"]["total"]
    leave(kept(run="second"))
    assert json.loads(counts.read_text())["points"]["704.WSetEna"]["total"] == before + 1


def test_what_another_run_holds_is_not_restored_under_it(kept: Keep, holds: Holds) -> None:
    busy = kept()
    busy.take()
    busy.command(p_w=1000.0)
    with pytest.raises(Interlocked, match="is held by process"):
        leave(kept(run="second"))
    assert holds("704.WSetEna") == [1]


def test_the_state_before_all_runs_is_restored_where_several_left_theirs(kept: Keep, holds: Holds) -> None:
    dead = kept()
    dead.take()
    dead.command(p_w=1000.0)
    dead.die()
    (found,) = dead.records
    points = {**found.points, "704.WSet": 1000.0, "704.WSetEna": 1.0}
    later = {"place": "a-place-before", "taken": found.taken + timedelta(hours=1), "points": points}
    Records(dead.folder.records).write(found.model_copy(update=later))
    assert "restored" in leave(kept(run="second"))
    assert holds("704.WSetEna", "704.WSet") == [0, 0]
    assert dead.records == []


def test_of_points_that_a_device_says_it_lacks_nothing_is_told(kept: Keep) -> None:
    dead = kept()
    dead.take()
    dead.command(p_w=1000.0)
    dead.die()
    (found,) = dead.records
    assert "705.Crv.0.Pri" in found.unknown
    assert leave(kept(run="second")).endswith(f"by run {found.run}")


@pytest.mark.parametrize("hours", [-1, 1])
def test_what_was_found_of_another_device_that_had_the_name_is_kept(kept: Keep, holds: Holds, hours: int) -> None:
    dead = kept()
    dead.take()
    dead.command(p_w=1000.0)
    dead.die()
    (found,) = dead.records
    other = {"place": "elsewhere", "taken": found.taken + timedelta(hours=hours), "identity": Identity(serial="SN 9")}
    Records(dead.folder.records).write(found.model_copy(update=other))
    assert "restored" in leave(kept(run="second"))
    assert holds("704.WSetEna") == [0]
    assert [record.identity.serial for record in dead.records] == ["SN 9"]


def test_an_emergency_stop_makes_the_device_safe_that_answers_whatever_was_found_of_another(
    kept: Keep, holds: Holds
) -> None:
    """What a run had found of the one before it kept the new one from its safe state."""
    dead = kept()
    dead.take()
    dead.command(p_w=1000.0)
    dead.die()
    (found,) = dead.records
    Records(dead.folder.records).remove(found)
    Records(dead.folder.records).write(found.model_copy(update={"identity": Identity(serial="SN 9")}))
    device = kept(run="second")
    assert "safe state" in device.thread.run(device.keeper.leave_safe(is_stopped=True))
    assert holds("704.WSetEna") == [0]
    assert [record.identity.serial for record in dead.records] == ["SN 9"]


def test_without_a_record_a_device_is_put_into_its_safe_state(kept: Keep, holds: Holds) -> None:
    rules = SafetyRules(safe_state=SafeState(points={"704.WMaxLimPct": 30.0, "704.WMaxLimPctEna": 1.0}))
    device = kept(rules)
    device.write_unguarded({"704.WSetMod": 1.0, "704.WSet": 500.0, "704.WSetEna": 1.0})
    assert "safe state" in leave(device)
    assert holds("704.WMaxLimPctEna", "704.WMaxLimPct", "704.WSetEna") == [1, 30, 0]
    assert device.records == []


def test_another_device_behind_the_address_is_not_written_to(
    kept: Keep, emulator: BankServer, tmp_path: Path, thread: LoopThread
) -> None:
    dead, port = kept(), port_of(emulator)
    dead.take()
    dead.command(p_w=1000.0)
    dead.die()
    emulator.stop()
    other = RegisterBank([described(Ratings("pv_2", 10e3, 11e3, 4840.0, 4840.0, 240.0))])
    before = other.image(0).tolist()
    with at(port, other):
        device = keep(emulator.addresses[0], tmp_path, thread, run="second")
        with pytest.raises(NotRestored, match=r"DER 1 pv_2 answers, not .*pv_1: nothing was written to it"):
            leave(device)
        device.die()
    assert other.image(0).tolist() == before
    assert len(device.records) == 1


def test_a_device_that_no_longer_has_what_was_recorded_is_not_restored_and_that_is_said(
    kept: Keep, emulator: BankServer, bank: RegisterBank, tmp_path: Path, thread: LoopThread
) -> None:
    """Its new firmware has no model 704, and all that follows."""
    dead, port = kept(), port_of(emulator)
    dead.take()
    dead.command(p_w=1000.0)
    dead.die()
    emulator.stop()
    base, gone = bank.maps[0].base, bank.maps[0].block(704).address
    updated = RegistersOnly(functions=(3, 16), holding=dict(enumerate(bank.image(0).tolist()[: gone - base], base)))
    updated.holding |= {gone: 0xFFFF, gone + 1: 0}
    with Server([Line(Tcp(port=port), updated)]):
        device = keep(emulator.addresses[0], tmp_path, thread, SafetyRules(restore_s=0.3), run="second")
        with pytest.raises(NotRestored, match=r"COULD NOT BE BROUGHT .*no point '704\."):
            leave(device)
        device.die()
    assert len(device.records) == 1


def test_a_value_is_restored_whatever_scale_factor_the_device_has_by_then(tmp_path: Path, thread: LoopThread) -> None:
    """Models before 701 may change theirs: 90 % is 9000 of 0.01 %, and 900 of 0.1 %."""
    shown = equipped([Ratings("pv_1", 10e3, 11e3, 4840.0, 4840.0, 240.0)], models="legacy")
    limit, scale = (shown.maps[0][f"123.WMaxLimPct{part}"].address for part in ("", "_SF"))
    registers = RegistersOnly(functions=(3, 16), holding=dict(enumerate(shown.image(0).tolist(), shown.maps[0].base)))
    registers.holding[limit] = 9000
    with served(registers) as address:
        device = keep(address, tmp_path, thread)
        device.take()
        device.command(limit_fraction=0.5)
        assert registers.holding[limit] == 5000
        registers.holding |= {limit: 500, scale: 0xFFFF}
        device.let_go()
        device.die()
    assert registers.holding[limit] == 900


def test_a_device_that_is_swapped_during_the_run_is_not_written_to(
    kept: Keep, emulator: BankServer, bank: RegisterBank
) -> None:
    device, port = kept(SafetyRules(restore_s=2.0)), port_of(emulator)
    device.take()
    device.command(p_w=1000.0)
    emulator.stop()
    other = RegisterBank([described(Ratings("pv_2", 10e3, 11e3, 4840.0, 4840.0, 240.0))])
    before = other.image(0).tolist()
    with at(port, other):
        with pytest.raises(NotRestored, match="nothing was written to it"):
            device.let_go()
        device.die()
    assert other.image(0).tolist() == before


def test_a_device_that_comes_back_at_another_address_is_restored_there(
    kept: Keep, emulator: BankServer, bank: RegisterBank, tmp_path: Path, thread: LoopThread
) -> None:
    dead = kept()
    dead.take()
    dead.command(p_w=1000.0)
    dead.die()
    with BankServer(bank) as moved:
        device = keep(moved.addresses[0], tmp_path, thread, run="second")
        with pytest.raises(Interlocked, match="was not restored"):
            device.take()
        assert "restored" in leave(device)
        device.die()
    assert device.records == []


def test_a_device_that_acknowledges_and_does_not_is_not_restored(kept: Keep, bank: RegisterBank) -> None:
    device = kept(SafetyRules(restore_s=0.5))
    device.take()
    device.command(p_w=1000.0)
    bank.write = lambda *_: None  # type: ignore[method-assign,assignment]
    with pytest.raises(NotRestored, match=r"704\.WSetEna was written 0.* and reads 1"):
        device.let_go()
    assert len(device.records) == 1


def test_a_device_that_is_busy_for_a_while_is_restored(kept: Keep, bank: RegisterBank, holds: Holds) -> None:
    device, original = kept(SafetyRules(restore_s=20.0)), bank.write
    device.take()
    device.command(p_w=1000.0)
    busy_until_s = time.monotonic() + 0.3

    def write(*asked: object) -> Refusal | None:
        return Refusal.BUSY if time.monotonic() < busy_until_s else original(*asked)  # type: ignore[arg-type]

    bank.write = write  # type: ignore[method-assign,assignment]
    device.let_go()
    assert holds("704.WSetEna") == [0]


def test_a_function_is_turned_off_though_its_values_cannot_be_restored(kept: Keep, bank: RegisterBank) -> None:
    device, original = kept(SafetyRules(restore_s=0.5)), bank.write
    device.take()
    device.command(p_w=1000.0, limit_fraction=0.5)
    setpoint = bank.maps[0]["704.WSet"].address

    def write(index: int, address: int, registers: list[int]) -> Refusal | None:
        hits = address <= setpoint < address + len(registers)
        return Refusal.VALUE if hits else original(index, address, registers)

    bank.write = write  # type: ignore[method-assign,assignment]
    with pytest.raises(NotRestored):
        device.let_go()
    image = bank.image(0)
    assert [bank.maps[0].value(f"704.{name}Ena", image) for name in ("WSet", "WMaxLimPct")] == [0, 0]


def test_each_function_is_turned_off_though_another_cannot_be(kept: Keep, bank: RegisterBank) -> None:
    device, original = kept(SafetyRules(restore_s=0.5)), bank.write
    device.take()
    device.command(p_w=1000.0, limit_fraction=0.5, q_var=-100.0)
    stuck = bank.maps[0]["704.WMaxLimPctEna"].address

    def write(index: int, address: int, registers: list[int]) -> Refusal | None:
        return Refusal.VALUE if address <= stuck < address + len(registers) else original(index, address, registers)

    bank.write = write  # type: ignore[method-assign,assignment]
    with pytest.raises(NotRestored):
        device.let_go()
    image = bank.image(0)
    held = [bank.maps[0].value(f"704.{name}Ena", image) for name in ("WMaxLimPct", "WSet", "VarSet")]
    assert held == [1, 0, 0]


def test_what_writing_a_value_turns_on_again_is_off_once_the_device_is_restored(
    kept: Keep, bank: RegisterBank, holds: Holds, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a device does that takes a setpoint for a command to follow it."""
    device, original = kept(SafetyRules(restore_s=20.0)), bank.write
    device.take()
    device.command(p_w=1000.0)
    setpoint, switch = (bank.maps[0][f"704.{name}"].address for name in ("WSet", "WSetEna"))

    def write(index: int, address: int, registers: list[int]) -> Refusal | None:
        refusal = original(index, address, registers)
        if address <= setpoint < address + len(registers):
            original(index, switch, [1])
        return refusal

    monkeypatch.setattr(bank, "write", write)
    device.let_go()
    assert holds("704.WSetEna", "704.WSet") == [0, 0]


def test_a_device_that_refuses_is_left_time_between_attempts(
    kept: Keep, bank: RegisterBank, monkeypatch: pytest.MonkeyPatch
) -> None:
    device, asked = kept(SafetyRules(restore_s=1.2)), list[object]()
    device.take()
    device.command(p_w=1000.0)

    def write(*what: object) -> Refusal:
        asked.append(what)
        return Refusal.VALUE

    monkeypatch.setattr(bank, "write", write)
    with pytest.raises(NotRestored):
        device.let_go()
    assert 2 <= len(asked) <= 5, "at 0, 0.1, 0.3 and 0.7 s"


def test_a_safe_state_may_be_said_in_symbols_and_between_steps(kept: Keep, holds: Holds) -> None:
    rules = SafetyRules(safe_state=SafeState(points={"704.WMaxLimPctEna": "ENABLED", "704.WMaxLimPct": 30.257}))
    device = kept(rules)
    device.take()
    device.command(limit_fraction=0.8)
    device.make_safe("a test")
    assert holds("704.WMaxLimPctEna", "704.WMaxLimPct") == [1, 30.26]


def test_a_switch_that_the_device_does_not_have_keeps_it_from_no_safe_state(kept: Keep, holds: Holds) -> None:
    """The pattern fits 704.AntiIslEna, too, which this device says that it lacks, and refuses to take."""
    device = kept(
        SafetyRules(
            limits=Limits(may_write=("704.*",)),
            safe_state=SafeState(points={"704.WMaxLimPctEna": 1.0, "704.WMaxLimPct": 30.0}),
            restore_s=2.0,
        )
    )
    assert "safe state" in leave(device)
    device.take()
    device.command(p_w=1000.0)
    device.make_safe("a test")
    assert holds("704.WSetEna", "704.WMaxLimPctEna", "704.WMaxLimPct", "704.AntiIslEna") == [0, 1, 30, None]


def test_a_safe_state_that_the_device_cannot_have_is_refused_before_anything_is_written(kept: Keep) -> None:
    for points in ({"704.WMaxLimPc": 30.0}, {"704.WMaxLimPctEna": "PERHAPS"}, {"704.WMaxLimPct": 1e9}):
        device = kept(SafetyRules(safe_state=SafeState(points=points)))
        with pytest.raises(Interlocked, match=r"cannot be brought to its safe state: .*704\.WMaxLimPc"):
            device.take()


def test_only_what_was_found_is_written_while_it_is_restored(kept: Keep, holds: Holds) -> None:
    device = kept()
    device.take()
    device.command(p_w=1000.0)
    with (
        OnlyTarget(device.device, {"704.WSetEna": 0.0}, is_urgent=False),
        pytest.raises(Interlocked, match=r"704\.WSet = 2000.* is no part of the state to which"),
    ):
        device.command(p_w=2000.0)
    assert holds("704.WSet") == [1000]
    device.command(p_w=2000.0)
