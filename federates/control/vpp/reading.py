"""What a service reads of others beside the members' own ports, and how old that is."""

from __future__ import annotations

from typing import Annotated

from pydantic import StringConstraints

from derloop.contract import Port, Values
from derloop.texts import SIGNAL

Signal = Annotated[str, StringConstraints(max_length=200), SIGNAL]
"""Type of a setting that names a measurement, as federate.port."""


class Reading:
    """One measurement of one federate; and its age, where something between them tells it."""

    def __init__(self, signal: str, unit: str) -> None:
        source = signal.partition(".")[0]
        self._signal, self._age = signal, f"{source}.age_s"
        self.inputs = {signal: Port(unit, (signal,), "before"), self._age: Port("s", (source,), "before", 0.0)}

    def value(self, inputs: Values) -> float:
        return float(inputs[self._signal][0])

    def age_s(self, inputs: Values) -> float:
        return float(inputs[self._age].max())
