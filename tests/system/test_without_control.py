"""Checks of scenarios that show a control fail without it: `scenarios/golden/NAME/without.json`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import derloop

SCENARIOS = Path(__file__).parents[2] / "scenarios"
WITHOUT = {path.parent.name: path for path in sorted(SCENARIOS.glob("golden/*/without.json"))}
PURPOSES = {
    *("solar_neighbourhood", "community_battery", "commercial_peak_shaving", "time_of_use_homes", "v2g_depot"),
    *("v2h_outage", "demand_response_event", "frequency_regulation", "chp_campus", "hospital_microgrid_storm"),
    *("conservation_voltage_reduction", "vpp_stack"),
}
"""What distributed energy is for, a scenario each."""


def without(name: str) -> dict[str, Any]:
    return json.loads(WITHOUT[name].read_text())  # type: ignore[no-any-return]


def test_each_purpose_has_a_scenario_that_is_tried_without_its_control() -> None:
    assert WITHOUT.keys() >= PURPOSES


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", WITHOUT)
def test_the_checks_of_a_control_fail_without_it(name: str, tmp_path: Path) -> None:
    taken = without(name)
    result = derloop.run(SCENARIOS / f"{name}.json", taken["set"], engine="local", out=tmp_path / "run", report=False)
    assert result.outcome == "completed", result.failure
    failed = {verdict.check for verdict in result.verdicts if verdict.outcome == "FAIL"}
    assert failed >= set(taken["fails"]), f"these did not fail: {set(taken['fails']) - failed}"
