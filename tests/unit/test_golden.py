"""Golden results are small text beside a scenario, exact to the bit, and name what has moved."""

from __future__ import annotations

import json
import resource
from pathlib import Path

import numpy as np
import pytest

from derloop.contract import Interface, Port
from derloop.errors import DerloopError, ScenarioError
from derloop.results.compare import Tolerance, Tolerances
from derloop.results.golden import Golden, check, golden_folder, record
from derloop.results.recorder import Recorder
from derloop.results.store import RunFolder

MINUTE = 60_000_000_000
INTERFACES = {
    "pv": Interface(MINUTE, outputs={"p_kw": Port("kW", ("pv_1", 'pv, "2"')), "f_hz": Port("Hz", ("pv_1",))}),
    "loop@grid": Interface(15 * MINUTE, outputs={"passes": Port("1", ("passes",))}),
}


def run(folder: Path, minutes: int = 24 * 60 + 1, kick_at: int | None = None, kick: float = 1e-3) -> RunFolder:
    recorder = Recorder(folder, INTERFACES)
    for minute in range(minutes):
        p_kw = np.array([minute / 7, np.sin(minute)])
        p_kw[1] += kick if minute == kick_at else 0.0
        recorder.observe("pv", minute * MINUTE, {"p_kw": p_kw, "f_hz": np.array([60 + minute / 1e9])})
        if minute % 15 == 0:
            recorder.observe("loop@grid", minute * MINUTE, {"passes": np.array([3.0])})
    recorder.close()
    return RunFolder(folder)


@pytest.fixture
def golden(tmp_path: Path) -> Path:
    record(run(tmp_path / "first"), tmp_path / "golden")
    return tmp_path / "golden"


def edit(golden: Path, **changes: object) -> None:
    path = golden / "golden.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_golden_results_are_beside_their_scenario() -> None:
    assert golden_folder(Path("cases/ieee13/day.json")) == Path("cases/ieee13/golden/day")


def test_the_same_run_again_agrees_to_the_bit(tmp_path: Path, golden: Path) -> None:
    edit(golden, tolerances={})
    comparison = check(run(tmp_path / "again"), golden)
    assert comparison.same, str(comparison)
    assert {s.signal.name: s.instants for s in comparison.signals} == dict.fromkeys(
        ("loop@grid.passes", "pv.p_kw", "pv.f_hz"), 25
    )


def test_a_run_that_moved_is_told_by_instant_signal_and_element(tmp_path: Path, golden: Path) -> None:
    comparison = check(run(tmp_path / "again", kick_at=6 * 60), golden)
    assert str(comparison).startswith(
        "first difference at 06:00:00 (21600 s): pv.p_kw at 'pv, \"2\"': 0.958916 against 0.959916 (0.001 apart; "
        "allowed 1e-06)"
    )


def test_what_is_smaller_than_the_tolerance_does_not_matter(tmp_path: Path, golden: Path) -> None:
    assert check(run(tmp_path / "again", kick_at=6 * 60, kick=1e-7), golden).same


def test_a_run_that_ended_early_does_not_pass(tmp_path: Path, golden: Path) -> None:
    comparison = check(run(tmp_path / "again", minutes=700), golden)
    assert str(comparison.first) == "12:00:00 (43200 s): loop@grid.passes: only the first has this instant"


def test_the_files_are_text_with_a_line_for_each_element(golden: Path) -> None:
    assert sorted(p.name for p in golden.iterdir()) == ["golden.json", "loop@grid.csv", "pv.csv"]
    lines = (golden / "pv.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in lines] == ["port", "p_kw", "p_kw", "f_hz"]
    assert lines[0].startswith("port,unit,label,0,3600,7200,")
    assert lines[1].startswith(f"p_kw,kW,pv_1,0.0,{60 / 7!r},")
    assert lines[2].startswith(f'p_kw,kW,"pv, ""2""",0.0,{float(np.sin(60))!r},')


def test_recording_again_gives_the_same_bytes(tmp_path: Path, golden: Path) -> None:
    before = {p.name: p.read_bytes() for p in golden.iterdir()}
    record(run(tmp_path / "again"), golden)
    assert {p.name: p.read_bytes() for p in golden.iterdir()} == before


def test_golden_json_says_what_is_kept_and_what_is_allowed(golden: Path) -> None:
    data = json.loads((golden / "golden.json").read_text())
    assert data["signals"] == ["*"]
    assert data["every_s"] == 3600
    assert data["tolerances"] == {"*": {"abs": 1e-6, "rel": 1e-6}}
    assert data["derloop"]


def test_recording_again_keeps_what_golden_json_asks_for(tmp_path: Path, golden: Path) -> None:
    edit(golden, signals=["pv.p_*"], every_s=7200, tolerances={"pv.*": {"abs": 0.5}})
    record(run(tmp_path / "again"), golden)
    data = json.loads((golden / "golden.json").read_text())
    assert (data["signals"], data["every_s"]) == (["pv.p_*"], 7200)
    assert data["tolerances"] == {"pv.*": {"abs": 0.5, "rel": 0.0}}
    assert sorted(p.name for p in golden.glob("*.csv")) == ["pv.csv"]
    (found,) = check(run(tmp_path / "third", kick_at=120, kick=0.4), golden).signals
    assert (found.same, found.instants) == (True, 13)


def test_keeping_fewer_signals_needs_no_new_recording(tmp_path: Path, golden: Path) -> None:
    edit(golden, signals=["loop@*"])
    assert [s.signal.name for s in check(run(tmp_path / "again"), golden).signals] == ["loop@grid.passes"]


def test_a_pattern_that_keeps_no_signal_is_refused_when_it_is_recorded_and_compared(
    tmp_path: Path, golden: Path
) -> None:
    """What was meant would be recorded and compared by nobody."""
    edit(golden, signals=["pv.p_*", "pv.f_hzz"])
    again = run(tmp_path / "again")
    for each in (check, record):
        with pytest.raises(ScenarioError, match=r"/signals/1: 'pv\.f_hzz' fits no signal; did you mean 'pv\.f_hz'\?"):
            each(again, golden)
    assert (golden / "pv.csv").is_file()


def test_a_tolerance_of_no_signal_is_refused(tmp_path: Path, golden: Path) -> None:
    """What was meant for one signal would leave it with that of all others."""
    edit(golden, tolerances={"pv.p_kww": {"abs": 0.0}, "*": {"abs": 1e9}})
    with pytest.raises(ScenarioError, match=r"/tolerances/pv\.p_kww: fits no signal; did you mean 'pv\.p_kw'\?"):
        check(run(tmp_path / "again"), golden)


def test_what_is_asked_for_holds(tmp_path: Path) -> None:
    asked = Golden(1800, ("pv.*",), Tolerances({"*": Tolerance(rel=0.1)}))
    record(run(tmp_path / "run"), tmp_path / "golden", asked)
    comparison = check(run(tmp_path / "again"), tmp_path / "golden")
    assert {s.instants for s in comparison.signals} == {49}


@pytest.mark.parametrize(("minutes", "every_s"), [(1, 1), (3, 5), (61, 300), (7 * 1440 + 1, 43200)])
def test_the_instants_are_a_round_time_apart_and_about_25(tmp_path: Path, minutes: int, every_s: float) -> None:
    record(run(tmp_path / "run", minutes), tmp_path / "golden")
    assert json.loads((tmp_path / "golden" / "golden.json").read_text())["every_s"] == every_s


def test_a_short_run_has_instants_below_a_second(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "run", {"pv": Interface(1_000_000, outputs={"f_hz": Port("Hz", ("a",))})})
    for step in range(241):
        recorder.observe("pv", step * 1_000_000, {"f_hz": np.array([60.0])})
    recorder.close()
    record(RunFolder(tmp_path / "run"), tmp_path / "golden")
    assert json.loads((tmp_path / "golden" / "golden.json").read_text())["every_s"] == 0.01
    assert (tmp_path / "golden" / "pv.csv").read_text().startswith("port,unit,label,0,0.01,0.02,0.03,")
    assert check(RunFolder(tmp_path / "run"), tmp_path / "golden").same


def test_odd_numbers_come_back_as_they_were(tmp_path: Path) -> None:
    odd = [np.nan, np.inf, -np.inf, -0.0, 5e-324, 1e308, 0.1 + 0.2]
    port = Port("1", tuple(f"n{i}" for i in range(len(odd))))
    recorder = Recorder(tmp_path / "run", {"pv": Interface(1, outputs={"x": port})})
    recorder.observe("pv", 123_456_789, {"x": np.array(odd)})
    recorder.close()
    run = RunFolder(tmp_path / "run")
    record(run, tmp_path / "golden", Golden(1, tolerances=Tolerances()))
    assert check(run, tmp_path / "golden").same
    assert "port,unit,label,0.123456789" in (tmp_path / "golden" / "pv.csv").read_text()


def test_results_that_were_never_recorded_are_asked_for(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match=r"golden\.json: 1 problem\n  /: there are no golden results yet"):
        check(run(tmp_path / "run", 1), tmp_path / "golden")


def test_nothing_to_keep_is_refused_and_leaves_what_was_there(tmp_path: Path, golden: Path) -> None:
    with pytest.raises(DerloopError, match=r"no signal of the run matches ev.*: there is nothing to keep"):
        record(run(tmp_path / "again", 1), golden, Golden(1, ("ev.*",)))
    assert (golden / "pv.csv").exists()


def test_a_full_disk_leaves_the_results_that_were_kept(tmp_path: Path, golden: Path) -> None:
    before = {path.name: path.read_bytes() for path in golden.iterdir()}
    again = run(tmp_path / "again", kick_at=60)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))  # stands for it: a write fails in its midst
    try:
        with pytest.raises(DerloopError, match=r"cannot write .*\.csv: File too large"):
            record(again, golden)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert {path.name: path.read_bytes() for path in golden.iterdir()} == before


def test_everything_wrong_in_golden_json_is_told_at_once(tmp_path: Path, golden: Path) -> None:
    wrong = {"pv/x": {"abs": -1, "rle": 1}, "b": 3}
    edit(golden, every_s="hour", signals="*", tolerances=wrong, signal=["*"])
    with pytest.raises(ScenarioError) as caught:
        check(run(tmp_path / "again", 1), golden)
    assert [str(p) for p in caught.value.problems] == [
        "/signal: unknown; did you mean 'signals'?",
        "/every_s: must be a number of seconds above 0",
        "/signals: must be a list of patterns of signal names",
        "/tolerances/pv~1x/rle: unknown; did you mean 'rel'?",
        "/tolerances/pv~1x/abs: must be a number, 0 or above",
        '/tolerances/b: must be an object: {"abs": 1e-6, "rel": 1e-6}',
    ]


@pytest.mark.parametrize("text", ["", "[]", "{", '{"every_s": 1, "tolerances": []}', '{"every_s": NaN}'])
def test_a_golden_json_that_is_none_is_refused(tmp_path: Path, golden: Path, text: str) -> None:
    (golden / "golden.json").write_text(text)
    with pytest.raises(ScenarioError, match="1 problem"):
        check(run(tmp_path / "again", 1), golden)


@pytest.mark.parametrize(
    "text",
    ["", "port,unit\n", "port,unit,label,x\n", "port,unit,label,0\np,kW,a,1,2\n", "port,unit,label,0\np,kW,a,b\n"],
)
def test_a_series_that_was_edited_wrongly_is_named(tmp_path: Path, golden: Path, text: str) -> None:
    (golden / "pv.csv").write_text(text)
    with pytest.raises(ScenarioError, match=r"pv\.csv: 1 problem\n  /: not what was recorded: "):
        check(run(tmp_path / "again", 1), golden)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('{"every_s": 1, "signals": ["*"], "signals": ["pv.*"]}', "the key 'signals' stands more than once"),
        ('{"every_s": 1, "tolerances": {"*": {"abs": 0}, "*": {"abs": 9}}}', "the key '*' stands more than once"),
        ('{"every_s": 1' + "0" * 400 + "}", "must be a finite number"),
    ],
)
def test_a_golden_json_that_says_two_things_or_none_is_refused(
    tmp_path: Path, golden: Path, text: str, why: str
) -> None:
    (golden / "golden.json").write_text(text)
    with pytest.raises(ScenarioError) as error:
        check(run(tmp_path / "again", 1), golden)
    assert why in str(error.value)
