"""A session of `derloop emulate`: from a file to devices that anybody can speak to, until it is over."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from derloop import document
from derloop.engines.worker import Deadlines, Worker, mover
from derloop.errors import Problem, ScenarioError, did_you_mean
from derloop.federation import Federation
from derloop.kind import Permissions
from derloop.scenario.assembly import assemble
from derloop.scenario.loading import load
from derloop.scenario.models import Scenario
from hil.modbus.endpoint import Address
from hil.realisation import HasInverters
from hil.serving.file import EmulatorFile, read_emulator_file
from hil.serving.open_fleet import OpenFleet
from hil.serving.server import Server
from hil.serving.standing import standing

LOOK_S = 0.05


class Wishes(NamedTuple):
    """What the command line asks for."""

    overrides: tuple[str, ...] = ()
    step_s: float = 1.0
    """The scenario's step is no longer."""
    for_s: float | None = None
    permissions: Permissions = Permissions()


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
        self._wishes, self._show = wishes, show
        self._file = _read(path)
        self._standing = standing(self._file)
        self._scenario, self._federation = self._assembled()
        self._fleets = _fleets(self._federation) if self._federation else {}
        for name, fleet in self._fleets.items():
            fleet.entry = self._file.fleets.get(name, fleet.entry)
        self._shown_s: float | None = None
        if not self._fleets and not self._standing:
            raise ScenarioError([Problem("", "has nothing that could be served")], str(path))

    def run(self) -> None:
        """Serve. Raises FederateError where the scenario fails."""
        server = Server([*self._standing.values()])
        try:
            with server:
                self._server = server
                self._serve()
        except (_Over, KeyboardInterrupt):
            return

    def _serve(self) -> None:
        if self._federation and self._scenario:
            limits = self._scenario.file.deadlines
            worker = Worker(
                self._federation,
                self._federation.units,
                lambda *_: None,
                Deadlines(limits.join_s, limits.step_s),
            )
            worker.run(mover("local"), self._scenario.until_ns, self._look)
        while not self._federation:
            self._look()
            time.sleep(LOOK_S)

    def _look(self) -> None:
        """Show the devices once all are there; end when it is time to."""
        if self._shown_s is None and all(fleet.addresses for fleet in self._fleets.values()):
            self._shown_s = time.monotonic()
            self._show(self._found())
        for_s = self._wishes.for_s
        if self._shown_s is not None and for_s is not None and time.monotonic() - self._shown_s >= for_s:
            raise _Over

    def _found(self) -> list[Found]:
        found = [Found(n, name, at) for name, fleet in self._fleets.items() for n, at in fleet.addresses.items()]
        for (name, line), endpoint in zip(self._standing.items(), self._server.endpoints, strict=True):
            part_of = "clones" if name in self._file.clones else "replays"
            entry = self._file.clones.get(name) or self._file.replays[name]
            del line
            found.append(Found(name, part_of, Address(endpoint, entry.unit)))
        return found

    def _assembled(self) -> tuple[Scenario | None, Federation | None]:
        if self._file.scenario is None:
            return None, None
        overrides = [*self._file.set, *self._wishes.overrides]
        scenario = load(self._file.scenario, overrides, self._wishes.permissions)
        if scenario.file.step_s > self._wishes.step_s:
            overrides.append(f"step_s={self._wishes.step_s!r}")
        names = self._served(load(self._file.scenario, overrides, self._wishes.permissions))
        overrides += [f'federates.{name}.via="served"' for name in names]
        scenario = load(self._file.scenario, overrides, self._wishes.permissions)
        return scenario, assemble(scenario, self._wishes.permissions)

    def _served(self, scenario: Scenario) -> list[str]:
        """Return the fleets that are served: those of the file, or all that have inverters."""
        ders = [name for name, entry in scenario.federates.items() if entry.kind.is_der]
        models = load(
            scenario.path,
            [*scenario.overrides, *(f'federates.{n}.via="model"' for n in ders)],
            self._wishes.permissions,
        )
        federates = assemble(models, self._wishes.permissions).federates
        able = [name for name in ders if isinstance(federates[name], HasInverters)]
        unknown = [name for name in self._file.fleets if name not in able]
        if unknown:
            problems = [
                Problem(f"/fleets/{n}", f"no fleet of the scenario that has inverters{did_you_mean(n, able)}")
                for n in unknown
            ]
            raise ScenarioError(problems, "emulator file")
        return [*self._file.fleets] or able


def _read(path: Path) -> EmulatorFile:
    """Return an emulator file; a scenario is one that serves all of its fleets."""
    if "federates" in document.read(path):
        return EmulatorFile(scenario=path)
    return read_emulator_file(path)


def _fleets(federation: Federation) -> dict[str, OpenFleet]:
    return {name: each for name, each in federation.federates.items() if isinstance(each, OpenFleet)}
