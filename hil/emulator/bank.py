"""The registers of n SunSpec devices and their behaviour."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Final, TypeVar

import numpy as np

from hil.emulator import old_curves
from hil.emulator.access import Refusal
from hil.emulator.adoption import Allows, is_valid_curve
from hil.emulator.behaviour import Behaviour, Nature
from hil.emulator.linked import followers
from hil.emulator.links import commanded, links_in, refresh
from hil.emulator.old_curves import followed
from hil.emulator.profile import Profile
from hil.emulator.registers import Registers, Written
from hil.emulator.settings import Settings, SettingsReader
from hil.inverter.measurements import Measurements
from hil.sunspec.image import Description
from hil.sunspec.points import RegisterArray, Value

T = TypeVar("T")
_ALARM_RESETS: Final = ("715.AlarmReset", "802.AlmRst")
_OFF, _STANDBY = 0.0, 7.0
"""701 InvSt."""


class RegisterBank:
    """The registers of n SunSpec devices and their behaviour; safe to use from several threads.

    `adoption_readings`: see `Adoptions`.
    """

    def __init__(
        self,
        descriptions: Sequence[Description],
        adoption_readings: int = 1,
        f_nominal_hz: float = 60.0,
        *,
        hidden: Sequence[Description] = (),
        profiles: Sequence[Profile] = (),
        seed: int = 0,
    ) -> None:
        """hidden: for each device, models that it holds and does not show. seed: of random delays (123 WinTms)."""
        self._registers = Registers(descriptions, hidden)
        self.maps = self._registers.shown
        """What can be read and written of each device."""
        self.held = self._registers.maps
        """All that each device holds: `decoded` gives images of these."""
        self.allows: Allows = lambda *_: True
        """Whether a device can do what is written. Asked with the bank's lock held, and what is refused is undone."""
        nature = Nature(adoption_readings, f_nominal_hz, profiles, seed)
        self._does = Behaviour.of(self._registers, nature, lambda *asked: self.allows(*asked))
        self._settings = SettingsReader(self.held)
        self._links = [links_in(device) for device in self.held]
        self._known: tuple[int, Settings] | None = None
        """The settings of a version."""
        self._lock = threading.RLock()
        self._refresh(range(len(self.maps)))
        self._first = [self._registers.image(device) for device in range(len(self.maps))]

    def __len__(self) -> int:
        return len(self.maps)

    # what the model behind the devices sees

    def set_measurements(self, measured: Measurements) -> None:
        """Hold measurements (n,) until the next ones. Raises SunSpecValueError if a value does not fit its register."""
        with self._lock:
            settings = self.settings()
            measured = replace(measured, alarms=self._does.alarms.update(measured, settings.in_service))
            self._does.measured.show(self._stopped(measured))

    def _stopped(self, measured: Measurements) -> Measurements:
        """Return measurements whose states say what 715 OpCtl has told the devices."""
        operation = self._does.controller.operation()
        state = np.where(operation == 0, _OFF, np.where(operation == 2, _STANDBY, measured.state))
        return replace(measured, state=state)

    def settings(self) -> Settings:
        """Return what the devices are set to do now."""
        with self._lock:
            if self._known is None or self._known[0] != self.version:
                found = self._settings.read(self._registers.images)
                found = replace(found, in_service=found.in_service & self._does.controller.may_serve)
                self._known = (self.version, found)
            return self._known[1]

    @property
    def version(self) -> int:
        """Another one whenever settings may have changed."""
        return self._registers.version

    def decoded(self, read: Callable[[RegisterArray], T]) -> T:
        """Return what `read` makes of the images of all that the devices hold (n, r)."""
        with self._lock:
            return read(self._registers.images)

    def number(self, device: int, name: str) -> float | None:
        """Return a number that a device holds, shown or not; None if it is not implemented, or not there."""
        with self._lock:
            return self._registers.number(device, name)

    def advance(self, dt_s: float) -> None:
        """Let time pass (rounded to nanoseconds): adopt what is pending, count reversion times, revert."""
        with self._lock:
            adopted = self._does.adoptions.finish()
            self._does.measured.advance(dt_s)
            moved = self._does.delayed.advance(dt_s)
            reverted = self._does.timers.advance(dt_s)
            reverted += [
                (each, self._does.timers.revert_setpoints(each)) for each in self._does.controller.advance(dt_s)
            ]
            for device, names in moved:
                self._does.timers.start(device, names)
            for device, names in reverted:
                self._does.delayed.cancel(device, names)
            self._refresh(adopted | {device for device, _ in moved + reverted})

    def image(self, device: int) -> RegisterArray:
        """Return a copy of the registers that a device shows."""
        with self._lock:
            return self._registers.shown_image(device)

    def set_local(self, device: int, local: bool) -> None:
        """Put a device under local control (715 LocRemCtl), as somebody at its panel does: its wire may only read."""
        with self._lock:
            self._does.controller.set_local(device, local)

    def restart(self, device: int) -> None:
        """Let a device hold again what it began with, as after a loss of power without a memory; it still measures."""
        with self._lock:
            names = set(self.held[device].points)
            self._does.adoptions.forget(device)
            self._does.delayed.cancel(device, names)
            self._registers.restore(device, self._first[device])
            self._does.timers.start(device, names)
            self._does.controller.forget(device)
            self._does.alarms.forget(device)
            self._does.measured.show_again(device)

    # what the wire sees

    def read(self, device: int, address: int, count: int) -> list[int] | Refusal:
        """Return registers of a device."""
        with self._lock:
            words = self._registers.words(device, address, count)
            if words is None:
                return Refusal.ADDRESS
            if self._does.adoptions.count_reading(device, address, count):
                self._refresh([device])
                return self._registers.words(device, address, count) or []
            return words

    def write(self, device: int, address: int, registers: Sequence[int]) -> Refusal | None:
        """Write registers of a device, all or none; returns why they are refused."""
        with self._lock:
            written = self._registers.written(device, address, registers)
            if written is None:
                return Refusal.ADDRESS
            changed = [each for each in written if not each.is_nothing]
            return self._refusal(device, changed) or self._put(device, address, registers, changed)

    def _refusal(self, device: int, changed: Sequence[Written]) -> Refusal | None:
        refusal = self._does.access.refusal(device, changed)
        if refusal is None and self._does.controller.is_local(device):
            return Refusal.LOCAL
        if refusal is None and self._does.adoptions.is_busy(device, (each.point.name for each in changed)):
            return Refusal.BUSY
        return refusal

    def _put(self, device: int, address: int, registers: Sequence[int], changed: Sequence[Written]) -> Refusal | None:
        """Put what is written, and what follows from it, unless the device cannot do that."""
        values = {each.point.name: each.value for each in changed}
        before = self._registers.image(device)
        self._registers.put_words(device, address, registers)
        names = set(values) | self._follow(device, values)
        if not self._is_valid(device, names) or not self.allows(device, names):
            self._registers.restore(device, before)
            return Refusal.VALUE
        self._does.delayed.begin(device, names, before)
        self._does.adoptions.begin(device, values)
        self._does.timers.start(device, names)
        self._does.controller.hear(device, changed)
        self._reset_alarms(device, values)
        self._refresh([device])
        return None

    def _follow(self, device: int, values: dict[str, Value]) -> set[str]:
        """Put what follows from these values: the points that they are views of, and those that go with them."""
        following: dict[str, float] = commanded(self._registers, device, values)
        following |= followed(self._registers, device, values)
        following |= followers(self._registers, device, {**values, **following})
        known = {name: value for name, value in following.items() if self._registers.holds_point(device, name)}
        for name, value in known.items():
            self._registers.put(device, name, value)
        return set(known)

    def _is_valid(self, device: int, names: set[str]) -> bool:
        """Return whether a curve that has been set without an adoption (126) can be followed."""
        curve = "705.Crv.0."
        set_at_once = any(name.startswith(curve) for name in names)
        return not set_at_once or is_valid_curve(self._registers, device, "705", curve)

    def _reset_alarms(self, device: int, values: dict[str, Value]) -> None:
        asked = [name for name in _ALARM_RESETS if values.get(name) == 1]
        if not asked:
            return
        self._does.alarms.reset(device)
        for name in _ALARM_RESETS:
            if self._registers.holds_point(device, name):
                self._registers.put(device, name, 0.0)

    def _refresh(self, devices: Sequence[int] | set[int] | range) -> None:
        for device in devices:
            old_curves.refresh(self._registers, device)
            refresh(self._registers, device, self._links[device], partial(self._does.delayed.is_pending, device))
