"""What the registers of n devices show of what they measure; which point shows what is in `shown`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from hil.emulator.energy import Energy
from hil.emulator.moment import Fixed, Moment
from hil.emulator.profile import Profile
from hil.emulator.registers import Registers
from hil.emulator.shown import SHOWN
from hil.inverter.measurements import Measurements
from hil.sunspec.points import FloatArray
from hil.sunspec.table import PointTable

_FUNCTIONS: Final = {
    **{"704.WSetEna": 0, "704.WMaxLimPctEna": 0, "704.VarSetEna": 1, "704.PFWInjEna": 2, "705.Ena": 3, "711.Ena": 4},
    **{"707.Ena": 7, "708.Ena": 8, "706.Ena": 10, "709.Ena": 13, "710.Ena": 14},
}
"""Switches, and the bit of 122 StActCtl that each stands for."""
_IN_FAULTS: Final = re.compile(r"\d+\.(A|Aph[ABC]|LNV|LLV|PhV|PPV|P[hP]Vph[ABC]+)")
"""Currents and voltages. What they are in a fault is beyond what their registers are made for: these show the most that
they hold, as those of equipment do."""
_RATINGS: Final = ("702.VAMax", "702.VarMaxInj", "713.WHRtg")


class Measured:
    """Shows measurements, and counts the energy that they stand for."""

    def __init__(self, registers: Registers, profiles: Sequence[Profile]) -> None:
        self._registers, self.energy = registers, Energy(len(profiles))
        self._fixed = _fixed(registers, profiles)
        present = {block.model_id for device in registers.shown for block in device.blocks}
        self._models = [model for model in SHOWN if model in present]
        self._settings = PointTable.of_image(registers.maps, (*_RATINGS, *_FUNCTIONS))
        self._table: PointTable | None = None
        self._in_faults = np.zeros(0, np.bool_)
        """Which columns of the table are `_IN_FAULTS`."""
        self._known: tuple[int, FloatArray] | None = None
        """Switches and ratings of a version of the registers."""
        self._last: Measurements | None = None

    def show(self, measured: Measurements) -> None:
        """Raises SunSpecValueError if a power, or another value but `_IN_FAULTS`, does not fit its register."""
        values = self.points(measured)
        if self._table is None:
            self._table = PointTable.of_image(self._registers.maps, tuple(values))
            self._in_faults = np.array([_IN_FAULTS.fullmatch(name) is not None for name in values])
        shown = np.stack(list(values.values()), axis=1)
        shown = np.where(self._in_faults, self._table.within_reach(shown), shown)
        self._table.encode(shown, self._registers.images)
        self._last = measured

    def points(self, measured: Measurements) -> dict[str, FloatArray]:
        """Return what points show of measurements (n,); NaN: not implemented. Not every device has them all."""
        now = self._moment(measured)
        return {f"{m}.{path}": value for m in self._models for path, value in SHOWN[m](now).items()}

    def show_again(self, device: int) -> None:
        """Show the last measurements once more, of `device` without its alarms: it has forgotten them."""
        if self._last is not None:
            others = np.arange(self._last.alarms.size) != device
            self.show(replace(self._last, alarms=np.where(others, self._last.alarms, 0.0)))

    def advance(self, dt_s: float) -> None:
        """Count the energy of the last measurements over `dt_s`."""
        if self._last is not None:
            self.energy.add(self._last.p_w, self._last.q_var, dt_s)

    def _moment(self, measured: Measurements) -> Moment:
        if self._known is None or self._known[0] != self._registers.version:
            self._known = self._registers.version, self._settings.decode(self._registers.images).T
        settings = self._known[1]
        s_max_va, q_max_var, energy_wh = settings[: len(_RATINGS)]
        return Moment(
            measured, self._fixed, self.energy, _controls(settings[len(_RATINGS) :]), s_max_va, q_max_var, energy_wh
        )


def _controls(enables: FloatArray) -> FloatArray:
    """Return the bits (n,) of the functions that are on."""
    bits = np.zeros(enables.shape[1], dtype=np.int64)
    for bit, enable in zip(_FUNCTIONS.values(), enables, strict=True):
        bits |= np.where(enable == 1, 1 << bit, 0)
    return bits.astype(np.float64)


def _fixed(registers: Registers, profiles: Sequence[Profile]) -> Fixed:
    table = PointTable.of_image(registers.maps, ["701.ACType", "713.WHRtg"]).decode(registers.images)
    return Fixed(
        phases=np.nan_to_num(table[:, 0]) + 1.0,
        storage=~np.isnan(table[:, 1]),
        v_dc_v=np.array([profile.v_dc_v for profile in profiles]),
    )
