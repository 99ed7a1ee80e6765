"""SunSpec: where a device keeps its points, and what their registers mean.

A *point* is one value of a *model* (a numbered block of registers). Points are named by model and path, with
list positions counted from 0: ``"704.WMaxLimPct"``, ``"705.Crv.1.Pt.0.V"`` (SunSpec's "curve 2, point 1").

The definitions are the JSON files that pysunspec2 ships (`sunspec2/models/json`); here they are compiled once
to a flat table of address, type and scale factor, since decoding through model objects costs 200 us a poll.

Source: SunSpec Device Information Model Specification (types, values that say 'not implemented', scale
factors, layout from 'SunS' to the end marker); SunSpec DER Information Model Specification for 701-714.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache, partial
from importlib.resources import files
from typing import Any, NamedTuple, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from derloop.errors import DerloopError, Rejected, did_you_mean

BASE_ADDRESSES = (40000, 50000, 0)
"""Where a SunSpec map may begin, in the order in which they are tried."""
READ_LIMIT = 125
"""Registers that one Modbus read can carry."""
WRITE_LIMIT = 123
"""Registers that one Modbus write can carry."""

_SUNS = (0x5375, 0x6E53)
_END_MODEL = 0xFFFF
_ADDRESSES = 0x10000

FloatArray = NDArray[np.float64]
RegisterArray = NDArray[np.uint16]
Value = float | str | None
"""A decoded point: a number (physical, scale factor applied), a text, or None for 'not implemented'."""
Description = Mapping[int, Mapping[str, Any]]
"""`{model id: {point: value}}`: groups nested as dicts and lists of dicts, enumerations by code or symbol."""


class SunSpecError(DerloopError):
    """A device or a description does not agree with SunSpec."""


class SunSpecMapError(SunSpecError):
    """There is no SunSpec map, or its models cannot be laid out."""


class SunSpecValueError(SunSpecError, ValueError):
    """A value does not fit its point: not finite, out of range, no such symbol, or not exact."""

    def __init__(self, point: str, why: str) -> None:
        self.point, self.why = point, why
        super().__init__(f"point {point!r}: {why}")


# --- types ----------------------------------------------------------------------------------------


class Kind(NamedTuple):
    """How a SunSpec type fills its registers (big-endian, high word first)."""

    family: str
    registers: int
    low: int = 0
    high: int = 0
    absent: int = 0
    """The unsigned pattern that says 'not implemented'."""

    @property
    def signed(self) -> bool:
        """True for two's complement."""
        return self.low < 0


def _integer(bits: int) -> Kind:
    return Kind("integer", bits // 16, 1 - (1 << bits - 1), (1 << bits - 1) - 1, 1 << bits - 1)


def _unsigned(bits: int, family: str = "integer") -> Kind:
    return Kind(family, bits // 16, 0, (1 << bits) - 2, (1 << bits) - 1)


def _accumulator(bits: int) -> Kind:
    return Kind("integer", bits // 16, 0, (1 << bits) - 1, 0)


def _bitfield(bits: int) -> Kind:
    return Kind("bitfield", bits // 16, 0, (1 << bits - 1) - 1, (1 << bits) - 1)


KINDS: Mapping[str, Kind] = {
    **{f"int{bits}": _integer(bits) for bits in (16, 32, 64)},
    **{f"uint{bits}": _unsigned(bits) for bits in (16, 32, 64)},
    **{f"acc{bits}": _accumulator(bits) for bits in (16, 32, 64)},
    **{f"enum{bits}": _unsigned(bits, "enum") for bits in (16, 32)},
    **{f"bitfield{bits}": _bitfield(bits) for bits in (16, 32, 64)},
    "count": _unsigned(16),
    "ipaddr": _accumulator(32),
    "sunssf": Kind("integer", 1, -10, 10, 0x8000),
    "pad": Kind("pad", 1, absent=0x8000),
    "float32": Kind("float", 2, absent=0x7FC00000),
    "float64": Kind("float", 4, absent=0x7FF8000000000000),
    "string": Kind("string", 0),
    "ipv6addr": Kind("opaque", 8),
    "eui48": Kind("opaque", 4),
}
_FLOAT_FORMAT = {2: ">f", 4: ">d"}


@dataclass(frozen=True, slots=True)
class Point:
    """One value of a device: where it is and how it is read."""

    name: str
    """Model and path: "705.Crv.1.Pt.0.V"."""
    address: int
    length: int
    """Registers."""
    type: str
    exponent: int | None
    """A register's step is 10**exponent; None if the device leaves its scale factor out: no value."""
    scale: str | None
    """The scale factor's name, for messages."""
    writable: bool
    unit: str
    symbols: Mapping[str, int]
    """Names of an enumeration's values, or of a bit field's bit positions."""
    absent: int
    """The unsigned pattern that says 'not implemented'."""

    @property
    def kind(self) -> Kind:
        """How the type fills its registers."""
        return KINDS[self.type]

    @property
    def end(self) -> int:
        """The first address after the point."""
        return self.address + self.length

    def symbol(self, value: Value) -> str | None:
        """Return the name of an enumeration's value; None if it has none."""
        return next((name for name, code in self.symbols.items() if code == value), None)

    def flags(self, value: Value) -> tuple[str, ...]:
        """Return the names of the bits that are set in a bit field's value."""
        bits = int(value) if isinstance(value, int | float) and math.isfinite(value) else 0
        return tuple(name for name, bit in self.symbols.items() if bits >> bit & 1)


# --- one value ------------------------------------------------------------------------------------


class Encoded(NamedTuple):
    """Registers, and the value that they hold: the asked one, or that rounded to the scale factor's step."""

    registers: tuple[int, ...]
    value: Value
    rounded: bool


def decode(point: Point, registers: Sequence[int] | RegisterArray) -> Value:
    """Return the physical value in a point's registers; None if the device does not implement it."""
    data = struct.pack(f">{point.length}H", *(int(word) for word in registers))
    family = point.kind.family
    if family == "string":
        return data.split(b"\0", 1)[0].decode("utf-8", "replace").rstrip() or None
    if family == "float":
        number = float(struct.unpack(_FLOAT_FORMAT[point.length], data)[0])
        return number if math.isfinite(number) else None
    if family in ("pad", "opaque"):
        return None
    return _decode_integer(point, int.from_bytes(data, "big"))


def _decode_integer(point: Point, pattern: int) -> float | None:
    kind, bits = point.kind, 16 * point.length
    hidden = kind.family == "bitfield" and pattern >> bits - 1
    if pattern == point.absent or hidden or point.exponent is None:
        return None
    raw = pattern - (1 << bits) if kind.signed and pattern >> bits - 1 else pattern
    return int(raw * 10**point.exponent) if point.exponent >= 0 else raw / 10**-point.exponent


def encode(point: Point, value: float | str | None, *, exact: bool = False) -> Encoded:
    """Return the registers that say `value` (a physical number, an enumeration's symbol, a text).

    None gives 'not implemented'. Between two steps of the scale factor the nearest is taken (the even one of
    two equally near) and `rounded` says so; with `exact` that is refused.
    Raises SunSpecValueError if the value is not finite, out of range or no symbol.
    """
    registers = _words(point, _pattern(point, value))
    written = decode(point, registers)
    rounded = isinstance(value, int | float) and written != value
    if rounded and exact:
        raise SunSpecValueError(point.name, f"{value!r} is between steps, {written!r} is the nearest")
    return Encoded(registers, written, rounded)


def _words(point: Point, pattern: int) -> tuple[int, ...]:
    return struct.unpack(f">{point.length}H", pattern.to_bytes(2 * point.length, "big"))


def _pattern(point: Point, value: float | str | None) -> int:
    """Return the unsigned pattern for a value, refusing what does not fit."""
    family = point.kind.family
    if value is None or family == "pad":
        return point.absent
    if family == "string":
        return _text_pattern(point, value)
    if family == "opaque":
        raise SunSpecValueError(point.name, f"values of type {point.type} are not supported")
    if isinstance(value, str):
        value = _code(point, value)
    if not math.isfinite(value):
        raise SunSpecValueError(point.name, f"{value!r} is not finite")
    if family == "float":
        return _float_pattern(point, value)
    return _integer_pattern(point, value)


def _code(point: Point, symbol: str) -> int:
    if symbol not in point.symbols:
        hint = did_you_mean(symbol, tuple(point.symbols))
        raise SunSpecValueError(point.name, f"there is no symbol {symbol!r}{hint}")
    code = point.symbols[symbol]
    return 1 << code if point.kind.family == "bitfield" else code


def _text_pattern(point: Point, value: float | str) -> int:
    data = str(value).encode()
    if len(data) > 2 * point.length or b"\0" in data:
        raise SunSpecValueError(point.name, f"{value!r} does not fit {2 * point.length} bytes of text")
    return int.from_bytes(data.ljust(2 * point.length, b"\0"), "big")


def _float_pattern(point: Point, value: float) -> int:
    try:
        return int.from_bytes(struct.pack(_FLOAT_FORMAT[point.length], value), "big")
    except OverflowError:
        raise SunSpecValueError(point.name, f"{value!r} is out of range for {point.type}") from None


def _integer_pattern(point: Point, value: float) -> int:
    kind, exponent = point.kind, point.exponent
    if exponent is None:
        raise SunSpecValueError(point.name, f"the device does not implement its scale factor {point.scale!r}")
    raw = round(Fraction(value) / Fraction(10) ** exponent)
    if kind.family == "enum" and point.symbols and (raw != value or raw not in point.symbols.values()):
        raise SunSpecValueError(point.name, f"{value!r} is none of {_choices(point)}")
    if not kind.low <= raw <= kind.high:
        low, high = kind.low * 10.0**exponent, kind.high * 10.0**exponent
        raise SunSpecValueError(point.name, f"{value!r} is out of range ({low:g} to {high:g} {point.unit})")
    return raw % (1 << 16 * point.length)


def _choices(point: Point) -> str:
    return ", ".join(f"{code} ({name})" for name, code in point.symbols.items())


# --- layout ---------------------------------------------------------------------------------------


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


class _Entry(NamedTuple):
    """A point of a model's layout, before its scale factor is known."""

    path: str
    offset: int
    length: int
    definition: Mapping[str, Any]


def _lay_out(group: Mapping[str, Any], counts: Mapping[str, int], prefix: str = "", at: int = 0) -> Iterator[_Entry]:
    """Yield a group's points in register order, then those of its groups, each repeated as `counts` says."""
    for point in group["points"]:
        length = KINDS[point["type"]].registers or int(point["size"])
        yield _Entry(prefix + point["name"], at, length, point)
        at += length
    for inner in group.get("groups", ()):
        for path in _repeats(inner, counts, prefix):
            for entry in _lay_out(inner, counts, path, at):
                yield entry
                at = max(at, entry.offset + entry.length)


def _repeats(group: Mapping[str, Any], counts: Mapping[str, int], prefix: str) -> list[str]:
    name, counter = prefix + group["name"], _counter(group)
    if counter is None:
        return [name + "."]
    return [f"{name}.{index}." for index in range(counts.get(counter, 0))]


def _counter(group: Mapping[str, Any]) -> str | None:
    """Return what says how often a group repeats: a point, or its own name if it fills the model's length."""
    count = group.get("count")
    return None if count is None else str(count or group["name"])


def _count_points(group: Mapping[str, Any]) -> set[str]:
    """Return the names of the points that say how often a group of this model repeats ("NPt", "NCrv")."""
    inner = group.get("groups", ())
    own = {g["count"] for g in inner if isinstance(g.get("count"), str)}
    return own.union(*(_count_points(g) for g in inner))


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


class RegisterMap:
    """The points of one device, by name, with their addresses and scale factors fixed."""

    def __init__(self, base: int, blocks: Sequence[ModelBlock], points: Iterable[Point]) -> None:
        self.base, self.blocks = base, tuple(blocks)
        self.points: Mapping[str, Point] = {point.name: point for point in points}

    @property
    def end(self) -> int:
        """The first address after the end marker."""
        return (self.blocks[-1].address + self.blocks[-1].length if self.blocks else self.base + 2) + 2

    def __contains__(self, name: str) -> bool:
        return name in self.points

    def __getitem__(self, name: str) -> Point:
        if name not in self.points:
            raise SunSpecMapError(f"the device has no point {name!r}{did_you_mean(name, tuple(self.points))}")
        return self.points[name]

    def block(self, model_id: int) -> ModelBlock:
        """Return the first block of a model."""
        for block in self.blocks:
            if block.model_id == model_id:
                return block
        present = ", ".join(str(block.model_id) for block in self.blocks)
        raise SunSpecMapError(f"the device has no SunSpec model {model_id}; it has {present or 'none'}")

    def value(self, name: str, image: RegisterArray) -> Value:
        """Return a point's value in an image of the whole map (registers from `base`)."""
        point = self[name]
        return decode(point, image[point.address - self.base : point.end - self.base])

    def group_size(self, key: str, group: str) -> int:
        """Return how often a repeated group occurs: `group_size("705", "Crv")` is the number of curves."""
        start, size = f"{key}.{group}.", 0
        while any(name.startswith(f"{start}{size}.") for name in self.points):
            size += 1
        return size


def build_image(description: Description, base: int = BASE_ADDRESSES[0]) -> tuple[RegisterMap, RegisterArray]:
    """Lay out models from a plain description and fill their registers.

    Returns the map and the image (uint16, from `base` to the end marker). What the description leaves out is
    'not implemented'; ID, L and the counts of repeated groups are filled in. Raises SunSpecValueError for
    values that do not fit and SunSpecMapError for points that a model does not have.
    """
    words: list[int] = list(_SUNS)
    blocks: list[ModelBlock] = []
    points: list[Point] = []
    for model_id, tree in description.items():
        block, values = _describe(model_id, tree, base + len(words))
        compiled = _compile(block, values)
        blocks.append(block)
        points.extend(compiled)
        words.extend(_fill(compiled, values))
    image = np.array([*words, _END_MODEL, 0], dtype=np.uint16)
    return RegisterMap(base, blocks, points), image


def _describe(model_id: int, tree: Mapping[str, Any], address: int) -> tuple[ModelBlock, dict[str, Any]]:
    """Return a model's block and its values by path, with ID, L and counts filled in."""
    group = definition(model_id)
    values = dict(_flatten(tree))
    counts = _counts_of_tree(group, tree)
    entries = list(_lay_out(group, counts))
    _refuse_unknown(model_id, values, entries)
    length = entries[-1].offset + entries[-1].length
    named = {name: count for name, count in counts.items() if name in _count_points(group)}
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
    said = {name: int(tree[name]) for name in _count_points(group) if name in tree}
    counts = dict(said)
    for inner in group.get("groups", ()):
        listed = tree.get(inner["name"], ())
        items = listed if isinstance(listed, list | tuple) else [listed]
        found = [_counts_of_tree(inner, item) for item in items]
        if (counter := _counter(inner)) is not None:
            found.append({counter: len(items)})
        for name, count in (pair for each in found for pair in each.items()):
            if name not in said:
                counts[name] = max(count, counts.get(name, 0))
    return counts


def _refuse_unknown(model_id: int, values: Mapping[str, Any], entries: Sequence[_Entry]) -> None:
    paths = [entry.path for entry in entries]
    for path in values:
        if path not in paths:
            raise SunSpecMapError(f"model {model_id} has no point {path!r}{did_you_mean(path, paths)}")


def _compile(block: ModelBlock, values: Mapping[str, Any]) -> list[Point]:
    """Return the points of a block, within its length; `values` holds its counts and scale factors."""
    entries = _lay_out(definition(block.model_id), _counts(block, values))
    fitting = (entry for entry in entries if entry.offset + entry.length <= block.length)
    return [_point(block, entry, values) for entry in fitting]


def _counts(block: ModelBlock, values: Mapping[str, Any]) -> dict[str, int]:
    """Return how often groups repeat: as the counting points say, or until the model's length is filled."""
    group = definition(block.model_id)
    counts = {name: int(values.get(name) or 0) for name in _count_points(group)}
    fixed = sum(entry.length for entry in _lay_out(group, counts))
    for inner in group.get("groups", ()):
        if inner.get("count") == 0:
            size = sum(entry.length for entry in _lay_out(inner, counts))
            counts[inner["name"]] = max(block.length - fixed, 0) // size
    return counts


def _point(block: ModelBlock, entry: _Entry, values: Mapping[str, Any]) -> Point:
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


def _fill(points: Sequence[Point], values: Mapping[str, Any]) -> Iterator[int]:
    for point in points:
        yield from encode(point, values.get(point.name.partition(".")[2])).registers


# --- discovery ------------------------------------------------------------------------------------


class Request(NamedTuple):
    """A run of registers to be read."""

    address: int
    registers: int


Reading = Generator[Request, RegisterArray, RegisterArray]
Walk = Generator[Request, RegisterArray, tuple[RegisterMap, RegisterArray]]


def walk() -> Walk:
    """Find a device's SunSpec map without knowing how registers are read.

    A generator that yields requests of at most 125 registers and is sent their registers; a `Rejected` thrown
    in means that the device refuses that request. Returns the map as the device describes it (counts and
    scale factors are the device's) and the image of all its registers.
    """
    base, header = yield from _find_base()
    words: list[int] = list(header)
    blocks: list[ModelBlock] = []
    while words[-2] != _END_MODEL:
        block = _next_block(base, words, blocks)
        words.extend((yield from _read_model(block)))
        blocks.append(block)
    image = np.array(words, dtype=np.uint16)
    points = [point for block in blocks for point in _compile_found(block, image, base)]
    return RegisterMap(base, blocks, points), image


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
            resume = partial(step.send, read(*request))
        except Rejected as refusal:
            resume = partial(step.throw, refusal)


def _find_base() -> Generator[Request, RegisterArray, tuple[int, RegisterArray]]:
    """Return the base address and the registers from 'SunS' to the first model's header."""
    for base in BASE_ADDRESSES:
        try:
            header = yield Request(base, 4)
        except Rejected:
            continue
        if tuple(header[:2]) == _SUNS:
            return base, header
    tried = ", ".join(str(base) for base in BASE_ADDRESSES)
    raise SunSpecMapError(f"no SunSpec map: no 'SunS' at {tried}")


def _next_block(base: int, words: Sequence[int], blocks: Sequence[ModelBlock]) -> ModelBlock:
    """Return the block whose ID and L are the last two words read."""
    model_id, address, length = int(words[-2]), base + len(words) - 2, int(words[-1]) + 2
    if address + length + 2 > _ADDRESSES:
        raise SunSpecMapError(f"model {model_id} at {address} cannot have the {length - 2} registers it says")
    earlier = sum(block.model_id == model_id for block in blocks)
    key = f"{model_id}#{earlier + 1}" if earlier else str(model_id)
    return ModelBlock(key, model_id, address, length)


def _read_model(block: ModelBlock) -> Reading:
    """Return a model's data and the next header; some devices have no length after their end marker."""
    start, count = block.address + 2, block.length
    try:
        return (yield from _read_run(start, count))
    except Rejected:
        data = yield from _read_run(start, count - 1)
    if data[-1] != _END_MODEL:
        raise SunSpecMapError(f"the registers after model {block.key} cannot be read: no end marker")
    return np.append(data, np.uint16(0))


def _read_run(address: int, count: int) -> Reading:
    parts = [np.empty(0, dtype=np.uint16)]
    for start in range(address, address + count, READ_LIMIT):
        parts.append((yield Request(start, min(READ_LIMIT, address + count - start))))
    return np.concatenate(parts).astype(np.uint16)


def _compile_found(block: ModelBlock, image: RegisterArray, base: int) -> list[Point]:
    """Return the points of a block as its own counts and scale factors say; none for an unknown model."""
    try:
        group = definition(block.model_id)
    except SunSpecMapError:
        return []
    values = _layout_values(block, _lay_out(group, {}), image, base)
    entries = _lay_out(group, _counts(block, values))
    return _compile(block, _layout_values(block, entries, image, base))


def _layout_values(block: ModelBlock, entries: Iterable[_Entry], image: RegisterArray, base: int) -> dict[str, Value]:
    """Return what a layout depends on: the scale factors and counts among the entries, by path."""
    values: dict[str, Value] = {}
    for entry in entries:
        kind, start = entry.definition["type"], block.address - base + entry.offset
        if kind in ("sunssf", "uint16", "count") and entry.offset + entry.length <= block.length:
            values[entry.path] = decode(_point(block, entry, _UNSCALED), image[start : start + entry.length])
    return values


_UNSCALED: Mapping[str, Any] = {}


# --- many values ----------------------------------------------------------------------------------


class ReadPlan:
    """The fewest reads that fetch some points of one device.

    A read spans neighbouring points and the registers between them, never more than `limit` registers, and
    never part of a point. Points that the device does not have are left out (they decode to NaN).
    """

    def __init__(self, device: RegisterMap, names: Sequence[str], limit: int = READ_LIMIT) -> None:
        self.points: tuple[Point | None, ...] = tuple(device.points.get(name) for name in names)
        self.requests: tuple[Request, ...] = tuple(_cover([p for p in self.points if p is not None], limit))
        self.registers = sum(request.registers for request in self.requests)

    def positions(self) -> tuple[int | None, ...]:
        """Return where each point begins in the registers of all requests, one after the other."""
        return tuple(None if point is None else self._position(point.address) for point in self.points)

    def _position(self, address: int) -> int:
        before = 0
        for request in self.requests:
            if request.address <= address < request.address + request.registers:
                return before + address - request.address
            before += request.registers
        raise AssertionError(address)


def _cover(points: Sequence[Point], limit: int) -> Iterator[Request]:
    start: int | None = None
    end = 0
    for point in sorted(points, key=lambda p: p.address):
        if start is not None and point.end - start > limit:
            yield Request(start, end - start)
            start = None
        start = point.address if start is None else start
        end = max(end, point.end)
    if start is not None:
        yield Request(start, end - start)


def runs(points: Iterable[Point], limit: int = WRITE_LIMIT) -> list[list[Point]]:
    """Group points that follow each other without a gap, for one write of at most `limit` registers each."""
    grouped: list[list[Point]] = []
    for point in sorted(points, key=lambda p: p.address):
        run = grouped[-1] if grouped else []
        if run and run[-1].end == point.address and point.end - run[0].address <= limit:
            run.append(point)
        else:
            grouped.append([point])
    return grouped


_T = TypeVar("_T")
_Rows: TypeAlias = Sequence[Sequence[_T]]
_WORD_WEIGHTS = np.array([1 << 48, 1 << 32, 1 << 16, 1], dtype=np.uint64)


class PointTable:
    """The same p numeric points of n devices, decoded and encoded at once.

    The devices may differ in addresses and scale factors. `points` and `positions` are n rows of p entries:
    the point (None where a device has none) and where it begins in the device's row of registers.
    """

    def __init__(self, points: _Rows[Point | None], positions: _Rows[int | None]) -> None:
        shape = (len(points), len(points[0]))
        pairs = zip(_chain(points), _chain(positions), strict=True)
        cells = np.array([_cell(*pair) for pair in pairs], dtype=np.int64).reshape(*shape, _CELL)
        self._index, self._words = cells[..., :4], np.maximum(cells[..., :4], 0).reshape(shape[0], -1)
        self._multiplier, self._divisor = 10.0 ** cells[..., 4], 10.0 ** cells[..., 5]
        self._shift, self._unsigned_shift = cells[..., 6], cells[..., 6].astype(np.uint64)
        self._missing, self._signed, self._bitfield = (cells[..., at] > 0 for at in (7, 8, 9))
        self._low, self._high = cells[..., 10], cells[..., 11].view(np.uint64)
        self._absent = cells[..., 12].view(np.uint64)
        self._names = [[p.name if p else "" for p in row] for row in points]

    @classmethod
    def of_image(cls, maps: Sequence[RegisterMap], names: Sequence[str]) -> PointTable:
        """Return the table for images of whole maps (rows of registers from each map's base)."""
        points = [[device.points.get(name) for name in names] for device in maps]
        positions = [
            [None if p is None else p.address - device.base for p in row]
            for device, row in zip(maps, points, strict=True)
        ]
        return cls(points, positions)

    @classmethod
    def of_plans(cls, plans: Sequence[ReadPlan]) -> PointTable:
        """Return the table for what plans read (rows of registers of all requests, one after the other)."""
        return cls([plan.points for plan in plans], [plan.positions() for plan in plans])

    def decode(self, registers: RegisterArray) -> FloatArray:
        """Return physical values (n, p) from registers (n, r); NaN where not implemented or not there."""
        words = np.take_along_axis(registers, self._words, axis=1).reshape(self._index.shape)
        pattern = np.where(self._index < 0, 0, words).astype(np.uint64) @ _WORD_WEIGHTS
        top = pattern << self._unsigned_shift
        hidden = self._bitfield & (top >> np.uint64(63) > 0)
        raw = np.where(self._signed, (top.view(np.int64) >> self._shift).astype(np.float64), pattern)
        absent = (pattern == self._absent) | self._missing | hidden
        values: FloatArray = np.where(absent, np.nan, raw * self._multiplier / self._divisor)
        return values

    def encode(self, values: FloatArray, registers: RegisterArray) -> None:
        """Write physical values (n, p) into registers (n, r), rounded to the scale factors' steps.

        NaN writes 'not implemented'; points that a device does not have are skipped. Raises
        SunSpecValueError, and writes nothing, if a value is out of range.
        """
        absent = np.isnan(values)
        raw = np.rint(np.where(absent, 0.0, values) * self._divisor / self._multiplier)
        self._refuse_out_of_range(values, raw)
        raw = np.where(self._missing, 0.0, raw)
        unsigned = np.abs(raw).astype(np.uint64)
        pattern = np.where(absent, self._absent, np.where(raw < 0, ~unsigned + np.uint64(1), unsigned))
        words = (pattern[..., None] // _WORD_WEIGHTS).astype(np.uint16)
        there = (self._index >= 0) & ~self._missing[..., None]
        registers[np.nonzero(there)[0], self._index[there]] = words[there]

    def _refuse_out_of_range(self, values: FloatArray, raw: FloatArray) -> None:
        wrong = ~self._missing & ~((raw >= self._low) & (raw <= self._high))
        if wrong.any():
            device, column = np.argwhere(wrong)[0]
            name, value = self._names[device][column], float(values[device, column])
            raise SunSpecValueError(name, f"{value!r} is out of range for device {device}")


_CELL = 13


def _cell(point: Point | None, position: int | None) -> tuple[int, ...]:
    """Return what the table needs of a point: four word positions, exponents, shift, flags, limits."""
    if point is None or position is None:
        return (-1, -1, -1, -1, 0, 0, 0, 1, 0, 0, 0, 0, 0)
    kind, exponent = point.kind, point.exponent or 0
    if kind.family not in ("integer", "enum", "bitfield"):
        raise SunSpecValueError(point.name, f"type {point.type} cannot be polled as a number")
    words = [position + i if i >= 0 else -1 for i in range(point.length - 4, point.length)]
    scale = (max(exponent, 0), max(-exponent, 0), 64 - 16 * point.length)
    flags = (point.exponent is None, kind.signed, kind.family == "bitfield")
    return (*words, *scale, *map(int, flags), kind.low, _as_int64(kind.high), _as_int64(point.absent))


def _as_int64(pattern: int) -> int:
    return pattern - (1 << 64) if pattern >> 63 else pattern


def _chain(rows: _Rows[_T]) -> Iterator[_T]:
    return (item for row in rows for item in row)
