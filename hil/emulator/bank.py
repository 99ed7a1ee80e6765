"""The registers of n SunSpec devices and their behaviour."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from hil.emulator.access import Access, Refusal
from hil.emulator.adoption import Adoptions
from hil.emulator.measured import Measured
from hil.emulator.registers import Registers, Written
from hil.emulator.settings import Settings, SettingsReader
from hil.emulator.timers import Timers
from hil.inverter.measurements import Measurements
from hil.sunspec.image import Description
from hil.sunspec.points import RegisterArray


class RegisterBank:
    """The registers of n SunSpec devices and their behaviour; safe to use from several threads.

    `adoption_readings`: see `Adoptions`.
    """

    def __init__(self, descriptions: Sequence[Description], adoption_readings: int = 1) -> None:
        self._registers = Registers(descriptions)
        self.maps = self._registers.maps
        self._access = Access(self._registers)
        self._adoptions = Adoptions(self._registers, adoption_readings)
        self._timers = Timers(self._registers, self._adoptions)
        self._measured = Measured(self._registers)
        self._settings = SettingsReader(self.maps)
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

    def advance(self, dt_s: float) -> None:
        """Let time pass (rounded to nanoseconds): adopt what is pending, count reversion times, revert."""
        with self._lock:
            self._adoptions.finish()
            self._timers.advance(dt_s)

    def image(self, device: int) -> RegisterArray:
        """Return a copy of all registers of a device."""
        with self._lock:
            return self._registers.image(device)

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
            refusal = self._refusal(device, changed)
            if refusal is None:
                self._registers.put_words(device, address, registers)
                self._adoptions.begin(device, {each.point.name: each.value for each in changed})
                self._timers.start(device, {each.point.name for each in changed})
            return refusal

    def _refusal(self, device: int, changed: Sequence[Written]) -> Refusal | None:
        refusal = self._access.refusal(device, changed)
        if refusal is None and self._adoptions.is_busy(device, (each.point.name for each in changed)):
            return Refusal.BUSY
        return refusal
