"""Tests never judge times: an example may take as long as a busy machine needs. What takes longest begins first."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import settings

settings.register_profile("derloop", deadline=None)
settings.load_profile("derloop")

WAITING = ("tests/system/test_bench_kills.py", "tests/hil/serving/test_quirks_in_runs.py")
"""Leases and deadlines: long tests that wait for most of their time."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put long tests that wait first, then the longest, so that no worker is left alone with one of them at the end."""
    items.sort(key=lambda item: (about_s(item) > 0.0 and item.nodeid.startswith(WAITING), about_s(item)), reverse=True)


def about_s(item: pytest.Item) -> float:
    """Return how long a test takes, as its mark says: `long(about_s=600)`."""
    mark = item.get_closest_marker("long")
    return float(mark.kwargs.get("about_s", 0.0)) if mark else 0.0


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """With `--dist loadgroup` one worker has all that waits, beside the others' work; the rest is given out one by one.

    Under pytest 9.2 the mark `xdist_group` of xdist 3.8 groups nothing.
    """
    if config.getoption("dist") != "loadgroup":
        return None
    from xdist.scheduler import LoadScopeScheduling

    class WaitingTogether(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return "waiting" if nodeid.startswith(WAITING) else nodeid

    return WaitingTogether(config, log)
