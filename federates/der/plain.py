"""What devices that only draw share: their places, and reactive power by a fixed power factor."""

from __future__ import annotations

from dataclasses import replace
from math import sqrt

from derloop.kind import Context, Terminal
from federates.der.placement import Spot, Spread, place


def place_drawing(
    at: tuple[Spot, ...] | Spread, rated_kva: tuple[float, float] | None, context: Context
) -> tuple[Terminal, ...]:
    """Return where the devices stand, as ones whose powers are positive when drawn. Raises PlaceError."""
    return tuple(replace(terminal, draws=True) for terminal in place(at, rated_kva, context))


def tan_phi(pf: float) -> float:
    """Return Q over P, both drawn, for a lagging power factor."""
    return sqrt(1.0 - pf**2) / pf
