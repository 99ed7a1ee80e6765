"""How a kind of federate comes in: its settings, how it is built, and where it meets the feeder.

A package offers a `Kind` under the entry-point group `derloop.kinds`; `derloop.plugins` finds it there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol, TypeVar, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from derloop.contract import Federate, FloatArray, Interface


class Settings(BaseModel):
    """What stands in a scenario for one federate. Frozen; refuses what it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, validate_default=True)


@dataclass(frozen=True, slots=True)
class Names:
    """Marks, in the type of a setting, that its texts name files in the scenario's folder, or folders with all in them.

    A run is known by what these hold, and hosts are sent them.
    """

    holds: type[BaseModel] | None = None
    """As what a file is read that names others in turn, from the scenario's folder too."""
    is_run: bool = False
    """OpenDSS runs it: it names others in that language."""


FileName = Annotated[str, Names()]
"""Type of a setting that names a file, or a folder, which nothing else follows from."""

Realised = TypeVar("Realised", bound=Callable[..., Federate])


def names_no_file(realise: Realised) -> Realised:
    """Mark a realisation: what stands after its colon names nothing in the scenario's folder."""
    vars(realise)[names_no_file.__name__] = True
    return realise


Connection = Literal["wye", "delta"]
Seen = Literal["mean", "worst", "positive-sequence"]
"""What the voltages of several phases are to a device: their mean, the one farthest from nominal, or the positive
sequence."""


@dataclass(frozen=True, slots=True)
class Terminal:
    """Where one device meets the feeder."""

    label: str
    bus: str
    phases: tuple[int, ...]
    """Nodes of the bus: (1,) or (1, 2, 3) ..."""
    rated_kva: float
    draws: bool = False
    """A load: its powers are positive when drawn. False: positive when injected."""
    element: str = ""
    """A load of the feeder file that the federate drives ("671"); empty: a device that is added at `bus`."""
    sees: Seen = "mean"
    extremes: bool = False
    """Looks at its lowest and highest phase too: the feeder then also offers `v_low_pu` and `v_high_pu`."""
    forms: bool = False
    """Holds voltage and frequency where it stands: a source with droop, and no injection."""


@dataclass(frozen=True, slots=True)
class Bus:
    name: str
    phases: tuple[int, ...]
    kv_ln: float
    """Nominal line-to-neutral voltage, kV."""
    xy: tuple[float, float] | None = None
    """Where it is drawn, east and north, in the unit of the feeder's file, if that says it."""
    neutral: int | None = None
    """The node of its neutral conductor, to which devices are connected there; None: they are to ground."""
    earthed: bool = True
    """Whether anything earths its phases."""

    @property
    def is_between_phases(self) -> bool:
        """Whether devices stand between its phases: nothing earths them, and there is no neutral."""
        return not self.earthed and self.neutral is None and len(self.phases) > 1


@dataclass(frozen=True, slots=True)
class FeederLoad:
    """A load that the feeder file brings along."""

    name: str
    """Lower case, as in `Load.671`: "671"."""
    bus: str
    phases: tuple[int, ...]
    """Nodes of the bus that it is connected to."""
    connection: Connection
    kw: float
    """Nominal, positive when drawn, as is `kvar`."""
    kvar: float


class Place(Protocol):
    """What can be known of a feeder before anything is solved."""

    @property
    def buses(self) -> Mapping[str, Bus]:
        """By lower-case name."""
        ...

    @property
    def loads(self) -> Mapping[str, FeederLoad]: ...

    def source_impedance_ohm(self, bus: str, phases: tuple[int, ...]) -> complex:
        """Return the short-circuit impedance of some phases of a bus, which carry the same power.

        Seen with all loads in place, as the feeder file has them.
        """
        ...


@dataclass(frozen=True, slots=True)
class Sensitivity:
    """How a feeder answers the powers that are injected at the places of n devices, to first order."""

    place: NDArray[np.intp]
    """Which place each device stands at (n,)."""
    nodes: tuple[str, ...]
    v_pu_per_kw: FloatArray
    """(nodes, places)"""
    elements: tuple[str, ...]
    """Lines and transformers whose loading the feeder tells, in that order."""
    loading_pu_per_kw: FloatArray
    """(elements, places)"""
    v_pu_per_kvar: FloatArray
    """(nodes, places)"""
    loading_pu_per_kvar: FloatArray
    """(elements, places)"""


@runtime_checkable
class Sensitive(Protocol):
    """What a place may know besides."""

    def sensitivity(self, terminals: Sequence[Terminal]) -> Sensitivity:
        """Return how the feeder answers devices at these terminals."""
        ...


@runtime_checkable
class Delivering(Protocol):
    """What a place may know besides."""

    def delivered_port(self, federate: str) -> str:
        """Return the feeder's output with what the devices of a federate give or get, in its own sign; empty: none.

        Of devices that follow the feeder's voltage. Of those that form it, what they say is what they give.
        """
        ...


@dataclass(frozen=True, slots=True)
class Permissions:
    """What whoever starts a run grants it. A scenario cannot grant any of it to itself."""

    trust_feeder: bool = False
    """Give the feeder file to OpenDSS unchecked."""
    bench: Path | None = None
    """The bench file, that says what equipment there is."""
    armed: tuple[str, ...] = ()
    """Equipment of the bench that may be written to; everything else is only read."""
    trust_control: bool = False
    """Run a control of the user's that the scenario names: a file of code, or a process that answers."""


NONE_GRANTED = Permissions()


def permissions_to_json(permissions: Permissions) -> dict[str, Any]:
    """Return permissions as plain JSON values, for another process and for the run's facts."""
    bench = None if permissions.bench is None else str(permissions.bench)
    trusted = {"trust_feeder": permissions.trust_feeder, "trust_control": permissions.trust_control}
    return {**trusted, "bench": bench, "armed": list(permissions.armed)}


def permissions_from_json(said: Mapping[str, Any]) -> Permissions:
    """The inverse of `permissions_to_json`."""
    bench = said["bench"] and Path(said["bench"])
    return Permissions(said["trust_feeder"], bench, tuple(said["armed"]), said["trust_control"])


@dataclass(frozen=True, slots=True)
class Context:
    """What a federate may know of the scenario in which it stands."""

    name: str
    folder: Path
    """Relative paths in settings start here and stay inside."""
    start: datetime
    """With its time zone."""
    step_ns: int
    until_ns: int
    seed: int
    """Differs for each federate name, is the same in every run."""
    permissions: Permissions = NONE_GRANTED
    terminals: Mapping[str, tuple[Terminal, ...]] = field(default_factory=dict)
    """Of every federate that meets a feeder, by its name; for a feeder, of those that meet it."""
    labels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """The devices of every federate that has any, by its name."""
    settings: Mapping[str, Settings] = field(default_factory=dict)
    """Of every federate, by its name: what a control may know of its members."""
    kinds: Mapping[str, str] = field(default_factory=dict)
    """Of every federate, by its name: "battery", "ev" ..."""
    feeder: Place | None = None
    """The one that its devices meet; of others the scenario's only one, None where there are several."""
    feeders: Mapping[str, Place] = field(default_factory=dict)
    """All of them, by their federates' names."""
    meets: Mapping[str, str] = field(default_factory=dict)
    """For every federate whose devices meet a feeder, by its name, the feeder's."""
    interfaces: Mapping[str, Interface] = field(default_factory=dict)
    """For a kind that carries or listens: those of all federates that do neither, by their names."""
    signals: tuple[tuple[str, str], ...] = ()
    """For a kind that carries: the wires that it may take over, each from `federate.port` to `federate.port`."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of federate, as `derloop kinds` lists it."""

    name: str
    summary: str
    settings: type[Settings]
    build: Callable[[Any, Context], Federate]
    terminals: Callable[[Any, Context], tuple[Terminal, ...]] | None = None
    """Where its devices meet the feeder; raises `PlaceError` for a place that does not exist."""
    place: Callable[[Any, Context], Place] | None = None
    """For a feeder: what can be known of it before anything is solved."""
    is_der: bool = False
    """Can be realised as a model, an emulator or equipment (`via`)."""
    listens: bool = False
    """Reads and writes ports that its settings name: is built after the others, and knows their interfaces."""
    carries: bool = False
    """Stands between others: is built after them, and takes over the wires for which it has an input called as their
    source and an output called as their target (`derloop.scenario.wiring`)."""

    draws: bool = False
    """Its devices draw, and their powers are positive when drawn."""
    outputs_at: str | None = None
    """The setting in which its outputs stand by their names: one of `<federate>.<port>` must be an input there."""

    @property
    def meets_feeder(self) -> bool:
        """Its devices stand at a feeder: where a scenario has several, it says at which."""
        return self.terminals is not None


class PlaceError(ValueError):
    """A device's place is not in the feeder. `path` leads to the setting that is wrong."""

    def __init__(self, problems: list[tuple[tuple[str | int, ...], str]]) -> None:
        self.problems = problems
        super().__init__("; ".join(what for _, what in problems))


class EquipmentMissing(PlaceError):
    """Nothing is wrong with the scenario: the equipment that it names is not here."""
