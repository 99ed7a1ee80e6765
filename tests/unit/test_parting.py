"""Where several runs part is told signal by signal: the worst, where and when it is, and what each run has there."""

from __future__ import annotations

import json
from collections.abc import Mapping
from math import inf, nan
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from derloop.cli import app
from derloop.contract import FloatArray, Interface, Port
from derloop.report.parted import lines, sides, write_page
from derloop.results.compare import Tolerance, Tolerances
from derloop.results.parting import Place, Row, partings
from derloop.results.recorder import Recorder
from derloop.results.store import RunFolder

S = 10**9
LABELS = ("pv_1", "pv_2")
HOUR = 3600


def recorded(
    folder: Path,
    series: Mapping[str, FloatArray],
    via: str = "model",
    *,
    step_s: int = HOUR,
    labels: tuple[str, ...] = LABELS,
    first: int = 0,
    scenario: Mapping[str, object] | None = None,
) -> RunFolder:
    """A run of one federate "pv" with these ports, in kW, from its step `first` on."""
    ports = {name: Port("kW", labels) for name in series}
    recorder = Recorder(folder, {"pv": Interface(step_s * S, outputs=ports)})
    for row in range(max(map(len, series.values()))):
        recorder.observe("pv", (first + row) * step_s * S, {name: values[row] for name, values in series.items()})
    recorder.close()
    facts = {
        "name": "day",
        "start": "2025-07-15T00:00:00-07:00",
        "federates": {"pv": {"via": via}, "grid": {"via": "model"}},
        "scenario": scenario or {},
    }
    (folder / "run.json").write_text(json.dumps(facts), encoding="utf-8")
    return RunFolder(folder)


def flat(value: float = 10.0, rows: int = 24) -> FloatArray:
    return np.full((rows, 2), value)


def but(row: int, element: int, value: float) -> FloatArray:
    changed = flat()
    changed[row, element] = value
    return changed


def only(row: tuple[Row, ...]) -> Row:
    (found,) = row
    return found


@pytest.fixture(name="three")
def _three(tmp_path: Path) -> list[RunFolder]:
    """A model; an emulator that is 0.1 kW off once; a bench that is off at two instants."""
    bench = but(7, 1, 12.0)
    bench[3, 0] = 10.5
    own = [("model", flat(), "model"), ("emulator", but(5, 0, 10.1), "emulator"), ("bench", bench, "bench:inv-*")]
    return [recorded(tmp_path / name, {"p_kw": values}, via) for name, values, via in own]


def test_the_worst_is_told_with_where_and_when_and_what_every_run_has_there(three: list[RunFolder]) -> None:
    row = only(partings(three).rows)
    emulator, bench = row.partings
    assert (emulator.worst, bench.worst) == (pytest.approx(0.1), 2.0)
    assert (emulator.at, bench.at) == (Place(5 * HOUR * S, 0, "pv_1"), Place(7 * HOUR * S, 1, "pv_2"))
    assert row.values == ((10.0, 10.1, 10.0), (10.0, 10.0, 12.0))
    assert (row.largest, row.relative) == (10.0, 0.2)
    assert (emulator.instants, emulator.lacking) == (24, 0)


def test_the_rms_is_over_all_elements_and_instants(three: list[RunFolder]) -> None:
    emulator, bench = only(partings(three).rows).partings
    assert emulator.rms == pytest.approx((0.1**2 / 48) ** 0.5)
    assert bench.rms == pytest.approx(((0.5**2 + 2.0**2) / 48) ** 0.5)


def test_the_first_beyond_the_tolerance_is_not_always_the_worst(three: list[RunFolder]) -> None:
    found = partings(three, Tolerances({"*": Tolerance(abs=0.2)}))
    emulator, bench = only(found.rows).partings
    assert emulator.first is None
    assert bench.first == Place(3 * HOUR * S, 0, "pv_1")
    assert not found.same
    assert partings(three[:2], Tolerances({"*": Tolerance(abs=0.2)})).same
    assert partings(three, Tolerances({"*": Tolerance(abs=3)})).same


def test_signals_that_part_most_come_first_relative_to_their_largest_value(tmp_path: Path) -> None:
    a = recorded(tmp_path / "a", {"big": flat(1000), "small": flat(1), "same": flat(), "none": flat(0)})
    b = recorded(tmp_path / "b", {"big": flat(1001), "small": flat(1.5), "same": flat(), "none": flat(1e-9)})
    rows = partings([a, b]).rows
    assert [row.signal.port for row in rows] == ["none", "small", "big", "same"]
    assert [row.relative for row in rows] == [inf, 0.5, 0.001, 0.0]
    assert [row.is_equal for row in rows] == [False, False, False, True]


def test_a_value_that_is_no_number_parts_and_leaves_the_rms_finite(tmp_path: Path) -> None:
    a = recorded(tmp_path / "a", {"p_kw": but(2, 1, nan)})
    b = recorded(tmp_path / "b", {"p_kw": flat(11)})
    (parting,) = only(partings([a, b], Tolerances({"*": Tolerance(abs=1e9)})).rows).partings
    assert (parting.worst, parting.first) == (inf, Place(2 * HOUR * S, 1, "pv_2"))
    assert parting.rms == pytest.approx(1.0)
    assert partings([a, a]).same


def test_instants_that_only_one_has_are_counted(tmp_path: Path) -> None:
    a = recorded(tmp_path / "a", {"p_kw": flat(rows=24)})
    b = recorded(tmp_path / "b", {"p_kw": flat(rows=20)})
    row = only(partings([a, b]).rows)
    assert (row.partings[0].instants, row.partings[0].lacking, row.is_equal) == (20, 4, False)
    assert any("4 instants only one has" in line for line in lines([a, b], partings([a, b])))


def test_instants_that_the_one_and_the_other_lack_do_not_cancel_out(tmp_path: Path) -> None:
    early = recorded(tmp_path / "a", {"p_kw": flat()})
    late = recorded(tmp_path / "b", {"p_kw": flat()}, first=2)
    found = partings([early, late])
    (parting,) = only(found.rows).partings
    assert (parting.instants, parting.lacking, found.same) == (22, 4, False)


def test_one_signal_beyond_its_tolerance_is_enough_to_part(tmp_path: Path) -> None:
    a = recorded(tmp_path / "a", {"p_kw": flat(), "q_kvar": flat(-8.0)})
    b = recorded(tmp_path / "b", {"p_kw": flat(), "q_kvar": flat(-9.0)})
    found = partings([a, b])
    assert (found.rows[0].signal.port, found.rows[0].largest, found.rows[0].relative) == ("q_kvar", 8.0, 0.125)
    assert not found.same


@pytest.mark.parametrize("rows", [20, 1])
def test_a_run_that_is_only_a_part_of_the_other_is_not_the_same(tmp_path: Path, rows: int) -> None:
    whole = recorded(tmp_path / "a", {"p_kw": flat()})
    part = recorded(tmp_path / "b", {"p_kw": flat(rows=rows)})
    for runs in ([whole, part], [part, whole], [whole, whole, part]):
        assert not partings(runs).same
        said = CliRunner().invoke(app, ["compare", *(str(run.path) for run in runs), "--signals"])
        assert said.exit_code == 1, said.output


@pytest.mark.parametrize("first", [True, False])
def test_a_run_without_an_instant_in_common_is_not_the_same(tmp_path: Path, first: bool) -> None:
    a = recorded(tmp_path / "a", {"p_kw": flat()})
    recorder = Recorder(tmp_path / "b", {"pv": Interface(HOUR * S, outputs={"p_kw": Port("kW", LABELS)})})
    recorder.close()  # a run that failed before its first instant
    b = RunFolder(tmp_path / "b")
    assert not partings([b, a] if first else [a, b]).same
    assert not partings([a, a, b]).same


def test_what_only_some_have_or_have_otherwise_is_left_out_and_named(tmp_path: Path) -> None:
    a = recorded(tmp_path / "a", {"p_kw": flat(), "q_kvar": flat()})
    b = recorded(tmp_path / "b", {"p_kw": flat(), "age_s": flat()})
    c = recorded(tmp_path / "c", {"p_kw": flat()}, labels=("pv_1", "pv_9"))
    found = partings([a, b, c])
    assert found.rows == ()
    assert not found.same
    assert found.left_out == (
        "pv.p_kw: element 1 is 'pv_2' against 'pv_9'",
        "pv.q_kvar: not in B, C",
        "pv.age_s: not in A, C",
    )
    assert list(lines([a, b, c], found))[-1] == "there is no signal that all have"


def test_a_run_is_called_by_what_it_realises_otherwise(three: list[RunFolder]) -> None:
    assert [side.realised for side in sides(three)] == ["pv: model", "pv: emulator", "pv: bench:inv-*"]
    assert [side.realised for side in sides([three[0], three[0]])] == ["", ""]


def with_pv(tmp_path: Path, name: str, **pv: object) -> RunFolder:
    scenario = {"name": name, "checks": [{"kind": "peak"}], "federates": {"pv": {"kind": "pv", **pv}}}
    return recorded(tmp_path / name, {"p_kw": flat()}, scenario=scenario)


def test_a_run_is_called_by_what_it_is_set_to_otherwise(tmp_path: Path) -> None:
    runs = [
        with_pv(tmp_path, "none", rated_kva=5, smart={}, via="model"),
        with_pv(tmp_path, "var", rated_kva=5, smart={"volt_var": "category-b"}, via="emulator"),
        with_pv(tmp_path, "more", **{f"x{k}": k for k in range(6)}),
    ]
    assert [side.settings for side in sides(runs[:2])] == [
        "federates.pv.smart={}",
        'federates.pv.smart.volt_var="category-b"',
    ]
    x = "federates.pv.x0=0, federates.pv.x1=1, federates.pv.x2=2, federates.pv.x3=3 and 2 more"
    assert str(sides(runs)[2]) == f"C  {runs[2].path}  ({x})"


def test_long_settings_are_told_by_how_they_begin_and_end(tmp_path: Path) -> None:
    """They passed for alike where their first words were, as those of paths, which are one word."""
    folder = "profiles/measured/summer-2025/at-each-transformer-of-the-northern-feeder"
    runs = [with_pv(tmp_path, side, file=f"{folder}/{side}.csv") for side in ("east", "west")]
    assert [side.settings for side in sides(runs)] == [
        'federates.pv.file="profiles/measured/summer-20...he-northern-feeder/east.csv"',
        'federates.pv.file="profiles/measured/summer-20...he-northern-feeder/west.csv"',
    ]


def test_the_page_has_no_column_in_which_runs_are_alike(tmp_path: Path) -> None:
    runs = [with_pv(tmp_path, "none", smart={}), with_pv(tmp_path, "var", smart={"volt_var": "<b>"})]
    for shown, heads in ((runs, (False, True)), ([runs[0], runs[0]], (False, False))):
        write_page(shown, partings(shown), tmp_path / "p.html")
        text = (tmp_path / "p.html").read_text("utf-8")
        assert ("<th>Realised as</th>" in text, "<th>Set as</th>" in text) == heads
        assert '"<b>"' not in text
        assert ("federates.pv.smart.volt_var=" in text) == heads[1]


def test_lines_have_a_column_for_each_run(three: list[RunFolder]) -> None:
    said = list(lines(three, partings(three, Tolerances({"*": Tolerance(abs=0.2)}))))
    assert said[0] == f"A  {three[0].path}  (pv: model)"
    assert [" ".join(line.split()) for line in said[4:7]] == [
        (
            "signal unit worst of largest RMS where, when since the start A B C "
            "first beyond what is allowed, since the start"
        ),
        "pv.p_kw kW B 0.1 1 % 0.014434 pv_1, 05:00:00 10 10.1 10 never",
        "C 2 20 % 0.29756 pv_2, 07:00:00 10 10 12 pv_1, 03:00:00",
    ]


def test_the_command_compares_any_number_by_signal_and_two_otherwise(three: list[RunFolder], tmp_path: Path) -> None:
    paths = [str(run.path) for run in three]
    page = tmp_path / "parted.html"
    said = CliRunner().invoke(app, ["compare", *paths, "--signals", "--abs", "3", "--page", str(page)])
    assert said.exit_code == 0, said.output
    assert "pv.p_kw" in said.output
    assert page.read_text("utf-8").count("<tr>") >= 6
    assert CliRunner().invoke(app, ["compare", *paths, "--signals"]).exit_code == 1
    assert (
        CliRunner().invoke(app, ["compare", *paths[:2], "--abs", "1"]).output.startswith("no difference in 1 signals")
    )
    for wrong in (paths, paths[:1], [*paths[:1], "--signals"]):
        refused = CliRunner().invoke(app, ["compare", *wrong])
        assert refused.exit_code == 2
        assert "two are compared, more with --signals" in refused.output
    for option in ("--abs", "--rel"):
        refused = CliRunner().invoke(app, ["compare", *paths[:2], option, "inf"])
        assert refused.exit_code == 2
        assert "inf is no finite number" in refused.output


def test_the_page_shows_what_scenarios_say_as_text(tmp_path: Path) -> None:
    evil = ("<script>alert(1)</script>", "</script>")
    a = recorded(tmp_path / "a", {"p_kw": flat()}, "<b>model</b>", labels=evil)
    b = recorded(tmp_path / "b", {"p_kw": but(1, 0, 11.0)}, labels=evil)
    write_page([a, b], partings([a, b]), tmp_path / "p.html")
    text = (tmp_path / "p.html").read_text("utf-8")
    assert "<script>alert" not in text
    assert "<b>model</b>" not in text
    assert "&lt;b&gt;model&lt;/b&gt;" in text
    data = json.loads(text.partition('id="report-data">')[2].partition("</script>")[0])
    assert [figure["title"] for figure in data["figures"]] == ["pv.p_kw", "pv.p_kw, apart"]
    assert data["figures"][1]["traces"][0]["y"][:3] == [0, 1, 0]


def test_runs_that_are_equal_have_nothing_to_draw(tmp_path: Path) -> None:
    a = recorded(tmp_path / "a", {"p_kw": flat()})
    write_page([a, a], partings([a, a]), tmp_path / "p.html")
    text = (tmp_path / "p.html").read_text("utf-8")
    assert "Equal to the bit: pv.p_kw." in text
    assert "data-figure" not in text.partition("<script")[0]
