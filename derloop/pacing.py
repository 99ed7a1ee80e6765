"""Real time: a run held to the wall clock, and what counts as late.

The instant t of a scenario is due at `epoch + t / speed` on the machine's monotonic clock. That deadline is absolute:
what one instant loses does not move those that follow, so a run that catches up is on time again, and none drifts.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from threading import Event, Lock
from time import monotonic_ns
from typing import Literal

Overrun = Literal["warn", "skip", "abort"]
"""What becomes of a run that does not keep up.

- `warn`: it is counted and recorded; the run goes on, and catches up as fast as it can;
- `skip`: as `warn`, and a federate that lives in wall-clock time is not stepped in an instant that it missed wholly,
  the next one being due already: its last values hold. Models are stepped in every instant: they are their steps;
- `abort`: the run ends, and says who took how long.
"""
TOLD_POLL_S = 0.002
LONGEST_S = 3600.0
"""How long is waited at once: there are waits too long for the machine's timers."""
NOTED = 64
"""How many steps of each federate a clock remembers: one that reads nothing may be ahead of those that read it."""


@dataclass(frozen=True, slots=True)
class Pacing:
    """How a run is held to the wall clock."""

    speed: float = 1.0
    """Scenario seconds in a second."""
    overrun: Overrun = "warn"
    late_s: float | None = None
    """How long after its due time a step may end, wall-clock seconds; None: until the federate's next one is due."""
    max_age_s: float | None = None
    """How old a measurement may be for a verdict to rest on it, wall-clock seconds; None: as old as it may be."""

    def wall_s(self, step_ns: int) -> float:
        """Return how long a step of the scenario lasts on the wall, s."""
        return step_ns / 1e9 / self.speed

    def allowed_s(self, step_ns: int) -> float:
        """Return how long after its due time a step of `step_ns` may end, s."""
        return self.wall_s(step_ns) if self.late_s is None else self.late_s


class Clock:
    """When each instant is due. One for all units of a process, which may be stepped in threads.

    Its epoch is when the first unit waits for the first instant: by then everything has started. Where several
    processes take part, that is for their supervisor to say (`is_told`), by a clock that all of them read.
    """

    def __init__(self, speed: float = 1.0, is_told: bool = False) -> None:
        self._speed, self._is_told = speed, is_told
        self._epoch_ns: int | None = None
        self._lock = Lock()
        self._took: dict[str, deque[tuple[int, float]]] = {}
        self.is_awaited = False
        """A unit waits to be told the epoch."""

    def begin(self, epoch_ns: int) -> None:
        """Let the instant 0 be due at `epoch_ns` of `time.monotonic_ns`."""
        self._epoch_ns = epoch_ns

    def wait(self, now_ns: int, cancelled: Event) -> None:
        """Return when `now_ns` is due, never before; at once when `cancelled` is set."""
        due_ns = self._epoch(cancelled) + self._since_ns(now_ns)
        while (left_ns := due_ns - monotonic_ns()) > 0:
            if cancelled.wait(min(left_ns / 1e9, LONGEST_S)):
                return

    def late_s(self, now_ns: int) -> float:
        """Return for how long `now_ns` has been due, s. To be asked after `wait`."""
        assert self._epoch_ns is not None
        return (monotonic_ns() - self._epoch_ns - self._since_ns(now_ns)) / 1e9

    def _since_ns(self, now_ns: int) -> int:
        return now_ns if self._speed == 1.0 else round(now_ns / self._speed)

    def _epoch(self, cancelled: Event) -> int:
        with self._lock:
            if self._epoch_ns is None and not self._is_told:
                self._epoch_ns = monotonic_ns()
        while self._epoch_ns is None:
            self.is_awaited = True
            if cancelled.wait(TOLD_POLL_S):
                self._epoch_ns = monotonic_ns()  # of no consequence: nothing is stepped any more
        return self._epoch_ns

    def note(self, federate: str, now_ns: int, took_s: float) -> None:
        """Keep how long a federate's step for `now_ns` took."""
        self._took.setdefault(federate, deque(maxlen=NOTED)).append((now_ns, took_s))

    def took(self, now_ns: int) -> list[tuple[str, float]]:
        """Return how long the steps for `now_ns` took that this process knows of, the longest first."""
        steps = [(federate, step) for federate, steps in [*self._took.items()] for step in [*steps]]
        found = [(federate, took_s) for federate, (then_ns, took_s) in steps if then_ns == now_ns]
        return sorted(found, key=lambda one: -one[1])
