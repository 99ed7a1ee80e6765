"""A device behind a keeper, in a loop of its own, as a bench has it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hil.inverter.commands import Order
from hil.inverter.device import Device
from hil.inverter.guard import Unguarded
from hil.inverter.lease import NO_LEASE, Lease, reversion
from hil.modbus.endpoint import Address, Timing
from hil.modbus.link import Link
from hil.modbus.thread import LoopThread
from hil.safety.folder import Run, StateFolder
from hil.safety.keeper import Keeper
from hil.safety.record import Record, Records
from hil.safety.rules import NoLease, SafetyRules
from hil.sunspec.points import Value

LEASE_S = 60


def state_in(folder: Path) -> StateFolder:
    return StateFolder(folder / "state", (folder / "state" / "locks",))


@dataclass
class KeptDevice:
    """One device and its keeper, for synchronous tests."""

    device: Device
    keeper: Keeper
    thread: LoopThread
    folder: StateFolder

    def take(self) -> None:
        self.thread.run(self.keeper.take())

    def command(self, now_s: float = 0.0, **order: float) -> None:
        self.thread.run(self.device.command(Order(**order), now_s))

    def write(self, values: Mapping[str, float | str], now_s: float = 0.0) -> None:
        self.thread.run(self.device.write(values, now_s))

    def write_unguarded(self, values: Mapping[str, float | str]) -> None:
        """Write as somebody else does, whom no keeper of ours asks."""
        self.device.guard = Unguarded()
        self.write(values)
        self.device.guard = self.keeper

    def read(self, *names: str) -> dict[str, Value]:
        return self.thread.run(self.device.read(names))

    def let_go(self) -> None:
        self.thread.run(self.keeper.let_go())

    def make_safe(self, why: str) -> None:
        self.thread.run(self.keeper.make_safe(why))

    def die(self) -> None:
        """Leave everything as it is, as a killed run does: what was open is closed, and nothing else happens."""
        self.thread.run(self.device.link.close())
        if self.keeper._lock is not None:
            self.keeper._lock.release()

    @property
    def records(self) -> list[Record]:
        return Records(self.folder.records).read()[0]


def keep(
    address: Address,
    folder: Path,
    thread: LoopThread,
    rules: SafetyRules | None = None,
    armed: Sequence[str] = ("inv-1",),
    run: str = "first",
    deadline_s: float = 5.0,
    state: StateFolder | None = None,
) -> KeptDevice:
    """Return a device that is discovered, and not taken yet."""
    rules = rules or SafetyRules()
    lease: Lease = NO_LEASE if isinstance(rules.lease, NoLease) else reversion(rules.lease.seconds)
    device = Device(Link("inv-1", address, Timing(deadline_s=deadline_s)), lease, safe=rules.safe_state.points)
    thread.run(device.discover())
    state = state or state_in(folder)
    keeper = Keeper(device, rules, armed, state, Run(folder / "runs" / run, folder / "bench.json"))
    return KeptDevice(device, keeper, thread, state)
