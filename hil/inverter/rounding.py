"""What of a curve a device's steps may round away."""

from __future__ import annotations

from collections.abc import Mapping

from derloop.errors import Rejected
from hil.inverter.mirror import Mirror

CURVE_ROUNDING = 0.1
"""By how much the points of a volt-var curve may be rounded, in percent of the nominal voltage and of the reference."""


def refuse_coarse(mirror: Mirror, points: Mapping[str, float | str]) -> None:
    """Raise Rejected if a device cannot hold points of a curve closely enough."""
    for name, each in mirror.encode(points).items():
        asked, held = points[name], each.value
        if isinstance(asked, int | float) and isinstance(held, int | float) and abs(held - asked) > CURVE_ROUNDING:
            why = f"{name} {asked:g} was asked, {held:g} is the nearest that it can hold"
            raise Rejected(mirror.device, f"{why}; allowed are {CURVE_ROUNDING:g} %")
