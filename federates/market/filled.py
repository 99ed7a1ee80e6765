"""Lists that hold something.

pydantic's own `min_length` also complains where an element is wrong, as if none were left.
"""

from __future__ import annotations

from typing import Annotated, TypeVar

from pydantic import AfterValidator, Field

T = TypeVar("T")


def _not_empty(value: tuple[T, ...]) -> tuple[T, ...]:
    if not value:
        raise ValueError("needs one or more")
    return value


Filled = Annotated[tuple[T, ...], AfterValidator(_not_empty), Field(json_schema_extra={"minItems": 1})]
"""Type of a setting that is a list with one element or more."""
