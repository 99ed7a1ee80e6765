"""Tests never judge times: an example may take as long as a busy machine needs. What takes longest begins first."""

from __future__ import annotations

import pytest
from hypothesis import settings

settings.register_profile("derloop", deadline=None)
settings.load_profile("derloop")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest of the long tests first, so that no worker is left alone with one of them at the end."""
    items.sort(key=about_s, reverse=True)


def about_s(item: pytest.Item) -> float:
    """Return how long a test takes, as its mark says: `long(about_s=600)`."""
    mark = item.get_closest_marker("long")
    return float(mark.kwargs.get("about_s", 0.0)) if mark else 0.0
