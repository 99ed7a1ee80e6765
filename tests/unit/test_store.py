"""A run's folder is read while it goes on, finished, and killed; and by the tools that people use."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from derloop.contract import Interface, Port
from derloop.errors import DerloopError, PluginError
from derloop.results import recorder as recorder_module
from derloop.results import series, store
from derloop.results.recorder import Recorder
from derloop.results.store import RunFolder, UnknownSignal, finish

MINUTE = 60_000_000_000
INTERFACES = {
    "pv": Interface(MINUTE, outputs={"p_kw": Port("kW", ("pv_1", "pv_2")), "total_kw": Port("kW", ("pv",))}),
    "grid": Interface(5 * MINUTE, outputs={"v_pu": Port("pu", ("671.1", "671.2", "671.3"))}),
}


def record(folder: Path, minutes: int = 60) -> RunFolder:
    recorder = Recorder(folder, INTERFACES)
    for minute in range(minutes):
        p_kw = np.array([minute, minute / 3])
        recorder.observe("pv", minute * MINUTE, {"p_kw": p_kw, "total_kw": p_kw.sum(keepdims=True)})
        if minute % 5 == 0:
            recorder.observe("grid", minute * MINUTE, {"v_pu": np.array([1.0, 0.9, 0.8]) + minute})
    recorder.close()
    return RunFolder(folder)


@pytest.fixture(params=["arrows", "parquet"])
def run(request: pytest.FixtureRequest, tmp_path: Path) -> RunFolder:
    folder = record(tmp_path)
    if request.param == "parquet":
        finish(tmp_path)
    return folder


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DerloopError, match=r"there is no run at .*/gone"):
        RunFolder(tmp_path / "gone")


def test_an_empty_folder_is_a_run_that_was_killed_early(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    assert (run.run, run.verdicts, run.events, run.signals(), run.start) == ({}, [], [], (), None)
    finish(tmp_path)


def test_documents_that_were_cut_short_are_as_if_missing(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text('{"scenario": {"na')
    (tmp_path / "verdicts.json").write_text("")
    run = RunFolder(tmp_path)
    assert (run.run, run.verdicts) == ({}, [])


def test_documents_are_read(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text('{"seed": 7, "scenario": {"start": "2025-07-15T00:00:00-07:00"}}')
    (tmp_path / "verdicts.json").write_text('[{"outcome": "PASS"}]')
    run = RunFolder(tmp_path)
    assert run.run["seed"] == 7
    assert run.verdicts == [{"outcome": "PASS"}]
    assert str(run.start) == "2025-07-15 00:00:00-07:00"


def test_signals_are_listed_by_federate_and_declared_port(run: RunFolder) -> None:
    assert [s.name for s in run.signals()] == ["grid.v_pu", "pv.p_kw", "pv.total_kw"]
    assert [s.step_ns for s in run.signals()] == [5 * MINUTE, MINUTE, MINUTE]


def test_signals_are_listed_in_the_order_of_the_run_where_it_is_known(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text('{"federates": {"pv": {}, "grid": {}}}')
    assert [s.name for s in record(tmp_path).signals()] == ["pv.p_kw", "pv.total_kw", "grid.v_pu"]


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("*", ["grid.v_pu", "pv.p_kw", "pv.total_kw"]),
        ("pv.*", ["pv.p_kw", "pv.total_kw"]),
        ("*.?_??", ["grid.v_pu", "pv.p_kw"]),
        ("grid.v_pu", ["grid.v_pu"]),
        ("GRID.*", []),
    ],
)
def test_signals_are_selected_by_pattern(run: RunFolder, pattern: str, names: list[str]) -> None:
    assert [s.name for s in run.select(pattern)] == names


def test_an_unknown_signal_is_refused_with_what_is_near(run: RunFolder) -> None:
    for act in (run.read, run.signal, run.frame, lambda name: next(run.batches(name))):
        with pytest.raises(UnknownSignal, match=r"no signal 'grid.v_p'; did you mean 'grid.v_pu'\?"):
            act("grid.v_p")
    with pytest.raises(LookupError):
        run.read("grid.v_p")
    with pytest.raises(UnknownSignal, match="no signal 'xxx"):
        run.read("x" * 400 + ".v_pu")


def test_to_read_a_signal_no_file_of_other_federates_is_looked_for(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "_series_files", lambda folder: pytest.fail(f"all files of {folder} were looked for"))
    assert run.read("grid.v_pu")[0].size > 0


def test_a_signal_is_read_whole(run: RunFolder) -> None:
    time_ns, values = run.read("pv.p_kw")
    assert (time_ns.dtype, values.dtype, values.shape) == (np.int64, np.float64, (60, 2))
    np.testing.assert_array_equal(values[:, 1], np.arange(60) / 3)


@pytest.mark.parametrize(
    ("start", "stop", "minutes"),
    [
        (None, None, range(0, 60)),
        (10 * MINUTE, 20 * MINUTE, range(10, 20)),
        (10 * MINUTE + 1, 20 * MINUTE + 1, range(11, 21)),
        (55 * MINUTE, None, range(55, 60)),
        (None, 1, range(0, 1)),
        (70 * MINUTE, 80 * MINUTE, range(0)),
        (20 * MINUTE, 10 * MINUTE, range(0)),
    ],
)
def test_a_range_starts_with_its_start_and_ends_before_its_stop(
    run: RunFolder, start: int | None, stop: int | None, minutes: range
) -> None:
    time_ns, values = run.read("pv.p_kw", start, stop)
    assert (time_ns // MINUTE).tolist() == list(minutes)
    assert values.shape == (len(minutes), 2)
    assert values[:, 0].tolist() == list(minutes)


def test_a_long_run_is_read_in_pieces_and_only_where_it_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(series, "ROW_GROUP_VALUES", 300)
    run = record(tmp_path, 1000)
    assert [t.size for t, _ in run.batches("pv.p_kw")] == [256, 256, 256, 232]
    finish(tmp_path)
    pieces = list(run.batches("pv.p_kw"))
    assert {t.size for t, _ in pieces[:-1]} <= {56, 100}
    np.testing.assert_array_equal(np.concatenate([v for _, v in pieces])[:, 0], np.arange(1000))
    assert [t[0] // MINUTE for t, _ in run.batches("pv.p_kw", 990 * MINUTE)] == [990]


# --- finishing ---------------------------------------------------------------------------------------------------


def test_a_finished_run_has_parquet_alone_and_finishing_again_changes_nothing(tmp_path: Path) -> None:
    record(tmp_path)
    finish(tmp_path)
    before = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "series").iterdir()}
    assert sorted(before) == ["grid.parquet", "pv.parquet"]
    finish(tmp_path)
    assert {p.name: p.stat().st_mtime_ns for p in (tmp_path / "series").iterdir()} == before


def test_finishing_that_was_killed_half_way_is_finished_later(tmp_path: Path) -> None:
    run = record(tmp_path)
    arrows = tmp_path / "series" / "pv.arrows"
    data = arrows.read_bytes()
    finish(tmp_path)
    arrows.write_bytes(data)  # killed between the renaming and the removal
    (tmp_path / "series" / "grid.parquet.part").write_bytes(b"half")
    assert [s.name for s in run.signals()] == ["grid.v_pu", "pv.p_kw", "pv.total_kw"]
    finish(tmp_path)
    assert not arrows.exists()
    assert run.read("pv.p_kw")[1].shape == (60, 2)


def test_a_run_that_is_finished_while_it_is_looked_at_is_still_read(tmp_path: Path) -> None:
    run = record(tmp_path)
    before = run.read("grid.v_pu")[1]
    finish(tmp_path)
    np.testing.assert_array_equal(run.read("grid.v_pu")[1], before)


def test_a_finished_file_that_was_damaged_is_named(tmp_path: Path) -> None:
    run = record(tmp_path)
    finish(tmp_path)
    (tmp_path / "series" / "pv.parquet").write_bytes(b"PAR1 nothing PAR1")
    with pytest.raises(DerloopError, match=r"pv\.parquet is damaged"):
        run.signals()


@pytest.mark.parametrize("place", [0.2, 0.4, 0.6])
def test_values_of_a_finished_file_that_are_not_those_that_were_written_are_told(tmp_path: Path, place: float) -> None:
    run = record(tmp_path)
    finish(tmp_path)
    file = tmp_path / "series" / "grid.parquet"
    whole = file.read_bytes()
    pages = len(whole) - 8 - int.from_bytes(whole[-8:-4], "little")
    at = int(place * pages)
    file.write_bytes(whole[:at] + bytes([whole[at] ^ 0x10]) + whole[at + 1 :])
    with pytest.raises(DerloopError, match=r"grid\.parquet is damaged"):
        run.read("grid.v_pu")


@pytest.mark.parametrize("column", [b"time_ns", b"v_pu"])
def test_a_finished_file_whose_columns_are_not_called_as_it_says_is_named(tmp_path: Path, column: bytes) -> None:
    """It ended in a traceback: the names stand there twice, and no checksum is of them."""
    record(tmp_path)
    finish(tmp_path)
    file = tmp_path / "series" / "grid.parquet"
    file.write_bytes(file.read_bytes().replace(column, bytes([column[0] ^ 0x11]) + column[1:]))
    with pytest.raises(DerloopError, match=r"grid\.parquet is damaged"):
        list(series.batches(file, ["v_pu"]))


@pytest.mark.parametrize(("said", "is_said"), [(b'["pv"]', b'["pv",'), (b"derloop-series", b"\xf4erloop-series")])
def test_a_file_whose_description_is_damaged_is_named(tmp_path: Path, said: bytes, is_said: bytes) -> None:
    run = record(tmp_path)
    file = tmp_path / "series" / "pv.arrows"
    file.write_bytes(file.read_bytes().replace(said, is_said))
    with pytest.raises(DerloopError, match=r"pv\.arrows is damaged"):
        run.signals()


def test_a_file_in_another_format_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(series, "FORMAT", "derloop-series-9")
    run = record(tmp_path)
    monkeypatch.undo()
    with pytest.raises(DerloopError, match="in the format 'derloop-series-9'; this derloop reads 'derloop-series-1'"):
        run.signals()


def test_a_disk_that_is_full_while_finishing_leaves_the_stream(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    run = record(tmp_path)
    monkeypatch.setattr(series, "_write_parquet", full)
    with pytest.raises(DerloopError, match=r"cannot write .*grid\.parquet: No space left on device"):
        finish(tmp_path)
    assert run.read("pv.p_kw")[1].shape == (60, 2)
    monkeypatch.undo()
    finish(tmp_path)
    assert run.read("pv.p_kw")[1].shape == (60, 2)


def test_one_federate_that_cannot_be_finished_does_not_keep_the_others_back(tmp_path: Path) -> None:
    record(tmp_path)
    going_on = Recorder(tmp_path, {"battery": INTERFACES["grid"]})
    with pytest.raises(DerloopError, match=r"battery\.arrows is still being recorded"):
        finish(tmp_path)
    going_on.close()
    assert sorted(p.name for p in (tmp_path / "series").iterdir()) == ["battery.arrows", "grid.parquet", "pv.parquet"]


# --- other readers -----------------------------------------------------------------------------------------------


@pytest.fixture
def parquet(tmp_path: Path) -> Path:
    record(tmp_path)
    finish(tmp_path)
    return tmp_path / "series" / "pv.parquet"


P_KW = [[m, m / 3] for m in range(60)]


def test_pandas_reads_a_finished_run_with_vectors_as_vectors(parquet: Path) -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.read_parquet(parquet)
    assert list(frame.columns) == ["time_ns", "p_kw", "total_kw"]
    assert [list(row) for row in frame["p_kw"]] == P_KW
    assert frame["total_kw"].dtype == np.float64


def test_polars_reads_a_finished_run_with_vectors_as_vectors(parquet: Path) -> None:
    polars = pytest.importorskip("polars")
    frame = polars.read_parquet(parquet)
    assert frame.schema["p_kw"] == polars.Array(polars.Float64, 2)
    assert frame["p_kw"].to_list() == P_KW
    assert frame["time_ns"].to_list() == [m * MINUTE for m in range(60)]


def test_duckdb_reads_a_finished_run_with_vectors_as_vectors(parquet: Path) -> None:
    duckdb = pytest.importorskip("duckdb")
    with duckdb.connect() as connection:
        rows = connection.execute(
            "select time_ns, p_kw, p_kw[2], total_kw from read_parquet(?)", [str(parquet)]
        ).fetchall()
    assert [list(row[1]) for row in rows] == P_KW
    assert [row[2] for row in rows] == [p[1] for p in P_KW]


def test_a_run_without_a_single_step_is_read_by_all(tmp_path: Path) -> None:
    run = record(tmp_path, 0)
    finish(tmp_path)
    assert run.read("pv.p_kw")[1].shape == (0, 2)
    parquet = tmp_path / "series" / "pv.parquet"
    assert pytest.importorskip("pandas").read_parquet(parquet).empty
    assert pytest.importorskip("polars").read_parquet(parquet).is_empty()
    with pytest.importorskip("duckdb").connect() as connection:
        assert connection.execute("select count(*) from read_parquet(?)", [str(parquet)]).fetchall() == [(0,)]


# --- frames ------------------------------------------------------------------------------------------------------


def test_a_frame_of_a_signal_has_a_column_for_each_label(run: RunFolder) -> None:
    pandas = pytest.importorskip("pandas")
    frame = run.frame("grid.v_pu")
    assert list(frame.columns) == ["671.1", "671.2", "671.3"]
    assert frame.index[1] == pandas.Timedelta(minutes=5)
    assert frame.loc[pandas.Timedelta(minutes=55), "671.2"] == 55.9


def test_a_frame_of_a_federate_has_a_column_for_each_port_and_label(run: RunFolder) -> None:
    pytest.importorskip("pandas")
    frame = run.frame("pv")
    assert list(frame.columns) == ["p_kw:pv_1", "p_kw:pv_2", "total_kw:pv"]
    assert frame.shape == (60, 3)


def test_a_frame_is_on_the_calendar_of_the_scenario(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    (tmp_path / "run.json").write_text(json.dumps({"start": "2025-07-15T00:00:00-07:00"}))
    frame = record(tmp_path).frame("pv.p_kw")
    assert frame.index[1] == pandas.Timestamp("2025-07-15T00:01:00-07:00")
    assert frame.index.name == "time"


def test_a_frame_has_the_clocks_of_the_time_zone_also_where_they_are_set_forward(tmp_path: Path) -> None:
    """A minute after 01:59 on the day on which clocks are set forward it is 03:00."""
    pytest.importorskip("pandas")
    facts = {"start": "2025-03-09T01:59:00-08:00", "time_zone": "America/Los_Angeles"}
    (tmp_path / "run.json").write_text(json.dumps(facts))
    index = record(tmp_path).frame("pv.p_kw").index
    assert [time.isoformat() for time in index[:2]] == ["2025-03-09T01:59:00-08:00", "2025-03-09T03:00:00-07:00"]


def test_a_frame_without_pandas_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(PluginError, match=r"needs pandas, which is not installed: pip install derloop\[frames\]"):
        record(tmp_path).frame("pv.p_kw")


def test_steps_written_one_by_one_become_few_row_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder_module, "BATCH_ROWS", 1)
    run = record(tmp_path, 300)
    assert len(list(run.batches("pv.p_kw"))) == 300
    finish(tmp_path)
    assert len(list(run.batches("pv.p_kw"))) == 1
