"""Where a feeder tells powers: of every element, or at its head alone."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from derloop.contract import FloatArray
from derloop.kind import Context, Terminal
from federates.grid.feeder import Feeder
from federates.grid.opendss import OpenDssFeeder
from federates.grid.settings import OpenDssSettings
from federates.grid.sums import Sums

SCENARIOS = Path(__file__).parents[2] / "scenarios"
S = 1_000_000_000
PV = (Terminal("pv_0", "675", (1, 2, 3), 3000.0), Terminal("pv_1", "645", (2,), 500.0))


def feeder(**settings: object) -> OpenDssFeeder:
    said = OpenDssSettings.model_validate({"feeder": "feeders/ieee13/ieee13.dss", **settings})
    context = Context("grid", SCENARIOS, datetime(2025, 7, 15, tzinfo=UTC), 60 * S, 3600 * S, 1, terminals={"pv": PV})
    return OpenDssFeeder(said, context, Feeder(said, context))


def given(p_kw: float) -> dict[str, FloatArray]:
    return {"pv.p_kw": np.array([p_kw, p_kw / 6]), "pv.q_kvar": np.zeros(2)}


def test_at_the_head_alone_a_feeder_tells_the_same_of_what_it_still_tells() -> None:
    everywhere, head = feeder(), feeder(powers="head")
    everywhere.start(), head.start()
    for k, p_kw in enumerate((0.0, 1200.0, 3000.0)):
        whole, less = everywhere.step(k * S, given(p_kw)), head.step(k * S, given(p_kw))
        assert set(whole) - set(less) == {"losses_kw", "others_kw", "pv.solved_kw"}
        for port in set(less) - {"head_kw", "head_kvar"}:
            assert less[port].tobytes() == whole[port].tobytes(), port
        assert less["head_kw"] == pytest.approx(whole["head_kw"], rel=1e-12)
        assert less["head_kvar"] == pytest.approx(whole["head_kvar"], rel=1e-12)


def test_what_a_feeder_tells_is_what_it_declares() -> None:
    for powers in ("head", "everywhere"):
        grid = feeder(powers=powers)
        assert set(grid.start()) == set(grid.interface.outputs)


def test_no_balance_is_declared_of_powers_that_are_not_told() -> None:
    assert not feeder(powers="head").interface.balances
    assert {b.quantity for b in feeder().interface.balances} == {"energy", "power"}


def test_accounts_need_the_powers_of_every_element() -> None:
    with pytest.raises(ValidationError, match="accounts need the losses of every element"):
        OpenDssSettings.model_validate({"feeder": "f.dss", "powers": "head", "accounts": {}})


def test_taps_that_moved_are_told_at_once_and_held_until_they_move_again() -> None:
    """3 MW at the far end lift the voltage beyond the band of the regulators, which step down."""
    grid = feeder()
    grid.start()
    told = [grid.step(k * S, given(p_kw))["taps"].copy() for k, p_kw in enumerate((0.0, 3000.0, 3000.0, 0.0))]
    assert (told[1] < told[0]).any()
    assert told[2].tolist() == told[1].tolist()
    assert (told[3] > told[2]).any()
    assert told[3].tolist() == grid._solver.positions.taps().tolist()


def test_a_group_without_elements_sums_to_nothing() -> None:
    none = np.zeros(0, np.intp)
    values = np.array([1.0 + 1.0j, 2.0, 4.0, 8.0j])
    assert Sums(np.array([0]), none, np.array([3, 1])).of(values).tolist() == [1 + 1j, 0, 2 + 8j]
    assert Sums(none, np.array([2]), none).of(values).tolist() == [0, 4, 0]
    assert Sums(none, none).of(values).tolist() == [0, 0]


PROTECTED = {
    "protection": [{"switch": "sw_671_692", "pickup_a": 400.0, "recloses_s": [1.0]}],
    "faults": [{"bus": "675", "r_ohm": 0.1, "begins_s": 0.5, "arc": True}],
    "indicators": {"pickup_a": 200.0},
}


@pytest.mark.parametrize("more", [{}, {"accounts": {}, "monitored": ["line.*"]}, PROTECTED])
def test_iterated_and_concluded_a_feeder_tells_what_it_tells_when_stepped(more: dict[str, object]) -> None:
    stepped, iterated = feeder(**more), feeder(**more)
    stepped.start(), iterated.start()
    for k, p_kw in enumerate((300.0, 1200.0, 3000.0)):
        stepped.step(k * S, given(p_kw / 2))
        seen = iterated.iterate(k * S, given(p_kw / 2))
        whole = {port: value.copy() for port, value in stepped.step(k * S, given(p_kw)).items()}
        seen = {port: value.copy() for port, value in iterated.iterate(k * S, given(p_kw)).items()}
        assert all(seen[port].tobytes() == whole[port].tobytes() for port in iterated.iterated())
        assert {port: value.tobytes() for port, value in iterated.conclude().items()} == {
            port: value.tobytes() for port, value in whole.items()
        }
