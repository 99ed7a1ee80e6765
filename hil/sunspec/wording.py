"""Values of points in the words that people read."""

from __future__ import annotations

from derloop.errors import visible
from hil.sunspec.points import Point, Value


def value_text(point: Point, value: Value) -> str:
    """Return a point's value with its unit, and its symbol or flags where it has any."""
    if value is None:
        return "not implemented"
    if isinstance(value, str):
        return visible(value)
    if point.kind.family == "bitfield":
        return ", ".join(point.flags(value)) or "none set" if point.symbols else f"0x{int(value):x}"
    symbol = point.symbol(value)
    return f"{value:g} ({symbol})" if symbol else f"{value:.10g} {point.unit}".rstrip()
