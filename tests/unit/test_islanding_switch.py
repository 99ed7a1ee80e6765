"""The switch of an island: outages, the relay that opens it, the angle that is gained, and what it cuts off."""

import numpy as np
import pytest
from pydantic import ValidationError

from federates.grid.crossing import Position, Relay, Slip, behind, wrapped_deg
from federates.grid.outages import Outages, OutageSettings, drawn_s

H = 3600 * 10**9


def test_outage_holds_from_its_begin_to_its_end() -> None:
    out = Outages(OutageSettings.model_validate({"events": [{"begins_s": 3600, "lasts_s": 7200}]}), 1)
    assert [out.is_out(k * H) for k in range(5)] == [False, True, True, False, False]
    assert not Outages(None, 1).is_out(0)


def test_outages_by_chance_have_their_rate_and_their_mean_and_are_the_same_for_a_seed() -> None:
    """10 000 draws: the means lie within 4 % at more than three standard errors."""
    rate = OutageSettings.model_validate({"by_chance": {"per_year": 20.0, "mean_h": 3.0}}).by_chance
    assert rate
    spans_s = drawn_s(rate, 7)
    assert (np.diff(spans_s.ravel()) >= 0.0).all()
    assert np.diff(spans_s, axis=1).mean() == pytest.approx(3.0 * 3600.0, rel=0.04)
    assert (spans_s[1:, 0] - spans_s[:-1, 1]).mean() == pytest.approx(8760.0 * 3600.0 / 20.0, rel=0.04)
    assert np.array_equal(spans_s, drawn_s(rate, 7))
    assert not np.array_equal(spans_s, drawn_s(rate, 8))


def test_outages_that_overlap_are_refused() -> None:
    events = [{"begins_s": 0, "lasts_s": 100}, {"begins_s": 50, "lasts_s": 100}]
    with pytest.raises(ValidationError, match="must follow each other: one begins at 50 s"):
        OutageSettings.model_validate({"events": events})
    with pytest.raises(ValidationError, match="needs events, by_chance or both"):
        OutageSettings()


def test_relay_opens_at_once_and_stays_open_until_it_was_told_to_open() -> None:
    relay, found = Relay(), []
    for k, (told, grid_on) in enumerate(
        [(True, True), (True, False), (True, True), (False, True), (True, True), (True, True)]
    ):
        found.append(relay.position(k, told, grid_on).closed)
    assert found == [True, False, False, False, True, True]


def test_relay_does_not_close_onto_a_grid_that_is_away() -> None:
    relay = Relay()
    assert relay.position(0, told=False, grid_on=False) == Position(closed=False, grid_on=False)
    assert relay.position(1, told=True, grid_on=False) == Position(closed=False, grid_on=False)


def test_relay_that_is_asked_again_for_an_instant_says_the_same() -> None:
    relay = Relay()
    relay.position(0, told=True, grid_on=True)
    assert [relay.position(1, told=True, grid_on=False).closed for _ in range(2)] == [False, False]
    assert not relay.position(2, told=True, grid_on=True).closed


def test_angle_is_the_integral_of_the_difference_of_frequencies() -> None:
    """0.02 Hz for 10 s and -0.01 Hz for 10 s: 72 deg, then 36 deg."""
    slip, s = Slip(), 10**10
    assert slip.gained_deg(0, 0.02, slips=True) == 0.0
    assert slip.gained_deg(s, -0.01, slips=True) == pytest.approx(72.0)
    assert slip.gained_deg(s, -0.01, slips=True) == pytest.approx(72.0)
    assert slip.gained_deg(2 * s, 0.0, slips=True) == pytest.approx(36.0)
    assert slip.gained_deg(3 * s, 0.0, slips=False) == 0.0
    assert slip.gained_deg(4 * s, 0.0, slips=True) == 0.0


def test_angles_are_told_within_half_a_turn() -> None:
    assert [wrapped_deg(a) for a in (0.0, 181.0, -181.0, 540.0)] == pytest.approx([0.0, -179.0, 179.0, 180.0])


def test_switch_cuts_off_what_hangs_on_it_alone() -> None:
    branches = {"line.ab": ("a", "b"), "line.bc": ("b", "c"), "transformer.t": ("c", "d"), "line.be": ("b", "e")}
    assert behind(branches, "a", "BC") == {"c", "d"}
    assert behind(branches, "a", "head") == {"a", "b", "c", "d", "e"}
    ring = branches | {"line.de": ("d", "e")}
    assert behind(ring, "a", "bc") == set()
