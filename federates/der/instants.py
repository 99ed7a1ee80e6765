"""Instants: which call of a step is the first for its instant, and how much time has passed since the last one."""

from __future__ import annotations

from derloop.memory import remembers


@remembers("_now_ns")
class Instants:
    """Tells a new instant from one that is stepped again, which starts from the state at the last instant."""

    def __init__(self) -> None:
        self._now_ns: int | None = None

    def passed_ns(self, now_ns: int) -> int:
        """Return the time since the last instant, ns; 0 at the first instant and for a repeated one."""
        passed = 0 if self._now_ns is None else now_ns - self._now_ns
        self._now_ns = now_ns
        return passed
