"""`derloop run` in real time: what it says and keeps, in one process and in many."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from real_runs import PLUGIN, counters, rows_on_disk, started

import derloop
from derloop import plugins
from derloop.contract import FloatArray
from derloop.errors import ScenarioError
from derloop.report.pace import kept_time
from derloop.result import Result
from derloop.results.compare import compare
from derloop.results.store import RunFolder

APART = ("--placement", "apart")


@pytest.fixture(autouse=True)
def kind_counter(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let this process, and those that it starts, have the kind `counter`, for the time of a test."""
    monkeypatch.syspath_prepend(str(PLUGIN))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(PLUGIN), os.environ.get("PYTHONPATH")])))
    plugins._offered.cache_clear()
    yield
    plugins._offered.cache_clear()


def ran(folder: Path, scenario: dict[str, Any], *, report: bool = False, **options: Any) -> Result:
    folder.mkdir(exist_ok=True)
    (folder / "scenario.json").write_text(json.dumps(scenario))
    options = {"engine": None if "placement" in options else "local", **options}
    return derloop.run(folder / "scenario.json", out=folder / "out", report=report, **options)


def real_time(duration_s: float = 8, pacing: dict[str, Any] | None = None, **federates: Any) -> dict[str, Any]:
    scenario = counters(duration_s, **(federates or {"a": {}, "b": {"reads": "a"}, "c": {"reads": "b"}}))
    return {**scenario, "pacing": {"mode": "real-time", "speed": 20, **(pacing or {})}}


def equipment(slow_s: float = 0.0, **pacing: Any) -> dict[str, Any]:
    """Return a scenario in which `device` lives in wall-clock time, is slow at 1 s of 4 s, and is read by `c`.

    `a` and its check have nothing to do with it.
    """
    federates = {"a": {}, "device": {"reads": "c", "paced": True, "slow_s": slow_s, "slow_at_s": [1]}}
    scenario = counters(4, **federates, c={"reads": "device"})
    check = {"kind": "stays-within", "min": 0, "max": 1000}
    checks = [{**check, "signal": f"{name}.count", "name": name} for name in ("a", "c")]
    checks.append({**check, "name": "before", "signal": "c.count", "to_s": 1})
    return {**scenario, "pacing": pacing, "checks": checks}


def late_s(folder: RunFolder, federate: str) -> FloatArray:
    """Return how late each turn of `federate` began and ended, (instants, 2)."""
    return folder.read(f"pace@{federate}.late_s")[1]


def verdicts(result: Result) -> dict[str, tuple[str, str]]:
    """Return outcome and text of each check."""
    return {v.check: (v.outcome, v.text) for v in result.verdicts}


def test_processes_in_real_time_have_one_epoch_and_give_what_they_give_at_any_pace(tmp_path: Path) -> None:
    federates = {"a": {"slow_s": 0.02}, "b": {"reads": "a", "arrival": "now"}, "c": {"reads": "b"}}
    reference = ran(tmp_path / "quick", counters(8, **federates)).folder
    found = ran(tmp_path / "paced", real_time(**federates), placement="apart").folder
    assert compare(reference, found).same
    assert found.run["wall_s"] >= 7 / 20
    assert all((late_s(found, federate) >= 0).all() for federate in "abc")
    assert (late_s(found, "b")[:, 0] >= late_s(found, "a")[:, 1]).all(), "what reads `a` begins when `a` has ended"


def test_the_run_says_how_it_kept_time(tmp_path: Path) -> None:
    result = ran(tmp_path, equipment(), report=True)
    folder, timing = result.folder, result.folder.run["timing"]
    device, late = timing["federates"]["device"], late_s(result.folder, "device")[:, 1]
    assert result.status == 0
    assert timing["instants"] == 4
    assert [*device["step_s"]] == ["p50", "p95", "p99", "max", "max_at_ns"]
    assert device["age_s"]["max"] == 0.001
    delay_s = 0.001 + 2 + late[2:] - late[:-2]
    assert device["delay_s"]["max"] == pytest.approx(delay_s.max(), abs=1e-9), "two wires are delayed by 1 s each"
    assert timing["federates"]["a"]["delay_s"] is None
    assert timing["end_s"]["max"] == pytest.approx(max(late_s(folder, f)[:, 1].max() for f in ("a", "device", "c")))
    labels = {figure.label for figure in result.summary}
    assert {"missed deadlines", "age of what device measured", "delay of the loop through device"} <= labels
    assert "How it kept time" in (folder.path / "report.html").read_text()


def test_a_run_that_is_not_paced_has_nothing_of_the_clock(tmp_path: Path) -> None:
    folder = ran(tmp_path, counters(8, a={})).folder
    assert folder.select("pace@*") == ()
    assert folder.run["timing"] is None
    assert kept_time(folder.run) is None


def test_what_rests_on_a_late_instant_is_inconclusive(tmp_path: Path) -> None:
    result = ran(tmp_path, equipment(slow_s=1.2))
    found = verdicts(result)
    assert result.status == 3
    assert found["a"][0] == "PASS", "nothing leads from the device to it"
    assert found["before"][0] == "PASS", "its window ends before"
    assert found["c"][0] == "INCONCLUSIVE"
    assert found["c"][1].startswith("device at 00:00:01: ended up to 1.")
    assert "after its instant was due, 1 s are allowed. With that: all values are within 0 to 1000;" in found["c"][1]
    assert any("not in time: 1 of 4 instants ended too late" in complaint for complaint in result.complaints)
    assert any("the longest step was of 'device', 1." in complaint for complaint in result.complaints)


def test_what_rests_on_old_measurements_is_inconclusive(tmp_path: Path) -> None:
    found = verdicts(ran(tmp_path, equipment(max_age_s=0.0005)))
    text = "device from 00:00:00 to 00:00:03: measurements up to 0.001 s (at 'n0') old, max_age_s is 0.0005"
    assert found["c"][0] == "INCONCLUSIVE"
    assert found["c"][1].startswith(text)
    assert found["a"][0] == "PASS"


def test_what_rests_on_skipped_instants_is_inconclusive_unless_their_age_is_allowed(tmp_path: Path) -> None:
    result = ran(tmp_path / "any", equipment(slow_s=2.2, overrun="skip", late_s=30))
    assert result["pace@device.skipped"][:, 0].tolist() == [0, 0, 1, 0]
    assert verdicts(result)["c"][1].startswith("device at 00:00:02: missed and skipped 1 of its instants")
    assert result.status == 3
    aged = ran(tmp_path / "aged", equipment(slow_s=2.2, overrun="skip", late_s=30, max_age_s=30))
    assert aged["device.age_s"][2, 0] > 0.001
    assert aged.status == 0


def test_processes_that_must_be_in_time_end_by_name(tmp_path: Path) -> None:
    result = ran(tmp_path, equipment(slow_s=1.2, overrun="abort"), placement="apart")
    assert result.status == 3
    assert result.failure.startswith("federate 'device' at 1 s: not in time: device ended 1.")


@pytest.mark.parametrize("placement", [(), APART], ids=["together", "apart"])
def test_an_interruption_during_a_wait_ends_the_run(tmp_path: Path, placement: tuple[str, ...]) -> None:
    with started(tmp_path, real_time(pacing={"speed": 0.001}), *placement, "--no-report") as run:
        run.wait_until(lambda: rows_on_disk(run.out, "a") == [0], "nothing was written of the first instant")
        took_s = run.ended_after(run.interrupt())
        print(f"seconds from the interruption to the end: {took_s:.2f}")
        assert run.process.returncode == 130, run.said()
        assert took_s < 30, "the next instant is due 1000 s later"
        assert len(run.results.read("a.count")[0]) == 1
        run.assert_nothing_left()


@pytest.mark.parametrize(
    ("pacing", "problem"),
    [
        ({"mode": "off"}, "/pacing/mode: 'off', but 'device' lives in wall-clock time; possible are 'auto' and"),
        ({"speed": 2}, "/pacing/speed: 2, but 'device' lives in wall-clock time, of which a second is one: it must be"),
        ({"overrun": "stop"}, "/pacing/overrun"),
        ({"late_s": 0}, "/pacing/late_s"),
    ],
)
def test_a_pace_that_equipment_cannot_have_is_refused(tmp_path: Path, pacing: dict[str, Any], problem: str) -> None:
    with pytest.raises(ScenarioError) as refused:
        ran(tmp_path, equipment(**pacing))
    assert problem in str(refused.value)


def test_how_well_time_was_kept_can_be_checked(tmp_path: Path) -> None:
    scenario = real_time()
    scenario["checks"] = [{"kind": "stays-within", "signal": "pace@*.late_s", "max": 60, "name": "late"}]
    assert verdicts(ran(tmp_path, scenario))["late"][0] == "PASS"
    scenario["checks"][0]["max"] = 0
    assert verdicts(ran(tmp_path / "never", scenario))["late"][0] == "FAIL"


@pytest.mark.long
@pytest.mark.timeout(240)
@pytest.mark.parametrize("placement", ["together", "apart"])
def test_steps_of_half_a_minute_are_waited_for(tmp_path: Path, placement: str) -> None:
    """HELICS takes whoever is silent for 24 s for lost; a federate's deadline is shorter than its wait."""
    scenario = {**real_time(60, {"speed": 1}), "step_s": 30, "deadlines": {"join_s": 60, "step_s": 10}}
    result = ran(tmp_path, scenario, placement=placement)
    assert result.status == 0, result.failure
    assert [*np.diff(result.folder.read("c.count")[0])] == [30 * 10**9]
    assert result.folder.run["wall_s"] >= 30
