"""What stands in a scenario file, as frozen models."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

from pydantic import AwareDatetime, Field, StringConstraints, field_validator, model_validator

from derloop.coupling import Convergence
from derloop.kind import Kind, Settings
from derloop.scenario.pacing import PacingSettings
from derloop.texts import SHORT_NAME, Shape
from derloop.verdict import CheckEntry
from derloop.wires import Coupling
from derloop.zone import ZoneName

Name = Annotated[str, SHORT_NAME]
HostName = Annotated[
    str, Shape(r"^[a-z][a-z0-9_-]{0,39}$", "lower-case letters, digits, _ and -, beginning with a letter, at most 40")
]
"""A machine of a hosts file."""
MAX_PATTERN = 200
PortName = Annotated[
    str,
    StringConstraints(max_length=120),
    Shape(r"^[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)+$", "federate.port, in lower case: pv.p_kw"),
]
NS = 1_000_000_000
DAY_S = 86_400.0
MOVED_BY = ("engine", "placement", "workers")
"""The settings of a scenario that say how it is moved: results are the same with any of them."""
MOST_FEDERATES, MOST_WIRES, MOST_CHECKS = 10_000, 100_000, 10_000


class CouplingSettings(Settings):
    """How a device and its feeder bear on each other within one instant."""

    mode: Literal["delayed", "converged"] = Field(
        default="delayed",
        description="delayed: a device sees the feeder's voltage of one step ago. "
        "converged: devices and feeder are stepped again for the same instant until the voltages hold still.",
    )
    tolerance: float = Field(
        default=2e-7,
        gt=0,
        le=0.1,
        description="Largest change between two passes, in the wire's unit (pu for voltages). 2e-7 pu are 1e-5 of "
        "the most reactive power on a volt-var curve that goes from none to all within 0.02 pu.",
    )
    max_passes: int = Field(
        default=40, ge=2, le=1000, description="Passes after which a loop is given up and the run ends."
    )
    depth: int = Field(
        default=8,
        ge=0,
        le=20,
        description="Earlier passes, also of earlier instants, that the next guess is learnt from; "
        "0: a plain fixed point.",
    )

    def convergence(self) -> Convergence:
        return Convergence(self.tolerance, self.max_passes, self.depth)


class Deadlines(Settings):
    """How long a federate may take before the run ends in its name. Wall-clock seconds."""

    join_s: float = Field(
        default=60.0, gt=0, le=3600, description="From the start of a run until every federate has joined."
    )
    step_s: float = Field(default=30.0, gt=0, le=86400, description="For one step of one federate.")


class WireSettings(Settings):
    """A wire beyond those that follow from the ports' names."""

    source: PortName = Field(alias="from", description="federate.port of an output.")
    target: PortName = Field(alias="to", description="federate.port of an input.")
    coupling: Coupling | None = Field(
        None,
        description="direct: this instant's value. delayed: the last before. converged: iterated. "
        "Without it, what the input asks for.",
    )


class ScenarioFile(Settings):
    """A scenario: who takes part, how long, and what must hold."""

    schema_: str | None = Field(None, alias="$schema", description="The JSON Schema, for completion in editors.")
    name: Name = Field(description="Short name, used for run folders and golden results.")
    description: str = Field("", max_length=4000)
    start: AwareDatetime = Field(description="Instant 0 with its offset from UTC: 2025-07-15T00:00:00-07:00.")
    time_zone: ZoneName | None = Field(
        None,
        description="IANA name of the time zone whose clocks the scenario follows: America/Los_Angeles. "
        "Without it, the clocks keep the offset of start, and none is set forward or back.",
    )
    duration_s: float = Field(gt=0, le=100 * 366 * 86400.0, description="Simulated seconds.")
    step_s: float = Field(ge=0.001, le=86400.0, description="Step of every federate that names none of its own.")
    seed: int = Field(0, ge=0, lt=2**63, description="Every random number of the run follows from it.")
    engine: Literal["helics", "mosaik", "local"] = Field("helics", description="What moves the federates.")
    placement: Literal["together", "threads", "apart", "hosts"] = Field(
        "together",
        description="HELICS only. together: in one process. threads: there too, with a thread for each federate or "
        "loop. apart: a process for each. hosts: as apart, on the machines of a hosts file.",
    )
    workers: int | None = Field(
        None,
        ge=1,
        le=MOST_FEDERATES,
        description="At most so many threads, or processes on each machine, which then step several federates each; "
        "as many as there are cores is fastest. Without it, one for each federate or loop.",
    )
    hosts: dict[HostName, tuple[Annotated[str, StringConstraints(max_length=MAX_PATTERN)], ...]] = Field(
        {},
        max_length=500,
        description="Which federates belong on which machine of a hosts file, by name or pattern (bay_*). "
        "The others run where the run is started.",
    )
    coupling: CouplingSettings = CouplingSettings()
    deadlines: Deadlines = Deadlines()
    pacing: PacingSettings = PacingSettings()
    federates: dict[str, dict[str, Any]] = Field(min_length=1, max_length=MOST_FEDERATES)
    wires: tuple[WireSettings, ...] = Field((), max_length=MOST_WIRES)
    checks: tuple[dict[str, Any], ...] = Field((), max_length=MOST_CHECKS)

    @field_validator("start", mode="before")
    @classmethod
    def _start_is_written_out(cls, start: object) -> object:
        """Read an instant here: pydantic takes a number in quotes, as a day without hyphens, for seconds since 1970."""
        if not isinstance(start, str):
            return start
        if re.fullmatch(r"\s*[+-]?[\d.]+\s*", start):
            raise ValueError("must be an instant such as 2025-07-15T00:00:00Z")
        with suppress(ValueError):
            read = datetime.fromisoformat(start)
            return read if read.tzinfo else start
        return start

    @model_validator(mode="after")
    def _whole_steps(self) -> ScenarioFile:
        if not to_ns(self.duration_s) or to_ns(self.duration_s) % to_ns(self.step_s):
            raise ValueError(f"duration_s {self.duration_s:.15g} is no multiple of step_s {self.step_s:.15g}")
        if self.placement != "together" and self.engine != "helics":
            others = f"under engine {self.engine!r} all federates are together: let it be 'together'"
            raise ValueError(f"placement {self.placement!r} is HELICS's; {others}")
        if self.workers is not None and self.placement == "together":
            what = (
                "workers are threads or processes, of a placement 'threads', 'apart' or 'hosts'; this one is 'together'"
            )
            raise ValueError(what)
        return self

    @model_validator(mode="after")
    def _start_is_in_the_zone(self) -> ScenarioFile:
        try:
            self.start.astimezone(UTC) + timedelta(seconds=self.duration_s + DAY_S)
        except OverflowError as error:
            raise ValueError("start is too near to an end of the calendar, the years 1 and 9999") from error
        if self.local_start.utcoffset() != self.start.utcoffset():
            what = f"start {self.start.isoformat()} has another offset than {self.time_zone} has then"
            raise ValueError(f"{what}; allowed is {self.local_start.isoformat()}")
        return self

    @property
    def local_start(self) -> datetime:
        """The start on the clocks of the time zone, if there is one."""
        return self.start.astimezone(ZoneInfo(self.time_zone)) if self.time_zone else self.start


def to_ns(seconds: float) -> int:
    return round(seconds * NS)


@dataclass(frozen=True, slots=True)
class FederateEntry:
    """One federate of a scenario: its kind and its settings, typed."""

    name: str
    kind: Kind
    settings: Settings
    via: str
    """"model", or the realisation that takes the model's place: "emulator", "bench:inverter-1"."""
    feeder: str = ""
    """The feeder that its devices meet; empty: the scenario's only one."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """A scenario that has been read: typed, with defaults, but with nothing built yet."""

    path: Path
    file: ScenarioFile
    document: Mapping[str, Any]
    """As read, after overrides."""
    overrides: tuple[str, ...]
    federates: Mapping[str, FederateEntry]
    checks: tuple[CheckEntry, ...]

    @property
    def name(self) -> str:
        return self.file.name

    @property
    def folder(self) -> Path:
        return self.path.parent

    @property
    def start(self) -> datetime:
        return self.file.local_start

    @property
    def step_ns(self) -> int:
        return to_ns(self.file.step_s)

    @property
    def until_ns(self) -> int:
        return to_ns(self.file.duration_s)
