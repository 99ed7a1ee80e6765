"""Sources and meters of a bench, whatever they speak: set within limits, read with their time, left off."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from time import monotonic
from types import MappingProxyType
from typing import Protocol

import numpy as np

from derloop.contract import FloatArray
from derloop.errors import DeviceError, Interlocked, Rejected
from hil.instruments.command_map import Measured, Quantity
from hil.instruments.file import AcSourceSettings, DcSourceSettings, MeterSettings, Phase, Range

Clock = Callable[[], float]
"""Seconds, never backwards."""


class Instrument(Protocol):
    """What an instrument understands, whatever it speaks: `hil.instruments.scpi`, `hil.instruments.modbus`."""

    name: str
    identity: str
    """Who answered; empty before that."""

    def open(self) -> None: ...
    def meet(self) -> None:
        """Connect and see who answers, as `open` does, and change nothing."""
        ...

    def close(self) -> None: ...
    def can_set(self, quantity: Quantity) -> bool: ...
    def sets_apart(self, quantity: Quantity) -> bool:
        """Return whether each phase can be set to a value of its own."""
        ...

    def can_read(self, measured: Measured) -> bool: ...
    def set(self, quantity: Quantity, value: float, phases: Sequence[int] = (1,)) -> None: ...
    def verify(self, quantity: Quantity, value: float, phases: Sequence[int] = (1,)) -> None:
        """Raise Rejected unless a quantity is still what it was set to."""
        ...

    def read(self, measured: Measured, phases: Sequence[int] = (1,)) -> list[float]: ...


@dataclass(frozen=True, slots=True)
class Shown:
    """What a meter shows at its phases, each field (phases,); NaN where it cannot tell."""

    p_w: FloatArray
    """Positive when it flows from the device into the source."""
    q_var: FloatArray
    v_ln_v: FloatArray
    i_a: FloatArray
    f_hz: float
    at_s: float
    """When it was asked for, on the meter's clock: what came is not older."""


class Limiter:
    """Keeps what is set within a range, and from changing faster than it may."""

    def __init__(self, name: str, quantity: str, limits: Range, clock: Clock) -> None:
        self._name, self._quantity, self._limits, self._clock = name, quantity, limits, clock
        self._last: FloatArray | None = None
        self._at_s = 0.0

    def permit(self, values: FloatArray) -> None:
        """Raise Interlocked where one of `values` lies outside of the range: nothing is set then."""
        low, high = self._limits.low, self._limits.high
        if not bool(np.all((values >= low) & (values <= high))):
            wrong = values[~((values >= low) & (values <= high))][0]
            raise Interlocked(
                self._name, f"{self._quantity} {wrong:g} is outside of {low:g} to {high:g}; nothing is set"
            )

    def slowed(self, values: FloatArray) -> FloatArray:
        """Return what may be set now on the way to `values`: as far as the rate allows since the last time."""
        now_s = self._clock()
        if self._last is None or self._limits.rate_per_s is None:
            self._last, self._at_s = values.copy(), now_s
            return values
        most = self._limits.rate_per_s * (now_s - self._at_s)
        self._last, self._at_s = self._last + np.clip(values - self._last, -most, most), now_s
        return self._last


class AcSource:
    """A source that gives a device the voltage of the grid, on the phases that it has."""

    def __init__(
        self,
        link: Instrument,
        settings: AcSourceSettings,
        clock: Clock = monotonic,
        phases: tuple[Phase, ...] | None = None,
        beside_v: Mapping[Phase, float] = MappingProxyType({}),
    ) -> None:
        """phases: those that are used, all without it. Switched off is every phase, also one that others have used.

        beside_v: nominal voltages, V, of the phases on which other devices stand, which one switch may turn on too.
        """
        self.name, self.phases = link.name, settings.phases if phases is None else phases
        self._link, self._every, self._beside_v = link, settings.phases, beside_v
        self._voltage = Limiter(link.name, "v_ln_v", settings.v_ln_v, clock)
        self._frequency = Limiter(link.name, "f_hz", settings.f_hz, clock)
        self._set_v = np.full(len(self.phases), math.nan)

    def open(self) -> None:
        """Connect; the output stays as it is."""
        self._link.open()

    def permit(self, v_ln_v: FloatArray, f_hz: float) -> None:
        """Raise Interlocked where voltages (phases,) or the frequency are out of their limits."""
        self._voltage.permit(v_ln_v)
        self._frequency.permit(np.array([f_hz]))

    def set(self, v_ln_v: FloatArray, f_hz: float) -> FloatArray:
        """Set voltages (phases,) and frequency, both or none if one is out of its limits.

        Returns the voltages that are set: on the way to those asked for where their rate is limited.
        """
        self.permit(v_ln_v, f_hz)
        self._link.set("f_hz", float(self._frequency.slowed(np.array([f_hz]))[0]), self.phases)
        allowed = self._voltage.slowed(v_ln_v)
        for phase, value, before in zip(self.phases, allowed, self._set_v, strict=True):
            if value != before:
                self._link.set("v_ln_v", float(value), (phase,))
        self._set_v = allowed.copy()
        return allowed

    def is_on(self) -> bool:
        """Return whether the output is on, or cannot be verified to be off, at any phase, also one of others."""
        return _is_on(self._link, self._every)

    def prepare_beside(self) -> None:
        """Set the phases of other devices to nominal voltage where they have no switch of their own.

        Raises Interlocked, and sets nothing, where that is out of the source's limits.
        """
        if self._beside_v and not self._link.sets_apart("output"):
            self._voltage.permit(np.array([*self._beside_v.values()]))
            for phase, v_ln_v in self._beside_v.items():
                self._link.set("v_ln_v", v_ln_v, (phase,))

    def switch_on(self) -> None:
        self._link.set("output", 1.0, self.phases)

    def verify_on(self) -> None:
        """Raise Rejected for an output that was switched on and is off: a source protects itself, or somebody did."""
        self._link.verify("output", 1.0, self.phases)

    def leave(self) -> None:
        """Switch off and close, also where it was never opened. Raises DeviceError where that cannot be verified."""
        _left_off(self._link, self._every)

    def hand_over(self) -> None:
        """Close the connection, and leave the output to who goes on to use it."""
        self._link.close()


class DcSource:
    """A source on a device's DC side: of voltage and current, or the four points of a photovoltaic curve."""

    def __init__(self, link: Instrument, settings: DcSourceSettings, clock: Clock = monotonic) -> None:
        self.name, self._link = link.name, link
        self._volts = Limiter(link.name, "v_dc_v", settings.v_dc_v, clock)
        self._amps = Limiter(link.name, "i_dc_a", settings.i_dc_a, clock)

    def open(self) -> None:
        """Connect; the output stays as it is."""
        self._link.open()

    def is_on(self) -> bool:
        """Return whether the output is on, or cannot be verified to be off."""
        return _is_on(self._link, (1,))

    def set(self, v_dc_v: float, i_dc_a: float) -> None:
        """Set voltage and current limit."""
        self._set({"v_dc_v": v_dc_v}, {"i_dc_a": i_dc_a})

    def set_curve(self, voc_v: float, isc_a: float, vmp_v: float, imp_a: float) -> None:
        """Set a photovoltaic curve: open circuit, short circuit, and the point of most power."""
        if not (0 < vmp_v < voc_v and 0 < imp_a < isc_a):
            raise Interlocked(
                self.name, f"no curve has its most power at {vmp_v:g} V of {voc_v:g}, {imp_a:g} A of {isc_a:g}"
            )
        self._set({"voc_v": voc_v, "vmp_v": vmp_v}, {"isc_a": isc_a, "imp_a": imp_a})

    def switch_on(self) -> None:
        self._link.set("output", 1.0)

    def verify_on(self) -> None:
        """Raise Rejected for an output that was switched on and is off."""
        self._link.verify("output", 1.0)

    def leave(self) -> None:
        """Switch off and close, also where it was never opened. Raises DeviceError where that cannot be verified."""
        _left_off(self._link, (1,))

    def hand_over(self) -> None:
        """Close the connection, and leave the output to who goes on to use it."""
        self._link.close()

    def _set(self, volts: dict[Quantity, float], amps: dict[Quantity, float]) -> None:
        self._volts.permit(np.array([*volts.values()]))
        self._amps.permit(np.array([*amps.values()]))
        for quantity, value in (volts | amps).items():
            self._link.set(quantity, value)


class PowerMeter:
    """What flows at a device's terminals."""

    def __init__(self, link: Instrument, settings: MeterSettings, clock: Clock = monotonic) -> None:
        self.name, self.phases = link.name, settings.phases
        self._link, self._clock = link, clock

    def open(self) -> None:
        self._link.open()

    def read(self) -> Shown:
        """Return what is shown now; active and reactive power must be there."""
        at_s = self._clock()
        p_w, q_var = self._read("p_w"), self._read("q_var")
        return Shown(p_w, q_var, self._known("v_ln_v"), self._known("i_a"), float(self._known("f_hz")[0]), at_s)

    def leave(self) -> None:
        """Close the connection."""
        self._link.close()

    hand_over = leave

    def _known(self, measured: Measured) -> FloatArray:
        """Return what is measured, NaN where nothing is: a delta meter has no voltage to neutral."""
        if self._link.can_read(measured):
            with suppress(Rejected):
                return self._read(measured)
        return np.full(len(self.phases), math.nan)

    def _read(self, measured: Measured) -> FloatArray:
        return np.array(self._link.read(measured, self.phases))


def _is_on(link: Instrument, phases: Sequence[int]) -> bool:
    try:
        link.verify("output", 0.0, phases)
    except Rejected:
        return True
    return False


def _left_off(link: Instrument, phases: Sequence[int]) -> None:
    """Switch an output off, on each of `phases` where they are switched apart, and close the connection.

    A connection that is lost is opened once more for that.
    """
    try:
        if link.identity:
            _switched_off(link, phases)
    finally:
        link.close()


def _switched_off(link: Instrument, phases: Sequence[int]) -> None:
    with suppress(DeviceError):
        link.set("output", 0.0, phases)
        return
    link.close()
    link.open()
    link.set("output", 0.0, phases)
