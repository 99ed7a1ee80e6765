"""A sweep from its file to its table, with a program in the place of derloop's runs that ends as it is told."""

from __future__ import annotations

import csv
import json
import os
import resource
import signal
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from threading import Thread
from time import monotonic, sleep
from typing import Any

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from derloop.commands.sweep import app
from derloop.errors import DerloopError, ScenarioError
from derloop.kind import NONE_GRANTED
from derloop.results.alone import alone_in
from derloop.scenario.loading import load
from derloop.sweep import sweeping
from derloop.sweep.models import SweepFile
from derloop.sweep.outcomes import Check, Judged, Row, row_of, status_of
from derloop.sweep.page import write_page
from derloop.sweep.plan import Plan, Trial, plan, sweep_of
from derloop.sweep.swept import NotWritten, Swept
from derloop.sweep.table import columns_of
from derloop.sweep.tally import tallies
from derloop.sweep.wording import ended, lines

PROGRAM = Path(__file__).parent.parent / "support" / "trial_program.py"
SCENARIO = {
    **{"name": "s", "start": "2025-07-15T00:00:00-07:00", "duration_s": 3600, "step_s": 900},
    "federates": {"grid": {"kind": "opendss", "feeder": "f/feeder.dss"}},
}


@pytest.fixture(autouse=True)
def _trials_are_a_program(monkeypatch: pytest.MonkeyPatch) -> None:
    def command(scenario: Path, trial: Trial, options: Sequence[str], out: Path) -> list[str]:
        words = [f"--set={override}" for override in trial.overrides]
        return [sys.executable, "-I", "-S", str(PROGRAM), "run", str(scenario), *words, f"--out={out}"]

    monkeypatch.setattr(sweeping, "command", command)


@pytest.fixture(name="folder")
def _folder(tmp_path: Path) -> Path:
    (tmp_path / "f").mkdir()
    (tmp_path / "f" / "feeder.dss").write_text("Clear\n")
    (tmp_path / "f" / "lines.txt").write_text("more\n")
    (tmp_path / "s.json").write_text(json.dumps(SCENARIO))
    return tmp_path


def planned(folder: Path, *ends: str, **more: Any) -> Plan:
    said = {"name": "sweep", "scenario": "s.json", "vary": [{"path": "description", "name": "ends", "values": ends}]}
    return plan(folder / "sweep.json", SweepFile.model_validate({**said, **more}), (), NONE_GRANTED)


def swept(folder: Path, plan: Plan, jobs: int = 2) -> Swept:
    return sweeping.sweep(plan, folder / "out", jobs, (), lambda done, of: None)


def ran(folder: Path) -> list[str]:
    """Return what each run so far was told to do, in no order."""
    return sorted(json.loads(line) for line in (folder / "ran.txt").read_text().splitlines())


def test_a_run_that_is_killed_or_crashes_marks_its_row_by_name_and_the_sweep_goes_on(folder: Path) -> None:
    found = swept(folder, planned(folder, "killed", "crashes", "refuses", "federate fails", "fails", "passes"))
    told = [(row.ending, row.why, row.verdict) for row in found.rows]
    assert told == [
        ("killed", "by SIGKILL", None),
        ("crashed", "with exit status 1: MemoryError", None),
        ("refused", "scenario: 1 problem /x: is wrong", None),
        ("failed", "federate 'grid': no solution", None),
        ("completed", "", "FAIL"),
        ("completed", "", "PASS"),
    ]
    assert status_of(found.rows) == 3


def test_the_exit_status_tells_passed_failed_and_incomplete_apart(folder: Path) -> None:
    assert status_of(swept(folder, planned(folder, "passes")).rows) == 0
    assert status_of(swept(folder, planned(folder, "passes", "fails")).rows) == 1
    assert status_of(swept(folder, planned(folder, "fails", "killed")).rows) == 3
    assert status_of(swept(folder, planned(folder, "refuses", "passes")).rows) == 3


@pytest.mark.parametrize(("hunts", "other"), [(True, "PASS"), (False, "INCONCLUSIVE")])
def test_what_is_inconclusive_outweighs_a_failed_check_as_in_a_run(hunts: bool, other: Judged) -> None:
    outcomes: dict[str, Judged] = {"peak": "FAIL", "voltages": other}
    checks = {name: Check(outcome, None, None, None, "", "") for name, outcome in outcomes.items()}
    row = Row(Trial(1, (), (), "key"), "completed", checks=checks, hunts=hunts)
    assert (row.verdict, status_of([row])) == ("INCONCLUSIVE", 3)


def test_a_run_of_which_nothing_was_asked_is_not_judged_as_on_its_page() -> None:
    balances = Check("PASS", None, None, None, "", "", "balance")
    row = Row(Trial(1, (), (), "key"), "completed", checks={"energy balances": balances})
    assert (row.verdict, ended(row), status_of([row])) == (None, "not judged", 0)


def test_a_mistake_of_every_run_is_one_of_the_sweep(folder: Path) -> None:
    vary = [{"path": "description", "values": ["refuses"]}, {"path": "seed", "values": [1, 2]}]
    (folder / "s.json").write_text(json.dumps({**SCENARIO, "seed": 1}))
    assert status_of(swept(folder, planned(folder, vary=vary)).rows) == 2


def test_what_is_there_is_not_repeated_and_what_died_is(folder: Path) -> None:
    swept(folder, planned(folder, "passes", "fails", "killed"))
    again = swept(folder, planned(folder, "passes", "fails", "killed", "federate fails"))
    assert ran(folder) == ["fails", "federate fails", "killed", "killed", "passes"]
    assert again.repeated == 2
    assert [row.verdict for row in again.rows] == ["PASS", "FAIL", None, None]


@pytest.mark.parametrize(
    "left", [None, "", "[3]", "[{}]", '{"a": 1}', '[{"check": "x", "outcome": "GOOD", "text": "x"}]']
)
def test_a_run_whose_verdicts_are_lost_is_repeated(folder: Path, left: str | None) -> None:
    swept(folder, planned(folder, "passes", "fails"))
    for path in (folder / "out" / "runs").glob("*/verdicts.json"):
        path.unlink() if left is None else path.write_text(left)
    again = swept(folder, planned(folder, "passes", "fails"))
    assert (again.repeated, [row.verdict for row in again.rows]) == (2, ["PASS", "FAIL"])


@pytest.mark.parametrize("changed", ["s.json", "f/feeder.dss", "f/lines.txt"])
def test_a_scenario_or_a_file_of_it_that_has_changed_is_run_again(folder: Path, changed: str) -> None:
    before = swept(folder, planned(folder, "passes"))
    assert swept(folder, planned(folder, "passes")).repeated == 0
    text = (folder / changed).read_text()
    (folder / changed).write_text(text.replace("3600", "7200") if changed == "s.json" else text + "! else\n")
    after = swept(folder, planned(folder, "passes"))
    assert (after.repeated, after.stale) == (1, 1)
    assert after.rows[0].trial.key != before.rows[0].trial.key


@pytest.mark.parametrize("edited", ["s.json", "f/lines.txt", ""])
def test_a_run_whose_scenario_was_edited_since_the_sweep_began_is_none_of_it(
    folder: Path, edited: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = {"s.json": json.dumps({**SCENARIO, "duration_s": 1800}), "f/lines.txt": "other"}

    def command(scenario: Path, trial: Trial, options: Sequence[str], out: Path) -> list[str]:
        if edited:
            (folder / edited).write_text(texts[edited])
        out.mkdir()
        loaded = load(scenario, trial.overrides)
        said = {"name": loaded.name, "scenario": loaded.document, "outcome": "completed"}
        (out / "run.json").write_text(json.dumps(said))
        (out / "verdicts.json").write_text("[]")
        return ["true"]

    monkeypatch.setattr(sweeping, "command", command)
    (folder / "linked").mkdir()
    (folder / "linked" / "s.json").symlink_to(folder / "s.json")
    [row] = swept(folder, planned(folder, "passes", scenario="linked/s.json")).rows
    assert row.ending == ("failed" if edited else "completed")
    assert ("has changed since the sweep began" in row.why) == bool(edited)
    assert (folder / "out" / "runs" / row.trial.key).exists() != bool(edited)


def test_two_trials_that_are_the_same_run_are_run_once(folder: Path) -> None:
    found = swept(folder, planned(folder, "passes", "passes", design="list"))
    assert ran(folder) == ["passes"]
    assert [row.verdict for row in found.rows] == ["PASS", "PASS"]


def test_values_that_the_scenario_refuses_are_a_row_and_no_run(folder: Path) -> None:
    vary = [{"path": "description", "values": ["passes"]}, {"path": "step_s", "values": [900, 7, -1]}]
    found = swept(folder, planned(folder, vary=vary))
    assert [row.ending for row in found.rows] == ["completed", "refused", "refused"]
    assert "duration_s 3600 is no multiple of step_s 7" in found.rows[1].why
    assert "/step_s" in found.rows[2].why
    assert ran(folder) == ["passes"]


def test_a_parameter_without_a_path_is_refused_by_its_place_with_the_other_problems(folder: Path) -> None:
    vary = [{"path": [], "values": [1]}, {"path": "step_s", "valeus": [1]}]
    (folder / "sweep.json").write_text(json.dumps({"name": "s", "scenario": "s.json", "vary": vary}))
    with pytest.raises(ScenarioError) as refused:
        sweep_of(folder / "sweep.json")
    assert [problem.pointer for problem in refused.value.problems] == ["/vary/0/path", "/vary/1/valeus"]


def test_a_path_that_leads_nowhere_is_refused_before_anything_runs_with_what_is_near(folder: Path) -> None:
    vary = [{"path": "federates.grit.feeder", "values": ["x"]}, {"path": "chekcs.0", "values": [1]}]
    with pytest.raises(ScenarioError) as refused:
        planned(folder, vary=vary, set={"federates.gird.feeder": 1})
    told = [(problem.pointer, problem.what) for problem in refused.value.problems]
    assert [pointer for pointer, _ in told] == ["/set", "/vary/0/path", "/vary/1/path"]
    assert all("did you mean 'grid'" in what for _, what in told[:2])


def test_a_setting_that_fits_no_run_is_refused_as_the_scenario_says_it(folder: Path) -> None:
    with pytest.raises(ScenarioError, match="did you mean 'feeder'"):
        planned(folder, vary=[{"path": "federates.grid.feder", "values": ["x", "y"]}])


def test_the_table_has_parameters_verdicts_margins_and_figures_as_csv_and_parquet(folder: Path) -> None:
    swept(folder, planned(folder, "passes", "killed"))
    with (folder / "out" / "table.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["ends"] for row in rows] == ["passes", "killed"]
    assert (rows[0]["outcome"], rows[0]["verdict"]) == ("completed", "PASS")
    assert (rows[0]["peak: verdict"], rows[0]["peak: margin"], rows[0]["peak, kW"]) == ("PASS", "-0.5", "12.5")
    assert (rows[1]["outcome"], rows[1]["why"], rows[1]["peak: verdict"]) == ("killed", "by SIGKILL", "")
    table = pq.read_table(folder / "out" / "table.parquet").to_pydict()
    assert table["peak: margin"] == [-0.5, None]
    assert [*table] == [*rows[0]]


def test_numbers_beside_what_is_none_stand_in_the_table_with_all_their_digits() -> None:
    values = [1234567.25, 1234567.5, None, [0.1, 1234567.125], "auto"]
    rows = [Row(Trial(at, (value,), (), ""), "not run") for at, value in enumerate(values)]
    found = columns_of(["size"], rows)["size"]
    assert found == ["1234567.25", "1234567.5", "null", "[0.1, 1234567.125]", "auto"]


def test_a_figure_that_is_no_number_leaves_its_cell_empty(tmp_path: Path) -> None:
    figures = [{"label": name, "value": value, "unit": "kW"} for name, value in {"a": None, "b": 1.5}.items()]
    (tmp_path / "run.json").write_text(json.dumps({"outcome": "completed", "summary": figures}))
    open_ = {"check": "grid", "kind": "balance", "outcome": "FAIL", "text": "", "measured": None, "limit": 1e-9}
    (tmp_path / "verdicts.json").write_text(json.dumps([open_]))
    found = row_of(Trial(1, (), (), "key"), tmp_path, 1)
    assert (found.ending, found.verdict, found.figures) == ("completed", "FAIL", {"b, kW": 1.5})


def test_whole_numbers_that_no_table_holds_stand_in_it_as_real_ones(folder: Path) -> None:
    ends: dict[str, Any] = {"path": "description", "name": "ends", "values": ["passes"]}
    swept(folder, planned(folder, vary=[ends, {"path": "seed", "values": [2**63 - 1, 10**24]}]))
    table = pq.read_table(folder / "out" / "table.parquet").to_pydict()
    assert table["seed"] == [float(2**63), 1e24]
    assert table["outcome"] == ["completed", "refused"]


def test_values_that_look_alike_are_told_apart_in_what_fails() -> None:
    rows = [Row(Trial(0, (1234567.25,), (), ""), "killed"), Row(Trial(1, (1234567.5,), (), ""), "completed")]
    [found] = tallies(["size"], rows)
    assert found.bad == {"1234567.25": (1, 1), "1234567.5": (0, 1)}


def test_many_numbers_are_told_by_quarters_of_their_range() -> None:
    """Of 10, 11 ... 23, those from 20 on fail, which are all of the last quarter and none of the others."""
    endings = ["completed"] * 10 + ["killed"] * 4
    rows = [Row(Trial(i, (10 + i,), (), ""), ending) for i, ending in enumerate(endings)]
    [found] = tallies(["size"], rows)
    assert found.bad == {"10 .. 13.25": (0, 4), "13.25 .. 16.5": (0, 3), "16.5 .. 19.75": (0, 3), "19.75 .. 23": (4, 4)}
    assert found.tells


def test_a_dozen_values_or_words_and_switches_are_told_one_by_one() -> None:
    for values in (range(12), [f"w{i}" for i in range(14)], [1, "a", *range(2, 14)]):
        rows = [Row(Trial(i, (value,), (), ""), "killed") for i, value in enumerate(values)]
        [found] = tallies(["size"], rows)
        assert len(found.bad) == len(rows)
        assert not found.tells


def test_a_parameter_tells_where_shares_differ_and_not_where_there_are_more_runs() -> None:
    endings = {1: ["killed", "completed"], 2: ["killed", "killed", "completed", "completed"]}
    rows = [Row(Trial(0, (size,), (), ""), ending) for size, of in endings.items() for ending in of]
    [found] = tallies(["size"], rows)
    assert (dict(found.bad), found.tells) == ({"1": (1, 2), "2": (2, 4)}, False)
    assert tallies(["size"], [row for row in rows if row.ending == "completed"]) == []


def test_no_column_takes_the_place_of_another_whatever_parameters_are_called(folder: Path) -> None:
    named = {"run": "name", "outcome": "step_s", "peak: margin": "duration_s", "peak, kW": "seed", "run (2)": "start"}
    values = ["a", 900, 3600, 7, SCENARIO["start"]]
    vary = [{"path": "description", "name": "why", "values": ["passes"]}]
    vary += [{"path": path, "name": n, "values": [v]} for (n, path), v in zip(named.items(), values, strict=True)]
    (folder / "s.json").write_text(json.dumps({**SCENARIO, "seed": 1}))
    swept(folder, planned(folder, vary=vary))
    table = pq.read_table(folder / "out" / "table.parquet").to_pydict()
    first = {name: cells[0] for name, cells in table.items()}
    assert (first["outcome"], first["verdict"], first["why"], first["wall_s"]) == ("completed", "PASS", None, 1.0)
    assert (first["why (2)"], first["run (2)"], first["outcome (2)"]) == ("passes", "a", 900)
    assert (first["peak: margin"], first["peak: margin (2)"]) == (3600, -0.5)
    assert (first["peak, kW"], first["peak, kW (2)"], first["run (2) (2)"]) == (7, 12.5, SCENARIO["start"])
    with (folder / "out" / "table.csv").open() as file:
        assert next(csv.reader(file)) == [*table]


@pytest.fixture(name="disk_full_at_the_table")
def _disk_full_at_the_table(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The limit on a file's size stands for a full disk: the write fails in its midst."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    columns_of = sweeping.columns_of

    def limited(*words: Any) -> Any:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
        return columns_of(*words)

    monkeypatch.setattr(sweeping, "columns_of", limited)
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_table_for_which_the_disk_has_no_room_is_named_and_what_came_of_the_runs_is_told(
    folder: Path, disk_full_at_the_table: None
) -> None:
    with pytest.raises(NotWritten, match=r"cannot write .*out/table\.csv: File too large") as error:
        swept(folder, planned(folder, "passes", "fails"))
    assert [row.verdict for row in error.value.swept.rows] == ["PASS", "FAIL"]
    assert {path.name for path in (folder / "out").iterdir()} == {".lock", "runs", "sweep.json"}


def test_a_command_prints_what_came_of_runs_whose_table_cannot_be_written(
    folder: Path, disk_full_at_the_table: None
) -> None:
    words = [str(folder / "s.json"), "--vary", "description=passes,fails", "--out", str(folder / "out")]
    ended = CliRunner().invoke(app, words)
    assert (ended.exit_code, ended.stdout.splitlines()[-1]) == (3, "2 runs: 1 PASS, 1 FAIL")
    assert "table.csv: File too large; the runs are kept" in ended.stderr


def test_a_terminal_and_a_page_say_which_values_fail_which_check(folder: Path) -> None:
    found = swept(folder, planned(folder, "passes", "fails", "killed"))
    printed = "\n".join(lines(found))
    assert "peak does not pass, by ends\n  passes  0 of 1\n   fails  1 of 1\n" in printed
    assert "the run does not complete, by ends" in printed
    assert "3 runs: 1 PASS, 1 FAIL, 1 killed" in printed
    page = (folder / "out" / "sweep.html").read_text()
    assert "peak, by ends" in page
    assert 'class="killed">killed<br><span class="quiet">by SIGKILL</span>' in page


def test_a_page_says_which_figures_are_in_the_table_alone(tmp_path: Path) -> None:
    figures = {f"figure {number}, kW": float(number) for number in range(10)}
    rows = [Row(Trial(0, (), (), "key"), "completed", figures=figures)]
    write_page(Plan("s", Path("s.json"), (), ()), rows, tmp_path / "sweep.html")
    page = (tmp_path / "sweep.html").read_text()
    assert "<th>figure 7, kW</th>" in page
    assert "In <code>table.csv</code> alone: figure 8, kW; figure 9, kW." in page


def test_what_a_run_says_is_no_markup_on_the_page(folder: Path) -> None:
    (folder / "s.json").write_text(json.dumps({**SCENARIO, "seed": 1}))
    swept(
        folder,
        planned(
            folder,
            "passes",
            vary=[
                {"path": "name", "name": "<b>", "values": ["<i>", "a"]},
                {"path": "description", "values": ["passes"]},
            ],
        ),
    )
    page = (folder / "out" / "sweep.html").read_text()
    assert "<b>" not in page
    assert "<i>" not in page
    assert "&lt;i&gt;" in page


def test_interrupted_it_lets_runs_write_what_they_have_and_keeps_what_is_done(folder: Path) -> None:
    def interrupt() -> None:
        until = monotonic() + 100
        while not [*(folder / "out" / "runs").glob("*/is_up")] and monotonic() < until:
            sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    Thread(target=interrupt, daemon=True).start()
    found = swept(folder, planned(folder, "passes", "hangs", "fails"), jobs=1)
    assert found.is_interrupted
    assert [row.ending for row in found.rows] == ["completed", "interrupted", "not run"]
    assert ran(folder) == ["hangs", "passes"]
    assert (folder / "out" / "table.csv").read_text().count("\n") == 4


def test_a_second_sweep_at_work_in_the_same_folder_is_refused(folder: Path) -> None:
    with alone_in(folder / "out", "x"), pytest.raises(DerloopError, match="is still at work there"):
        swept(folder, planned(folder, "passes"))
