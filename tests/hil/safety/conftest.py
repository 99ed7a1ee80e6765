"""A device that is kept, and what it holds when nobody looks through a guard."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from kept import KeptDevice, keep

from hil.emulator.bank import RegisterBank
from hil.modbus.thread import LoopThread
from hil.safety.rules import SafetyRules
from hil.serving.fleet import BankServer
from hil.sunspec.points import Value

Keep = Callable[..., KeptDevice]


@pytest.fixture
def thread() -> Iterator[LoopThread]:
    started = LoopThread("bench")
    yield started
    started.close()


@pytest.fixture
def kept(emulator: BankServer, tmp_path: Path, thread: LoopThread) -> Iterator[Keep]:
    """Make a device that is kept by given rules: `kept(SafetyRules(...), armed=...)`."""
    made: list[KeptDevice] = []

    def make(rules: SafetyRules | None = None, device: int = 0, **options: object) -> KeptDevice:
        made.append(keep(emulator.addresses[device], tmp_path, thread, rules, **options))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for each in made:
        each.die()


@pytest.fixture
def holds(bank: RegisterBank) -> Callable[..., list[Value]]:
    """Return what the first device (or another) holds at points."""

    def values(*names: str, device: int = 0) -> list[Value]:
        return [bank.maps[device].value(name, bank.image(device)) for name in names]

    return values
