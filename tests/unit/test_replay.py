"""Replay of measured series."""

from pathlib import Path
from typing import Any

import pytest
from fleets import S, context
from pydantic import ValidationError

from derloop.kind import PlaceError
from federates.der.replay import Replay, ReplaySettings

ROWS = "time_s,a,b\n0,1,10\n600,3,20\n" + "".join(f"{t},5,40\n" for t in range(1200, 86401, 600))
GAP = "time_s,a,b\n0,1,10\n600,3,20\n1200,5,40\n86400,5,40\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "m.csv").write_text(ROWS)
    return tmp_path


def replay(folder: Path, name: str = "p_kw", **signal: Any) -> Replay:
    settings = {"signals": {name: {"file": "m.csv", "columns": ["a"], "unit": "kW", **signal}}}
    made = ReplaySettings.model_validate(settings)
    return Replay(made, context(folder=folder, labels={"homes": ("h0", "h1", "h2"), "two": ("x", "y")}))


def at(one: Replay, now_s: float, port: str = "p_kw") -> list[float]:
    return one.step(round(now_s * S), {})[port].tolist()


def test_columns_are_the_elements_of_a_port(folder: Path) -> None:
    one = replay(folder, columns=["a", "b"])
    assert one.interface.outputs["p_kw"].labels == ("a", "b")
    assert one.interface.outputs["p_kw"].unit == "kW"
    assert at(one, 300.0) == [2.0, 15.0]
    assert at(one, 1200.0) == [5.0, 40.0]


def test_value_is_held_between_rows_where_asked_for(folder: Path) -> None:
    one = replay(folder, between="hold")
    assert [at(one, t)[0] for t in (0.0, 599.999, 600.0, 5000.0)] == [1.0, 1.0, 3.0, 5.0]


@pytest.mark.parametrize(("between", "late"), [("hold", [5.0, 1.0]), ("linear", [3.0, 1.0])])
def test_a_day_that_repeats_is_replayed_on_each_day(between: str, late: list[float], folder: Path) -> None:
    settings = {"file": "m.csv", "columns": ["a"], "unit": "kW", "between": between, "repeats": "daily"}
    made = ReplaySettings.model_validate({"signals": {"p_kw": settings}})
    one = Replay(made, context(folder=folder, until_ns=3 * 86400 * S))
    assert [at(one, 86400.0 * day + 600.0)[0] for day in range(3)] == [3.0] * 3
    assert [at(one, 86400.0 - back_s)[0] for back_s in (300.0, 0.0)] == late


def test_series_is_scaled_and_moved(folder: Path) -> None:
    assert at(replay(folder, scale=-2.0, offset=10.0), 600.0) == [4.0]


def test_one_column_goes_to_all_devices_of_a_fleet(folder: Path) -> None:
    one = replay(folder, name="homes.shift_k", unit="K")
    assert one.interface.outputs["homes.shift_k"].labels == ("h0", "h1", "h2")
    assert at(one, 600.0, "homes.shift_k") == [3.0, 3.0, 3.0]


def test_a_column_for_each_device_goes_to_each(folder: Path) -> None:
    assert at(replay(folder, name="two.shift_k", columns=["b", "a"]), 600.0, "two.shift_k") == [20.0, 3.0]


def test_value_at_the_last_row_is_that_row(folder: Path) -> None:
    assert at(replay(folder), 86400.0) == [5.0]


def test_values_before_the_first_step_are_those_at_the_start(folder: Path) -> None:
    assert replay(folder).start()["p_kw"].tolist() == [1.0]


def refusal(folder: Path, **signal: Any) -> tuple[tuple[str | int, ...], str]:
    with pytest.raises(PlaceError) as error:
        replay(folder, **signal)
    return error.value.problems[0]


def test_what_does_not_fit_is_refused_where_it_stands(folder: Path) -> None:
    where, what = refusal(folder, name="home.shift_k")
    assert (where, what) == (("signals", "home.shift_k"), "no fleet is called 'home'; did you mean 'homes'?")
    where, what = refusal(folder, name="homes.shift_k", columns=["a", "b"])
    assert where == ("signals", "homes.shift_k", "columns")
    assert what == "2 columns for 3 devices of 'homes'; allowed is 1 or 3"
    where, what = refusal(folder, columns=["a", "c"])
    assert where == ("signals", "p_kw", "columns", 1)
    where, what = refusal(folder, file="none.csv")
    assert where == ("signals", "p_kw", "file")


def test_gaps_and_holes_are_refused(folder: Path) -> None:
    where, what = refusal(folder, longest_gap_s=300.0)
    assert where == ("signals", "p_kw", "longest_gap_s")
    assert what == "'m.csv' has a gap of 600 s after time_s 0; allowed is 300 s, unless this says otherwise"
    (folder / "m.csv").write_text(GAP)
    where, what = refusal(folder)
    assert where == ("signals", "p_kw", "longest_gap_s")
    assert "a gap of 85200 s after time_s 1200; allowed is 1800 s" in what
    assert at(replay(folder, longest_gap_s=86400.0), 43800.0) == [5.0]
    assert at(replay(folder, between="hold"), 43800.0) == [5.0]
    (folder / "m.csv").write_text(ROWS.replace("3,20", "nan,20"))
    assert "is 'nan', which is no finite number" in refusal(folder)[1]
    (folder / "m.csv").write_text("time_s,a\n0,1\n600,2\n")
    assert "covers 00:00:00 to 00:10:00" in refusal(folder)[1]


@pytest.mark.parametrize("allowed", [{"longest_gap_s": 1800.0}, {"between": "hold"}])
def test_a_gap_that_is_allowed_may_be_among_rows_at_one_interval(allowed: dict[str, Any], folder: Path) -> None:
    rows = [f"{t},{t / 600}" for t in range(0, 86401, 600) if t not in (1200, 1800)]
    (folder / "m.csv").write_text("\n".join(["time_s,a", *rows]))
    assert at(replay(folder, **allowed), 2400.0) == [4.0]
    assert "nothing for 1800 s after 600" in refusal(folder)[1]


@pytest.mark.parametrize("wrong", [{}, {"P": {}}, {"p_kw": {"file": "m.csv", "columns": [], "unit": "kW"}}])
def test_impossible_settings_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        ReplaySettings.model_validate({"signals": wrong})
