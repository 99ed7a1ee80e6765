"""What the feeder is given in a run, recorded under the reference engine in a run of its own.

It serves all movers, for what they move is equal to the bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from cases import Case
from derloop_bench import Trace

from derloop.contract import FloatArray, Interface, Jacobian, Values
from derloop.engines.worker import Deadlines, Worker, mover
from derloop.kind import Permissions
from derloop.scenario.assembly import assemble
from derloop.scenario.loading import load

NEVER_S = 3600.0


class _Listener:
    """A feeder that keeps what it is given."""

    def __init__(self, feeder: Any) -> None:
        self._feeder = feeder
        self.instants: list[int] = []
        self.given: dict[str, list[FloatArray]] = {port: [] for port in feeder.interface.inputs}
        self.v_pu: dict[int, FloatArray] = {}

    @property
    def interface(self) -> Interface:
        return self._feeder.interface  # type: ignore[no-any-return]

    def start(self) -> Values:
        return self._feeder.start()  # type: ignore[no-any-return]

    def step(self, now_ns: int, inputs: Values) -> Values:
        self.instants.append(now_ns)
        for port, kept in self.given.items():
            kept.append(inputs[port].copy())
        outputs: Values = self._feeder.step(now_ns, inputs)
        self.v_pu[now_ns] = outputs["v_pu"].copy()
        return outputs

    def answers(self, inputs: Sequence[str], outputs: Sequence[str]) -> Jacobian:
        return self._feeder.answers(inputs, outputs)  # type: ignore[no-any-return]

    def stop(self) -> None:
        self._feeder.stop()


GRANTED = Permissions(trust_feeder=True)


def feeder_of(case: Case) -> Any:
    """Return the feeder of the case by itself, not started, without the clock around it."""
    scenario = load(case.path, [each for each in case.overrides if "timed-opendss" not in each], GRANTED)
    return assemble(scenario, GRANTED).federates["grid"]


def traced(case: Case) -> Trace:
    """Run the case and return what its feeder was given."""
    scenario = load(case.path, case.overrides, GRANTED)
    federation = assemble(scenario, GRANTED)
    listener = _Listener(federation.federates["grid"])
    federation.federates["grid"] = listener
    worker = Worker(federation, federation.units, lambda *_: None, Deadlines(NEVER_S, NEVER_S))
    worker.run(mover("local"), scenario.until_ns, lambda: None)
    ends = np.cumsum(np.unique(np.array(listener.instants), return_counts=True)[1])
    injections = {port: np.array(kept) for port, kept in listener.given.items()}
    return Trace(injections, ends, np.array([*listener.v_pu.values()]))
