"""What devices that only draw share: their places, whether they have power, reactive power by a fixed power factor."""

from __future__ import annotations

from dataclasses import replace
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from derloop.contract import Port, Values
from derloop.kind import Context, Terminal
from federates.der.placement import Spot, Spread, place


def place_drawing(
    at: tuple[Spot, ...] | Spread, rated_kva: tuple[float, float] | None, context: Context
) -> tuple[Terminal, ...]:
    """Return where the devices stand, as ones whose powers are positive when drawn. Raises PlaceError."""
    return tuple(replace(terminal, draws=True) for terminal in place(at, rated_kva, context))


def voltage_ports(labels: tuple[str, ...]) -> dict[str, Port]:
    """Return the input `v_pu` (n,) of the instant before, which closes no loop; nominal where nobody tells it."""
    return {"v_pu": Port("pu", labels, "before", 1.0)}


def are_powered(inputs: Values) -> NDArray[np.bool_]:
    """Return which devices (n,) have any voltage. They notice one step after it has gone, or come back."""
    powered: NDArray[np.bool_] = inputs["v_pu"] > 0.0
    return powered


def tan_phi(pf: float) -> float:
    """Return Q over P, both drawn, for a lagging power factor."""
    return sqrt(1.0 - pf**2) / pf
