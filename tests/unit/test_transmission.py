"""A bus that feeders hang on: its voltage by hand, what it refuses, and what a feeder makes of it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from derloop.kind import Context, PlaceError
from derloop.scenario.assembly import assemble
from derloop.scenario.loading import load
from federates.grid.engine import SolverError
from federates.grid.feeder import Feeder
from federates.grid.opendss import OpenDssFeeder
from federates.grid.setpoints import Sources
from federates.grid.settings import OpenDssSettings
from federates.grid.transmission import TransmissionBus, TransmissionBusSettings

SCENARIOS = Path(__file__).parents[2] / "scenarios"
S = 10**9
START = datetime(2025, 7, 15, tzinfo=UTC)


def bus(feeders: tuple[str, ...] = ("north",), **settings: Any) -> TransmissionBus:
    asked = {"feeders": feeders, "short_circuit_mva": 10.0, "x_r": 0.0, **settings}
    place = SimpleNamespace(can_be_fed=True)
    context = Context("bulk", Path(), START, S, 3600 * S, 1, feeders={"north": place, "south": place})
    return TransmissionBus(TransmissionBusSettings.model_validate(asked), context)


def drawn(**kw: float) -> dict[str, np.ndarray]:
    heads = {f"{name}.head_kw": np.array([value]) for name, value in kw.items()}
    return heads | {f"{name}.head_kvar": np.zeros(1) for name in kw}


def test_the_voltage_is_that_of_two_buses() -> None:
    """R = 1 pu of 10 MVA, P = 0.09: V^4 + (0.18 - 1) V^2 + 0.0081 = 0, so V^2 = 0.81; lost are 0.0081 / 0.81."""
    found = bus().step(0, drawn(north=900.0))
    assert found["v_pu"] == pytest.approx([0.9], abs=1e-12)
    assert found["north.source_v_pu"] == pytest.approx([0.9], abs=1e-12)
    assert found["losses_kw"] == pytest.approx([100.0], abs=1e-9)
    assert found["system_kw"] == pytest.approx([1000.0], abs=1e-9)


def test_reactive_power_meets_the_reactance() -> None:
    """X = 0.8, R = 0.6, Q = 0.1 alone: V^2 = 0.5 - 0.08 + sqrt(0.42^2 - 0.01)."""
    found = bus(x_r=4 / 3).step(0, {"north.head_kw": np.zeros(1), "north.head_kvar": np.array([1000.0])})
    v_squared = 0.42 + (0.42**2 - 0.01) ** 0.5
    assert found["v_pu"] == pytest.approx([v_squared**0.5], abs=1e-12)
    assert found["system_kvar"] == pytest.approx([1000.0 + 10_000 * 0.8 * 0.01 / v_squared], abs=1e-9)


def test_a_feeder_may_stand_for_many_and_the_bus_has_a_load_of_its_own() -> None:
    alone = bus().step(0, drawn(north=900.0))
    shared = bus(("north", "south"), stands_for=[3, 2], load_kw=200.0).step(0, drawn(north=200.0, south=50.0))
    assert shared["v_pu"] == alone["v_pu"]
    assert shared["load_kw"] == pytest.approx([200.0])


def test_nothing_is_drawn_before_the_first_step() -> None:
    assert bus(v_pu=1.02).start()["north.source_v_pu"] == pytest.approx([1.02], abs=1e-15)


def test_more_than_the_system_delivers_is_a_collapse_by_name() -> None:
    """A quarter of the short-circuit power is the most, at unity power factor behind a resistance."""
    assert bus().step(0, drawn(north=2499.0))["v_pu"] > 0.5
    with pytest.raises(SolverError, match="voltage collapse: 2501 kW is more than the system delivers to this bus"):
        bus().step(0, drawn(north=2501.0))


def test_who_cannot_hang_on_the_bus_is_named() -> None:
    with pytest.raises(PlaceError) as error:
        bus(("north", "nort", "north"), stands_for=[1])
    assert error.value.problems == [
        (("feeders", 1), "no feeder is called 'nort'; did you mean 'north'?"),
        (("feeders",), "a feeder is named twice"),
        (("stands_for",), "has 1 numbers for 3 feeders"),
    ]


def feeder(source_pu: float, folder: Path) -> OpenDssFeeder:
    (folder / "f.dss").write_text(
        f"New Circuit.f basekv=12.47 pu={source_pu} bus1=a MVAsc3=100 MVAsc1=100\n"
        "New Line.l bus1=a bus2=b length=1\nNew Load.d bus1=b kv=12.47 kw=500 kvar=200\n"
        "Set VoltageBases=(12.47)\n"
    )
    settings = OpenDssSettings.model_validate({"feeder": "f.dss", "regulators": "locked"})
    context = Context("grid", folder, START, S, 3600 * S, 1)
    return OpenDssFeeder(settings, context, Feeder(settings, context))


def test_a_source_is_written_where_it_has_moved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    grid, written = feeder(1.0, tmp_path), []
    grid.start()
    monkeypatch.setattr(Sources, "write", lambda sources: written.append(float(sources.v_pu[0])))
    for k, v_pu in enumerate([1.0, 1.02, 1.02, 1.0]):
        grid.step(k * S, {"source_v_pu": np.array([v_pu])})
    grid.step(4 * S, {})
    assert written == [1.02, 1.0]


def test_a_feeder_told_a_source_voltage_is_the_feeder_whose_file_has_it(tmp_path: Path) -> None:
    told, written = feeder(1.0, tmp_path), feeder(1.04, tmp_path)
    told.start()
    written.start()
    as_in_file = written.step(0, {})
    found = {port: value.copy() for port, value in told.step(0, {"source_v_pu": np.array([1.04])}).items()}
    assert np.abs(found["v_pu"] - as_in_file["v_pu"]).max() < 1e-9
    assert found["head_kw"] == pytest.approx(as_in_file["head_kw"], rel=1e-9)
    assert told.step(S, {"source_v_pu": np.array([1.0])})["v_pu"][0] < found["v_pu"][0] - 0.03


def test_a_feeder_that_another_source_feeds_takes_no_voltage_from_outside(tmp_path: Path) -> None:
    """It was fed by one source, and told another one, which its file has out of service: nothing moved."""
    (tmp_path / "f.dss").write_text(
        "New Circuit.f basekv=12.47 bus1=a\nNew Vsource.other basekv=12.47 bus1=a\nDisable Vsource.source\n"
        "New Line.l bus1=a bus2=b length=1\nSet VoltageBases=(12.47)\n"
    )
    context = Context("grid", tmp_path, START, S, 3600 * S, 1)
    assert not Feeder(OpenDssSettings(feeder="f.dss"), context).can_be_fed


def test_a_feeder_with_an_island_takes_no_voltage_from_outside() -> None:
    settings = OpenDssSettings.model_validate(
        {"feeder": "feeders/ieee13/ieee13.dss", "island": {"switch": "671692", "opens_at_s": 60}}
    )
    known = Feeder(settings, replace(Context("grid", SCENARIOS, START, S, 3600 * S, 1)))
    assert not known.can_be_fed


def test_devices_meet_the_feeder_that_they_name() -> None:
    federation = assemble(load(SCENARIOS / "kind_transmission_bus.json"))
    grids = {name: federation.interfaces[name] for name in ("north", "south")}
    assert grids["north"].inputs["storage.p_kw"].size == 1
    assert grids["south"].inputs["barns.p_kw"].size == 10
    assert "barns.p_kw" not in grids["north"].inputs
    assert {str(w.source) for w in federation.wires if w.target.port == "source_v_pu"} == {
        "bulk.north.source_v_pu",
        "bulk.south.source_v_pu",
    }


def test_a_plant_that_keeps_the_limits_of_a_feeder_has_its_members_there() -> None:
    asked = ['federates.vpp.constraints={"feeder": "north"}']
    with pytest.raises(Exception, match="'north' says nothing of barns, at another feeder"):
        assemble(load(SCENARIOS / "kind_transmission_bus.json", asked))
