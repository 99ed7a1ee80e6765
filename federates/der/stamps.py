"""Timestamps of ISO 8601 that mean one instant: with an offset from UTC, or of a clock whose time zone is known.

Where rows go twice through an hour that such a clock showed twice, their order says which one each means.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import groupby, pairwise
from zoneinfo import ZoneInfo

import numpy as np

from derloop.contract import FloatArray

ONCE = "the rows do not go through that hour twice, one after the other"


class StampError(ValueError):
    """The timestamp of a row does not say which instant it means."""

    def __init__(self, row: int, what: str) -> None:
        self.row = row
        super().__init__(what)


def seconds_between(start: datetime, texts: Sequence[str], zone: ZoneInfo | None) -> FloatArray:
    """Return when each timestamp (rows,) is, s after `start`. Raises StampError."""
    since, texts = start.astimezone(UTC), [text.strip() for text in texts]
    moments = [_moment(row, text) for row, text in enumerate(texts)]
    instants = [_instant(row, texts[row], moment, zone) for row, moment in enumerate(moments)]
    twice = [row for row, instant in enumerate(instants) if instant is None]
    told = _told_by_order(moments, twice, zone) if zone else {}
    for row in twice:
        if zone and row not in told:
            what = f"{texts[row]!r} was shown twice by clocks of {zone.key}, and {ONCE}"
            raise StampError(row, f"{what}; allowed is {_ways(moments[row], zone)}")
    return np.array([((instant or told[row]) - since).total_seconds() for row, instant in enumerate(instants)])


def _moment(row: int, text: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError as error:
        raise StampError(row, f"{text!r} is no timestamp; allowed is ISO 8601: 2025-07-15T12:00:00-07:00") from error


def _told_by_order(moments: Sequence[datetime], twice: Sequence[int], zone: ZoneInfo) -> dict[int, datetime]:
    """Return when rows of hours that were shown `twice` are, by row, where they go through one twice and fall once."""
    told: dict[int, datetime] = {}
    for _, group in groupby(enumerate(twice), lambda pair: pair[1] - pair[0]):  # rows that follow each other
        rows = [row for _, row in group]
        falls = [row for before, row in pairwise(rows) if moments[row] <= moments[before]]
        if len(falls) == 1:
            again = {row: moments[row].replace(tzinfo=zone, fold=int(row >= falls[0])) for row in rows}
            told |= {row: moment.astimezone(UTC) for row, moment in again.items()}
    return told


def _instant(row: int, text: str, moment: datetime, zone: ZoneInfo | None) -> datetime | None:
    """Return when a row is; None where the clock of `zone` showed it twice."""
    if moment.tzinfo is None:
        return _shown(row, text, moment, zone)
    if zone and moment.astimezone(zone).utcoffset() != moment.utcoffset():
        there = moment.astimezone(zone).isoformat()
        raise StampError(row, f"{text!r} has another offset than {zone.key} had then; allowed is {there}")
    return moment.astimezone(UTC)


def _shown(row: int, text: str, moment: datetime, zone: ZoneInfo | None) -> datetime | None:
    if zone is None:
        what = "says neither an offset from UTC nor a time zone; allowed is an offset, "
        raise StampError(row, f"{text!r} {what}2025-07-15T12:00:00-07:00 or ...Z, or the setting time_zone")
    first, second = moment.replace(tzinfo=zone), moment.replace(tzinfo=zone, fold=1)
    if first.utcoffset() == second.utcoffset():
        return first.astimezone(UTC)
    if _gap(first, second):
        near = _ways(moment, zone)
        raise StampError(row, f"{text!r} was never shown by clocks of {zone.key}; near it are {near}")
    return None


def _ways(moment: datetime, zone: ZoneInfo) -> str:
    """Return the two instants that a clock may mean on the day on which it is set."""
    both = (moment.replace(tzinfo=zone, fold=fold) for fold in (0, 1))
    return " or ".join(at.astimezone(UTC).astimezone(zone).isoformat() for at in both)


def _gap(first: datetime, second: datetime) -> bool:
    """Return whether the clock jumped over it: then what comes first has the smaller offset."""
    return (second.utcoffset() or timedelta()) > (first.utcoffset() or timedelta())
