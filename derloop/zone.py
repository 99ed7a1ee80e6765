"""Time zones by their names in the IANA database."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Annotated
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from pydantic import AfterValidator, Field


def _known(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        alike = get_close_matches(name, sorted(available_timezones()), n=1) or ["America/Los_Angeles"]
        raise ValueError(f"must be the name of a time zone in the IANA database, such as {alike[0]!r}") from error
    return name


ZoneName = Annotated[str, Field(min_length=1, max_length=64), AfterValidator(_known)]
"""Type of a setting that is the name of a time zone."""
