"""The JSON Schema: what editors are told is what the loader takes."""

from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from derloop import plugins
from derloop.errors import PluginError
from derloop.scenario.models import ScenarioFile
from derloop.scenario.schema import scenario_schema

ROOT = Path(__file__).parents[2]
SHIPPED = [*sorted((ROOT / "scenarios").glob("*.json")), ROOT / "derloop" / "starter" / "project" / "scenario.json"]
SCENARIOS = [path for path in SHIPPED if path.name != "scenario.schema.json"]
QUICKSTART = json.loads((ROOT / "scenarios" / "quickstart.json").read_text("utf-8"))


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    return scenario_schema()


@pytest.fixture(scope="module")
def validator(schema: dict[str, Any]) -> Draft202012Validator:
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda path: path.stem)
def test_every_shipped_scenario_fits_and_names_its_schema(scenario: Path, validator: Draft202012Validator) -> None:
    data = json.loads(scenario.read_text("utf-8"))
    assert data["$schema"] == "scenario.schema.json"
    assert [error.message for error in validator.iter_errors(data)] == []


def test_the_schema_beside_the_scenarios_is_what_the_command_prints(schema: dict[str, Any]) -> None:
    shipped = (ROOT / "scenarios" / "scenario.schema.json").read_text("utf-8")
    assert shipped == json.dumps(schema, indent=1) + "\n", (
        "write it anew: derloop schema > scenarios/scenario.schema.json"
    )


def test_a_thousand_feeders_with_a_sky_and_a_fleet_each_are_not_too_many(schema: dict[str, Any]) -> None:
    """How many they may be is asked apart from what each of them is: that takes as long as they are many."""
    federates = {f"sky_{i}": {"kind": "sky", "over": []} for i in range(3002)}
    assert len(ScenarioFile.model_validate({**QUICKSTART, "checks": [], "federates": federates}).federates) == 3002
    together = {k: v for k, v in schema["properties"]["federates"].items() if k != "additionalProperties"}
    assert together["maxProperties"] > 0
    assert [error.message for error in Draft202012Validator(together).iter_errors(federates)] == []


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("sead",), 1),
        (("step_s",), "60"),
        (("step_s",), 0),
        (("engine",), "helix"),
        (("name",), "My Street"),
        (("federates", "Big"), {"kind": "load"}),
        (("federates", "homes"), {"kind": "lod"}),
        (("federates", "homes"), {}),
        (("federates", "homes", "scal"), 1),
        (("federates", "homes", "via"), "model"),
        (("federates", "homes", "variation", "sigma_pu"), -1),
        (("federates", "batteries", "at", "count"), 0),
        (("federates", "batteries", "rated_kva"), 0),
        (("federates", "rooftops", "smart", "volt_var"), "category-c"),
        (("federates", "inverters", "at", 0, "buss"), "671"),
        (("federates", "vpp", "services", 0, "limit_kw"), -1),
        (("checks", 0, "kind"), "voltages"),
        (("checks", 0, "rang"), "x"),
        (("wires",), [{"from": "grid.v_pu"}]),
        (("coupling",), {"mode": "loose"}),
    ],
)
def test_a_wrong_scenario_does_not_fit(path: tuple[Any, ...], value: Any, validator: Draft202012Validator) -> None:
    data = deepcopy(QUICKSTART)
    *way, last = path
    at = data
    for part in way:
        at = at[part]
    at[last] = value
    assert not validator.is_valid(data)


def test_every_setting_is_described(schema: dict[str, Any]) -> None:
    found = [*schema["properties"].items()]
    for name in plugins.names(plugins.KINDS):
        found += plugins.kind(name).settings.model_json_schema()["properties"].items()
    for name in plugins.names(plugins.CHECKS):
        found += plugins.check_kind(name).settings.model_json_schema()["properties"].items()
    bare = {name for name, spec in found if not spec.get("description")}
    assert bare <= {"description", "coupling", "deadlines", "pacing", "wires"}, "these are described by their own parts"


def test_a_kind_that_does_not_load_takes_any_settings_and_spoils_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    kind = plugins.kind

    def broken(name: str) -> Any:
        if name == "pv":
            raise PluginError("kind 'pv' cannot be loaded")
        return kind(name)

    monkeypatch.setattr(plugins, "kind", broken)
    validator = Draft202012Validator(scenario_schema())
    data = deepcopy(QUICKSTART)
    data["federates"]["rooftops"]["whatever"] = 1
    assert validator.is_valid(data)
    data["federates"]["homes"]["whatever"] = 1
    assert not validator.is_valid(data)
