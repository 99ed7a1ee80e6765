"""Points, and the types that say how a value fills its registers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
RegisterArray = NDArray[np.uint16]
BoolArray = NDArray[np.bool_]
Value = float | str | None
"""A decoded point: a number (physical, scale factor applied), a text, or None for 'not implemented'."""


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
    "eui48": Kind("opaque", 4, absent=0xFFFFFFFFFFFF),
}


NO_PATTERN = -1
"""`Point.absent` where no pattern says 'not implemented'."""


def _plain(bits: int, family: str, signed: bool = False) -> Kind:
    low = -(1 << bits - 1) if signed else 0
    return Kind(family, bits // 16, low, low + (1 << bits) - 1, NO_PATTERN)


PLAIN_KINDS: Mapping[str, Kind] = {
    **{f"plain-int{bits}": _plain(bits, "integer", signed=True) for bits in (16, 32, 64)},
    **{f"plain-uint{bits}": _plain(bits, "integer") for bits in (16, 32, 64)},
    **{f"plain-enum{bits}": _plain(bits, "enum") for bits in (16, 32)},
    **{f"plain-bitfield{bits}": _plain(bits, "bitfield") for bits in (16, 32, 64)},
}
"""The types of devices that are not SunSpec: no pattern is set apart, so their ranges are whole."""
_ALL_KINDS: Mapping[str, Kind] = {**PLAIN_KINDS, **KINDS}
_WHOLE = frozenset({"integer", "enum", "bitfield"})


@dataclass(frozen=True, slots=True)
class Manner:
    """In what a point of a device that is not SunSpec may differ; as it stands here is how SunSpec has it."""

    function: Literal[3, 4] = 3
    """The Modbus function that reads it: holding registers, or input registers."""
    readable: bool = True
    writes_one: bool = False
    """Is written with function 6; with 16 otherwise."""
    low_word_first: bool = False
    low_byte_first: bool = False
    factor: Fraction = Fraction(1)
    """What one step is in the point's unit, beside the power of ten of `Point.exponent`."""
    offset: Fraction = Fraction(0)
    """The value of a register that holds 0."""
    low: float = -math.inf
    """Least value that may be written."""
    high: float = math.inf


SUNSPEC_MANNER = Manner()


@dataclass(frozen=True, slots=True)
class Point:
    """One value of a device: where it is and how it is read."""

    name: str
    """Model and path: "705.Crv.1.Pt.0.V"; of a device that is not SunSpec, as its register map names it."""
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
    """The unsigned pattern that says 'not implemented'; `NO_PATTERN` if none does."""
    manner: Manner = SUNSPEC_MANNER
    kind: Kind = field(init=False, compare=False, repr=False)
    """How the type fills its registers."""
    end: int = field(init=False, compare=False, repr=False)
    """The first address after the point."""
    is_whole: bool = field(init=False, compare=False, repr=False)
    """Whether it holds a whole number of steps, as SunSpec has it."""

    def __post_init__(self) -> None:
        kind = _ALL_KINDS[self.type]
        object.__setattr__(self, "kind", kind)
        object.__setattr__(self, "end", self.address + self.length)
        object.__setattr__(self, "is_whole", self.manner is SUNSPEC_MANNER and kind.family in _WHOLE)

    def symbol(self, value: Value) -> str | None:
        """Return the name of an enumeration's value; None if it has none."""
        return next((name for name, code in self.symbols.items() if code == value), None)

    def flags(self, value: Value) -> tuple[str, ...]:
        """Return the names of the bits that are set in a bit field's value."""
        bits = int(value) if isinstance(value, int | float) and math.isfinite(value) else 0
        return tuple(name for name, bit in self.symbols.items() if bits >> bit & 1)
