"""Events are whole lines of JSON, there as soon as they are added, whatever their facts are."""

from __future__ import annotations

import fcntl
import json
import os
import resource
import subprocess
import sys
from datetime import datetime
from enum import Enum
from pathlib import Path
from threading import Thread

import numpy as np
import pytest

from derloop.errors import DerloopError
from derloop.results.events import Events, read_events


class Mode(Enum):
    VOLT_VAR = "volt-var"


class Mute:
    def __str__(self) -> str:
        raise RuntimeError("no")


def test_an_event_is_in_the_file_as_soon_as_it_is_added(tmp_path: Path) -> None:
    events = Events(tmp_path / "run" / "events.jsonl")
    events.add("started", engine="helics", federates=["grid", "pv"])
    (line,) = events.path.read_text().splitlines()
    event = json.loads(line)
    assert (event["what"], event["engine"], event["federates"]) == ("started", "helics", ["grid", "pv"])


def test_an_event_carries_its_wall_clock_time_with_zone(tmp_path: Path) -> None:
    events = Events(tmp_path / "events.jsonl")
    before = datetime.now().astimezone().replace(microsecond=0)
    events.add("started")
    (event,) = read_events(events.path)
    at = datetime.fromisoformat(event["time"])
    assert at.tzinfo is not None
    assert before <= at <= datetime.now().astimezone()


CIRCLE: list[object] = []
CIRCLE.append(CIRCLE)


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (np.float64(1.5), 1.5),
        (np.arange(3), [0, 1, 2]),
        (np.array([1.0, np.nan]), [1.0, "nan"]),
        (np.bool_(True), True),
        (np.array([1j]), "[0.+1.j]"),
        (np.timedelta64(5, "s"), "5 seconds"),
        (float("inf"), "inf"),
        (10**400, hex(10**400)),
        (Mode.VOLT_VAR, "Mode.VOLT_VAR"),
        (Path("a/b"), "a/b"),
        (b"\xff", "b'\\xff'"),
        (ValueError("low"), "ValueError: low"),
        ({1: {2: None}}, {"1": {"2": None}}),
        ((1, 2), [1, 2]),
        ("\ud800 and \n", "\ud800 and \n"),
        (Mute(), "<Mute without text: RuntimeError>"),
        ({"time": Mute()}, {"time": "<Mute without text: RuntimeError>"}),
    ],
)
def test_a_fact_of_any_kind_is_written(tmp_path: Path, value: object, written: object) -> None:
    events = Events(tmp_path / "events.jsonl")
    events.add("odd", value=value)
    assert read_events(events.path)[0]["value"] == written


def test_a_circle_does_not_turn_for_ever(tmp_path: Path) -> None:
    events = Events(tmp_path / "events.jsonl")
    events.add("odd", value=CIRCLE)
    assert len(read_events(events.path)) == 1


def test_facts_named_like_the_parts_of_an_event_do_not_replace_them(tmp_path: Path) -> None:
    events = Events(tmp_path / "events.jsonl")
    events.add("odd", what="mine", time="mine", self="mine")
    (event,) = read_events(events.path)
    assert event["what"] == "odd"
    assert datetime.fromisoformat(event["time"]).tzinfo is not None
    assert event["self"] == "mine"


def test_a_line_that_was_cut_short_is_left_out(tmp_path: Path) -> None:
    events = Events(tmp_path / "events.jsonl")
    events.add("whole")
    with events.path.open("a") as file:
        file.write('{"what": "cut')
    assert [event["what"] for event in read_events(events.path)] == ["whole"]


def test_an_event_that_the_disk_has_no_room_for_is_told_and_costs_no_other(tmp_path: Path) -> None:
    events = Events(tmp_path / "events.jsonl")
    events.add("first")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (events.path.stat().st_size + 10, limits[1]))
    try:
        with pytest.raises(DerloopError, match=r"cannot add 'lost' to .*: File too large"):
            events.add("lost")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    events.add("next")
    assert [event["what"] for event in read_events(events.path)] == ["first", "next"]


def test_a_run_without_events_has_none(tmp_path: Path) -> None:
    assert read_events(tmp_path / "events.jsonl") == []


def test_threads_and_processes_add_whole_lines_to_one_file(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    code = (
        "import sys; from pathlib import Path; from derloop.results.events import Events\n"
        "for i in range(100): Events(Path(sys.argv[1])).add('child', who=sys.argv[2], i=i, pad='x' * 3000)"
    )
    children = [subprocess.Popen([sys.executable, "-c", code, str(path), str(who)]) for who in range(2)]
    events = Events(path)
    threads = [Thread(target=lambda: [events.add("thread", pad="y" * 3000) for _ in range(100)]) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [child.wait() for child in children] == [0, 0]
    found = read_events(path)
    assert len(found) == len(path.read_bytes().splitlines()) == 400
    for who in "01":
        assert [e["i"] for e in found if e.get("who") == who] == list(range(100))


def test_a_writer_that_was_stopped_keeps_no_other_from_adding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("derloop.results.events.WAIT_S", 0.05)
    events = Events(tmp_path / "events.jsonl")
    events.add("first")
    with events.path.open() as stopped:
        fcntl.flock(stopped, fcntl.LOCK_EX)
        events.add("next")
    assert [event["what"] for event in read_events(events.path)] == ["first", "next"]


def test_a_process_that_is_forked_meanwhile_keeps_nobody_from_adding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each event of the run waited a second for it."""
    inherited: list[int] = []

    def forked(file: int) -> bool:
        inherited.append(os.dup(file))  # a fork has it open as well, and as the same
        return True

    monkeypatch.setattr("derloop.results.events._is_at_line_begin", forked)
    events = Events(tmp_path / "events.jsonl")
    events.add("first")
    with events.path.open() as next_:
        fcntl.flock(next_, fcntl.LOCK_EX | fcntl.LOCK_NB)
    for file in inherited:
        os.close(file)


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(DerloopError, match=r"cannot add 'started' to .*: Is a directory"):
        Events(tmp_path).add("started")
