"""Whether the registers of a device hold whatever they may come to say, in steps that it was given.

A step that is too fine for the range of a point is found when the device is built where it begins beyond that; what is
measured, or as a view of others written or adopted, comes later, and is seen here.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import product
from typing import Final

import numpy as np

from hil.emulator.device import Equipped
from hil.emulator.links import VAR_PERCENT, links_in
from hil.emulator.measured import Measured
from hil.emulator.nameplate import Ratings
from hil.emulator.old_curves import POINTS
from hil.emulator.profile import Profile
from hil.emulator.ranges import RangesOfPoints
from hil.emulator.registers import Registers
from hil.inverter.measurements import Measurements
from hil.sunspec.codec import encode
from hil.sunspec.register_map import RegisterMap

CONTINUOUS_PU: Final = (0.88, 1.1)
"""Least and highest voltage at which a device goes on for ever (IEEE 1547-2018, tables 14 to 16)."""


def refuse_too_fine(equipped: Equipped, ratings: Ratings, profile: Profile, f_nominal_hz: float) -> None:
    """Raise SunSpecValueError for a point that cannot hold what it may be.

    That is what the device measures at its rated powers and the voltages of continuous operation, and the least and the
    most that the point's other view may be set to.
    """
    registers = Registers([equipped.shown], [equipped.hidden])
    device, ranges = registers.maps[0], RangesOfPoints(registers, f_nominal_hz)
    measured = Measured(registers, [profile])
    for (p_w, q_var), v_pu in product(_rated(ratings), CONTINUOUS_PU):
        for name, shown in measured.points(_at(p_w, q_var, v_pu, ratings, f_nominal_hz)).items():
            if name in device and math.isfinite(value := float(shown[0])):
                encode(device[name], value)
    for name in _views(device):
        for bound in filter(math.isfinite, ranges.of(0, name)):
            encode(device[name], bound)


def _rated(ratings: Ratings) -> list[tuple[float, float]]:
    """Return the powers at which a device is rated, W and var, each alone."""
    active_w = (ratings.s_max_va, -(ratings.p_max_charge_w or 0.0))
    return [*((p_w, 0.0) for p_w in active_w), (0.0, ratings.q_max_injected_var), (0.0, -ratings.q_max_absorbed_var)]


def _at(p_w: float, q_var: float, v_pu: float, ratings: Ratings, f_nominal_hz: float) -> Measurements:
    """Return what one device measures that gives a power at a voltage, full where it is a storage."""
    v_ln_v = v_pu * ratings.v_ln_nominal_v
    return Measurements.of(
        np.array([p_w]),
        np.array([q_var]),
        np.array([v_ln_v]),
        v_ll_v=math.nan if ratings.phases == 1 else v_ln_v * math.sqrt(3),
        f_hz=f_nominal_hz,
        soc_pct=math.nan if ratings.energy_wh is None else 100.0,
    )


def _views(device: RegisterMap) -> Iterator[str]:
    """Yield the points that follow others, and are followed by them."""
    for link in links_in(device):
        yield from (link.old, link.new)
    names = ["704.VarSetPct", *VAR_PERCENT.values()] if "123.VArPct_Mod" in device else []
    if "126.ModEna" in device:
        names += [f"126.curve.0.{axis}{number}" for axis in ("V", "VAr") for number in range(1, POINTS + 1)]
        names += [name for name in device.points if name.startswith("705.Crv.0.Pt.")]
    yield from (name for name in names if name in device)
