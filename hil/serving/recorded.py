"""Devices that answer as they did in a run, as soon after the request as they did."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

from derloop.errors import Problem, ScenarioError, did_you_mean
from hil.modbus.framing import Frame, Framing
from hil.serving.exchanges import Plain
from hil.serving.outbox import Delivery
from hil.serving.responder import Responder


class Recorded(Responder, Protocol):
    """Knows how long each answer took."""

    @property
    def latency_s(self) -> float:
        """For the answer that was given last."""
        ...


class AsRecorded:
    """Gives each answer as late as it came. `source` is what `responder` in the end asks."""

    def __init__(self, responder: Responder, framing: Framing, source: Recorded) -> None:
        self._plain, self._source = Plain(responder, framing), source

    def deliveries(self, request: Frame) -> Iterable[Delivery]:
        return [each._replace(after_s=self._source.latency_s) for each in self._plain.deliveries(request)]


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
