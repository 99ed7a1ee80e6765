"""Tests never judge times: an example may take as long as a busy machine needs. What takes longest begins first."""

from __future__ import annotations

import pytest
from hypothesis import settings

settings.register_profile("derloop", deadline=None)
settings.load_profile("derloop")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put those that wait first, then the longest, so that no worker is left alone with one of them at the end.

    What mostly waits is one group (`xdist_group("waits")`): a worker has it while the others need the cores.
    """
    items.sort(key=lambda item: (item.get_closest_marker("xdist_group") is not None, about_s(item)), reverse=True)


def about_s(item: pytest.Item) -> float:
    """Return how long a test takes, as its mark says: `long(about_s=600)`."""
    mark = item.get_closest_marker("long")
    return float(mark.kwargs.get("about_s", 0.0)) if mark else 0.0
