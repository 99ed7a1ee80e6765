"""Writes are counted across runs, and refused beyond their budgets."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from derloop.errors import Interlocked
from hil.safety.budget import WriteCounter
from hil.safety.rules import PointBudget, WriteBudget


def counter(path: Path, **points: PointBudget) -> WriteCounter:
    opened = WriteCounter("inv-1", WriteBudget(points={f"704.{name}": each for name, each in points.items()}), path)
    opened.open()
    return opened


def write(counting: WriteCounter, name: str, now_s: float) -> list[str]:
    """Write a point as a keeper does, unless it is refused; return why it is."""
    problems = [*counting.problems([name], now_s)]
    if not problems:
        counting.reserve([name])
        counting.note([name], now_s)
    return problems


def test_a_point_is_refused_beyond_its_budget_of_a_day(tmp_path: Path) -> None:
    counting = counter(tmp_path / "counts", WSet=PointBudget(per_day=3))
    refused = [write(counting, "704.WSet", now_s) for now_s in range(5)]
    assert refused[:3] == [[], [], []]
    assert refused[3] == ["704.WSet was written 3 times today, its budget is 3 (write_budget)"]
    assert write(counting, "704.VarSet", 9.0) == []


def test_the_next_run_goes_on_counting(tmp_path: Path) -> None:
    for _ in range(2):
        counting = counter(tmp_path / "counts", WSet=PointBudget(total=5))
        assert write(counting, "704.WSet", 0.0) == []
        assert write(counting, "704.WSet", 1.0) == []
        counting.close()
    counting = counter(tmp_path / "counts", WSet=PointBudget(total=5))
    assert counting.count("704.WSet").total == 4
    assert write(counting, "704.WSet", 0.0) == []
    assert write(counting, "704.WSet", 1.0) == ["704.WSet was written 5 times in all, its budget is 5 (write_budget)"]


def test_a_clock_that_is_set_back_gives_no_new_budget(tmp_path: Path) -> None:
    path = tmp_path / "counts"
    path.write_text(json.dumps({"points": {"704.WSet": {"total": 90, "day": "2999-01-01", "in_day": 2}}}))
    counting = counter(path, WSet=PointBudget(per_day=3))
    assert write(counting, "704.WSet", 0.0) == []
    when = f"on 2999-01-01, which is later than now by this clock ({path})"
    assert write(counting, "704.WSet", 1.0) == [f"704.WSet was written 3 times {when}, its budget is 3 (write_budget)"]
    assert counting.count("704.WSet").day == "2999-01-01"


def test_the_budget_of_a_day_is_new_the_next_day(tmp_path: Path) -> None:
    path = tmp_path / "counts"
    path.write_text(json.dumps({"points": {"704.WSet": {"total": 90, "day": "2020-01-01", "in_day": 3}}}))
    counting = counter(path, WSet=PointBudget(per_day=3))
    assert write(counting, "704.WSet", 0.0) == []
    assert (counting.count("704.WSet").total, counting.count("704.WSet").in_day) == (91, 1)


def test_a_point_must_rest_between_two_writes(tmp_path: Path) -> None:
    counting = counter(tmp_path / "counts", WSet=PointBudget(interval_s=5.0))
    assert write(counting, "704.WSet", 10.0) == []
    assert write(counting, "704.WSet", 14.0) == ["704.WSet was written 4 s ago, and must rest for 5 s (write_budget)"]
    assert write(counting, "704.WSet", 15.0) == []


def test_a_killed_run_has_written_no_more_than_is_counted(tmp_path: Path) -> None:
    path = tmp_path / "counts"
    code = f"""
import os, signal
from pathlib import Path
from hil.safety.budget import WriteCounter
from hil.safety.rules import WriteBudget
counting = WriteCounter("inv-1", WriteBudget(), Path({str(path)!r}))
counting.open()
for _ in range(100):
    counting.reserve(["704.WSet"])
    counting.note(["704.WSet"], 0.0)
os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -signal.SIGKILL
    assert 100 <= counter(path).count("704.WSet").total <= 100 + 64


def test_of_a_point_with_a_budget_a_killed_run_has_counted_a_20th_of_it_too_many_at_most(tmp_path: Path) -> None:
    killed = counter(tmp_path / "counts", WSet=PointBudget(per_day=100), VarSet=PointBudget(total=10))
    for name in ("704.WSet", "704.VarSet"):
        assert write(killed, name, 0.0) == []
    counted = counter(tmp_path / "counts")
    assert 1 <= counted.count("704.WSet").total <= 1 + 5
    assert counted.count("704.VarSet").total == 1


def test_a_run_that_ends_gives_back_what_it_counted_and_did_not_write(tmp_path: Path) -> None:
    ended = counter(tmp_path / "counts")
    assert write(ended, "704.WSet", 0.0) == []
    ended.close()
    assert counter(tmp_path / "counts").count("704.WSet").total == 1


def test_what_is_written_after_midnight_is_counted_for_the_new_day(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hil.safety.budget._today", lambda: "2026-11-28")
    killed = counter(tmp_path / "counts")
    assert write(killed, "704.WSet", 0.0) == []
    monkeypatch.setattr("hil.safety.budget._today", lambda: "2026-11-29")
    assert write(killed, "704.WSet", 1.0) == []
    count = counter(tmp_path / "counts").count("704.WSet")
    assert (count.day, count.in_day) == ("2026-11-29", 64)


def test_counts_that_cannot_be_read_refuse_every_write(tmp_path: Path) -> None:
    for text in ("", "{", '{"points": {"704.WSet": {"total": "many"}}}'):
        (tmp_path / "counts").write_text(text)
        with pytest.raises(Interlocked, match=r"cannot be counted: .*counts cannot be read; move it away"):
            counter(tmp_path / "counts")


def test_counts_that_cannot_be_kept_refuse_the_write() -> None:
    counting = WriteCounter("inv-1", WriteBudget(), Path("/proc/derloop/counts"))
    for _ in range(2):
        with pytest.raises(Interlocked, match=r"cannot be counted: .*nothing was written"):
            counting.reserve(["704.WSet"])
