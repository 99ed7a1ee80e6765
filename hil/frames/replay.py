"""A recorded device that answers again: the same request at the same instant gets the same answer.

What is asked otherwise than it was is a *divergence*. It is answered as well as the recording can, and noted:

- a request that was made at other instants only, or more often: as it was answered nearest in time;
- a write of other values to registers that were written: as the write nearest in time was;
- a request that was never made: exception 2.

What was recorded and is not asked is a divergence too.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from hil.frames.exchanges import Exchange
from hil.modbus.pdu import (
    ExceptionAnswer,
    ExceptionCode,
    Request,
    exception_answer,
    parse_request,
    written_answer,
)

How = Literal["never asked", "other values", "other time", "not asked"]
MOST_DIVERGENCES = 1000
"""Of one device, that are kept; all are counted."""
BEFORE_NS = -1


@dataclass(frozen=True, slots=True)
class Divergence:
    """One request that parts from the recorded session."""

    device: str
    instant_ns: int | None
    how: How
    what: str

    def __str__(self) -> str:
        when = "before the first step" if self.instant_ns is None else f"at {self.instant_ns / 1e9:.12g} s"
        return f"{self.device} {when}: {self.how}: {self.what}"


class ReplayResponder:
    """Answers for one device as it did.

    Of the answer that was given last `latency_s` is how long it took, and `off` how far the number of the unit in whose
    name it came is from the device's own.

    `begin` tells the instant, and with it what belongs together; without, requests are taken in the order in which
    each was made.
    """

    def __init__(self, device: str, exchanges: Sequence[Exchange]) -> None:
        """exchanges: those of this device alone, in their order."""
        self.device, self._exchanges = device, tuple(exchanges)
        self.latency_s, self.off = 0.0, 0
        self.divergences: list[Divergence] = []
        self.diverged = 0
        """How many divergences there were, also those that are not kept."""
        self._instants = [BEFORE_NS if e.instant_ns is None else e.instant_ns for e in self._exchanges]
        self._used = [False] * len(self._exchanges)
        self._by_request: dict[bytes, list[int]] = {}
        self._writes: dict[tuple[int, int, int], list[int]] = {}
        for index, exchange in enumerate(self._exchanges):
            self._by_request.setdefault(exchange.request, []).append(index)
            if (place := _written_place(exchange.request)) is not None:
                self._writes.setdefault(place, []).append(index)
        self._instant_ns: int | None = None
        self._from, self._until = 0, len(self._exchanges)
        self._last = 0
        """Which exchange was given last."""
        self.is_over = False
        """Whether more was asked at the last instant than the recording, used up, holds of it."""

    @property
    def last_ns(self) -> int:
        """The last instant that was recorded; `BEFORE_NS` if there was none after the start."""
        return self._instants[-1] if self._instants else BEFORE_NS

    def begin(self, instant_ns: int | None) -> None:
        """Take what comes from now on as asked at this instant; None: before the first."""
        self._note_unasked(self._from, self._until)
        self._instant_ns = instant_ns
        now_ns = BEFORE_NS if instant_ns is None else instant_ns
        self._from, self._until = bisect_left(self._instants, now_ns), bisect_left(self._instants, now_ns + 1)

    def end(self) -> None:
        """Note what was recorded for the instant that has begun last, and was not asked."""
        self._note_unasked(self._from, self._until)
        self._from = self._until

    def respond(self, unit: int, pdu: bytes) -> bytes | None:
        """Return what the device answered; None where it was silent."""
        del unit
        found = self._next(self._by_request.get(pdu, ()))
        if found is None:
            return self._answer_otherwise(pdu)
        return self._given(found)

    def _given(self, index: int) -> bytes | None:
        self._used[index], self._last = True, index
        given = self._exchanges[index]
        if (other := given.misnamed) is not None:
            self.latency_s, self.off = other.latency_s, other.off
            return other.answer
        self.latency_s, self.off = given.latency_s or 0.0, 0
        return given.answer

    def _next(self, candidates: Sequence[int]) -> int | None:
        """Return the first of these that belongs to the instant and has not been asked."""
        for index in candidates[bisect_left(candidates, self._from) :]:
            if index >= self._until:
                return None
            if not self._used[index]:
                return index
        return None

    def _answer_otherwise(self, pdu: bytes) -> bytes | None:
        self.is_over |= self._until == len(self._used) and all(self._used[self._from :])
        if (same := self._nearest(self._by_request.get(pdu, ()))) is not None:
            self._note("other time", _text(pdu))
            return self._given(same)
        place = _written_place(pdu)
        if place is not None and (written := self._nearest(self._writes.get(place, ()))) is not None:
            recorded = self._exchanges[written]
            self._note("other values", f"{_text(pdu)}; recorded was {_text(recorded.request)}")
            return _as_answered(pdu, self._given(written))
        self._note("never asked", _text(pdu))
        self.latency_s, self.off = 0.0, 0
        return exception_answer(pdu[0] if pdu else 0, ExceptionCode.ILLEGAL_ADDRESS)

    def _nearest(self, candidates: Sequence[int]) -> int | None:
        """Return which of these was recorded nearest in time to now; the unasked ones first.

        Now is what was given last, or the begin of the instant if that is later.
        """
        if not candidates:
            return None
        now_ns = self._exchanges[min(max(self._from, self._last), len(self._exchanges) - 1)].sent_ns
        return min(candidates, key=lambda i: (self._used[i], abs(self._exchanges[i].sent_ns - now_ns)))

    def _note_unasked(self, begin: int, end: int) -> None:
        if any(self._used):
            for index in range(begin, end):
                if not self._used[index]:
                    self._note("not asked", _text(self._exchanges[index].request))

    def _note(self, how: How, what: str) -> None:
        self.diverged += 1
        if len(self.divergences) < MOST_DIVERGENCES:
            self.divergences.append(Divergence(self.device, self._instant_ns, how, what))


def responders(exchanges: Iterable[Exchange]) -> dict[str, ReplayResponder]:
    """Return a responder for each device, in the order in which they were first asked; none for instruments."""
    found: dict[str, list[Exchange]] = {}
    for exchange in exchanges:
        if not exchange.peer.is_instrument:
            found.setdefault(exchange.peer.device, []).append(exchange)
    return {device: ReplayResponder(device, each) for device, each in found.items()}


def _request(pdu: bytes) -> Request | None:
    try:
        return parse_request(pdu)
    except ExceptionAnswer:
        return None


def _written_place(pdu: bytes) -> tuple[int, int, int] | None:
    """Return function, address and count of a write."""
    request = _request(pdu)
    return (request.function, request.address, request.count) if request and request.is_write else None


def _as_answered(pdu: bytes, answer: bytes | None) -> bytes | None:
    """Return what a device says to a write that did what it did to another one."""
    request = _request(pdu)
    done = request is not None and answer is not None and answer[0] == request.function
    return written_answer(request) if request is not None and done else answer


def _text(pdu: bytes) -> str:
    request = _request(pdu)
    if request is None:
        return f"a request that is none: {pdu.hex(' ')}"
    values = f" = {' '.join(f'{word:04x}' for word in request.registers)}" if request.is_write else ""
    return f"{request}{values}"
