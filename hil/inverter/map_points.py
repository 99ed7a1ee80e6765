"""The points of a register map: from what a file says to what is read and written, and what is wrong in it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from fractions import Fraction
from itertools import pairwise
from typing import Literal, NamedTuple

from derloop.errors import Problem
from hil.inverter.map_file import PointEntry, RegisterFile
from hil.sunspec.points import KINDS, NO_PATTERN, PLAIN_KINDS, Kind, Manner, Point
from hil.sunspec.register_map import ADDRESSES, RegisterMap, Run

_TRADITIONAL: Mapping[range, Literal[3, 4]] = {
    range(30_001, 40_000): 4,
    range(40_001, 50_000): 3,
    range(300_001, 365_537): 4,
    range(400_001, 465_537): 3,
}


class Place(NamedTuple):
    """Where registers are on the wire."""

    function: Literal[3, 4]
    address: int


def register_map(file: RegisterFile) -> tuple[RegisterMap, list[Problem]]:
    """Return the map that a file describes, without the points that are wrong, and everything that is wrong."""
    problems: list[Problem] = []
    points: dict[str, Point] = {}
    for name, entry in file.points.items():
        found = [Problem(f"/points/{name}{at}", what) for at, what in _wrong(file, entry)]
        problems += found
        if not found:
            points[name] = _point(name, file, entry)
    problems += _overlaps(points)
    return RegisterMap(0, (), points.values(), _runs(file, points)), problems


def _point(name: str, file: RegisterFile, entry: PointEntry) -> Point:
    place = _place(file, entry)
    assert place is not None
    exponent, factor = _steps(entry)
    manner = Manner(
        function=place.function,
        readable="r" in entry.access,
        writes_one=(entry.write_with or file.write_with) == 6,
        low_word_first=(entry.word_order or file.word_order) == "low-first" and entry.type != "string",
        low_byte_first=(entry.byte_order or file.byte_order) == "low-first",
        factor=factor,
        offset=_exactly(entry.offset),
        low=-math.inf if entry.low is None else entry.low,
        high=math.inf if entry.high is None else entry.high,
    )
    return Point(
        name=name,
        address=place.address,
        length=_length(entry),
        type=_type(entry),
        exponent=exponent,
        scale=None,
        writable="w" in entry.access,
        unit=entry.unit,
        symbols=entry.symbols,
        absent=_absent(entry),
        manner=manner,
    )


def _type(entry: PointEntry) -> str:
    return entry.type if entry.type in ("string", "float32", "float64") else f"plain-{entry.type}"


def _kind(entry: PointEntry) -> Kind:
    name = _type(entry)
    return KINDS[name] if name == entry.type else PLAIN_KINDS[name]


def _length(entry: PointEntry) -> int:
    return _kind(entry).registers or entry.length or 1


def _absent(entry: PointEntry) -> int:
    if entry.absent is not None:
        return int(entry.absent, 16)
    return _kind(entry).absent if _kind(entry).family in ("float", "string") else NO_PATTERN


def _exactly(number: float) -> Fraction:
    """Return the decimal fraction that a file says: 0.1 is a tenth."""
    return Fraction(repr(number))


def _steps(entry: PointEntry) -> tuple[int, Fraction]:
    """Return the power of ten and the factor that a scale is made of."""
    scale = _exactly(entry.scale)
    exponent = round(math.log10(scale)) if scale > 0 else 0
    if _kind(entry).family != "float" and scale == Fraction(10) ** exponent:
        return exponent, Fraction(1)
    return 0, scale


def _place(file: RegisterFile, entry: PointEntry) -> Place | None:
    """Return where a point is on the wire; None if the numbering knows no such register."""
    if file.numbering == "traditional":
        for numbers, function in _TRADITIONAL.items():
            if entry.address in numbers:
                return Place(function, entry.address - numbers.start)
        return None
    address = entry.address - (file.numbering == "from-1")
    return Place(4 if entry.registers == "input" else 3, address) if 0 <= address < ADDRESSES else None


# what is wrong


def _wrong(file: RegisterFile, entry: PointEntry) -> Iterator[tuple[str, str]]:
    """Yield what is wrong with a point: where in it, and what."""
    yield from _wrong_place(file, entry)
    yield from _wrong_type(entry)
    if not any(_wrong_type(entry)):
        yield from _wrong_limits(entry)


def _wrong_place(file: RegisterFile, entry: PointEntry) -> Iterator[tuple[str, str]]:
    place = _place(file, entry)
    if place is None or place.address + _length(entry) > ADDRESSES:
        yield "/address", f"there is no register {entry.address} when registers are numbered {file.numbering!r}"
    elif file.numbering == "traditional" and entry.registers is not None:
        yield "/registers", "the number of the register already says it (3xxxx input, 4xxxx holding)"
    elif place.function == 4 and entry.access != "r":
        yield "/access", "input registers can only be read ('r')"
    if _length(entry) > file.reads.at_most and "r" in entry.access:
        yield "/type", f"has {_length(entry)} registers, a read carries {file.reads.at_most} (/reads/at_most)"
    if "w" in entry.access:
        yield from _wrong_writing(file, entry)


def _wrong_writing(file: RegisterFile, entry: PointEntry) -> Iterator[tuple[str, str]]:
    if (entry.write_with or file.write_with) == 6 and _length(entry) > 1:
        yield "/write_with", f"function 6 writes one register, {entry.type} has {_length(entry)}: write it with 16"
    if _length(entry) > file.writes.at_most:
        yield "/type", f"has {_length(entry)} registers, a write carries {file.writes.at_most} (/writes/at_most)"


def _wrong_type(entry: PointEntry) -> Iterator[tuple[str, str]]:
    family = _kind(entry).family
    if family == "string" and entry.length is None:
        yield "/length", "is missing: the registers of the string"
    if family != "string" and entry.length is not None:
        yield "/length", f"only strings say their length; {entry.type} has {_length(entry)}"
    if entry.symbols and family not in ("enum", "bitfield"):
        yield "/symbols", f"{entry.type} has no symbols; enum16 or bitfield16 have"
    if entry.scale == 0:
        yield "/scale", "must not be 0"
    if family in ("string", "enum", "bitfield") and (entry.scale, entry.offset) != (1.0, 0.0):
        yield "/scale", f"{entry.type} cannot be scaled"
    if entry.absent is not None and int(entry.absent, 16) >> 16 * _length(entry):
        yield "/absent", f"{entry.absent} does not fit {entry.type}"
    if entry.absent is not None and family in ("string", "float"):
        yield "/absent", f"{entry.type} needs none: what is empty, or not a number, is absent"


def _wrong_limits(entry: PointEntry) -> Iterator[tuple[str, str]]:
    limits = {name: value for name, value in (("low", entry.low), ("high", entry.high)) if value is not None}
    if limits and "w" not in entry.access:
        yield f"/{next(iter(limits))}", "limits what is written, and this point is only read"
    low, high = _range(entry)
    for name, value in limits.items():
        if not low <= value <= high:
            yield f"/{name}", f"{value:g} is beyond what {entry.type} with this scale can hold ({low:g} to {high:g})"
    if len(limits) == 2 and limits["low"] > limits["high"]:
        yield "/low", f"{limits['low']:g} is above high, {limits['high']:g}"
    bits = 16 * _length(entry)
    for symbol, code in entry.symbols.items():
        if not 0 <= code < (bits if _kind(entry).family == "bitfield" else 1 << bits):
            yield f"/symbols/{symbol}", f"{code} is beyond {entry.type}"


def _range(entry: PointEntry) -> tuple[float, float]:
    """Return the least and the greatest value that a point's registers can hold."""
    kind = _kind(entry)
    if kind.family in ("float", "string"):
        return -math.inf, math.inf
    ends = (kind.low * entry.scale + entry.offset, kind.high * entry.scale + entry.offset)
    return min(ends), max(ends)


def _overlaps(points: Mapping[str, Point]) -> list[Problem]:
    """Return a problem for each point that shares registers with the one before it."""
    ordered = sorted(points.values(), key=lambda p: (p.manner.function, p.address, p.end))
    return [
        Problem(f"/points/{after.name}/address", f"{after.name!r} shares registers with {before.name!r}")
        for before, after in pairwise(ordered)
        if before.manner.function == after.manner.function and after.address < before.end
    ]


# which registers may be read together


def _runs(file: RegisterFile, points: Mapping[str, Point]) -> list[Run]:
    """Return the registers of a map's image: those that may be read together, and each point that is only written."""
    runs: list[Run] = []
    joins = False
    for point in sorted(points.values(), key=lambda p: (p.manner.function, p.address)):
        function, last = point.manner.function, runs[-1] if runs else None
        follows = last is not None and last.function == function and (file.reads.over_gaps or last.end == point.address)
        if last is not None and joins and follows and point.manner.readable:
            runs[-1] = Run(function, last.start, max(last.end, point.end))
        elif last is None or last.function != function or point.address >= last.end:
            runs.append(Run(function, point.address, point.end))
        joins = point.manner.readable
    return runs
