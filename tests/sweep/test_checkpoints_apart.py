"""Checkpoints of a run in many processes or threads: whole or not there, and the same as those of a run in one."""

from __future__ import annotations

import io
import json
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from real_runs import PLUGIN, counters, rows_on_disk, started

import derloop
from derloop import memory, plugins
from derloop.crews import Crew
from derloop.engines import child
from derloop.engines.apart import Child
from derloop.engines.saving import Parts
from derloop.errors import DerloopError, EngineError
from derloop.options import Options
from derloop.results import checkpoints
from derloop.results.checkpoints import Checkpoint, instants, packed
from derloop.results.compare import compare
from derloop.results.store import RunFolder
from derloop.resuming import resume
from derloop.running import run

SCENARIOS = Path(__file__).parents[2] / "scenarios"
PATIENT = ("deadlines.join_s=150", "deadlines.step_s=150")
"""On a machine that is busy with others."""
HOUR_NS = 3_600_000_000_000


def ran(name: str, folder: Path, placement: str, *sets: str) -> Path:
    options = Options(placement=placement, out=folder / placement, report=False, checkpoint_every_s=3600)
    result = run(SCENARIOS / f"{name}.json", [*PATIENT, *sets], options)
    assert result.outcome == "completed", result.failure
    return result.folder.path


def kept(run: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((run / "checkpoints").iterdir())}


def stopped(run: Path, at_ns: int) -> None:
    """Leave of a run that has ended what one leaves that was killed some time after a checkpoint at `at_ns`."""
    said = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps({**said, "outcome": "running"}))
    for later in [ns for ns in instants(run) if ns > at_ns]:
        (run / "checkpoints" / f"{later:020d}.npz").unlink()


def check_goes_on(name: str, folder: Path, *sets: str, placement: str = "apart", signs: bool = True) -> None:
    """Processes keep what one process keeps, to the byte, and what goes on in processes ends as what never stopped.

    signs: also those of zeros in what is kept later. Admittances of a device at rest may come back as -0 for 0.
    """
    together, apart = ran(name, folder, "together", *sets), ran(name, folder, placement, *sets)
    assert kept(together) == kept(apart)
    whole = kept(apart)
    stopped(apart, instants(apart)[0])
    assert resume(apart, Options(report=False)).outcome == "completed"
    found = compare(RunFolder(together), RunFolder(apart))
    assert found.same, str(found)
    assert not signs or kept(apart) == whole


@pytest.mark.parametrize("placement", ["threads", "apart"])
def test_processes_and_threads_keep_what_one_keeps_and_go_on_to_the_same_end(placement: str, tmp_path: Path) -> None:
    check_goes_on("kind_load", tmp_path, "duration_s=7200", "step_s=900", placement=placement)


def test_two_feeders_in_threads_go_on_to_the_same_end(tmp_path: Path) -> None:
    check_goes_on("kind_transmission_bus", tmp_path, "duration_s=7200", "step_s=900", placement="threads", signs=False)


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", ["kind_battery", "kind_zip_load"])
def test_plants_and_loops_do_as_well(name: str, tmp_path: Path) -> None:
    check_goes_on(name, tmp_path, "duration_s=10800", "checks=[]")


@pytest.mark.long
@pytest.mark.timeout(300)
def test_a_run_that_is_killed_between_two_parts_goes_on_from_the_last_whole_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # before each step all give their parts: a does, then takes 0.3 s for its step, then b and c do
    row = counters(14, a={"slow_s": 0.3}, b={"reads": "a", "arrival": "now"}, c={"reads": "b"})
    scenario = {**row, "deadlines": {"join_s": 150, "step_s": 150}}
    with started(tmp_path, scenario, "--placement", "apart", "--no-report", "--checkpoint-every", "1") as real:
        real.wait_until(lambda: len(instants(real.out)) >= 3, "no checkpoint was written")
        time.sleep(0.1)
        for process in real.tree():
            process.kill()
        real.wait()
        last_ns = instants(real.out)[-1]
        assert 3 * 10**9 <= last_ns < 14 * 10**9
        assert [rows_on_disk(real.out, name)[: last_ns // 10**9] for name in "abc"] == [
            [i * 10**9 for i in range(last_ns // 10**9)]
        ] * 3
    monkeypatch.syspath_prepend(str(PLUGIN))
    plugins._offered.cache_clear()
    assert resume(real.out, Options(placement="together", report=False)).outcome == "completed"
    never = derloop.run(tmp_path / "scenario.json", ["federates.a.slow_s=0"], out=tmp_path / "never", report=False)
    plugins._offered.cache_clear()
    found = compare(never.folder, RunFolder(real.out))
    assert found.same, str(found)


# --- parts ---------------------------------------------------------------------------------------------


def part(at_ns: int, unit: str) -> Checkpoint:
    return Checkpoint(at_ns, {unit: memory.encoded(np.arange(3.0))}, {unit: memory.encoded(at_ns)})


def test_a_checkpoint_is_kept_once_every_unit_has_given_its_part_and_not_before() -> None:
    whole: list[Checkpoint] = []
    parts = Parts(["a", "b"], whole.append)
    for at_ns, unit in ((HOUR_NS, "a"), (2 * HOUR_NS, "a"), (HOUR_NS, "b")):
        assert whole == []
        parts.take(part(at_ns, unit))
    assert [(each.at_ns, sorted(each.federates)) for each in whole] == [(HOUR_NS, ["a", "b"])]


def test_a_process_says_a_long_state_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child, "PIECE_CHARS", 100)
    said = io.StringIO()
    supervisor = child.Supervisor(said, io.StringIO())
    supervisor.say_part(part(HOUR_NS, "a"))
    supervisor.say(beat="started")
    supervisor.say_part(part(2 * HOUR_NS, "a"))
    lines = said.getvalue().splitlines(keepends=True)
    assert len(lines) > 9
    assert max(map(len, lines)) < 150
    heard = Child(cast("Any", None), cast("Any", SimpleNamespace(heard=lambda: lines)))
    heard.hear()
    assert [packed(each) for each in heard.parts] == [packed(part(ns, "a")) for ns in (HOUR_NS, 2 * HOUR_NS)]


def test_a_checkpoint_is_read_before_the_classes_of_its_state_are_known(tmp_path: Path) -> None:
    state: memory.Encoded = ({"named": ["a_package.not_imported:State", 1.0]}, [])
    checkpoints.write(Checkpoint(HOUR_NS, federates={"plant": state}), tmp_path)
    read = checkpoints.read(tmp_path, HOUR_NS).federates["plant"]
    assert read == state
    with pytest.raises(memory.Forgetful, match=r"'a_package\.not_imported:State' is no state"):
        memory.decoded(*read)


def test_what_a_process_sends_as_its_part_and_is_none_is_refused() -> None:
    with pytest.raises(DerloopError, match="what a process has sent is no checkpoint"):
        checkpoints.unpacked(packed(part(HOUR_NS, "a"))[:-40])


@pytest.mark.parametrize(
    ("error", "kind"),
    [(DerloopError("cannot record"), DerloopError), (EngineError("nobody gives any turns any more"), EngineError)],
)
def test_what_failed_a_process_comes_before_what_others_notice_of_it(error: DerloopError, kind: type) -> None:
    """An error of the engine may only be what is left of another process's."""
    said = json.dumps({"failed": child._failure(error)}) + "\n"
    one = Child(Crew(()), cast("Any", SimpleNamespace(where="", heard=lambda: [said])))
    one.hear()
    assert type(one.failed) is kind
