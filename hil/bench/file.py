"""Bench files: what the lab has, where it is, and what may be done to it.

A bench file holds no behaviour and a scenario no addresses: `"via": "bench:inverter-1"` names a device of the file.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints, ValidationError

from derloop import document
from derloop.errors import DerloopError, Problem, ScenarioError, did_you_mean
from derloop.kind import Settings
from derloop.texts import Shape
from derloop.validation import listed, read_model
from hil.bench.instruments import instrument_problems, unknown_instruments
from hil.instruments.file import InstrumentEntry, ModbusAt
from hil.inverter.device import Identity
from hil.modbus.endpoint import Address, Endpoint, Serial, Timing, Unit, located
from hil.modbus.framing import RTU
from hil.phil.settings import PowerSettings
from hil.safety.place import spelt
from hil.safety.rules import EmergencyStop, SafetyRules

DIALECT = "https://json-schema.org/draft/2020-12/schema"
MOST_DEVICES = 1000
LONGEST_NAME = 60
DeviceName = Annotated[
    str,
    StringConstraints(max_length=LONGEST_NAME),
    Shape(
        r"^[a-z][a-z0-9]*([-_.][a-z0-9]+)*$",
        "lower-case letters and digits, beginning with a letter, with single -, _ or . between them: inverter-1",
    ),
]
Text = Annotated[str, StringConstraints(min_length=1, max_length=64)]


class Expected(Settings):
    """Who must answer. What is not named may be anything; a device that differs is not touched."""

    manufacturer: Text | None = Field(default=None, description="SunSpec: point 1.Mn.")
    model: Text | None = Field(default=None, description="SunSpec: point 1.Md.")
    version: Text | None = Field(default=None, description="SunSpec: point 1.Vr.")
    serial: Text | None = Field(default=None, description="SunSpec: point 1.SN. It tells two devices of a kind apart.")

    def differences(self, found: Identity) -> list[str]:
        """Return in words what `found` has that is not what must be."""
        pairs = ((name, getattr(self, name), getattr(found, name)) for name in type(self).model_fields)
        return [f"{name} is {has!r}, not {want!r}" for name, want, has in pairs if want is not None and has != want]


class Abort(Settings):
    """The run ends, named, when the device does not answer."""

    policy: Literal["abort"] = "abort"


class Hold(Settings):
    """What was measured last is kept for a while, with its age; then the run ends, named."""

    policy: Literal["hold"]
    max_age_s: float = Field(gt=0, le=3600, description="How old measurements may become before the run ends.")


Silence = Annotated[Abort | Hold, Field(discriminator="policy")]


class DeviceEntry(Settings):
    """One device that speaks Modbus."""

    description: str = Field(default="", max_length=1000)
    endpoint: Endpoint = Field(description="Where it is. Devices with the same endpoint share one connection.")
    unit: Unit = Field(default=1, description="Its unit number there.")
    timing: Timing = Timing()
    own_connection: bool = Field(
        default=False, description="Open a connection for this device alone, though another one has the same endpoint."
    )
    speaks: str = Field(
        default="sunspec", min_length=1, max_length=400, description='"sunspec", or the file of a register map (JSON).'
    )
    identity: Expected = Expected()
    rated_kva: float | None = Field(
        default=None, gt=0, description="Its rated apparent power; without it, what its nameplate says."
    )
    silence: Silence = Field(default=Abort(), description="What is done when the device does not answer.")
    safety: SafetyRules = Field(default=SafetyRules(), description="What may be done to it, and how it is left.")
    power: PowerSettings | None = Field(
        default=None, description="Where it stands in power hardware: between which instruments, and for what."
    )


class BenchFile(Settings):
    """A bench: its devices and instruments by name."""

    schema_: str | None = Field(
        default=None, alias="$schema", description="The JSON Schema, for completion in editors."
    )
    name: str = Field(min_length=1, max_length=60, description="What the bench is called in messages and results.")
    description: str = Field(default="", max_length=4000)
    devices: Mapping[DeviceName, DeviceEntry] = Field(default_factory=dict, max_length=MOST_DEVICES)
    instruments: Mapping[DeviceName, InstrumentEntry] = Field(default_factory=dict, max_length=MOST_DEVICES)
    emergency_stop: EmergencyStop = EmergencyStop()


@dataclass(frozen=True, slots=True)
class Bench:
    """A bench file that has been read. Relative paths in it start at its folder."""

    path: Path
    file: BenchFile

    @property
    def names(self) -> tuple[str, ...]:
        """What its devices are called, in the order of the file."""
        return tuple(self.file.devices)

    def device(self, name: str) -> DeviceEntry:
        """Return one device. Raises DerloopError with what there is instead."""
        if name not in self.file.devices:
            raise DerloopError(f"bench {self.file.name!r} ({self.path.name}) has no device {name!r}{self.hint(name)}")
        return self.file.devices[name]

    def hint(self, name: str) -> str:
        """Return what somebody may have meant who wrote `name`."""
        return did_you_mean(name, self.names)

    def select(self, pattern: str) -> tuple[str, ...]:
        """Return the names that match a pattern ("inv-*"), sorted as people count: inv-2 before inv-10."""
        return tuple(sorted((n for n in self.names if fnmatchcase(n, pattern)), key=counted))

    def chosen(self, wanted: Sequence[str]) -> tuple[str, ...]:
        """Return the devices that names or patterns mean. Raises DerloopError for one that means none."""
        found = {each: self.select(each) for each in wanted}
        for each in (each for each, names in found.items() if not names and each != "*"):
            self.device(each)
        return tuple(dict.fromkeys(name for names in found.values() for name in names))

    @property
    def addresses(self) -> frozenset[str]:
        """Where its devices are, in words."""
        return frozenset(str(self.address(name)) for name in self.names)

    def address(self, name: str) -> Address:
        """Return where a device is."""
        entry = self.device(name)
        return Address(located(entry.endpoint, self.path.parent), entry.unit)


def counted(name: str) -> list[int | str]:
    """Return a key that sorts the numbers in names by their values."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]


def read_bench(path: Path) -> Bench:
    """Return the bench in a file; raise ScenarioError, which names the file, with everything that is wrong in it."""
    problems: list[Problem] = []
    broken: set[str] = set()
    try:
        file = read_model(BenchFile, path)
    except ScenarioError as wrong:
        problems += wrong.problems
        data = document.readable(document.read(path))
        file, broken = _what_is_right(data, problems)
        problems += unknown_instruments(data)
    bench = Bench(path.resolve(), file)
    problems += [*_nobodies(bench), *_nowhere(bench), *_twins(bench), *_ports(bench), *_watched(bench, broken)]
    problems += [*_languages(bench), *_instruments(bench, broken)]
    if problems:
        raise ScenarioError(listed(problems), str(path))
    return bench


def _what_is_right(data: Mapping[str, Any], problems: Sequence[Problem]) -> tuple[BenchFile, set[str]]:
    """Return the entries of a bench file with which nothing is wrong by itself, and the names of the others."""
    right: dict[str, Any] = {"name": "bench"}
    broken: set[str] = set()
    for section in ("devices", "instruments"):
        entries = data[section] if isinstance(data.get(section), Mapping) else {}
        wrong = {name for name in entries if _is_wrong(f"/{section}/{name}", problems)}
        right[section] = {name: entry for name, entry in entries.items() if name not in wrong}
        broken |= wrong
    if "emergency_stop" in data and not _is_wrong("/emergency_stop", problems):
        right["emergency_stop"] = data["emergency_stop"]
    try:
        return BenchFile.model_validate(right), broken
    except ValidationError:
        return BenchFile(name="bench"), broken


def _is_wrong(pointer: str, problems: Sequence[Problem]) -> bool:
    return any(each.pointer == pointer or each.pointer.startswith(f"{pointer}/") for each in problems)


def _instruments(bench: Bench, broken: set[str]) -> Iterator[Problem]:
    """Yield what is wrong between instruments and devices, but for those that name what is wrong by itself."""
    powers = {name: device.power for name, device in bench.file.devices.items()}
    known = bench.file.instruments.keys()
    wired = {name: power for name, power in powers.items() if power and (not broken or power.instruments <= known)}
    return instrument_problems(bench.file.instruments, wired, bench.path.parent)


def _languages(bench: Bench) -> Iterator[Problem]:
    """Yield the register maps that cannot be used."""
    from hil.inverter.mapped import language  # not before there is a map to read

    for name, entry in bench.file.devices.items():
        if entry.speaks != "sunspec":
            try:
                language(entry.speaks, bench.path.parent)
            except ScenarioError as wrong:
                yield from (Problem(f"/devices/{name}/speaks", f"{entry.speaks}: {each}") for each in wrong.problems)


def _twins(bench: Bench) -> Iterator[Problem]:
    """Yield the devices that are where another one is: they are one, and would be commanded twice."""
    seen: dict[str, str] = {}
    for name in bench.names:
        address = bench.address(name)
        other = seen.setdefault(spelt(address), name)
        if other != name:
            yield Problem(f"/devices/{name}/unit", f"{address} is device {other!r} already")


def _nobodies(bench: Bench) -> Iterator[Problem]:
    """Yield who is at an address that none has: what is written there all on the line do, and none answers."""
    for pointer, endpoint, unit in _addresses(bench):
        if endpoint.framing is RTU and unit == 0:
            yield Problem(f"{pointer}/unit", "0 is all devices on a serial line; one of them is 1 to 247")


def _nowhere(bench: Bench) -> Iterator[Problem]:
    """Yield which hosts and ports are none, though an emulator may be told them."""
    for pointer, endpoint, _ in _addresses(bench):
        if isinstance(endpoint, Serial):
            continue
        if not endpoint.host.strip():
            yield Problem(f"{pointer}/endpoint/host", "names no host")
        if endpoint.port == 0:
            yield Problem(f"{pointer}/endpoint/port", "0 is no port at which anything listens; one is 1 to 65535")


def _addresses(bench: Bench) -> Iterator[tuple[str, Endpoint, int]]:
    """Yield where devices and instruments that speak Modbus are: pointer, endpoint, unit."""
    for name, device in bench.file.devices.items():
        yield f"/devices/{name}", device.endpoint, device.unit
    for name, entry in bench.file.instruments.items():
        if isinstance(entry.at, ModbusAt):
            yield f"/instruments/{name}/at", entry.at.endpoint, entry.at.unit


def _ports(bench: Bench) -> Iterator[Problem]:
    """Yield the devices on a serial port that others have opened for them otherwise: it is opened once, for all."""
    seen: dict[Path, tuple[str, Serial]] = {}
    for name in bench.names:
        endpoint = bench.address(name).endpoint
        if not isinstance(endpoint, Serial):
            continue
        other, first = seen.setdefault(endpoint.path.resolve(), (name, endpoint))
        if endpoint.bits != first.bits:
            what = f"{endpoint} is opened once, for device {other!r} with {first.bits}, not {endpoint.bits}"
            yield Problem(f"/devices/{name}/endpoint", what)
        if other != name and (bench.device(name).own_connection or bench.device(other).own_connection):
            what = f"{endpoint} is opened once, and devices {other!r} and {name!r} are on it"
            yield Problem(f"/devices/{name}/own_connection", what)


def _watched(bench: Bench, broken: set[str]) -> Iterator[Problem]:
    file = bench.file.emergency_stop.file
    if file and (what := _never_appears(bench.path.parent / file)):
        yield Problem("/emergency_stop/file", what)
    for index, watched in enumerate(bench.file.emergency_stop.inputs):
        if watched.device not in bench.names and watched.device not in broken:
            where = f"/emergency_stop/inputs/{index}/device"
            yield Problem(where, f"no device {watched.device!r}{bench.hint(watched.device)}")


def _never_appears(path: Path) -> str:
    """Return why no file could appear there; empty if one could, or is there."""
    if not _is_folder(path.parent):
        return f"there is no folder {path.parent}, in which it could appear"
    try:
        path.lstat()
    except FileNotFoundError:
        return ""
    except OSError as error:
        return f"no file can be called so: {error.strerror}"
    except ValueError:
        return "no file can be called so: it holds a null character"
    return ""


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # longer than the name of a folder can be, or inside one that is not for us
        return False


def bench_schema() -> dict[str, Any]:
    """Return the JSON Schema of bench files."""
    return {"$schema": DIALECT, **BenchFile.model_json_schema(by_alias=True), "title": "derloop bench"}


def arming_problems(bench: Bench, armed: Sequence[str]) -> list[str]:
    """Return what is wrong with names that are to be armed: only devices of the bench can be, each by its name."""
    problems = []
    for name in (name for name in armed if name not in bench.names):
        no_such = f"bench {bench.file.name!r} has no such device{bench.hint(name)}"
        problems.append(f"--arm {name}: " + ("patterns arm nothing; name each" if set("*?[") & set(name) else no_such))
    return problems
