"""Devices at one place of the feeder are one element in the solver, and still each has its own powers."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from derloop.contract import FloatArray, Values
from derloop.kind import Context, Terminal
from federates.grid.feeder import Feeder
from federates.grid.opendss import OpenDssFeeder
from federates.grid.places import Places
from federates.grid.settings import OpenDssSettings

SCENARIOS = Path(__file__).parents[2] / "scenarios"
S = 1_000_000_000
THREE = (1, 2, 3)


def feeder(*terminals: Terminal, **settings: object) -> OpenDssFeeder:
    said = OpenDssSettings.model_validate({"feeder": "feeders/ieee13/ieee13.dss", "regulators": "locked", **settings})
    context = Context("grid", SCENARIOS, datetime(2025, 7, 15, tzinfo=UTC), S, 60 * S, 1, terminals={"pv": terminals})
    return OpenDssFeeder(said, context, Feeder(said, context))


def stepped(grid: OpenDssFeeder, p_kw: list[float], q_kvar: list[float]) -> Values:
    grid.start()
    given: dict[str, FloatArray] = {"pv.p_kw": np.array(p_kw), "pv.q_kvar": np.array(q_kvar)}
    return grid.step(0, given)


def test_two_devices_at_one_place_are_to_the_feeder_one_that_gives_their_sum() -> None:
    whole = stepped(feeder(Terminal("a", "675", THREE, 800.0)), [700.0], [-120.0])
    parts = stepped(
        feeder(Terminal("a", "675", THREE, 500.0), Terminal("b", "675", THREE, 300.0)), [450.0, 250.0], [-20.0, -100.0]
    )
    for port in ("v_pu", "head_kw", "head_kvar", "losses_kw", "others_kw"):
        assert parts[port].tobytes() == whole[port].tobytes(), port
    assert parts["pv.v_pu"].tolist() == [whole["pv.v_pu"][0]] * 2


def test_each_device_is_told_what_the_solution_has_of_it() -> None:
    places = [("675", THREE), ("645", (2,)), ("675", THREE), ("675", (1,))]
    grid = feeder(*(Terminal(f"d{i}", bus, phases, 500.0) for i, (bus, phases) in enumerate(places)))
    given = [300.0, 40.0, -100.0, 60.0]
    values = stepped(grid, given, [0.0] * 4)
    assert values["pv.solved_kw"] == pytest.approx(given, abs=1e-6)
    assert len(grid._drives[0].elements) == 3


def test_what_is_drawn_from_one_place_keeps_its_sign() -> None:
    """Two heat pumps draw 20 and 30 kW: 50 kW more from the head, and what they draw is positive."""
    pumps = [Terminal(f"d{i}", "675", THREE, 50.0, draws=True) for i in range(2)]
    idle = stepped(feeder(*pumps), [0.0, 0.0], [0.0, 0.0])["head_kw"][0]
    busy = stepped(feeder(*pumps), [20.0, 30.0], [0.0, 0.0])
    assert busy["head_kw"][0] - idle == pytest.approx(50.0, abs=3.0)  # losses, and loads that follow the voltage
    assert busy["pv.solved_kw"] == pytest.approx([20.0, 30.0], abs=1e-6)


def test_devices_of_a_dead_place_give_nothing_each_for_itself() -> None:
    grid = feeder(
        Terminal("a", "692", THREE, 500.0), Terminal("b", "692", THREE, 500.0), operated={"switches": ["sw_671_692"]}
    )
    grid.start()
    given = {"pv.p_kw": np.array([100.0, 30.0]), "pv.q_kvar": np.zeros(2), "switch_set": np.zeros(1)}
    values = grid.step(0, given)
    assert values["pv.solved_kw"].tolist() == [0.0, 0.0]
    assert values["pv.undelivered_kw"].tolist() == [100.0, 30.0]


def test_places_are_counted_in_the_order_in_which_they_come() -> None:
    places = Places(["x", "y", "x", "z", "y"])
    assert places.firsts == [0, 1, 3]
    values = np.array([[1.0, 2.0, 4.0, 8.0, 16.0], [0.5, -2.0, 0.25, 3.0, 1.0]])
    assert places.summed(values[0]).tolist() == [5.0, 18.0, 8.0]
    assert places.pair_summed(values.reshape(-1)).tolist() == [[5.0, 18.0, 8.0], [0.75, -1.0, 3.0]]
    assert places.spread(np.array([1.0, 2.0, 3.0])).tolist() == [1.0, 2.0, 1.0, 3.0, 2.0]
    assert not places.are_single
    assert Places(["x", "y"]).are_single
