"""The emergency stop acts within one poll, and makes devices safe before the run ends."""

from __future__ import annotations

import asyncio
import math
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from threading import Timer
from time import monotonic

import numpy as np
import pytest
from emulated import equipped
from kept import KeptDevice, keep
from registers_only import RegistersOnly, served

from derloop.errors import Interlocked, Unreachable
from hil.bench.file import Bench, BenchFile, DeviceEntry
from hil.bench.session import Session
from hil.emulator.access import Refusal
from hil.emulator.bank import RegisterBank
from hil.emulator.nameplate import Ratings
from hil.inverter.commands import Commands
from hil.inverter.measurements import Measurements
from hil.modbus.endpoint import Tcp
from hil.modbus.thread import LoopThread
from hil.safety.folder import Run
from hil.safety.keepers import Keepers
from hil.safety.key import KeyStop
from hil.safety.restore import NotRestored
from hil.safety.rules import EmergencyStop, SafeState, SafetyRules, WatchedInput
from hil.safety.stop import EmergencyStopped, EmergencyWatch
from hil.serving.fleet import BankServer
from hil.sunspec.points import Value

Keep = Callable[..., KeptDevice]
Holds = Callable[..., list[Value]]
SAFE = SafetyRules(safe_state=SafeState(points={"704.WMaxLimPct": 20.0, "704.WMaxLimPctEna": 1.0}), restore_s=20.0)


def commanded(kept: Keep) -> KeptDevice:
    """Return a device that produces by command."""
    device = kept(SAFE)
    device.take()
    device.command(p_w=5000.0)
    return device


def look(device: KeptDevice, rules: EmergencyStop, folder: Path, key: KeyStop | None = None) -> None:
    """Do what a run does at each poll."""
    watch = EmergencyWatch(rules, folder, {"inv-1": device.device}, key)
    device.thread.run(Keepers([device.keeper]).stop_if_asked(watch))


def test_nothing_stops_a_bench_on_which_nothing_happens(kept: Keep, tmp_path: Path, holds: Holds) -> None:
    device = commanded(kept)
    look(device, EmergencyStop(file=Path("STOP")), tmp_path)
    assert holds("704.WSetEna") == [1]


def test_a_file_stops_the_bench_and_its_devices_stay_safe(kept: Keep, tmp_path: Path, holds: Holds) -> None:
    device = commanded(kept)
    (tmp_path / "STOP").symlink_to("nowhere")
    with pytest.raises(EmergencyStopped, match=r"^EMERGENCY STOP: the file .*STOP is there; ") as stopped:
        look(device, EmergencyStop(file=Path("STOP")), tmp_path)
    then = f"once the cause is gone, `derloop bench safe {tmp_path / 'bench.json'}` restores what was found"
    assert str(stopped.value).endswith(f"in the safe state, where it stays, is: inv-1; {then}")
    assert holds("704.WSetEna", "704.WMaxLimPctEna", "704.WMaxLimPct") == [0, 1, 20]
    with pytest.raises(Interlocked, match="put into its safe state, and stays there"):
        device.command(p_w=5000.0)
    device.let_go()
    assert holds("704.WSetEna", "704.WMaxLimPctEna", "704.WMaxLimPct") == [0, 1, 20]
    assert ["STOP is there" in record.stopped for record in device.records] == [True]


def test_after_a_stop_nobody_commands_the_device_before_it_is_restored_on_purpose(kept: Keep, holds: Holds) -> None:
    device = commanded(kept)
    device.make_safe("somebody pressed the button")
    device.let_go()
    second = kept(SAFE, run="second")
    with pytest.raises(Interlocked, match="derloop bench safe"):
        second.take()
    second.thread.run(second.keeper.leave_safe())
    assert holds("704.WSetEna", "704.WMaxLimPctEna", "704.WMaxLimPct") == [0, 0, 100]


@pytest.mark.parametrize(
    ("stop_when", "value", "stops"),
    [
        ("above", 2499.0, True),
        ("above", 2500.0, False),
        ("below", 2501.0, True),
        ("below", 2500.0, False),
        ("equal", 2500.0, True),
        ("equal", 2501.0, False),
        ("differs", 2501.0, True),
        ("differs", 2500.0, False),
        ("any_bit", 4.0, True),
        ("any_bit", 8.0, False),
    ],
)
def test_a_watched_input_stops_the_bench(
    kept: Keep, bank: RegisterBank, tmp_path: Path, holds: Holds, stop_when: str, value: float, stops: bool
) -> None:
    """701.W of the device is 2500 W, which is 0x9C4."""
    device = commanded(kept)
    two = np.full(2, 2500.0)
    bank.set_measurements(Measurements.of(two, two * 0, two * 0 + 240.0))
    rules = EmergencyStop.model_validate(
        {"inputs": [{"device": "inv-1", "point": "701.W", "stop_when": stop_when, "value": value}]}
    )
    if stops:
        with pytest.raises(EmergencyStopped, match=r"the watched input inv-1 701\.W is 2500 \("):
            look(device, rules, tmp_path)
    else:
        look(device, rules, tmp_path)
    assert holds("704.WSetEna") == [0 if stops else 1]


def test_a_watched_input_is_read_with_the_scale_factor_that_it_has_by_then(tmp_path: Path, thread: LoopThread) -> None:
    """Models before 701 may change theirs: 900 steps of 1 W, then of 10 W."""
    shown = equipped([Ratings("pv_1", 10e3, 11e3, 4840.0, 4840.0, 240.0)], models="legacy")
    power, scale = (shown.maps[0][f"103.{name}"].address for name in ("W", "W_SF"))
    registers = RegistersOnly(functions=(3, 16), holding=dict(enumerate(shown.image(0).tolist(), shown.maps[0].base)))
    registers.holding |= {power: 900, scale: 0}
    watched = WatchedInput(device="inv-1", point="103.W", stop_when="above", value=5000.0)
    with served(registers) as address:
        device = keep(address, tmp_path, thread)
        look(device, EmergencyStop(inputs=(watched,)), tmp_path)
        registers.holding[scale] = 1
        try:
            with pytest.raises(EmergencyStopped, match=r"the watched input inv-1 103\.W is 9000 \(above 5000"):
                look(device, EmergencyStop(inputs=(watched,)), tmp_path)
        finally:
            device.die()


def test_an_input_that_says_nothing_stops_the_bench(kept: Keep, tmp_path: Path, holds: Holds) -> None:
    device = commanded(kept)
    watched = WatchedInput(device="inv-1", point="701.TmpCab", stop_when="above", value=70.0)
    with pytest.raises(EmergencyStopped, match=r"701\.TmpCab says None, which is no number"):
        look(device, EmergencyStop(inputs=(watched,)), tmp_path)
    assert holds("704.WSetEna") == [0]


def test_an_input_that_cannot_be_read_stops_the_bench_and_who_is_not_safe_is_named(
    kept: Keep, emulator: BankServer, tmp_path: Path
) -> None:
    device = kept(SAFE.model_copy(update={"restore_s": 0.5}), deadline_s=0.3)
    device.take()
    device.command(p_w=5000.0)
    emulator.stop()
    watched = WatchedInput(device="inv-1", point="701.W", stop_when="above", value=9e9)
    with pytest.raises(EmergencyStopped, match=r"the watched input inv-1 701\.W cannot be read") as stopped:
        look(device, EmergencyStop(inputs=(watched,)), tmp_path)
    assert any(note.startswith("NOT SAFE: device 'inv-1'") for note in stopped.value.__notes__)
    assert "not all of these are in their safe states: inv-1" in str(stopped.value)


def watching(emulator: BankServer, tmp_path: Path, watched: DeviceEntry, point: str) -> Session:
    """Return a session with a device that is armed, and another one whose point stops the bench."""
    address = emulator.addresses[0]
    devices = {"inv-1": DeviceEntry(endpoint=address.endpoint, unit=address.unit, safety=SAFE), "contact": watched}
    stop = WatchedInput(device="contact", point=point, stop_when="above", value=1e6)
    file = BenchFile(name="lab", devices=devices, emergency_stop=EmergencyStop(inputs=(stop,), key=False))
    return Session(Bench(tmp_path / "lab.json", file), ["inv-1"], ["inv-1"], Run(tmp_path, tmp_path / "lab.json"))


def test_a_watched_input_that_its_device_does_not_have_is_refused_before_any_device_is_taken(
    emulator: BankServer, tmp_path: Path, thread: LoopThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DERLOOP_STATE", str(tmp_path / "state"))
    contact = DeviceEntry(endpoint=emulator.addresses[1].endpoint, unit=emulator.addresses[1].unit)
    session = watching(emulator, tmp_path, contact, "701.Alarm")
    with pytest.raises(Interlocked, match=r"'contact': .*no point '701\.Alarm', .*did you mean '701\.Alrm'\?"):
        thread.run(session.open())
    thread.run(session.close())
    assert not (tmp_path / "state").exists()


def test_a_watched_device_that_never_answered_keeps_no_session_from_being_closed(
    emulator: BankServer, tmp_path: Path, thread: LoopThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DERLOOP_STATE", str(tmp_path / "state"))
    session = watching(emulator, tmp_path, DeviceEntry(endpoint=Tcp(port=1)), "701.Alrm")
    with pytest.raises(Unreachable, match="Connection refused"):
        thread.run(session.open())
    thread.run(session.close())


def test_a_fleet_that_had_not_met_the_stop_yet_is_left_safe_and_not_restored(
    emulator: BankServer, tmp_path: Path, thread: LoopThread, holds: Holds, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run ends with the first fleet that meets it, and stops the others."""
    monkeypatch.setenv("DERLOOP_STATE", str(tmp_path / "state"))
    address = emulator.addresses[0]
    entry = DeviceEntry(endpoint=address.endpoint, unit=address.unit, safety=SAFE)
    file = BenchFile(name="lab", devices={"inv-1": entry}, emergency_stop=EmergencyStop(file=Path("STOP")))
    run = Run(tmp_path, tmp_path / "lab.json")
    session = Session(Bench(tmp_path / "lab.json", file), ["inv-1"], ["inv-1"], run)
    thread.run(session.open())
    thread.run(session.exchange(Commands(p_w=np.array([5000.0])), 0.0, 1.0))
    assert holds("704.WSetEna") == [1]
    (tmp_path / "STOP").touch()
    thread.run(session.close())
    assert holds("704.WSetEna", "704.WMaxLimPctEna", "704.WMaxLimPct") == [0, 1, 20]


def test_a_device_that_is_slow_to_answer_keeps_no_other_from_its_safe_state(
    emulator: BankServer, tmp_path: Path, thread: LoopThread, holds: Holds, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DERLOOP_STATE", str(tmp_path / "state"))
    names = ("inv-1", "bat-1")
    entries = {
        name: DeviceEntry(endpoint=address.endpoint, unit=address.unit, safety=SAFE)
        for name, address in zip(names, emulator.addresses, strict=True)
    }
    file = BenchFile(name="lab", devices=entries, emergency_stop=EmergencyStop(file=Path("STOP")))
    session = Session(Bench(tmp_path / "lab.json", file), names, ["inv-1"], Run(tmp_path, tmp_path / "lab.json"))
    thread.run(session.stand_by())
    thread.run(session.open())
    commands = Commands(p_w=np.array([5000.0, math.nan]))
    thread.run(session.exchange(commands, 0.0, 1.0))
    assert holds("704.WSetEna") == [1]

    async def slow() -> None:
        await asyncio.sleep(8.0)

    monkeypatch.setattr(session.devices[1], "poll", slow)
    began_s = monotonic()
    press = Timer(0.2, (tmp_path / "STOP").touch)
    press.start()
    with pytest.raises(EmergencyStopped, match="in the safe state, where it stays, is: inv-1"):
        thread.run(session.exchange(commands, 1.0, 1.0))
    assert monotonic() - began_s < 4.0
    assert holds("704.WSetEna", "704.WMaxLimPctEna", "704.WMaxLimPct") == [0, 1, 20]
    thread.run(session.close())
    press.join()


def test_a_stop_while_a_silent_device_is_restored_cuts_the_power_at_once(
    emulator: BankServer, tmp_path: Path, thread: LoopThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DERLOOP_STATE", str(tmp_path / "state"))
    address, cut_s = emulator.addresses[0], []
    entry = DeviceEntry(endpoint=address.endpoint, unit=address.unit, safety=SAFE.model_copy(update={"restore_s": 4.0}))
    file = BenchFile(name="lab", devices={"inv-1": entry}, emergency_stop=EmergencyStop(file=Path("STOP")))
    run, bench = Run(tmp_path, tmp_path / "lab.json"), Bench(tmp_path / "lab.json", file)
    session = Session(bench, ["inv-1"], ["inv-1"], run, cut_power=lambda: cut_s.append(monotonic()))
    thread.run(session.stand_by())
    thread.run(session.open())
    thread.run(session.exchange(Commands(p_w=np.array([5000.0])), 0.0, 1.0))
    emulator.stop()
    stopped_s = monotonic() + 0.5
    press = Timer(0.5, (tmp_path / "STOP").touch)
    press.start()
    with pytest.raises(NotRestored):
        thread.run(session.close())
    press.join()
    assert [each - stopped_s < 2.0 for each in cut_s] == [True]


def test_a_key_stops_the_bench_as_a_file_does(kept: Keep, tmp_path: Path, holds: Holds) -> None:
    class Pressed(KeyStop):
        def pressed(self) -> str:
            return "q"

    with pytest.raises(EmergencyStopped, match=r"^EMERGENCY STOP: the key 'q' was pressed; "):
        look(commanded(kept), EmergencyStop(), tmp_path, Pressed())
    assert holds("704.WSetEna", "704.WMaxLimPctEna", "704.WMaxLimPct") == [0, 1, 20]


def test_a_device_that_could_not_be_made_safe_at_once_is_when_it_is_let_go(
    kept: Keep, bank: RegisterBank, holds: Holds, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = kept(SAFE.model_copy(update={"restore_s": 0.3}))
    device.take()
    device.command(p_w=5000.0)
    with monkeypatch.context() as broken:
        broken.setattr(bank, "write", lambda *_: Refusal.VALUE)
        with pytest.raises(NotRestored, match="COULD NOT BE BROUGHT TO ITS SAFE STATE"):
            device.make_safe("a test")
    assert holds("704.WSetEna") == [1]
    device.let_go()
    assert holds("704.WSetEna", "704.WMaxLimPctEna", "704.WMaxLimPct") == [0, 1, 20]
    assert len(device.records) == 1


AT_A_TERMINAL = """
import fcntl, termios, time
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
from hil.safety.key import KeyStop
before = termios.tcgetattr(0)
with KeyStop() as stop:
    print("ready", flush=True)
    end_s = time.monotonic() + 10.0
    while not (key := stop.pressed()) and time.monotonic() < end_s:
        time.sleep(0.01)
print(repr(key), termios.tcgetattr(0) == before)
"""


@pytest.mark.parametrize(("typed", "key"), [(b"q", "q"), (b" ", " "), (b"hurry: Q", " ")])
def test_a_key_stops_the_bench_and_the_terminal_is_as_it_was(typed: bytes, key: str) -> None:
    ours, theirs = pty.openpty()
    command = [sys.executable, "-c", AT_A_TERMINAL]
    with subprocess.Popen(command, stdin=theirs, stdout=subprocess.PIPE, start_new_session=True) as process:
        assert process.stdout
        assert process.stdout.readline() == b"ready\n"
        os.write(ours, typed)
        assert process.stdout.read().decode() == f"{key!r} True\n"
    os.close(ours)
    os.close(theirs)


IN_THE_BACKGROUND = """
import fcntl, os, signal, sys, termios, time
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
from hil.safety.key import KeyStop

def wait(is_in_front):
    while (os.tcgetpgrp(0) == os.getpgrp()) != is_in_front:
        time.sleep(0.01)

if not (run := os.fork()):
    os.setpgid(0, 0)
    wait(True)
    with KeyStop() as stop:
        print("ready", flush=True)
        wait(False)
        print("moved", flush=True)
        end_s = time.monotonic() + 0.5
        while not (key := stop.pressed()) and time.monotonic() < end_s:
            time.sleep(0.01)
    os._exit(0 if not key else 1)
signal.signal(signal.SIGTTOU, signal.SIG_IGN)
while os.getpgid(run) != run:
    time.sleep(0.01)
os.tcsetpgrp(0, run)
os.read(int(sys.argv[1]), 1)
os.tcsetpgrp(0, os.getpgrp())
_, status = os.waitpid(run, os.WUNTRACED)
if os.WIFSTOPPED(status):
    os.killpg(run, signal.SIGKILL)
print("halted" if os.WIFSTOPPED(status) else os.waitstatus_to_exitcode(status))
"""


def test_a_run_that_is_put_into_the_background_goes_on_and_ends() -> None:
    """As by Ctrl-Z and bg: who reads from the terminal then, or sets it, is halted, with its devices energised."""
    ours, theirs = pty.openpty()
    reading, writing = os.pipe()
    command = [sys.executable, "-c", IN_THE_BACKGROUND, str(reading)]
    with subprocess.Popen(
        command, stdin=theirs, stdout=subprocess.PIPE, start_new_session=True, pass_fds=[reading]
    ) as process:
        assert process.stdout
        assert process.stdout.readline() == b"ready\n"
        os.write(writing, b"bg")
        assert process.stdout.readline() == b"moved\n"
        os.write(ours, b"q")
        assert process.stdout.read() == b"0\n"
    for each in (ours, theirs, reading, writing):
        os.close(each)


FOR_TWO_FLEETS = """
import fcntl, termios, time
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
from hil.safety.key import RunKey
before = termios.tcgetattr(0)
one, other = RunKey(), RunKey()
one.open()
other.open()
print("ready", flush=True)
end_s = time.monotonic() + 10.0
while not (key := one.pressed()) and time.monotonic() < end_s:
    time.sleep(0.01)
both = key, other.pressed()
one.close()
is_taken = termios.tcgetattr(0) != before
other.close()
again = RunKey()
again.open()
print(both, is_taken, repr(again.pressed()))
again.close()
print(termios.tcgetattr(0) == before)
"""


def test_one_press_stops_every_fleet_and_the_last_one_leaves_the_terminal_as_it_was() -> None:
    ours, theirs = pty.openpty()
    command = [sys.executable, "-c", FOR_TWO_FLEETS]
    with subprocess.Popen(command, stdin=theirs, stdout=subprocess.PIPE, start_new_session=True) as process:
        assert process.stdout
        assert process.stdout.readline() == b"ready\n"
        os.write(ours, b"q")
        assert process.stdout.read().decode().splitlines() == ["('q', 'q') True ''", "True"]
    os.close(ours)
    os.close(theirs)


def test_without_a_terminal_no_key_is_waited_for(kept: Keep, tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.write(writing, b"q")
    with KeyStop(reading) as key:
        assert key.pressed() == ""
        look(commanded(kept), EmergencyStop(), tmp_path, key)
    os.close(reading)
    os.close(writing)
