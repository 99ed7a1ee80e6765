"""Whether the registers of a device hold whatever they may come to say as views of others, in steps that it was given.

A step that is too fine for the range of a point is found when the device is built where it begins beyond that; what is
written to the other view later, or adopted, is seen here.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from hil.emulator.links import VAR_PERCENT, links_in
from hil.emulator.old_curves import POINTS
from hil.emulator.ranges import RangesOfPoints
from hil.emulator.registers import Registers
from hil.sunspec.codec import encode
from hil.sunspec.image import Description
from hil.sunspec.register_map import RegisterMap


def refuse_too_fine(shown: Description, hidden: Description) -> None:
    """Raise SunSpecValueError for a point that cannot hold the least or the most that its other view may be set to."""
    registers = Registers([shown], [hidden])
    device, ranges = registers.maps[0], RangesOfPoints(registers, 60.0)
    for name in _views(device):
        for bound in filter(math.isfinite, ranges.of(0, name)):
            encode(device[name], bound)


def _views(device: RegisterMap) -> Iterator[str]:
    """Yield the points that follow others, and are followed by them."""
    for link in links_in(device):
        yield from (link.old, link.new)
    names = ["704.VarSetPct", *VAR_PERCENT.values()] if "123.VArPct_Mod" in device else []
    if "126.ModEna" in device:
        names += [f"126.curve.0.{axis}{number}" for axis in ("V", "VAr") for number in range(1, POINTS + 1)]
        names += [name for name in device.points if name.startswith("705.Crv.0.Pt.")]
    yield from (name for name in names if name in device)
