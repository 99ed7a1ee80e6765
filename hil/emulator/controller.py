"""Model 715: who controls a device, whether the two still hear each other, and whether it operates.

The device counts its heartbeat by one each second. Once the controller has written its own, it is watched: when it has
not changed for the device's timeout, the device falls back as its profile says until it changes again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from hil.emulator.profile import Profile
from hil.emulator.registers import Registers, Written
from hil.sunspec.points import BoolArray, FloatArray
from hil.sunspec.table import PointTable

STOP, START, ENTER_STANDBY, EXIT_STANDBY = range(4)
"""715 OpCtl."""
_HEARTBEATS: Final = ("715.ControllerHb", "802.CtrlHb")
_BEATS: Final = {"715.DERHb": 2**32 - 1, "802.Hb": 2**16 - 1}
"""The device's heartbeats, and where each begins again at 0."""
_NS: Final = 1_000_000_000


class Controller:
    """What n devices know of their controllers."""

    def __init__(self, registers: Registers, profiles: Sequence[Profile]) -> None:
        n = len(profiles)
        self._registers = registers
        self._timeout_ns = np.array([round(p.heartbeat_timeout_s * _NS) for p in profiles], dtype=np.int64)
        self._reverts = np.array([p.on_heartbeat_loss == "revert" for p in profiles])
        self._ceases = np.array([p.on_heartbeat_loss == "cease" for p in profiles])
        self._watched, self._lost = np.zeros(n, np.bool_), np.zeros(n, np.bool_)
        self._silent_ns, self._up_ns = np.zeros(n, np.int64), 0
        self._operation = PointTable.of_image(registers.maps, ["715.OpCtl"])
        self._beats = PointTable.of_image(registers.maps, tuple(_BEATS))
        self._has_beats = ~np.isnan(self._beats.decode(registers.images))

    @property
    def may_serve(self) -> BoolArray:
        """Where (n,) no lost heartbeat forbids power."""
        found: BoolArray = ~(self._lost & self._ceases)
        return found

    @property
    def lost(self) -> BoolArray:
        """Where (n,) the controller's heartbeat is lost."""
        return self._lost.copy()

    def operation(self) -> FloatArray:
        """Return 715 OpCtl (n,), NaN where a device has none."""
        return self._operation.decode(self._registers.images)[:, 0]

    def is_local(self, device: int) -> bool:
        """Return whether a device is under local control: nothing may be written over its wire then."""
        return self._registers.number(device, "715.LocRemCtl") == 1

    def set_local(self, device: int, local: bool) -> None:
        for name in ("715.LocRemCtl", "802.LocRemCtl"):
            if self._registers.holds_point(device, name):
                self._registers.put(device, name, float(local))

    def hear(self, device: int, changed: Sequence[Written]) -> None:
        """Note a heartbeat of the controller among what has been written."""
        if any(each.point.name in _HEARTBEATS and each.value != each.was for each in changed):
            self._watched[device], self._lost[device] = True, False
            self._silent_ns[device] = 0
            self._registers.version += 1

    def forget(self, device: int) -> None:
        """Expect no heartbeat of the controller until it is written again."""
        self._watched[device] = self._lost[device] = False

    def advance(self, dt_s: float) -> list[int]:
        """Let time pass; return the devices whose setpoints revert, since their controllers have just been lost."""
        dt_ns = round(dt_s * _NS)
        self._up_ns += dt_ns
        self._silent_ns[self._watched] += dt_ns
        newly = self._watched & ~self._lost & (self._silent_ns >= self._timeout_ns)
        if newly.any():
            self._lost |= newly
            self._registers.version += 1
        self._beat()
        found: list[int] = np.flatnonzero(newly & self._reverts).tolist()
        return found

    def _beat(self) -> None:
        seconds = self._up_ns // _NS
        values: FloatArray = np.array([float(seconds % end) for end in _BEATS.values()])
        self._beats.encode(np.where(self._has_beats, values, np.nan), self._registers.images)


def allows_operation(registers: Registers, device: int, operation: float) -> bool:
    """Return whether 715 OpCtl may be set to this: only a device in standby can leave it."""
    return operation != EXIT_STANDBY or registers.number(device, "715.OpCtl") in (ENTER_STANDBY, EXIT_STANDBY)
