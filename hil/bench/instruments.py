"""The instruments of a bench file: whether they fit together, and made ready to be opened."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from derloop.errors import Problem, ScenarioError, did_you_mean
from hil.instruments.command_map import Measured, Quantity, read_command_map
from hil.instruments.file import AcSourceSettings, DcSourceSettings, InstrumentEntry, MeterSettings, ModbusAt
from hil.modbus.endpoint import located
from hil.modbus.tap import Tap

if TYPE_CHECKING:
    from hil.frames.layout import Peer
    from hil.instruments.instrument import Instrument
    from hil.phil.interface import Instruments
    from hil.phil.settings import PowerSettings

_MUST_SET: dict[str, tuple[Quantity, ...]] = {"ac-source": ("v_ln_v", "f_hz", "output"), "dc-source": ("output",)}
_MUST_READ: dict[str, tuple[Measured, ...]] = {"meter": ("p_w", "q_var")}

SUNSPEC = "sunspec"
"""What stands for the commands of an instrument that describes itself."""

Entries = Mapping[str, InstrumentEntry]
"""The instruments of a bench file, by name."""


def instrument_problems(entries: Entries, wired: Mapping[str, PowerSettings], folder: Path) -> Iterator[Problem]:
    """Yield what is wrong with the instruments of a bench file in `folder`, and with the devices that they power."""
    for name, entry in entries.items():
        yield from _map_problems(f"/instruments/{name}/commands", entry, folder)
    yield from _twins(entries)
    owners: dict[tuple[str, int], str] = {}
    metered: dict[str, str] = {}
    set_for: dict[str, tuple[str, object]] = {}
    for name, power in wired.items():
        yield from _wiring_problems(f"/devices/{name}/power", entries, power)
        yield from _shared_phases(name, power, owners)
        yield from _shared_meter(name, power, metered)
        yield from _shared_settings(name, power, set_for)
    yield from _shared_voltages(entries, wired, folder)


def _twins(entries: Entries) -> Iterator[Problem]:
    """Yield the sources that are where another one is, and are told the same: they are one, and would be set twice."""
    first: dict[tuple[str, str], str] = {}
    for name, entry in entries.items():
        if not isinstance(entry, MeterSettings):
            other = first.setdefault((entry.at.model_dump_json(), entry.commands), name)
            if other != name:
                yield Problem(f"/instruments/{name}/at", f"this is source {other!r} already, in the same words")


def unknown_instruments(data: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield which instruments devices name that are not there, in a bench file of which something else is wrong.

    data: as it stands in the file.
    """
    there, devices = tuple(_object(data, "instruments")), _object(data, "devices")
    for name in devices:
        power = _object(_object(devices, name), "power")
        named = {"ac_source": power.get("ac_source"), "meter": power.get("meter")}
        named["dc/source"] = _object(power, "dc").get("source")
        for key, instrument in named.items():
            if isinstance(instrument, str) and instrument not in there:
                yield _no_instrument(f"/devices/{name}/power/{key}", instrument, there)


def _object(data: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """Return the object at a key; an empty one where there is none."""
    found = data.get(key)
    return found if isinstance(found, Mapping) else {}


def _no_instrument(pointer: str, name: str, there: Sequence[str]) -> Problem:
    return Problem(pointer, f"no instrument {name!r}{did_you_mean(name, there)}")


def _map_problems(pointer: str, entry: InstrumentEntry, folder: Path) -> Iterator[Problem]:
    try:
        link = link_to(folder, "", entry)
    except ScenarioError as wrong:
        yield from (Problem(pointer, f"{entry.commands!r}{_within(problem)}") for problem in wrong.problems)
        return
    lacking: list[str] = [each for each in _MUST_SET.get(entry.kind, ()) if not link.can_set(each)]
    lacking += [each for each in _MUST_READ.get(entry.kind, ()) if not link.can_read(each)]
    if lacking:
        yield Problem(pointer, f"{entry.commands!r} does not fit the kind {entry.kind}: it lacks {', '.join(lacking)}")


def _within(problem: Problem) -> str:
    return f" at {problem}" if problem.pointer else f": {problem.what}"


def _wiring_problems(pointer: str, entries: Entries, power: PowerSettings) -> Iterator[Problem]:
    """Yield where a device names an instrument that is not there, or is of another kind, or lacks its phases."""
    wanted = [("ac_source", power.ac_source, "ac-source"), ("meter", power.meter, "meter")]
    wanted += [("dc/source", power.dc.source, "dc-source")] if power.dc else []
    for key, name, kind in wanted:
        entry = entries.get(name or "")
        if name is None:
            continue
        if entry is None:
            yield _no_instrument(f"{pointer}/{key}", name, tuple(entries))
        elif entry.kind != kind:
            yield Problem(f"{pointer}/{key}", f"{name!r} is of kind {entry.kind}, not {kind}")
        elif key == "ac_source" and (lacking := set(power.phases) - set(entry.phases)):
            yield Problem(f"{pointer}/phases", f"{name!r} has no phase {min(lacking)}")


def _shared_phases(name: str, power: PowerSettings, owners: dict[tuple[str, int], str]) -> Iterator[Problem]:
    for phase in power.phases:
        other = owners.setdefault((power.ac_source, phase), name)
        if other != name:
            what = f"phase {phase} of {power.ac_source!r} belongs to device {other!r} already"
            yield Problem(f"/devices/{name}/power/phases", what)


def _shared_meter(name: str, power: PowerSettings, metered: dict[str, str]) -> Iterator[Problem]:
    """Yield that a meter is another device's: each of them would be seen with the power of both."""
    other = name if power.meter is None else metered.setdefault(power.meter, name)
    if other != name:
        what = f"{power.meter!r} is the meter of device {other!r} already, and is read for all of its phases: "
        yield Problem(f"/devices/{name}/power/meter", f"{what}each needs an entry that reads its own alone")


def _shared_settings(name: str, power: PowerSettings, set_for: dict[str, tuple[str, object]]) -> Iterator[Problem]:
    """Yield what a source would have to be twice: it has one frequency, or one DC voltage or curve, for all."""
    wanted: list[tuple[str, str, object]] = [("f_hz", power.ac_source, power.f_hz)]
    wanted += [("dc", power.dc.source, power.dc)] if power.dc else []
    for key, source, value in wanted:
        other, held = set_for.setdefault(source, (name, value))
        if held != value:
            what = f"{source!r} is set otherwise for device {other!r} already, and cannot be both"
            yield Problem(f"/devices/{name}/power/{key}", what)


def _shared_voltages(entries: Entries, wired: Mapping[str, PowerSettings], folder: Path) -> Iterator[Problem]:
    """Yield the devices that would get the voltage of another one: their source sets all of its phases at once."""
    first: dict[str, str] = {}
    for name, power in wired.items():
        entry, other = entries.get(power.ac_source), first.setdefault(power.ac_source, name)
        if other == name or not isinstance(entry, AcSourceSettings) or [*_map_problems("", entry, folder)]:
            continue
        if not link_to(folder, power.ac_source, entry).sets_apart("v_ln_v"):
            what = (
                f"{entry.commands!r} sets v_ln_v for all phases at once, and device {other!r} is on {power.ac_source!r}"
            )
            yield Problem(f"/devices/{name}/power/ac_source", f"{what} already: each would need its own")


def instruments_of(
    entries: Entries,
    wired: Sequence[PowerSettings],
    folder: Path,
    beside: Sequence[PowerSettings] = (),
    tap_of: Callable[[Peer], Tap | None] | None = None,
) -> Instruments:
    """Return the instruments between which devices stand, of a bench file in `folder`.

    Sources have the phases that the devices use. beside: where the other devices of the bench stand. tap_of: what hears
    what is said to each.
    """
    from hil.instruments.instrument import AcSource, DcSource, PowerMeter
    from hil.phil.interface import Instruments

    def linked(name: str, entry: InstrumentEntry) -> Instrument:
        return link_to(folder, name, entry, tap_of and tap_of(peer_of(folder, name, entry)))

    ac: dict[str, AcSource] = {}
    dc: dict[str, DcSource] = {}
    meters: dict[str, PowerMeter] = {}
    for name, entry in entries.items():
        used = {phase for power in wired if power.ac_source == name for phase in power.phases}
        if isinstance(entry, AcSourceSettings) and used:
            others_v = {phase: power.nominal_v for power in beside if power.ac_source == name for phase in power.phases}
            link = linked(name, entry)
            ac[name] = AcSource(link, entry, phases=tuple(sorted(used)), beside_v=others_v)
        elif isinstance(entry, DcSourceSettings) and any(power.dc and power.dc.source == name for power in wired):
            dc[name] = DcSource(linked(name, entry), entry)
        elif isinstance(entry, MeterSettings) and any(power.meter == name for power in wired):
            meters[name] = PowerMeter(linked(name, entry), entry)
    return Instruments(ac, dc, meters)


def peer_of(folder: Path, name: str, entry: InstrumentEntry) -> Peer:
    """Return an instrument as a journal of frames knows it."""
    from hil.frames.layout import Peer

    if isinstance(entry.at, ModbusAt):
        return Peer.at(name, located(entry.at.endpoint, folder), entry.at.unit, is_instrument=True)
    return Peer.scpi(name, entry.at.resource)


def link_to(folder: Path, name: str, entry: InstrumentEntry, tap: Tap | None = None) -> Instrument:
    """Return what speaks to an instrument, not yet connected; `tap` hears it.

    Raises ScenarioError for a map that cannot be used.
    """
    if isinstance(entry.at, ModbusAt) and entry.commands == SUNSPEC:
        from hil.instruments.sunspec_meter import SunSpecMeter

        return SunSpecMeter(name, entry, folder, tap)
    if isinstance(entry.at, ModbusAt):
        from hil.instruments.modbus import ModbusInstrument
        from hil.inverter.mapped import read_register_map

        return ModbusInstrument(name, entry, read_register_map(folder / entry.commands), folder, tap)
    from hil.instruments.scpi import ScpiInstrument

    return ScpiInstrument(name, entry, read_command_map(entry.commands, folder), tap)
