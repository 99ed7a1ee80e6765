"""Several devices are taken together or not at all, and each is left as it was found whatever becomes of the others."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from derloop.errors import Interlocked
from hil.bench.file import Bench, BenchFile, DeviceEntry
from hil.bench.session import Session
from hil.emulator.access import Refusal
from hil.emulator.bank import RegisterBank
from hil.inverter.commands import Commands
from hil.modbus.thread import LoopThread
from hil.safety.folder import Run, StateFolder
from hil.safety.lock import DeviceLock
from hil.safety.place import places
from hil.safety.record import Records
from hil.safety.restore import NotRestored
from hil.safety.rules import SafetyRules
from hil.serving.fleet import BankServer
from hil.sunspec.points import Value

Holds = Callable[..., list[Value]]
Open = Callable[..., Session]
NAMES = ("inv-1", "bat-1")


@pytest.fixture
def session(emulator: BankServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Open:
    """Return what makes a session of both devices, each of which may be restored for so long."""
    monkeypatch.setenv("DERLOOP_STATE", str(tmp_path / "state"))

    def made(*restore_s: float, names: tuple[str, ...] = NAMES) -> Session:
        entries = {
            name: DeviceEntry(endpoint=at.endpoint, unit=at.unit, safety=SafetyRules(restore_s=seconds))
            for name, at, seconds in zip(NAMES, emulator.addresses, restore_s or (20.0, 20.0), strict=True)
        }
        bench = Bench(tmp_path / "lab.json", BenchFile(name="lab", devices=entries))
        return Session(bench, names, names, Run(tmp_path / "run", bench.path))

    return made


def commanded(session: Session, thread: LoopThread) -> Session:
    thread.run(session.open())
    thread.run(session.exchange(Commands(p_w=np.array([1000.0, 1000.0])), 0.0, 1.0))
    return session


def left(tmp_path: Path) -> list[str]:
    return sorted(record.device for record in Records(tmp_path / "state" / "records").read()[0])


def test_no_device_is_taken_where_another_one_cannot_be(
    session: Open, emulator: BankServer, thread: LoopThread, tmp_path: Path
) -> None:
    refused, alone = session(), session(names=("inv-1",))
    here = places("bat-1", emulator.addresses[1])
    with DeviceLock("bat-1", here, StateFolder.of_user().locks) as held:
        held.acquire(Run(tmp_path / "other", tmp_path / "lab.json"))
        with pytest.raises(Interlocked, match="'bat-1': is held by process"):
            thread.run(refused.open())
    assert left(tmp_path) == []
    thread.run(alone.open())
    assert left(tmp_path) == ["inv-1"]
    for each in (alone, refused):
        thread.run(each.close())


def test_a_device_that_is_slow_to_be_restored_is_waited_for_though_another_one_cannot_be(
    session: Open, bank: RegisterBank, thread: LoopThread, tmp_path: Path, holds: Holds, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened, original, busy_until_s = commanded(session(0.2, 20.0), thread), bank.write, time.monotonic() + 0.8

    def write(index: int, address: int, registers: list[int]) -> Refusal | None:
        if index == 0:
            return Refusal.VALUE
        return Refusal.BUSY if time.monotonic() < busy_until_s else original(index, address, registers)

    monkeypatch.setattr(bank, "write", write)
    with pytest.raises(NotRestored, match="'inv-1': COULD NOT BE BROUGHT"):
        thread.run(opened.close())
    assert holds("704.WSetEna", device=1) == [0]
    assert left(tmp_path) == ["inv-1"]


def test_every_device_that_could_not_be_restored_is_named(
    session: Open, bank: RegisterBank, thread: LoopThread, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = commanded(session(0.2, 0.2), thread)
    monkeypatch.setattr(bank, "write", lambda *_: Refusal.VALUE)
    with pytest.raises(NotRestored) as failed:
        thread.run(opened.close())
    assert failed.value.device == "inv-1, bat-1"
    assert left(tmp_path) == ["bat-1", "inv-1"]
