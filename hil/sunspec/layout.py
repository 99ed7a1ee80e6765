"""Where the points of a model lie: its definition, its groups and how often each repeats, its scale factors."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.resources import files
from typing import Any, NamedTuple

from hil.sunspec.errors import SunSpecMapError
from hil.sunspec.points import KINDS, Point


@cache
def definition(model_id: int) -> Mapping[str, Any]:
    """Return the top group of a model's SunSpec definition, as pysunspec2 ships it.

    Read from the package's own folder: pysunspec2's search path begins with the current directory, where a
    file of the same name would replace a model. Raises SunSpecMapError for an unknown model.
    """
    try:
        text = (files("sunspec2") / f"models/json/model_{model_id}.json").read_text(encoding="utf-8")
    except FileNotFoundError:
        raise SunSpecMapError(f"SunSpec model {model_id} is unknown") from None
    group: Mapping[str, Any] = json.loads(text)["group"]
    return group


class Entry(NamedTuple):
    """A point of a model's layout, before its scale factor is known."""

    path: str
    offset: int
    length: int
    definition: Mapping[str, Any]


def lay_out(group: Mapping[str, Any], counts: Mapping[str, int], prefix: str = "", at: int = 0) -> Iterator[Entry]:
    """Yield a group's points in register order, then those of its groups, each repeated as `counts` says."""
    for point in group["points"]:
        length = KINDS[point["type"]].registers or int(point["size"])
        yield Entry(prefix + point["name"], at, length, point)
        at += length
    for inner in group.get("groups", ()):
        for path in _repeats(inner, counts, prefix):
            for entry in lay_out(inner, counts, path, at):
                yield entry
                at = max(at, entry.offset + entry.length)


def _repeats(group: Mapping[str, Any], counts: Mapping[str, int], prefix: str) -> list[str]:
    name, counter = prefix + group["name"], repeat_counter(group)
    if counter is None:
        return [name + "."]
    return [f"{name}.{index}." for index in range(counts.get(counter, 0))]


def repeat_counter(group: Mapping[str, Any]) -> str | None:
    """Return what says how often a group repeats: a point, or its own name if it fills the model's length."""
    count = group.get("count")
    return None if count is None else str(count or group["name"])


def count_points(group: Mapping[str, Any]) -> set[str]:
    """Return the names of the points that say how often a group of this model repeats ("NPt", "NCrv")."""
    inner = group.get("groups", ())
    own = {g["count"] for g in inner if isinstance(g.get("count"), str)}
    return own.union(*(count_points(g) for g in inner))


@dataclass(frozen=True, slots=True)
class ModelBlock:
    """Where one model lies; models that pysunspec2 does not define have a block and no points."""

    key: str
    """The model id, or "714#2" for the second block of the same model."""
    model_id: int
    address: int
    """Of the ID register; the model's data begin two registers later."""
    length: int
    """Registers, with the two of ID and L."""


class Layout(NamedTuple):
    """A block, and what its layout depends on."""

    block: ModelBlock
    values: frozenset[tuple[str, Any]]
    """Counts and scale factors, by path."""


def layout_of(block: ModelBlock, values: Mapping[str, Any]) -> Layout:
    names = layout_names(block.model_id)
    return Layout(block, frozenset((p, v) for p, v in values.items() if p.rpartition(".")[2] in names))


@lru_cache(maxsize=2048)
def points_of(layout: Layout) -> tuple[Point, ...]:
    """Return the points of a block, within its length; devices of a kind share them: this takes milliseconds."""
    block, values = layout.block, dict(layout.values)
    entries = lay_out(definition(block.model_id), group_counts(block, values))
    fitting = (entry for entry in entries if entry.offset + entry.length <= block.length)
    return tuple(point_of(block, entry, values) for entry in fitting)


@lru_cache(maxsize=256)
def layout_entries(model_id: int, counts: frozenset[tuple[str, int]]) -> tuple[Entry, ...]:
    """Return the points that a model's layout depends on, its groups repeated as `counts` says."""
    names = layout_names(model_id)
    entries = lay_out(definition(model_id), dict(counts))
    return tuple(entry for entry in entries if entry.path.rpartition(".")[2] in names)


@cache
def layout_names(model_id: int) -> frozenset[str]:
    """Return the names of the points that a model's layout depends on: scale factors and counts."""
    group = definition(model_id)
    return frozenset(_scale_names(group) | count_points(group))


def _scale_names(group: Mapping[str, Any]) -> set[str]:
    own = {str(point["sf"]) for point in group["points"] if isinstance(point.get("sf"), str)}
    return own.union(*(_scale_names(inner) for inner in group.get("groups", ())))


def group_counts(block: ModelBlock, values: Mapping[str, Any]) -> dict[str, int]:
    """Return how often groups repeat: as the counting points say, or until the model's length is filled.

    Never more often than the model has registers, whatever a device says: what does not fit is left out anyway.
    """
    group = definition(block.model_id)
    counts = {name: min(int(values.get(name) or 0), block.length) for name in count_points(group)}
    fixed = sum(entry.length for entry in lay_out(group, counts))
    for inner in group.get("groups", ()):
        if inner.get("count") == 0:
            size = sum(entry.length for entry in lay_out(inner, counts))
            counts[inner["name"]] = max(block.length - fixed, 0) // size
    return counts


def point_of(block: ModelBlock, entry: Entry, values: Mapping[str, Any]) -> Point:
    source = entry.definition
    kind = KINDS[source["type"]]
    scale = source.get("sf")
    symbols = {symbol["name"]: int(symbol["value"]) for symbol in source.get("symbols", ())}
    return Point(
        name=f"{block.key}.{entry.path}",
        address=block.address + entry.offset,
        length=entry.length,
        type=source["type"],
        exponent=_exponent(entry.path, scale, values),
        scale=None if scale is None else str(scale),
        writable=source.get("access") == "RW",
        unit=source.get("units", ""),
        symbols=symbols,
        absent=kind.absent,
    )


def _exponent(path: str, scale: int | str | None, values: Mapping[str, Any]) -> int | None:
    """Return a point's scale factor, found in its own group or in the model's; None if not implemented."""
    if scale is None:
        return 0
    own = f"{path.rpartition('.')[0]}.{scale}"
    value = scale if isinstance(scale, int) else values.get(own, values.get(scale))
    return int(value) if value is not None and -10 <= value <= 10 else None
