"""Timestamps of ISO 8601 that mean one instant: with an offset from UTC, or of a clock whose time zone is known."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np

from derloop.contract import FloatArray


class StampError(ValueError):
    """The timestamp of a row does not say which instant it means."""

    def __init__(self, row: int, what: str) -> None:
        self.row = row
        super().__init__(what)


def seconds_between(start: datetime, texts: Sequence[str], zone: ZoneInfo | None) -> FloatArray:
    """Return when each timestamp (rows,) is, s after `start`. Raises StampError."""
    since = start.astimezone(UTC)
    return np.array([(_instant(row, text.strip(), zone) - since).total_seconds() for row, text in enumerate(texts)])


def _instant(row: int, text: str, zone: ZoneInfo | None) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise StampError(row, f"{text!r} is no timestamp; allowed is ISO 8601: 2025-07-15T12:00:00-07:00") from error
    if moment.tzinfo is None:
        return _shown(row, text, moment, zone)
    if zone and moment.astimezone(zone).utcoffset() != moment.utcoffset():
        there = moment.astimezone(zone).isoformat()
        raise StampError(row, f"{text!r} has another offset than {zone.key} had then; allowed is {there}")
    return moment.astimezone(UTC)


def _shown(row: int, text: str, moment: datetime, zone: ZoneInfo | None) -> datetime:
    """Return when the clock of `zone` showed this."""
    if zone is None:
        what = "says neither an offset from UTC nor a time zone; allowed is an offset, "
        raise StampError(row, f"{text!r} {what}2025-07-15T12:00:00-07:00 or ...Z, or the setting time_zone")
    first, second = (moment.replace(tzinfo=zone, fold=fold) for fold in (0, 1))
    if first.utcoffset() == second.utcoffset():
        return first.astimezone(UTC)
    ways = " or ".join(at.astimezone(UTC).astimezone(zone).isoformat() for at in (first, second))
    if _gap(first, second):
        raise StampError(row, f"{text!r} was never shown by clocks of {zone.key}; near it are {ways}")
    raise StampError(row, f"{text!r} was shown twice by clocks of {zone.key}; allowed is {ways}")


def _gap(first: datetime, second: datetime) -> bool:
    """Return whether the clock jumped over it: then what comes first has the smaller offset."""
    return (second.utcoffset() or timedelta()) > (first.utcoffset() or timedelta())
