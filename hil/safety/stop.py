"""The emergency stop: a file that appears, a key, an input of a device that is watched."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from derloop.errors import DeviceError, Interlocked
from hil.safety.key import Pressed
from hil.safety.rules import EmergencyStop, WatchedInput
from hil.sunspec.errors import SunSpecError
from hil.sunspec.points import Value


class EmergencyStopped(Interlocked):
    """Somebody or something has stopped the bench; its devices were set to their safe states first."""

    def __init__(self, source: str, why: str, then: str = "") -> None:
        """then: what is to be done now."""
        super().__init__(source, why)
        self.args = (f"EMERGENCY STOP: {why}" + (f"; {then}" if then else ""),)


class Readable(Protocol):
    async def read(self, names: Sequence[str]) -> dict[str, Value]: ...


class EmergencyWatch:
    """Looks at everything that may stop the bench. What cannot be looked at stops it too."""

    def __init__(
        self, rules: EmergencyStop, folder: Path, devices: Mapping[str, Readable], key: Pressed | None = None
    ) -> None:
        """folder: where the bench file is. devices: at least those whose inputs are watched, by name."""
        self._rules, self._devices, self._key = rules, devices, key
        self._file = None if rules.file is None else folder / rules.file

    async def check(self) -> None:
        """Raise EmergencyStopped if something stops the bench now; reads every watched input once."""
        self.check_by_hand()
        await asyncio.gather(*(self._check_input(each) for each in self._rules.inputs))

    def check_by_hand(self) -> None:
        """Raise EmergencyStopped if somebody has pressed the key, or made the file; asks no device."""
        if self._key is not None and (pressed := self._key.pressed()):
            raise EmergencyStopped("key", f"the key {pressed!r} was pressed")
        if self._file is not None and is_there(self._file):
            raise EmergencyStopped("file", f"the file {self._file} is there")

    async def _check_input(self, watched: WatchedInput) -> None:
        what = f"{watched.device} {watched.point}"
        try:
            value = (await self._devices[watched.device].read([watched.point]))[watched.point]
        except (DeviceError, SunSpecError) as failure:  # a device that was never discovered has no points
            why = failure.why if isinstance(failure, DeviceError) else str(failure)
            raise EmergencyStopped(watched.device, f"the watched input {what} cannot be read: {why}") from failure
        if not isinstance(value, int | float):
            raise EmergencyStopped(watched.device, f"the watched input {what} says {value!r}, which is no number")
        if _stops(watched, value):
            said = watched.stop_when.replace("_", " ")
            raise EmergencyStopped(watched.device, f"the watched input {what} is {value:g} ({said} {watched.value:g})")


def _stops(watched: WatchedInput, value: float) -> bool:
    match watched.stop_when:
        case "above":
            return value > watched.value
        case "below":
            return value < watched.value
        case "equal":
            return value == watched.value
        case "differs":
            return value != watched.value
        case "any_bit":
            return bool(int(value) & int(watched.value))


def is_there(path: Path) -> bool:
    """Return whether a file is there, or cannot be looked for: a dangling link is there too."""
    try:
        os.lstat(path)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return True
