"""Points of one device, written by hand: through every guard, and to stay."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from derloop.errors import DerloopError, Interlocked
from hil.bench.devices import reached, refuse_stranger
from hil.bench.file import Bench, arming_problems
from hil.bench.fitting import refuse_misfits
from hil.bench.logbook import Logbook
from hil.inverter.device import Device
from hil.modbus.thread import LoopThread
from hil.safety.folder import Run, StateFolder
from hil.safety.keeper import Keeper
from hil.safety.stop import is_there
from hil.sunspec.points import Point, Value


@dataclass(frozen=True, slots=True)
class Written:
    """A point that has been written, acknowledged and read back."""

    point: Point
    was: Value
    value: Value
    asked: float | str

    @property
    def is_rounded(self) -> bool:
        """Whether the nearest step of the point is held, and not the number that was asked for."""
        return isinstance(self.asked, float) and self.value != self.asked


def assignments(words: Sequence[str]) -> dict[str, float | str]:
    """Return what POINT=VALUE words say; a value that is no number is the name of one. Raises DerloopError."""
    found: dict[str, float | str] = {}
    for word in words:
        point, equals, text = word.partition("=")
        if not (point and equals and text):
            raise DerloopError(f"{word!r}: must be POINT=VALUE, as in 704.WMaxLimPct=50")
        if point in found:
            raise DerloopError(f"{word!r}: {point} is given twice")
        found[point] = _value(text)
    return found


def _value(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def write_points(
    bench: Bench, name: str, values: Mapping[str, float | str], armed: Collection[str], logbook: Logbook
) -> list[Written]:
    """Write points of one device, all or none as far as guards decide, and verify that the device holds them.

    What is written stays; logbook has every frame of it. Raises Interlocked where a guard refuses; nothing has been
    written then.
    """
    if problems := arming_problems(bench, [*armed]):
        raise DerloopError("\n".join(problems))
    _refuse_stopped(bench, name)
    thread = LoopThread(f"bench {name}")
    try:
        return thread.run(_write(bench, name, values, armed, logbook))
    finally:
        thread.close()


async def _write(
    bench: Bench, name: str, values: Mapping[str, float | str], armed: Collection[str], logbook: Logbook
) -> list[Written]:
    async with reached(bench, [name], logbook.of_devices) as devices:
        device = devices[name]
        await device.discover()
        refuse_stranger(bench.device(name), device)
        keeper = keeper_of(bench, device, armed)
        if not keeper.is_armed:
            raise Interlocked(name, f"is only read; to write to it takes --arm {name}")
        refuse_misfits(bench.device(name), device)
        _refuse_unwritable(device, values)
        await keeper.take(to_stay=True)
        try:
            was = await device.read([*values])
            _refuse_stopped(bench, name)
            await device.write(values)
        except BaseException:
            await keeper.let_go()
            raise
        keeper.stay()
        return [Written(device.map[p], was[p], device.map.value(p, device.image), asked) for p, asked in values.items()]


def _refuse_stopped(bench: Bench, name: str) -> None:
    """Raise Interlocked while the emergency stop's file is there; it may appear while a slow device is read."""
    stop = bench.file.emergency_stop.file
    if stop is not None and is_there(bench.path.parent / stop):
        raise Interlocked(name, f"nothing was written: the emergency stop's file {bench.path.parent / stop} is there")


def _refuse_unwritable(device: Device, values: Mapping[str, float | str]) -> None:
    """Raise Interlocked for points that are only read, also where they hold already what is asked for."""
    if fixed := [name for name in values if name in device.map and not device.map[name].writable]:
        raise Interlocked(device.name, f"nothing was written: {', '.join(fixed)} can only be read")


def keeper_of(bench: Bench, device: Device, armed: Collection[str]) -> Keeper:
    """Return the keeper of a device that has been discovered, and set it as its guard: for commands of one's own."""
    run = Run(Path.cwd(), bench.path, bench.addresses)
    keeper = Keeper(device, bench.device(device.name).safety, armed, StateFolder.of_user(), run)
    device.guard = keeper
    return keeper
