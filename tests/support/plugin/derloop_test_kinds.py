"""An outside package with one kind of federate: it counts, and fails on request in every way and phase.

Where the environment names a file `DERLOOP_TEST_FAULT`, it notes there when (`time.monotonic()`, one clock for all
processes) and in which process it failed.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field

from derloop.contract import Interface, Port, Values
from derloop.kind import Context, Kind, Settings
from derloop.memory import remembers

AGE_S, MEETING_S = 0.001, 15.0
IS_CHILD = "derloop.engines.child" in sys.orig_argv


class CounterSettings(Settings):
    reads: str | None = Field(None, description="A federate whose `count` it adds to its own.")
    fault: Literal[
        "none", "raise", "quit", "hang", "spin", "kill", "stop", "exit", "nan", "shape", "missing", "reorder"
    ] = "none"
    phase: Literal["build", "join", "start", "step", "stop", "statistics"] = Field(
        "step", description="join: while it is built in a process of its own."
    )
    at_s: float = 0.0
    blocking: bool = False
    slow_s: float = Field(0.0, description="Wall-clock seconds that each step takes.")
    slow_at_s: tuple[float, ...] | None = Field(None, description="Only the steps at these instants do.")
    meets: tuple[str, ...] = Field((), description="Itself and others: no step ends before all are amid the same one.")
    meets_in: str = Field("", description="A folder for what they leave for each other.")
    paced: bool = Field(False, description="As equipment it cannot be stepped again, and tells an age of 0.001 s.")
    arrival: Literal["now", "before"] = "before"
    elements: int = 2


@remembers()
class Counter:
    def __init__(self, settings: CounterSettings, context: Context) -> None:
        self._settings, self._has_failed = settings, False
        self._name = context.name
        labels = tuple(f"n{i}" for i in range(settings.elements))
        if settings.fault == "reorder" and IS_CHILD:
            labels = labels[::-1]
        inputs = {f"{settings.reads}.count": Port("1", labels, settings.arrival)} if settings.reads else {}
        outputs = {"count": Port("1", labels), **({"age_s": Port("s", labels)} if settings.paced else {})}
        self._interface = Interface(
            context.step_ns, inputs, outputs, not settings.paced, settings.blocking, paced=settings.paced
        )
        self._fault("build")
        if IS_CHILD:
            self._fault("join")

    @property
    def interface(self) -> Interface:
        return self._interface

    def start(self) -> Values:
        self._fault("start")
        return self._aged({"count": np.zeros(self._settings.elements)})

    def step(self, now_ns: int, inputs: Values) -> Values:
        if self._settings.slow_at_s is None or now_ns / 1e9 in self._settings.slow_at_s:
            time.sleep(self._settings.slow_s)
        self._meet(now_ns)
        count = np.full(self._settings.elements, 1.0 + now_ns / 1e9)
        for values in inputs.values():
            count += 0.5 * values
        if now_ns >= self._settings.at_s * 1e9:
            self._fault("step")
            if self._settings.phase == "step":
                return self._aged(self._broken(count))
        return self._aged({"count": count})

    def _meet(self, now_ns: int) -> None:
        if not self._settings.meets:
            return
        folder, until = Path(self._settings.meets_in), time.monotonic() + MEETING_S
        (folder / f"{self._name}-{now_ns}").touch()
        while absent := [name for name in self._settings.meets if not (folder / f"{name}-{now_ns}").exists()]:
            if time.monotonic() > until:
                raise RuntimeError(f"{absent[0]} did not come")
            time.sleep(0.001)

    def _aged(self, values: dict[str, np.ndarray]) -> Values:
        return {**values, "age_s": np.full(self._settings.elements, AGE_S)} if self._settings.paced else values

    def stop(self) -> None:
        self._fault("stop")

    def statistics(self) -> Mapping[str, float]:
        self._fault("statistics")
        return {}

    def _broken(self, count: np.ndarray) -> dict[str, np.ndarray]:
        if self._settings.fault == "nan":
            count[1] = np.nan
        if self._settings.fault == "shape":
            count = count[:1]
        return {} if self._settings.fault == "missing" else {"count": count}

    def _fault(self, phase: str) -> None:
        if phase != self._settings.phase or self._settings.fault == "none" or self._has_failed:
            return
        self._has_failed = True
        self._note()
        match self._settings.fault:
            case "raise":
                raise RuntimeError("the flux capacitor is empty")
            case "quit":
                sys.exit(0)
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

    def _note(self) -> None:
        if path := os.environ.get("DERLOOP_TEST_FAULT"):
            Path(path).write_text(f"{time.monotonic()} {os.getpid()}")


COUNTER = Kind("counter", "Counts, and fails on request.", CounterSettings, Counter)
