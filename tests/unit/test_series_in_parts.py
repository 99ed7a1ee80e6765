"""A batch is written from where its columns are, in one go where the system takes it, and in several where not."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from derloop.contract import Interface, Port
from derloop.results.series import Writer, batches

S = 1_000_000_000
GRID = Interface(S, outputs={"v_pu": Port("pu", ("a", "b", "c")), "kw": Port("kW", ("head",))})


def written(folder: Path, rows: Sequence[int]) -> Path:
    writer, done = Writer(folder, "grid", GRID), 0
    for k in rows:
        steps = np.arange(done, done + k)
        writer.write(steps * S, {"v_pu": steps[:, None] + np.array([0.25, 0.5, 0.75]), "kw": steps[:, None] / 8})
        done += k
    writer.close()
    return writer.path


def read(path: Path) -> tuple[list[int], list[list[float]], list[float]]:
    found = list(batches(path, ["v_pu", "kw"]))
    times = [int(t) // S for time_ns, _ in found for t in time_ns]
    return (
        times,
        [row.tolist() for _, c in found for row in c["v_pu"]],
        [float(x) for _, c in found for x in c["kw"][:, 0]],
    )


def test_batches_of_any_length_are_read_as_they_were_written(tmp_path: Path) -> None:
    times, v_pu, kw = read(written(tmp_path, [1, 5, 5, 2, 1]))
    assert times == list(range(14))
    assert v_pu == [[k + 0.25, k + 0.5, k + 0.75] for k in range(14)]
    assert kw == [k / 8 for k in range(14)]


def test_the_stream_is_what_arrow_itself_writes(tmp_path: Path) -> None:
    ours = written(tmp_path, [3]).read_bytes()
    with pa.ipc.open_stream(ours) as reader:
        batch, schema = reader.read_next_batch(), reader.schema
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, schema) as theirs:
        theirs.write_batch(batch)
    assert sink.getvalue().to_pybytes() == ours


def test_a_system_that_takes_a_few_bytes_at_a_time_gets_them_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = written(tmp_path, [4, 4]).read_bytes()
    calls = []

    def short(file: int, parts: Sequence[memoryview]) -> int:
        calls.append(len(parts))
        return os.write(file, b"".join(parts)[:37])

    monkeypatch.setattr(os, "writev", short)
    (tmp_path / "slowly").mkdir()
    assert written(tmp_path / "slowly", [4, 4]).read_bytes() == whole
    assert len(calls) > len(whole) // 37


def test_reading_does_not_import_pandas_which_takes_longer_than_a_short_run(tmp_path: Path) -> None:
    path = written(tmp_path, [4])
    code = f"""
import sys
from pathlib import Path
from derloop.results.series import batches
found = [columns["v_pu"].sum() for _, columns in batches(Path({str(path)!r}), ["v_pu"])]
print(len(found), "pandas" in sys.modules)
"""
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.split() == ["1", "False"]
