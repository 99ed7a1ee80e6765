"""derloop bench write, watch and safe: by hand, through every guard, and after a run has left a device."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from obeying import obeying
from typer.testing import CliRunner, Result

from derloop.cli import app
from hil.bench.file import read_bench
from hil.bench.session import Session
from hil.emulator.access import Refusal
from hil.emulator.bank import RegisterBank
from hil.inverter.commands import Commands
from hil.inverter.device import Device
from hil.modbus.thread import LoopThread
from hil.safety.folder import Run
from hil.safety.record import Records
from hil.serving.fleet import BankServer

Entries = dict[str, Any]


def bench(*words: Any) -> Result:
    return CliRunner().invoke(app, ["bench", *map(str, words)])


def holds(bank: RegisterBank, name: str) -> object:
    return bank.maps[0].value(name, bank.image(0))


@pytest.fixture
def lab(write_bench: Any, entries: Entries) -> Path:
    path: Path = write_bench({"inv-1": entries["inv-1"]})
    return path


def test_a_point_is_written_read_back_and_stays(lab: Path, bank: RegisterBank) -> None:
    said = bench("write", lab, "inv-1", "704.WMaxLimPct=50", "--arm", "inv-1")
    assert said.exit_code == 0
    assert said.output.splitlines()[1].split() == ["704.WMaxLimPct", "100", "Pct", "50", "Pct"]
    assert holds(bank, "704.WMaxLimPct") == 50
    assert bench("write", lab, "inv-1", "704.WMaxLimPct=60", "--arm", "inv-1").exit_code == 0
    assert "no run has left it without restoring it" in bench("safe", lab).output


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["704.WMaxLimPct=50"], "device 'inv-1': is only read; to write to it takes --arm inv-1"),
        (["704.WMaxLimPct=50", "--arm", "inv-*"], "patterns arm nothing"),
        (["704.WMaxLimPct=50", "704.WMaxLimPctEna=1", "--arm", "inv-1"], "is not armed before 704.WMaxLimPctEna"),
        (["702.WMax=1", "--arm", "inv-1"], "702.WMax is none of the points that may be written"),
        (["704.WMaxLimPct", "--arm", "inv-1"], "must be POINT=VALUE"),
        (["704.WMaxLimPct=1", "704.WMaxLimPct=2", "--arm", "inv-1"], "is given twice"),
        (["704.WMaxLimPct=half", "--arm", "inv-1"], "point '704.WMaxLimPct': takes a number, not 'half'"),
        (["701.W=0", "--arm", "inv-1"], "701.W can only be read"),
    ],
)
def test_what_a_guard_refuses_is_not_written(lab: Path, bank: RegisterBank, words: list[str], told: str) -> None:
    before = bank.image(0)
    said = bench("write", lab, "inv-1", *words)
    assert said.exit_code == 2
    assert told in said.output
    assert (bank.image(0) == before).all()


def test_another_device_than_the_bench_file_expects_is_not_written_to_by_hand(
    write_bench: Any, entries: Entries, bank: RegisterBank
) -> None:
    lab = write_bench({"inv-1": {**entries["inv-1"], "identity": {"serial": "SN 9"}}})
    before = bank.image(0)
    said = bench("write", lab, "inv-1", "704.WMaxLimPct=50", "--arm", "inv-1")
    assert (said.exit_code, "serial is 'pv_1', not 'SN 9'" in said.output) == (2, True)
    assert (bank.image(0) == before).all()


def test_what_was_written_before_a_point_was_refused_is_taken_back(
    lab: Path, bank: RegisterBank, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, refused, written = bank.write, bank.maps[0]["705.Crv.1.Pt.0.Var"].address, list[int]()

    def write(index: int, address: int, registers: list[int]) -> Refusal | None:
        if address <= refused < address + len(registers):
            return Refusal.VALUE
        written.append(address)
        return original(index, address, registers)

    monkeypatch.setattr(bank, "write", write)
    words = ["705.Crv.1.Pt.0.Var=25", "704.WMaxLimPctRvrtTms=20"]
    before = bank.image(0)
    assert bench("write", lab, "inv-1", *words, "--arm", "inv-1").exit_code == 2
    assert written[0] == bank.maps[0]["704.WMaxLimPctRvrtTms"].address
    assert (bank.image(0) == before).all()
    assert "was not restored" not in bench("check", lab).output


def test_nothing_is_written_by_hand_while_the_emergency_stop_is_there(
    write_bench: Any, entries: Entries, bank: RegisterBank
) -> None:
    lab: Path = write_bench({"inv-1": entries["inv-1"]}, emergency_stop={"file": "STOP"})
    before = bank.image(0)
    (lab.parent / "STOP").touch()
    said = bench("write", lab, "inv-1", "704.WMaxLimPct=50", "--arm", "inv-1")
    assert said.exit_code == 2
    assert f"nothing was written: the emergency stop's file {lab.parent / 'STOP'} is there" in said.output
    assert (bank.image(0) == before).all()
    (lab.parent / "STOP").unlink()
    assert bench("write", lab, "inv-1", "704.WMaxLimPct=50", "--arm", "inv-1").exit_code == 0


def test_a_stop_that_comes_while_the_device_is_reached_is_in_time(
    write_bench: Any, entries: Entries, bank: RegisterBank, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    safety = {"safe_state": {"points": {"704.WMaxLimPct": 0, "704.WMaxLimPctEna": 1}}}
    lab: Path = write_bench({"inv-1": {**entries["inv-1"], "safety": safety}}, emergency_stop={"file": "STOP"})
    abandon(lab, Run(tmp_path / "run", lab))
    discover = Device.discover

    async def discovered(device: Device) -> None:
        await discover(device)
        (lab.parent / "STOP").touch()

    monkeypatch.setattr(Device, "discover", discovered)
    assert "brought to its safe state" in bench("safe", lab).output
    assert (holds(bank, "704.WMaxLimPctEna"), holds(bank, "704.WMaxLimPct")) == (1, 0)
    (lab.parent / "STOP").unlink()
    monkeypatch.undo()
    monkeypatch.setenv("DERLOOP_STATE", str(tmp_path / "state"))
    bench("safe", lab)
    monkeypatch.setattr(Device, "discover", discovered)
    said = bench("write", lab, "inv-1", "704.WMaxLimPct=50", "--arm", "inv-1")
    assert (said.exit_code, "nothing was written: the emergency stop's file" in said.output) == (2, True)
    assert holds(bank, "704.WMaxLimPct") == 100


def test_what_a_point_rounds_is_told(lab: Path, bank: RegisterBank) -> None:
    said = bench("write", lab, "inv-1", "704.WMaxLimPct=33.333", "--arm", "inv-1")
    assert said.exit_code == 0
    assert "33.33 Pct, the nearest step to 33.333" in said.output
    assert holds(bank, "704.WMaxLimPct") == 33.33


def test_rules_that_fit_no_point_protect_nothing_so_nothing_is_written(
    write_bench: Any, entries: Entries, bank: RegisterBank
) -> None:
    safety = {"limits": {"points": {"704.WMaxLimPtc": {"low": 90}}}}
    path = write_bench({"inv-1": {**entries["inv-1"], "safety": safety}})
    said = bench("write", path, "inv-1", "704.WMaxLimPct=50", "--arm", "inv-1")
    assert said.exit_code == 2
    assert "no point '704.WMaxLimPtc', which its safety rules name; did you mean '704.WMaxLimPct'?" in said.output
    assert holds(bank, "704.WMaxLimPct") == 100


def test_a_lease_and_what_it_ends_are_written_in_one_go(lab: Path, bank: RegisterBank) -> None:
    values = ["704.WMaxLimPctRvrtTms=20", "704.WMaxLimPct=50", "704.WMaxLimPctEna=ENABLED"]
    assert bench("write", lab, "inv-1", *values, "--arm", "inv-1").exit_code == 0
    assert (holds(bank, "704.WMaxLimPctEna"), holds(bank, "704.WMaxLimPctRvrtTms")) == (1, 20)


def test_watch_shows_what_is_measured_and_who_does_not_answer(
    write_bench: Any, entries: Entries, bank: RegisterBank
) -> None:
    gone = {"endpoint": {"transport": "tcp", "port": 1}}
    with obeying(bank):
        said = bench("watch", write_bench({**entries, "gone": gone}), "--rounds", "2", "--every", "0.1")
    rows = {line.split()[0]: line for line in said.output.splitlines() if line.strip()}
    assert said.exit_code == 0
    assert "running" in rows["bat-1"]
    assert "50.0 %" in rows["bat-1"]
    assert "never" in rows["gone"]
    first, *_ = said.output.splitlines()
    assert first.startswith("gone: ")  # where a table that is longer than the terminal does not push it out
    assert "refused" in first


def test_safe_restores_what_a_dead_run_found(lab: Path, bank: RegisterBank, tmp_path: Path) -> None:
    before = holds(bank, "704.WMaxLimPct")
    abandon(lab, Run(tmp_path / "run", lab))
    assert holds(bank, "704.WMaxLimPctEna") == 1
    assert "was not restored" in bench("write", lab, "inv-1", "704.WMaxLimPct=1", "--arm", "inv-1").output
    said = bench("safe", lab)
    assert said.exit_code == 0
    assert "restored to what was found at" in said.output
    assert (holds(bank, "704.WMaxLimPctEna"), holds(bank, "704.WMaxLimPct")) == (0, before)
    assert "no run has left it without restoring it" in bench("safe", lab).output


def written_in(logbook: str, words: str, tmp_path: Path) -> list[str]:
    """Return what a logbook has of what was written, which a command has said to be the one that it kept."""
    (path,) = (tmp_path / "state" / "frames").glob(logbook)
    assert f"frames: {path}" in words
    listed = CliRunner().invoke(app, ["frames", "list", str(path), "--writes"]).output
    return [line.partition(": ")[2] for line in listed.splitlines() if "  write " in line]


def test_what_safe_and_write_did_is_evidence(lab: Path, tmp_path: Path) -> None:
    abandon(lab, Run(tmp_path / "run", lab))
    assert "704.WMaxLimPctEna = 0 (DISABLED)" in written_in("*-safe.frames", bench("safe", lab).output, tmp_path)
    said = bench("write", lab, "inv-1", "704.WMaxLimPct=50", "--arm", "inv-1").output
    assert written_in("*-write.frames", said, tmp_path) == ["704.WMaxLimPct = 50 Pct"]


def test_of_a_write_that_has_failed_the_frames_are_named_too(
    lab: Path, bank: RegisterBank, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(bank, "write", lambda *_: Refusal.VALUE)
    said = bench("write", lab, "inv-1", "704.WMaxLimPct=50", "--arm", "inv-1")
    assert said.exit_code == 2
    (refused,) = written_in("*-write.frames", said.output, tmp_path)
    assert refused == "704.WMaxLimPct = 50 Pct [exception 3 (illegal value)]"


def test_without_room_for_evidence_devices_are_made_safe_all_the_same(
    lab: Path, bank: RegisterBank, tmp_path: Path
) -> None:
    abandon(lab, Run(tmp_path / "run", lab))
    (tmp_path / "state" / "frames").touch()  # where a folder would have to be
    said = bench("safe", lab)
    assert (said.exit_code, "INCOMPLETE" in said.output) == (0, True)
    assert holds(bank, "704.WMaxLimPctEna") == 0


def test_safe_that_is_interrupted_says_that_no_device_is_known_to_be_safe(
    lab: Path, bank: RegisterBank, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    abandon(lab, Run(tmp_path / "run", lab))

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("hil.bench.rescue.leave_safe", interrupted)
        said = bench("safe", lab)
    assert said.exit_code == 130
    assert f"INTERRUPTED: no device is known to be safe; `derloop bench safe {lab}` restores" in said.output
    assert bench("safe", lab).exit_code == 0
    assert holds(bank, "704.WMaxLimPctEna") == 0


def test_safe_is_the_safe_state_while_the_emergency_stop_is_there(
    write_bench: Any, entries: Entries, bank: RegisterBank, tmp_path: Path
) -> None:
    safety = {
        **entries["inv-1"].get("safety", {}),
        "safe_state": {"points": {"704.WMaxLimPct": 0, "704.WMaxLimPctEna": 1}},
    }
    lab: Path = write_bench({"inv-1": {**entries["inv-1"], "safety": safety}}, emergency_stop={"file": "STOP"})
    before = holds(bank, "704.WMaxLimPct")
    abandon(lab, Run(tmp_path / "run", lab))
    (lab.parent / "STOP").touch()
    said = bench("safe", lab)
    told = f"`derloop bench safe {lab}` restores what was found there, once the emergency stop is gone"
    assert (said.exit_code, told in " ".join(said.output.split())) == (0, True)
    assert (holds(bank, "704.WMaxLimPctEna"), holds(bank, "704.WMaxLimPct")) == (1, 0)
    (lab.parent / "STOP").unlink()
    assert "restored to what was found at" in bench("safe", lab).output
    assert (holds(bank, "704.WMaxLimPctEna"), holds(bank, "704.WMaxLimPct")) == (0, before)


def test_safe_is_the_safe_state_where_no_run_left_anything_and_the_emergency_stop_is_there(
    write_bench: Any, entries: Entries, bank: RegisterBank
) -> None:
    safety = {"safe_state": {"points": {"704.WMaxLimPct": 0, "704.WMaxLimPctEna": 1}}}
    lab: Path = write_bench({"inv-1": {**entries["inv-1"], "safety": safety}}, emergency_stop={"file": "STOP"})
    (lab.parent / "STOP").touch()
    said = bench("safe", lab)
    assert (said.exit_code, "no run has left it without restoring it" in said.output) == (0, True)
    assert (holds(bank, "704.WMaxLimPctEna"), holds(bank, "704.WMaxLimPct")) == (1, 0)


def test_safe_writes_nothing_to_another_device_than_the_bench_file_expects(
    write_bench: Any, entries: Entries, bank: RegisterBank, tmp_path: Path
) -> None:
    lab: Path = write_bench({"inv-1": entries["inv-1"]})
    abandon(lab, Run(tmp_path / "run", lab))
    write_bench({"inv-1": {**entries["inv-1"], "identity": {"serial": "SN 9"}}})
    before = bank.image(0)
    said = bench("safe", lab)
    assert (said.exit_code, "serial is 'pv_1', not 'SN 9'" in said.output) == (3, True)
    assert (bank.image(0) == before).all()


def test_a_host_that_is_none_keeps_no_other_device_from_being_restored(
    write_bench: Any, entries: Entries, bank: RegisterBank, tmp_path: Path
) -> None:
    lab: Path = write_bench({"inv-1": entries["inv-1"]})
    abandon(lab, Run(tmp_path / "run", lab))
    write_bench({"gone": {"endpoint": {"transport": "tcp", "host": 70 * "x"}}, "inv-1": entries["inv-1"]})
    said = bench("safe", lab)
    assert said.exit_code == 3
    assert "gone  NOT SAFE" in said.output
    assert holds(bank, "704.WMaxLimPctEna") == 0


def test_check_tells_what_a_dead_run_has_not_restored_and_how_to(lab: Path, tmp_path: Path) -> None:
    abandon(lab, Run(tmp_path / "run", lab))
    with_no_run = bench("check", lab)
    assert with_no_run.exit_code == 0, "our own process lives, so its run is one that goes on"
    assert "held by" in with_no_run.output
    end_the_run(tmp_path)
    said = bench("check", lab)
    assert said.exit_code == 3
    assert "was not restored: device 'inv-1'" in said.output
    assert f"`derloop bench safe {lab}` restores what was found" in " ".join(said.output.split())
    assert bench("safe", lab).exit_code == 0
    assert bench("check", lab).exit_code == 0


def test_check_tells_what_was_not_restored_of_a_device_that_does_not_answer(
    lab: Path, emulator: BankServer, tmp_path: Path
) -> None:
    abandon(lab, Run(tmp_path / "run", lab))
    end_the_run(tmp_path)
    emulator.stop()
    said = bench("check", lab).output
    assert "Connection refused" in said
    assert "was not restored: device 'inv-1'" in said


def test_a_device_that_has_moved_is_recognised_by_its_serial_number(
    lab: Path, write_bench: Any, bank: RegisterBank, emulator: BankServer, entries: Entries, tmp_path: Path
) -> None:
    """The device has another address and another name in another file, and only says who it is."""
    abandon(lab, Run(tmp_path / "run", lab))
    end_the_run(tmp_path)
    emulator.stop()
    with BankServer(bank) as elsewhere:
        at = {"endpoint": elsewhere.addresses[0].endpoint.model_dump(mode="json")}
        other = {"endpoint": elsewhere.addresses[1].endpoint.model_dump(mode="json")}
        moved = tmp_path / "moved.json"
        moved.write_text(json.dumps({"name": "moved", "devices": {"pv": at, "bat": other}}), encoding="utf-8")
        refused = bench("write", moved, "pv", "704.WMaxLimPct=1", "--arm", "pv")
        assert "was not restored: device 'inv-1'" in refused.output
        assert bench("check", moved, "bat").exit_code == 0
        said = bench("safe", moved)
        assert said.exit_code == 0
        assert "pv  safe  restored to what was found at" in said.output
        assert "bat  safe  brought to its safe state" in said.output
        assert holds(bank, "704.WMaxLimPctEna") == 0
        assert bench("check", moved).exit_code == 0


def test_a_device_that_a_dead_run_left_and_the_bench_file_has_no_more_is_told(
    write_bench: Any, entries: Entries, tmp_path: Path
) -> None:
    """Somebody has edited the file meanwhile: all that it names is safe, and nobody said what goes on."""
    lab: Path = write_bench({"inv-1": entries["inv-1"]})
    abandon(lab, Run(tmp_path / "run", lab))
    end_the_run(tmp_path)
    write_bench({"bat-1": entries["bat-1"]})
    told = "was not restored: device 'inv-1'"
    for command in ("check", "safe"):
        said = bench(command, lab)
        assert (said.exit_code, told in said.output) == (3, True)
        assert "the bench file has it no more" in " ".join(said.output.split())
    assert bench("check", write_bench({"inv-one": entries["inv-1"]})).output.count(told) == 1
    assert bench("safe", lab).exit_code == 0
    write_bench({"bat-1": entries["bat-1"]})
    assert (bench("safe", lab).exit_code, bench("check", lab).exit_code) == (0, 0)


def test_a_record_of_another_device_with_the_same_serial_number_is_not_taken(
    write_bench: Any, entries: Entries, bank: RegisterBank, emulator: BankServer, tmp_path: Path
) -> None:
    """Two that say the same of themselves stand in one bench, so the record is of the one at its address."""
    lab = write_bench({"inv-1": entries["inv-1"]})
    abandon(lab, Run(tmp_path / "run", lab))
    end_the_run(tmp_path)
    with BankServer(bank) as twin:
        at = {"endpoint": twin.addresses[0].endpoint.model_dump(mode="json")}
        both = write_bench({"inv-1": entries["inv-1"], "twin": at})
        assert "twin  ok" in bench("check", both).output
        said = bench("safe", both, "twin").output
        assert "no run has left it without restoring it" in said


def end_the_run(tmp_path: Path) -> None:
    """Let the records of this process be of one that is no more."""
    records = Records(tmp_path / "state" / "records")
    for record in records.read()[0]:
        records.write(record.model_copy(update={"began": 1.0}))


def abandon(lab: Path, run: Run) -> None:
    """Command a device and let go of it as a killed process does: its locks are freed, and nothing is restored."""
    thread = LoopThread("a run that dies")

    async def command() -> None:
        session = Session(read_bench(lab), ["inv-1"], ["inv-1"], run)
        await session.open()
        await session.exchange(Commands(limit_fraction=[0.3]), 1.0, 0.1)  # type: ignore[arg-type]
        for keeper in session._keepers._keepers:
            keeper._unlock()
        await session._links.close()

    thread.run(command())
    thread.close()


def test_what_cannot_be_verified_is_not_called_safe(write_bench: Any, entries: Entries, emulator: BankServer) -> None:
    entry = {**entries["inv-1"], "timing": {"deadline_s": 0.3}, "safety": {"restore_s": 0.2}}
    path = write_bench({"inv-1": entry})
    emulator.stop()
    said = bench("safe", path)
    assert said.exit_code == 3
    assert "NOT SAFE" in said.output


def test_a_library_that_is_missing_for_one_device_keeps_no_other_from_being_restored(
    write_bench: Any, entries: Entries, bank: RegisterBank, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = write_bench({"inv-1": entries["inv-1"]})
    abandon(lab, Run(tmp_path / "run", lab))
    line = {"endpoint": {"transport": "serial", "path": "/dev/ttyUSB0"}}
    lab = write_bench({"behind": line, "inv-1": entries["inv-1"]})
    monkeypatch.setitem(sys.modules, "serial", None)
    said = bench("safe", lab)
    assert said.exit_code == 3
    assert "behind  NOT SAFE  serial lines need pyserial" in said.output
    assert "inv-1  safe  restored to what was found at" in said.output
    assert holds(bank, "704.WMaxLimPctEna") == 0


def test_a_device_that_does_not_answer_is_no_mistake_of_the_command(write_bench: Any) -> None:
    path = write_bench({"gone": {"endpoint": {"transport": "tcp", "port": 1}}})
    for words in (["read", path, "gone"], ["write", path, "gone", "704.WMaxLimPct=1", "--arm", "gone"]):
        said = bench(*words)
        assert said.exit_code == 3
        assert "device 'gone': 127.0.0.1:1 unit 1: read 40000+4: Connection refused" in said.output


def test_every_command_says_that_a_file_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / "wrong.json"
    path.write_text(json.dumps({"name": "lab", "device": {}}), encoding="utf-8")
    for words in (["check"], ["read", "x"], ["watch"], ["write", "x", "a=1"], ["safe"]):
        said = bench(words[0], path, *words[1:])
        assert said.exit_code == 2
        assert "/device: unknown; did you mean 'devices'?" in said.output
