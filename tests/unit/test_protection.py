"""Time-overcurrent relays: the standards' equations, integration, coordination, reclosing."""

import numpy as np
import pytest

from federates.grid.protection import Relays, RelaySettings

S = 10**9
NOBODY = np.array([False])


def relays(*settings: dict[str, object]) -> Relays:
    plain = {"switch": "a", "pickup_a": 100.0, "opening_s": 0.001}
    return Relays([RelaySettings.model_validate({**plain, **each}) for each in settings])


@pytest.mark.parametrize(
    ("curve", "dial", "multiple", "after_s"),
    [
        ("ieee-moderately-inverse", 1.0, 5.0, 0.0515 / (5**0.02 - 1) + 0.1140),
        ("ieee-very-inverse", 1.0, 5.0, 1.3081),  # 19.61 / 24 + 0.491
        ("ieee-extremely-inverse", 2.0, 2.0, 19.0434),  # 2 (28.2 / 3 + 0.1217)
        ("iec-normal-inverse", 1.0, 10.0, 2.9706),  # 0.14 / (10^0.02 - 1)
        ("iec-very-inverse", 0.5, 10.0, 0.75),  # 0.5 13.5 / 9
        ("iec-extremely-inverse", 1.0, 3.0, 10.0),  # 80 / 8
        ("definite", 0.3, 20.0, 0.3),
    ],
)
def test_a_steady_current_is_cleared_after_the_curves_time(
    curve: str, dial: float, multiple: float, after_s: float
) -> None:
    """The curves of IEEE C37.112 and of IEC 60255-151, computed by hand, and 1 ms for the switch."""
    relay = relays({"curve": curve, "time_dial": dial})
    assert relay.operating_s(np.array([100.0 * multiple]))[0] == pytest.approx(after_s + 0.001, abs=1e-4)


def test_nothing_operates_below_pickup_and_a_strong_current_at_once() -> None:
    relay = relays({"instantaneous_a": 2000.0})
    assert np.isinf(relay.operating_s(np.array([99.0]))[0])
    assert relay.operating_s(np.array([2000.0]))[0] == pytest.approx(0.001)


def test_a_current_above_the_instantaneous_one_operates_at_once_also_below_the_curves_pickup() -> None:
    relay = relays({"pickup_a": 800.0, "instantaneous_a": 500.0})
    assert np.isinf(relay.operating_s(np.array([499.0]))[0])
    assert relay.operating_s(np.array([600.0]))[0] == pytest.approx(0.001)
    relay.take(0, NOBODY)
    relay.see(np.array([600.0]))
    assert relay.take(S, NOBODY)[0]


def test_currents_that_change_are_integrated_along_the_curve() -> None:
    """4 s at five times the pickup. In a second at half of it a relay goes back by 0.75 / (3.0571 21.6) = 0.0114."""
    relay = relays({"curve": "ieee-very-inverse", "time_dial": 3.0571})  # at M = 5: 4.0 s
    opened = []
    for second, current in enumerate([500.0, 500.0, 50.0, 500.0, 500.0, 500.0, 500.0]):
        opened.append(bool(relay.take(second * S, NOBODY)[0]))
        relay.see(np.array([current]))
    assert opened == [False] * 6 + [True]  # at 5 s it is 0.9886 of the way


def test_of_two_relays_that_see_a_fault_only_the_faster_opens_within_a_long_step() -> None:
    pair = relays({"switch": "near", "time_dial": 0.5}, {"switch": "far", "time_dial": 1.0})
    nobody = np.array([False, False])
    pair.take(0, nobody)
    pair.see(np.array([900.0, 900.0]))
    assert list(pair.take(60 * S, nobody)) == [True, False]
    pair.see(np.array([0.0, 50.0]))
    assert list(pair.take(120 * S, nobody)) == [True, False]


def test_it_tries_again_as_often_as_it_is_told_and_then_locks_out_until_it_is_told_to_open() -> None:
    relay = relays({"curve": "definite", "time_dial": 0.1, "recloses_s": [2.0, 5.0]})
    opened, locked = "", ""
    for second in range(16):
        is_open = bool(relay.take(second * S, NOBODY)[0])
        relay.see(np.array([0.0 if is_open else 900.0]))
        opened += str(int(is_open))
        locked += str(int(relay.locked_out[0]))
    #      fault at 0, open 1-2 (0.1 + 2 s), closed at 3, open 4-8 (3.1 + 5 s), closed at 9, open for good
    assert opened == "0110111110111111"
    assert locked == "0000000000111111"
    assert not relay.take(16 * S, np.array([True]))[0]
    assert relay.locked_out[0] == 0.0


def test_the_same_instant_again_begins_where_the_last_one_ended() -> None:
    relay = relays({"curve": "definite", "time_dial": 0.1})
    relay.take(0, NOBODY)
    relay.see(np.array([900.0]))
    assert relay.take(S, NOBODY)[0]
    relay.see(np.array([0.0]))
    assert relay.take(S, NOBODY)[0]
    assert relay.locked_out[0] == 1.0
