"""`"via": "replay:RUN"`: a fleet whose devices answer as they did in a run, from its journal of frames, in lock-step.

At the same instants the same requests get the same answers: what the federation sees is what it saw then, without the
devices. Where what is asked parts from what was asked then, the run goes on as far as the recording can answer, and the
divergences are kept beside the frames: `frames/<federate>.divergences.jsonl`. The run ends
where the recording does.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from derloop.contract import Interface, Values
from derloop.errors import DeviceError, Rejected, did_you_mean
from derloop.kind import Context, PlaceError, Settings, Terminal
from hil.fleet.model import InverterModel, Takes, told_interface, with_inverters

if TYPE_CHECKING:
    from derloop.contract import Federate
    from hil.fleet.lockstep import Lockstep
    from hil.frames.replay import Divergence, ReplayResponder
    from hil.modbus.endpoint import Address
    from hil.modbus.thread import LoopThread
    from hil.serving.server import Server


def replay(
    model: Federate, settings: Settings, terminals: tuple[Terminal, ...], argument: str, context: Context
) -> ReplayedFleet:
    """Put the recorded devices of the run in the folder `argument` in the place of `model`.

    A relative folder is below the scenario's. Raises PlaceError where it has no frames of this federate.
    """
    from hil.frames.journal import journal_path

    del settings
    if not argument:
        raise PlaceError([(("via",), "'replay' needs the folder of a run: replay:RUN")])
    journal = journal_path(context.folder / argument, context.name)
    if not journal.is_file():
        raise PlaceError([(("via",), f"{argument} has no frames of {context.name!r}: there is no {journal}")])
    return ReplayedFleet(with_inverters(model), terminals, context.name, journal)


class ReplayedFleet:
    """n recorded devices in the place of a fleet's model, of which only the ports and the settings are used."""

    def __init__(self, model: InverterModel, terminals: tuple[Terminal, ...], name: str, journal: Path) -> None:
        self._model, self._name, self._journal = model, name, journal
        self._labels = [terminal.label for terminal in terminals]
        self._interface = told_interface(model.interface)
        self._takes = Takes(model, terminals)
        self._folder: Path | None = None
        self._devices: Recorded | None = None
        self._lockstep: Lockstep | None = None

    @property
    def interface(self) -> Interface:
        return self._interface

    def keep_in(self, folder: Path) -> None:
        """Keep every frame, and every divergence, in the run's folder."""
        self._folder = folder

    def start(self) -> Values:
        """Read the journal, serve its devices, and do with them what was done then."""
        from hil.fleet.lockstep import Lockstep
        from hil.frames.journal import journal_path
        from hil.serving.file import Waiting

        self._devices = Recorded(self._journal, self._labels)
        frames = None if self._folder is None else journal_path(self._folder, self._name)
        self._lockstep = Lockstep(self._devices, self._model, self._labels, Waiting(), frames)
        return self._lockstep.start()

    def step(self, now_ns: int, inputs: Values) -> Values:
        assert self._lockstep
        assert self._devices
        try:
            return self._lockstep.step(now_ns, self._takes.within(inputs))
        except DeviceError as failure:
            self._devices.refuse_over(failure)
            raise

    def stop(self) -> None:
        if self._lockstep:
            self._lockstep.stop()
        if self._devices and self._folder is not None:
            write_divergences(divergences_path(self._folder, self._name), self._devices.divergences())
        self._model.stop()

    def statistics(self) -> Mapping[str, float]:
        """Return what went over the wire, and how much of it was otherwise than it had been."""
        said = dict(self._lockstep.statistics()) if self._lockstep else {}
        return {**said, "divergences": self._devices.diverged} if self._devices else said


class Recorded:
    """n devices that answer as they did: the counterpart of a fleet in lock-step (`hil.fleet.counterpart`)."""

    def __init__(self, journal: Path, labels: Sequence[str]) -> None:
        """Raises Rejected for a device that the journal does not know."""
        from hil.frames.evidence import Evidence
        from hil.frames.exchanges import exchanges
        from hil.frames.replay import responders

        self._journal = journal
        found = responders(exchanges(Evidence(journal).entries()))
        for label in labels:
            if label not in found:
                raise Rejected(label, f"is not among the devices of {journal}{did_you_mean(label, tuple(found))}")
        self._devices: list[ReplayResponder] = [found[label] for label in labels]
        self._server: Server | None = None

    @property
    def addresses(self) -> Sequence[Address]:
        from hil.modbus.endpoint import Address

        return [Address(endpoint, 1) for endpoint in self._server.endpoints] if self._server else []

    @property
    def diverged(self) -> int:
        """How many divergences there were."""
        return sum(device.diverged for device in self._devices)

    def divergences(self) -> list[Divergence]:
        """Return the first thousand of each device, in the order of the scenario's time."""
        found = [each for device in self._devices for each in device.divergences]
        return sorted(found, key=lambda each: -1 if each.instant_ns is None else each.instant_ns)

    def start(self, thread: LoopThread) -> None:
        from hil.modbus.endpoint import Tcp
        from hil.serving.recorded import AsRecorded
        from hil.serving.server import Line, Server

        for device in self._devices:
            device.begin(None)
        self._server = Server(
            [Line(Tcp(port=0), each, partial(AsRecorded, source=each, at_once=True)) for each in self._devices], thread
        )
        self._server.start()

    def begin(self, now_ns: int) -> None:
        """Take what is asked next as of this instant. Raises Rejected for one after the recording's end."""
        for device in self._devices:
            if now_ns > device.last_ns:
                raise Rejected(device.device, self._ends(device))
            device.begin(now_ns)

    def obey(self, now_ns: int, inputs: Values) -> Values:
        """Return nothing: what they measured then is in the journal, and what they did beside that is not known."""
        del now_ns, inputs
        return {}

    def end(self) -> None:
        """Their time is that of the journal. Raises Rejected where it broke off in the midst of this instant."""
        self.refuse_over()

    def refuse_over(self, cause: DeviceError | None = None) -> None:
        """Raise Rejected, because of `cause`, where a recording broke off in the midst of this instant."""
        for device in self._devices:
            if device.is_over:
                raise Rejected(device.device, self._ends(device)) from cause

    def _ends(self, device: ReplayResponder) -> str:
        return f"its recording ends at {max(device.last_ns, 0) / 1e9:.12g} s, and so does the run ({self._journal})"

    def stop(self) -> None:
        if self._server:
            self._server.stop()
        for device in self._devices:
            device.end()


def divergences_path(run: Path, federate: str) -> Path:
    """Return where the divergences of `federate` stand in the folder of a run that replays another."""
    from hil.frames.journal import journal_path

    return journal_path(run, federate).with_suffix(".divergences.jsonl")


def write_divergences(path: Path, found: Sequence[Divergence]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(asdict(each)) + "\n" for each in found), encoding="utf-8")


def read_divergences(path: Path) -> list[Divergence]:
    from hil.frames.replay import Divergence

    lines = path.read_text("utf-8").splitlines() if path.is_file() else []
    return [Divergence(**json.loads(line)) for line in lines]
