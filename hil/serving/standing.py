"""What an emulator file serves beside the fleets of a scenario: copies of devices, and recorded sessions."""

from __future__ import annotations

from functools import partial

from hil.inverter.mapped import read_register_map
from hil.serving.clone import clone, with_measured
from hil.serving.device import awkward
from hil.serving.file import CloneEntry, EmulatorFile, ReplayEntry
from hil.serving.recorded import AsRecorded, recorded
from hil.serving.responder import Units
from hil.serving.scan_file import read_scan
from hil.serving.server import Line, line
from hil.serving.watched import watching


def standing(file: EmulatorFile) -> dict[str, Line]:
    """Return the lines of copies and recorded sessions, by name. Raises ScenarioError where one cannot be had."""
    clones = {name: _clone(name, entry) for name, entry in file.clones.items()}
    return {**clones, **{name: _replay(entry) for name, entry in file.replays.items()}}


def _clone(name: str, entry: CloneEntry) -> Line:
    scan = read_scan(entry.scan)
    quirks = with_measured(entry.quirks, scan.behaviour) if entry.behaves else entry.quirks
    hardware = clone(name, scan)
    if entry.speaks is not None:
        hardware = watching(hardware, read_register_map(entry.speaks), entry.heartbeat_s)
    device = awkward(hardware, quirks)
    return line(entry.listen, {entry.unit: device}, entry.roles, takes_time=entry.takes_time)


def _replay(entry: ReplayEntry) -> Line:
    source = recorded(entry.run, entry.device)
    units = Units({entry.unit: source}, None)
    return Line(entry.listen, units, partial(AsRecorded, source=source), roles=entry.roles, takes_time=False)
