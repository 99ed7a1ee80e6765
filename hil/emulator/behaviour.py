"""All that registers do by themselves, each part for n devices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hil.emulator.access import Access
from hil.emulator.adoption import Adoptions, Allows
from hil.emulator.alarms import Alarms
from hil.emulator.controller import Controller
from hil.emulator.delayed import Delayed
from hil.emulator.measured import Measured
from hil.emulator.profile import Profile
from hil.emulator.registers import Registers
from hil.emulator.timers import Timers


@dataclass(frozen=True, slots=True)
class Nature:
    """How devices are built, as far as it bears on what they do."""

    adoption_readings: int = 1
    """See `Adoptions`."""
    f_nominal_hz: float = 60.0
    profiles: Sequence[Profile] = ()
    """One for each device; empty: all are plain."""
    seed: int = 0
    """Of random delays (123 WinTms)."""


@dataclass(frozen=True, slots=True)
class Behaviour:
    """Who may write what; curves, timers and delays; heartbeats, alarms, and what is measured."""

    access: Access
    adoptions: Adoptions
    timers: Timers
    delayed: Delayed
    controller: Controller
    alarms: Alarms
    measured: Measured

    @classmethod
    def of(cls, registers: Registers, nature: Nature, allows: Allows) -> Behaviour:
        """Return the behaviour of devices with these registers. allows: whether a device can do what is adopted."""
        profiles = nature.profiles or [Profile()] * len(registers.maps)
        adoptions = Adoptions(registers, nature.adoption_readings, allows)
        return cls(
            Access(registers, nature.f_nominal_hz),
            adoptions,
            Timers(registers, adoptions),
            Delayed(registers, nature.seed),
            Controller(registers, profiles),
            Alarms(registers),
            Measured(registers, profiles),
        )
