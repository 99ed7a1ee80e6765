"""A run whose delayed coupling hunts says so: event, mark, verdicts, exit status, page; under every engine."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import derloop
from derloop.console import show_result
from derloop.pytest_plugin import _failures
from derloop.result import INCONCLUSIVE, Result

SCENARIOS = Path(__file__).parents[2] / "scenarios"
STEEP = '{"volt_var": {"v_pu": [0.97, 0.99, 1.0, 1.02], "q_pu": [0.44, 0, 0, -0.44], "response_s": 1}}'
ENGINES = {
    "local": ("local", "together"),
    "helics": ("helics", "together"),
    "mosaik": ("mosaik", "together"),
    "apart": ("helics", "apart"),
}


def steep(out: Path, mode: str, engine: str = "local", *overrides: str) -> Result:
    """Twenty rooftops of 150 kVA on IEEE 13, with a curve from none to all within 0.02 pu, which answer in a second."""
    changes = [f"coupling.mode={mode}", "step_s=60", "duration_s=3600", "federates.rooftops.rated_kva=150"]
    changes += [f"federates.rooftops.smart={STEEP}", 'checks=[{"kind": "voltage", "range": "ansi-c84.1-a"}]']
    chosen, placement = ENGINES[engine]
    path = SCENARIOS / "kind_pv.json"
    return derloop.run(path, [*changes, *overrides], engine=chosen, placement=placement, out=out)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_steep_curve_that_hunts_is_named_and_nothing_is_concluded(tmp_path: Path, engine: str) -> None:
    result = steep(tmp_path / "run", "delayed", engine)
    (hunting,) = result.hunting
    assert (hunting.source, hunting.target) == ("grid", "rooftops")
    assert hunting.signal == "grid.rooftops.v_pu"
    assert hunting.amplitude == pytest.approx(0.112, abs=0.005)
    assert hunting.since_ns == 60 * 10**9
    verdict = next(v for v in result.verdicts if v.check == "voltage")
    assert verdict.outcome == "INCONCLUSIVE"
    assert verdict.text.startswith("grid and rooftops hunt since 10:01: ")
    assert result.outcome == "completed"
    assert result.status == INCONCLUSIVE


def test_its_events_its_folder_and_its_page_say_so(tmp_path: Path) -> None:
    result = steep(tmp_path / "run", "delayed", "helics")
    events = [event for event in result.folder.events if event["what"] == "hunting"]
    assert [event["signal"] for event in events] == ["grid.rooftops.v_pu"]
    assert [event["what"] for event in result.folder.events].index("hunting") == 1  # before it has completed
    (said,) = json.loads((tmp_path / "run" / "run.json").read_text())["hunting"]
    assert said["text"] == events[0]["text"] == result.hunting[0].said(result.folder.calendar)
    assert "let the coupling converge" in (tmp_path / "run" / "junit.xml").read_text()
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert 'id="hunting"' in page


def test_the_command_and_a_suite_of_scenarios_say_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = steep(tmp_path / "run", "delayed", "local", "checks=[]")
    show_result(result, quiet=True)
    assert capsys.readouterr().out.startswith("HUNTING  grid and rooftops hunt since 10:01: ")
    assert _failures(result) == [result.hunting[0].said(result.folder.calendar)]


def test_converged_it_does_not_hunt_and_is_judged(tmp_path: Path) -> None:
    result = steep(tmp_path / "run", "converged")
    assert result.hunting == ()
    assert result.verdicts[0].outcome in ("PASS", "FAIL")
    assert result["loop@rooftops.passes"].mean() <= 3


def test_a_longer_response_time_ends_it(tmp_path: Path) -> None:
    """A step of 10 s is then 0.23 of the way."""
    times = ["step_s=10", "duration_s=1200"]
    slow = STEEP.replace('"response_s": 1', '"response_s": 90')
    assert steep(tmp_path / "fast", "delayed", "local", *times).hunting
    assert not steep(tmp_path / "slow", "delayed", "local", *times, f"federates.rooftops.smart={slow}").hunting


def test_without_checks_it_is_no_success_either(tmp_path: Path) -> None:
    assert steep(tmp_path / "run", "delayed", "local", "checks=[]").status == INCONCLUSIVE


def test_what_failed_before_has_failed_and_what_is_out_of_reach_is_judged(tmp_path: Path) -> None:
    early = '{"kind": "stays-within", "name": "early", "signal": "rooftops.q_kvar", "max": -100}'
    sun = '{"kind": "stays-within", "name": "sun", "signal": "sky.rooftops.irradiance_wm2", "min": 0}'
    result = steep(tmp_path / "run", "delayed", "local", f"checks=[{early}, {sun}]")
    found = {verdict.check: verdict for verdict in result.verdicts}
    assert found["sun"].outcome == "PASS"
    assert (found["early"].outcome, found["early"].when_ns) == ("FAIL", 0)
