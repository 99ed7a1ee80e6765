"""Finding the map of a device that is there: from 'SunS' to the end marker."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from functools import lru_cache, partial
from typing import Any

import numpy as np

from derloop.errors import Rejected
from hil.sunspec.codec import decode
from hil.sunspec.errors import SunSpecMapError
from hil.sunspec.layout import (
    Layout,
    ModelBlock,
    definition,
    group_counts,
    layout_entries,
    layout_of,
    point_of,
    points_of,
)
from hil.sunspec.points import RegisterArray, Value
from hil.sunspec.reads import READ_LIMIT, Request
from hil.sunspec.register_map import ADDRESSES, BASE_ADDRESSES, END_MODEL, SUNS, RegisterMap

Reading = Generator[Request, RegisterArray, RegisterArray]
Walk = Generator[Request, RegisterArray, tuple[RegisterMap, RegisterArray]]


def walk(limit: int = READ_LIMIT) -> Walk:
    """Find a device's SunSpec map without knowing how registers are read.

    A generator that yields requests of at most `limit` registers and is sent their registers; a `Rejected` thrown
    in means that the device refuses that request. Returns the map as the device describes it (counts and
    scale factors are the device's) and the image of all its registers.
    """
    base, header = yield from _find_base()
    words: list[int] = list(header)
    blocks: list[ModelBlock] = []
    while words[-2] != END_MODEL:
        block = _next_block(base, words, blocks)
        words.extend((yield from _read_model(block, limit)))
        blocks.append(block)
    image = np.array(words, dtype=np.uint16)
    layouts = [_found_layout(block, image, base) for block in blocks]
    return _register_map(base, tuple(blocks), tuple(each for each in layouts if each is not None)), image


@lru_cache(maxsize=256)
def _register_map(base: int, blocks: tuple[ModelBlock, ...], layouts: tuple[Layout, ...]) -> RegisterMap:
    """Devices of a kind share their map: a fleet that is polled finds it in the processor's cache."""
    return RegisterMap(base, blocks, (point for layout in layouts for point in points_of(layout)))


def discover(read: Callable[[int, int], RegisterArray]) -> tuple[RegisterMap, RegisterArray]:
    """Find a device's SunSpec map with any `read(address, count) -> registers`.

    Raises SunSpecMapError if there is none, and what `read` raises, but for `Rejected` at a base address.
    """
    step = walk()
    resume: Callable[[], Request] = partial(next, step)
    while True:
        try:
            request = resume()
        except StopIteration as found:
            map_and_image: tuple[RegisterMap, RegisterArray] = found.value
            return map_and_image
        try:
            resume = partial(step.send, read(request.address, request.registers))
        except Rejected as refusal:
            resume = partial(step.throw, refusal)


def _find_base() -> Generator[Request, RegisterArray, tuple[int, RegisterArray]]:
    """Return the base address and the registers from 'SunS' to the first model's header."""
    refusals: list[str] = []
    for base in BASE_ADDRESSES:
        try:
            header = yield Request(base, 4)
        except Rejected as refusal:
            refusals.append(_reason(refusal))
            continue
        if tuple(header[:2]) == SUNS:
            return base, header
    tried = ", ".join(str(base) for base in BASE_ADDRESSES)
    said = f"; refused with {', '.join(dict.fromkeys(refusals))}" if refusals else ""
    raise SunSpecMapError(f"no SunSpec map: no 'SunS' at {tried}{said}")


def _reason(refusal: Rejected) -> str:
    """Return what a device has refused with: who and where it is others tell."""
    return refusal.why.rpartition(": ")[2]


def _next_block(base: int, words: Sequence[int], blocks: Sequence[ModelBlock]) -> ModelBlock:
    """Return the block whose ID and L are the last two words read."""
    model_id, address, length = int(words[-2]), base + len(words) - 2, int(words[-1]) + 2
    if address + length + 2 > ADDRESSES:
        raise SunSpecMapError(f"model {model_id} at {address} cannot have the {length - 2} registers it says")
    earlier = sum(block.model_id == model_id for block in blocks)
    key = f"{model_id}#{earlier + 1}" if earlier else str(model_id)
    return ModelBlock(key, model_id, address, length)


def _read_model(block: ModelBlock, limit: int) -> Reading:
    """Return a model's data and the next header; some devices have no length after their end marker."""
    start, count = block.address + 2, block.length
    try:
        return (yield from _read_run(start, count, limit))
    except Rejected as refusal:
        reason = _reason(refusal)
        data = yield from _read_run(start, count - 1, limit)
    if data[-1] != END_MODEL:
        what = f"the registers of model {block.key}, and those after it, cannot be read: {reason}"
        raise SunSpecMapError(f"{what}; behind it is no end marker")
    return np.append(data, np.uint16(0))


def _read_run(address: int, count: int, limit: int) -> Reading:
    parts = [np.empty(0, dtype=np.uint16)]
    for start in range(address, address + count, limit):
        parts.append((yield Request(start, min(limit, address + count - start))))
    return np.concatenate(parts).astype(np.uint16)


def _found_layout(block: ModelBlock, image: RegisterArray, base: int) -> Layout | None:
    """Return the layout of a block as its own counts and scale factors say; None for an unknown model."""
    try:
        definition(block.model_id)
    except SunSpecMapError:
        return None
    values = _layout_values(block, {}, image, base)
    return layout_of(block, _layout_values(block, group_counts(block, values), image, base))


def _layout_values(block: ModelBlock, counts: Mapping[str, int], image: RegisterArray, base: int) -> dict[str, Value]:
    """Return what a layout depends on: the scale factors and counts of a block, by path."""
    values: dict[str, Value] = {}
    for entry in layout_entries(block.model_id, frozenset(counts.items())):
        start = block.address - base + entry.offset
        if entry.offset + entry.length <= block.length:
            values[entry.path] = decode(point_of(block, entry, _UNSCALED), image[start : start + entry.length])
    return values


_UNSCALED: Mapping[str, Any] = {}
