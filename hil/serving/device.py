"""A device as it is served: its registers, and what is wrong with it."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from derloop.errors import Problem, ScenarioError, did_you_mean
from hil.emulator.bank import RegisterBank
from hil.modbus.pdu import READS
from hil.serving.awkward_manner import Awkward, Fate
from hil.serving.awkward_registers import Blocks, Clock, Forgetful, Moving, Rounding, Stale, Stuck, Unimplemented
from hil.serving.awkward_responder import OneAtATime, Rebooting, Unwilling
from hil.serving.chance import Chance
from hil.serving.count import Count
from hil.serving.exchanges import MannerOf, Plain
from hil.serving.quirks import Quirks
from hil.serving.responder import FUNCTIONS, BankRegisters, Holding, RegisterResponder, Responder
from hil.sunspec.points import NO_PATTERN, Point


def _nothing() -> None:
    """Restart with all that there is."""


class Inputs(NamedTuple):
    """Input registers that are others than those that a device holds."""

    registers: Holding
    blocks: Blocks
    """All of them."""


@dataclass(frozen=True)
class Hardware:
    """What quirks have to know of a device."""

    name: str
    registers: Holding
    blocks: Blocks
    """All its registers, but for `inputs`."""
    points: Mapping[str, Point]
    restart: Callable[[], None] = _nothing
    """Takes its settings back to those from the factory."""
    functions: Collection[int] = FUNCTIONS
    inputs: Inputs | None = None
    """None: who reads input registers reads those that it holds."""

    def tables(self) -> tuple[Table, ...]:
        """Return what each function reads: first what it holds, then the input registers where these are others."""
        if self.inputs is None:
            return (Table(self.registers, self.blocks, self.points),)
        held, read = ({n: p for n, p in self.points.items() if p.manner.function == f} for f in READS)
        return (Table(self.registers, self.blocks, held), Table(*self.inputs, read))


class Table(NamedTuple):
    """Registers of one sort, and the points in them."""

    registers: Holding
    blocks: Blocks
    points: Mapping[str, Point]

    def lacking(self, name: str) -> list[int]:
        """Return which registers are not there of a point, where it is one of these."""
        point = self.points.get(name)
        return [] if point is None else [at for at in range(point.address, point.end) if not self.has(at)]

    def has(self, address: int) -> bool:
        return any(start <= address < start + count for start, count in self.blocks)


@dataclass(frozen=True)
class Device:
    """What answers for one unit of a line, and what becomes of its answers."""

    responder: Responder
    fate: Fate | None = None
    """None: nothing."""


def of_bank(bank: RegisterBank, device: int, name: str) -> Hardware:
    """Return one device of a bank."""
    registers, map_ = BankRegisters(bank, device), bank.maps[device]
    return Hardware(name, registers, [(map_.base, map_.end - map_.base)], map_.points, registers.restart)


def plain(hardware: Hardware) -> Device:
    return Device(_responder(hardware, [table.registers for table in hardware.tables()]))


def _responder(hardware: Hardware, tables: Sequence[Holding]) -> RegisterResponder:
    held, *inputs = tables
    return RegisterResponder(held, hardware.functions, *inputs)


def awkward(hardware: Hardware, quirks: Quirks, clock: Clock = time.monotonic) -> Device:
    """Return a device with quirks. Raises ScenarioError where they name points that it does not have.

    clock: the device's, in which a copy gets stale and a reboot is due. What concerns the wire is on the wall's.
    """
    refuse_unknown_points(hardware, quirks)
    chance, count = Chance(quirks.seed, hardware.name), Count()
    shown = [_showing(table, quirks, chance, count, clock) for table in hardware.tables()]
    moving = [each for each in shown if isinstance(each, Moving)]
    responder: Responder = _responder(hardware, shown)
    if quirks.slow:
        responder = OneAtATime(responder, quirks.slow)
    if quirks.reboot:
        responder = Rebooting(responder, quirks.reboot, count, clock, partial(_restart, hardware, quirks, moving))
    return Device(Unwilling(responder, quirks, chance, count), Fate(quirks, chance, count))


def refuse_unknown_points(hardware: Hardware, quirks: Quirks) -> None:
    """Raise ScenarioError with every point or register that quirks name and the device does not have."""
    if problems := [*_unknown(hardware, quirks)]:
        raise ScenarioError(problems, "quirks")


def _unknown(hardware: Hardware, quirks: Quirks) -> Iterator[Problem]:
    for path, name in quirks.points.items():
        pointer = "".join(f"/{part}" for part in path)
        if name not in hardware.points:
            yield Problem(pointer, f"{hardware.name} has no point {name!r}" + _near(name, hardware))
        elif lacking := [at for table in hardware.tables() for at in table.lacking(name)]:
            yield Problem(pointer, f"{hardware.name} has no register {lacking[0]}, where its map has {name!r}")
        elif path[0] == "not_implemented" and hardware.points[name].absent == NO_PATTERN:
            yield Problem(pointer, f"no value of {name!r} says that it is not implemented")
    for index, address in enumerate(quirks.stuck.addresses if quirks.stuck else ()):
        if not any(table.has(address) for table in hardware.tables()):
            yield Problem(f"/stuck/addresses/{index}", f"{hardware.name} has no register {address}")


def _near(name: str, hardware: Hardware) -> str:
    return did_you_mean(name, tuple(hardware.points))


def _showing(table: Table, quirks: Quirks, chance: Chance, count: Count, clock: Clock) -> Holding:
    """Return registers as they are shown; where quirks move the map, `Moving` ones."""
    registers, points = table.registers, table.points
    if quirks.rounds:
        steps = [(points[name], step) for name, step in quirks.rounds.items() if name in points]
        registers = Rounding(registers, steps)
    if quirks.forgets:
        registers = Forgetful(registers, quirks.forgets, chance, count)
    if quirks.not_implemented:
        registers = Unimplemented(registers, [points[name] for name in quirks.not_implemented if name in points])
    if quirks.stale_s:
        registers = Stale(registers, table.blocks, quirks.stale_s, clock)
    if quirks.stuck:
        spans = [(points[name].address, points[name].length) for name in quirks.stuck.points if name in points]
        spans += [(address, 1) for address in quirks.stuck.addresses if table.has(address)]
        registers = Stuck(registers, spans, quirks.stuck.after_requests, count)
    return Moving(registers, quirks.moving_map, count) if quirks.moving_map else registers


def _restart(hardware: Hardware, quirks: Quirks, moving: Sequence[Moving]) -> None:
    if quirks.reboot and not quirks.reboot.keeps_settings:
        hardware.restart()
    for each in moving:
        each.has_moved = True


def manner_of(devices: Mapping[int, Device]) -> MannerOf:
    """Return the manner of a line with these units."""
    fates = {unit: device.fate for unit, device in devices.items() if device.fate is not None}
    return partial(Awkward, fates=fates) if fates else Plain
