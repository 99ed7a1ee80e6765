"""A session of `derloop emulate`: from a file to devices that anybody can speak to, until it is over."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from derloop import document, plugins
from derloop.engines.worker import Deadlines, Worker, mover
from derloop.errors import Problem, ScenarioError
from hil.commands.opened import Opened, Wishes, opened
from hil.modbus.endpoint import Address
from hil.serving.file import EmulatorFile, read_emulator_file
from hil.serving.server import Server
from hil.serving.standing import standing

LOOK_S = 0.05


class Found(NamedTuple):
    """A device that is served, and where."""

    name: str
    part_of: str
    """The fleet, or "clones", "replays"."""
    address: Address


Show = Callable[[Sequence[Found]], None]


class _Over(Exception):
    """The time that was asked for has passed."""


class Emulation:
    """Serves what a file says, from `run` until the scenario ends, the time is over, or somebody interrupts it."""

    def __init__(self, path: Path, wishes: Wishes, show: Show) -> None:
        """Read everything. show: called once, with every device, when all can be reached. Raises ScenarioError."""
        self._file, self._for_s, self._show = _read(path), wishes.for_s, show
        self._standing = standing(self._file, str(path))
        self._server = Server([*self._standing.values()])
        scenario = self._file.scenario
        self._opened = None if scenario is None else opened(self._file, scenario, wishes, str(path))
        self._fleets = self._opened.fleets if self._opened else {}
        self._shown_s: float | None = None
        if not self._fleets and not self._standing:
            what = f"has nothing that could be served: {_unserved(self._opened)}"
            raise ScenarioError([Problem("", what)], str(path))

    def run(self) -> None:
        """Serve. Raises FederateError where the scenario fails."""
        try:
            with self._server:
                if self._opened:
                    self._run_scenario(self._opened)
                else:
                    self._wait()
        except (_Over, KeyboardInterrupt):
            return

    def _run_scenario(self, opened: Opened) -> None:
        """Run it, keeping nothing of what it gives."""
        limits = opened.scenario.file.deadlines
        deadlines = Deadlines(limits.join_s + opened.federation.start_s, limits.step_s)
        worker = Worker(opened.federation, opened.federation.units, lambda *_: None, deadlines)
        worker.run(mover("local"), opened.scenario.until_ns, self._look)

    def _wait(self) -> None:
        while True:
            self._look()
            time.sleep(LOOK_S)

    def _look(self) -> None:
        """Show the devices once all are there; end when it is time to."""
        if self._shown_s is None and all(fleet.addresses for fleet in self._fleets.values()):
            self._shown_s = time.monotonic()
            self._show([*self._found()])
        if self._shown_s is not None and self._for_s is not None and time.monotonic() - self._shown_s >= self._for_s:
            raise _Over

    def _found(self) -> Iterator[Found]:
        for name, fleet in self._fleets.items():
            yield from (Found(device, name, address) for device, address in fleet.addresses.items())
        for name, endpoint in zip(self._standing, self._server.endpoints, strict=True):
            clone = self._file.clones.get(name)
            unit = clone.unit if clone else self._file.replays[name].unit
            yield Found(name, "clones" if clone else "replays", Address(endpoint, unit))


def _unserved(opened: Opened | None) -> str:
    """Return why there is nothing to serve."""
    if opened is None:
        return "neither a scenario, nor clones, nor replays"
    possible = ", ".join(kind for kind in plugins.names(plugins.KINDS) if plugins.kind(kind).is_der)
    return f"no federate of {opened.scenario.path.name} has inverters; of kind {possible} it would"


def _read(path: Path) -> EmulatorFile:
    """Return an emulator file; a scenario is one that serves all of its fleets."""
    if "federates" in document.read(path):
        return EmulatorFile(scenario=path)
    return read_emulator_file(path)
