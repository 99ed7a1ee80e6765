"""What registers say, done by the functions of the model behind them.

Registers begin with what the functions are set to. From then on a function follows its registers from the step after
a change: a write, a curve that has been adopted, a reversion. What the model would not take is refused where it
is written, so that registers and model never part.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from derloop.contract import FloatArray
from hil.emulator.bank import RegisterBank
from hil.emulator.device import equip
from hil.emulator.function_registers import FunctionRegisters, FunctionState
from hil.emulator.functions import FUNCTIONS, offered
from hil.emulator.initial import FunctionSettings, function_models
from hil.emulator.nameplate import Ratings
from hil.emulator.profile import Profile
from hil.emulator.settings import STORAGE_LIMITS, Settings
from hil.fleet.model import Functions

ENTER: Final = "enter_service"


@dataclass(frozen=True, slots=True)
class _Points:
    """A volt-var curve."""

    v_pu: Sequence[float]
    q_pu: Sequence[float]
    response_s: float


def settings_of(inverters: Functions) -> FunctionSettings:
    """Return what the functions of a fleet are set to."""
    smart = inverters.smart
    functions = [f.name for f in offered(smart.needs_frequency)]
    on = [name for name in ("volt_var", *functions) if inverters.has(name)]
    return FunctionSettings(
        numbers={name: inverters.numbers(name) for name in functions},
        on=frozenset(on),
        volt_var=inverters.volt_var or _default_curve(inverters.numbers("volt_var")),
        sees_frequency=smart.needs_frequency,
        permit_service=smart.permit_service,
    )


def _default_curve(numbers: Mapping[str, FloatArray]) -> _Points:
    v_pu, q_pu = ([float(numbers[f"{axis}{i}_pu"][0]) for i in (1, 2, 3, 4)] for axis in ("v", "q"))
    return _Points(v_pu, q_pu, float(numbers["response_s"][0]))


def equipped_bank(
    ratings: Sequence[Ratings],
    settings: FunctionSettings,
    profiles: Sequence[Profile] = (),
    *,
    f_nominal_hz: float = 60.0,
    seed: int = 0,
) -> RegisterBank:
    """Return n devices that are built as their profiles say, with the functions of a fleet.

    Raises SunSpecMapError for a profile with a scale factor of a model that a device does not have.
    """
    profiles = profiles or [Profile()] * len(ratings)
    devices = [
        equip(each, function_models(each, settings, i), profile)
        for i, (each, profile) in enumerate(zip(ratings, profiles, strict=True))
    ]
    return RegisterBank(
        [each.shown for each in devices],
        f_nominal_hz=f_nominal_hz,
        hidden=[each.hidden for each in devices],
        profiles=profiles,
        seed=seed,
    )


class Steering:
    """Steers the functions of n devices by the registers of a bank, which asks it before it holds anything new."""

    def __init__(
        self, inverters: Functions, bank: RegisterBank, settings: FunctionSettings, *, takes_setpoint: bool
    ) -> None:
        """settings: what the bank was filled with. takes_setpoint: somebody else obeys 704 WSet."""
        self._inverters, self._bank, self._takes_setpoint = inverters, bank, takes_setpoint
        functions = [f for f in FUNCTIONS if f.name in settings.numbers]
        self._registers = bank.decoded(
            lambda images: FunctionRegisters(
                bank.held, functions, settings.numbers, images, takes_setpoint=takes_setpoint
            )
        )
        self._applied = bank.decoded(self._registers.read)
        self._enters = np.full(len(bank), ENTER in settings.on)
        """Who (n,) comes back into service by itself: whom the settings let, and who was told to enter since."""
        if ENTER in self._applied:
            self._applied[ENTER] = self._applied[ENTER]._replace(on=self._enters)
        self._first = self._obeyed = bank.settings()
        self._version = bank.version
        bank.allows = self.allows

    def allows(self, device: int, points: set[str]) -> bool:
        """Return whether the functions of a device take what its registers say now; `points` have just changed.

        The active-power limit is not asked: all that 704 can hold is in its range.
        """
        if not self._takes_storage_limits(device, points):
            return False
        touched = set(self._registers.touched_by(points)) - {
            "active_power_limit"
        }  # what may be written is in its range
        rated = any(point.startswith("702.") for point in points)
        if not touched and not rated:
            return True
        for name, state in self._bank.decoded(self._registers.read).items():
            if (name in touched or (rated and state.on[device])) and not self._takes(name, state, device):
                return False
        return True

    def _takes_storage_limits(self, device: int, points: set[str]) -> bool:
        """Return whether a device does what 124 says; one that takes no setpoint can limit its discharging alone."""
        if self._takes_setpoint or points.isdisjoint(STORAGE_LIMITS):
            return True
        mode, discharge_pct = (self._bank.number(device, f"124.{name}") or 0.0 for name in ("StorCtl_Mod", "OutWRte"))
        charge_w, rated_w = (self._bank.number(device, f"702.WChaRteMax{suffix}") for suffix in ("", "Rtg"))
        return charge_w == rated_w and not int(mode) & 1 and (mode == 0 or discharge_pct >= 0)

    def _takes(self, function: str, state: FunctionState, device: int) -> bool:
        try:
            self._inverters.check(function, **{name: float(v[device]) for name, v in state.numbers.items()})
        except ValueError:
            return False
        return True

    def obey(self) -> Settings:
        """Adjust the functions to their registers, where these have changed; return what else registers say."""
        if self._bank.version != self._version:
            self._version = self._bank.version
            now = self._bank.settings()
            self._permit(now)
            self._keep_maxima(now)
            self._follow_curves(now)
            for name, state in self._bank.decoded(self._registers.read).items():
                self._adjust(name, state)
            self._obeyed = now
        return self._obeyed

    def _adjust(self, name: str, state: FunctionState) -> None:
        """Adjust one function; a device where it is off keeps the numbers that it had."""
        was = self._applied[name].numbers
        if name == ENTER:
            self._enters = self._enters | np.any([state.numbers[n] != was[n] for n in was], axis=0)
            state = state._replace(on=self._enters)
        state = FunctionState(state.on, {n: np.where(state.on, v, was[n]) for n, v in state.numbers.items()})
        if not state.equals(self._applied[name]):
            self._inverters.adjust(name, state.on, **state.numbers)
            self._applied[name] = state

    def _permit(self, now: Settings) -> None:
        told = now.in_service != self._obeyed.in_service
        if told.any():
            self._enters = self._enters | told
            self._inverters.set_permit_service(now.in_service)
            self._inverters.adjust(ENTER, self._enters)

    def _has_changed(self, now: Settings, names: Sequence[str]) -> bool:
        return any(not np.array_equal(getattr(self._obeyed, name), getattr(now, name)) for name in names)

    def _keep_maxima(self, now: Settings) -> None:
        names = ("s_max_va", "q_max_injected_var", "q_max_absorbed_var")
        if self._has_changed(now, names):
            self._inverters.set_maxima(*(_part(getattr(now, name), getattr(self._first, name)) for name in names))

    def _follow_curves(self, now: Settings) -> None:
        names = ("volt_var_on", "volt_var_v_pu", "volt_var_q_var", "volt_var_response_s")
        if not self._has_changed(now, names):
            return
        self._inverters.set_volt_var(
            now.volt_var_on.astype(np.float64), now.volt_var_v_pu, now.volt_var_q_var / 1000, now.volt_var_response_s
        )


def _part(most: FloatArray, first: FloatArray) -> FloatArray:
    """Return a maximum (n,) as a part of what the registers began with, which stands for the exact rating."""
    return np.divide(most, first, out=np.ones_like(most), where=first > 0.0)
