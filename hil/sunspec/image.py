"""A device from a plain description: its map, and its registers filled."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from derloop.errors import did_you_mean
from hil.sunspec.codec import encode
from hil.sunspec.errors import SunSpecMapError
from hil.sunspec.layout import (
    Entry,
    ModelBlock,
    count_points,
    definition,
    lay_out,
    layout_of,
    points_of,
    repeat_counter,
)
from hil.sunspec.points import Point, RegisterArray
from hil.sunspec.register_map import BASE_ADDRESSES, END_MODEL, SUNS, RegisterMap

Description = Mapping[int, Mapping[str, Any]]
"""`{model id: {point: value}}`: groups nested as dicts and lists of dicts, enumerations by code or symbol."""


class Built(NamedTuple):
    """A model that has been laid out and filled."""

    block: ModelBlock
    points: tuple[Point, ...]
    words: tuple[int, ...]


Memory = dict[tuple[int, int, str], Built]
"""Models that have been built, by id, address and description: the devices of a fleet have most of them alike."""


def build_image(
    description: Description, base: int = BASE_ADDRESSES[0], memory: Memory | None = None
) -> tuple[RegisterMap, RegisterArray]:
    """Lay out models from a plain description and fill their registers.

    Returns the map and the image (uint16, from `base` to the end marker). What the description leaves out is
    'not implemented'; ID, L and the counts of repeated groups are filled in. Raises SunSpecValueError for
    values that do not fit and SunSpecMapError for points that a model does not have.
    memory: is filled; what is in it is not built again.
    """
    memory = {} if memory is None else memory
    words: list[int] = list(SUNS)
    models: list[Built] = []
    for model_id, tree in description.items():
        key = (model_id, base + len(words), repr(tree))
        if key not in memory:
            memory[key] = _build(model_id, tree, base + len(words))
        models.append(memory[key])
        words.extend(memory[key].words)
    image = np.array([*words, END_MODEL, 0], dtype=np.uint16)
    return RegisterMap(base, [m.block for m in models], (point for m in models for point in m.points)), image


def _build(model_id: int, tree: Mapping[str, Any], address: int) -> Built:
    block, values = _describe(model_id, tree, address)
    points = points_of(layout_of(block, values))
    return Built(block, points, tuple(_fill(points, values)))


def _describe(model_id: int, tree: Mapping[str, Any], address: int) -> tuple[ModelBlock, dict[str, Any]]:
    """Return a model's block and its values by path, with ID, L and counts filled in."""
    group = definition(model_id)
    values = dict(_flatten(tree))
    counts = _counts_of_tree(group, tree)
    entries = list(lay_out(group, counts))
    _refuse_unknown(model_id, values, entries)
    length = entries[-1].offset + entries[-1].length
    named = {name: count for name, count in counts.items() if name in count_points(group)}
    values |= {"ID": model_id, "L": length - 2, **named}
    return ModelBlock(str(model_id), model_id, address, length), values


def _flatten(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in tree.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{name}.")
        elif isinstance(value, list | tuple):
            for index, item in enumerate(value):
                yield from _flatten(item, f"{prefix}{name}.{index}.")
        else:
            yield prefix + name, value


def _counts_of_tree(group: Mapping[str, Any], tree: Mapping[str, Any]) -> dict[str, int]:
    """Return how often groups repeat: as the description says (`NPt`), else as many as it lists."""
    said = {name: int(tree[name]) for name in count_points(group) if name in tree}
    counts = dict(said)
    for inner in group.get("groups", ()):
        listed = tree.get(inner["name"], ())
        items = listed if isinstance(listed, list | tuple) else [listed]
        found = [_counts_of_tree(inner, item) for item in items]
        if (counter := repeat_counter(inner)) is not None:
            found.append({counter: len(items)})
        for name, count in (pair for each in found for pair in each.items()):
            if name not in said:
                counts[name] = max(count, counts.get(name, 0))
    return counts


def _refuse_unknown(model_id: int, values: Mapping[str, Any], entries: Sequence[Entry]) -> None:
    paths = [entry.path for entry in entries]
    for path in values:
        if path not in paths:
            raise SunSpecMapError(f"model {model_id} has no point {path!r}{did_you_mean(path, paths)}")


def _fill(points: Sequence[Point], values: Mapping[str, Any]) -> Iterator[int]:
    for point in points:
        yield from encode(point, values.get(point.name.partition(".")[2])).registers
