"""A run that is taken up from a checkpoint is, to the bit, the run that never stopped."""

from __future__ import annotations

import fcntl
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from shutil import copy, copytree
from time import sleep
from typing import Any

import numpy as np
import pytest
from toys import Mixer

import derloop
from derloop.contract import Values
from derloop.engines.saving import Parts, Saving, grid_ns, refusals
from derloop.engines.worker import Deadlines, Worker, mover
from derloop.errors import DerloopError, FederateError, ScenarioError
from derloop.federation import Federation
from derloop.memory import remembers
from derloop.options import Options
from derloop.result import Result
from derloop.results import checkpoints
from derloop.results.alone import alone_in
from derloop.results.checkpoints import Checkpoint
from derloop.results.compare import compare
from derloop.results.store import RunFolder, rewind
from derloop.resuming import fork, resume
from derloop.running import run
from derloop.scenario.assembly import assemble
from derloop.scenario.loading import load
from derloop.starter import write_starter

SCENARIOS = Path(__file__).parents[2] / "scenarios"
FEW = ("kind_load", "kind_zip_load", "kind_chp", "battery_self_consumption", "solar_neighbourhood")
"""Tap changers and loads; a converged loop; engines of three phases, that start and stop; batteries; rooftops
in a loop."""
REFUSED = {"kind_emulator": "via 'emulator'", "quickstart": "via 'emulator'"}
WITH_GOLDEN = sorted(path.name for path in (SCENARIOS / "golden").iterdir() if path.name not in (*FEW, *REFUSED))

Series = dict[tuple[str, int], dict[str, Any]]


def stepped(federation: Federation, until_ns: int, saving: Saving) -> tuple[Series, Any]:
    """Return what every federate gave out at every instant, and their statistics."""
    found: Series = {}

    def observe(federate: str, now_ns: int, values: Values) -> None:
        found[federate, now_ns] = {port: value.copy() for port, value in values.items()}

    worker = Worker(federation, federation.units, observe, Deadlines(300, 300), stepper=saving.stepper)
    worker.run(mover("local"), until_ns - saving.from_ns, lambda: None)
    return found, worker.statistics()


def check_equal(name: str, folder: Path, parts: int, sets: Sequence[str] = ()) -> None:
    scenario = load(SCENARIOS / f"{name}.json", sets)
    federation, until_ns = assemble(scenario), scenario.until_ns
    every_ns = max(1, until_ns // grid_ns(federation) // parts) * grid_ns(federation)
    kept: list[Checkpoint] = []
    together = Parts([unit.name for unit in federation.units], kept.append)
    whole, statistics = stepped(federation, until_ns, Saving(every_ns, keep=together.take))
    begun = [checkpoint for checkpoint in kept if checkpoint.at_ns < until_ns]
    assert begun
    for checkpoint in begun:
        checkpoints.write(checkpoint, folder)
        again = checkpoints.read(folder, checkpoint.at_ns)
        rest, counted = stepped(assemble(scenario), until_ns, Saving(0, again))
        assert rest.keys() == {key for key in whole if key[1] >= checkpoint.at_ns}
        parted = [
            (*at, port) for at in rest for port in rest[at] if not np.array_equal(rest[at][port], whole[at][port])
        ]
        assert parted == []
        assert counted == statistics


@pytest.mark.parametrize("name", FEW)
def test_a_run_that_is_taken_up_is_to_the_bit_the_run_that_never_stopped(name: str, tmp_path: Path) -> None:
    check_equal(name, tmp_path, parts=2)


HOLDING = """Clear
New Circuit.held basekv=12.47 bus1=head pu=1.0 r1=0 x1=0.5 r0=0 x0=0.5
New Line.line bus1=head bus2=hall length=1 r1=0.5 x1=1.0 r0=0.5 x0=1.0 c1=0 c0=0
New Load.hall bus1=hall kV=12.47 kW=1500 kvar=700
New Generator.steam bus1=hall kV=12.47 kW=300 model=3 Vpu=0.995 maxkvar=1000 minkvar=-1000
Set VoltageBases=[12.47]
CalcVoltageBases
"""
"""What the generator gives is 591 kvar and far from its limits: it moves with each iteration."""


@pytest.mark.parametrize("begins_s", [11, 59])
def test_generators_that_hold_a_voltage_go_on_where_they_were(begins_s: int, tmp_path: Path) -> None:
    """No checkpoint had their vars: a run that was taken up was refused for its matrix."""
    (tmp_path / "held.dss").write_text(HOLDING)
    light = "\n".join(f"{t},{0.5 + t * 37 % 11 / 22}" for t in range(0, 61, 3))
    (tmp_path / "day.csv").write_text(f"time_s,of_peak\n{light}\n")
    fault = {"bus": "hall", "phases": [1], "r_ohm": 20, "begins_s": begins_s, "lasts_s": 18}
    scenario = {
        **{"name": "held", "start": "2025-07-15T00:00:00Z", "duration_s": 60, "step_s": 1, "seed": 1},
        "federates": {
            "grid": {"kind": "opendss", "feeder": "held.dss", "faults": [fault]},
            "homes": {"kind": "load", "profile": {"file": "day.csv", "column": "of_peak"}},
        },
    }
    (tmp_path / "held.json").write_text(json.dumps(scenario))
    check_equal(str(tmp_path / "held"), tmp_path, parts=4)


@pytest.mark.parametrize("tolerance", [3e-10, 1e-4])
def test_a_feeder_whose_instants_begin_where_the_last_ones_lead_is_taken_up_too(
    tolerance: float, tmp_path: Path
) -> None:
    seconds = ["step_s=1", "duration_s=60", 'coupling={"mode": "delayed"}', "checks=[]"]
    sets = [*seconds, f"federates.grid.tolerance={tolerance}"]
    check_equal("ieee123", tmp_path, parts=2, sets=sets)


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", WITH_GOLDEN)
def test_every_scenario_with_golden_results_can_be_taken_up(name: str, tmp_path: Path) -> None:
    scenario = load(SCENARIOS / f"{name}.json")
    if away := [entry.via for entry in scenario.federates.values() if entry.via != "model"]:
        pytest.skip(f"via {away[0]}: refused")
    check_equal(name, tmp_path, parts=3)


# --- as a user has it --------------------------------------------------------------------------------

HOUR = ("duration_s=10800", "step_s=900")


def stopped(folder: Path, at_ns: int) -> None:
    """Leave of a run that has ended what one leaves that was killed some time after a checkpoint at `at_ns`."""
    said = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps({**said, "outcome": "running"}))
    for path in (folder / "checkpoints").iterdir():
        if int(path.stem) > at_ns:
            path.unlink()


def whole(folder: Path, sets: Sequence[str], **options: Any) -> Result:
    return derloop.run(SCENARIOS / "kind_load.json", sets, out=folder, report=False, **options)


def parts_of(one: Path, other: Path) -> str:
    found = compare(RunFolder(one), RunFolder(other))
    return "" if found.same else str(found)


def test_a_run_that_was_stopped_goes_on_in_its_folder_also_under_another_engine(tmp_path: Path) -> None:
    whole(tmp_path / "whole", HOUR, engine="local")
    whole(tmp_path / "run", HOUR, checkpoint_every_s=3600, engine="local")
    stopped(tmp_path / "run", 3_600_000_000_000)
    result = resume(tmp_path / "run", Options(engine="helics", report=False))
    assert result.outcome == "completed"
    assert parts_of(tmp_path / "whole", tmp_path / "run") == ""
    assert checkpoints.instants(tmp_path / "run")[-1] == 10_800_000_000_000  # it has gone on keeping them
    assert result.folder.run["begun"]["at_s"] == 3600.0


def test_a_run_beside_its_feeder_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_starter(tmp_path / "project")
    monkeypatch.chdir(tmp_path / "project")
    begun = derloop.run("scenario.json", ["duration_s=7200"], report=False, engine="local", checkpoint_every_s=3600)
    stopped(begun.folder.path, 3_600_000_000_000)
    assert resume(begun.folder.path, Options(report=False)).outcome == "completed"


def cut_short(run: Path, federate: str, before_s: float) -> None:
    """Leave of a federate's series what was recorded before an instant, as of a host that was lost."""
    rewind(run / "series", run / "series", federate, round(before_s * 1e9))


@pytest.mark.parametrize(("recorded_s", "from_s"), [(7200, 7200), (6300, 3600), (3600, 3600)])
def test_a_run_of_which_series_lack_goes_on_from_where_all_of_it_is_recorded(
    recorded_s: float, from_s: float, tmp_path: Path
) -> None:
    whole(tmp_path / "run", HOUR, checkpoint_every_s=3600, engine="local")
    stopped(tmp_path / "run", 7_200_000_000_000)
    cut_short(tmp_path / "run", "homes", recorded_s)
    told: list[str] = []
    result = resume(tmp_path / "run", Options(engine="local", report=False), None, told.append)
    assert result.folder.run["begun"]["at_s"] == from_s
    lacks = f"nothing of 'homes' is recorded from {recorded_s} s on"
    said = [f"{lacks}, so it cannot go on from a checkpoint after 3600 s"] if recorded_s < 7200 else []
    assert (told, result.folder.run["cautions"]) == (said, said)
    whole(tmp_path / "whole", HOUR, engine="local")
    assert parts_of(tmp_path / "whole", tmp_path / "run") == ""


def test_a_run_goes_on_from_nowhere_where_too_little_is_recorded(tmp_path: Path) -> None:
    whole(tmp_path / "run", HOUR, checkpoint_every_s=3600, engine="local")
    stopped(tmp_path / "run", 7_200_000_000_000)
    cut_short(tmp_path / "run", "homes", 1800)
    lacks = "nothing of 'homes' is recorded from 1800 s on"
    with pytest.raises(DerloopError, match=f"cannot go on: {lacks}, and its first checkpoint is at 3600 s"):
        resume(tmp_path / "run", Options(report=False))
    cut_short(tmp_path / "run", "grid", 3600)
    with pytest.raises(DerloopError, match=lacks):
        fork(tmp_path / "run", 3600, (), Options(out=tmp_path / "fork", report=False))


def test_a_fork_from_where_series_lack_and_without_a_series_is_refused(tmp_path: Path) -> None:
    whole(tmp_path / "run", HOUR, checkpoint_every_s=3600, engine="local")
    cut_short(tmp_path / "run", "homes", 3600)
    options = Options(out=tmp_path / "fork", report=False)
    with pytest.raises(DerloopError, match="nothing of 'homes' is recorded from 3600 s on, so it cannot go on from a"):
        fork(tmp_path / "run", 7200, (), options)
    for path in (tmp_path / "run" / "series").glob("homes.*"):
        path.unlink()
    with pytest.raises(ScenarioError, match="/federates/homes: its series are not in"):
        fork(tmp_path / "run", 3600, (), options)
    assert not (tmp_path / "fork").exists()


@pytest.mark.parametrize("placement", ["together", "threads", "apart"])
def test_a_run_that_was_stopped_after_its_last_step_is_only_judged(tmp_path: Path, placement: str) -> None:
    whole(tmp_path / "whole", HOUR, engine="local")
    whole(tmp_path / "run", HOUR, checkpoint_every_s=10800, engine="local")
    stopped(tmp_path / "run", 10_800_000_000_000)
    result = resume(tmp_path / "run", Options(engine="helics", placement=placement, report=False))
    assert (result.outcome, result.failure) == ("completed", "")
    assert parts_of(tmp_path / "whole", tmp_path / "run") == ""


@remembers("_misspelt")
class Misspelt(Mixer):
    """Says that what it does not have is its state."""


@remembers()
class Unwilling(Mixer):
    def memory(self) -> dict[str, float]:
        return {"x": 1.0}

    def recall(self, memory: object) -> None:
        sys.exit(0)

    def untold(self) -> list[str]:
        raise RuntimeError("not today")


def test_what_a_federate_raises_for_its_state_is_told_in_its_name() -> None:
    def run_with(federate: Mixer, saving: Saving) -> None:
        federation = Federation({"a": federate}, [])
        worker = Worker(federation, federation.units, lambda *_: None, Deadlines(), stepper=saving.stepper)
        worker.run(mover("local"), 5 * 10**9, lambda: None)

    with pytest.raises(FederateError, match=r"'a' at 2 s: cannot give its state: AttributeError: .*'_misspelt'"):
        run_with(Misspelt({}, {"y": 1}, 1, 1), Saving(2 * 10**9))
    kept: list[Checkpoint] = []
    run_with(Unwilling({}, {"y": 1}, 1, 1), Saving(2 * 10**9, keep=kept.append))
    with pytest.raises(FederateError, match="'a' at 2 s: cannot be taken up again as it was: SystemExit: 0"):
        run_with(Unwilling({}, {"y": 1}, 1, 1), Saving(0, kept[0]))
    federation = Federation({"a": Unwilling({}, {"y": 1}, 1, 1)}, [])
    with pytest.raises(FederateError, match=r"'a' before the first step: cannot say .*: RuntimeError: not today"):
        refusals(federation, {"a": ("unwilling", "model")}, 10**9)


@pytest.mark.long
@pytest.mark.timeout(300)
def test_a_run_that_was_killed_goes_on(tmp_path: Path) -> None:
    scenario, run = SCENARIOS / "solar_neighbourhood.json", tmp_path / "run"
    words = ["run", str(scenario), "--no-report", "--checkpoint-every", "3600", "--out", str(run), "--quiet"]
    process = subprocess.Popen([sys.executable, "-m", "derloop.cli", *words], stdout=subprocess.DEVNULL)
    while len(checkpoints.instants(run)) < 3:
        assert process.poll() is None
        sleep(0.01)
    process.kill()
    process.wait()
    assert RunFolder(run).run["outcome"] == "running"
    assert resume(run, Options(report=False)).outcome == "completed"
    derloop.run(scenario, out=tmp_path / "whole", report=False)
    assert parts_of(tmp_path / "whole", run) == ""


def test_a_fork_has_what_was_before_and_parts_from_it_only_afterwards(tmp_path: Path) -> None:
    whole(tmp_path / "run", HOUR, engine="local", checkpoint_every_s=3600)
    said: list[str] = []
    same = fork(tmp_path / "run", 3600, (), Options(out=tmp_path / "same", report=False), on_caution=said.append)
    assert (parts_of(tmp_path / "run", same.folder.path), said) == ("", [])
    other = fork(tmp_path / "run", 7200, ["federates.homes.scale=0.5"], Options(out=tmp_path / "other", report=False))
    time_ns, before = RunFolder(tmp_path / "run").read("homes.p_kw")
    _, after = other.folder.read("homes.p_kw")
    first = int(np.flatnonzero((before != after).any(axis=1))[0])
    assert time_ns[first] == 7_200_000_000_000


@pytest.mark.parametrize("placement", ["together", "apart"])
def test_what_only_a_fork_carries_over_a_wire_is_what_was_recorded_last_and_not_what_is_at_a_start(
    tmp_path: Path, placement: str
) -> None:
    sets = ["duration_s=43800", "checks=[]", "deadlines.join_s=150"]  # in the evening volts move little
    scenario = SCENARIOS / "solar_neighbourhood.json"
    run_ = derloop.run(scenario, sets, out=tmp_path / "run", report=False, checkpoint_every_s=43200)
    options = Options(placement=placement, out=tmp_path / "delayed", report=False)
    delayed = fork(tmp_path / "run", None, ["coupling.mode=delayed"], options)
    converged_kvar, kvar = run_["grid.head_kvar"][-1, 0], delayed["grid.head_kvar"][-1, 0]
    assert kvar != converged_kvar
    assert kvar == pytest.approx(converged_kvar, rel=0.05)  # twice as much on the voltages before any solution


def test_a_fault_that_comes_after_a_fork_is_where_the_fork_has_it(tmp_path: Path) -> None:
    def fault(bus: str) -> list[str]:
        arc = {"bus": bus, "begins_s": 60, "arc": True}
        return ["duration_s=120", "checks=[]", f"federates.grid.faults=[{json.dumps(arc)}]"]

    scenario, out = SCENARIOS / "feeder_restoration.json", tmp_path / "run"
    derloop.run(scenario, fault("54"), out=out, report=False, engine="local", checkpoint_every_s=30)
    whole_ = derloop.run(scenario, fault("101"), out=tmp_path / "whole", report=False, engine="local")
    forked = fork(out, 30, fault("101"), Options(out=tmp_path / "fork", report=False))
    assert parts_of(whole_.folder.path, forked.folder.path) == ""
    assert whole_["grid.unserved_kw"].max() > 0


def test_what_hunted_before_a_fork_is_no_ground_for_verdicts_where_the_fork_has_mended_it(tmp_path: Path) -> None:
    ever = {"name": "ever", "kind": "stays-within", "signal": "grid.v_pu", "min": 0.9, "max": 1.1}
    sets = ["coupling.mode=delayed", f"checks={json.dumps([ever, {**ever, 'name': 'later', 'from_s': 43800}])}"]
    scenario, out = SCENARIOS / "solar_neighbourhood.json", tmp_path / "run"
    begun = derloop.run(scenario, sets, out=out, report=False, engine="local", checkpoint_every_s=21600)
    assert begun.hunting
    again = Options(out=tmp_path / "mended", report=False, checkpoint_every_s=600, engine="local")
    mended = fork(out, 43200, ["coupling.mode=converged"], again)
    further = fork(mended.folder.path, 43800, (), Options(out=tmp_path / "further", report=False))
    same = fork(out, 43200, (), Options(out=tmp_path / "same", report=False))
    for result in (mended, further):
        ever_, later, *_ = result.verdicts
        assert (ever_.outcome, later.outcome, result.status) == ("INCONCLUSIVE", "PASS", 3)
        assert ever_.text.startswith("in run, until 18:00: grid and rooftops hunt since ")
    assert [v.outcome for v in same.verdicts[:2]] == ["INCONCLUSIVE", "INCONCLUSIVE"]
    assert same.hunting == begun.hunting
    assert same.verdicts[0].text == begun.verdicts[0].text


def test_a_run_that_has_ended_goes_on_as_a_fork_that_is_longer(tmp_path: Path) -> None:
    whole(tmp_path / "long", ("duration_s=14400", "step_s=900"), engine="local")
    whole(tmp_path / "run", HOUR, engine="local", checkpoint_every_s=10800)
    options = Options(out=tmp_path / "more", report=False)
    longer = fork(tmp_path / "run", None, ["duration_s=14400"], options)
    assert parts_of(tmp_path / "long", longer.folder.path) == ""


def test_a_control_can_be_taken_out_of_a_fork_and_a_device_that_the_feeder_tells_of_cannot(tmp_path: Path) -> None:
    scenario, sets = SCENARIOS / "kind_battery.json", ["duration_s=7200", "step_s=1800"]
    derloop.run(scenario, sets, out=tmp_path / "run", report=False, engine="local", checkpoint_every_s=3600)
    options = Options(out=tmp_path / "out", report=False)
    tighter = Options(out=tmp_path / "tighter", report=False)
    told = fork(tmp_path / "run", 3600, ["federates.vpp.services.0.limit_kw=2800"], tighter)["vpp.limit_kw"]
    assert told[:, 0].tolist() == [2900.0, 2900.0, 2800.0, 2800.0]  # a setting is taken anew
    alone = ["federates.vpp=null", "federates.storage.mode=idle", "checks=[]"]
    assert fork(tmp_path / "run", 3600, alone, options).outcome == "completed"
    without = ["federates.vpp=null", "federates.storage=null", "checks=[]"]
    with pytest.raises(ScenarioError, match="/federates/grid: gives out other values"):
        fork(tmp_path / "run", 3600, without, Options(out=tmp_path / "none", report=False))
    assert not (tmp_path / "none").exists()


def test_a_setting_that_is_state_by_then_is_refused_and_not_passed_over(tmp_path: Path) -> None:
    scenario, sets = SCENARIOS / "kind_battery.json", ["duration_s=7200", "step_s=1800"]
    derloop.run(scenario, sets, out=tmp_path / "run", report=False, engine="local", checkpoint_every_s=3600)
    options = Options(out=tmp_path / "out", report=False)
    with pytest.raises(ScenarioError, match=r"/federates/storage/energy_kwh: a fork cannot change it.*capacity_kwh"):
        fork(tmp_path / "run", 3600, ["federates.storage.energy_kwh=100"], options)
    with pytest.raises(ScenarioError, match="/federates/storage/step_s: was 1800 s: what goes on has the same steps"):
        fork(tmp_path / "run", 3600, ["federates.storage.step_s=900"], options)
    assert not (tmp_path / "out").exists()


def test_a_fork_of_a_run_that_is_still_recorded_leaves_no_folder(tmp_path: Path) -> None:
    whole(tmp_path / "run", HOUR, checkpoint_every_s=3600, engine="local")
    with (tmp_path / "run" / "series" / "homes.parquet").open("rb") as recorded:
        fcntl.flock(recorded, fcntl.LOCK_EX)
        with pytest.raises(DerloopError, match=r"homes\.parquet is still being recorded"):
            fork(tmp_path / "run", 3600, (), Options(out=tmp_path / "out", report=False))
    assert not (tmp_path / "out").exists()


def test_checkpoints_that_come_after_the_end_are_told(tmp_path: Path) -> None:
    said: list[str] = []
    options = Options(out=tmp_path / "run", report=False, engine="local", checkpoint_every_s=14400)
    run(SCENARIOS / "kind_load.json", HOUR, options, on_caution=said.append)
    assert said == ["no checkpoint is kept: they are 14400 s apart, and the run ends at 10800 s"]


def test_where_a_run_goes_on_none_are_told_to_come_after_those_that_are_there(tmp_path: Path) -> None:
    whole(tmp_path / "run", HOUR, checkpoint_every_s=7200, engine="local")
    said: list[str] = []
    options = Options(out=tmp_path / "out", report=False, checkpoint_every_s=7200)
    fork(tmp_path / "run", 7200, (), options, on_caution=said.append)
    assert said == ["no checkpoint is kept after 7200 s: they are 7200 s apart, and the run ends at 10800 s"]


# --- what is refused ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "why"), REFUSED.items())
def test_what_cannot_give_its_state_is_refused_by_name_before_the_run(name: str, why: str, tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match=why) as refused:
        derloop.run(SCENARIOS / f"{name}.json", out=tmp_path / "run", checkpoint_every_s=3600)
    assert {problem.pointer.split("/")[1] for problem in refused.value.problems} == {"federates"}
    assert not (tmp_path / "run").exists()


VOLT_VAR = """New PVSystem.roof bus1=671 phases=3 kV=4.16 kVA=90 pmpp=90
New XYCurve.curve npts=2 xarray=[0.5 1.5] yarray=[0.1 -0.1]
New InvControl.volt_var mode=voltvar vvc_curve1=curve
"""
AUTO = """New AutoTrans.step phases=3 windings=2 buses=[671 beyond] kVs=[4.16 3.8] kVAs=[500 500] xhx=2
New RegControl.step transformer=step winding=2 vreg=122 band=2 ptratio=18
"""


@pytest.mark.parametrize(
    ("lines", "name"),
    [
        (VOLT_VAR, "invcontrol.volt_var"),
        (AUTO, "autotrans.step"),
        ("New IndMach012.motor bus1=671 phases=3 kV=4.16 kW=50 kVA=80\n", "indmach012.motor"),
        ("New Fuse.at_633 monitoredobj=line.632_633 ratedcurrent=2000\n", "fuse.at_633"),
    ],
)
def test_a_feeder_that_keeps_its_state_to_itself_is_refused_before_the_run(
    lines: str, name: str, tmp_path: Path
) -> None:
    """It was kept, and refused when it was needed, or gone on with other last digits."""
    copytree(SCENARIOS / "feeders" / "ieee13", tmp_path / "feeders" / "ieee13")
    with (tmp_path / "feeders" / "ieee13" / "ieee13.dss").open("a") as feeder:
        feeder.write(f"\n{lines}")
    scenario = {
        **{"name": "x", "start": "2025-07-15T12:00:00Z", "duration_s": 7200, "step_s": 900, "engine": "local"},
        "federates": {"grid": {"kind": "opendss", "feeder": "feeders/ieee13/ieee13.dss"}},
    }
    (tmp_path / "scenario.json").write_text(json.dumps(scenario))
    with pytest.raises(ScenarioError, match=f"/federates/grid: {name}: the state of these cannot be taken"):
        derloop.run(tmp_path / "scenario.json", out=tmp_path / "run", checkpoint_every_s=3600)
    assert not (tmp_path / "run").exists()
    assert derloop.run(tmp_path / "scenario.json", out=tmp_path / "plain", report=False).outcome == "completed"


def test_of_the_checkpoints_the_last_ones_stay_also_where_a_run_goes_on(tmp_path: Path) -> None:
    with pytest.raises(DerloopError, match="--checkpoint-every says how often"):
        whole(tmp_path / "none", HOUR, checkpoint_keep=2)
    assert not (tmp_path / "none").exists()
    whole(tmp_path / "run", HOUR, engine="local", checkpoint_every_s=1800, checkpoint_keep=2)
    assert checkpoints.instants(tmp_path / "run") == [9_000_000_000_000, 10_800_000_000_000]
    stopped(tmp_path / "run", 9_000_000_000_000)
    resume(tmp_path / "run", Options(report=False, checkpoint_every_s=900))
    assert checkpoints.instants(tmp_path / "run") == [9_900_000_000_000, 10_800_000_000_000]


@pytest.mark.parametrize(
    ("name", "step_s", "setting"),
    [
        ("kind_battery", 1800, "storage.soc_initial_pu=0.2"),
        ("kind_grid_forming", 60, "formers.soc_initial_pu=0.55"),
        ("kind_chp", 900, "trigeneration.store_initial_pu=0.1"),
        ("kind_chp", 900, "trigeneration.store_kwh=10"),
        ("kind_ev_v1g", 900, "cars.battery_kwh=40"),
    ],
)
def test_what_was_at_the_start_cannot_be_changed_later(name: str, step_s: int, setting: str, tmp_path: Path) -> None:
    sets = [f"duration_s={3 * step_s}", f"step_s={step_s}", "checks=[]"]
    options = {"out": tmp_path / "run", "report": False, "engine": "local", "checkpoint_every_s": step_s}
    derloop.run(SCENARIOS / f"{name}.json", sets, **options)
    where = "/federates/" + setting.partition("=")[0].replace(".", "/")
    with pytest.raises(ScenarioError, match=f"{where}: a fork cannot change it"):
        fork(tmp_path / "run", step_s, [f"federates.{setting}"], Options(out=tmp_path / "out", report=False))


@pytest.mark.parametrize("every_s", [float("inf"), float("nan"), 1e300, -1.0])
def test_checkpoints_at_no_time_are_refused(tmp_path: Path, every_s: float) -> None:
    with pytest.raises(DerloopError, match=r"--checkpoint-every .*: must be above 0, and at most 1e\+09"):
        whole(tmp_path / "run", HOUR, checkpoint_every_s=every_s)
    assert not (tmp_path / "run").exists()


def test_a_foreign_file_among_checkpoints_is_none(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    for name in ("²³.npz", "notes.npz", "00000000003600000000000.npz"):
        (tmp_path / "checkpoints" / name).touch()
    assert checkpoints.instants(tmp_path) == [3_600_000_000_000]


def test_checkpoints_at_other_instants_than_every_federate_s_steps_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match="must be a multiple of 900 s"):
        whole(tmp_path / "run", HOUR, checkpoint_every_s=1000)


def test_a_run_in_real_time_is_refused() -> None:
    scenario = load(SCENARIOS / "kind_load.json", ['pacing={"mode": "real-time"}'])
    kinds = {name: (entry.kind.name, entry.via) for name, entry in scenario.federates.items()}
    assert [problem.pointer for problem in refusals(assemble(scenario), kinds, 0)] == ["/pacing"]


def test_a_kind_that_does_not_say_what_its_state_is_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    scenario = load(SCENARIOS / "kind_load.json")
    federation = assemble(scenario)
    federation.federates["homes"] = type("Foreign", (), {})()
    kinds = {name: (entry.kind.name, entry.via) for name, entry in scenario.federates.items()}
    (problem,) = refusals(federation, kinds, 0)
    assert (problem.pointer, "kind 'load' does not say" in problem.what) == ("/federates/homes", True)


def test_a_fork_at_no_checkpoint_or_with_what_its_state_rests_on_is_refused(tmp_path: Path) -> None:
    whole(tmp_path / "run", HOUR, engine="local", checkpoint_every_s=3600)
    with pytest.raises(DerloopError, match="there are: 3600, 7200, 10800"):
        fork(tmp_path / "run", 3601, (), Options())
    for never in (float("nan"), float("inf"), -1e300):
        with pytest.raises(DerloopError, match="has no checkpoint at"):
            fork(tmp_path / "run", never, (), Options())
    with pytest.raises(ScenarioError, match="/seed: a fork cannot change it"):
        fork(tmp_path / "run", 3600, ["seed=99"], Options())
    with pytest.raises(ScenarioError, match="/duration_s: ends at 10800 s, not after 10800 s"):
        fork(tmp_path / "run", 10800, (), Options())
    with pytest.raises(DerloopError, match="has run to its end"):
        resume(tmp_path / "run", Options())


def test_a_run_whose_files_have_changed_does_not_go_on(tmp_path: Path) -> None:
    whole(tmp_path / "run", HOUR, checkpoint_every_s=3600, engine="local")
    stopped(tmp_path / "run", 3_600_000_000_000)
    path = tmp_path / "run" / "run.json"
    said = json.loads(path.read_text())
    said["scenario"]["seed"] += 1
    path.write_text(json.dumps(said))
    with pytest.raises(DerloopError, match="are not what they were"):
        resume(tmp_path / "run", Options())


def test_a_run_that_cannot_go_on_and_a_fork_of_it_say_which_files_are_newer(tmp_path: Path) -> None:
    for folder in ("feeders/ieee13", "profiles"):
        copytree(SCENARIOS / folder, tmp_path / folder)
    scenario = Path(copy(SCENARIOS / "kind_load.json", tmp_path))
    derloop.run(scenario, HOUR, out=tmp_path / "run", report=False, checkpoint_every_s=3600, engine="local")
    stopped(tmp_path / "run", 3_600_000_000_000)
    with (tmp_path / "feeders" / "ieee13" / "ieee13.dss").open("a") as file:
        file.write("! another line\n")
    with pytest.raises(DerloopError, match=r"not what they were \(written since it began: ieee13\.dss\); run it anew"):
        resume(tmp_path / "run", Options())
    told: list[str] = []
    fork(tmp_path / "run", None, (), Options(out=tmp_path / "fork", report=False), on_caution=told.append)
    assert [text.partition(", or derloop, ")[2] for text in told] == [
        "are not what they were (written since it began: ieee13.dss): what goes on is with those of now"
    ]
    path = tmp_path / "run" / "run.json"
    said = json.loads(path.read_text())
    path.write_text(json.dumps({**said, "versions": {**said["versions"], "derloop": "0.0.9"}}))
    with pytest.raises(DerloopError, match=r"dss; it began with derloop 0\.0\.9, this is "):
        resume(tmp_path / "run", Options())


def test_a_run_whose_scenario_has_gone_does_not_go_on(tmp_path: Path) -> None:
    path = tmp_path / "s.json"
    scenario = json.loads((SCENARIOS / "kind_replay.json").read_text())
    scenario["federates"] = {
        "a": {"kind": "replay", "signals": {"x": {"file": "x.csv", "columns": ["x"], "unit": "kW"}}}
    }
    (tmp_path / "x.csv").write_text("time_s,x\n0,1\n86400,2\n")
    path.write_text(json.dumps({**scenario, "duration_s": 10800, "step_s": 900, "checks": [], "wires": []}))
    derloop.run(path, out=tmp_path / "run", report=False, engine="local", checkpoint_every_s=3600)
    stopped(tmp_path / "run", 3_600_000_000_000)
    path.unlink()
    with pytest.raises(DerloopError, match=r"cannot go on: its scenario .*s\.json is not there any more"):
        resume(tmp_path / "run", Options(report=False))


def test_a_run_without_checkpoints_and_a_damaged_one_are_refused(tmp_path: Path) -> None:
    whole(tmp_path / "run", HOUR, engine="local")
    with pytest.raises(DerloopError, match="--checkpoint-every"):
        fork(tmp_path / "run", None, (), Options())
    (tmp_path / "run" / "checkpoints").mkdir()
    for damaged in (b"PK\3\4 and no more", bytes(200)):
        (tmp_path / "run" / "checkpoints" / f"{3600 * 10**9:020d}.npz").write_bytes(damaged)
        with pytest.raises(DerloopError, match=r"is no checkpoint that can be read: it is not as it was written$"):
            fork(tmp_path / "run", None, (), Options())


def test_two_runs_in_one_folder_at_once_are_one_and_a_refusal(tmp_path: Path) -> None:
    """Whether they begin there, or go on."""
    run = tmp_path / "run"
    with alone_in(run, "x"), pytest.raises(DerloopError, match="run: another run is still at work there"):
        whole(run, HOUR, engine="local")
    whole(run, HOUR, engine="local", checkpoint_every_s=3600)
    assert not (run / ".lock").exists()
    with pytest.raises(DerloopError, match="holds something already"):
        whole(run, HOUR, engine="local")
    assert not (run / ".lock").exists()
    stopped(run, 3_600_000_000_000)
    with alone_in(run, "x"), pytest.raises(DerloopError, match="another run is still at work there"):
        resume(run, Options(report=False))
    (run / ".lock").touch()  # as of one that was killed
    assert resume(run, Options(report=False)).outcome == "completed"
