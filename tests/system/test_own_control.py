"""A control of the user's: allowed or refused, the same under every engine, and its mistakes told by line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from outside import derloop as derloop_command
from own_site import SHAVE, run, written

import derloop
from derloop.console import show_result
from derloop.errors import ScenarioError


def problems_of(path: Path, **options: object) -> list[str]:
    with pytest.raises(ScenarioError) as error:
        derloop.run(path, out=path.parent / "refused", engine="local", **{"trust_control": True, **options})
    return [str(problem) for problem in error.value.problems]


def test_a_control_of_nine_lines_keeps_the_peak_down_and_without_it_the_check_fails(tmp_path: Path) -> None:
    path = written(tmp_path)
    with_it = run(path)
    assert [v.outcome for v in with_it.verdicts if v.check == "peak"] == ["PASS"]
    assert with_it["grid.head_kw"][-1, 0] == pytest.approx(20, abs=0.5)
    assert with_it["batteries.p_kw"][-1] == pytest.approx([5, 5], abs=0.3)  # what 30 kW and losses have above 20
    without = run(path, "without", ("federates.own.parameters.limit_kw=1000",))
    assert [v.outcome for v in without.verdicts if v.check == "peak"] == ["FAIL"]


def test_it_is_asked_once_for_each_instant_but_the_first_with_what_was_measured_before(tmp_path: Path) -> None:
    code = """
class Shave:
    def __init__(self, parameters, site):
        self.times = []

    def step(self, now_s, measured):
        self.times.append(now_s)
        assert self.times == [60.0 * (i + 1) for i in range(len(self.times))]
        assert measured["batteries.soc_pu"].shape == (2,)
        return {"batteries.p_set_kw": [0.001 * now_s, 0.0]}
"""
    result = run(written(tmp_path, code), overrides=('coupling={"mode": "converged"}', "duration_s=600"))
    assert result.outcome == "completed", result.failure
    assert result["own.batteries.p_set_kw"][:, 0] == pytest.approx([0.06 * i for i in range(10)])


def test_what_it_leaves_out_stays_and_initial_holds_before_its_first_answer(tmp_path: Path) -> None:
    code = SHAVE[: SHAVE.index("    def step")] + (
        '    def step(self, now_s, measured):\n        return {"batteries.p_set_kw": 3} if now_s == 120 else {}\n'
    )
    result = run(written(tmp_path, code, initial={"p_set_kw": -1}), overrides=("duration_s=300",))
    assert result["own.batteries.p_set_kw"][:, 1].tolist() == [-1, -1, 3, 3, 3]


@pytest.mark.parametrize("placement", ["together", pytest.param("apart", marks=pytest.mark.long)])
def test_results_are_equal_to_the_bit_under_helics_and_in_processes(tmp_path: Path, placement: str) -> None:
    path = written(tmp_path)
    reference = run(path, overrides=("duration_s=600",))
    other = run(path, "other", ("duration_s=600",), engine="helics", placement=placement)
    for signal in ("grid.head_kw", "batteries.soc_pu", "own.batteries.p_set_kw"):
        assert reference[signal].tobytes() == other[signal].tobytes()


def test_a_scenario_cannot_let_its_own_code_run(tmp_path: Path) -> None:
    path = written(tmp_path, "raise SystemExit('it was run')\n")
    (found,) = problems_of(path, trust_control=False)
    assert found == (
        "/federates/own/file: 'shave.py' is code, which a scenario cannot let run by itself; --trust-control allows it"
    )


def test_the_command_lets_it_run_and_the_run_records_that(tmp_path: Path) -> None:
    path = written(tmp_path)
    words = ("--set", "duration_s=300", "--trust-control", "--quiet", "--no-report", "--out", "out")
    done = derloop_command(tmp_path, "run", str(path), *words)
    assert done.returncode == 0, done.stdout + done.stderr
    assert derloop.open_run(tmp_path / "out").run["trust_control"] is True


def test_a_control_that_changes_the_working_folder_loses_no_results(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As OpenDSS does, by itself, for who solves a feeder of its own."""
    (tmp_path / "elsewhere").mkdir()
    leaving = f"import os\n\nos.chdir({str(tmp_path / 'elsewhere')!r})\n"
    path = written(tmp_path, leaving + SHAVE)
    monkeypatch.chdir(tmp_path)
    result = derloop.run(path, ["duration_s=300"], out=Path("out"), engine="local", trust_control=True)
    assert result.outcome == "completed", result.failure
    assert (tmp_path / "out" / "report.html").exists()
    assert not [*(tmp_path / "elsewhere").iterdir()]
    monkeypatch.chdir(tmp_path)
    show_result(result, quiet=False)
    assert f"results  out\nreport   {Path('out/report.html')}\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("control", "code", "where", "why"),
    [
        ({"file": "../shave.py"}, SHAVE, "file", "is outside the scenario's folder"),
        ({"file": "shove.py"}, SHAVE, "file", "is no file in the scenario's folder"),
        ({"class": "Shove"}, SHAVE, "class", "shave.py has no class 'Shove'; did you mean 'Shave'?"),
        ({}, "class Shave:\n    pass\n", "class", "has no method step(now_s, measured)"),
        ({}, "class Shave:\n    def step(self:\n", "file", "shave.py, line 2: SyntaxError"),
        ({}, "import math\n\nmath.sqrt(-1)\n", "file", "shave.py, line 3: ValueError: math domain error"),
        ({"reads": ["grid.head_kww"]}, SHAVE, "reads/0", "no output 'grid.head_kww'; did you mean 'grid.head_kw'?"),
        ({"writes": ["p_sett_kw"]}, SHAVE, "writes/0", "no input 'p_sett_kw'; did you mean 'p_set_kw'?"),
        ({"members": []}, SHAVE, "writes/0", "of members, which are none; did you mean 'batteries.p_set_kw'?"),
        ({"reads": ["head_kw"]}, SHAVE, "reads/0", "of members, which are batteries; did you mean 'grid.head_kw'?"),
        ({"members": ["battery"]}, SHAVE, "members/0", "no fleet is called 'battery'; did you mean 'batteries'?"),
        ({"initial": {"switch_set": 1}}, SHAVE, "initial/switch_set", "fits nothing that is written"),
    ],
)
def test_what_cannot_be_is_refused_before_the_run(
    tmp_path: Path, control: dict[str, object], code: str, where: str, why: str
) -> None:
    found = problems_of(written(tmp_path, code, **control))
    assert any(f.startswith(f"/federates/own/{where}: ") and why in f for f in found), found


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ("1 / (now_s - 60)", "shave.py, line 7: ZeroDivisionError"),
        ("np.linalg.inv(np.zeros((2, 2)))", "shave.py, line 7: LinAlgError: Singular matrix"),
        ("sys.exit(0)", "shave.py, line 7: SystemExit: 0"),
        ("None", "it answers with a NoneType, not with its setpoints by name"),
        ('{"batteries.p_kw": 1.0}', "it sets 'batteries.p_kw', which it does not write"),
        ('{"batteries.p_set_kw": [1.0, 2.0, 3.0]}', "with shape (3,), not one number or (2,)"),
        ('{"batteries.p_set_kw": [1.0, np.nan]}', "to what is not finite at "),
        ('{"batteries.p_set_kw": "much"}', "to a str that is no array of numbers"),
        ('{"batteries.p_set_kw": "5"}', "to a str that is no array of numbers"),
        ('{"batteries.p_set_kw": ["1_0", 2.0]}', "to a list that is no array of numbers"),
        ('{"batteries.p_set_kw": np.array(["5", 2.0], object)}', "to a ndarray that is no array of numbers"),
        ('{"batteries.p_set_kw": np.array([1 + 5j, 2])}', "to a ndarray that is no array of numbers"),
        ('{"batteries.p_set_kw": np.timedelta64(3, "s")}', "to a timedelta64 that is no array of numbers"),
        ('{"batteries.p_set_kw": 10**400}', "to a int that is no array of numbers"),
        ('{"batteries.p_set_kw": np.ma.masked_array([1.0, 2.0], [True, False])}', "to what is not finite at "),
    ],
)
def test_its_mistakes_end_the_run_in_its_name(tmp_path: Path, answer: str, why: str) -> None:
    head = "import sys\nimport numpy as np\n\nclass Shave:\n    def __init__(self, p, s): pass\n"
    code = f"{head}    def step(self, now_s, m):\n        return {answer}\n"
    result = run(written(tmp_path, code), overrides=("duration_s=300",))
    assert (result.outcome, result.status) == ("failed", 3)
    assert result.failure.startswith("federate 'own' at ")
    assert why in result.failure
    assert "Traceback" not in result.failure


def test_parameters_that_are_missing_are_told_with_the_line_that_wants_them(tmp_path: Path) -> None:
    result = run(written(tmp_path, parameters={}))
    assert result.failure == "federate 'own' before the first step: shave.py, line 3: KeyError: 'limit_kw'"


def test_no_cache_is_left_beside_the_file(tmp_path: Path) -> None:
    run(written(tmp_path), overrides=("duration_s=120",))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["feeder.dss", "run", "shave.py", "study.json"]


def test_a_control_that_hears_nothing_knows_how_old_its_values_are_and_can_rest(tmp_path: Path) -> None:
    code = """
class Shave:
    def __init__(self, parameters, site):
        pass

    def step(self, now_s, measured):
        assert measured["grid.age_s"].shape == (1,)
        is_heard = measured["batteries.age_s"] <= 120
        return {"batteries.p_set_kw": 4.0 * is_heard}
"""
    path = written(tmp_path, code, reads=["grid.head_kw", "p_kw", "age_s", "grid.age_s"])
    outage = {"from": "batteries", "begins_s": 600, "lasts_s": 600, "loss_pu": 1}
    network = json.dumps({"kind": "network", "links": [{"to": "own"}], "events": [outage]})
    assert set(run(path, "plain", ("duration_s=300",))["own.batteries.p_set_kw"][1:].ravel()) == {4.0}
    set_kw = run(path, "silent", (f"federates.network={network}", "duration_s=1800"))["own.batteries.p_set_kw"]
    assert set_kw[1:10].min() == 4.0
    assert set_kw[14:20].max() == 0.0  # 120 s after the last that was heard, until something is heard again
    assert set_kw[23:].min() == 4.0
