"""A sweep that has ended."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from derloop.errors import DerloopError
from derloop.sweep.outcomes import Row
from derloop.sweep.plan import Plan


@dataclass(frozen=True, slots=True)
class Swept:
    """A sweep that has ended."""

    plan: Plan
    folder: Path
    rows: list[Row]
    repeated: int
    """How many runs were done now; the others were there."""
    stale: int
    """How many runs below its folder are of an earlier form of it."""
    is_interrupted: bool = False


class NotWritten(DerloopError):
    """The runs have ended, and their table cannot be written: the disk is full. `swept` is what came of them."""

    def __init__(self, swept: Swept, why: str) -> None:
        self.swept = swept
        super().__init__(why)
