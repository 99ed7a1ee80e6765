"""For how long a device goes on with what it was told when nobody tells it again."""

from __future__ import annotations

import math
from collections.abc import KeysView
from dataclasses import dataclass
from typing import Literal

LeaseKind = Literal["reversion", "heartbeat", "none"]

UNCHECKED_S = 30.0
"""After so long what a device was told is read again, though nothing changed: it may have restarted unseen."""


@dataclass(frozen=True, slots=True)
class Lease:
    """What ends a command: a reversion timer, a heartbeat that must not stop, or nothing."""

    kind: LeaseKind
    seconds: int = 0
    """How long a command holds without being renewed; of a heartbeat whose time the device does not let be set,
    how long the device is known to wait."""

    def __post_init__(self) -> None:
        if (self.kind == "none") != (self.seconds == 0) or self.seconds < 0:
            raise ValueError(f"a lease of kind {self.kind!r} cannot last {self.seconds} s")

    @property
    def half_s(self) -> float:
        """After how long a command is renewed; infinite without a lease."""
        return self.seconds / 2 if self.seconds else math.inf


NO_LEASE = Lease("none")


def reversion(seconds: int) -> Lease:
    """A lease by the timers of the functions themselves (704 WMaxLimPctRvrtTms and kin; a map's watchdog)."""
    return Lease("reversion", seconds)


def heartbeat(seconds: int) -> Lease:
    """A lease by a counter that goes on as long as the controller lives (715 ControllerHb; a map's heartbeat)."""
    return Lease("heartbeat", seconds)


class Renewals:
    """When what was asserted last; times are those in which the device's timers count."""

    def __init__(self) -> None:
        self._asserted_s: dict[str, float] = {}

    def age_s(self, what: str, now_s: float) -> float:
        """Return how long ago something was asserted; infinite if never."""
        return now_s - self._asserted_s.get(what, -math.inf)

    def note(self, what: str, now_s: float) -> None:
        self._asserted_s[what] = now_s

    def forget(self, what: str) -> None:
        self._asserted_s.pop(what, None)

    @property
    def active(self) -> KeysView[str]:
        """What has been asserted and not given up."""
        return self._asserted_s.keys()
