"""Runs, devices and networks that are killed at random moments: every device is safe once its lease has run out.

The run is killed, or the devices are, or the network between them goes down. What the run found is on disk then, and
is restored from there; what it recorded is there until the last flush. Where nothing of a run is looked at but its
devices, `tests/support/bench_driver.py` stands for it, which does with them what a fleet does and starts faster.
"""

from __future__ import annotations

import os
import random
import secrets
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from bench_kills import LEASE_S, PATIENCE_S, SWITCHES, Seen, Site, ended, kill, wait_for
from sockets import free_ports

from derloop.results.store import RunFolder
from hil.frames.evidence import Evidence

pytestmark = [pytest.mark.long(about_s=30), pytest.mark.timeout(1500)]

SLACK_S = 0.5
"""A lease runs out at a device's own pace, and is looked at from outside."""
ENDS_WITHIN_S = 15.0
"""A run notices within a deadline (4 s), and tries to restore for 1 s; the rest is a slow machine."""
AT_ONCE = 2


def assert_safe(seen: Seen) -> None:
    """Every function that a run commands is off, as it was before: that is the safe state of these devices."""
    switched_on = [name for held in seen.values() for name in SWITCHES if held[name]]
    assert switched_on == []


def assert_restored(seen: Seen, before: list[dict[str, object]]) -> None:
    """What a run had found is restored from its records, to the last register."""
    seen.leave_safe()
    assert seen.values() == before
    assert seen.records == []


def let_leases_run_out(since_s: float) -> None:
    time.sleep(max(since_s + LEASE_S + SLACK_S - time.monotonic(), 0.0))


def many(folder: Path, count: int, trials: Callable[[Site, range], Counter[str]]) -> Counter[str]:
    """Return the outcomes of trials that go on at the same time, each with devices of its own."""
    sites = []
    for number in range(AT_ONCE):
        sites.append(Site(folder / str(number), free_ports(2)))
        sites[-1].folder.mkdir()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        parts = pool.map(trials, sites, [range(number, count, AT_ONCE) for number in range(AT_ONCE)])
        return sum(parts, Counter())


@pytest.mark.long(about_s=105)
def test_after_forty_eight_kills_of_the_run_every_device_is_safe_and_restored(tmp_path: Path) -> None:
    def trials(site: Site, numbers: range) -> Counter[str]:
        outcomes: Counter[str] = Counter()
        with site.devices(), site.seen() as seen:
            before = seen.values()
            for number in numbers:
                rng = random.Random(number)
                with site.driver() as run:
                    if number % 3:
                        wait_for(run, "commanding")
                    time.sleep(rng.uniform(0.0, 1.0))
                    since_s = kill(run)
                let_leases_run_out(since_s)
                assert_safe(seen)
                outcomes["had taken its devices" if seen.records else "had not begun"] += 1
                assert_restored(seen, before)
        return outcomes

    outcomes = many(tmp_path, 48, trials)
    assert outcomes["had taken its devices"] >= 30, outcomes


def test_after_a_kill_in_the_midst_of_restoring_the_rest_is_restored(tmp_path: Path) -> None:
    def trials(site: Site, numbers: range) -> Counter[str]:
        outcomes: Counter[str] = Counter()
        with site.devices(), site.seen() as seen:
            before = seen.values()
            takes_s = seconds_to_restore(site)
            for number in numbers:
                with site.driver(PATIENCE_S) as run:
                    wait_for(run, "commanding")
                    run.terminate()
                    time.sleep(random.Random(number).uniform(0.0, takes_s))
                    since_s = kill(run)
                let_leases_run_out(since_s)
                assert_safe(seen)
                outcomes[f"{len(seen.records)} records left"] += 1
                assert_restored(seen, before)
        return outcomes

    outcomes = many(tmp_path, 12, trials)
    assert outcomes["2 records left"] + outcomes["1 records left"] >= 2, outcomes


def seconds_to_restore(site: Site) -> float:
    """Return how long a run that is ended, and not killed, has records of what it is to restore."""
    with site.driver(PATIENCE_S) as run, site.seen() as seen:
        wait_for(run, "commanding")
        assert seen.records
        run.terminate()
        since_s = time.monotonic()
        while seen.records:
            assert time.monotonic() - since_s < PATIENCE_S
        took_s = time.monotonic() - since_s
        assert ended(run)[0] == 130
        return took_s


@pytest.mark.long(about_s=110)
def test_after_fifteen_kills_of_the_devices_the_run_ends_named_and_they_are_restored(tmp_path: Path) -> None:
    def trials(site: Site, numbers: range) -> Counter[str]:
        for number in numbers:
            with site.seen() as seen:
                with site.devices() as devices, site.driver() as run:
                    before = seen.values()
                    wait_for(run, "commanding")
                    time.sleep(random.Random(number).uniform(0.0, 1.0))
                    assert_ends_named(run, kill(devices))
                with site.devices():
                    assert_safe(seen)
                    assert len(seen.records) == len(site.ports)
                    assert_restored(seen, before)
        return Counter(ended=len(numbers))

    assert many(tmp_path, 15, trials)["ended"] == 15


@pytest.mark.long(about_s=80)
def test_after_ten_kills_of_derloop_run_devices_are_safe_and_its_recordings_are_there(tmp_path: Path) -> None:
    def trials(site: Site, numbers: range) -> Counter[str]:
        with site.devices(), site.seen() as seen:
            before = seen.values()
            for number in numbers:
                out = site.folder / f"run{number}"
                with site.run(out) as run:
                    wait_until(lambda out=out: len(recorded_s(out)) > 0, run)
                    time.sleep(random.Random(number).uniform(0.0, 1.5))
                    assert run.poll() is None, ended(run)[1]
                    read_before, frames_before = recorded_s(out), frames(out)
                    since_s = kill(run)
                let_leases_run_out(since_s)
                assert_safe(seen)
                assert_recorded(out, read_before, frames_before)
                assert_restored(seen, before)
        return Counter(killed=len(numbers))

    assert many(tmp_path, 10, trials)["killed"] == 10


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_interrupted_derloop_run_restores_its_devices_itself(tmp_path: Path, number: signal.Signals) -> None:
    site = Site(tmp_path, free_ports(2))
    with site.devices(), site.seen() as seen:
        before = seen.values()
        with site.run(tmp_path / "run") as run:
            wait_until(lambda: len(recorded_s(tmp_path / "run")) > 0, run)
            assert [held["704.WSetEna"] for held in seen.values()] == [1, 1]
            run.send_signal(number)
            status, said = ended(run)
        assert (status, seen.values(), seen.records) == (130, before, []), said


def wait_until(holds: Callable[[], bool], run: subprocess.Popen[str]) -> None:
    end_s = time.monotonic() + PATIENCE_S
    while not holds():
        assert run.poll() is None, ended(run)[1]
        assert time.monotonic() < end_s
        time.sleep(0.05)


def recorded_s(out: Path) -> list[float]:
    """Return the instants of what the storage measured that can be read of a run now."""
    if not (out / "series").is_dir():
        return []
    folder = RunFolder(out)
    with suppress(FileNotFoundError):  # the run has just ended: its streams are another kind of file now
        if "storage.p_kw" in [signal.name for signal in folder.signals()]:
            return [t / 1e9 for t in folder.read("storage.p_kw")[0].tolist()]
    return []


def frames(out: Path) -> int:
    """Return how many frames can be read of a run now."""
    return sum(1 for _ in Evidence(out).entries()) if (out / "frames").is_dir() else 0


def assert_recorded(out: Path, instants_s: list[float], frames_before: int) -> None:
    """Nothing that could be read before a kill is lost by it, and there is no gap."""
    found_s = recorded_s(out)
    assert found_s[: len(instants_s)] == instants_s
    assert found_s == pytest.approx([0.2 * index for index in range(len(found_s))])
    assert frames(out) >= frames_before > 0


def assert_ends_named(run: subprocess.Popen[str], since_s: float) -> None:
    """The run ends by itself, soon, with the status of a failure; it says which device, and that it is not restored."""
    status, said = ended(run)
    assert time.monotonic() - since_s < ENDS_WITHIN_S
    assert status == 3, said
    assert "FAILED device 'inv-" in said
    assert "NOT RESTORED device 'inv-" in said
    assert "COULD NOT BE BROUGHT TO WHAT IT HELD BEFORE" in said
    assert "Traceback" not in said


@contextmanager
def network(name: str, number: int) -> Iterator[str]:
    """A network namespace at the other end of a cable; yields its host address. The cable can be pulled with `link`."""
    ours, theirs = f"10.213.{number}.1", f"10.213.{number}.2"
    for command in (
        f"netns add {name}",
        f"link add {name} type veth peer name {name}x netns {name}",
        f"addr add {ours}/30 dev {name}",
        f"link set {name} up",
        f"-n {name} addr add {theirs}/30 dev {name}x",
        f"-n {name} link set {name}x up",
        f"-n {name} link set lo up",
    ):
        subprocess.run(["ip", *command.split()], check=True)
    try:
        yield theirs
    finally:
        subprocess.run(["ip", "netns", "del", name], check=True)


def link(name: str, state: str) -> float:
    """Pull the cable of a network ("down"), or put it in ("up"); return when that was."""
    subprocess.run(["ip", "link", "set", name, state], check=True)
    return time.monotonic()


def may_make_networks() -> bool:
    if os.getuid() != 0 or not shutil.which("ip"):
        return False
    name = f"derloop-may-{os.getpid()}"  # more than one worker may ask
    made = subprocess.run(["ip", "netns", "add", name], check=False, capture_output=True).returncode == 0
    if made:
        subprocess.run(["ip", "netns", "del", name], check=False)
    return made


@pytest.mark.long(about_s=170)
@pytest.mark.skipif(not may_make_networks(), reason="network namespaces need root, and ip of iproute2")
def test_after_twenty_cuts_of_the_network_every_device_is_safe_and_restored_when_it_is_back(tmp_path: Path) -> None:
    name = f"dl{secrets.token_hex(3)}"  # its own: the kernel takes a network of before down in its own time
    with network(name, 1 + secrets.randbelow(250)) as host:
        site = Site(tmp_path, (1502, 1503), host, name)
        with site.devices(), site.seen() as seen:
            before = seen.values()
            for number in range(20):
                with site.driver() as run:
                    wait_for(run, "commanding")
                    time.sleep(random.Random(number).uniform(0.0, 1.0))
                    since_s = link(name, "down")
                    assert_ends_named(run, since_s)
                let_leases_run_out(since_s)
                link(name, "up")
                assert_safe(seen)
                assert len(seen.records) == 2
                assert_restored(seen, before)


@pytest.mark.skipif(not may_make_networks(), reason="network namespaces need root, and ip of iproute2")
def test_a_cable_that_is_back_soon_ends_nothing(tmp_path: Path) -> None:
    name = f"dl{secrets.token_hex(3)}"  # its own: the kernel takes a network of before down in its own time
    with network(name, 1 + secrets.randbelow(250)) as host:
        site = Site(tmp_path, (1502, 1503), host, name)
        with site.devices(), site.seen() as seen:
            before = seen.values()
            with site.driver(restore_s=PATIENCE_S) as run:
                wait_for(run, "commanding")
                link(name, "down")
                time.sleep(0.2)
                link(name, "up")
                time.sleep(1.0)
                run.terminate()
                status, said = ended(run)
            assert (status, seen.values(), seen.records) == (130, before, []), said
