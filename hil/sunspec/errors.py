"""What can be wrong with a map, and with a value."""

from __future__ import annotations

from derloop.errors import DerloopError


class SunSpecError(DerloopError):
    """A device or a description does not agree with SunSpec."""


class SunSpecMapError(SunSpecError):
    """There is no SunSpec map, or its models cannot be laid out."""


class SunSpecValueError(SunSpecError, ValueError):
    """A value does not fit its point: not finite, out of range, no such symbol, or not exact."""

    def __init__(self, point: str, why: str) -> None:
        self.point, self.why = point, why
        super().__init__(f"point {point!r}: {why}")
