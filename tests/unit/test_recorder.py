"""What is recorded is there afterwards, also when the recording process is killed at any moment."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from textwrap import dedent
from threading import Event, Thread
from time import monotonic, sleep
from typing import Any

import numpy as np
import pytest

from derloop.contract import Interface, Port, Values
from derloop.errors import DerloopError
from derloop.results import recorder as recorder_module
from derloop.results.recorder import Recorder
from derloop.results.series import Writer
from derloop.results.store import RunFolder, finish

SECOND = 1_000_000_000
GRID = Interface(
    SECOND,
    outputs={"v_pu": Port("pu", ("650.1", "671.2", "671.3")), "loss_kw": Port("kW", ("feeder",))},
)
SILENT = Interface(SECOND, inputs={"p_kw": Port("kW", ("a",))})


def outputs(step: int) -> Values:
    return {"v_pu": np.array([1.0, 0.99, 0.98]) + step / 1000, "loss_kw": np.array([float(step)])}


def record(folder: Path, steps: int, federate: str = "grid") -> None:
    recorder = Recorder(folder, {federate: GRID})
    for step in range(steps):
        recorder.observe(federate, step * SECOND, outputs(step))
    recorder.close()


def read(folder: Path, steps: int) -> None:
    """Assert that the folder holds exactly the first `steps` steps of `outputs`."""
    run = RunFolder(folder)
    time_ns, v_pu = run.read("grid.v_pu")
    np.testing.assert_array_equal(time_ns, np.arange(steps) * SECOND)
    np.testing.assert_array_equal(v_pu, np.array([outputs(s)["v_pu"] for s in range(steps)]).reshape(-1, 3))
    np.testing.assert_array_equal(run.read("grid.loss_kw")[1][:, 0], np.arange(steps))


@pytest.fixture
def held_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder_module, "HELD_S", 3600.0)


@pytest.fixture
def due_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder_module, "HELD_S", -1.0)


@pytest.mark.parametrize("steps", [0, 1, 255, 256, 257, 1000])
def test_every_step_is_read_back_to_the_bit(tmp_path: Path, steps: int) -> None:
    record(tmp_path, steps)
    read(tmp_path, steps)
    finish(tmp_path)
    read(tmp_path, steps)


def test_values_are_copied_when_they_are_observed(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, {"grid": GRID})
    same = {"v_pu": np.ones(3), "loss_kw": np.ones(1)}
    for step in range(3):
        same["v_pu"][:] = step
        recorder.observe("grid", step, same)
    recorder.close()
    assert RunFolder(tmp_path).read("grid.v_pu")[1][:, 0].tolist() == [0.0, 1.0, 2.0]


def test_what_was_recorded_says_what_it_is(tmp_path: Path) -> None:
    record(tmp_path, 1)
    v_pu, loss_kw = RunFolder(tmp_path).signals()
    assert (v_pu.name, v_pu.unit, v_pu.labels, v_pu.step_ns) == ("grid.v_pu", "pu", ("650.1", "671.2", "671.3"), SECOND)
    assert (loss_kw.name, loss_kw.unit, loss_kw.labels) == ("grid.loss_kw", "kW", ("feeder",))


def test_nan_and_infinity_are_recorded_as_they_are(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, {"loop@grid": Interface(SECOND, outputs={"residual": Port("1", ("max",))})})
    for step, value in enumerate((np.nan, np.inf, -0.0)):
        recorder.observe("loop@grid", step, {"residual": np.array([value])})
    recorder.close()
    found = RunFolder(tmp_path).read("loop@grid.residual")[1][:, 0]
    assert [str(x) for x in found.tolist()] == ["nan", "inf", "-0.0"]


@pytest.mark.parametrize("name", ["loop@grid", "a.b", "pv/roof", "..", "pv süd", "100%", "*"])
def test_any_name_of_a_federate_stays_in_the_folder(tmp_path: Path, name: str) -> None:
    record(tmp_path, 2, name)
    (file,) = (tmp_path / "series").iterdir()
    assert file.suffix == ".arrows"
    assert [p.name for p in tmp_path.iterdir()] == ["series"]
    assert {s.federate for s in RunFolder(tmp_path).signals()} == {name}
    finish(tmp_path)
    assert RunFolder(tmp_path).read(f"{name}.v_pu")[1].shape == (2, 3)


def test_a_federate_without_outputs_has_no_file(tmp_path: Path) -> None:
    empty = Interface(SECOND, outputs={"p_kw": Port("kW", ())})
    recorder = Recorder(tmp_path, {"meter": SILENT, "none": empty})
    recorder.observe("meter", 0, {})
    recorder.observe("none", 0, {"p_kw": np.empty(0)})
    recorder.close()
    assert list((tmp_path / "series").iterdir()) == []


def test_an_unknown_federate_is_named_with_what_is_near(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, {"grid": GRID})
    with pytest.raises(DerloopError, match="'gird' is not being recorded; did you mean 'grid'"):
        recorder.observe("gird", 0, {})
    recorder.close()


def test_a_federate_is_not_recorded_twice_into_one_folder(tmp_path: Path) -> None:
    record(tmp_path, 1)
    with pytest.raises(DerloopError, match="'grid' has been recorded already"):
        Recorder(tmp_path, {"pv": GRID, "grid": GRID})
    finish(tmp_path)
    with pytest.raises(DerloopError, match="'grid' has been recorded already"):
        Recorder(tmp_path, {"grid": GRID})
    read(tmp_path, 1)


def test_an_output_may_not_take_the_name_of_the_time(tmp_path: Path) -> None:
    with pytest.raises(DerloopError, match="'pv': an output cannot be named 'time_ns'"):
        Recorder(tmp_path, {"pv": Interface(SECOND, outputs={"time_ns": Port("ns", ("a",))})})


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "series").write_text("in the way")
    with pytest.raises(DerloopError, match=r"cannot record in .*series: File exists"):
        Recorder(tmp_path, {"grid": GRID})


def test_what_is_due_is_written_and_what_is_not_waits(
    tmp_path: Path, held_for_ever: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = Recorder(tmp_path, {"grid": GRID})
    recorder.observe("grid", 0, outputs(0))
    recorder.flush_due()
    read(tmp_path, 0)
    monkeypatch.setattr(recorder_module, "HELD_S", -1.0)
    recorder.flush_due()
    read(tmp_path, 1)
    recorder.close()


def test_closing_twice_is_harmless_and_nothing_can_be_observed_afterwards(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, {"grid": GRID})
    recorder.observe("grid", 0, outputs(0))
    recorder.close()
    recorder.close()
    recorder.flush_due()
    with pytest.raises(DerloopError, match="not being recorded"):
        recorder.observe("grid", 1, outputs(1))
    read(tmp_path, 1)


def test_a_thread_that_flushes_all_the_time_neither_loses_nor_doubles_a_step(tmp_path: Path, due_at_once: None) -> None:
    recorder, stop = Recorder(tmp_path, {"grid": GRID}), Event()

    def watch() -> None:
        while not stop.is_set():
            recorder.flush_due()

    watcher = Thread(target=watch)
    watcher.start()
    for step in range(3000):
        recorder.observe("grid", step * SECOND, outputs(step))
    stop.set()
    watcher.join()
    recorder.close()
    read(tmp_path, 3000)


def test_federates_are_observed_from_threads_of_their_own(tmp_path: Path, due_at_once: None) -> None:
    names = [f"pv_{i}" for i in range(6)]
    recorder = Recorder(tmp_path, dict.fromkeys(names, GRID))

    def run(name: str) -> None:
        for step in range(600):
            recorder.observe(name, step, outputs(step))
            if step % 50 == 0:
                recorder.flush_due()

    threads = [Thread(target=run, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    recorder.close()
    folder = RunFolder(tmp_path)
    for name in names:
        np.testing.assert_array_equal(folder.read(f"{name}.loss_kw")[1][:, 0], np.arange(600))


def test_a_disk_that_takes_nothing_and_lets_nothing_be_cut_off_is_named(tmp_path: Path, held_for_ever: None) -> None:
    recorder = Recorder(tmp_path, {"grid": GRID})
    path = tmp_path / "series" / "grid.arrows"
    with path.open("rb") as unwritable:
        written = next(int(fd.name) for fd in Path("/proc/self/fd").iterdir() if _is(fd, path, unwritable.fileno()))
        os.dup2(unwritable.fileno(), written)
    recorder.observe("grid", 0, outputs(0))
    with pytest.raises(DerloopError, match=r"cannot record federate 'grid' in .*grid\.arrows: Bad file descriptor"):
        recorder.flush()
    with pytest.raises(DerloopError, match="cannot record federate 'grid'"):
        recorder.close()


def _is(fd: Path, path: Path, but: int) -> bool:
    """Return whether an open file of this process is `path`, and not the one of the number `but`."""
    return fd.is_symlink() and os.readlink(fd) == str(path) and int(fd.name) != but  # noqa: PTH115 - as it stands


# --- cut short ---------------------------------------------------------------------------------------------------


def _three_batches(folder: Path) -> tuple[Path, int, int]:
    """Record batches of 2, 2 and 1 steps; return the file and where the last batch starts and ends."""
    recorder = Recorder(folder, {"grid": GRID})
    path = folder / "series" / "grid.arrows"
    ends = []
    for step in range(5):
        recorder.observe("grid", step * SECOND, outputs(step))
        if step in (1, 3, 4):
            recorder.flush_due()
            ends.append(path.stat().st_size)
    recorder.close()
    return path, ends[1], ends[2]


def test_a_stream_cut_anywhere_in_its_last_batch_gives_the_batches_before_it(tmp_path: Path, due_at_once: None) -> None:
    path, start, end = _three_batches(tmp_path / "whole")
    data, cut = path.read_bytes(), tmp_path / "cut"
    (cut / "series").mkdir(parents=True)
    for length in range(start, end):
        (cut / "series" / "grid.arrows").write_bytes(data[:length])
        read(cut, 4)
    for length in range(end, len(data) + 1):
        (cut / "series" / "grid.arrows").write_bytes(data[:length])
        read(cut, 5)


def test_a_stream_cut_anywhere_can_be_finished(tmp_path: Path, due_at_once: None) -> None:
    path, start, end = _three_batches(tmp_path / "whole")
    data = path.read_bytes()
    for length in (start, start + 5, end - 1, end):
        cut = tmp_path / str(length)
        (cut / "series").mkdir(parents=True)
        (cut / "series" / "grid.arrows").write_bytes(data[:length])
        finish(cut)
        read(cut, 5 if length == end else 4)


def test_a_stream_cut_within_its_schema_holds_nothing_and_is_left_alone(tmp_path: Path) -> None:
    record(tmp_path, 0)
    path = tmp_path / "series" / "grid.arrows"
    schema = path.read_bytes()[:-8]
    for length in range(0, len(schema), 7):
        path.write_bytes(schema[:length])
        assert RunFolder(tmp_path).signals() == ()
    finish(tmp_path)
    assert path.exists()


def test_a_full_disk_leaves_whole_batches_and_recording_goes_on_when_there_is_room(
    tmp_path: Path, due_at_once: None, limit_of_file_size: None
) -> None:
    recorder = Recorder(tmp_path, {"grid": GRID})
    path = tmp_path / "series" / "grid.arrows"
    recorder.observe("grid", 0, outputs(0))
    recorder.flush_due()
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 100, resource.RLIM_INFINITY))
    recorder.observe("grid", SECOND, outputs(1))
    with pytest.raises(DerloopError, match=r"cannot record federate 'grid' in .*grid\.arrows: File too large"):
        recorder.flush_due()
    read(tmp_path, 1)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    recorder.observe("grid", 2 * SECOND, outputs(2))
    recorder.close()
    read(tmp_path, 3)


def test_a_full_disk_is_told_once_a_full_batch_cannot_be_written_and_the_files_are_closed(
    tmp_path: Path, held_for_ever: None, limit_of_file_size: None
) -> None:
    recorder = _on_a_full_disk(tmp_path)
    for step in range(256):
        recorder.observe("grid", step * SECOND, outputs(step))
    with pytest.raises(DerloopError, match="File too large"):
        _flush_until_told(recorder)
    for step in range(256, 511):
        recorder.observe("grid", step * SECOND, outputs(step))
    for step in (511, 512):
        with pytest.raises(DerloopError, match="File too large"):
            recorder.observe("grid", step * SECOND, outputs(step))
    with pytest.raises(DerloopError, match="File too large"):
        recorder.close()
    read(tmp_path, 0)


def test_what_a_full_disk_did_not_take_is_written_when_there_is_room(
    tmp_path: Path, held_for_ever: None, limit_of_file_size: None
) -> None:
    recorder = _on_a_full_disk(tmp_path)
    for step in range(300):
        recorder.observe("grid", step * SECOND, outputs(step))
    with pytest.raises(DerloopError, match="File too large"):
        _flush_until_told(recorder)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    recorder.flush_due()
    read(tmp_path, 300)
    recorder.flush_due()
    recorder.close()


def _on_a_full_disk(folder: Path) -> Recorder:
    recorder = Recorder(folder, {"grid": GRID})
    size = (folder / "series" / "grid.arrows").stat().st_size
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
    return recorder


def _flush_until_told(recorder: Recorder) -> None:
    """Flush what is due until the recorder's thread has tried to write, at most for 10 s."""
    until = monotonic() + 10.0
    while monotonic() < until:
        recorder.flush_due()
        sleep(0.01)


def test_who_observes_does_not_wait_for_the_disk(
    tmp_path: Path, held_for_ever: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, goes_on = Event(), Event()

    def slowly(writer: Writer, *batch: Any) -> None:
        begun.set()
        assert goes_on.wait(10.0)
        write(writer, *batch)

    write = Writer.write
    monkeypatch.setattr(Writer, "write", slowly)
    recorder = Recorder(tmp_path, {"grid": GRID})
    for step in range(511):
        recorder.observe("grid", step * SECOND, outputs(step))
        assert step < 255 or begun.wait(10.0)
    read(tmp_path, 0)
    goes_on.set()
    recorder.close()
    read(tmp_path, 511)


def test_a_slow_disk_neither_loses_a_step_nor_changes_their_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slowly(writer: Writer, *batch: Any) -> None:
        sleep(0.02)
        write(writer, *batch)

    write = Writer.write
    monkeypatch.setattr(Writer, "write", slowly)
    record(tmp_path, 5000)
    read(tmp_path, 5000)


@pytest.fixture
def limit_of_file_size() -> Iterator[None]:
    """Stands for a full disk: a write past the limit fails as one without room does, half done."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, handler)


# --- processes ---------------------------------------------------------------------------------------------------

RECORD = dedent("""
    import sys, time
    from pathlib import Path
    from threading import Thread
    import numpy as np
    from derloop.contract import Interface, Port
    from derloop.results.recorder import Recorder

    federate, width, pause = sys.argv[2], int(sys.argv[3]), float(sys.argv[4])
    port = Port("pu", tuple(f"n{i}" for i in range(width)))
    recorder = Recorder(Path(sys.argv[1]), {federate: Interface(1, outputs={"v_pu": port})})
    observed = []

    def watch():
        while True:
            time.sleep(0.05)
            half_a_second_ago = time.monotonic() - 0.5
            recorder.flush_due()
            print(sum(when < half_a_second_ago for when in observed), flush=True)

    Thread(target=watch, daemon=True).start()
    while True:
        step = len(observed)
        recorder.observe(federate, step, {"v_pu": np.full(width, step + 0.25)})
        observed.append(time.monotonic())
        time.sleep(pause)
""")


@contextmanager
def _recording(folder: Path, federate: str, width: int = 3, pause: float = 0.002) -> Iterator[subprocess.Popen[str]]:
    """A process that records until the end of the block, where it is killed; it prints how many steps must be safe."""
    arguments = [sys.executable, "-c", RECORD, str(folder), federate, str(width), str(pause)]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as child:
        try:
            yield child
        finally:
            os.kill(child.pid, signal.SIGKILL)


def _wait_for_steps(child: subprocess.Popen[str], steps: int) -> int:
    assert child.stdout is not None
    return next(safe for line in child.stdout if (safe := int(line)) >= steps)


@pytest.mark.parametrize(("width", "pause"), [(3, 0.002), (3, 0.1), (5000, 0.001)])
def test_a_recorder_that_is_killed_loses_its_last_second_at_most(tmp_path: Path, width: int, pause: float) -> None:
    with _recording(tmp_path, "grid", width, pause) as child:
        safe = _wait_for_steps(child, 12)
    time_ns, values = RunFolder(tmp_path).read("grid.v_pu")
    assert time_ns.size >= safe
    np.testing.assert_array_equal(time_ns, np.arange(time_ns.size))
    np.testing.assert_array_equal(values, np.repeat(time_ns[:, None] + 0.25, width, axis=1))
    finish(tmp_path)
    np.testing.assert_array_equal(RunFolder(tmp_path).read("grid.v_pu")[1], values)


def test_several_processes_record_into_one_folder_each_its_own_federates(tmp_path: Path) -> None:
    names = ["grid", "pv", "battery"]
    with ExitStack() as stack:
        children = [stack.enter_context(_recording(tmp_path, name)) for name in names]
        safe = [_wait_for_steps(child, 5) for child in children]
    run = RunFolder(tmp_path)
    assert [s.name for s in run.signals()] == ["battery.v_pu", "grid.v_pu", "pv.v_pu"]
    for name, steps in zip(names, safe, strict=True):
        assert run.read(f"{name}.v_pu")[0].size >= steps


def test_a_run_that_goes_on_can_be_read_and_cannot_be_finished_until_it_ends(tmp_path: Path) -> None:
    with _recording(tmp_path, "grid") as child:
        safe = _wait_for_steps(child, 5)
        assert RunFolder(tmp_path).read("grid.v_pu")[0].size >= safe
        with pytest.raises(DerloopError, match="still being recorded"):
            finish(tmp_path)
    finish(tmp_path)
    assert [p.name for p in (tmp_path / "series").iterdir()] == ["grid.parquet"]


GROWTH = dedent("""
    import sys
    from pathlib import Path
    import numpy as np
    from derloop.contract import Interface, Port
    from derloop.results.recorder import Recorder
    from derloop.results.store import finish

    def peak_mb():  # of this program; getrusage also counts what its parent had before exec
        status = Path("/proc/self/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0]) / 1024

    def record(folder, rows):
        recorder = Recorder(folder, {"grid": Interface(1, outputs={"v_pu": port})})
        for step in range(rows):
            recorder.observe("grid", step, value)
        recorder.close()
        finish(folder)

    port = Port("pu", tuple(f"n{i}" for i in range(100)))
    value = {"v_pu": np.random.default_rng(0).random(100)}
    record(Path(sys.argv[1]) / "short", 20_000)
    before = peak_mb()
    record(Path(sys.argv[1]) / "long", 200_000)
    print(peak_mb() - before)
""")


def test_memory_does_not_grow_with_the_length_of_a_run(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", GROWTH, str(tmp_path)], capture_output=True, text=True, check=True)
    shutil.rmtree(tmp_path / "short")
    assert sum(t.size for t, _ in RunFolder(tmp_path / "long").batches("grid.v_pu")) == 200_000
    assert float(done.stdout) < 50  # the long run's values are 160 MB, the short one's 16


def test_importing_the_results_does_not_load_pyarrow_nor_pandas() -> None:
    modules = ", ".join(f"derloop.results.{m}" for m in ("recorder", "events", "store", "compare", "golden"))
    code = f"import sys, {modules}; assert not {{'pyarrow', 'pandas'}} & sys.modules.keys()"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_pandas_is_not_imported_in_the_middle_of_a_run(tmp_path: Path) -> None:
    """pyarrow imports it at the first `pa.array` of numbers: 0.3 s in which no federate is stepped."""
    code = f"""
        import sys
        from pathlib import Path
        import numpy as np
        from derloop.contract import Interface, Port
        from derloop.results.recorder import Recorder

        interface = Interface(1, outputs={{"v_pu": Port("pu", ("a", "b")), "p_kw": Port("kW", ("a",))}})
        recorder = Recorder(Path({str(tmp_path)!r}), {{"grid": interface}})
        recorder.observe("grid", 0, {{"v_pu": np.ones(2), "p_kw": np.ones(1)}})
        recorder.close()
        sys.exit("pandas" in sys.modules)
    """
    subprocess.run([sys.executable, "-c", dedent(code)], check=True)


def test_what_was_recorded_is_read_without_the_kernels_of_pyarrow(tmp_path: Path) -> None:
    """`flatten` imports `pyarrow.compute`: 0.1 s for each command that reads a run."""
    code = f"""
        import sys
        from pathlib import Path
        import numpy as np
        from derloop.contract import Interface, Port
        from derloop.results import series

        interface = Interface(1, outputs={{"v_pu": Port("pu", ("a", "b"))}})
        writer = series.Writer(Path({str(tmp_path)!r}), "grid", interface)
        writer.write(np.arange(3), {{"v_pu": np.arange(6.0).reshape(3, 2)}})
        writer.close()
        finished = series.to_parquet(writer.path)
        ((time_ns, columns),) = series.batches(finished, ["v_pu"], 1)
        assert time_ns.tolist() == [1, 2]
        assert columns["v_pu"].tolist() == [[2.0, 3.0], [4.0, 5.0]]
        sys.exit("pyarrow.compute" in sys.modules)
    """
    subprocess.run([sys.executable, "-c", dedent(code)], check=True)
