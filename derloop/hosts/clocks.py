"""How far the monotonic clock of another machine is ahead of ours, from messages that carry four times.

    ours:    asked ------------------------ answered
    theirs:          heard --------- said

Theirs is ahead by `((heard - asked) + (said - answered)) / 2`. That is right to within half of what the two ways took
together, `((answered - asked) - (said - heard)) / 2`, however they differ (D. L. Mills et al., RFC 5905, section 8).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic, monotonic_ns

ASK_S = 0.5
"""How often a host is asked for its clock."""
KEPT = 16
"""How many readings are looked back on: clocks drift apart, and an old one proves nothing any more."""


@dataclass(frozen=True, slots=True)
class Reading:
    """How far the other clock is ahead, ns, and how far from the truth that may be."""

    ahead_ns: int
    within_ns: int

    @classmethod
    def of(cls, asked_ns: int, heard_ns: int, said_ns: int, answered_ns: int) -> Reading:
        """Return what four times say, the first and the last by our clock, the others by theirs."""
        ways_ns = (answered_ns - asked_ns) - (said_ns - heard_ns)
        return cls(((heard_ns - asked_ns) + (said_ns - answered_ns)) // 2, max(-(-ways_ns // 2), 0))


class Offset:
    """How far another clock is ahead of ours, by the best of the latest readings."""

    def __init__(self) -> None:
        self._readings: deque[Reading] = deque(maxlen=KEPT)

    def take(self, reading: Reading) -> None:
        self._readings.append(reading)

    @property
    def best(self) -> Reading | None:
        """The reading that is nearest to the truth for certain; None before the first."""
        return min(self._readings, key=lambda reading: reading.within_ns, default=None)

    def refutes(self, ahead_ns: int) -> bool:
        """Return whether the other clock cannot be ahead by so much."""
        best = self.best
        return best is not None and abs(best.ahead_ns - ahead_ns) > best.within_ns


class HostClock:
    """The clock of one host of a paced run, and what that was told: when the run began, by its own clock."""

    def __init__(self, send: Callable[..., None]) -> None:
        """send: sends a message to the host."""
        self._send, self._asked_at = send, -ASK_S
        self._offset = Offset()
        self._epoch_ns: int | None = None
        self._told_ahead_ns = 0

    @property
    def is_known(self) -> bool:
        return self._offset.best is not None

    @property
    def within_s(self) -> float:
        """How well it is known how far the clock is ahead of ours, s; infinite before it is."""
        return self._offset.best.within_ns / 1e9 if self._offset.best else float("inf")

    def keep(self) -> None:
        """Ask for it now and then; where it has drifted so far that what was told is wrong, tell that anew."""
        if monotonic() - self._asked_at >= ASK_S:
            self._asked_at = monotonic()
            self._send("clock", asked_ns=monotonic_ns())
        if self._epoch_ns is not None and self._offset.refutes(self._told_ahead_ns):
            self._tell()

    def take(self, asked_ns: int, heard_ns: int, said_ns: int, answered_ns: int) -> None:
        """Take in an answer of the host."""
        self._offset.take(Reading.of(asked_ns, heard_ns, said_ns, answered_ns))

    def begin(self, epoch_ns: int) -> None:
        """Tell when the instant 0 is due, by `time.monotonic_ns` of this machine. The clock is known by now."""
        if self._epoch_ns != epoch_ns:
            self._epoch_ns = epoch_ns
            self._tell()

    def _tell(self) -> None:
        best = self._offset.best
        assert best
        assert self._epoch_ns is not None
        self._told_ahead_ns = best.ahead_ns
        self._send("begin", epoch_ns=self._epoch_ns + best.ahead_ns)
