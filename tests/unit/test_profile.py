"""Profiles."""

import os
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from pydantic import ValidationError

from derloop.kind import Context
from federates.der.profile import ProfileColumn, ProfileError, read_profile, too_dense

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
        ("60,1_0", "line 3: x_pu is '1_0', which is no finite number"),
        ("60,\u0663", "line 3: x_pu is '\u0663', which is no finite number"),
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
        ("tim_s,x_pu\n0,1\n", "has no column 'time_s'; did you mean 'tim_s'?", ("file",)),
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


# --- gaps --------------------------------------------------------------------------------------------

QUARTERS = [f"{900 * k},{k}" for k in range(12)]


def test_rows_that_are_missing_are_refused(tmp_path: Path) -> None:
    rows = [row for k, row in enumerate(QUARTERS) if k not in (3, 4)]
    error = refusal(tmp_path, "time_s,x_pu\n" + "\n".join(rows) + "\n")
    assert "line 5: nothing for 2700 s after 1800; allowed is 900 s between rows" in str(error)
    assert error.path == ("file",)


def test_longest_gap_allows_and_refuses(tmp_path: Path) -> None:
    rows = [row for k, row in enumerate(QUARTERS) if k != 3]
    (tmp_path / "p.csv").write_text("time_s,x_pu\n" + "\n".join(rows) + "\n")
    column = ProfileColumn(file="p.csv", column="x_pu", longest_gap_s=1800)
    assert read_profile(column, context(tmp_path), STEP_NS).at(2700 * 10**9) == 3.0
    with pytest.raises(ProfileError, match="nothing for 1800 s after 1800; allowed is 1000 s") as error:
        read_profile(column.model_copy(update={"longest_gap_s": 1000.0}), context(tmp_path), STEP_NS)
    assert error.value.path == ("longest_gap_s",)


def test_rows_drawn_by_hand_have_no_interval_and_so_no_gap(tmp_path: Path) -> None:
    column = written(tmp_path, "time_s,x_pu\n0,0\n600,1\n1200,1\n5000,2\n9000,0\n")
    assert read_profile(column, context(tmp_path), STEP_NS).at(5000 * 10**9) == 2.0


# --- timestamps and time zones -----------------------------------------------------------------------

PACIFIC = ZoneInfo("America/Los_Angeles")


def on(folder: Path, day: datetime, hours: float) -> Context:
    return Context("load", folder, day, STEP_NS, round(hours * 3600) * 10**9, 1)


def stamped(folder: Path, stamps: list[str], **more: Any) -> ProfileColumn:
    rows = [f"{stamp},{k}" for k, stamp in enumerate(stamps)]
    (folder / "p.csv").write_text("time,x_pu\n" + "\n".join(rows) + "\n")
    return ProfileColumn(file="p.csv", column="x_pu", **more)


SPRING = datetime(2025, 3, 9, tzinfo=PACIFIC)
AUTUMN = datetime(2025, 11, 2, tzinfo=PACIFIC)


def test_timestamps_are_instants_whatever_their_offset(tmp_path: Path) -> None:
    stamps = [
        "2025-03-09T00:00:00-08:00",
        "2025-03-09T09:00:00Z",
        "2025-03-09T03:00:00-07:00",
        "2025-03-09 12:00+01:00",
    ]
    profile = read_profile(stamped(tmp_path, stamps), on(tmp_path, SPRING, 3), STEP_NS)
    assert [profile.at(h * 3600 * 10**9) for h in (0, 1, 2, 3)] == [0.0, 1.0, 2.0, 3.0]


def test_clock_of_a_zone_in_spring_has_twenty_three_hours(tmp_path: Path) -> None:
    stamps = [f"2025-03-09 {h:02d}:00" for h in range(24) if h != 2] + ["2025-03-10 00:00"]
    column = stamped(tmp_path, stamps, time_zone="America/Los_Angeles")
    profile = read_profile(column, on(tmp_path, SPRING, 23), STEP_NS)
    assert [profile.at(h * 3600 * 10**9) for h in (0, 1, 2, 22)] == [0.0, 1.0, 2.0, 22.0]
    with pytest.raises(ProfileError, match=r"covers 00:00:00 to 23:00:00, but the run needs 00:00:00 to 23:59:00"):
        read_profile(column, on(tmp_path, SPRING, 24), STEP_NS)


def test_hour_that_was_never_shown_is_refused(tmp_path: Path) -> None:
    stamps = [f"2025-03-09 {h:02d}:00" for h in range(24)]
    with pytest.raises(ProfileError, match=r"line 4: '2025-03-09 02:00' was never shown .*2025-03-09T03:00:00-07:00"):
        read_profile(stamped(tmp_path, stamps, time_zone="America/Los_Angeles"), on(tmp_path, SPRING, 2), STEP_NS)


def test_hour_that_was_shown_twice_is_refused_without_offset(tmp_path: Path) -> None:
    stamps = ["2025-11-02 00:00", "2025-11-02 01:00", "2025-11-02 02:00"]
    allowed = "allowed is 2025-11-02T01:00:00-07:00 or 2025-11-02T01:00:00-08:00"
    with pytest.raises(
        ProfileError, match=f"line 3: '2025-11-02 01:00' was shown twice by .* one after the other; {allowed}"
    ):
        read_profile(stamped(tmp_path, stamps, time_zone="America/Los_Angeles"), on(tmp_path, AUTUMN, 2), STEP_NS)


@pytest.mark.parametrize("minutes", [15, 60])
def test_rows_that_go_twice_through_an_hour_that_was_shown_twice_are_told_by_their_order(
    tmp_path: Path, minutes: int
) -> None:
    hours = [0, 1, 1, 2, 3]
    stamps = [f"2025-11-02 {hour:02}:{minute:02}" for hour in hours for minute in range(0, 60, minutes)]
    column = stamped(tmp_path, stamps, time_zone="America/Los_Angeles")
    profile = read_profile(column, on(tmp_path, AUTUMN, 4), STEP_NS)
    assert [profile.at(h * 3600 * 10**9) for h in range(5)] == [h * 60 / minutes for h in range(5)]


def test_rows_that_go_three_times_through_an_hour_are_refused(tmp_path: Path) -> None:
    stamps = [f"2025-11-02 0{hour}:00" for hour in (0, 1, 1, 1, 2)]
    with pytest.raises(ProfileError, match="line 3: '2025-11-02 01:00' was shown twice"):
        read_profile(stamped(tmp_path, stamps, time_zone="America/Los_Angeles"), on(tmp_path, AUTUMN, 2), STEP_NS)


def test_hour_that_was_shown_twice_is_two_hours_with_offsets(tmp_path: Path) -> None:
    stamps = ["2025-11-02T00:00-07:00", "2025-11-02T01:00-07:00", "2025-11-02T01:00-08:00", "2025-11-02T02:00-08:00"]
    column = stamped(tmp_path, stamps, time_zone="America/Los_Angeles")
    profile = read_profile(column, on(tmp_path, AUTUMN, 3), STEP_NS)
    assert [profile.at(h * 3600 * 10**9) for h in (0, 1, 2, 3)] == [0.0, 1.0, 2.0, 3.0]


@pytest.mark.parametrize(
    ("stamps", "zone", "why"),
    [
        (
            ["2025-03-09T00:00:00"],
            None,
            "line 2: '2025-03-09T00:00:00' says neither an offset from UTC nor a time zone",
        ),
        (
            ["2025-03-09T00:00:00-07:00"],
            "America/Los_Angeles",
            "another offset .* allowed is 2025-03-08T23:00:00-08:00",
        ),
        (["0"], None, "line 2: '0' is no timestamp; allowed is ISO 8601"),
        (["NaT"], None, "line 2: 'NaT' is no timestamp"),
        (
            ["2025-03-09T01:00Z", "2025-03-09T00:00Z"],
            None,
            "line 3: time must rise .*T00:00Z follows .*T01:00Z",
        ),
        (["2025-03-09T00:00Z", "2025-03-09T23:00Z"], None, "covers -08:00:00 to 15:00:00, but the run needs"),
    ],
)
def test_timestamp_that_does_not_fit_is_refused(tmp_path: Path, stamps: list[str], zone: str | None, why: str) -> None:
    with pytest.raises(ProfileError, match=why) as error:
        read_profile(stamped(tmp_path, stamps, time_zone=zone), on(tmp_path, SPRING, 23), STEP_NS)
    assert error.value.path == ("file",)


def test_time_zone_is_for_timestamps_alone(tmp_path: Path) -> None:
    written(tmp_path, "time_s,x_pu\n0,1\n86400,1\n")
    column = ProfileColumn(file="p.csv", column="x_pu", time_zone="Europe/Berlin")
    with pytest.raises(ProfileError, match="the rows have no timestamps") as error:
        read_profile(column, context(tmp_path), STEP_NS)
    assert error.value.path == ("time_zone",)


def test_time_zone_that_is_not_is_refused() -> None:
    with pytest.raises(ValidationError, match="such as 'Europe/Berlin'"):
        ProfileColumn(file="p.csv", column="x_pu", time_zone="Europe/Berln")


def test_file_with_both_sorts_of_time_is_refused(tmp_path: Path) -> None:
    assert "both columns 'time_s' and 'time'" in str(refusal(tmp_path, "time_s,time,x_pu\n0,2025-07-15T00:00Z,1\n"))


@pytest.mark.parametrize(
    ("day", "hours", "shown"),
    [(SPRING, 23, [0, 1, 3, 4, 23]), (AUTUMN, 25, [0, 1, 1, 2, 21])],
)
def test_shape_of_a_day_follows_the_clock(tmp_path: Path, day: datetime, hours: int, shown: list[float]) -> None:
    """24 hours of shape are a whole day of 23 hours, in which one is skipped, and of 25, in which one comes twice."""
    column = written(tmp_path, "time_s,x_pu\n0,0\n86400,24\n")
    profile = read_profile(column, on(tmp_path, day, hours), STEP_NS)
    assert [profile.at(h * 3600 * 10**9) for h in (0, 1, 2, 3, 22)] == pytest.approx(shown)
    assert profile.at((hours * 3600 - 60) * 10**9) == pytest.approx(24 - 1 / 60)


def test_shape_must_reach_what_the_clock_showed_before_it_was_set_back(tmp_path: Path) -> None:
    column = written(tmp_path, "time_s,x_pu\n0,0\n5000,1\n")
    with pytest.raises(ProfileError, match="the run needs 00:00:00 to 01:59:00"):
        read_profile(column, on(tmp_path, AUTUMN, 2.1), STEP_NS)


# --- days that repeat --------------------------------------------------------------------------------


def test_a_day_that_does_not_reach_offers_to_repeat(tmp_path: Path) -> None:
    column = written(tmp_path, "time_s,x_pu\n0,0\n86400,24\n")
    why = "covers 00:00:00 to 24:00:00, but the run needs 00:00:00 to 47:59:00, .*; with repeats 'daily' it holds on"
    with pytest.raises(ProfileError, match=why):
        read_profile(column, context(tmp_path, run_s=2 * 86400), STEP_NS)


def test_a_day_that_repeats_holds_on_each_day_and_its_first_row_at_midnight(tmp_path: Path) -> None:
    written(tmp_path, "time_s,x_pu\n0,1\n43200,3\n86400,9\n")
    column = ProfileColumn(file="p.csv", column="x_pu", repeats="daily")
    profile = read_profile(column, context(tmp_path, hour=18, run_s=10 * 86400), STEP_NS)
    hours = [0, 6, 12, 18, 30, 42, 9 * 24 + 6, 9 * 24 + 18]
    assert [profile.at(h * 3600 * 10**9) for h in hours] == [2.0, 1.0, 2.0, 3.0, 1.0, 3.0, 1.0, 3.0]
    assert profile.at(10 * 86400 * 10**9) == 6.0  # the last day ends with the file's own last row


@pytest.mark.parametrize(("day", "hours"), [(SPRING, 23), (AUTUMN, 25)])
def test_a_day_that_repeats_follows_the_clock(tmp_path: Path, day: datetime, hours: int) -> None:
    written(tmp_path, "time_s,x_pu\n0,0\n86399,23.9997\n86400,0\n")
    column = ProfileColumn(file="p.csv", column="x_pu", repeats="daily")
    profile = read_profile(column, on(tmp_path, day, hours + 24), STEP_NS)
    assert [profile.at((hours + h) * 3600 * 10**9) for h in (-1, 0, 5, 23)] == pytest.approx([23, 0, 5, 23], abs=1e-3)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("time_s,x_pu\n0,1\n82800,1\n", "covers 00:00:00 to 23:00:00 by time_s; what repeats is a day"),
        ("time_s,x_pu\n0,1\n86400,1\n172800,2\n", "covers 00:00:00 to 48:00:00 by time_s"),
        ("time,x_pu\n2025-07-15T07:00Z,1\n2025-07-16T07:00Z,1\n", "by time; what repeats is a day, with time_s from 0"),
    ],
)
def test_what_is_no_day_does_not_repeat(tmp_path: Path, text: str, why: str) -> None:
    written(tmp_path, text)
    column = ProfileColumn(file="p.csv", column="x_pu", repeats="daily")
    with pytest.raises(ProfileError, match=why) as error:
        read_profile(column, context(tmp_path), STEP_NS)
    assert error.value.path == ("repeats",)


@pytest.mark.parametrize(
    ("interval_s", "what"), [(900.0, "are 600 s apart, and metering intervals are of 900 s"), (600.0, "")]
)
def test_rows_within_metering_intervals_are_too_many(interval_s: float, what: str, tmp_path: Path) -> None:
    profile = read_profile(written(tmp_path, "time_s,x_pu\n0,1\n600,2\n7200,2\n"), context(tmp_path), STEP_NS)
    assert what in too_dense(profile, interval_s)
    assert bool(too_dense(profile, interval_s)) == bool(what)
