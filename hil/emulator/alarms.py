"""Alarms (701 Alrm): what n devices have seen beyond their trip settings, until they are reset (715 AlarmReset).

A voltage or a frequency beyond the nearer must-trip point of 707 to 710 raises its alarm while that function is on, and
so does a trip. An alarm stays until it is reset; what still lasts stays beyond that.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from hil.emulator.moment import RUNNING_STATES
from hil.emulator.registers import Registers
from hil.inverter.measurements import Measurements
from hil.sunspec.points import BoolArray, FloatArray
from hil.sunspec.table import PointTable

GRID_DISCONNECT, MANUAL_SHUTDOWN = 1 << 4, 1 << 6
OVER_FREQUENCY, UNDER_FREQUENCY, AC_OVER_VOLT, AC_UNDER_VOLT = 1 << 8, 1 << 9, 1 << 10, 1 << 11
_TRIPS: Final = {
    "707": ("V", AC_UNDER_VOLT, -1.0),
    "708": ("V", AC_OVER_VOLT, 1.0),
    "709": ("Hz", UNDER_FREQUENCY, -1.0),
    "710": ("Hz", OVER_FREQUENCY, 1.0),
}
"""By model: what it looks at, its alarm, and on which side of its setting that is."""
_SHOWN: Final = {"701.Alrm": 32, **{f"{model}.Evt1": 16 for model in (101, 102, 103, 111, 112, 113)}}
"""Where alarms are shown, and how many of their bits."""


class Alarms:
    """The alarms of n devices."""

    def __init__(self, registers: Registers) -> None:
        self._registers = registers
        points = [f"{m}.{path}" for m, (axis, *_) in _TRIPS.items() for path in _of_model(axis)]
        self._settings = PointTable.of_image(registers.maps, ("702.VNom", "701.ACType", *points))
        self._known: tuple[int, FloatArray] | None = None
        """The trip settings of a version of the registers."""
        n = len(registers.maps)
        self._latched, self._lasting = np.zeros(n, np.int64), np.zeros(n, np.int64)
        self._was_running = np.zeros(n, np.bool_)

    def update(self, measured: Measurements, permitted: BoolArray) -> FloatArray:
        """Return the alarms (n,), among them those that `measured` brings along.

        permitted: where (n,) nobody has told the device to be out of service.
        """
        running = np.isin(measured.state, RUNNING_STATES)
        tripped = self._was_running & ~running & permitted
        self._was_running = running
        self._lasting = self._beyond(measured) | np.nan_to_num(measured.alarms).astype(np.int64)
        self._latched |= self._lasting | np.where(tripped, GRID_DISCONNECT, 0)
        stopped = np.where(permitted, 0, MANUAL_SHUTDOWN)
        found: FloatArray = (self._latched | stopped).astype(np.float64)
        return found

    def reset(self, device: int) -> None:
        """Reset what does not last."""
        self._latched[device] = self._lasting[device]
        for name, bits in _SHOWN.items():
            if self._registers.holds_point(device, name):
                self._registers.put(device, name, float(self._latched[device] % 2**bits))

    def forget(self, device: int) -> None:
        """Have no alarm until the next measurements."""
        self._latched[device] = self._lasting[device] = 0
        self._was_running[device] = False

    def _beyond(self, measured: Measurements) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
        if self._known is None or self._known[0] != self._registers.version:
            self._known = self._registers.version, self._settings.decode(self._registers.images).T
        v_nominal_v, ac_type, *trips = self._known[1]
        v_pct = 100.0 * measured.v_ln_v / np.where(ac_type == 2, v_nominal_v / np.sqrt(3.0), v_nominal_v)
        found = np.zeros(v_pct.shape, np.int64)
        for (axis, bit, side), on, first, second in zip(
            _TRIPS.values(), trips[::3], trips[1::3], trips[2::3], strict=True
        ):
            level = np.fmin(side * first, side * second)
            value = side * (v_pct if axis == "V" else measured.f_hz)
            found |= np.where((on == 1) & (value > level), bit, 0)
        return found


def _of_model(axis: str) -> tuple[str, str, str]:
    return "Ena", f"Crv.0.MustTrip.Pt.0.{axis}", f"Crv.0.MustTrip.Pt.1.{axis}"
