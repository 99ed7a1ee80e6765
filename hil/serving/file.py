"""Emulator files: what is served, where, and what is wrong with it.

There are fleets of a scenario, copies of scanned devices, and recorded sessions.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from derloop.errors import Problem, ScenarioError, did_you_mean
from derloop.kind import Settings
from derloop.texts import Shape
from derloop.validation import read_model
from hil.emulator.profile import Profile
from hil.modbus.endpoint import Endpoint, Serial, Tcp, Timing, Tls, Unit, located
from hil.serving.quirks import Quirks
from hil.serving.security import Right

DIALECT = "https://json-schema.org/draft/2020-12/schema"
Name = Annotated[
    str, Shape(r"^[a-zA-Z][a-zA-Z0-9_.-]{0,59}$", "letters, digits, _, . and -, beginning with a letter, at most 60")
]
Rights = tuple[Right, ...]


class Served(Settings):
    """Where something listens, and how it behaves there."""

    listen: Endpoint = Field(default=Tcp(port=0), description="Where it listens. Port 0: one that is free.")
    unit: Unit = Field(default=1, description="Its unit number there.")
    quirks: Quirks = Field(default=Quirks(), description="What is wrong with it.")
    roles: dict[str, Rights] | None = Field(
        default=None,
        description="TLS: what each role, as certificates name it, may do. Without: all may do anything.",
        examples=[{"operator": ["read", "write"], "viewer": ["read"]}],
    )
    takes_time: bool = Field(default=True, description="Serial lines: bytes take as long as the baud rate says.")

    @model_validator(mode="after")
    def _knows_who_asks(self) -> Self:
        if self.roles is not None and not isinstance(self.listen, Tls):
            raise ValueError("roles are those of certificates, which only a listen of transport tls has")
        return self


class Waiting(Timing):
    """How long a run's own client waits for devices that are served in lock-step, and how often it asks them."""

    deadline_s: float = Field(
        default=10.0, gt=0, le=600, description="For a whole exchange: connecting, every attempt, every byte."
    )
    attempts: int = Field(default=4, ge=1, le=20, description="Within the deadline.")


class FleetEntry(Served):
    """How a fleet of the scenario is served: a port for each device, counted from `listen`, or all on one line."""

    bus: bool = Field(default=False, description="All devices on one line, as units counted from `unit`.")
    quirks_of: dict[str, Quirks] = Field(default={}, description="Of single devices, in the place of `quirks`.")
    profile: Profile = Field(default=Profile(), description="How its devices are built: their models, and more.")
    profile_of: dict[str, Profile] = Field(default={}, description="Of single devices, in the place of `profile`.")
    timing: Waiting = Field(
        default=Waiting(), description="How the run's own client waits for the devices, where it has one (lock-step)."
    )

    @model_validator(mode="after")
    def _has_a_line_for_each(self) -> FleetEntry:
        if isinstance(self.listen, Serial) and not self.bus:
            raise ValueError('bus must be true on a serial line, which is one for all: "bus": true')
        return self

    def units(self, count: int) -> list[int]:
        """Return the unit numbers of so many devices."""
        return [self.unit + index if self.bus else self.unit for index in range(count)]

    def quirks_for(self, label: str) -> Quirks:
        """Return the quirks of a device."""
        return self.quirks_of.get(label, self.quirks)

    def strangers(self, labels: Collection[str]) -> list[Problem]:
        """Return the devices that are named here, by pointer, and that a fleet of these devices does not have."""
        named = [(key, label) for key in ("quirks_of", "profile_of") for label in getattr(self, key)]
        return [
            Problem(f"/{key}/{label}", f"no device of the fleet{did_you_mean(label, tuple(labels))}")
            for key, label in named
            if label not in labels
        ]

    def profiles_for(self, labels: Iterable[str]) -> list[Profile]:
        """Return how each device is built."""
        return [self.profile_of.get(label, self.profile) for label in labels]


class CloneEntry(Served):
    """A copy of a device, from what `derloop bench scan --registers` has written."""

    scan: Path = Field(description="The scan file.")
    behaves: bool = Field(default=True, description="It also has the latency and limits that were measured.")
    speaks: Path | None = Field(
        default=None,
        description="The register map of a device that is not SunSpec: the copy then lets go of what it was told as "
        "the map says, by heartbeat or watchdog.",
    )
    heartbeat_s: float = Field(
        default=60.0, gt=0, le=86_400, description="How long it waits for a heartbeat, where no point of its map says."
    )


class ReplayEntry(Served):
    """A device that answers as it did in a run."""

    run: Path = Field(description="The folder of the run.")
    device: str = Field(description="The device, as its journal names it.", max_length=200)


class EmulatorFile(Settings):
    """What is served, where, and with which quirks."""

    schema_: str | None = Field(default=None, alias="$schema", description="The JSON Schema, for editors.")
    scenario: Path | None = Field(default=None, description="The scenario whose fleets are served, on its feeder.")
    set: tuple[str, ...] = Field(default=(), description="Changes of settings of the scenario, as --set takes them.")
    fleets: dict[Name, FleetEntry] = Field(default={}, description="By federate. Without any: all that have inverters.")
    clones: dict[Name, CloneEntry] = Field(default={}, description="Copies of devices.")
    replays: dict[Name, ReplayEntry] = Field(default={}, description="Recorded sessions.")


def read_emulator_file(path: Path) -> EmulatorFile:
    """Return the file, its relative paths from its folder; raise ScenarioError with everything that is wrong in it."""
    file, folder = read_model(EmulatorFile, path), path.resolve().parent
    return file.model_copy(
        update={
            "scenario": None if file.scenario is None else folder / file.scenario,
            "fleets": {name: _at(entry, folder) for name, entry in file.fleets.items()},
            "clones": {name: _at(entry, folder, "scan", "speaks") for name, entry in file.clones.items()},
            "replays": {name: _at(entry, folder, "run") for name, entry in file.replays.items()},
        }
    )


def read_inside(file: str, folder: Path) -> EmulatorFile:
    """Return an emulator file that a scenario names, which lies in its folder. Raises ScenarioError."""
    path = (folder / file).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise ScenarioError([Problem("", f"is outside of the scenario's folder {str(folder.resolve())!r}")], file)
    return read_emulator_file(path)


def emulator_schema() -> dict[str, Any]:
    """Return the JSON Schema of emulator files."""
    return {"$schema": DIALECT, **EmulatorFile.model_json_schema(by_alias=True), "title": "derloop emulate"}


def _at(entry: Served, folder: Path, *paths: str) -> Served:
    named: Mapping[str, Any] = {path: folder / at for path in paths if (at := getattr(entry, path)) is not None}
    return entry.model_copy(update={"listen": located(entry.listen, folder), **named})
