"""Check `frequency`: frequencies stay within a range of IEEE 1547."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from derloop.checks.characteristic import TO_BE_CONFIRMED
from derloop.checks.stays_within import Band, Sustained, judge_band, of_all
from derloop.checks.window import in_unit, read_in
from derloop.verdict import CheckKind, Recorded, Verdict

RANGES = {
    "ieee1547-continuous": (58.8, 61.2, f"IEEE 1547-2018, 6.5.2 {TO_BE_CONFIRMED}, continuous operation"),
    "ieee1547-mandatory": (57.0, 61.8, f"IEEE 1547-2018, 6.5.2 {TO_BE_CONFIRMED}, mandatory operation"),
}
"""Least, largest, source; Hz on a grid of 60 Hz."""


class Frequency(Sustained):
    """Frequencies stay within a range of IEEE 1547."""

    range: Literal["ieee1547-continuous", "ieee1547-mandatory"] = Field(
        "ieee1547-continuous",
        description="ieee1547-continuous: 58.8 to 61.2 Hz. ieee1547-mandatory: 57.0 to 61.8 Hz, for 299 s at a time: "
        "see settle_s. On a grid of 60 Hz; for others use stays-within.",
    )
    signal: str = Field("*.f_hz", min_length=1, max_length=200, description="Glob of federate.port, in Hz.")


def judge(settings: Frequency, recorded: Recorded) -> Verdict:
    """Return whether the frequencies stay within the range. Raises: NothingToJudge."""
    found = read_in(recorded, settings.signal, settings, "Hz")
    low, high, source = RANGES[settings.range]
    return judge_band(KIND.name, found, Band(low, high, "Hz"), settings, source)


KIND = CheckKind(
    name="frequency",
    summary="Frequencies stay within a range of IEEE 1547.",
    settings=Frequency,
    judge=judge,
    misfit=in_unit("Hz"),
    signals=lambda settings: ((("signal",), settings.signal),),
    fails_for_good=of_all,
)
