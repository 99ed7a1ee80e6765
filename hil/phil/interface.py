"""The power interface of n devices: estimated, energised, given the feeder's voltages, and left without power.

The order is that of a bench: DC side on, AC side at nominal voltage and on, then the device is spoken to; at the end,
and whenever something goes wrong, AC off before DC.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from threading import Lock
from time import monotonic, sleep

import numpy as np

from derloop.contract import FloatArray
from derloop.errors import Interlocked
from hil.instruments.instrument import AcSource, Clock, DcSource, PowerMeter
from hil.phil.lag import Lag
from hil.phil.settings import DcSupply, PowerSettings
from hil.phil.stability import IMPEDANCE, Answer, Estimate, Loop, estimate, gain_of


@dataclass(frozen=True, slots=True)
class Powered:
    """One device, what it stands for, and what stands behind it in the feeder."""

    name: str
    settings: PowerSettings
    source_pu: complex
    """Source impedance in pu of the scenario's device."""
    curves: Answer
    """How its volt-watt and volt-var curves answer at their steepest."""
    nodes: frozenset[tuple[str, int]] = frozenset()
    """Bus and phases of the feeder where the scenario has it; devices with a node in common answer one voltage."""

    @property
    def answer(self) -> Answer:
        """How it answers its voltage: as the bench file says, else as a resistor or by its curves."""
        p_per_v, q_per_v = self.settings.answers.p_per_v, self.settings.answers.q_per_v
        return Answer(
            min(IMPEDANCE.p_per_v, self.curves.p_per_v) if p_per_v is None else p_per_v,
            self.curves.q_per_v if q_per_v is None else q_per_v,
        )


@dataclass(frozen=True, slots=True)
class Instruments:
    """What stands around the devices, by name."""

    ac: Mapping[str, AcSource]
    dc: Mapping[str, DcSource]
    meters: Mapping[str, PowerMeter]


@dataclass(frozen=True, slots=True)
class PowerSeen:
    """What the feeder sees of n devices, each field (n,): scaled and filtered."""

    p_w: FloatArray
    q_var: FloatArray
    at_s: FloatArray
    """When it was measured."""


class PowerInterface:
    """n devices between AC sources and the feeder; blocks while instruments answer.

    It may be left from another thread than the one that works with it: an emergency stop waits for no step.
    """

    def __init__(
        self,
        devices: Sequence[Powered],
        instruments: Instruments,
        step_s: float,
        clock: Clock = monotonic,
        pause: Callable[[float], None] = sleep,
    ) -> None:
        self._devices, self._instruments, self._step_s = tuple(devices), instruments, step_s
        self._clock, self._pause = clock, pause
        self._scale = np.array([device.settings.scale for device in devices])
        self._nominal_v = np.array([device.settings.nominal_v for device in devices])
        self._wiring = {name: _wiring(name, source, devices) for name, source in instruments.ac.items()}
        self._lags = [(Lag(d.settings.filter_s), Lag(d.settings.filter_s)) for d in devices]
        self._filtered_s = clock()
        self._is_touched = self._is_left = False
        self._on: list[AcSource | DcSource] = []
        """What has been switched on."""
        self._lock = Lock()
        self.v_applied_pu = np.zeros(len(devices))
        """What the devices are given (n,): slower than the feeder where a source's rate is limited."""

    def estimates(self) -> list[Estimate]:
        """Return what is to be expected of each device's loop."""
        return [self._estimate(device) for device in self._devices]

    def _estimate(self, device: Powered) -> Estimate:
        settings = device.settings
        memory = Lag(settings.filter_s).memory(self._step_s)
        others = (each for each in self._devices if each is not device and each.nodes & device.nodes)
        beside = sum(gain_of(each.source_pu, each.answer) for each in others)
        return estimate(Loop(device.source_pu, memory, settings.delay_steps, beside), device.answer)

    @property
    def cautions(self) -> tuple[str, ...]:
        """What must be said before the run: loops that are energised against the estimate, and why."""
        allowed = ((device.settings.unstable_because, device, why) for device, why in self._unstable())
        return tuple(
            f"device {d.name!r} is energised though {why} ({because})" for because, d, why in allowed if because
        )

    def _unstable(self) -> Iterator[tuple[Powered, str]]:
        """Yield the devices whose loops have less than their least margin."""
        for device, found in zip(self._devices, self.estimates(), strict=True):
            if found.gain_margin < device.settings.least_margin:
                yield device, f"{found.text}; its gain margin should be {device.settings.least_margin:g}"

    def _refuse_unstable(self) -> None:
        for device, why in self._unstable():
            if device.settings.unstable_because is None:
                more = "a longer filter_s or a smaller scale helps; unstable_because lets it be energised even so"
                raise Interlocked(device.name, f"is not energised: {why}. {more}")

    def energise(
        self, shared: Callable[[], Collection[str]] = frozenset, feed: Callable[[], None] = lambda: None
    ) -> None:
        """Switch the devices on, at nominal voltage; refused, by name, where their loops would not settle.

        shared: tells which sources feed other fleets of the run: those may be on already, no others.
        feed: takes note that the sources are used, before one is switched on.
        """
        self._refuse_unstable()
        fed = self._reached(shared)
        feed()
        for supply in (device.settings.dc for device in self._devices if device.settings.dc is not None):
            with self._working():
                source = self._instruments.dc[supply.source]
                _supply(source, supply)
                self._on.append(source)
        self.apply(np.ones(len(self._devices)))
        for grid in self._instruments.ac.values():
            with self._working():
                if grid.name not in fed:
                    grid.prepare_beside()
                grid.switch_on()
                self._on.append(grid)
        self._pause(max(device.settings.settle_s for device in self._devices))

    def _reached(self, shared: Callable[[], Collection[str]]) -> Collection[str]:
        """Open the instruments; return the sources that feed other fleets of the run.

        Raises Interlocked for a source that is on for anybody else: it is left as it is.
        """
        with self._working():
            for instrument in self._all():
                instrument.open()
            sources: list[AcSource | DcSource] = [*self._instruments.ac.values(), *self._instruments.dc.values()]
            on = [source.name for source in sources if source.is_on()]
            fed = shared()  # asked last: a fleet takes note that it feeds before it switches on
            if others := [name for name in on if name not in fed]:
                why = "is on already, and not by this run: nothing is set, and it is left on"
                raise Interlocked(others[0], f"{why}; switch it off first, as 'derloop bench safe' does")
            self._is_touched = True
        return fed

    def apply(self, v_pu: FloatArray, f_hz: FloatArray | None = None) -> None:
        """Give the devices voltages (n,) and frequencies (n,).

        Raises Interlocked, and sets nothing, out of range; Rejected where a source has switched itself off meanwhile.
        """
        for device, value in zip(self._devices, v_pu, strict=True):
            allowed = device.settings.v_pu
            if not allowed.low <= value <= allowed.high:
                limits = f"{allowed.low:g} to {allowed.high:g} pu"
                raise Interlocked(device.name, f"{value:.4g} pu is outside of {limits}; nothing is set")
        volts = v_pu * self._nominal_v
        wanted = {name: (volts[owners], self._f_hz(owners[0], f_hz)) for name, owners in self._wiring.items()}
        with self._working():
            for name, source in self._instruments.ac.items():
                source.permit(*wanted[name])
            for name, source in self._instruments.ac.items():
                owners = self._wiring[name]
                self.v_applied_pu[owners] = source.set(*wanted[name]) / self._nominal_v[owners]
            for supply in self._on:
                supply.verify_on()

    def _f_hz(self, device: int, f_hz: FloatArray | None) -> float:
        return self._devices[device].settings.f_hz if f_hz is None else float(f_hz[device])

    def seen(self, p_w: FloatArray, q_var: FloatArray, at_s: FloatArray) -> PowerSeen:
        """Return what the feeder sees, from what the devices' meters show; without one, from what is given (n,)."""
        now_s = self._clock()
        dt_s, self._filtered_s = now_s - self._filtered_s, now_s
        found = np.array([p_w, q_var, at_s])
        with self._working():
            for index, device in enumerate(self._devices):
                if device.settings.meter is not None:
                    shown = self._instruments.meters[device.settings.meter].read()
                    found[:, index] = shown.p_w.sum(), shown.q_var.sum(), shown.at_s
        powers = found[:2] * self._scale
        for index, lags in enumerate(self._lags):
            powers[:, index] = [lag.follow(row, dt_s)[0] for lag, row in zip(lags, powers[:, [index]], strict=True)]
        return PowerSeen(powers[0], powers[1], found[2])

    def leave(self, but: Collection[str] = ()) -> None:
        """Switch everything off, AC before DC; every instrument is tried. Raises DeviceError where one failed.

        What was never set is left as it was found. but: sources that somebody else goes on to use, and will switch off.
        """
        self._is_left = True  # before it is our turn: whoever works with it ends what it does, and begins nothing more
        with self._lock, ExitStack() as leaving:
            for instrument in reversed(self._all()):
                is_ours = self._is_touched and instrument.name not in but
                leaving.callback(instrument.leave if is_ours else instrument.hand_over)

    @contextmanager
    def _working(self) -> Iterator[None]:
        """Keep who leaves waiting until this is done. Raises Interlocked where the devices have been left."""
        with self._lock:
            if self._is_left:
                raise Interlocked(self._devices[0].name, "its power has been switched off")
            yield

    def _all(self) -> list[AcSource | DcSource | PowerMeter]:
        """Return every instrument, in the order in which they are left."""
        found = self._instruments
        return [*found.ac.values(), *found.dc.values(), *found.meters.values()]


def _wiring(name: str, source: AcSource, devices: Sequence[Powered]) -> list[int]:
    """Return which device is on each phase of a source."""
    owners: dict[int, int] = {}
    for index, device in enumerate(devices):
        for phase in device.settings.phases if device.settings.ac_source == name else ():
            if phase in owners:
                other = devices[owners[phase]].name
                raise Interlocked(device.name, f"phase {phase} of {name!r} belongs to {other!r} already")
            owners[phase] = index
    return [owners[phase] for phase in source.phases]


def _supply(source: DcSource, supply: DcSupply) -> None:
    if supply.v_dc_v is not None and supply.i_dc_a is not None:
        source.set(supply.v_dc_v, supply.i_dc_a)
    elif supply.voc_v and supply.isc_a and supply.vmp_v and supply.imp_a:
        source.set_curve(supply.voc_v, supply.isc_a, supply.vmp_v, supply.imp_a)
    source.switch_on()
