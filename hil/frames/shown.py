"""What `derloop frames` prints and writes."""

from __future__ import annotations

import fnmatch
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.text import Text

from derloop.errors import DerloopError, did_you_mean
from hil.frames.capture import export
from hil.frames.evidence import Evidence
from hil.frames.exchanges import events
from hil.frames.listing import Chosen, Tally, lines
from hil.frames.maps import Points, maps_of

MOST_SHOWN = 20


def console() -> Console:
    """Return a console that folds nothing: lines are for grep too."""
    return Console(highlight=False, soft_wrap=True)


def show(run: Path, chosen: Chosen) -> None:
    """Print the chosen exchanges of a run, how many there were, and what is known to be missing."""
    evidence, out, tally = Evidence(run), console(), Tally()
    maps = maps_of(events(evidence.entries()))
    if not all(fnmatch.filter([peer.device for peer in maps], pattern) for pattern in chosen.devices):
        _refuse_nobody(chosen.devices, sorted({event.peer.device for event in events(evidence.entries())}))
    _refuse_no_point(chosen.points, [points for points in maps.values() if points is not None])
    for line in lines(events(evidence.entries()), maps, chosen, tally):
        out.print(line)
    out.print(Text(str(tally), "bold"))
    _warn(evidence.doubts())


def _refuse_nobody(patterns: Sequence[str], devices: Sequence[str]) -> None:
    """Raise DerloopError for a pattern that no device of a session has: nothing shown is not nothing said."""
    for pattern in patterns:
        if devices and not fnmatch.filter(devices, pattern):
            raise DerloopError(f"--device {pattern}: there are no frames of it{did_you_mean(pattern, devices)}")


def _refuse_no_point(patterns: Sequence[str], maps: Sequence[Points]) -> None:
    """Raise DerloopError for a pattern that no point has, of the devices whose points are known."""
    names = sorted({name for points in maps for name in points.names})
    for pattern in patterns:
        if not fnmatch.filter(names, pattern):
            hint = did_you_mean(pattern, names) if names else "; no map of a device was read in this run"
            raise DerloopError(f"--point {pattern}: no device of this run has such a point{hint}")


def export_to(run: Path, path: Path) -> None:
    """Write the capture; say how many frames it has, and what is known to be missing. Not over a journal."""
    evidence = Evidence(run)
    if any(path.resolve() == file.path.resolve() for file in evidence.files):
        raise DerloopError(f"{path} is the journal itself; name another file for the capture")
    with path.open("wb") as file:
        count = export(evidence.entries(), file)
    console().print(f"{path}: {count} frames", markup=False)
    _warn(evidence.doubts())


def show_replayed(divergences: Sequence[object], parted: Sequence[object], compared: int) -> None:
    """Print where a replay parts from what was recorded: requests first, as results follow from them."""
    out = console()
    for each in divergences[:MOST_SHOWN]:
        out.print(Text(str(each), "yellow"))
    if len(divergences) > MOST_SHOWN:
        out.print(Text(f"... and {len(divergences) - MOST_SHOWN} more"))
    for each in parted:
        out.print(Text(str(each), "red"))
    asked = f"{len(divergences)} requests part" if divergences else "every request was as it had been recorded"
    out.print(Text(f"{asked}; {compared - len(parted)} of {compared} signals are equal to the bit", "bold"))


def _warn(doubts: Sequence[str]) -> None:
    err = Console(file=sys.stderr, highlight=False, soft_wrap=True)
    for doubt in doubts:
        err.print(Text(f"INCOMPLETE {doubt}", "bold red"))
