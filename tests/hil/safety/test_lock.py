"""Two runs cannot command one device, and a killed one holds nothing."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from threading import Timer

import pytest

from derloop.errors import Interlocked, Unreachable
from hil.modbus.endpoint import Address, RtuOverTcp, Serial, Tcp
from hil.safety.folder import Run, StateFolder
from hil.safety.lock import DeviceLock
from hil.safety.place import places

HOLDER = """
import sys
from pathlib import Path
from hil.safety.folder import Run
from hil.safety.lock import DeviceLock
lock = DeviceLock("inv-1", sys.argv[1:2], [Path(each) for each in sys.argv[2:]])
lock.acquire(Run(Path("/runs/first"), Path("lab.json")))
print("held", flush=True)
sys.stdin.read()
"""
FORKED = """child = os.fork()
if child == 0:
    lock.release()
    os._exit(0)
os.waitpid(child, 0)
"""


def run(name: str) -> Run:
    return Run(Path(f"/runs/{name}"), Path("/lab/bench.json"))


def holder(place: str, *folders: Path, script: str = HOLDER) -> subprocess.Popen[bytes]:
    """Return another process that holds a place."""
    command = [sys.executable, "-c", script, place, *map(str, folders)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout
    assert process.stdout.readline() == b"held\n"
    return process


def end(process: subprocess.Popen[bytes], number: int) -> None:
    with process:
        process.send_signal(number)


def test_a_second_run_is_told_who_holds_the_device(tmp_path: Path) -> None:
    other = holder("tcp-a", tmp_path)
    try:
        with pytest.raises(
            Interlocked, match=rf"inv-1.*held by process {other.pid} \(run /runs/first, since 20\d\d-\d\d-"
        ):
            DeviceLock("inv-1", ["tcp-a"], [tmp_path]).acquire(run("second"))
    finally:
        end(other, signal.SIGKILL)


def test_a_holder_that_is_halted_is_said_to_be_that(tmp_path: Path) -> None:
    """Whoever waited for it waited for ever, and it did not end when it was asked to."""
    other = holder("tcp-a", tmp_path)
    try:
        other.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, other.pid, os.WSTOPPED | os.WNOWAIT)
        with pytest.raises(Interlocked, match=rf"; it is halted, and goes on with kill -CONT {other.pid}\):"):
            DeviceLock("inv-1", ["tcp-a"], [tmp_path]).acquire(run("second"))
    finally:
        end(other, signal.SIGKILL)


@pytest.mark.parametrize("pid", [-1, 10**30])
def test_a_holder_that_is_signed_with_the_number_of_no_process_is_told_all_the_same(tmp_path: Path, pid: int) -> None:
    other = holder("tcp-a", tmp_path)
    try:
        signed = {"pid": pid, "run": "/runs/first", "since": "2025-07-04T12:00:00+00:00"}
        (tmp_path / "tcp-a.lock").write_text(json.dumps(signed))
        with pytest.raises(Interlocked, match=r"is held by (another )?process"):
            DeviceLock("inv-1", ["tcp-a"], [tmp_path]).acquire(run("second"))
    finally:
        end(other, signal.SIGKILL)


def test_a_killed_run_holds_nothing(tmp_path: Path) -> None:
    end(holder("tcp-a", tmp_path), signal.SIGKILL)
    with DeviceLock("inv-1", ["tcp-a"], [tmp_path]) as lock:
        lock.acquire(run("second"))


def lets_go(first: DeviceLock, folder: Path) -> None:
    """Release a lock whose files another process has open as well, and take the device again."""
    inherited = [os.dup(each) for each in first._held]  # a fork has the same ones
    first.release()
    try:
        with DeviceLock("inv-1", ["tcp-a"], [folder]) as second:
            second.acquire(run("second"))
    finally:
        for each in inherited:
            os.close(each)


def test_a_process_that_is_forked_while_a_device_is_held_does_not_hold_it_afterwards(tmp_path: Path) -> None:
    """As the workers of an own control: they outlive the run that began them."""
    first = DeviceLock("inv-1", ["tcp-a"], [tmp_path])
    first.acquire(run("first"))
    lets_go(first, tmp_path)


def test_a_process_that_was_forked_before_it_took_a_device_is_its_holder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is signed with its pid, and lets go of the device though one that it forked has its files open."""
    lock = DeviceLock("inv-1", ["tcp-a"], [tmp_path])
    monkeypatch.setattr(os, "getpid", lambda: 4711)  # the lock was made by the process that forked this one
    lock.acquire(run("first"))
    assert json.loads((tmp_path / "tcp-a.lock").read_text())["pid"] == 4711
    lets_go(lock, tmp_path)


def test_a_process_that_was_forked_lets_go_of_nothing_that_the_run_holds(tmp_path: Path) -> None:
    """One that unwound what it had inherited unlocked the device that the run went on to command."""
    script = HOLDER.replace("import sys", "import os\nimport sys").replace("print(", f"{FORKED}print(")
    other = holder("tcp-a", tmp_path, script=script)
    try:
        with pytest.raises(Interlocked, match=f"is held by process {other.pid} "):
            DeviceLock("inv-1", ["tcp-a"], [tmp_path]).acquire(run("second"))
    finally:
        end(other, signal.SIGKILL)


def test_other_devices_can_be_commanded_meanwhile(tmp_path: Path) -> None:
    with DeviceLock("inv-1", ["tcp-a"], [tmp_path]) as one, DeviceLock("inv-2", ["tcp-b"], [tmp_path]) as two:
        one.acquire(run("first"))
        two.acquire(run("second"))


def test_two_users_meet_at_the_folder_of_the_machine(tmp_path: Path) -> None:
    mine, theirs, machine = tmp_path / "mine", tmp_path / "theirs", tmp_path / "machine"
    with DeviceLock("inv-1", ["tcp-a"], [mine, machine]) as lock:
        lock.acquire(run("first"))
        with pytest.raises(
            Interlocked, match=r"is held by process \d+ \(run /runs/first, .*two runs cannot command one"
        ):
            DeviceLock("inv-1", ["tcp-a"], [theirs, machine]).acquire(run("second"))
    other = DeviceLock("inv-1", ["tcp-a"], [theirs, machine])
    other.acquire(run("second"))  # what was refused is held in no place
    other.release()


@pytest.mark.skipif(os.getuid() != 0, reason="becoming another user needs root")
def test_the_lock_file_of_another_user_can_be_locked_by_all(tmp_path: Path) -> None:
    machine = tmp_path / "machine"
    machine.mkdir()
    machine.chmod(0o1777)
    tmp_path.chmod(0o755)
    with DeviceLock("inv-1", ["tcp-a"], [machine / "derloop"]) as lock:
        lock.acquire(run("first"))
    assert (machine / "derloop").stat().st_mode & 0o7777 == 0o1777
    for parent in tmp_path.parents:
        if parent.stat().st_uid == 0 and parent not in (Path("/"), Path("/tmp")):
            parent.chmod(0o755)
    path = str(machine / "derloop" / "tcp-a.lock")
    code = f"import fcntl, os; os.setuid(65534); fcntl.flock(os.open({path!r}, os.O_RDWR), fcntl.LOCK_EX)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_full_disk_keeps_nobody_from_holding_a_device(tmp_path: Path) -> None:
    """Else `derloop bench safe` could not make it safe. The limit on a file's size stands for the disk."""
    code = f"""
import resource, signal
from pathlib import Path
from hil.safety.folder import Run
from hil.safety.lock import DeviceLock
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
run, folders = Run(Path("/runs/first"), Path("lab.json")), [Path({str(tmp_path)!r})]
DeviceLock("inv-1", ["tcp-a"], folders).acquire(run)
try:
    DeviceLock("inv-1", ["tcp-a"], folders).acquire(run)
except Exception as refusal:
    print(refusal)
"""
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=True)
    assert "device 'inv-1': is held by another process" in done.stdout


def test_a_device_that_cannot_be_locked_everywhere_is_locked_nowhere(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    half = DeviceLock("inv-1", ["tcp-a"], [tmp_path, tmp_path / "file"])
    with pytest.raises(Interlocked, match=r"cannot be locked: .*nothing was written"):
        half.acquire(run("first"))
    with DeviceLock("inv-1", ["tcp-a"], [tmp_path]) as lock:
        lock.acquire(run("second"))


def test_who_holds_a_device_is_told_where_one_with_a_longer_name_held_it_before(tmp_path: Path) -> None:
    for name in ("of-a-name-that-is-rather-long", "second"):
        with DeviceLock("inv-1", ["tcp-a"], [tmp_path]) as lock:
            lock.acquire(run(name))
            with pytest.raises(Interlocked, match=rf"\(run /runs/{name}, since"):
                DeviceLock("inv-1", ["tcp-a"], [tmp_path]).acquire(run("third"))


def test_what_fleets_of_a_run_share_is_waited_for_while_the_first_of_them_signs_it(tmp_path: Path) -> None:
    path = tmp_path / "tcp-a.lock"
    path.touch()
    with path.open("r+b") as first:
        fcntl.flock(first, fcntl.LOCK_EX)

        def sign() -> None:
            path.write_text(json.dumps({"pid": 1, "run": "/runs/first", "since": "2026-11-28T12:00:00+00:00"}))
            fcntl.flock(first, fcntl.LOCK_SH)

        signing = Timer(0.05, sign)
        signing.start()
        with DeviceLock("grid", ["tcp-a"], [tmp_path]) as lock:
            lock.acquire(run("first"), is_shared=True)
        signing.join()
        with pytest.raises(Interlocked, match=r"is held by process 1 \(run /runs/first"):
            DeviceLock("grid", ["tcp-a"], [tmp_path]).acquire(run("second"), is_shared=True)


def test_a_link_in_the_place_of_a_lock_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "tcp-a.lock").symlink_to(tmp_path / "precious")
    (tmp_path / "precious").write_text("data")
    with pytest.raises(Interlocked, match=r"cannot be locked: .*nothing was written"):
        DeviceLock("inv-1", ["tcp-a"], [tmp_path]).acquire(run("first"))
    assert (tmp_path / "precious").read_text() == "data"


def test_what_a_stranger_wrote_into_the_file_does_not_break_the_message(tmp_path: Path) -> None:
    with DeviceLock("inv-1", ["tcp-a"], [tmp_path]) as lock:
        lock.acquire(run("first"))
        for text in ("", "{", "[]", '{"pid": "x"}', '{"pid": 1, "run": {}}', "\xff"):
            (tmp_path / "tcp-a.lock").write_text(text, encoding="latin-1")
            with pytest.raises(Interlocked, match="another process"):
                DeviceLock("inv-1", ["tcp-a"], [tmp_path]).acquire(run("second"))


def test_a_device_has_one_place_however_its_host_is_spelt() -> None:
    spelt = {
        host: set(places("x", Address(Tcp(host=host, port=1502)))) for host in ("127.0.0.1", "localhost", "0.0.0.0")
    }
    assert all(spelt["127.0.0.1"] & each for each in spelt.values())
    assert places("x", Address(Tcp(host="::ffff:127.0.0.1", port=1502))) == ("tcp-127.0.0.1-1502-unit-1",)
    assert places("x", Address(Tcp(host="127.0.0.1", port=1502))) == places("x", Address(RtuOverTcp(port=1502)))


def test_units_and_ports_are_places_of_their_own() -> None:
    here = [Address(Tcp(port=1502), 1), Address(Tcp(port=1502), 2), Address(Tcp(port=1503), 1)]
    assert len({places("x", each) for each in here}) == 3


def test_links_to_a_serial_port_are_that_port(tmp_path: Path) -> None:
    (tmp_path / "by-id").symlink_to(tmp_path / "ttyUSB0")
    by_id, direct = (Address(Serial(path=tmp_path / name)) for name in ("by-id", "ttyUSB0"))
    assert places("x", by_id) == places("x", direct)


def test_a_host_that_nobody_knows_is_unreachable() -> None:
    with pytest.raises(Unreachable, match=r"the host 'a\.\.b' is not known"):
        places("x", Address(Tcp(host="a..b")))


def test_the_state_folder_is_where_the_environment_says() -> None:
    assert StateFolder.of_user({"DERLOOP_STATE": "/lab/state"}).records == Path("/lab/state/records")
    assert StateFolder.of_user({"XDG_STATE_HOME": "/home/a/state"}).state == Path("/home/a/state/derloop")
    assert StateFolder.of_user({}).state == Path.home() / ".local/state/derloop"
    assert StateFolder.of_user({}).locks[0] == Path.home() / ".local/state/derloop/locks"
    assert len(StateFolder.of_user({}).locks) > 1


def test_what_another_user_has_signed_with_does_nothing_to_the_terminal(tmp_path: Path) -> None:
    held = DeviceLock("inv-1", ["tcp-a"], [tmp_path])
    held.acquire(Run(Path("/runs/\x1b[31mred"), Path("/lab/bench.json")))
    with held, pytest.raises(Interlocked, match=r"\(run /runs/\?\[31mred, since"):
        DeviceLock("inv-1", ["tcp-a"], [tmp_path]).acquire(run("second"))
