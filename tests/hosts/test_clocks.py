"""How far another machine's clock is ahead, from four times, and what a host is told when its clock drifts."""

from __future__ import annotations

import random

import pytest

from derloop.hosts.clocks import KEPT, HostClock, Offset, Reading

S = 10**9
MS = 10**6


def asked(ahead_ns: int, at_ns: int, there_ns: int, back_ns: int, rests_ns: int = 0) -> tuple[int, int, int, int]:
    """Return the four times of a question at `at_ns` to a clock that is `ahead_ns`, over ways that take so long."""
    heard_ns = at_ns + there_ns + ahead_ns
    said_ns = heard_ns + rests_ns
    return at_ns, heard_ns, said_ns, said_ns - ahead_ns + back_ns


def test_ways_of_equal_length_tell_exactly() -> None:
    assert Reading.of(*asked(-7 * S, 3 * S, 2 * MS, 2 * MS, rests_ns=20 * MS)) == Reading(-7 * S, 2 * MS)


def test_however_the_ways_differ_the_truth_is_within_what_is_said() -> None:
    rng = random.Random(1)
    for _ in range(10_000):
        ahead_ns, there_ns, back_ns = rng.randint(-(10**15), 10**15), rng.randint(0, S), rng.randint(0, S)
        reading = Reading.of(*asked(ahead_ns, rng.randint(0, 10**15), there_ns, back_ns, rng.randint(0, S)))
        assert abs(reading.ahead_ns - ahead_ns) <= reading.within_ns <= (there_ns + back_ns + 1) // 2


def test_the_best_of_the_latest_readings_counts() -> None:
    offset = Offset()
    assert (offset.best, offset.refutes(0)) == (None, False)
    for way_ms in (9, 1, 5):
        offset.take(Reading.of(*asked(40 * MS, 0, way_ms * MS, 0)))
    assert offset.best == Reading(40 * MS + MS // 2, MS // 2)
    assert not offset.refutes(40 * MS)
    assert offset.refutes(39 * MS)
    for _ in range(KEPT):
        offset.take(Reading.of(*asked(80 * MS, 0, 5 * MS, 5 * MS)))
    assert offset.best == Reading(80 * MS, 5 * MS)


@pytest.mark.parametrize("drift_ppm", [-80, 0, 80])
def test_a_host_whose_clock_drifts_is_told_anew_and_one_whose_clock_does_not_is_left_alone(drift_ppm: int) -> None:
    told: list[int] = []
    clock = HostClock(lambda what, **fields: told.append(fields["epoch_ns"]) if what == "begin" else None)
    rng, epoch_ns, way_ns = random.Random(2), 5 * S, 4 * MS
    furthest_ns = 0
    for second in range(3600):
        ahead_ns = 100 * S + second * 1000 * drift_ppm
        clock.take(*asked(ahead_ns, second * S, rng.randint(MS, way_ns), rng.randint(MS, way_ns)))
        if second == 5:
            clock.begin(epoch_ns)
            clock.begin(epoch_ns)
        clock.keep()
        if told:
            furthest_ns = max(furthest_ns, abs(told[-1] - epoch_ns - ahead_ns))
    assert furthest_ns < 2 * way_ns, "0.29 s were it not told anew"
    assert (len(told) == 1) == (drift_ppm == 0), told
    assert len(told) < 600
