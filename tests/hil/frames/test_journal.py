"""Every frame is in the journal, with both clocks, whatever becomes of the process that writes it."""

from __future__ import annotations

import resource
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from derloop.errors import DerloopError
from hil.frames.evidence import WINDOW, Evidence, JournalFile
from hil.frames.journal import HELD_S, Journal, journal_path
from hil.frames.layout import MARK, Peer
from hil.modbus.endpoint import RtuOverTcp, Serial, Tcp
from hil.modbus.framing import MBAP, RTU, Frame, Framing
from hil.modbus.tap import Direction

INVERTER = Peer("inv-1", 1, "tcp", "127.0.0.1", 1502)
METER = Peer("meter", 7, "serial", "/dev/ttyUSB0")
DIRECTIONS = st.sampled_from(["sent", "received", "discarded"])
NOTED = st.lists(st.tuples(st.sampled_from([INVERTER, METER]), DIRECTIONS, st.binary(max_size=300)), max_size=30)


def journal(path: Path, noted: list[tuple[Peer, Direction, bytes]], flush_each: bool = False) -> Path:
    with Journal(path) as written:
        for peer, direction, data in noted:
            written.tap(peer)(direction, data)
            if flush_each:
                written.flush()
    return path


def read(path: Path) -> list[tuple[Peer, Direction, bytes]]:
    return [(entry.peer, entry.direction, entry.data) for entry in JournalFile(path).entries()]


@given(NOTED)
@settings(max_examples=40, deadline=None)
def test_what_is_noted_is_read_in_its_order(
    tmp_path_factory: pytest.TempPathFactory, noted: list[tuple[Peer, Direction, bytes]]
) -> None:
    assert read(journal(tmp_path_factory.mktemp("frames") / "a.frames", noted)) == noted


def test_an_entry_has_the_wall_s_time_the_host_s_and_the_scenario_s(tmp_path: Path) -> None:
    before = time.time_ns(), time.monotonic_ns()
    with Journal(tmp_path / "a.frames") as written:
        tap = written.tap(INVERTER)
        tap("sent", b"\1")
        for instant_ns in (0, 900 * 10**9):
            written.instant_ns = instant_ns
            tap("received", b"\2")
    after = time.time_ns(), time.monotonic_ns()
    entries = list(JournalFile(written.path).entries())
    assert [entry.instant_ns for entry in entries] == [None, 0, 900 * 10**9]
    walls, monotonics = [e.wall_ns for e in entries], [e.monotonic_ns for e in entries]
    assert [before[0], *walls, after[0]] == sorted([before[0], *walls, after[0]])
    assert [before[1], *monotonics, after[1]] == sorted([before[1], *monotonics, after[1]])


def test_a_torn_tail_costs_what_was_not_whole_and_nothing_else(tmp_path: Path) -> None:
    noted = [(INVERTER, "sent", b"one"), (METER, "received", b"two"), (INVERTER, "discarded", b"three")]
    whole = journal(tmp_path / "a.frames", noted, flush_each=True).read_bytes()
    header = whole.index(b"\n") + 1
    found = []
    for length in range(header, len(whole) + 1):
        torn = tmp_path / "torn.frames"
        torn.write_bytes(whole[:length])
        file = JournalFile(torn)
        entries = [(entry.peer, entry.direction, entry.data) for entry in file.entries()]
        assert entries == noted[: len(entries)]
        found.append((len(entries), file.unread))
    assert [count for count, _ in found] == sorted(count for count, _ in found)
    assert found[-1] == (3, 0)
    assert {count for count, unread in found if unread == 0} == {0, 1, 2, 3}


def test_a_byte_that_has_changed_is_never_taken_for_evidence_and_costs_its_block_alone(tmp_path: Path) -> None:
    noted = [(INVERTER, "sent", b"one"), (METER, "received", b"two"), (METER, "sent", b"blok"), (METER, "sent", b"end")]
    whole = journal(tmp_path / "a.frames", noted, flush_each=True).read_bytes()
    begins = [at for at in range(whole.index(b"\n") + 1, len(whole)) if whole.startswith(MARK, at)]
    begins.pop(3)  # a frame that looks like the begin of one
    for at in range(begins[0], len(whole)):
        damaged = bytearray(whole)
        damaged[at] ^= 0x10
        (tmp_path / "b.frames").write_bytes(damaged)
        file = JournalFile(tmp_path / "b.frames")
        block = sum(begin <= at for begin in begins) - 1
        introduced = [n for n, (peer, *_) in enumerate(noted) if n != block and not (block == 1 and peer == METER)]
        assert [(e.peer, e.direction, e.data) for e in file.entries()] == [noted[n] for n in introduced]
        assert (file.unread > 0) == (block == 3)
        damage = [f"{begins[block + 1] - begins[block]} bytes from {begins[block]} on are damaged"] if block < 3 else []
        missing = ["2 frames are of peers that were introduced in what is lost"] if block == 1 else []
        assert file.lost == damage + missing


def test_blocks_behind_much_that_is_damaged_are_read(tmp_path: Path) -> None:
    whole = journal(tmp_path / "a.frames", [(INVERTER, "sent", b"one")]).read_bytes()
    header, rest = whole[: whole.index(b"\n") + 1], whole[whole.index(b"\n") + 1 :]
    for junk in (WINDOW - 2, WINDOW, 3 * WINDOW + 1):
        (tmp_path / "b.frames").write_bytes(header + b"b" * junk + rest)
        file = JournalFile(tmp_path / "b.frames")
        assert [entry.data for entry in file.entries()] == [b"one"]
        assert file.lost == [f"{junk} bytes from {len(header)} on are damaged"]
        assert not file.unread


def test_a_file_that_is_no_journal_is_named(tmp_path: Path) -> None:
    whole = journal(tmp_path / "a.frames", [(INVERTER, "sent", b"one")]).read_bytes()
    for data in (
        b"",
        b"{}\n",
        b"[1]\n",
        b"\xff\n",
        whole[:20],
        whole.replace(b"derloop-frames-1", b"derloop-frames-9"),
    ):
        (tmp_path / "b.frames").write_bytes(data)
        with pytest.raises(DerloopError, match=r"b\.frames is no journal"):
            JournalFile(tmp_path / "b.frames")
    with pytest.raises(DerloopError, match="has no frames"):
        Evidence(tmp_path / "nowhere")


def test_a_journal_is_never_written_over(tmp_path: Path) -> None:
    path = journal(tmp_path / "a.frames", [(INVERTER, "sent", b"one")])
    with pytest.raises(DerloopError, match="never written over"):
        Journal(path)
    assert len(read(path)) == 1


def test_a_file_in_the_place_of_the_folder_is_named(tmp_path: Path) -> None:
    """It said that the journal itself is there already."""
    (tmp_path / "frames").touch()
    with pytest.raises(DerloopError, match=r"cannot keep frames in /.*/frames/a\.frames: /.*/frames is no folder$"):
        Journal(tmp_path / "frames" / "a.frames")


def test_what_is_held_is_in_the_file_within_a_second(tmp_path: Path) -> None:
    with Journal(tmp_path / "a.frames") as written:
        written.tap(INVERTER)("sent", b"one")
        deadline = time.monotonic() + 20 * HELD_S
        while not read(written.path) and time.monotonic() < deadline:
            time.sleep(0.02)
        assert read(written.path) == [(INVERTER, "sent", b"one")]


KILLED = """
import sys
from pathlib import Path
from hil.frames.journal import Journal
from hil.frames.layout import MARK, Peer

journal = Journal(Path(sys.argv[1]))
tap = journal.tap(Peer("inv-1", 1, "tcp", "127.0.0.1", 1502))
for number in range(10**9):
    tap("sent", number.to_bytes(8, "big") * 30)
    if number % 1000 == 999:
        journal.flush()
        print(number, flush=True)
"""


def test_after_a_kill_everything_is_there_up_to_the_last_flush(tmp_path: Path) -> None:
    path = tmp_path / "a.frames"
    with subprocess.Popen([sys.executable, "-c", KILLED, str(path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        told = [int(process.stdout.readline()) for _ in range(5)][-1]
        process.send_signal(signal.SIGKILL)
        rest = process.stdout.read().split()
    flushed = max([told, *map(int, rest)])
    numbers = [int.from_bytes(data[:8], "big") for _, _, data in read(path)]
    assert numbers == list(range(len(numbers)))
    assert len(numbers) > flushed


def test_taps_of_several_threads_lose_nothing(tmp_path: Path) -> None:
    with Journal(tmp_path / "a.frames") as written:

        def note(unit: int) -> None:
            tap = written.tap(replace(INVERTER, unit=unit))
            for number in range(3000):
                tap("sent", number.to_bytes(4, "big"))

        threads = [threading.Thread(target=note, args=(unit,)) for unit in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    found = read(written.path)
    for unit in range(4):
        assert [int.from_bytes(data, "big") for peer, _, data in found if peer.unit == unit] == list(range(3000))
    times = [entry.monotonic_ns for entry in JournalFile(written.path).entries()]
    assert times == sorted(times)


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
from derloop.errors import DerloopError
from hil.frames.journal import Journal
from hil.frames.layout import MARK, Peer

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
journal = Journal(Path(sys.argv[1]))
tap = journal.tap(Peer("inv-1", 1, "tcp", "127.0.0.1", 1502))
def note(byte, size=1000):
    tap("sent", bytes([byte]) * size)
    journal.flush()
note(1)
resource.setrlimit(resource.RLIMIT_FSIZE, (journal.path.stat().st_size + 700, resource.RLIM_INFINITY))
note(2)
tap = journal.tap(Peer("inv-2", 2, "tcp", "127.0.0.1", 1502))
note(3)
print(journal.failure)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
note(4, 1)
try:
    journal.close()
except DerloopError as error:
    print("closed:", error)
"""


def test_what_a_full_disk_has_cost_is_told_and_later_frames_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "a.frames"
    said = subprocess.run([sys.executable, "-c", FULL_DISK, str(path)], capture_output=True, text=True, check=True)
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY
    failure, closed = said.stdout.splitlines()
    assert "bytes of frames were lost: File too large" in failure
    assert closed == f"closed: {failure}"
    file = JournalFile(path)
    assert [entry.data[0] for entry in file.entries()] == [1, 4]
    assert [entry.peer.device for entry in file.entries()] == ["inv-1", "inv-2"]
    assert file.unread == 0
    (lost,) = file.lost
    assert lost.endswith("bytes of frames were lost: File too large")
    assert Evidence(path).doubts() == []  # nothing is known before it was read


def test_the_journals_of_a_run_are_read_as_one(tmp_path: Path) -> None:
    with Journal(journal_path(tmp_path, "pv")) as pv, Journal(journal_path(tmp_path, "bess")) as bess:
        taps = pv.tap(INVERTER), bess.tap(METER)
        for number in range(10):
            taps[number % 2]("sent", bytes([number]))
    evidence = Evidence(tmp_path)
    assert [entry.data[0] for entry in evidence.entries()] == list(range(10))
    assert evidence.doubts() == []
    journal_path(tmp_path, "ev").write_bytes(b'{"form')
    evidence = Evidence(tmp_path)
    assert len(list(evidence.entries())) == 10
    assert "ev.frames is no journal" in evidence.doubts()[0]


@pytest.mark.parametrize(("endpoint", "framing"), [(Tcp(port=502), MBAP), (Serial(path=Path("/dev/ttyS0")), RTU)])
def test_frames_on_a_bus_are_those_of_the_device_with_their_unit(
    tmp_path: Path, endpoint: Tcp | Serial, framing: Framing
) -> None:
    peers = [Peer.at(f"inv-{unit}", endpoint, unit) for unit in (3, 4)]
    with Journal(tmp_path / "a.frames") as written:
        tap = written.tap(*peers)
        for unit in (4, 3, 9):
            tap("sent", framing.pack(Frame(unit, b"\3\0\0\0\1")))
        tap("discarded", b"")
    assert [entry.peer.device for entry in JournalFile(written.path).entries()] == ["inv-4", "inv-3", "inv-3", "inv-3"]


def test_a_peer_says_where_its_device_is() -> None:
    assert Peer.at("inv-1", Tcp(port=1502), 3) == Peer("inv-1", 3, "tcp", "127.0.0.1", 1502)
    assert Peer.at("inv-1", RtuOverTcp(port=9), 3).endpoint == "rtu:127.0.0.1:9"
    assert str(Peer.at("meter", Serial(path=Path("/dev/ttyUSB0")), 7)) == "meter (/dev/ttyUSB0 unit 7)"
