"""Hosting capacity: by hand on two buses, seeded, and the same in any number of processes."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from derloop.errors import ScenarioError
from federates.grid.commands.hosting_capacity import app
from federates.grid.hosting import Question, hosting_capacity, quantiles_kw

SCENARIOS = Path(__file__).parents[2] / "scenarios"
TWO_BUSES = """Clear
New Circuit.two bus1=a basekv=12.47 pu=1.0 r1=0 x1=0.00001 r0=0 x0=0.00001
New Line.ab phases=3 bus1=a bus2=b r1=1 x1=0 r0=1 x0=0 c1=0 c0=0 length=1 normamps=1000
New Load.b phases=3 bus1=b kv=12.47 kw=100 kvar=0
Set VoltageBases=(12.47)
CalcVoltageBases
"""


def question(tmp_path: Path) -> Question:
    (tmp_path / "two.dss").write_text(TWO_BUSES)
    return Question(tmp_path / "two.dss", 1, 40.0, 40.0, 20_000.0, 0.0, 1.0, 1.05, 1.0, "active")


def test_a_voltage_limit_is_found_where_the_formula_has_it(tmp_path: Path) -> None:
    """P = V2 (V2 - V1) / R = 12.47^2 1.05 0.05 / 1 ohm = 8.1638 MW at 1.05 pu; steps are of 40 kW."""
    found = hosting_capacity(question(tmp_path), 1, 1)[0]
    assert found.kw == pytest.approx(8160.0, abs=40.0)
    assert found.limit == "voltage"
    assert found.where.startswith("b.")
    assert 1.05 < found.value_pu < 1.0505


def test_a_loading_limit_is_found_where_the_formula_has_it(tmp_path: Path) -> None:
    """300 A at 1.027 pu and 12.47 kV are sqrt(3) 12.47 300 1.0415 = 6.75 MW: V2 = V1 + sqrt(3) I R = 1.0417 pu."""
    found = hosting_capacity(replace(question(tmp_path), ratings_a=(("ab", 300.0),)), 1, 1)[0]
    assert found.kw == pytest.approx(3**0.5 * 12.47 * 300 * (1 + 3**0.5 * 0.3 / 12.47), abs=45.0)
    assert (found.limit, found.where) == ("loading", "line.ab")


def test_a_line_without_a_rating_limits_nothing(tmp_path: Path) -> None:
    """It was counted as one that passes its limit without any generation."""
    rated = hosting_capacity(question(tmp_path), 1, 1)[0]
    (tmp_path / "two.dss").write_text(TWO_BUSES.replace("normamps=1000", "normamps=0"))
    asked = Question(tmp_path / "two.dss", 1, 40.0, 40.0, 20_000.0, 0.0, 1.0, 1.05, 1.0, "active")
    assert hosting_capacity(asked, 1, 1)[0] == rated


def test_loads_and_the_end_of_a_sweep_count(tmp_path: Path) -> None:
    plain = hosting_capacity(question(tmp_path), 1, 1)[0]
    loaded = hosting_capacity(replace(question(tmp_path), load_pu=1.0), 1, 1)[0]
    assert loaded.kw - plain.kw == pytest.approx(100.0, abs=41.0)
    ended = hosting_capacity(replace(question(tmp_path), most_kw=480.0), 1, 1)[0]
    assert (ended.kw, ended.limit) == (480.0, "none")


@pytest.mark.parametrize("status", ["variable", "fixed", "exempt"])
@pytest.mark.parametrize("model", [1, 7])
def test_of_every_load_its_share_is_drawn(tmp_path: Path, model: int, status: str) -> None:
    """Loads that the file does not leave to its multiplier drew all of what they have, and made room for as much."""
    asked = replace(question(tmp_path), load_pu=0.3)
    load = f"New Load.mill phases=3 bus1=b kv=12.47 kw=1000 kvar=400 model={model} status={status}\n"
    (tmp_path / "two.dss").write_text(TWO_BUSES.replace("Set VoltageBases", f"{load}Set VoltageBases"))
    assert hosting_capacity(asked, 1, 1)[0].kw == pytest.approx(8163.8 + 0.3 * 1100, abs=41.0)


def test_it_is_the_same_in_any_number_of_processes() -> None:
    ieee13 = SCENARIOS / "feeders/ieee13/ieee13.dss"
    asked = Question(ieee13, 7, 100.0, 100.0, 5000.0, 0.3, 1.0, 1.05, 1.0, "locked")
    alone = hosting_capacity(asked, 4, 1)
    assert hosting_capacity(asked, 4, 2) == alone
    assert len({capacity.kw for capacity in alone} | {capacity.where for capacity in alone}) > 1
    assert hosting_capacity(replace(asked, seed=8), 4, 1) != alone
    assert quantiles_kw(alone)["least_kw"] <= quantiles_kw(alone)["median_kw"] <= quantiles_kw(alone)["most_kw"]


def test_the_command_prints_a_table_and_writes_json(tmp_path: Path) -> None:
    question(tmp_path)
    scenario = {"federates": {"grid": {"kind": "opendss", "feeder": "two.dss", "ratings_a": {"ab": 300.0}}}}
    (tmp_path / "s.json").write_text(json.dumps(scenario))
    words = [str(tmp_path / "s.json"), "--sweeps", "2", "--load-pu", "0", "--json", str(tmp_path / "found.json")]
    done = CliRunner().invoke(app, words, catch_exceptions=False)
    assert done.exit_code == 0
    assert "loading at line.ab" in done.output
    said = json.loads((tmp_path / "found.json").read_text())
    assert [sweep["limit"] for sweep in said["sweeps"]] == ["loading", "loading"]
    assert said["median_kw"] == pytest.approx(6750.0, abs=60.0)


def test_what_passes_a_limit_without_generation_is_counted_and_told(tmp_path: Path) -> None:
    """The source's 1.0 pu is above 0.95 at all six nodes, so no voltage is asked."""
    asked = replace(question(tmp_path), v_high_pu=0.95, most_kw=480.0)
    assert [(c.limit, c.passed_before) for c in hosting_capacity(asked, 1, 1)] == [("none", 6)]
    words = [str(asked.feeder), "--sweeps", "1", "--v-high-pu", "0.95", "--most-kw", "100"]
    told = CliRunner().invoke(app, words, catch_exceptions=False).output
    assert "6 nodes and elements pass a limit without any generation, and were not asked" in told
    assert "two.dss: 1 sweep, units of" in told
    assert "no limit was passed                          1 sweep\n" in told
    assert "median                       100.0 kW" in told  # not a step beyond where sweeps end


def test_a_folder_that_is_not_there_is_refused_before_the_sweeps(tmp_path: Path) -> None:
    words = [str(question(tmp_path).feeder), "--sweeps", "100000", "--json", str(tmp_path / "no" / "found.json")]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 2
    assert "there is no folder" in done.output


def test_steps_smaller_than_a_unit_are_refused_and_not_made_larger(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, [str(question(tmp_path).feeder), "--step-kw", "1", "--unit-kw", "100"])
    assert done.exit_code == 2
    assert "1 is less than one unit of 100 kW" in done.output


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ("New Load.b", "!", "two.dss has no load at which generation could stand"),
        ("Set VoltageBases=(12.47)\nCalcVoltageBases", "", "two.dss sets no VoltageBases"),
    ],
)
def test_a_feeder_that_cannot_be_asked_is_refused(tmp_path: Path, old: str, new: str, why: str) -> None:
    """It ended with a traceback."""
    feeder = question(tmp_path).feeder
    feeder.write_text(TWO_BUSES.replace(old, new))
    said = CliRunner().invoke(app, [str(feeder), "--sweeps", "1"])
    assert isinstance(said.exception, ScenarioError)
    assert why in str(said.exception)


def test_a_rating_that_fits_nothing_is_refused_by_its_place(tmp_path: Path) -> None:
    question(tmp_path)
    scenario = {"federates": {"grid": {"kind": "opendss", "feeder": "two.dss", "ratings_a": {"cd": 100}}}}
    (tmp_path / "scenario.json").write_text(json.dumps(scenario))
    said = CliRunner().invoke(app, [str(tmp_path / "scenario.json"), "--sweeps", "1"])
    assert "/ratings_a/cd: fits nothing that is monitored" in str(said.exception)


def test_a_scenario_of_several_feeders_must_say_which() -> None:
    said = CliRunner().invoke(app, [str(SCENARIOS / "kind_transmission_bus.json")])
    assert "there are several feeders, north, south: give the file of one" in str(said.exception or said.output)


def test_processes_end_with_a_command_that_is_killed() -> None:
    command, begun = begun_in_processes()
    command.kill()
    command.wait()
    until = time.monotonic() + 20.0
    while (left := [pid for pid in begun if Path(f"/proc/{pid}/exe").exists()]) and time.monotonic() < until:
        time.sleep(0.05)
    for pid in left:
        os.kill(int(pid), signal.SIGKILL)
    assert left == []


def test_ctrl_c_is_not_kept_waiting_also_where_it_is_pressed_twice() -> None:
    command, _ = begun_in_processes()
    command.send_signal(signal.SIGINT)
    time.sleep(0.02)
    command.send_signal(signal.SIGINT)
    try:
        assert command.wait(20.0) == 130
    finally:
        command.kill()
        command.wait()


def begun_in_processes() -> tuple[subprocess.Popen[bytes], list[str]]:
    """Return a command with much to do, and its processes: a tracker of resources, and two that work."""
    words = ["hosting-capacity", "quickstart.json", "--sweeps", "4000", "--jobs", "2"]
    command = subprocess.Popen([sys.executable, "-m", "derloop.cli", *words], cwd=SCENARIOS, stdout=subprocess.DEVNULL)
    children = Path(f"/proc/{command.pid}/task/{command.pid}/children")
    while len(begun := children.read_text().split()) < 3:
        time.sleep(0.05)
    time.sleep(2.0)
    return command, begun


@pytest.mark.parametrize(("base", "told"), [("0.24", True), ("0.208", False)])
def test_buses_that_are_judged_by_another_base_than_their_windings_are_told(
    tmp_path: Path, base: str, told: bool
) -> None:
    """Half of a centre-tapped winding is 0.866 pu of 0.24: it could rise by a fifth before a limit was passed."""
    asked = question(tmp_path)
    tapped = "New Transformer.t phases=1 windings=3 buses=(b.1 leg.1.0 leg.0.2) kVs=(7.2 .12 .12)\n"
    asked.feeder.write_text(TWO_BUSES.replace("Set VoltageBases=(12.47)", f"{tapped}Set VoltageBases=(12.47, {base})"))
    words = [str(asked.feeder), "--sweeps", "1", "--most-kw", "100"]
    said = CliRunner().invoke(app, words, catch_exceptions=False).output
    assert ("buses judged by another base than that of their windings: 1, see VoltageBases" in said) == told
