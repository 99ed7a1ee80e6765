"""Devices that answer as they did in a run, as soon after the request as they did."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

from derloop.errors import Problem, ScenarioError, did_you_mean
from hil.modbus.framing import Frame, Framing
from hil.serving.outbox import Delivery
from hil.serving.responder import Responder


class Recorded(Responder, Protocol):
    """Knows how long each answer took, and in whose name it came."""

    @property
    def latency_s(self) -> float:
        """For the answer that was given last."""
        ...

    @property
    def off(self) -> int:
        """How far its unit's number was from that of the unit that was asked."""
        ...


class AsRecorded:
    """Gives each answer as late as it came, or `at_once`, and in the name in which it did.

    `source` is what `responder` in the end asks.
    """

    def __init__(self, responder: Responder, framing: Framing, source: Recorded, *, at_once: bool = False) -> None:
        self._responder, self._framing, self._source, self._at_once = responder, framing, source, at_once

    def deliveries(self, request: Frame) -> Iterable[Delivery]:
        answer = self._responder.respond(request.unit, request.pdu)
        if answer is None:
            return ()
        named = Frame((request.unit + self._source.off) % 256, answer, request.transaction)
        return (Delivery(self._framing.pack(named), 0.0 if self._at_once else self._source.latency_s),)


def recorded(run: Path, device: str) -> Recorded:
    """Return a device of a run's journal of frames. Raises ScenarioError where that has no such device."""
    from hil.frames.evidence import Evidence
    from hil.frames.exchanges import exchanges
    from hil.frames.replay import responders

    found = responders(exchanges(Evidence(run).entries()))
    if device not in found:
        what = f"{run} has no frames of {device!r}{did_you_mean(device, tuple(found))}"
        raise ScenarioError([Problem("/device", what)], "replay")
    return found[device]
