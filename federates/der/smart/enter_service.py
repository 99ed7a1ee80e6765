"""Entering service (IEEE 1547-2018, 4.10 and table 4), permit service, and what takes a device out of service.

After a trip, and at the start where the settings say so, a device waits until voltage and frequency have been in their
bands for the delay without a break while service is permitted; then its power may rise along a ramp. Below 500 kVA
a random delay can stand in the ramp's place. The delay is a hash of the seed, the device and the time from
which its conditions have been met: the same in every run, and when an instant is stepped again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from derloop.contract import FloatArray
from federates.der.smart.few import Few, Timer
from federates.der.smart.held import BoolArray, Clock, ns
from federates.der.smart.points import Function, Points, Ranges
from federates.der.smart.terminals import Seen

RANDOM_BELOW_KVA: Final = 500.0


class EnterService(Function):
    """When and how a device goes into service."""

    in_hz: ClassVar[bool] = True
    v_low_pu: float | None = Field(default=None, description="Least voltage, pu: 0.88 to 0.95.", examples=[0.917])
    v_high_pu: float | None = Field(default=None, description="Most voltage, pu: 1.05 to 1.06.", examples=[1.05])
    f_low_hz: float | None = Field(
        default=None, description="Least frequency, Hz: 59.0 to 59.9 (60 Hz).", examples=[59.5]
    )
    f_high_hz: float | None = Field(
        default=None, description="Most frequency, Hz: 60.1 to 61.0 (60 Hz).", examples=[60.1]
    )
    delay_s: float | None = Field(default=None, description="Delay, s: 0 to 600.", examples=[300.0])
    ramp_s: float | None = Field(
        default=None, description="Ramp from zero to rated power, s: 1 to 1000; 0: none.", examples=[300.0]
    )
    random_delay_s: float | None = Field(
        default=None,
        description="Most random delay, s, of devices below 500 kVA, in place of their ramp: 1 to 1000; 0: none.",
        examples=[300.0],
    )
    starts_in_service: bool = Field(
        default=True, description="Whether devices are in service at the start.", examples=[True]
    )

    def defaults(self) -> Mapping[str, float]:
        return {
            **{"v_low_pu": 0.917, "v_high_pu": 1.05, "f_low_hz": 59.5, "f_high_hz": 60.1},
            **{"delay_s": 300.0, "ramp_s": 300.0, "random_delay_s": 0.0},
        }

    def ranges(self, at: Points) -> Ranges:
        return {
            **{"v_low_pu": (0.88, 0.95), "v_high_pu": (1.05, 1.06)},
            **{"f_low_hz": (59.0, 59.9), "f_high_hz": (60.1, 61.0), "delay_s": (0.0, 600.0)},
            "ramp_s": (np.where(at["ramp_s"] == 0.0, 0.0, 1.0), 1000.0),
            "random_delay_s": (np.where(at["random_delay_s"] == 0.0, 0.0, 1.0), 1000.0),
        }

    def cautions(self, fleet: str, step_ns: int) -> tuple[str, ...]:
        """Return that nobody of a fleet would wait for the delay, in steps of this length.

        Nothing where they would, or need not.
        """
        delay_s, step_s = float(self.points()["delay_s"][0]), step_ns / 1e9
        if not 0.0 < delay_s <= step_s:
            return ()
        what = f"{fleet}: a delay_s of {delay_s:g} s does not show in steps of {step_s:g} s"
        back = "back as soon as voltage is, or after its random delay, its ramp as far as in a step"
        return (f"{what}: who was out of service is {back}",)


class Service:
    """Which devices are in service, and how far each has come on its ramp: at rest in service, at the end."""

    def __init__(
        self, settings: EnterService, rated_kva: FloatArray, seed: tuple[int, int], few: Few, clock: Clock
    ) -> None:
        """seed: of the fleet, and the number of the first device in it."""
        self._clock, self._few, (self._seed, self._first) = clock, few, seed
        self._small = rated_kva < RANDOM_BELOW_KVA
        self._conditions = Timer(few, clock)
        self.in_service = few.state(True, np.bool_, lasts=True)
        self.ramp = few.state(1.0, np.float64, lasts=True)
        if not settings.starts_in_service:
            few.begin_with_all()
            self.in_service.kept.fill(False)
            self.ramp.kept.fill(0.0)

    def set(self, points: Points, on: BoolArray) -> None:
        """Use these numbers from now on; where not `on` (n,), a device that is out of service stays out."""
        self._points, self._on = points, on
        self._delay_ns = ns(points["delay_s"])
        random = points["random_delay_s"] > 0.0
        self._random_s = np.where(self._small & random, points["random_delay_s"], 0.0)
        ramp_s = np.where(self._small & random, 0.0, points["ramp_s"])
        self._per_s = np.divide(1.0, ramp_s, out=np.full(ramp_s.shape, np.inf), where=ramp_s > 0.0)

    def update(self, seen: Seen, trip: BoolArray | None, permitted: BoolArray | None) -> BoolArray:
        """Move the few to this instant by what they see. Return which of them (k,) are in service.

        trip: where a clearing time is over. permitted: where service is; None: everywhere.
        """
        now = self.in_service.then | self._ready(seen, permitted)
        if trip is not None:
            now &= ~trip
        if permitted is not None:
            now &= permitted
        self.in_service.now = now
        self._go_up(now)
        return now

    def _ready(self, seen: Seen, permitted: BoolArray | None) -> BoolArray:
        p = {name: self._few.of(value) for name, value in self._points.items()}
        good = (seen.low_pu >= p["v_low_pu"]) & (seen.high_pu <= p["v_high_pu"])
        good &= (seen.f_hz >= p["f_low_hz"]) & (seen.f_hz <= p["f_high_hz"])
        good &= ~self.in_service.then & self._few.of(self._on)
        if permitted is not None:
            good &= permitted
        delay_ns = self._few.of(self._delay_ns)
        held = self._conditions.has_held(good, delay_ns)
        if not (held.any() and self._random_s.any()):
            return held
        since_ns: NDArray[np.int64] = self._conditions.since_ns.now
        chance = hashed(self._seed, self._first + self._few.index, since_ns)
        return held & (since_ns <= self._clock.now_ns - delay_ns - ns(chance * self._few.of(self._random_s)))

    def _go_up(self, in_service: BoolArray) -> None:
        ramp: FloatArray = self.ramp.then
        if not self._clock.is_first:
            ramp = np.minimum(ramp + self._clock.elapsed_s * self._few.of(self._per_s), 1.0)
        self.ramp.now = ramp * in_service


def hashed(seed: int, device: NDArray[np.int64], instant_ns: NDArray[np.int64]) -> FloatArray:
    """Return numbers (n,) in [0, 1) that follow from these alone (splitmix64; G. L. Steele et al., OOPSLA 2014)."""
    mask = (1 << 64) - 1
    mixed = np.full(device.shape, seed & mask, np.uint64)
    for part in (device, instant_ns):
        mixed = _mixed(mixed ^ _mixed(part.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)))
    found: FloatArray = (mixed >> np.uint64(11)).astype(np.float64) * 2.0**-53
    return found


def _mixed(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: NDArray[np.uint64] = x ^ (x >> np.uint64(31))
    return mixed
