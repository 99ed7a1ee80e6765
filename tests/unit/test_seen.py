"""What devices of several phases see."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose

from derloop.kind import Context, Terminal
from federates.grid.opendss import Feeder, OpenDssFeeder, OpenDssSettings
from federates.grid.seen import Phases, extremes, voltage

TURN = np.exp(-2j * np.pi / 3)
BALANCED = np.array([[1.0, TURN, TURN**2]])
IMBALANCE_A = np.array([[1.07, 0.91 * TURN, 0.91 * TURN**2]])
"""IEEE 1547.1: phases at 1.07, 0.91 and 0.91 pu."""
SINGLE = np.array([[0.95 + 0j, 0.95, 0.95]])


def test_balanced_voltages_are_one_whatever_is_seen() -> None:
    for sees in ("mean", "worst", "positive-sequence"):
        assert_allclose(voltage(Phases(BALANCED, np.array([3])), sees), 1.0)
    assert_allclose(extremes(Phases(BALANCED, np.array([3]))), 1.0)


@pytest.mark.parametrize(("sees", "v_pu"), [("mean", 2.89 / 3), ("worst", 0.91), ("positive-sequence", 2.89 / 3)])
def test_imbalance_a(sees: str, v_pu: float) -> None:
    assert_allclose(voltage(Phases(IMBALANCE_A, np.array([3])), sees), v_pu)  # type: ignore[arg-type]


def test_the_mean_and_the_positive_sequence_differ_by_the_angles() -> None:
    turned = np.array([[1.0, TURN * np.exp(0.2j), TURN**2]])
    phases = Phases(turned, np.array([3]))
    assert_allclose(voltage(phases, "mean"), 1.0)
    assert_allclose(voltage(phases, "positive-sequence"), abs(2 + np.exp(0.2j)) / 3)


def test_extremes_are_of_phases_and_between_phases() -> None:
    low, high = extremes(Phases(IMBALANCE_A, np.array([3])))
    between = abs(1.07 - 0.91 * TURN) / 3**0.5
    assert 0.91 < between < 1.07
    assert (low[0], high[0]) == pytest.approx((0.91, 1.07))


def test_one_phase_is_itself() -> None:
    phases = Phases(SINGLE, np.array([1]))
    for sees in ("mean", "worst", "positive-sequence"):
        assert_allclose(voltage(phases, sees), 0.95)
    assert_allclose(extremes(phases), 0.95)


def test_the_feeder_offers_what_devices_look_at() -> None:
    """Three phases at bus 671 of IEEE 13, which is unbalanced."""
    folder = Path(__file__).parents[2] / "scenarios" / "feeders" / "ieee13"
    terminal = Terminal("pv", "671", (1, 2, 3), 10.0, sees="positive-sequence", extremes=True)
    start = datetime(2026, 1, 1, tzinfo=UTC)
    context = Context("grid", folder, start, 10**9, 10**9, 1, terminals={"pv": (terminal,)})
    settings = OpenDssSettings(feeder="ieee13.dss", regulators="locked")
    grid = OpenDssFeeder(settings, context, Feeder(settings, context))
    values = grid.start()
    of = dict(zip(grid.interface.outputs["v_pu"].labels, values["v_pu"], strict=True))
    phases = [of[f"671.{k}"] for k in (1, 2, 3)]
    assert {"pv.v_pu", "pv.v_low_pu", "pv.v_high_pu"} <= set(grid.interface.outputs)
    assert values["pv.v_low_pu"][0] == pytest.approx(min(phases))
    assert values["pv.v_high_pu"][0] == pytest.approx(max(phases))
    assert values["pv.v_pu"][0] == pytest.approx(np.mean(phases), abs=2e-3)
    assert values["pv.v_pu"][0] != pytest.approx(np.mean(phases), abs=1e-9)
