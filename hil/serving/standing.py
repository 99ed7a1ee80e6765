"""What an emulator file serves beside the fleets of a scenario: copies of devices, and recorded sessions."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from derloop.errors import Problem, ScenarioError
from hil.inverter.mapped import read_register_map
from hil.serving.clone import clone, with_measured
from hil.serving.device import awkward
from hil.serving.file import CloneEntry, EmulatorFile, ReplayEntry
from hil.serving.recorded import AsRecorded, recorded
from hil.serving.responder import Units
from hil.serving.scan_file import read_scan
from hil.serving.server import Line, line
from hil.serving.watched import watching

OURS = ("quirks", "clone", "replay")
"""What errors call the parts of an emulator file."""


def standing(file: EmulatorFile, source: str = "emulator file") -> dict[str, Line]:
    """Return the lines of copies and recorded sessions, by name.

    Raises ScenarioError where one cannot be had; `source` is what errors call the file.
    """
    clones = {name: _clone(name, entry, source) for name, entry in file.clones.items()}
    return {**clones, **{name: _replay(name, entry, source) for name, entry in file.replays.items()}}


def _clone(name: str, entry: CloneEntry, source: str) -> Line:
    scan = read_scan(entry.scan)
    quirks = with_measured(entry.quirks, scan.behaviour) if entry.behaves else entry.quirks
    hardware = clone(name, scan)
    if entry.speaks is not None:
        with _placed(source, f"/clones/{name}"):
            hardware = watching(hardware, read_register_map(entry.speaks), entry.heartbeat_s)
    with _placed(source, f"/clones/{name}/quirks"):
        device = awkward(hardware, quirks)
    return line(entry.listen, {entry.unit: device}, entry.roles, takes_time=entry.takes_time)


@contextmanager
def _placed(source: str, pointer: str) -> Iterator[None]:
    """Say of what is wrong in which file it stands, and where."""
    try:
        yield
    except ScenarioError as wrong:
        if wrong.source not in OURS:  # another file's
            raise
        placed = [Problem(pointer + each.pointer, each.what) for each in wrong.problems]
        raise ScenarioError(placed, source) from wrong


def _replay(name: str, entry: ReplayEntry, source: str) -> Line:
    with _placed(source, f"/replays/{name}"):
        session = recorded(entry.run, entry.device)
    units = Units({entry.unit: session}, None)
    return Line(entry.listen, units, partial(AsRecorded, source=session), roles=entry.roles, takes_time=False)
