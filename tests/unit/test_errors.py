"""What failed is told in words for who reads it."""

from __future__ import annotations

import pytest

from derloop.errors import DerloopError, Interlocked, cause


class OfSomebodyElse(DerloopError):
    """An error of a package of others, written for users."""


class Held(Interlocked):
    """One of ours with more to it."""


@pytest.mark.parametrize(
    ("raised", "told"),
    [
        (Interlocked("inv-1", "is held by process 7"), "device 'inv-1': is held by process 7"),
        (Held("inv-1", "is held by process 7"), "device 'inv-1': is held by process 7"),
        (OfSomebodyElse("no sun"), "no sun"),
        (ValueError("no sun"), "ValueError: no sun"),
    ],
)
def test_an_error_that_was_written_for_users_is_told_without_its_kind(raised: Exception, told: str) -> None:
    assert cause(raised) == told
