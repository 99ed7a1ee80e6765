"""What `derloop frames` prints and writes."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.text import Text

from hil.frames.capture import export
from hil.frames.evidence import Evidence
from hil.frames.exchanges import events
from hil.frames.listing import Chosen, Tally, lines
from hil.frames.maps import maps_of

MOST_SHOWN = 20


def console() -> Console:
    """Return a console that folds nothing: lines are for grep too."""
    return Console(highlight=False, soft_wrap=True)


def show(run: Path, chosen: Chosen) -> None:
    """Print the chosen exchanges of a run, how many there were, and what is known to be missing."""
    evidence, out, tally = Evidence(run), console(), Tally()
    maps = maps_of(events(evidence.entries()))
    for line in lines(events(evidence.entries()), maps, chosen, tally):
        out.print(line)
    out.print(Text(str(tally), "bold"))
    _warn(evidence.doubts())


def export_to(run: Path, path: Path) -> None:
    """Write the capture; say how many frames it has, and what is known to be missing."""
    evidence = Evidence(run)
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
