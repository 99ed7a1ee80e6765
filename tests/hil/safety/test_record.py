"""What a device held is on disk whole or not at all, and nothing torn passes for it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest

from hil.inverter.device import Identity
from hil.safety.folder import write_durably
from hil.safety.record import Record, RecordError, Records, decoded, encoded, process_began

RECORD = Record(
    device="inv-1",
    place="tcp-127.0.0.1-1502-unit-1",
    address="127.0.0.1:1502 unit 1",
    identity=Identity("Maker", "Model", "1.0", "SN 7"),
    bench=Path("/lab/bench.json"),
    run=Path("/runs/first"),
    pid=4711,
    began=1.5,
    taken=datetime(2026, 11, 28, 12, 0, tzinfo=UTC),
    points={"704.WSet": 1250.0, "704.WSetEna": 0.0, "1.Opt": "text"},
    lease="lets go by itself within 60 s (reversion)",
)


def test_a_record_reads_as_it_was_written(tmp_path: Path) -> None:
    Records(tmp_path).write(RECORD)
    assert Records(tmp_path).read() == ([RECORD], [])


def test_a_record_torn_at_any_byte_is_named_and_left_where_it_is(tmp_path: Path) -> None:
    data, path = encoded(RECORD), tmp_path / "torn.json"
    for length in range(len(data)):
        with pytest.raises(RecordError):
            decoded(data[:length], path)
    path.write_bytes(data[:-1])
    found, bad = Records(tmp_path).read()
    assert (found, [each.path for each in bad]) == ([], [path])
    assert path.read_bytes() == data[:-1]


def test_a_record_with_any_byte_changed_is_not_believed() -> None:
    data = encoded(RECORD)
    for index in range(len(data)):
        changed = bytearray(data)
        changed[index] ^= 0x01
        with suppress(RecordError):
            assert decoded(bytes(changed), Path("x")) == RECORD, "a change that JSON does not notice"


@pytest.mark.parametrize("text", ["", "[]", "null", "7", '{"record": 1, "sha256": 2}', '{"record": "{}"}', "\x00" * 64])
def test_what_is_no_record_is_named(text: str) -> None:
    with pytest.raises(RecordError, match="it is torn, or no record"):
        decoded(text.encode(), Path("x"))


def test_a_record_of_another_version_is_named() -> None:
    import hashlib

    body = RECORD.model_dump_json().replace('"derloop_record":1', '"derloop_record":2')
    data = json.dumps({"record": body, "sha256": hashlib.sha256(body.encode()).hexdigest()})
    with pytest.raises(RecordError, match="it is not of this version"):
        decoded(data.encode(), Path("x"))


def test_a_run_that_was_killed_is_over_before_its_parent_has_reaped_it() -> None:
    """As in a container whose first process reaps nobody: until then the dead process has its number and its time."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    record = RECORD.model_copy(update={"pid": process.pid, "began": process_began(process.pid)})
    try:
        assert record.goes_on
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert not record.goes_on
    finally:
        process.kill()
        process.communicate()
    assert not record.goes_on


def test_a_folder_that_is_not_there_has_no_records(tmp_path: Path) -> None:
    assert Records(tmp_path / "none").read() == ([], [])


def test_a_record_that_is_closed_while_the_folder_is_read_is_not_a_bad_one(tmp_path: Path) -> None:
    """A link to nothing is listed, and is not there when it is opened, as a file is that another run removes."""
    Records(tmp_path).write(RECORD)
    (tmp_path / "closed.json").symlink_to(tmp_path / "nothing")
    assert Records(tmp_path).read() == ([RECORD], [])


def test_what_cannot_be_opened_in_the_place_of_a_record_is_named(tmp_path: Path) -> None:
    (tmp_path / "tcp-a.json").mkdir()
    found, bad = Records(tmp_path).read()
    assert (found, [each.path.name for each in bad]) == ([], ["tcp-a.json"])


def test_a_full_disk_leaves_what_was_there(tmp_path: Path) -> None:
    """The limit on a file's size stands for a full disk: the write fails in its midst."""
    path = tmp_path / "file"
    write_durably(path, b"before")
    code = f"""
import resource, signal
from pathlib import Path
from hil.safety.folder import write_durably
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
try:
    write_durably(Path({str(path)!r}), b"x" * 1000)
except OSError as failure:
    print(failure.strerror)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "File too large\n"
    assert path.read_bytes() == b"before"
    assert [each.name for each in tmp_path.iterdir()] == ["file"]


def test_a_file_is_whole_however_often_its_writer_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "file"
    code = f"""
import itertools
from pathlib import Path
from hil.safety.folder import write_durably
print("begun", flush=True)
for number in itertools.count():
    write_durably(Path({str(path)!r}), str(number).encode() * 5000)
"""
    for _ in range(5):
        process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
        with process:
            assert process.stdout
            process.stdout.readline()
            while not path.exists():
                pass
            process.kill()
        data = path.read_bytes()
        assert len(data) % 5000 == 0
        assert data == data[: len(data) // 5000] * 5000
