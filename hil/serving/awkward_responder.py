"""Devices that do not answer, refuse without a reason, or restart."""

from __future__ import annotations

import time
from collections.abc import Callable

from hil.modbus.pdu import READS, ExceptionCode, exception_answer
from hil.serving.awkward_registers import Clock
from hil.serving.chance import Chance
from hil.serving.count import Count
from hil.serving.quirks import Quirks, Reboot, Slow
from hil.serving.responder import GoneDown, Responder


class Unwilling:
    """Counts requests, and answers some with silence, 'busy' or another exception."""

    def __init__(self, inner: Responder, quirks: Quirks, chance: Chance, count: Count) -> None:
        self._inner, self._quirks, self._chance, self._count = inner, quirks, chance, count

    def respond(self, unit: int, pdu: bytes) -> bytes | None:
        number, quirks = self._count.next(), self._quirks
        if self._chance.meets(quirks.silence, "silence", number):
            return None
        if self._chance.meets(quirks.busy, "busy", number):
            return exception_answer(pdu[0], ExceptionCode.BUSY)
        if quirks.exceptions and self._chance.meets(quirks.exceptions.share, "exceptions", number):
            return exception_answer(pdu[0], quirks.exceptions.code)
        answer = self._inner.respond(unit, pdu)
        return None if self._chance.meets(quirks.mute, "mute", number) else answer


class OneAtATime:
    """Takes one request in a while, and refuses those that come too early."""

    def __init__(self, inner: Responder, slow: Slow) -> None:
        self._inner, self._slow = inner, slow
        self._free_s = float("-inf")

    def respond(self, unit: int, pdu: bytes) -> bytes | None:
        if self._slow.only_writes and pdu[0] in READS:
            return self._inner.respond(unit, pdu)
        now_s = time.monotonic()
        if now_s < self._free_s:
            return exception_answer(pdu[0], ExceptionCode.BUSY) if self._slow.answers == "busy" else None
        self._free_s = now_s + self._slow.interval_s
        return self._inner.respond(unit, pdu)


class Rebooting:
    """Goes down, and comes back as it left the factory."""

    def __init__(
        self, inner: Responder, reboot: Reboot, count: Count, clock: Clock, restart: Callable[[], None]
    ) -> None:
        """restart: called when it goes down; what the device then has is what it comes back with."""
        self._inner, self._reboot, self._count, self._clock, self._restart = inner, reboot, count, clock, restart
        self._began_s, self._began, self._is_over = clock(), 0, False
        self._up_s = float("-inf")

    def respond(self, unit: int, pdu: bytes) -> bytes | None:
        if time.monotonic() < self._up_s:
            return None
        if self._is_due():
            self._begin_again()
            raise GoneDown
        return self._inner.respond(unit, pdu)

    def _is_due(self) -> bool:
        reboot = self._reboot
        if self._is_over:
            return False
        if reboot.after_requests is not None:
            return self._count.number - self._began >= reboot.after_requests
        return self._clock() - self._began_s >= (reboot.at_s or 0.0)

    def _begin_again(self) -> None:
        self._is_over = not self._reboot.again
        self._began_s, self._began = self._clock(), self._count.number
        self._up_s = time.monotonic() + self._reboot.down_s
        self._restart()
