"""`"via": "emulator"`: a fleet's model behind Modbus servers, in lock-step with simulated time.

What is exchanged in a step is in `hil.fleet.lockstep`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from derloop.contract import Cautious, Interface, Values
from derloop.kind import Context, Terminal
from hil.fleet.model import InverterModel, Takes, connections, told_interface

if TYPE_CHECKING:
    from hil.fleet.lockstep import Lockstep
    from hil.serving.file import FleetEntry


class EmulatedFleet:
    """n devices: each a model behind a Modbus server of its own, and a client that takes it for equipment."""

    def __init__(
        self, model: InverterModel, terminals: tuple[Terminal, ...], context: Context, entry: FleetEntry
    ) -> None:
        self._model, self._terminals, self._entry, self._name = model, terminals, entry, context.name
        self._connections = connections(terminals, context)
        self._interface = told_interface(model.interface)
        self._takes = Takes(model, terminals)
        self._folder: Path | None = None
        self._lockstep: Lockstep | None = None

    @property
    def interface(self) -> Interface:
        return self._interface

    @property
    def cautions(self) -> Sequence[str]:
        """What must be known of the model is so of its devices."""
        return self._model.cautions if isinstance(self._model, Cautious) else ()

    def keep_in(self, folder: Path) -> None:
        """Keep every frame in the run's folder."""
        self._folder = folder

    def start(self) -> Values:
        """Start the servers, discover the devices, and give them their curve over Modbus."""
        from hil.fleet.behind_modbus import BehindModbus  # what speaks Modbus, not before a run begins
        from hil.fleet.lockstep import Lockstep
        from hil.fleet.registered import RegisteredFleet
        from hil.frames.journal import journal_path

        labels = [terminal.label for terminal in self._terminals]
        built = self._entry.profiles_for(labels), self._entry.units(len(labels))
        fleet = RegisteredFleet(self._model, self._terminals, self._connections, *built)
        frames = None if self._folder is None else journal_path(self._folder, self._name)
        self._lockstep = Lockstep(BehindModbus(fleet, self._entry), self._model, labels, self._entry.timing, frames)
        return self._lockstep.start()

    def step(self, now_ns: int, inputs: Values) -> Values:
        assert self._lockstep
        return self._lockstep.step(now_ns, self._takes.within(inputs))

    def stop(self) -> None:
        if self._lockstep:
            self._lockstep.stop()
        self._model.stop()

    def statistics(self) -> Mapping[str, float]:
        """Return what went over the wire."""
        return self._lockstep.statistics() if self._lockstep else {}
