"""One unit's turns by the wall clock: waited for, timed, skipped where they were missed, and recorded.

What is recorded are the signals of `pace@<first member>`, for each instant of the unit; see `turn_ports`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from threading import Event
from time import monotonic

import numpy as np

from derloop.contract import FloatArray, Jacobian, Values
from derloop.engines.loop import Steps
from derloop.errors import FederateError
from derloop.federation import Federation, Unit, pace_name
from derloop.pacing import Clock, Pacing

Stepped = dict[str, Values]
SHOWN = 3
"""How many federates an overrun's message names."""


class Timed:
    """A federate whose steps for one instant are timed together."""

    def __init__(self, name: str, steps: Steps) -> None:
        self.name, self._steps = name, steps
        self.took_s = 0.0

    def start(self) -> Values:
        return self._steps.start()

    def step(self, now_ns: int, inputs: Values) -> Values:
        return self._timed(self._steps.step, now_ns, inputs)

    def iterates(self, ports: Collection[str]) -> bool:
        return self._steps.iterates(ports)

    def iterate(self, now_ns: int, inputs: Values) -> Values:
        return self._timed(self._steps.iterate, now_ns, inputs)

    def conclude(self, now_ns: int, inputs: Values) -> Values:
        return self._timed(self._steps.conclude, now_ns, inputs)

    def _timed(self, step: Callable[[int, Values], Values], now_ns: int, inputs: Values) -> Values:
        began = monotonic()
        try:
            return step(now_ns, inputs)
        finally:
            self.took_s += monotonic() - began

    def answers(self, inputs: Sequence[str], outputs: Sequence[str]) -> Jacobian | None:
        return self._steps.answers(inputs, outputs)


class Held:
    """The last outputs of a federate that lives in wall-clock time, and how old they have become."""

    def __init__(self) -> None:
        self._values: dict[str, FloatArray] = {}
        self._since = 0.0

    def keep(self, outputs: Values) -> None:
        self._values = {port: value.copy() for port, value in outputs.items()}
        self._since = monotonic()

    def older(self) -> Values:
        """Return them as they were, but for their age, which is now's."""
        if "age_s" not in self._values:
            return self._values
        return {**self._values, "age_s": self._values["age_s"] + (monotonic() - self._since)}


class Turns:
    """The turns of one unit, whose members are `timed`."""

    def __init__(
        self,
        federation: Federation,
        unit: Unit,
        timed: Mapping[str, Timed],
        clock: Clock,
        observe: Callable[[str, int, Values], None],
    ) -> None:
        assert federation.pacing
        self._unit, self._timed, self._clock, self._observe = unit, timed, clock, observe
        self._pacing: Pacing = federation.pacing
        self._allowed_s = federation.pacing.allowed_s(unit.step_ns)
        self._may_skip = federation.may_skip(unit)
        self._held = {name: Held() for name in unit.members if self._may_skip}
        self._late_s, self._took_s = np.zeros(2), np.zeros(len(timed))
        self._skipped = np.zeros(1)
        self._signals = {"late_s": self._late_s, "step_s": self._took_s, "skipped": self._skipped}

    def wait(self, now_ns: int, cancelled: Event) -> None:
        """Return when `now_ns` is due; at once when `cancelled` is set."""
        self._clock.wait(now_ns, cancelled)

    def take(self, now_ns: int, step: Callable[[], Stepped]) -> Stepped:
        """Return what the unit gives out at `now_ns`: what `step` returns, or the last values of a turn missed."""
        self._late_s[0] = self._clock.late_s(now_ns)
        if self._may_skip and now_ns > 0 and self._late_s[0] >= self._pacing.wall_s(self._unit.step_ns):
            self._skipped[0] = 1.0
            return {name: held.older() for name, held in self._held.items()}
        self._skipped[0] = 0.0
        outputs = step()
        for name, held in self._held.items():
            held.keep(outputs[name])
        return outputs

    def end(self, now_ns: int) -> None:
        """Record the turn; raise FederateError where it ended too late and the run must not go on."""
        self._late_s[1] = self._clock.late_s(now_ns)
        for at, (name, timed) in enumerate(self._timed.items()):
            self._took_s[at], timed.took_s = timed.took_s, 0.0
            self._clock.note(name, now_ns, float(self._took_s[at]))
        self._observe(pace_name(self._unit), now_ns, self._signals)
        if self._pacing.overrun == "abort" and self._late_s[1] > self._allowed_s:
            raise self._overrun(now_ns)

    def _overrun(self, now_ns: int) -> FederateError:
        took = self._clock.took(now_ns)
        steps = ", ".join(f"{name} {took_s:.3g} s" for name, took_s in took[:SHOWN])
        more = f" and {len(took) - SHOWN} shorter ones" if len(took) > SHOWN else ""
        began_s, ended_s = self._late_s
        why = (
            f"not in time: {self._unit.name} ended {ended_s:.3g} s after the instant was due, allowed are "
            f"{self._allowed_s:g} s; it began {began_s:.3g} s after; steps of the instant, as far as they are known "
            f"here: {steps}{more}"
        )
        return FederateError(took[0][0], now_ns, why)
