"""The figures that a person wants to know, from series whose figures are known."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from derloop.contract import Interface, Port
from derloop.results.recorder import Recorder
from derloop.results.store import RunFolder
from derloop.results.summary import Figure, counted, summarise

HOUR_NS = 3_600_000_000_000
HEAD_KW = (100.0, 400.0, 300.0)
BASELINE_KW = (100.0, 550.0, 300.0)
V_PU = ((0.94, 1.00), (0.96, 1.00), (1.00, 1.06))
BATTERY_KW = ((50.0, -20.0), (0.0, -20.0), (30.0, 10.0))


@pytest.fixture
def figures(tmp_path: Path) -> dict[str, Figure]:
    interfaces = {
        "grid": Interface(
            HOUR_NS,
            outputs={
                "head_kw": Port("kW", ("head",)),
                "losses_kw": Port("kW", ("feeder",)),
                "v_pu": Port("pu", ("a.1", "b.1")),
            },
        ),
        "vpp": Interface(HOUR_NS, outputs={"baseline_kw": Port("kW", ("vpp",))}),
        "plants": Interface(HOUR_NS, outputs={"baseline_kw": Port("kW", ("p0", "p1"))}),
        "battery": Interface(HOUR_NS, outputs={"p_kw": Port("kW", ("b0", "b1"))}),
        "loop@grid": Interface(HOUR_NS, outputs={"passes": Port("1", ("passes",))}),
    }
    recorder = Recorder(tmp_path, interfaces)
    for k in range(3):
        now = k * HOUR_NS
        grid = {"head_kw": np.array([HEAD_KW[k]]), "losses_kw": np.array([4.0]), "v_pu": np.array(V_PU[k])}
        recorder.observe("grid", now, grid)
        recorder.observe("vpp", now, {"baseline_kw": np.array([BASELINE_KW[k]])})
        recorder.observe("plants", now, {"baseline_kw": np.array([9e3, 0.0])})  # of customers, not of the feeder
        recorder.observe("battery", now, {"p_kw": np.array(BATTERY_KW[k])})
        recorder.observe("loop@grid", now, {"passes": np.array([2.0 + k])})
    recorder.close()
    (tmp_path / "run.json").write_text(json.dumps({"start": "2025-07-15T06:30:00-07:00"}))
    return {figure.label: figure for figure in summarise(RunFolder(tmp_path))}


def test_figures_are_of_all_pieces_in_which_a_run_was_written(tmp_path: Path) -> None:
    """Hour by hour: 1.06 and 0.94 pu in the first, 5 and 2 kW to and fro in the second."""
    ports = {"v_pu": Port("pu", ("a.1", "b.1")), "head_kw": Port("kW", ("head",))}
    battery = Interface(HOUR_NS, outputs={"p_kw": Port("kW", ("b0", "b1"))})
    recorder = Recorder(tmp_path, {"grid": Interface(HOUR_NS, outputs=ports), "battery": battery})
    for hour, (v_pu, p_kw) in enumerate(
        (((0.94, 1.06), (0.0, 0.0)), ((1.0, 1.01), (5.0, -2.0)), ((0.99, 1.0), (1.0, 0)))
    ):
        recorder.observe("grid", hour * HOUR_NS, {"v_pu": np.array(v_pu), "head_kw": np.array([1.0])})
        recorder.observe("battery", hour * HOUR_NS, {"p_kw": np.array(p_kw)})
        recorder.flush()
    run = RunFolder(tmp_path)
    assert len([*run.batches("grid.v_pu")]) == 3
    found = {figure.label: figure for figure in summarise(run)}
    recorder.close()
    assert (found["lowest voltage"].value, found["highest voltage"].value) == (0.94, 1.06)
    assert found["voltages outside ANSI C84.1 range A"].value == 2
    assert found["energy of battery (2)"].text == "6.0 kWh, 2.0 kWh the other way"


def test_the_peak_is_told_with_its_local_time_before_and_after_control(figures: dict[str, Figure]) -> None:
    assert figures["peak"].value == 400.0
    assert figures["peak"].text == "400.0 kW at 07:30"
    assert figures["peak before"].value == 550.0
    known = "550.0 kW as vpp told at 07:30, of what was measured before (the feeder without what it commands)"
    assert figures["peak before"].text == known  # what a control tells is of an instant before, so no time of its peak


def test_the_peak_is_told_by_the_clocks_of_the_time_zone(figures: dict[str, Figure], tmp_path: Path) -> None:
    """An hour after 01:30 on the day on which clocks are set forward it is 03:30."""
    facts = {"start": "2025-03-09T01:30:00-08:00", "time_zone": "America/Los_Angeles"}
    (tmp_path / "run.json").write_text(json.dumps(facts))
    told = {figure.label: figure.text for figure in summarise(RunFolder(tmp_path))}
    assert told["peak"] == "400.0 kW at 03:30"
    assert figures["peak"].text == "400.0 kW at 07:30"


def test_a_control_that_left_nothing_is_no_peak_before(tmp_path: Path) -> None:
    """A process that is killed at once has its file, without a row."""
    interfaces = {
        "grid": Interface(HOUR_NS, outputs={"head_kw": Port("kW", ("head",))}),
        "vpp": Interface(HOUR_NS, outputs={"baseline_kw": Port("kW", ("vpp",))}),
    }
    recorder = Recorder(tmp_path, interfaces)
    recorder.observe("grid", 0, {"head_kw": np.array([100.0])})
    recorder.close()
    found = [figure.label for figure in summarise(RunFolder(tmp_path))]
    assert found == ["peak", "energy drawn from the bulk system"]


def test_what_a_control_has_not_measured_yet_is_no_peak_before(tmp_path: Path) -> None:
    """At the first instant it tells 0 kW, which is above all that a feeder draws that feeds back all day."""
    interfaces = {
        "grid": Interface(HOUR_NS, outputs={"head_kw": Port("kW", ("head",))}),
        "vpp": Interface(HOUR_NS, outputs={"baseline_kw": Port("kW", ("vpp",))}),
    }
    recorder = Recorder(tmp_path, interfaces)
    for k, baseline_kw in enumerate((0.0, -500.0, -300.0)):
        recorder.observe("grid", k * HOUR_NS, {"head_kw": np.array([-400.0])})
        recorder.observe("vpp", k * HOUR_NS, {"baseline_kw": np.array([baseline_kw])})
    recorder.close()
    (tmp_path / "run.json").write_text(json.dumps({"start": "2025-07-15T06:30:00-07:00"}))
    told = {figure.label: figure.text for figure in summarise(RunFolder(tmp_path))}
    assert told["peak before"].startswith("-300.0 kW as vpp told at 08:30")


def test_energy_is_power_times_the_step(figures: dict[str, Figure]) -> None:
    assert figures["energy drawn from the bulk system"].value == pytest.approx(800.0)
    assert figures["losses in the feeder"].value == pytest.approx(12.0)
    assert figures["losses in the feeder"].text == "12.0 kWh (1.5 % of what is drawn)"


def test_what_goes_each_way_is_told_apart(figures: dict[str, Figure]) -> None:
    assert figures["energy of battery (2)"].value == pytest.approx(90.0)
    assert "40.0 kWh the other way" in figures["energy of battery (2)"].text


@pytest.mark.parametrize(
    ("dead_kw", "told"), [(30.0, "30.0 kWh"), (-30.0, "0.0 kWh, 30.0 kWh the other way"), (0.0, None)]
)
def test_what_devices_gave_to_nobody_is_told_beside_their_energy(
    tmp_path: Path, dead_kw: float, told: str | None
) -> None:
    """The yield of PV had that of hours in which its feeder was dead, and nothing said so."""
    interfaces = {
        "grid": Interface(HOUR_NS, outputs={"head_kw": Port("kW", ("head",)), "pv.undelivered_kw": Port("kW", ("a",))}),
        "pv": Interface(HOUR_NS, outputs={"p_kw": Port("kW", ("a",))}),
    }
    recorder = Recorder(tmp_path, interfaces)
    for k, undelivered_kw in enumerate((0.0, dead_kw, 0.0)):
        recorder.observe("grid", k * HOUR_NS, {"head_kw": np.zeros(1), "pv.undelivered_kw": np.array([undelivered_kw])})
        recorder.observe("pv", k * HOUR_NS, {"p_kw": np.array([30.0])})
    recorder.close()
    (tmp_path / "run.json").write_text(json.dumps({"start": "2025-07-15T06:30:00-07:00"}))
    found = {figure.label: figure.text for figure in summarise(RunFolder(tmp_path))}
    assert found["energy of pv (1)"] == "90.0 kWh"
    assert found.get("energy of pv in a dead feeder") == told


def test_the_energies_of_a_run_of_seconds_are_told_and_not_rounded_away(tmp_path: Path) -> None:
    second_ns = 1_000_000_000
    recorder = Recorder(tmp_path, {"battery": Interface(second_ns, outputs={"p_kw": Port("kW", ("b0", "b1"))})})
    for k in range(3):
        recorder.observe("battery", k * second_ns, {"p_kw": np.array([60.0, -6.0])})
    recorder.close()
    (tmp_path / "run.json").write_text("{}")
    assert [f.text for f in summarise(RunFolder(tmp_path))] == ["0.05 kWh, 0.005 kWh the other way"]


def test_the_energy_of_a_fleet_is_what_the_feeder_delivered_and_of_the_dead_nothing(tmp_path: Path) -> None:
    interfaces = {
        "homes": Interface(HOUR_NS, outputs={"p_kw": Port("kW", ("h0", "h1"))}),
        "grid": Interface(HOUR_NS, outputs={"homes.solved_kw": Port("kW", ("h0", "h1"))}),
    }
    recorder = Recorder(tmp_path, interfaces)
    for k, solved_kw in enumerate(([2.0, 3.0], [2.0, 0.0], [0.0, 0.0])):
        recorder.observe("homes", k * HOUR_NS, {"p_kw": np.array([2.0, 3.0])})
        recorder.observe("grid", k * HOUR_NS, {"homes.solved_kw": np.array(solved_kw)})
    recorder.close()
    (tmp_path / "run.json").write_text("{}")
    assert [(f.label, f.text) for f in summarise(RunFolder(tmp_path))] == [("energy of homes (2)", "7.0 kWh")]


def test_a_feeder_that_feeds_back_is_told_both_ways(tmp_path: Path) -> None:
    """400 kWh in and 900 kWh out are not -500 kWh drawn, and losses are no share of what was drawn then."""
    ports = {"head_kw": Port("kW", ("head",)), "losses_kw": Port("kW", ("feeder",))}
    recorder = Recorder(tmp_path, {"grid": Interface(HOUR_NS, outputs=ports)})
    for k, head_kw in enumerate((400.0, -700.0, -200.0)):
        recorder.observe("grid", k * HOUR_NS, {"head_kw": np.array([head_kw]), "losses_kw": np.array([4.0])})
    recorder.close()
    (tmp_path / "run.json").write_text(json.dumps({"start": "2025-07-15T06:30:00-07:00"}))
    told = {figure.label: figure for figure in summarise(RunFolder(tmp_path))}
    assert told["peak"].text == "400.0 kW at 06:30"
    assert told["peak fed back"].text == "700.0 kW at 07:30"
    assert told["energy drawn from the bulk system"].value == pytest.approx(400.0)
    assert told["energy fed back to the bulk system"].value == pytest.approx(900.0)
    assert told["losses in the feeder"].text == "12.0 kWh"


def test_a_feeder_that_only_feeds_back_has_no_peak_of_what_it_draws(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, {"grid": Interface(HOUR_NS, outputs={"head_kw": Port("kW", ("head",))})})
    for k, head_kw in enumerate((-400.0, -700.0, -0.0)):
        recorder.observe("grid", k * HOUR_NS, {"head_kw": np.array([head_kw])})
    recorder.close()
    (tmp_path / "run.json").write_text(json.dumps({"start": "2025-07-15T06:30:00-07:00"}))
    told = {figure.label: figure.text for figure in summarise(RunFolder(tmp_path))}
    assert told == {
        "energy drawn from the bulk system": "0.0 kWh",
        "peak fed back": "700.0 kW at 07:30",
        "energy fed back to the bulk system": "1,100.0 kWh",
    }


def test_voltages_outside_range_a_are_counted_by_node_and_instant(figures: dict[str, Figure]) -> None:
    assert figures["lowest voltage"].value == 0.94
    assert figures["highest voltage"].value == 1.06
    assert figures["voltages outside ANSI C84.1 range A"].value == 2
    assert "2 of 6 node-instants (33.33 %)" in figures["voltages outside ANSI C84.1 range A"].text


def test_passes_of_a_converged_loop_are_told(figures: dict[str, Figure]) -> None:
    assert figures["passes of the converged loop of grid"].text == "3.00 on average, 4 at most"


def test_nodes_without_supply_are_no_low_voltages(tmp_path: Path) -> None:
    recorder = Recorder(
        tmp_path,
        {"grid": Interface(HOUR_NS, outputs={"head_kw": Port("kW", ("head",)), "v_pu": Port("pu", ("a.1", "b.1"))})},
    )
    for k, second_pu in enumerate((1.0, 0.0, 0.94)):
        recorder.observe("grid", k * HOUR_NS, {"head_kw": np.ones(1), "v_pu": np.array([1.0, second_pu])})
    recorder.close()
    (tmp_path / "run.json").write_text(json.dumps({"start": "2025-07-15T06:30:00-07:00"}))
    told = {figure.label: figure.text for figure in summarise(RunFolder(tmp_path))}
    assert told["lowest voltage"] == "0.9400 pu"
    assert told["nodes without supply"] == "1 of 6 node-instants"
    assert told["voltages outside ANSI C84.1 range A"].startswith("1 of 5 node-instants (20.00 %)")


def test_neutrals_are_neither_low_voltages_nor_without_supply(tmp_path: Path) -> None:
    nodes = Port("pu", ("a.1", "a.4", "b.1", "b.4"))
    recorder = Recorder(
        tmp_path, {"grid": Interface(HOUR_NS, outputs={"head_kw": Port("kW", ("head",)), "v_pu": nodes})}
    )
    recorder.observe("grid", 0, {"head_kw": np.ones(1), "v_pu": np.array([1.0, 0.004, 0.97, 0.02])})
    recorder.close()
    (tmp_path / "run.json").write_text(json.dumps({"start": "2025-07-15T06:30:00-07:00"}))
    told = {figure.label: figure.text for figure in summarise(RunFolder(tmp_path))}
    assert told["lowest voltage"] == "0.9700 pu"
    assert "nodes without supply" not in told
    assert told["voltages outside ANSI C84.1 range A"].startswith("0 of 2 node-instants")


def test_what_federates_count_has_the_unit_of_its_name_or_of_its_output(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, {"retail": Interface(HOUR_NS, outputs={"bill": Port("USD", ("a", "b"))})})
    recorder.observe("retail", 0, {"bill": np.zeros(2)})
    recorder.close()
    said = {
        "microgrid": {"critical_unserved_kwh": 1849.32, "saidi_h": 6.5, "starts": 2.0, "asai_pu": 0.75},
        "m": {"h": 1.0},
        "retail": {"bill": 412.2},
    }
    assert [(f.label, f.unit, f.text) for f in counted(RunFolder(tmp_path), said)] == [
        ("microgrid: critical unserved", "kWh", "1,849.32 kWh"),
        ("microgrid: SAIDI", "h", "6.5 h"),
        ("microgrid: starts", "", "2"),
        ("microgrid: ASAI", "pu", "0.75 pu"),
        ("m: h", "", "1"),
        ("retail: bill", "USD", "412.2 USD"),
    ]


def test_figures_of_several_feeders_have_their_names_and_the_bus_has_its_own(tmp_path: Path) -> None:
    head = {"head_kw": Port("kW", ("head",))}
    bus = {"system_kw": Port("kW", ("bulk",)), "v_pu": Port("pu", ("bulk",))}
    interfaces = {name: Interface(HOUR_NS, outputs=ports) for name, ports in (("n", head), ("s", head), ("bulk", bus))}
    recorder = Recorder(tmp_path, interfaces)
    recorder.observe("n", 0, {"head_kw": np.array([100.0])})
    recorder.observe("s", 0, {"head_kw": np.array([40.0])})
    recorder.observe("bulk", 0, {"system_kw": np.array([141.0]), "v_pu": np.array([0.99])})
    recorder.close()
    (tmp_path / "run.json").write_text(json.dumps({"start": "2025-07-15T06:30:00-07:00"}))
    found = {figure.label: figure.value for figure in summarise(RunFolder(tmp_path))}
    assert (found["n: peak"], found["s: peak"], found["bulk: peak"]) == (100.0, 40.0, 141.0)
    assert found["bulk: lowest voltage"] == 0.99
