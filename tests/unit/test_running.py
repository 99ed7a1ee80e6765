"""A run from start to verdict, in this process."""

from __future__ import annotations

import json
import re
import resource
import weakref
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal
from xml.etree import ElementTree

import numpy as np
import pytest
from outside import install

import derloop
from derloop import judging, plugins, running
from derloop.calendar import UNDATED
from derloop.console import show_federation, show_folder, show_result
from derloop.errors import DerloopError, ScenarioError
from derloop.federation import Federation
from derloop.judging import _wrong, write_json
from derloop.moving import Ending
from derloop.options import Options
from derloop.plugins import CHECKS, KINDS
from derloop.report import page
from derloop.results.store import RunFolder
from derloop.running import run as run_scenario
from derloop.scenario import files
from derloop.scenario.assembly import assemble
from derloop.scenario.loading import load
from derloop.verdict import Verdict
from federates.grid.opendss import OpenDssFeeder

SCENARIOS = Path(__file__).parents[2] / "scenarios"
SHORT = SCENARIOS / "kind_opendss.json"


def run(out: Path, *changes: str, **options: Any) -> Any:
    return derloop.run(SHORT, changes, engine="local", out=out / "run", **options)


def facts_of(result: Any) -> dict[str, Any]:
    return json.loads((result.folder.path / "run.json").read_text())  # type: ignore[no-any-return]


def test_a_run_can_be_run_again_from_the_same_python(tmp_path: Path) -> None:
    assert run(tmp_path / "a").status == 0
    assert run(tmp_path / "b").status == 0


def test_results_are_numpy_arrays_by_name(tmp_path: Path) -> None:
    result = run(tmp_path)
    assert isinstance(result["grid.v_pu"], np.ndarray)
    assert result["grid.v_pu"].shape == (12, 35)
    assert list(result.time_s("grid.v_pu")[:2]) == [0.0, 300.0]


@pytest.fixture(name="disk_full_at_the_page")
def _disk_full_at_the_page(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The limit on a file's size stands for a full disk: the write fails in its midst."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    write_report = page.write_report

    def limited(*words: Any) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
        write_report(*words)

    monkeypatch.setattr(page, "write_report", limited)
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_what_came_of_a_run_is_told_also_where_its_page_cannot_be_written(
    tmp_path: Path, disk_full_at_the_page: None
) -> None:
    result = run(tmp_path, report=True)
    assert (result.status, result.complaints) == (
        0,
        (f"cannot write {tmp_path / 'run' / 'report.html'}: File too large",),
    )
    assert [p.name for p in result.folder.path.iterdir() if "report" in p.name] == []


def test_a_document_for_which_the_disk_has_no_room_is_named(tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
    try:
        with pytest.raises(DerloopError, match=r"cannot write .*verdicts\.json: File too large"):
            write_json(tmp_path / "verdicts.json", ["long"] * 100)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_failed_check_is_status_1_and_no_exception(tmp_path: Path) -> None:
    result = run(tmp_path, "checks.0.max=3570")
    assert result.outcome == "completed"
    assert {v.check: v.outcome for v in result.verdicts} == {"stays-within": "FAIL", "energy balance of grid": "PASS"}
    assert result.status == 1


def test_a_run_that_fails_is_status_3_and_its_checks_have_not_passed(tmp_path: Path) -> None:
    result = run(tmp_path, "federates.grid.sane_v_pu=[0.99,1.01]")
    assert result.outcome == "failed"
    assert result.status == 3
    assert {v.outcome for v in result.verdicts} == {"INCONCLUSIVE"}
    failure = facts_of(result)["failure"]
    assert failure["federate"] == "grid"
    assert "voltage collapse" in failure["why"]


def test_what_nobody_foresaw_ends_a_run_like_any_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It ended the command in a traceback, and run.json said for ever that it was running."""

    def move(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr("derloop.moving.mover", lambda *_: move)
    result = run(tmp_path / "run")
    assert (result.outcome, result.status) == ("failed", 3)
    assert result.failure.startswith("RuntimeError: can't start new thread (test_running.py, line ")
    assert facts_of(result)["failure"]["traceback"].endswith("RuntimeError: can't start new thread\n")
    assert {verdict.outcome for verdict in result.verdicts} == {"INCONCLUSIVE"}


def test_the_run_folder_tells_who_ran_what_with_which_settings(tmp_path: Path) -> None:
    facts = facts_of(run(tmp_path, "seed=7"))
    assert facts["outcome"] == "completed"
    assert facts["overrides"] == ["seed=7", 'engine="local"']
    assert facts["seed"] == 7
    assert facts["federates"]["grid"]["settings"]["max_iterations"] == 100  # a default, made visible
    assert facts["versions"]["helics"]
    assert facts["engine"] == "local"
    assert facts["status"] == 0


def test_a_run_tells_the_versions_of_the_packages_that_offer_what_its_scenario_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    either = json.dumps([{"kind": "any-of", "of": [{"kind": "peak", "signal": "grid.head_kw", "limit_kw": 9e3}]}])
    scenario = load(SHORT, [f"checks={either}"])
    interfaces = assemble(scenario).interfaces
    for name, group, offered in (
        ("solvers", KINDS, "opendss"),
        ("judges", CHECKS, "peak"),
        ("unions", CHECKS, "any-of"),
        ("strangers", CHECKS, "settles"),
    ):
        monkeypatch.syspath_prepend(str(install(tmp_path / name, name, {group: {offered: f"{name}:KIND"}}, "")))
    plugins._offered.cache_clear()
    versions = judging.facts(scenario, interfaces, Options())["versions"]
    plugins._offered.cache_clear()
    assert {"solvers": "1.0", "judges": "1.0", "unions": "1.0"}.items() <= versions.items()
    assert "strangers" not in versions


def test_the_page_tells_the_step_of_who_took_part(tmp_path: Path) -> None:
    result = run(tmp_path, 'federates.loads={"kind": "load", "step_s": 600}')
    assert {name: said["step_s"] for name, said in facts_of(result)["federates"].items()} == {"grid": 300, "loads": 600}
    page = (result.folder.path / "report.html").read_text("utf-8")
    who = page[page.index("Who took part") :]
    assert '<td class="n">5 min</td>' in who
    assert '<td class="n">10 min</td>' in who


def test_continuous_integration_is_told_what_was_not_left_as_it_should_be() -> None:
    left = "federate 'inverter' at 4 s: did not stop cleanly: bat-1 COULD NOT BE BROUGHT TO WHAT IT HELD BEFORE"
    ending = Ending("failed", text="federate 'grid' at 4 s: voltage collapse")
    ending.complaints = (left, "a host was turned away")
    assert _wrong(ending, UNDATED) == f"federate 'grid' at 4 s: voltage collapse; {left}"


def test_a_folder_of_no_run_is_not_opened_as_one(tmp_path: Path) -> None:
    """Its verdicts would be none, of which every one has passed."""
    run(tmp_path)
    with pytest.raises(DerloopError, match=r"is no folder of a run: it has neither run\.json nor series"):
        derloop.open_run(tmp_path)
    assert derloop.open_run(tmp_path / "run").verdicts


def test_the_verdicts_are_junit_too(tmp_path: Path) -> None:
    result = run(tmp_path, "checks.0.max=3570")
    suite = ElementTree.parse(result.folder.path / "junit.xml").getroot()
    assert suite.findall(".//failure")


def test_numbers_of_numpy_are_numbers_in_what_is_written(tmp_path: Path) -> None:
    verdict = Verdict("own", "own", "FAIL", "", measured=np.float32(0.5), when_ns=np.int64(60))  # type: ignore[arg-type]
    write_json(tmp_path / "verdicts.json", [asdict(verdict)])
    (read,) = json.loads((tmp_path / "verdicts.json").read_text())
    assert (read["measured"], read["when_ns"]) == (0.5, 60)


def test_a_folder_that_holds_something_is_not_written_to(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.txt").write_text("dear to me")
    with pytest.raises(DerloopError, match="holds something already"):
        run(tmp_path)


def test_a_wrong_scenario_raises_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError):
        run(tmp_path, "federates.grid.feder=x")
    assert not (tmp_path / "run").exists()


def test_a_run_whose_files_cannot_be_told_is_refused_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its folder said for ever that it was running."""
    monkeypatch.setattr(files, "MAX_FILES", 0)
    with pytest.raises(DerloopError, match="more than 0"):
        run(tmp_path, checkpoint_every_s=300)
    assert not (tmp_path / "run").exists()


def test_progress_is_told_with_the_end(tmp_path: Path) -> None:
    seen: list[tuple[int | None, int]] = []
    run(tmp_path, "duration_s=86400", on_progress=lambda now, end: seen.append((now, end)))
    assert seen
    assert {end for _, end in seen} == {86_400_000_000_000}


def test_what_is_no_finite_number_is_null_in_what_a_run_leaves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counted = {"mean_kw": float("nan"), "most_kw": float("inf"), "least_kw": 1.5}
    monkeypatch.setattr(OpenDssFeeder, "statistics", lambda _: counted)
    said = facts_of(run(tmp_path))
    assert said["statistics"] == {"grid": {"mean_kw": None, "most_kw": None, "least_kw": 1.5}}
    figures = {figure["label"]: (figure["value"], figure["text"]) for figure in said["summary"]}
    assert figures["grid: mean"] == (None, "nan kW")
    assert figures["grid: least"] == (1.5, "1.5 kW")
    written = (tmp_path / "run" / "run.json").read_text()
    json.loads(written, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))


@pytest.mark.parametrize(("placement", "workers"), [("together", None), ("apart", 2)])
def test_what_federates_counted_until_a_run_was_interrupted_is_told(
    tmp_path: Path, placement: Literal["together", "apart"], workers: int | None
) -> None:
    def interrupt(now_ns: int | None, _until_ns: int) -> None:
        if (now_ns or 0) >= 60 * 10**9:
            raise KeyboardInterrupt

    options = Options(placement=placement, workers=workers, out=tmp_path / "run", report=False)
    result = run_scenario(SCENARIOS / "kind_network.json", ["deadlines.join_s=150"], options, interrupt)
    facts = facts_of(result)
    assert (facts["outcome"], facts["complaints"]) == ("interrupted", [])
    assert facts["statistics"]["network"]["sent"] > 0
    assert "network: sent" in [figure["label"] for figure in facts["summary"]]


def test_who_starts_a_run_in_processes_holds_no_feeder_while_they_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built: list[weakref.ref[object]] = []

    def known(*given: Any) -> Federation:
        federation = assemble(*given)
        built.extend(map(weakref.ref, federation.federates.values()))
        return federation

    monkeypatch.setattr(running, "assemble", known)
    held: set[int] = set()
    options = Options(placement="apart", out=tmp_path / "run", report=False, checkpoint_every_s=900)
    result = run_scenario(SHORT, [], options, lambda *_: held.add(sum(ref() is not None for ref in built)))
    assert (result.outcome, held) == ("completed", {0})
    assert built


def test_a_check_beyond_the_runs_end_is_a_caution_before_it(tmp_path: Path) -> None:
    result = run(tmp_path, "checks.0.from_s=3600")
    said = ["checks that look beyond the run's end at 3600 s will be INCONCLUSIVE: /checks/0 (stays-within)"]
    assert facts_of(result)["cautions"] == said
    assert [event["what"] for event in result.folder.events][:2] == ["started", "caution"]


def test_a_run_of_which_nothing_was_asked_says_so_and_keeps_its_status(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = run(tmp_path, "checks=[]", report=False)
    show_result(result, quiet=True)
    said = "NOT JUDGED  nothing was asked of the run: its scenario has no checks, only its balances were judged"
    assert capsys.readouterr().out.splitlines()[-1] == said
    assert result.status == 0


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"overrides": "seed=2"}, "overrides: 'seed=2' is one text; must be a list of them, as ['seed=2']"),
        ({"overrides": {"seed": 2}}, "overrides: {'seed': 2} is no list of texts"),
        ({"overrides": [("seed", 2)]}, "overrides: [('seed', 2)] is no list of texts"),
        ({"arm": "inverter-1"}, "arm: 'inverter-1' is one text; must be a list of them, as ['inverter-1']"),
    ],
)
def test_a_text_where_a_list_is_meant_is_refused_and_not_taken_letter_by_letter(
    given: dict[str, Any], said: str
) -> None:
    with pytest.raises(DerloopError, match=f"^{re.escape(said)}$"):
        derloop.run(SHORT, **given)


def test_a_check_of_a_loop_is_not_blamed_for_what_is_wrong_elsewhere() -> None:
    with pytest.raises(ScenarioError) as raised:
        load(SCENARIOS / "kind_zip_load.json", ["placement=threads", "engine=mosaik"])
    assert [problem.pointer for problem in raised.value.problems] == ["/placement"]


def test_a_check_of_a_loop_that_is_none_is_told_beside_what_is_wrong_elsewhere() -> None:
    told = ["placement=threads", "engine=mosaik", "checks.0.signal=loop@grid.pases"]
    with pytest.raises(ScenarioError) as raised:
        load(SHORT, told)
    assert [problem.pointer for problem in raised.value.problems] == ["/placement", "/checks/0/signal"]


def test_a_check_beyond_the_end_is_told_where_a_scenario_is_checked(capsys: pytest.CaptureFixture[str]) -> None:
    loaded = load(SHORT, ["checks.0.from_s=3600"])
    show_federation(loaded, assemble(loaded))
    assert "CAUTION  checks that look beyond the run's end at 3600 s" in capsys.readouterr().out


def test_the_same_seed_gives_the_same_run_and_another_seed_another(tmp_path: Path) -> None:
    def irradiance(seed: int, out: str) -> Any:
        result = derloop.run(
            SCENARIOS / "kind_sky.json", [f"seed={seed}"], engine="local", out=tmp_path / out, report=False
        )
        return result["sky.rooftops.irradiance_wm2"]

    first = irradiance(1, "a")
    assert np.array_equal(first, irradiance(1, "b"))
    assert not np.array_equal(first, irradiance(2, "c"))


def test_coupling_and_passes_are_in_the_results(tmp_path: Path) -> None:
    result = derloop.run(SCENARIOS / "kind_pv.json", ["duration_s=1200"], engine="local", out=tmp_path / "r")
    facts = facts_of(result)
    assert facts["coupling"] == {"mode": "converged", "tolerance": 2e-7, "max_passes": 40, "depth": 8}
    (loop,) = facts["loops"]
    assert 1 <= facts["loops"][loop]["mean_passes"] <= facts["loops"][loop]["most_passes"]
    assert result[f"{loop}.residual"].max() <= 2e-7


def test_converged_coupling_solves_what_delayed_coupling_approaches(tmp_path: Path) -> None:
    """With nothing changing in time, delayed coupling must settle where converged coupling is at once."""
    still = ["duration_s=7200", "federates.homes.profile=null", "federates.sky.clouds=null"]
    for mode in ("delayed", "converged"):
        derloop.run(
            SCENARIOS / "kind_pv.json",
            [*still, f"coupling.mode={mode}", "start=2025-07-15T12:30:00-07:00", "step_s=1", "duration_s=60"],
            engine="local",
            out=tmp_path / mode,
            report=False,
        )
    ends = [derloop.open_run(tmp_path / mode).read("grid.v_pu")[1][-1] for mode in ("delayed", "converged")]
    assert ends[0] == pytest.approx(ends[1], abs=2e-5)


def test_a_section_that_the_file_leaves_out_can_be_set() -> None:
    scenario = load(SCENARIOS / "quickstart.json", ["coupling.mode=converged", "deadlines.step_s=7"])
    assert scenario.file.coupling.mode == "converged"
    assert scenario.file.deadlines.step_s == 7


def test_processes_are_refused_under_an_engine_that_has_none() -> None:
    with pytest.raises(ScenarioError, match="placement 'apart' is HELICS's; under engine 'local'"):
        load(SCENARIOS / "quickstart.json", ["engine=local", "placement=apart"])


def test_what_was_not_left_as_it_should_be_is_the_last_that_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = run(tmp_path)
    result.complaints = ("a note", "federate 'inverter' at 4 s: did not stop cleanly: device 'inv-1': ...")
    show_result(result, quiet=True)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "note a note"
    assert lines[-1].startswith("NOT LEFT AS IT SHOULD BE  federate 'inverter' at 4 s: did not stop cleanly")


def test_what_others_say_in_a_run_does_not_steer_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = run(tmp_path)
    result.failure = "federate 'vpp' at 60 s: control.py, line 4: ValueError: \x1b[2Jgone"
    result.complaints = ("the inverter says \x1b]0;title\x07", "did not stop cleanly: \x1b[8m")
    show_result(result, quiet=False)
    said = capsys.readouterr().out
    assert "\x1b" not in said
    assert "ValueError: \\x1b[2Jgone\n" in said
    assert "did not stop cleanly: \\x1b[8m\n" in said


def test_a_killed_run_is_not_said_to_be_running(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = run(tmp_path, report=False).folder
    facts = json.loads((folder.path / "run.json").read_text())
    (folder.path / "run.json").write_text(json.dumps(facts | {"outcome": "running"}))
    show_folder(RunFolder(folder.path))
    assert capsys.readouterr().out.splitlines()[0] == f"{facts['name']}: it left no word of how it ended"
