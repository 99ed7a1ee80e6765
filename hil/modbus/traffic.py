"""What has gone over a link."""

from __future__ import annotations

from dataclasses import dataclass

from hil.modbus.pdu import Request


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

    def carried(self, request: Request) -> None:
        """Count an exchange that was made."""
        self.exchanges += 1
        if request.is_write:
            self.registers_written += request.count
        else:
            self.registers_read += request.count
