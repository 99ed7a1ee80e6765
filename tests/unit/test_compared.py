"""A run beside another one, or beside golden results: recorded runs, less and more of the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from judged import refusal

from derloop.checks import compared, judge_all
from derloop.checks.compared import Compared
from derloop.contract import Interface, Port
from derloop.errors import ScenarioError
from derloop.kind import PlaceError
from derloop.results.golden import Golden, record
from derloop.results.recorder import Recorder
from derloop.results.store import RunFolder
from derloop.scenario.loading import typed
from derloop.verdict import CheckEntry, Verdict

MINUTE = 60_000_000_000
INTERFACES = {"grid": Interface(MINUTE, outputs={"head_kw": Port("kW", ("a", "b"))})}


def run(folder: Path, scale: float = 1.0, minutes: int = 60, labels: tuple[str, ...] = ("a", "b")) -> RunFolder:
    """A power that peaks at minute 30 with `scale` x (10, 20) kW; its mean over the hour is half of that."""
    recorder = Recorder(folder, {"grid": Interface(MINUTE, outputs={"head_kw": Port("kW", labels)})})
    for minute in range(minutes):
        share = 1 - abs(minute - 30) / 30
        recorder.observe("grid", minute * MINUTE, {"head_kw": scale * share * np.array([10.0, 20.0])[: len(labels)]})
    recorder.close()
    return RunFolder(folder)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    run(tmp_path / "without")
    return tmp_path


def beside(folder: Path, this: RunFolder, **settings: Any) -> Verdict:
    given = Compared(**{"signal": "grid.head_kw", "against": "without", **settings})
    return judge_all([CheckEntry("it", compared.KIND, compared.placed(given, folder))], this)[0]


@pytest.mark.parametrize(("measure", "ours"), [("peak", 18.0), ("mean", 9.0), ("largest", 18.0), ("energy", 9.0)])
def test_a_reduction_is_a_share_of_what_the_other_run_had(folder: Path, measure: str, ours: float) -> None:
    this = run(folder / "with", 0.9)
    found = beside(folder, this, measure=measure, reduction=0.1, of="sum")
    assert (found.outcome, found.measured, found.unit) == ("PASS", pytest.approx(0.1), "1")
    assert f"{measure} {1.5 * ours:g} kW" in found.text
    assert found.source == "scenario; compared with without"
    assert beside(folder, this, measure=measure, reduction=0.11).outcome == "FAIL"


@pytest.mark.parametrize(("measure", "reduction"), [("least", -0.1), ("largest", 0.1), ("mean", -0.1)])
def test_of_what_is_negative_a_share_is_one_of_its_amount(folder: Path, measure: str, reduction: float) -> None:
    """-10 and -20 kW become -9 and -18 kW: more by a tenth, and by amount a tenth less."""
    run(folder / "exporting", -1.0)
    given = {"against": "exporting", "measure": measure}
    this = run(folder / "with", -0.9)
    found = beside(folder, this, **given, reduction=reduction - 0.01)
    assert (found.outcome, found.measured) == ("PASS", pytest.approx(reduction))
    assert found.when_ns == (None if measure == "mean" else 30 * MINUTE)
    assert beside(folder, this, **given, reduction=reduction + 0.01).outcome == "FAIL"
    assert beside(folder, this, **given, difference=0.11).outcome == "PASS"
    assert beside(folder, this, **given, difference=0.09).outcome == "FAIL"


def test_the_element_that_is_reduced_least_decides(folder: Path) -> None:
    recorder = Recorder(folder / "one", INTERFACES)
    for minute in range(60):
        recorder.observe("grid", minute * MINUTE, {"head_kw": np.array([5.0, 19.0])})
    recorder.close()
    found = beside(folder, RunFolder(folder / "one"), reduction=0.1)
    assert (found.outcome, found.measured, found.where) == ("FAIL", pytest.approx(0.05), "grid.head_kw at 'b'")


def test_a_difference_is_judged_in_both_directions(folder: Path) -> None:
    assert beside(folder, run(folder / "less", 0.98), difference=0.021).outcome == "PASS"
    assert beside(folder, run(folder / "lesser", 0.97), difference=0.021).outcome == "FAIL"
    assert beside(folder, run(folder / "same"), reduction=0.05).measured == 0.0
    found = beside(folder, run(folder / "more", 1.03), difference=0.021)
    assert (found.outcome, found.measured) == ("FAIL", pytest.approx(0.03))


def test_how_many_elements_only_one_of_the_two_has_is_said(folder: Path) -> None:
    fewer = beside(folder, run(folder / "fewer", labels=("a",)), difference=0.0)
    assert fewer.outcome == "PASS"
    assert fewer.text.endswith("; left out: 1 element that only one of the two has")
    others = beside(folder, run(folder / "others", labels=("a", "c")), difference=0.0)
    assert others.text.endswith("; left out: 2 elements that only one of the two has")
    assert "left out" not in beside(folder, run(folder / "same"), difference=0.0).text


def test_no_difference_is_told_as_none(folder: Path) -> None:
    found = beside(folder, run(folder / "same"), difference=0.1)
    assert (found.outcome, str(found.measured)) == ("PASS", "0.0")
    assert ": 0 % apart, 10 % allowed" in found.text


def test_an_increase_can_be_allowed_as_a_negative_reduction(folder: Path) -> None:
    this = run(folder / "more", 1.03)
    assert beside(folder, this, reduction=-0.05).outcome == "PASS"
    assert beside(folder, this, reduction=-0.02).outcome == "FAIL"


def test_both_are_looked_at_within_the_window(folder: Path) -> None:
    this = run(folder / "short", 0.5, minutes=20)
    assert beside(folder, this, reduction=0.5, to_s=1200).outcome == "PASS"
    assert beside(folder, this, reduction=0.5, to_s=1800).outcome == "INCONCLUSIVE"


@pytest.mark.parametrize("measure", ["energy", "mean", "peak"])
@pytest.mark.parametrize("minutes", [30, 90])
def test_a_run_of_another_length_is_not_compared_without_an_end(folder: Path, measure: str, minutes: int) -> None:
    this = run(folder / "other", minutes=minutes)
    found = beside(folder, this, measure=measure, reduction=-10)
    assert found.outcome == "INCONCLUSIVE"
    assert f"grid.head_kw ends at {minutes * 60} s here and at 3600 s there: give to_s" in found.text
    assert beside(folder, this, measure=measure, difference=0, to_s=1800).outcome == "PASS"


def test_golden_results_after_the_end_of_a_run_are_not_compared(folder: Path) -> None:
    record(run(folder / "before"), folder / "golden", Golden(900.0))  # at 0, 15, 30 and 45 min
    assert beside(folder, run(folder / "now", minutes=46), against="golden", difference=0).outcome == "PASS"
    assert beside(folder, run(folder / "less", minutes=45), against="golden", difference=0).outcome == "INCONCLUSIVE"


def test_golden_results_are_compared_at_their_own_instants(folder: Path) -> None:
    record(run(folder / "before"), folder / "golden", Golden(900.0))
    this = run(folder / "now")
    assert beside(folder, this, against="golden", measure="energy", difference=0).outcome == "PASS"
    assert (
        beside(folder, run(folder / "half", 0.5), against="golden", measure="energy", difference=0.4).outcome == "FAIL"
    )


@pytest.mark.parametrize(
    ("settings", "path", "why"),
    [
        ({"against": "elsewhere"}, "against", "is no folder in the scenario's folder"),
        ({"against": ".."}, "against", "is outside the scenario's folder"),
        ({"against": "empty"}, "against", "is neither a run's folder nor golden results"),
        ({"signal": "grid.head_kv"}, "signal", "did you mean 'grid.head_kw'?"),
    ],
)
def test_what_is_not_there_is_refused_before_the_run(
    folder: Path, settings: dict[str, str], path: str, why: str
) -> None:
    (folder / "empty").mkdir()
    given = Compared(**{"signal": "grid.head_kw", "against": "without", "reduction": 0.1, **settings})
    with pytest.raises(PlaceError) as error:
        compared.placed(given, folder)
    ((where, what),) = error.value.problems
    assert where == (path,)
    assert why in what


def test_a_run_to_compare_with_that_is_not_there_is_refused_with_the_pointer_also_when_nested(tmp_path: Path) -> None:
    check = {"kind": "compared", "signal": "area.f_hz", "against": "runs/none", "difference": 0}
    federates = {"area": {"kind": "frequency", "trace": 60}}
    data = {"name": "x", "start": "2025-07-15T00:00:00Z", "duration_s": 60, "step_s": 1, "federates": federates}
    with pytest.raises(ScenarioError) as error:
        typed({**data, "checks": [{"kind": "any-of", "of": [check]}]}, tmp_path / "x.json")
    assert [p.pointer for p in error.value.problems] == ["/checks/0/of/0/against"]


def test_settings_that_make_no_sense_are_refused() -> None:
    assert "needs either reduction or difference" in refusal(compared.KIND, {"signal": "a.x", "against": "b"})


def test_there_is_no_share_of_nothing(folder: Path) -> None:
    run(folder / "still", 0.0)
    this = run(folder / "now")
    assert beside(folder, this, against="still", reduction=0.1).outcome == "INCONCLUSIVE"
    assert beside(folder, run(folder / "again", 0.0), against="still", difference=0).outcome == "PASS"
