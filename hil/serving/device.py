"""A device as it is served: its registers, and what is wrong with it."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

from derloop.errors import Problem, ScenarioError, did_you_mean
from hil.emulator.bank import RegisterBank
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


@dataclass(frozen=True)
class Hardware:
    """What quirks have to know of a device."""

    name: str
    registers: Holding
    blocks: Blocks
    """All its registers."""
    points: Mapping[str, Point]
    restart: Callable[[], None] = _nothing
    """Takes its settings back to those from the factory."""
    functions: Collection[int] = FUNCTIONS
    inputs: Holding | None = None
    """Its input registers; None: those that it holds, too."""


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
    return Device(RegisterResponder(hardware.registers, hardware.functions, hardware.inputs))


def awkward(hardware: Hardware, quirks: Quirks, clock: Clock = time.monotonic) -> Device:
    """Return a device with quirks. Raises ScenarioError where they name points that it does not have.

    clock: the device's, in which a copy gets stale and a reboot is due. What concerns the wire is on the wall's.
    """
    refuse_unknown_points(hardware, quirks)
    chance, count = Chance(quirks.seed, hardware.name), Count()
    registers, moving = _showing(hardware, quirks, chance, count, clock)
    responder: Responder = RegisterResponder(registers, hardware.functions, hardware.inputs)
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
        elif path[0] == "not_implemented" and hardware.points[name].absent == NO_PATTERN:
            yield Problem(pointer, f"no value of {name!r} says that it is not implemented")
    for index, address in enumerate(quirks.stuck.addresses if quirks.stuck else ()):
        if not any(start <= address < start + count for start, count in hardware.blocks):
            yield Problem(f"/stuck/addresses/{index}", f"{hardware.name} has no register {address}")


def _near(name: str, hardware: Hardware) -> str:
    return did_you_mean(name, tuple(hardware.points))


def _showing(
    hardware: Hardware, quirks: Quirks, chance: Chance, count: Count, clock: Clock
) -> tuple[Holding, Moving | None]:
    """Return the registers as they are shown, and what can move them."""
    registers, points = hardware.registers, hardware.points
    if quirks.rounds:
        registers = Rounding(registers, [(points[name], step) for name, step in quirks.rounds.items()])
    if quirks.forgets:
        registers = Forgetful(registers, quirks.forgets, chance, count)
    if quirks.not_implemented:
        registers = Unimplemented(registers, [points[name] for name in quirks.not_implemented])
    if quirks.stale_s:
        registers = Stale(registers, hardware.blocks, quirks.stale_s, clock)
    if quirks.stuck:
        spans = [(points[name].address, points[name].length) for name in quirks.stuck.points]
        spans += [(address, 1) for address in quirks.stuck.addresses]
        registers = Stuck(registers, spans, quirks.stuck.after_requests, count)
    if quirks.moving_map:
        moving = Moving(registers, quirks.moving_map, count)
        return moving, moving
    return registers, None


def _restart(hardware: Hardware, quirks: Quirks, moving: Moving | None) -> None:
    if quirks.reboot and not quirks.reboot.keeps_settings:
        hardware.restart()
    if moving is not None:
        moving.has_moved = True


def manner_of(devices: Mapping[int, Device]) -> MannerOf:
    """Return the manner of a line with these units."""
    fates = {unit: device.fate for unit, device in devices.items() if device.fate is not None}
    return partial(Awkward, fates=fates) if fates else Plain
