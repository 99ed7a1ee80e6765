"""What has gone over a link."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Traffic:
    """What one link has carried; `seconds` is wall time spent waiting for it."""

    exchanges: int = 0
    retries: int = 0
    connects: int = 0
    """Connections opened for exchanges of this link."""
    discarded: int = 0
    """Frames and runs of bytes that came during its exchanges, or before them, and were no answer to them."""
    registers_read: int = 0
    registers_written: int = 0
    seconds: float = 0.0
