"""Profiles."""

import os
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from derloop.kind import Context
from federates.der.profile import ProfileColumn, ProfileError, read_profile

STEP_NS = 60 * 10**9
SHIPPED = Path(__file__).parents[2] / "scenarios" / "profiles"


def context(folder: Path, hour: int = 0, run_s: int = 7200) -> Context:
    start = datetime(2025, 7, 15, hour, tzinfo=ZoneInfo("America/Phoenix"))
    return Context("load", folder, start, STEP_NS, run_s * 10**9, 1)


def written(folder: Path, text: str) -> ProfileColumn:
    (folder / "p.csv").write_text(text, encoding="utf-8")
    return ProfileColumn(file="p.csv", column="x_pu")


def refusal(folder: Path, text: str) -> ProfileError:
    with pytest.raises(ProfileError) as error:
        read_profile(written(folder, text), context(folder), STEP_NS)
    return error.value


def test_values_between_rows_are_interpolated(tmp_path: Path) -> None:
    column = written(tmp_path, "# a comment\n\n time_s , x_pu\n0,1\n# another\n3600,3\n7200,0\n")
    profile = read_profile(column, context(tmp_path), STEP_NS)
    assert [profile.at(s * 10**9) for s in (0, 900, 3600, 5400)] == [1.0, 1.5, 3.0, 1.5]


def test_profile_begins_at_the_scenarios_local_time_of_day(tmp_path: Path) -> None:
    column = written(tmp_path, "time_s,x_pu\n0,0\n86400,24\n")
    assert read_profile(column, context(tmp_path, hour=18), STEP_NS).at(3600 * 10**9) == pytest.approx(19.0)


def test_shipped_profiles_cover_their_day() -> None:
    column = ProfileColumn(file="clear_sky_july.csv", column="poa_wm2")
    profile = read_profile(column, context(SHIPPED, run_s=86400), STEP_NS)
    assert profile.at(0) == 0.0
    assert profile.at(12 * 3600 * 10**9) > 800.0


def test_profile_may_end_at_the_last_step(tmp_path: Path) -> None:
    text = "time_s,x_pu\n0,1\n7140,1\n"
    assert read_profile(written(tmp_path, text), context(tmp_path), STEP_NS).at(7140 * 10**9) == 1.0


def test_profile_that_ends_before_the_run_is_refused(tmp_path: Path) -> None:
    error = refusal(tmp_path, "time_s,x_pu\n0,1\n7139,1\n")
    assert "covers 00:00:00 to 01:58:59, but the run needs 00:00:00 to 01:59:00" in str(error)
    assert error.path == ("file",)


def test_profile_that_begins_after_the_run_is_refused(tmp_path: Path) -> None:
    assert "covers 00:01:00" in str(refusal(tmp_path, "time_s,x_pu\n60,1\n7200,1\n"))


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ("60,nan", "line 3: x_pu is 'nan', which is no finite number"),
        ("60,inf", "line 3: x_pu is 'inf'"),
        ("60,", "line 3: x_pu is ''"),
        ("60,1 kW", "line 3: x_pu is '1 kW'"),
        ("x,1", "line 3: time_s is 'x'"),
        ("0,1", "line 3: time_s must rise from row to row, but 0 follows 0"),
        ("-60,1", "line 3: time_s must rise from row to row, but -60 follows 0"),
        ("60", "line 3: 1 fields under 2 columns"),
        ("60,1,2", "line 3: 3 fields under 2 columns"),
    ],
)
def test_row_that_is_wrong_is_named_by_its_line(tmp_path: Path, row: str, why: str) -> None:
    assert why in str(refusal(tmp_path, f"time_s,x_pu\n0,1\n{row}\n7200,1\n"))


def test_lines_are_counted_with_their_comments(tmp_path: Path) -> None:
    assert "line 5" in str(refusal(tmp_path, "# a\ntime_s,x_pu\n0,1\n# b\n60,nan\n7200,1\n"))


@pytest.mark.parametrize(
    ("text", "why", "path"),
    [
        ("time_s,x_p\n0,1\n", "has no column 'x_pu'; did you mean 'x_p'?", ("column",)),
        ("time,x_pu\n0,1\n", "has no column 'time_s'; did you mean 'time'?", ("file",)),
        ("time_s,x_pu,x_pu\n0,1,1\n", "has the column 'x_pu' 2 times", ("column",)),
        ("time_s,x_pu\n", "has no rows", ("file",)),
        ("", "has no rows", ("file",)),
        ('time_s,x_pu\n0,"1\n', "is no CSV file", ("file",)),
    ],
)
def test_file_that_is_no_profile_is_refused(tmp_path: Path, text: str, why: str, path: tuple[str, ...]) -> None:
    error = refusal(tmp_path, text)
    assert why in str(error)
    assert error.path == path


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(ProfileError, match="UTF-8"):
        read_profile(ProfileColumn(file="p.csv", column="x_pu"), context(tmp_path), STEP_NS)


@pytest.mark.parametrize("file", ["../p.csv", "/etc/passwd", "link.csv", "linked/p.csv"])
def test_file_outside_the_scenarios_folder_is_refused(tmp_path: Path, file: str) -> None:
    inside = tmp_path / "scenario"
    inside.mkdir()
    (tmp_path / "p.csv").write_text("time_s,x_pu\n0,1\n86400,1\n")
    (inside / "link.csv").symlink_to(tmp_path / "p.csv")
    (inside / "linked").symlink_to(tmp_path)
    with pytest.raises(ProfileError, match="outside the scenario's folder"):
        read_profile(ProfileColumn(file=file, column="x_pu"), context(inside), STEP_NS)


def test_what_is_no_regular_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.csv")
    (tmp_path / "loop.csv").symlink_to(tmp_path / "loop.csv")
    for file in ("pipe.csv", "missing.csv", ".", "loop.csv", "nul\0.csv"):
        with pytest.raises(ProfileError):
            read_profile(ProfileColumn(file=file, column="x_pu"), context(tmp_path), STEP_NS)


def test_link_inside_the_folder_is_followed(tmp_path: Path) -> None:
    written(tmp_path, "time_s,x_pu\n0,1\n86400,1\n")
    (tmp_path / "link.csv").symlink_to(tmp_path / "p.csv")
    profile = read_profile(ProfileColumn(file="link.csv", column="x_pu"), context(tmp_path), STEP_NS)
    assert profile.at(0) == 1.0
