"""How the devices of a fleet meet the feeder: listed one by one, or spread over it by chance.

A spread draws single-phase places, with replacement (where nothing earths a bus, from the phase that is drawn to the
next; two phases there are one place), from

- `"loads"`: the nodes that carry load, each with a probability in proportion to its kW (a load of several
  phases counts in equal parts);
- `"buses"`: the phases of the buses that carry load, all equally likely;
- a list: the phases of what is listed, all equally likely.

Every draw has a stream of its own, made from the seed of the federate and from what is drawn. So one more setting that
is drawn does not move the others.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Annotated, Any, Literal, NamedTuple, TypeVar
from zlib import crc32

import numpy as np
from pydantic import (
    AfterValidator,
    BeforeValidator,
    Discriminator,
    Field,
    PlainSerializer,
    StringConstraints,
    Tag,
    WithJsonSchema,
    model_validator,
)

from derloop.contract import FloatArray
from derloop.errors import did_you_mean
from derloop.kind import Context, Place, PlaceError, Settings, Terminal
from derloop.texts import LABEL, Shape
from federates.sides import one_phase, sides

Path = tuple[str | int, ...]
"""Leads to a setting."""
MOST = 1e9
"""Of any rating."""
Bus = Annotated[str, Shape(r"^[^.\s]+(\.\d+)*$", "a bus, or a bus and nodes of it: 645, 645.2, 671.1.2.3")]
Label = Annotated[str, StringConstraints(max_length=64), LABEL]


# --- settings ----------------------------------------------------------------------------------------


def _as_range(value: Any) -> Any:
    """Return one number as the range that holds only it."""
    if isinstance(value, list | tuple) and len(value) == 2:
        return value
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise ValueError("must be a number, or a list [min, max]")
    if not 0.0 < value <= MOST:
        raise ValueError(f"must be more than 0 and at most {MOST:g}")
    return value, value


def _ordered(value: tuple[float, float]) -> tuple[float, float]:
    if value[0] > value[1]:
        raise ValueError(f"a range is [min, max], but {value[0]:g} is more than {value[1]:g}")
    return value


def _as_written(value: tuple[float, float]) -> float | list[float]:
    return value[0] if value[0] == value[1] else list(value)


_POSITIVE = {"type": "number", "exclusiveMinimum": 0}
_SIZE_SCHEMA = {"anyOf": [_POSITIVE, {"type": "array", "items": _POSITIVE, "minItems": 2, "maxItems": 2}]}
_Positive = Annotated[float, Field(gt=0, le=MOST, strict=True)]

Size = Annotated[
    tuple[_Positive, _Positive],
    BeforeValidator(_as_range),
    AfterValidator(_ordered),
    PlainSerializer(_as_written),
    WithJsonSchema(_SIZE_SCHEMA),
]
"""A positive number for each device, or `[min, max]` from which each device's is drawn (uniform, seeded)."""


class Spot(Settings):
    """One device at a place that is named."""

    bus: Bus = Field(
        description="Bus and nodes as OpenDSS writes them: `645.2` is phase 2 of bus 645; "
        "without nodes, all phases of the bus.",
        examples=["645.2", "671.1.2.3"],
    )
    rated_kva: float | None = Field(
        default=None, gt=0, le=1e9, description="Rated apparent power, kVA. Without it, the fleet's.", examples=[6.0]
    )
    label: Label | None = Field(
        default=None,
        description="Name of the device in results. Without it, the fleet's name and the device's number.",
        examples=["roof_12"],
    )

    @model_validator(mode="before")
    @classmethod
    def _is_more_than_its_bus(cls, value: Any) -> Any:
        if isinstance(value, str):
            raise ValueError(f"must be an object, as {_as_place(value)}")
        return value


def _spread_on(value: Any) -> Any:
    if isinstance(value, str) and value not in ("loads", "buses"):
        raise ValueError("must be 'loads', 'buses' or a list of buses")
    return value


def _written(value: Any) -> str:
    return "one" if isinstance(value, str) else "several"


class Spread(Settings):
    """Single-phase devices at places that are drawn by chance, the same in every run."""

    count: int = Field(ge=1, le=1_000_000, description="How many devices.", examples=[40])
    on: Annotated[
        Annotated[Literal["loads", "buses"], Tag("one")]
        | Annotated[tuple[Bus, ...], Field(min_length=1), Tag("several")],
        Discriminator(_written),
        BeforeValidator(_spread_on),
    ] = Field(
        default="loads",
        description="`loads`: where the feeder has load, in proportion to it; `buses`: any phase of a bus that has "
        "load; or a list of buses with or without nodes.",
        examples=["loads", ["645.2", "671"]],
    )


def _spread_or_places(value: Any) -> str:
    """Return what `at` is meant to be: an object with a bus, and no count, is a place that lacks its brackets."""
    is_place = isinstance(value, dict) and "bus" in value and "count" not in value
    return "places" if is_place or isinstance(value, list | tuple) else "spread"


def _more_than_a_bus(value: Any) -> Any:
    if isinstance(value, str):
        raise ValueError(f"must be a list, as [{_as_place(value)}]")
    return value


def _as_place(bus: str) -> str:
    return json.dumps({"bus": bus}, ensure_ascii=False)


def _not_empty(value: tuple[Any, ...]) -> tuple[Any, ...]:
    if not value:
        raise ValueError("needs one place or more")
    return value


S = TypeVar("S", bound=Spot)
At = Annotated[
    Annotated[tuple[S, ...], AfterValidator(_not_empty), Field(json_schema_extra={"minItems": 1}), Tag("places")]
    | Annotated[Spread, Tag("spread")],
    Discriminator(_spread_or_places),
    BeforeValidator(_more_than_a_bus),
]
"""Type of the setting `at`, with the kind's own sort of `Spot`."""


# --- chance ------------------------------------------------------------------------------------------


def stream(context: Context, purpose: str) -> np.random.Generator:
    """Return the random numbers that a federate uses for `purpose` alone."""
    return np.random.default_rng([context.seed, crc32(purpose.encode())])


def draw(size: tuple[float, float], count: int, context: Context, purpose: str) -> FloatArray:
    """Return one value (count,) for each device, uniform within `size`."""
    return stream(context, purpose).uniform(*size, count)


# --- places ------------------------------------------------------------------------------------------


class _Found(NamedTuple):
    bus: str
    phases: tuple[int, ...]


def place(
    at: tuple[Spot, ...] | Spread, rated_kva: tuple[float, float] | None, context: Context
) -> tuple[Terminal, ...]:
    """Return where the devices of the fleet `context.name` stand.

    Raises PlaceError with everything that is wrong; its paths start at the fleet's settings.
    """
    if context.feeder is None:
        raise PlaceError([(("at",), "there is no feeder on which a device could stand")])
    if isinstance(at, Spread):
        return _spread(at, rated_kva, context, context.feeder)
    return _listed(at, rated_kva, context, context.feeder)


def _listed(
    spots: tuple[Spot, ...], rated_kva: tuple[float, float] | None, context: Context, feeder: Place
) -> tuple[Terminal, ...]:
    problems: list[tuple[Path, str]] = []
    labels = [spot.label or f"{context.name}_{i}" for i, spot in enumerate(spots)]
    found = _find([spot.bus for spot in spots], feeder, problems)
    problems[:] = [(("at", index, "bus"), what) for (index,), what in problems]
    problems += [*_label_problems(spots, labels), *_between_problems(spots, feeder)]
    if rated_kva is None:
        what = "neither the device nor the fleet has a rated_kva"
        problems += [(("at", i, "rated_kva"), what) for i, spot in enumerate(spots) if spot.rated_kva is None]
    if problems:
        raise PlaceError(problems)
    fleet = draw(rated_kva or (1.0, 1.0), len(spots), context, "rated_kva")
    return tuple(
        Terminal(label, where.bus, where.phases, float(kva) if spot.rated_kva is None else spot.rated_kva)
        for label, where, spot, kva in zip(labels, found, spots, fleet, strict=True)
    )


def _label_problems(spots: tuple[Spot, ...], labels: list[str]) -> list[tuple[Path, str]]:
    count = Counter(labels)
    return [
        (("at", i, "label"), f"{count[spot.label]} devices of the fleet are called {spot.label!r}")
        for i, spot in enumerate(spots)
        if spot.label is not None and count[spot.label] > 1
    ]


def _between_problems(spots: tuple[Spot, ...], feeder: Place) -> list[tuple[Path, str]]:
    """Return which devices are at one phase of a bus where they have to be between two."""
    problems: list[tuple[Path, str]] = []
    for index, spot in enumerate(spots):
        name, *nodes = spot.bus.lower().split(".")
        bus = feeder.buses.get(name)
        if bus and len(nodes) == 1 and int(nodes[0]) in bus.phases and bus.is_between_phases:
            side = ".".join(map(str, (name, *one_phase(bus, int(nodes[0])))))
            what = f"nothing earths bus {name!r}: a device stands between phases there, as {side!r}, or all three"
            problems.append((("at", index, "bus"), what))
    return problems


def _find(buses: Iterable[str], feeder: Place, problems: list[tuple[Path, str]]) -> list[_Found]:
    """Return the places that are there, and add to `problems` those that are not, each with its index."""
    found: list[_Found] = []
    for index, written in enumerate(buses):
        name, *nodes = written.lower().split(".")
        phases = tuple(map(int, nodes))
        what = _misplaced(name, phases, feeder)
        if what:
            problems.append(((index,), what))
        else:
            found.append(_Found(name, phases or feeder.buses[name].phases))
    return found


def _misplaced(name: str, phases: tuple[int, ...], feeder: Place) -> str:
    """Return what is wrong with a place, empty if nothing is."""
    if name not in feeder.buses:
        return f"the feeder has no bus {name!r}" + did_you_mean(name, [*feeder.buses])
    there = feeder.buses[name].phases
    missing = [str(phase) for phase in phases if phase not in there]
    if missing:
        return f"bus {name!r} has no phase {', '.join(missing)}; it has {', '.join(map(str, there))}"
    if len(set(phases)) < len(phases):
        return f"bus {name!r}: a phase is named twice"
    return ""


def _spread(
    spread: Spread, rated_kva: tuple[float, float] | None, context: Context, feeder: Place
) -> tuple[Terminal, ...]:
    problems: list[tuple[Path, str]] = []
    if rated_kva is None:
        problems.append((("rated_kva",), "missing: the devices of a spread have the fleet's rated_kva"))
    weights = _candidates(spread, feeder, problems)
    if not weights and not problems:
        problems.append((("at", "on"), "the feeder has no load at which a device could stand"))
    if problems or rated_kva is None:
        raise PlaceError(problems)
    nodes = sorted(weights)
    weight = np.array([weights[node] for node in nodes])
    chosen = stream(context, "at").choice(len(nodes), spread.count, p=weight / weight.sum())
    kva = draw(rated_kva, spread.count, context, "rated_kva")
    return tuple(
        Terminal(f"{context.name}_{i}", bus, one_phase(feeder.buses[bus], phase), float(kva[i]))
        for i, (bus, phase) in enumerate(nodes[k] for k in chosen)
    )


def _candidates(spread: Spread, feeder: Place, problems: list[tuple[Path, str]]) -> dict[tuple[str, int], float]:
    """Return the nodes at which a device may stand, each with its weight."""
    if spread.on == "loads":
        return _loaded_nodes(feeder)
    if spread.on == "buses":
        buses = {load.bus for load in feeder.loads.values()}
        return {(bus, phase): 1.0 for bus in buses for phase in feeder.buses[bus].phases}
    missing: list[tuple[Path, str]] = []
    found = _find(spread.on, feeder, missing)
    problems += [(("at", "on", *index), what) for index, what in missing]
    return {(where.bus, phase): 1.0 for where in found for phase in _firsts(where.bus, where.phases, feeder)}


def _loaded_nodes(feeder: Place) -> dict[tuple[str, int], float]:
    kw: dict[tuple[str, int], float] = defaultdict(float)
    for load in feeder.loads.values():
        firsts = _firsts(load.bus, load.phases, feeder)
        for phase in {*firsts}.intersection(feeder.buses[load.bus].phases):
            kw[load.bus, phase] += load.kw / len(firsts)
    return {node: value for node, value in kw.items() if value > 0}


def _firsts(bus: str, phases: tuple[int, ...], feeder: Place) -> list[int]:
    """Return the first phase of each side that these phases of a bus have: one of two that nothing earths."""
    return [first for first, _ in sides(feeder.buses[bus], phases)]
