"""Registers without a wire: looked at once whether something is left open."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from left_open import nothing_more_open


@pytest.fixture(autouse=True, scope="module")
def nothing_is_left_open() -> Iterator[None]:
    with nothing_more_open():
        yield
