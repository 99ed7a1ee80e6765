"""Courses: one quantity over the run, constant or from a column of a profile.

In a scenario a course is a number, `12.5`, or `{"file": "profiles/day.csv", "column": "outside_c"}`.
"""

from __future__ import annotations

from typing import Annotated, Any, NamedTuple

import numpy as np
from pydantic import Discriminator, Tag

from derloop.kind import Context, PlaceError
from federates.der.clock import Clock
from federates.der.profile import Profile, ProfileColumn, ProfileError, read_profile

Path = tuple[str | int, ...]


def _written(value: Any) -> str:
    return "profile" if isinstance(value, dict | ProfileColumn) else "number"


Course = Annotated[
    Annotated[float, Tag("number")] | Annotated[ProfileColumn, Tag("profile")],
    Discriminator(_written),
]
"""Type of a setting that is a course."""


class Allowed(NamedTuple):
    """What the values of a course may be."""

    least: float
    most: float
    unit: str


def read_course(course: Course, path: Path, allowed: Allowed, context: Context, step_ns: int) -> Profile:
    """Return the course that stands at `path` of the settings, proven to have an allowed value at every step.

    Raises PlaceError, which leads to the setting that is wrong.
    """
    if not isinstance(course, ProfileColumn):
        _check(np.array([course]), "", path, allowed)
        return Profile(np.zeros(1), np.array([course]), Clock(0.0))
    profile = read_column(course, path, context, step_ns)
    _check(profile.values, f"profile {course.file!r}, column {course.column!r}: ", (*path, "column"), allowed)
    return profile


def read_column(column: ProfileColumn, path: Path, context: Context, step_ns: int) -> Profile:
    """Return the profile that stands at `path` of the settings; a PlaceError leads to what is wrong there."""
    try:
        return read_profile(column, context, step_ns)
    except ProfileError as error:
        raise PlaceError([((*path, *error.path), str(error))]) from error


def _check(values: np.ndarray[Any, np.dtype[np.float64]], where: str, path: Path, allowed: Allowed) -> None:
    outside = values[(values < allowed.least) | (values > allowed.most)]
    if outside.size:
        what = f"{where}{outside[0]:g} is not allowed: {allowed.least:g} to {allowed.most:g} {allowed.unit}"
        raise PlaceError([(path, what)])
