"""Frequency droop (frequency-watt): active power against frequency (IEEE 1547-2018, 6.5.2.7 and tables 23 and 24).

From the power before the disturbance, `p_pre`: the output when the frequency left the dead band,

    above:  p = max(p_pre - (f - (f_nom + db_over)) / (f_nom k_over), min(p_least, p_pre))
    below:  p = min(p_pre + ((f_nom - db_under) - f) / (f_nom k_under), p_most)

with the open-loop response time; what gives less than `p_least` before the disturbance is not raised to it. Back in the
dead band the response ends when it has come within 0.001 of rated power (as in OpenDER) of what would be without it. A
device that is on its enter-service ramp has no power before the disturbance: there `p_pre` is what the ramp allows, and
where a dead feeder has come back, what it would be without droop. One that had ceased to energize had given nothing.
`p_pre` stays for as long as the frequency is beyond the dead band on one side: what the source, or who tells it one,
would do meanwhile does not show. Where the frequency goes from one side to the other between two instants, `p_pre` is
what the first side's response has left.
The range of k and of the response time for categories I and II is to be confirmed against the standard.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
from pydantic import Field

from derloop.contract import FloatArray
from federates.der.smart.few import Index
from federates.der.smart.held import BoolArray, Clock, Response, is_any
from federates.der.smart.points import Abnormal, Function, Points, Ranges

SETTLED_PU = 1e-3


class FrequencyDroop(Function):
    """Active power against frequency."""

    in_hz: ClassVar[bool] = True
    category: Abnormal = Field(
        default="category-iii",
        description="Category of abnormal operation: sets the ranges.",
        examples=["category-iii"],
    )
    db_over_hz: float | None = Field(
        default=None, description="Dead band above nominal, Hz: 0.017 to 1 (60 Hz).", examples=[0.036]
    )
    db_under_hz: float | None = Field(
        default=None, description="Dead band below nominal, Hz: 0.017 to 1 (60 Hz).", examples=[0.036]
    )
    k_over: float | None = Field(
        default=None, description="Droop above, pu frequency per pu power: 0.02 (I, II: 0.03) to 0.05.", examples=[0.05]
    )
    k_under: float | None = Field(
        default=None, description="Droop below, pu frequency per pu power: 0.02 (I, II: 0.03) to 0.05.", examples=[0.05]
    )
    response_s: float | None = Field(
        default=None, description="Open-loop response time, s: 0.2 (I, II: 1) to 10.", examples=[5.0]
    )

    def defaults(self) -> Mapping[str, float]:
        return {"db_over_hz": 0.036, "db_under_hz": 0.036, "k_over": 0.05, "k_under": 0.05, "response_s": 5.0}

    def ranges(self, at: Points) -> Ranges:
        del at
        third = self.category == "category-iii"
        k, band = (0.02 if third else 0.03, 0.05), (0.017, 1.0)
        response = (0.2 if third else 1.0, 10.0)
        return {"db_over_hz": band, "db_under_hz": band, "k_over": k, "k_under": k, "response_s": response}


class Droop:
    """The droop of n devices. State: the lag, the power before the disturbance, and whether it is active."""

    def __init__(self, points: Points, rated_kw: FloatArray, f_nominal_hz: float, clock: Clock) -> None:
        n = rated_kw.size
        self._rated_kw, self._f_nominal_hz, self._clock = rated_kw, f_nominal_hz, clock
        self._lag = Response(n, points["response_s"], clock)
        self._pre_kw = clock.state(n)
        self._over, self._under = clock.state(n, False, np.bool_), clock.state(n, False, np.bool_)
        self.active = clock.state(n, False, np.bool_)
        self.set(points)

    def set(self, points: Points) -> None:
        """Use these numbers from now on."""
        self._high_hz = self._f_nominal_hz + points["db_over_hz"]
        self._low_hz = self._f_nominal_hz - points["db_under_hz"]
        self._kw_per_hz_over = self._rated_kw / (self._f_nominal_hz * points["k_over"])
        self._kw_per_hz_under = self._rated_kw / (self._f_nominal_hz * points["k_under"])
        self._lag.set_response_s(points["response_s"])

    def begin(self, output_kw: FloatArray) -> None:
        """Let what is put out now (n,), kW, be what the first response starts from; NaN is nothing."""
        self._lag.state.then[:] = self._lag.state.now[:] = np.nan_to_num(output_kw)

    def power_kw(
        self,
        f_hz: FloatArray,
        normal_kw: FloatArray,
        output_then_kw: FloatArray,
        band_kw: tuple[FloatArray, FloatArray],
        entering: Index | None,
    ) -> FloatArray | None:
        """Return the droop's power (n,), which counts where `active.now`; None where it is active nowhere.

        f_hz: (1,) or (n,). normal_kw: the power without droop. output_then_kw: the output at the last instant, NaN
        where there was no service, or no voltage.
        band_kw: the least and the most that the source can do. entering: devices on their enter-service ramp.
        """
        over, under = f_hz > self._high_hz, f_hz < self._low_hz
        is_over, is_under = is_any(over), is_any(under)
        if not (is_over or is_under or is_any(self.active.then)):
            self._rest(normal_kw)
            return None
        self._over.now[:], self._under.now[:] = over, under
        pre_kw = self._before_the_disturbance(output_then_kw, normal_kw, entering)
        target = normal_kw.copy()
        if is_over:
            lowered = pre_kw - (f_hz - self._high_hz) * self._kw_per_hz_over
            least_kw = np.minimum(band_kw[0], pre_kw)
            np.copyto(target, np.maximum(lowered, least_kw, out=lowered), where=over)
        if is_under:
            raised = pre_kw + (self._low_hz - f_hz) * self._kw_per_hz_under
            np.copyto(target, np.minimum(raised, band_kw[1], out=raised), where=under)
        return self._respond(target, self._over.now | self._under.now)

    def _rest(self, normal_kw: FloatArray) -> None:
        self._lag.state.now[:] = normal_kw
        for state in (self._over, self._under, self.active):
            state.now.fill(False)

    def _before_the_disturbance(
        self, output_then_kw: FloatArray, normal_kw: FloatArray, entering: Index | None
    ) -> FloatArray:
        lasting = (self._over.now & self._over.then) | (self._under.now & self._under.then)
        pre_kw: FloatArray = self._pre_kw.now
        np.copyto(pre_kw, np.where(np.isnan(output_then_kw), normal_kw, output_then_kw))
        np.copyto(pre_kw, self._pre_kw.then, where=lasting)
        if entering is not None:
            pre_kw[entering] = normal_kw[entering]
        return pre_kw

    def _respond(self, target: FloatArray, disturbed: BoolArray) -> FloatArray:
        power = self._lag.towards(self._clock.now_ns, target)
        np.copyto(power, target, where=~(disturbed | self.active.then))
        active: BoolArray = self.active.now
        active[:] = disturbed
        lingering = np.flatnonzero(self.active.then & ~disturbed)
        apart = np.abs(power[lingering] - target[lingering])
        active[lingering] = apart >= SETTLED_PU * self._rated_kw[lingering]
        return power

    def reset(self, out_of_service: Index) -> None:
        """Forget everything of devices that are out of service."""
        self._lag.state.now[out_of_service] = 0.0
        for state in (self._over, self._under, self.active):
            state.now[out_of_service] = False
