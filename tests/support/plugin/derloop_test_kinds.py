"""An outside package with one kind of federate: it counts, and fails on request in every way and phase."""

from __future__ import annotations

import os
import signal
import time
from typing import Literal

import numpy as np
from pydantic import Field

from derloop.contract import Interface, Port, Values
from derloop.kind import Context, Kind, Settings


class CounterSettings(Settings):
    reads: str | None = Field(None, description="A federate whose `count` it adds to its own.")
    fault: Literal["none", "raise", "hang", "spin", "kill", "stop", "exit", "nan", "shape", "missing"] = "none"
    phase: Literal["build", "start", "step", "stop"] = "step"
    at_s: float = 0.0
    blocking: bool = False
    slow_s: float = Field(0.0, description="Wall-clock seconds that each step takes.")
    elements: int = 2


class Counter:
    def __init__(self, settings: CounterSettings, context: Context) -> None:
        self._settings = settings
        labels = tuple(f"n{i}" for i in range(settings.elements))
        inputs = {f"{settings.reads}.count": Port("1", labels, "before")} if settings.reads else {}
        self._interface = Interface(context.step_ns, inputs, {"count": Port("1", labels)}, True, settings.blocking)
        self._fault("build")

    @property
    def interface(self) -> Interface:
        return self._interface

    def start(self) -> Values:
        self._fault("start")
        return {"count": np.zeros(self._settings.elements)}

    def step(self, now_ns: int, inputs: Values) -> Values:
        time.sleep(self._settings.slow_s)
        count = np.full(self._settings.elements, 1.0 + now_ns / 1e9)
        for values in inputs.values():
            count += 0.5 * values
        if now_ns >= self._settings.at_s * 1e9:
            self._fault("step")
            if self._settings.phase == "step":
                return self._broken(count)
        return {"count": count}

    def stop(self) -> None:
        self._fault("stop")

    def _broken(self, count: np.ndarray) -> Values:
        if self._settings.fault == "nan":
            count[1] = np.nan
        if self._settings.fault == "shape":
            count = count[:1]
        return {} if self._settings.fault == "missing" else {"count": count}

    def _fault(self, phase: str) -> None:
        if phase != self._settings.phase:
            return
        match self._settings.fault:
            case "raise":
                raise RuntimeError("the flux capacitor is empty")
            case "hang":
                time.sleep(3600)
            case "spin":
                while True:
                    pass
            case "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            case "stop":
                os.kill(os.getpid(), signal.SIGSTOP)
            case "exit":
                os._exit(0)
            case _:
                return


COUNTER = Kind("counter", "Counts, and fails on request.", CounterSettings, Counter)
