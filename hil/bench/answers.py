"""Whether the instruments of a bench answer, and are those that its file names. Nothing of them is changed."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from derloop.errors import DerloopError, DeviceError
from hil.bench.file import Bench
from hil.bench.instruments import link_to
from hil.bench.sources import held_by
from hil.instruments.file import InstrumentEntry, MeterSettings, ModbusAt
from hil.modbus.endpoint import Address, located
from hil.safety.folder import Run


@dataclass(frozen=True, slots=True)
class Answered:
    """Who one instrument says that it is, or why it cannot be used as the bench file says."""

    name: str
    where: str
    identity: str = ""
    problem: str = ""

    @property
    def is_fine(self) -> bool:
        return not self.problem


def around(bench: Bench, devices: Collection[str]) -> tuple[str, ...]:
    """Return the instruments between which some devices stand, in the order of the file."""
    powers = [power for name in devices if (power := bench.device(name).power) is not None]
    used = {name for power in powers for name in power.instruments}
    return tuple(name for name in bench.file.instruments if name in used)


def ask(bench: Bench, names: Collection[str]) -> list[Answered]:
    """Ask instruments who they are, one after the other, but for those that a run has: they answer it alone."""
    return [_answered(bench, name) for name in names]


def _answered(bench: Bench, name: str) -> Answered:
    entry = bench.file.instruments[name]
    where = _where(bench, entry)
    try:
        if who := _holder(bench, name, entry):
            return Answered(name, where, problem=f"was not asked: {who}")
        link = link_to(bench.path.parent, name, entry)
        try:
            link.meet()
            return Answered(name, where, identity=link.identity)
        finally:
            link.close()
    except DeviceError as failure:
        return Answered(name, where, problem=failure.why.removeprefix(f"{where}: "))
    except DerloopError as lacking:
        return Answered(name, where, problem=str(lacking))


def _where(bench: Bench, entry: InstrumentEntry) -> str:
    if isinstance(entry.at, ModbusAt):
        return str(Address(located(entry.at.endpoint, bench.path.parent), entry.at.unit))
    return entry.at.resource


def _holder(bench: Bench, name: str, entry: InstrumentEntry) -> str:
    """Return which run has an instrument: a meter, whoever has the source of its device. Empty if none has."""
    powers = [device.power for device in bench.file.devices.values() if device.power is not None]
    beside = [power.ac_source for power in powers if power.meter == name]
    sources = beside if isinstance(entry, MeterSettings) else [name]
    run = Run(Path.cwd(), bench.path, bench.addresses)
    return next((who for source in sources if (who := held_by(bench, source, run))), "")
