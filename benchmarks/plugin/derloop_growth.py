"""Federates that are watched, and some that do nothing: what `growth.py` measures with.

`watched-opendss`, `watched-pv`, `watched-sky` and `watched-relay` are the kinds without `watched-`, with an output that
says what a step took of the processor; the feeder and the relay say when it ended, too. `relay` hears vectors and gives
one, and computes nothing.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from derloop.contract import Interface, Jacobian, Port, Values
from derloop.kind import Context, Kind, Settings
from federates.der import pv, sky
from federates.grid import opendss

TOOK = {"took_s": Port("s", ("step",))}
"""Processor time of a step."""
CLOCKS = {**TOOK, "wall_s": Port("s", ("now",)), "cpu_s": Port("s", ("now",))}
"""And at its end, the machine's monotonic clock and the processor time of the process so far."""


class Watched:
    """A federate with the output of `TOOK`."""

    more = TOOK

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self._said = {name: np.zeros(1) for name in self.more}

    @property
    def interface(self) -> Interface:
        inner: Interface = self._inner.interface
        return replace(inner, outputs={**inner.outputs, **self.more})

    def start(self) -> Values:
        return {**self._inner.start(), **self._said}

    def step(self, now_ns: int, inputs: Values) -> Values:
        began_s = time.process_time()
        outputs = self._inner.step(now_ns, inputs)
        self._say(began_s, time.process_time())
        return {**outputs, **self._said}

    def _say(self, began_s: float, ended_s: float) -> None:
        self._said["took_s"][0] = ended_s - began_s

    def stop(self) -> None:
        self._inner.stop()


class Timed(Watched):
    """A federate with the outputs of `CLOCKS`, by which a run is timed."""

    more = CLOCKS

    def _say(self, began_s: float, ended_s: float) -> None:
        super()._say(began_s, ended_s)
        self._said["wall_s"][0], self._said["cpu_s"][0] = time.monotonic(), ended_s


class TimedFeeder(Timed):
    """A feeder that also tells how many iterations its solution took."""

    more = CLOCKS | {"iterations": Port("1", ("last",))}

    def answers(self, inputs: Sequence[str], outputs: Sequence[str]) -> Jacobian:
        return self._inner.answers(inputs, outputs)  # type: ignore[no-any-return]

    def _say(self, began_s: float, ended_s: float) -> None:
        super()._say(began_s, ended_s)
        solver = self._inner._solver
        self._said["iterations"][0] = solver._lib.ctx_Solution_Get_Iterations(solver._ctx)


VECTOR = Port("1", tuple(f"x{i}" for i in range(100)))


class RelaySettings(Settings):
    """Whom a relay hears."""

    reads: tuple[str, ...] = ()
    late: tuple[str, ...] = ()
    """Heard too, but as they were at the last instant."""


class Relay:
    """Gives a vector of 100, and hears as many from each other."""

    def __init__(self, settings: RelaySettings, context: Context) -> None:
        heard = {f"{name}.x": VECTOR for name in settings.reads}
        late = {f"{name}.x": replace(VECTOR, arrival="before") for name in settings.late}
        self.interface = Interface(context.step_ns, {**heard, **late}, {"x": VECTOR})
        self._x = np.ones(VECTOR.size)

    def start(self) -> Values:
        return {"x": self._x}

    def step(self, now_ns: int, inputs: Values) -> Values:  # noqa: ARG002
        return {"x": self._x}

    def stop(self) -> None:
        pass


RELAY = Kind("relay", "Hears vectors and gives one.", RelaySettings, Relay)


def _watched(kind: Kind, by: type[Watched]) -> Kind:
    return replace(kind, name=f"watched-{kind.name}", build=lambda settings, context: by(kind.build(settings, context)))


OPENDSS, PV, SKY, WATCHED_RELAY = (
    _watched(opendss.KIND, TimedFeeder),
    _watched(pv.KIND, Watched),
    _watched(sky.KIND, Watched),
    _watched(RELAY, Timed),
)
