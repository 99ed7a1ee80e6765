"""Time zones by their names in the IANA database."""

from __future__ import annotations

from typing import Annotated
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from pydantic import AfterValidator, Field

from derloop.errors import did_you_mean


def _known(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        near = did_you_mean(name, sorted(available_timezones()))
        raise ValueError("must be the name of a time zone in the IANA database" + near) from error
    return name


ZoneName = Annotated[str, Field(min_length=1, max_length=64), AfterValidator(_known)]
"""Type of a setting that is the name of a time zone."""
