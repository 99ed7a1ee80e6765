"""A run that is done again against its own journal is the same to the bit, without the devices."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import own_site
import pytest
from typer.testing import CliRunner

import derloop
from derloop.cli import app
from derloop.errors import DerloopError, ScenarioError
from derloop.results.compare import compare
from derloop.results.store import RunFolder
from hil.commands.replaying import Replayed, replay_run
from hil.frames.evidence import Evidence
from hil.frames.exchanges import exchanges
from hil.frames.journal import Journal, journal_path
from hil.frames.replay import Divergence
from hil.frames.replayed import divergences_path, read_divergences, write_divergences

SCENARIO = Path(__file__).parents[3] / "scenarios" / "kind_emulator.json"
TEN_MINUTES = ["duration_s=600", "federates.vpp.services.0.recharge_below_kw=1500"]
LIMIT = "federates.vpp.services.0.limit_kw=2050"
AT_ONCE = ["duration_s=3", "step_s=1", "federates.vpp.services.0.recharge_below_kw=1500"]


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with an emulated storage that is told to shave a peak."""
    folder = tmp_path_factory.mktemp("runs") / "recorded"
    result = derloop.run(SCENARIO, [*TEN_MINUTES, LIMIT], out=folder, report=False)
    assert result.outcome == "completed", result.failure
    return folder


def again(recorded: Path, out: Path, *overrides: str, **trusted: bool) -> Replayed:
    return replay_run(recorded, overrides, out, **trusted)


def test_a_fleet_in_lock_step_leaves_every_frame_beside_the_series(recorded: Path) -> None:
    statistics = RunFolder(recorded).run["statistics"]["inverter"]
    found = exchanges(Evidence(recorded).entries())
    assert len(found) == statistics["modbus_exchanges"] > 30
    assert {exchange.peer.device for exchange in found} == {"inverter_0"}
    instants = [exchange.instant_ns for exchange in found]
    assert instants[0] is None
    assert sorted({at for at in instants if at is not None}) == [60 * 10**9 * step for step in range(10)]


def test_a_replay_is_the_recorded_run_to_the_bit_with_the_same_requests(recorded: Path, tmp_path: Path) -> None:
    replayed = again(recorded, tmp_path / "again")
    assert replayed.same
    assert (replayed.divergences, replayed.parted, replayed.compared) == ((), (), 22)
    assert replayed.result.folder.run["federates"]["inverter"]["via"] == f"replay:{recorded}"
    assert replayed.result.folder.run["statistics"]["inverter"]["divergences"] == 0
    assert compare(RunFolder(recorded), replayed.result.folder).same
    ours, theirs = (exchanges(Evidence(run).entries()) for run in (tmp_path / "again", recorded))
    assert [(e.instant_ns, e.request, e.answer) for e in ours] == [(e.instant_ns, e.request, e.answer) for e in theirs]


def test_a_device_that_answered_in_another_units_name_does_so_again(tmp_path: Path) -> None:
    """It was silent, so that the client lost its connection, and asked afterwards what it had not asked then."""
    path = own_site.written(tmp_path)
    quirks = {"fleets": {"batteries": {"quirks": {"wrong_unit": 0.1}}}}
    (path.parent / "strange.json").write_text(json.dumps(quirks), encoding="utf-8")
    session = own_site.run(path, overrides=("duration_s=300", "federates.batteries.via=emulator:strange.json"))
    assert session.outcome == "completed", session.failure
    recorded = session.folder.path
    assert {each.misnamed.off for each in exchanges(Evidence(recorded).entries()) if each.misnamed} == {1}
    replayed = again(recorded, tmp_path / "again", trust_control=True)
    assert [str(each) for each in replayed.divergences] == []
    assert replayed.same
    ours, theirs = (exchanges(Evidence(run).entries()) for run in (tmp_path / "again", recorded))
    assert [(e.request, e.answer) for e in ours] == [(e.request, e.answer) for e in theirs]


def test_a_control_that_commands_otherwise_is_named_with_what_was_recorded(recorded: Path, tmp_path: Path) -> None:
    replayed = again(recorded, tmp_path / "again", "federates.vpp.services.0.limit_kw=2000")
    assert not replayed.same
    first = replayed.divergences[0]
    assert (first.device, first.how) == ("inverter_0", "other values")
    assert "recorded was write" in first.what
    assert any(each.signal.name == "vpp.target_kw" for each in replayed.parted)
    assert replayed.result.folder.run["statistics"]["inverter"]["divergences"] >= len(replayed.divergences)
    assert "was written" in replayed.result.failure


def test_the_command_says_what_is_not_the_same(recorded: Path, tmp_path: Path) -> None:
    other = ["--set", "federates.vpp.services.0.limit_kw=2000", "--out", str(tmp_path / "again")]
    said = CliRunner().invoke(app, ["frames", "replay", str(recorded), *other])
    assert said.exit_code == 3
    assert "other values" in said.output
    assert "signals are equal to the bit" in said.output


def test_a_scenario_can_name_the_run_whose_devices_it_replays(recorded: Path, tmp_path: Path) -> None:
    via = f"federates.inverter.via=replay:{recorded}"
    limit = "federates.vpp.services.0.limit_kw=2050"
    result = derloop.run(SCENARIO, [*TEN_MINUTES, limit, via], out=tmp_path / "by-name", report=False)
    assert compare(RunFolder(recorded), result.folder).same


@pytest.mark.parametrize(
    ("via", "why"),
    [
        ("replay", "'replay' needs the folder of a run: replay:RUN"),
        ("replay:nowhere", "nowhere has no frames of 'inverter'"),
    ],
)
def test_a_run_that_has_no_such_frames_is_refused_where_it_is_named(via: str, why: str, tmp_path: Path) -> None:
    with pytest.raises(ScenarioError) as refused:
        derloop.run(SCENARIO, [f"federates.inverter.via={via}"], out=tmp_path / "none", report=False)
    (problem,) = refused.value.problems
    assert problem.pointer == "/federates/inverter/via"
    assert why in problem.what


def test_a_device_that_the_journal_does_not_know_fails_the_run_by_name(recorded: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    journal_path(other, "inverter").parent.mkdir(parents=True)
    journal_path(other, "inverter").write_bytes(
        journal_path(recorded, "inverter").read_bytes().split(b"\n", 1)[0] + b"\n"
    )
    result = derloop.run(
        SCENARIO, [*TEN_MINUTES, f"federates.inverter.via=replay:{other}"], out=tmp_path / "run", report=False
    )
    assert result.status == 3
    assert "device 'inverter_0': is not among the devices of" in result.failure


def test_a_replay_ends_by_name_where_its_recording_does(recorded: Path, tmp_path: Path) -> None:
    longer = ["duration_s=900", TEN_MINUTES[1], LIMIT, f"federates.inverter.via=replay:{recorded}"]
    result = derloop.run(SCENARIO, longer, out=tmp_path / "longer", report=False)
    assert result.status == 3
    assert "'inverter' at 600 s: device 'inverter_0': its recording ends at 540 s" in result.failure


def test_a_replay_of_a_run_that_was_killed_ends_by_name_at_its_last_whole_instant(
    recorded: Path, tmp_path: Path
) -> None:
    """Of its last instant the commands alone are in the journal."""
    killed, entries = tmp_path / "killed", [*Evidence(recorded).entries()]
    last_ns = 300 * 10**9
    end = next(i for i, each in enumerate(entries) if each.instant_ns == last_ns) + 2
    with Journal(journal_path(killed, "inverter")) as journal:
        for each in entries[:end]:
            journal.instant_ns = each.instant_ns
            journal.tap(each.peer)(each.direction, each.data)
    overrides = [*TEN_MINUTES, LIMIT, f"federates.inverter.via=replay:{killed}"]
    result = derloop.run(SCENARIO, overrides, out=tmp_path / "again", report=False)
    assert result.status == 3
    assert "'inverter' at 300 s: device 'inverter_0': its recording ends at 300 s" in result.failure


def test_a_run_that_cannot_be_done_again_is_named(recorded: Path, tmp_path: Path) -> None:
    with pytest.raises(DerloopError, match="has no frames"):
        replay_run(tmp_path)
    gone = tmp_path / "gone"
    journal_path(gone, "inverter").parent.mkdir(parents=True)
    journal_path(gone, "inverter").write_bytes(journal_path(recorded, "inverter").read_bytes())
    facts = {**RunFolder(recorded).run, "scenario_path": str(tmp_path / "none.json")}
    (gone / "run.json").write_text(json.dumps(facts), encoding="utf-8")
    with pytest.raises(DerloopError, match=r"none\.json, is not there any more"):
        replay_run(gone)
    (gone / "run.json").write_text(json.dumps({**facts, "federates": {}}), encoding="utf-8")
    with pytest.raises(DerloopError, match=r"frames of inverter, which its run\.json does not know"):
        replay_run(gone)


def test_divergences_are_kept_beside_the_frames(tmp_path: Path) -> None:
    found = [Divergence("inv-1", None, "never asked", "read 1+1"), Divergence("inv-2", 5, "not asked", "read 2+1")]
    write_divergences(divergences_path(tmp_path, "pv"), found)
    assert read_divergences(divergences_path(tmp_path, "pv")) == found
    assert read_divergences(divergences_path(tmp_path, "ev")) == []


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Path]:
    """A bench file of a storage that is emulated in another process, on its own clock, and sometimes answers in another
    unit's name."""
    bench, served = tmp_path / "lab.json", tmp_path / "served.json"
    fleets = {"inverter": {"quirks": {"wrong_unit": 0.05}}}
    served.write_text(json.dumps({"scenario": str(SCENARIO), "fleets": fleets}), encoding="utf-8")
    words = ["emulate", str(served), "--bench", str(bench), "--json", "--for", "60"]
    command = [sys.executable, "-m", "derloop.cli", *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=tmp_path) as process:
        try:
            assert process.stdout
            assert json.loads(process.stdout.readline())["device"] == "inverter_0"
            yield bench
        finally:
            process.terminate()


def _check_equipment_is_left_alone(lab: Path, folder: Path) -> None:
    """What the journal does not know is not there in a replay, though the bench file has it."""
    torn = folder / "torn"
    shutil.copytree(folder / "session", torn)
    (journal,) = (torn / "frames").glob("*.frames")
    journal.write_bytes(b"\n".join(journal.read_bytes().split(b"\n")[:1]) + b"\n")
    bench = json.loads(lab.read_text())
    bench["devices"]["spare"] = bench["devices"]["inverter_0"]
    lab.write_text(json.dumps(bench))
    for run, overrides in ((torn, ()), (folder / "session", ("federates.inverter.via=bench:spare",))):
        with pytest.raises(DerloopError, match=r"no device|has no"):
            again(run, folder / "none", *overrides)
        assert not (folder / "none").exists()


@pytest.mark.usefixtures("lab")
def test_a_session_on_a_bench_is_done_again_without_the_bench(
    lab: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DERLOOP_STATE", str(tmp_path / "state"))
    overrides = [*AT_ONCE, "federates.inverter.via=bench:inverter_0", "federates.vpp.services.0.limit_kw=2050"]
    session = derloop.run(SCENARIO, overrides, out=tmp_path / "session", report=False, bench=lab, arm=("inverter_0",))
    assert session.outcome == "completed", session.failure
    before = sorted((tmp_path / "state").rglob("*"))
    replayed = again(tmp_path / "session", tmp_path / "again")
    assert [str(each) for each in replayed.divergences] == []
    assert [str(each) for each in replayed.parted] == []
    assert replayed.same
    assert replayed.compared >= 20
    assert sorted((tmp_path / "state").rglob("*")) == before  # a replay wears no register
    _check_equipment_is_left_alone(lab, tmp_path)
    ours, theirs = (exchanges(Evidence(run).entries()) for run in (tmp_path / "again", tmp_path / "session"))
    assert [(e.request, e.answer) for e in ours] == [(e.request, e.answer) for e in theirs]


def test_a_run_with_a_control_of_the_users_is_replayed_with_it(tmp_path: Path) -> None:
    path = own_site.written(tmp_path)
    overrides = ("duration_s=300", "federates.batteries.via=emulator")
    first = own_site.run(path, overrides=overrides)
    assert first.outcome == "completed", first.failure
    assert again(first.folder.path, tmp_path / "again", trust_control=True).same
    with pytest.raises(ScenarioError, match="--trust-control"):  # a folder cannot grant itself what its run was granted
        again(first.folder.path, tmp_path / "untrusted")
