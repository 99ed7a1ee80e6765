"""The registers of n SunSpec devices and their behaviour."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import TypeVar

from hil.emulator.access import Access, Refusal
from hil.emulator.adoption import Adoptions, Allows
from hil.emulator.linked import followers
from hil.emulator.measured import Measured
from hil.emulator.registers import Registers, Written
from hil.emulator.settings import Settings, SettingsReader
from hil.emulator.timers import Timers
from hil.inverter.measurements import Measurements
from hil.sunspec.image import Description
from hil.sunspec.points import RegisterArray

T = TypeVar("T")


class RegisterBank:
    """The registers of n SunSpec devices and their behaviour; safe to use from several threads.

    `adoption_readings`: see `Adoptions`.
    """

    def __init__(
        self, descriptions: Sequence[Description], adoption_readings: int = 1, f_nominal_hz: float = 60.0
    ) -> None:
        self._registers = Registers(descriptions)
        self.maps = self._registers.maps
        self.allows: Allows = lambda *_: True
        """Whether a device can do what is written. Asked with the bank's lock held, and what is refused is undone."""
        self._access = Access(self._registers, f_nominal_hz)
        self._adoptions = Adoptions(self._registers, adoption_readings, lambda *asked: self.allows(*asked))
        self._timers = Timers(self._registers, self._adoptions)
        self._measured = Measured(self._registers)
        self._settings = SettingsReader(self.maps)
        self._first = [self._registers.image(device) for device in range(len(self.maps))]
        self._lock = threading.RLock()

    def __len__(self) -> int:
        return len(self.maps)

    # what the model behind the devices sees

    def set_measurements(self, measured: Measurements) -> None:
        """Hold measurements (n,) until the next ones. Raises SunSpecValueError if a value does not fit its register."""
        with self._lock:
            self._measured.show(measured)

    def settings(self) -> Settings:
        """Return what the devices are set to do now."""
        with self._lock:
            return self._settings.read(self._registers.images)

    @property
    def version(self) -> int:
        """Another one whenever settings may have changed."""
        return self._registers.version

    def decoded(self, read: Callable[[RegisterArray], T]) -> T:
        """Return what `read` makes of the images of all devices (n, r)."""
        with self._lock:
            return read(self._registers.images)

    def advance(self, dt_s: float) -> None:
        """Let time pass (rounded to nanoseconds): adopt what is pending, count reversion times, revert."""
        with self._lock:
            self._adoptions.finish()
            self._timers.advance(dt_s)

    def image(self, device: int) -> RegisterArray:
        """Return a copy of all registers of a device."""
        with self._lock:
            return self._registers.image(device)

    def restart(self, device: int) -> None:
        """Let a device hold again what it began with, as after a loss of power without a memory."""
        with self._lock:
            self._adoptions.forget(device)
            self._registers.restore(device, self._first[device])
            self._timers.start(device, set(self.maps[device].points))

    # what the wire sees

    def read(self, device: int, address: int, count: int) -> list[int] | Refusal:
        """Return registers of a device."""
        with self._lock:
            if self._registers.words(device, address, count) is None:
                return Refusal.ADDRESS
            self._adoptions.count_reading(device, address, count)
            return self._registers.words(device, address, count) or []

    def write(self, device: int, address: int, registers: Sequence[int]) -> Refusal | None:
        """Write registers of a device, all or none; returns why they are refused."""
        with self._lock:
            written = self._registers.written(device, address, registers)
            if written is None:
                return Refusal.ADDRESS
            changed = [each for each in written if not (each.value is None and each.was is None)]
            return self._refusal(device, changed) or self._put(device, address, registers, changed)

    def _refusal(self, device: int, changed: Sequence[Written]) -> Refusal | None:
        refusal = self._access.refusal(device, changed)
        if refusal is None and self._adoptions.is_busy(device, (each.point.name for each in changed)):
            return Refusal.BUSY
        return refusal

    def _put(self, device: int, address: int, registers: Sequence[int], changed: Sequence[Written]) -> Refusal | None:
        """Put what is written, and what follows from it, unless the device cannot do that."""
        values = {each.point.name: each.value for each in changed}
        before = self._registers.image(device)
        self._registers.put_words(device, address, registers)
        following = followers(self._registers, device, values)
        for name, value in following.items():
            self._registers.put(device, name, value)
        names = values.keys() | following.keys()
        if not self.allows(device, names):
            self._registers.restore(device, before)
            return Refusal.VALUE
        self._adoptions.begin(device, values)
        self._timers.start(device, names)
        return None
