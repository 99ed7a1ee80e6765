"""A run against a device with quirks completes or ends named; nothing wrong is measured, no write lost, all safe."""

from __future__ import annotations

import pytest
from awkward import EVERY, AwkwardRun, both

from hil.modbus.endpoint import RtuOverTcp, Timing

PATIENT = Timing(deadline_s=3.0, attempts=12, busy_pause_s=0.005, settle_s=0.05)
HURRIED = Timing(deadline_s=1.2, attempts=8, busy_pause_s=0.005)
STEPS = 45
COMPLETES = {
    *("latency", "silence", "mute", "busy", "split", "late", "late-before-next", "late-after-next", "wrong-unit"),
    *("wrong-transaction", "garbage", "garbage-instead", "one-connection", "slow", "not-implemented"),
}
"""Quirks that a run can live with. The device lies, forgets or moves under the others, which must be said."""


@pytest.mark.parametrize("name", EVERY)
def test_a_run_with_one_quirk_ends_well_or_named(name: str) -> None:
    told = AwkwardRun({**EVERY[name], "seed": 3}, PATIENT).run(STEPS)
    assert told.wrong == []
    assert told.ended == "" or "'bat_1'" in told.ended
    if name in COMPLETES:
        assert (told.steps, told.ended) == (STEPS, "")


def test_a_device_that_keeps_restarting_is_commanded_again_or_let_go_of() -> None:
    told = AwkwardRun({**EVERY["reboot-for-a-while"], "seed": 3}, PATIENT).run(STEPS)
    assert told.wrong == []
    assert told.retries > 0


@pytest.mark.parametrize("name", ["late-before-next", "late-after-next", "garbage", "wrong-unit", "split", "mute"])
def test_a_run_over_rtu_with_a_quirk_ends_well(name: str) -> None:
    told = AwkwardRun({**EVERY[name], "seed": 5}, PATIENT, RtuOverTcp(port=0)).run(30)
    assert (told.wrong, told.steps, told.ended) == ([], 30, "")


def test_a_quirk_meets_the_same_requests_in_every_run() -> None:
    def polled() -> tuple[list[float], int, str]:
        timing = PATIENT.model_copy(update={"deadline_s": 60.0})  # no busy machine makes a request more
        told = AwkwardRun({"busy": 0.1, "forgets": 0.05, "seed": 11}, timing).run(30)
        return told.polled, told.retries, told.ended

    first = polled()
    assert first[1] > 0
    assert first == polled()


PAIRED = [
    name
    for name in EVERY
    if name not in ("late-after-next", "garbage-instead", "reboot", "stuck-setpoint", "moving-map-a-little")
]
"""One of each sort."""


@pytest.mark.long(about_s=40)
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("one", PAIRED[:-1])
def test_runs_with_each_pair_of_quirks_end_well_or_named(one: str) -> None:
    steps = []
    for other in PAIRED[PAIRED.index(one) + 1 :]:
        told = AwkwardRun({**both(one, other), "seed": 7}, HURRIED).run(500)
        assert (other, told.wrong) == (other, [])
        assert told.steps == 500 or "'bat_1'" in told.ended
        steps += [told.steps] if {one, other} <= COMPLETES else []
    assert len(steps) < 3 or max(steps) == 500
