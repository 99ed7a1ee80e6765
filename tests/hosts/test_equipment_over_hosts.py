"""Equipment that stands at a host, and is commanded by a run on another machine: released whoever is killed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from bench_kills import LEASE_S, PATIENCE_S, SWITCHES, Seen, Site, ended, kill
from sockets import free_ports

from derloop.results.store import RunFolder

pytestmark = [pytest.mark.long(about_s=25), pytest.mark.timeout(600)]
SLACK_S = 0.5
"""A lease runs out at a device's own pace, and is looked at from outside."""


@contextmanager
def lab(folder: Path) -> Iterator[tuple[Site, Seen]]:
    """Yield devices that are served, and a look at them."""
    site = Site(folder / "lab", free_ports(2))
    site.folder.mkdir()
    with site.devices(), site.seen() as seen:
        yield site, seen


def wait_until_commanded(seen: Seen) -> None:
    until = time.monotonic() + PATIENCE_S
    while not all(any(held[switch] for switch in SWITCHES) for held in seen.values()):
        assert time.monotonic() < until, "nobody commands the devices"
        time.sleep(0.05)


def test_equipment_of_a_host_is_commanded_from_another_machine_and_given_back(tmp_path: Path) -> None:
    with lab(tmp_path) as (site, seen):
        before = seen.values()
        with site.spread("--set", "duration_s=10") as (run, host):
            wait_until_commanded(seen)
            said = ended(run), ended(host)
        assert [status for status, _ in said] == [0, 0], said
        assert (seen.values(), seen.records) == (before, [])
    folder = RunFolder(site.folder / "out")
    assert folder.run["outcome"] == "completed"
    assert folder.read("storage.age_s")[1].max() < 10.0, "it was measured while it was commanded"


def test_a_host_that_loses_its_run_gives_its_equipment_back(tmp_path: Path) -> None:
    with lab(tmp_path) as (site, seen):
        before = seen.values()
        with site.spread() as (run, host):
            wait_until_commanded(seen)
            kill(run)
            status, said = ended(host)
        assert (status, "host 'lab' has lost the run: its connection ended" in " ".join(said.split())) == (3, True), (
            said
        )
        assert (seen.values(), seen.records) == (before, [])


def test_equipment_of_a_host_that_is_killed_is_safe_when_its_lease_has_run_out(tmp_path: Path) -> None:
    with lab(tmp_path) as (site, seen):
        before = seen.values()
        with site.spread() as (run, host):
            wait_until_commanded(seen)
            since_s = kill(host)
            status, said = ended(run)
        assert (status, "FAILED host 'lab' is lost: its connection ended" in " ".join(said.split())) == (3, True), said
        time.sleep(max(since_s + LEASE_S + SLACK_S - time.monotonic(), 0.0))
        assert [name for held in seen.values() for name in SWITCHES if held[name]] == []
        seen.leave_safe()
        assert (seen.values(), seen.records) == (before, [])
