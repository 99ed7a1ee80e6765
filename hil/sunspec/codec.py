"""One value to its registers and back."""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from fractions import Fraction
from string import hexdigits
from typing import NamedTuple, TypeVar

from derloop.errors import did_you_mean
from hil.sunspec.errors import SunSpecValueError
from hil.sunspec.points import NO_PATTERN, SUNSPEC_MANNER, Point, RegisterArray, Value

_Number = TypeVar("_Number", float, Fraction)
_WHOLE = frozenset({"integer", "enum", "bitfield"})
_SURE_BELOW, _SURE_WITHIN = 2.0**40, 0.499
"""A product below 2**40 is off by less than 2**-12, so what is this near to a whole number is nearest to it."""
_NUMBERS = (int, float)
_FLOAT_FORMAT = {2: ">f", 4: ">d"}


class Encoded(NamedTuple):
    """Registers, and the value that they hold: the asked one, or that rounded to the scale factor's step."""

    registers: tuple[int, ...]
    value: Value
    rounded: bool


def decode(point: Point, registers: Sequence[int] | RegisterArray) -> Value:
    """Return the physical value in a point's registers; None if the device does not implement it."""
    if point.is_whole:
        return _decode_integer(point, int(registers[0]) if len(registers) == 1 else _joined(registers))
    words = [int(word) for word in registers]
    data = struct.pack(f">{point.length}H", *(words if point.manner is SUNSPEC_MANNER else _arranged(point, words)))
    family = point.kind.family
    if family == "string":
        return data.split(b"\0", 1)[0].decode("utf-8", "replace").rstrip() or None
    if family == "float":
        number = float(struct.unpack(_FLOAT_FORMAT[point.length], data)[0])
        value = _stretched(point, number) if math.isfinite(number) else math.nan
        return value if math.isfinite(value) else None
    if family == "pad":
        return None
    if family == "opaque":
        return _decode_address(point, data)
    return _decode_integer(point, int.from_bytes(data, "big"))


def _joined(registers: Sequence[int] | RegisterArray) -> int:
    pattern = 0
    for word in registers:
        pattern = pattern << 16 | int(word)
    return pattern


def _decode_integer(point: Point, pattern: int) -> float | None:
    kind, exponent = point.kind, point.exponent
    if pattern == point.absent or exponent is None or (pattern > kind.high and kind.family == "bitfield"):
        return None
    bits = 16 * point.length
    raw = pattern - (1 << bits) if kind.low < 0 and pattern >> bits - 1 else pattern
    scaled = raw / 10**-exponent if exponent < 0 else raw if exponent == 0 else int(raw * 10**exponent)
    return scaled if point.manner is SUNSPEC_MANNER else _stretched(point, scaled)


def _stretched(point: Point, value: float) -> float:
    """Return what a number means with the point's factor and offset; infinite where that is beyond any number."""
    factor, offset = point.manner.factor, point.manner.offset
    if factor == 1 and offset == 0:
        return value
    stretched = Fraction(value) * factor + offset
    try:
        return float(stretched)
    except OverflowError:
        return math.inf if stretched > 0 else -math.inf


def _arranged(point: Point, words: Sequence[int]) -> list[int]:
    """Return registers in SunSpec's order of words and bytes from the point's own, or the other way round."""
    swapped = (word >> 8 | (word & 0xFF) << 8 for word in words) if point.manner.low_byte_first else words
    arranged = list(swapped)
    return arranged[::-1] if point.manner.low_word_first else arranged


_ADDRESS_BYTES = {"eui48": (2, 6, 1), "ipv6addr": (0, 16, 4)}
"""Where the bytes of a hardware or IPv6 address begin, how many they are, and how many stand between two colons."""


def _decode_address(point: Point, data: bytes) -> str | None:
    """Return "00:1B:..." or "20010DB8:...", as pysunspec2 writes them; None for 'not implemented'."""
    start, count, group = _ADDRESS_BYTES[point.type]
    digits = data[start : start + count].hex().upper()
    absent = int.from_bytes(data, "big") in (0, point.absent)
    return None if absent else ":".join(digits[at : at + 2 * group] for at in range(0, 2 * count, 2 * group))


def encode(point: Point, value: float | str | None, *, exact: bool = False) -> Encoded:
    """Return the registers that say `value` (a physical number, an enumeration's symbol, a text).

    None gives 'not implemented'. Between two steps of the scale factor the nearest is taken (the even one of
    two equally near) and `rounded` says so; with `exact` that is refused.
    Raises SunSpecValueError if the value is not finite, out of range or no symbol.
    """
    if point.is_whole and isinstance(value, float) and not exact and (found := _near(point, value)):
        return found
    pattern = _pattern(point, value)
    registers = _words(point, pattern)
    if value is None:
        return Encoded(registers, None, False)
    if point.is_whole:
        written: Value = _decode_integer(point, pattern)
    else:
        written = decode(point, registers)
        _refuse_beyond_limits(point, written)
    rounded = isinstance(value, _NUMBERS) and written != value
    if rounded and exact:
        raise SunSpecValueError(point.name, f"{value!r} is between steps, {written!r} is the nearest")
    return Encoded(registers, written, rounded)


def _near(point: Point, value: float) -> Encoded | None:
    """Return the registers of a number that is surely near to one step, as nearly all are; None: look closer."""
    kind, exponent = point.kind, point.exponent
    if exponent is None or exponent > 0 or kind.family == "enum":
        return None
    near = value * 10.0**-exponent
    if not abs(near) < _SURE_BELOW or abs(near - (raw := round(near))) >= _SURE_WITHIN:
        return None
    pattern = raw & (1 << 16 * point.length) - 1
    if not kind.low <= raw <= kind.high or pattern == point.absent:
        return None
    written = raw / 10**-exponent if exponent else raw
    return Encoded((pattern,) if point.length == 1 else _words(point, pattern), written, written != value)


def _words(point: Point, pattern: int) -> tuple[int, ...]:
    if point.length == 1:
        words: tuple[int, ...] = (pattern,)
    else:
        words = struct.unpack(f">{point.length}H", pattern.to_bytes(2 * point.length, "big"))
    return words if point.manner is SUNSPEC_MANNER else tuple(_arranged(point, words))


def _refuse_beyond_limits(point: Point, written: Value) -> None:
    low, high = point.manner.low, point.manner.high
    if isinstance(written, int | float) and not low <= written <= high:
        raise SunSpecValueError(point.name, f"{written!r} is out of range ({low:g} to {high:g} {point.unit})")


def _pattern(point: Point, value: float | str | None) -> int:
    """Return the unsigned pattern for a value, refusing what does not fit."""
    family = point.kind.family
    if family in _WHOLE and isinstance(value, _NUMBERS):
        return _integer_pattern(point, value)
    if value is None and point.absent == NO_PATTERN:
        raise SunSpecValueError(point.name, "no value says that it is not implemented")
    if value is None or family == "pad":
        return point.absent
    if family == "string":
        return _text_pattern(point, value)
    if family == "opaque":
        return _address_pattern(point, value)
    if isinstance(value, str):
        value = _code(point, value)
    return _float_pattern(point, value) if family == "float" else _integer_pattern(point, value)


def _code(point: Point, symbol: str) -> int:
    if not point.symbols:
        raise SunSpecValueError(point.name, f"takes a number, not {symbol!r}")
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


def _address_pattern(point: Point, value: float | str) -> int:
    count = _ADDRESS_BYTES[point.type][1]
    digits = str(value).replace(":", "")
    if len(digits) != 2 * count or not all(digit in hexdigits for digit in digits):
        raise SunSpecValueError(point.name, f"{value!r} are not {count} bytes in hexadecimal")
    return int(digits, 16)


def _refuse_infinite(point: Point, value: float) -> None:
    if not math.isfinite(value):
        raise SunSpecValueError(point.name, f"{value!r} is not finite")


def _float_pattern(point: Point, value: float) -> int:
    _refuse_infinite(point, value)
    try:
        return int.from_bytes(struct.pack(_FLOAT_FORMAT[point.length], _relaxed(point, float(value))), "big")
    except OverflowError:
        raise SunSpecValueError(point.name, f"{value!r} is out of range for {point.type}") from None


def _integer_pattern(point: Point, value: float) -> int:
    kind, exponent = point.kind, point.exponent
    _refuse_infinite(point, value)
    if exponent is None:
        raise SunSpecValueError(point.name, f"the device does not implement its scale factor {point.scale!r}")
    raw = _steps(point, value, exponent)
    if kind.family == "enum" and point.symbols and (raw != value or raw not in point.symbols.values()):
        raise SunSpecValueError(point.name, f"{value!r} is none of {_choices(point)}")
    if not kind.low <= raw <= kind.high:
        low, high = (_stretched(point, bound * 10.0**exponent) for bound in (kind.low, kind.high))
        raise SunSpecValueError(point.name, f"{value!r} is out of range ({low:g} to {high:g} {point.unit})")
    return raw % (1 << 16 * point.length)


def _relaxed(point: Point, value: _Number) -> _Number:
    """Return the number that `_stretched` makes `value` of."""
    factor, offset = point.manner.factor, point.manner.offset
    if factor == 1 and offset == 0:
        return value
    return type(value)((Fraction(value) - offset) / factor)


def _steps(point: Point, value: float, exponent: int) -> int:
    """Return how many steps of 10**exponent are nearest to a value, exactly: also where it is all but between two."""
    if point.manner is SUNSPEC_MANNER and exponent <= 0:
        near = value * 10.0**-exponent
        if abs(near) < _SURE_BELOW and abs(near - round(near)) < _SURE_WITHIN:
            return round(near)
        numerator, denominator = value.as_integer_ratio()
        return _nearest(numerator * int(10**-exponent), denominator)
    return round(_relaxed(point, Fraction(value)) / Fraction(10) ** exponent)


def _nearest(numerator: int, denominator: int) -> int:
    """Return the whole number nearest to a fraction, the even one of two; `round(Fraction(...))` at a tenth of it."""
    whole, rest = divmod(numerator, denominator)
    return whole + (2 * rest > denominator or (2 * rest == denominator and whole % 2 == 1))


def _choices(point: Point) -> str:
    return ", ".join(f"{code} ({name})" for name, code in point.symbols.items())
