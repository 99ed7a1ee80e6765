"""What is wrong with the settings of a kind is refused with the pointer that leads there, before anything runs."""

import json
from pathlib import Path
from typing import Any

import pytest

from derloop.errors import ScenarioError
from derloop.scenario.assembly import assemble
from derloop.scenario.loading import load

SCENARIOS = Path(__file__).parents[2] / "scenarios"


def problems(name: str, federate: str, **changes: Any) -> dict[str, str]:
    """Return the problems of a shipped scenario with these settings changed, by pointer."""
    document = json.loads((SCENARIOS / f"{name}.json").read_text())
    overrides = [f"federates.{federate}.{key}={json.dumps(value)}" for key, value in changes.items()]
    assert federate in document["federates"]
    with pytest.raises(ScenarioError) as error:
        assemble(load(SCENARIOS / f"{name}.json", overrides))
    return {problem.pointer: problem.what for problem in error.value.problems}


@pytest.mark.parametrize(
    ("name", "federate", "changes", "pointer", "what"),
    [
        ("kind_wind", "turbines", {"rated_kva": 0}, "rated_kva", "must be more than 0"),
        (
            "kind_wind",
            "turbines",
            {"restart_m_per_s": 30},
            "restart_m_per_s",
            "restart_m_per_s 30 is more than cut_out_m_per_s 25",
        ),
        ("kind_wind", "turbines", {"curve": {"v_m_per_s": [3, 2], "p_pu": [0, 1]}}, "curve", "must rise"),
        ("kind_wind", "turbines", {"wind": 200}, "wind", "200 is not allowed: 0 to 100 m/s"),
        ("kind_ev", "spread", {"departure_h": [7, 9]}, "", "leave before it arrives"),
        (
            "kind_ev",
            "depot",
            {"at": [{"bus": "671", "visits": [{"arrives_h": 9, "departs_h": 8, "need_kwh": 1}]}]},
            "at/0/visits/0",
            "departs_h 8 is not after arrives_h 9",
        ),
        ("kind_ev", "depot", {"target_soc_pu": 0.2}, "", "not in the order reserve_soc_pu <= target_soc_pu"),
        ("kind_heat_pump", "homes", {"deadband_k": 0}, "deadband_k", "greater than 0"),
        ("kind_heat_pump", "homes", {"outside_c": {"file": "no.csv", "column": "t"}}, "outside_c/file", "is no file"),
        ("kind_water_heater", "tanks", {"volume_l": -1}, "volume_l", "must be more than 0"),
        ("kind_appliance", "at_once", {"deadline_h": 7}, "deadline_h", "comes too early"),
        ("kind_industrial", "plants", {"share": 2}, "share", "2 is not allowed: 0 to 1 pu"),
        ("kind_chp", "scheduled", {"efficiency": {"load_pu": [1, 0.5, 0.2]}}, "efficiency", "must rise"),
        ("kind_chp", "scheduled", {"min_load_pu": 0}, "min_load_pu", "greater than 0"),
        ("kind_chp", "trigeneration", {"store_initial_pu": 1.2}, "store_initial_pu", "less than or equal to 1"),
        ("kind_chp", "trigeneration", {"start_below_pu": 0.95}, "start_below_pu", "must be less than stop_above_pu"),
        ("kind_heat_pump", "homes", {"setpoint_c": 60}, "setpoint_c", "5 to 40 degC"),
        ("kind_water_heater", "tanks", {"setpoint_c": 99}, "setpoint_c", "20 to 96.5 degC"),
        ("kind_zip_load", "drives", {"p_zip_pu": [1, 1, 1]}, "p_zip_pu", "must add up to 1"),
        (
            "kind_battery",
            "storage",
            {"soc_initial_pu": 0.05},
            "soc_initial_pu",
            "soc_initial_pu 0.05 is outside the window",
        ),
        (
            "kind_battery",
            "storage",
            {"reserve_soc_pu": 0.05},
            "reserve_soc_pu",
            "reserve_soc_pu 0.05 is outside the window",
        ),
        ("kind_battery", "storage", {"charge_efficiency_pu": 1.2}, "charge_efficiency_pu", "less than or equal to 1"),
        (
            "battery_time_of_use",
            "homes",
            {"time_of_use": {"periods": [{"from_h": h, "to_h": h + 2, "action": "charge"} for h in (1, 2)]}},
            "time_of_use/periods",
            "periods must not overlap: 0 and 1 both have 2 to 3 h",
        ),
        ("battery_self_consumption", "storage", {"site": {"draws": ["home.p_kw"]}}, "site/draws/0", "has 1 elements"),
        ("kind_frequency", "system", {"over": ["turbine"]}, "over/0", "did you mean 'turbines'?"),
        (
            "kind_microgrid",
            "grid",
            {"island": {"switch": "sw_671_692", "outages": {"events": [{"begins_s": 3610, "lasts_s": 290}]}}},
            "island/outages/events/0",
            "falls between two instants of 'grid', whose step is 300 s: it does nothing",
        ),
        ("kind_microgrid", "microgrid", {"planned": [{"begins_s": 10, "lasts_s": 20}]}, "planned/0", "does nothing"),
        (
            "kind_microgrid",
            "microgrid",
            {"warnings": [{"begins_s": 10, "lasts_s": 20, "reserve_soc_pu": 0.9}]},
            "warnings/0",
            "does nothing",
        ),
    ],
)
def test_problem_is_named_where_it_stands(
    name: str, federate: str, changes: dict[str, Any], pointer: str, what: str
) -> None:
    found = problems(name, federate, **changes)
    where = f"/federates/{federate}/{pointer}".rstrip("/")
    assert where in found
    assert what in found[where]


@pytest.mark.parametrize(
    ("name", "federate", "changes", "pointer", "what"),
    [
        (
            *("kind_ev_v1g", "cars", {"mode": "uncontrolled"}, "/federates/vpp/members/0"),
            "'cars' does not take p_set_kw, as it is set, with mode 'uncontrolled'; it takes nothing",
        ),
        (
            *("kind_chp_commanded", "plant", {"mode": "heat-led"}, "/federates/dispatch/signals/plant.p_set_kw"),
            "'plant' has no input p_set_kw, as it is set; it has v_pu",
        ),
        (
            *("kind_demand_response", "tanks", {"responds": False}, "/federates/programme/members/tanks"),
            "'tanks' does not take shift_k",
        ),
        (
            *("kind_demand_response", "dishwashers", {"mode": "latest"}, "/federates/programme/members/dishwashers"),
            "'dishwashers' does not take allow",
        ),
        (
            *("kind_replay", "homes", {"responds": False}, "/federates/recorded/signals/homes.shift_k"),
            "'homes' has no input shift_k, as it is set; it has ",
        ),
        (
            *("kind_frequency", "storage", {"smart": {}}, "/federates/system/over/1"),
            "no device of 'storage' looks at the frequency: its `smart` has none of frequency_droop",
        ),
    ],
)
def test_what_would_be_sent_to_nobody_is_refused(
    name: str, federate: str, changes: dict[str, Any], pointer: str, what: str
) -> None:
    assert what in problems(name, federate, **changes)[pointer]


def test_profile_with_a_hole_is_refused_with_its_line(tmp_path: Path) -> None:
    document = json.loads((SCENARIOS / "kind_wind.json").read_text())
    document["federates"]["grid"]["feeder"] = "ieee13.dss"
    (tmp_path / "ieee13.dss").write_text((SCENARIOS / "feeders/ieee13/ieee13.dss").read_text())
    document["federates"]["turbines"]["wind"] = {"file": "w.csv", "column": "v"}
    (tmp_path / "w.csv").write_text("time_s,v\n0,3\n600,\n90000,4\n")
    (tmp_path / "s.json").write_text(json.dumps(document))
    with pytest.raises(ScenarioError) as error:
        assemble(load(tmp_path / "s.json"))
    assert [p.pointer for p in error.value.problems] == ["/federates/turbines/wind/file"]
    assert "line 3: v is ''" in error.value.problems[0].what
