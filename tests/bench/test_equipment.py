"""What every device of a bench must do before scenarios are run on it. Each is left as it was found."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from hil.bench.file import Bench
from hil.bench.findings import find
from hil.bench.reading import read_points
from hil.bench.session import Session
from hil.bench.watching import Seen, watch
from hil.inverter.commands import Commands, VoltVarCurve
from hil.modbus.thread import LoopThread

pytestmark = pytest.mark.bench
Command = Callable[[Commands, float], Any]
SETTLES_S = 5.0
"""In which a device must have done what it is told."""
CURVE = VoltVarCurve((0.92, 0.98, 1.02, 1.08), (0.44, 0.0, 0.0, -0.44))


def needs(session: Session, meaning: str) -> None:
    if meaning not in session.devices[0].dialect.functions:
        pytest.skip(f"{session.names[0]} takes no {meaning}: {session.devices[0].dialect.ability}")


def held(bench: Bench, device: str) -> dict[str, object]:
    """Return what the device holds at the points that tests write."""
    found = read_points(bench, device, ["*"])
    return {each.point.name: each.value for each in found if each.point.writable and ".Rvrt" not in each.point.name}


def test_it_is_what_the_bench_file_says(bench: Bench, device: str) -> None:
    (found,) = find(bench, [device])
    assert found.problems == ()


def test_it_answers_every_time_and_measures_no_more_than_it_can(bench: Bench, device: str) -> None:
    (found,) = find(bench, [device])
    readings: list[list[Seen]] = []
    watch(bench, [device], 0.5, lambda seen: readings.append([*seen]), rounds=5)
    seen = readings[-1][0]
    assert seen.problem == ""
    assert seen.age_s < 5
    assert abs(seen.values["p_w"]) <= 1.2 * found.rated["p_max_w"]


def test_it_keeps_a_limit_of_its_active_power(session: Session, command: Command) -> None:
    needs(session, "limit_fraction")
    measured = command(Commands(limit_fraction=np.array([0.1])), SETTLES_S)
    assert measured.p_w[0] <= 0.12 * session.plate.p_max_w[0]


def test_it_gives_the_active_power_that_it_is_told(session: Session, command: Command) -> None:
    needs(session, "p_w")
    most_w, can_charge = session.plate.p_max_w[0], session.plate.p_max_charge_w[0] > 0
    measured = command(Commands(p_w=np.array([0.1 * most_w])), SETTLES_S)
    assert measured.p_w[0] <= 0.12 * most_w
    if can_charge:  # what only the sun feeds may have less
        assert measured.p_w[0] == pytest.approx(0.1 * most_w, abs=0.02 * most_w)


def test_it_takes_a_volt_var_curve(session: Session, command: Command) -> None:
    if session.devices[0].dialect.volt_var is None:
        pytest.skip(f"{session.names[0]} has no volt-var curves")
    command(Commands(volt_var=[CURVE]), 0.0)  # verified by reading it back


def test_it_lets_go_when_nobody_commands_it_any_more(session: Session, command: Command, thread: LoopThread) -> None:
    needs(session, "limit_fraction")
    (device,) = session.devices
    lease, function = device.lease, device.dialect.functions["limit_fraction"]
    if lease.kind != "reversion" or lease.seconds > 30:
        pytest.skip(f"its lease, {lease.kind} of {lease.seconds} s, is not waited for")
    command(Commands(limit_fraction=np.array([0.5])), 0.0)
    assert thread.run(device.read([*function.on])) == function.on
    time.sleep(lease.seconds + 2)
    assert thread.run(device.read([*function.off])) == function.off


def test_it_is_left_as_it_was_found(bench: Bench, device: str, request: pytest.FixtureRequest) -> None:
    before = held(bench, device)
    command = request.getfixturevalue("command")
    needs(request.getfixturevalue("session"), "limit_fraction")
    command(Commands(limit_fraction=np.array([0.4])), 0.0)
    thread, session = request.getfixturevalue("thread"), request.getfixturevalue("session")
    thread.run(session.close())
    assert held(bench, device) == before
