"""PJM's scores of responses of which correlation, delay and precision are known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from judged import FloatArray, Memory, verdict

from derloop.checks import pjm_score
from derloop.checks.pjm_score import scores

RNG = np.random.default_rng(7)
SIGNAL: FloatArray = RNG.uniform(-1.0, 1.0, 360)
"""An hour, a sample every 10 s."""


def test_a_perfect_response_has_every_score_one() -> None:
    found = scores(SIGNAL, SIGNAL, latency=0)
    assert (found.correlation, found.delay, found.precision) == (pytest.approx(1), 1.0, 1.0)
    assert found.performance == pytest.approx(1)


@pytest.mark.parametrize(("samples", "delay"), [(1, 1.0), (2, 29 / 30), (7, 24 / 30), (16, 0.5)])
def test_a_response_that_is_late_loses_its_delay_score_alone(samples: int, delay: float) -> None:
    """5 min are 30 samples of 10 s; one of them costs nothing."""
    found = scores(SIGNAL[samples:], SIGNAL[:-samples], latency=1)
    assert found.correlation == pytest.approx(1, abs=0.02)
    assert found.delay == pytest.approx(delay, abs=0.02)


def test_half_of_the_response_keeps_correlation_and_delay_and_halves_precision() -> None:
    found = scores(SIGNAL, 0.5 * SIGNAL, latency=0)
    assert (found.correlation, found.delay, found.precision) == (pytest.approx(1), 1.0, pytest.approx(0.5))
    assert found.performance == pytest.approx(2.5 / 3)


def test_no_response_has_no_correlation_and_no_precision() -> None:
    moving = np.sin(np.arange(360) / 7)
    found = scores(moving, np.zeros(360))
    assert (found.correlation, found.delay, found.precision) == (0.0, 1.0, pytest.approx(0.0, abs=0.01))


def test_a_response_of_the_wrong_sign_has_no_precision() -> None:
    found = scores(SIGNAL, -SIGNAL, latency=0)
    assert found.precision == 0.0
    assert found.performance < 0.75


def test_where_the_signal_rests_the_slopes_are_compared() -> None:
    still = np.full(360, 0.8)
    assert scores(still, still).correlation == pytest.approx(1)
    # a response that rises by 0.4 of the mean signal each 5 minutes: 1 - 0.4
    assert scores(still, 0.8 + 0.8 * 0.4 * np.arange(360) / 30).correlation == pytest.approx(0.6)


def regulation(response: FloatArray, **settings: Any) -> Any:
    recorded = Memory(agc__p=("kW", 10, 50 * SIGNAL)).add("bat.p_kw", "kW", 10, response)
    return verdict(pjm_score.KIND, recorded, signal="bat.p_kw", reference="agc.p", **settings)


def test_a_fleet_is_scored_as_a_whole_over_its_baseline() -> None:
    halves = np.stack([25 * SIGNAL + 3, 25 * SIGNAL + 4], axis=1)
    assert regulation(halves, latency_s=0).measured < 0.95
    recorded = Memory(agc__p=("kW", 10, 50 * SIGNAL), base__p=("kW", 10, np.full(360, 7.0)))
    recorded.add("bat.p_kw", "kW", 10, halves)
    given = {"signal": "bat.p_kw", "reference": "agc.p", "baseline": "base.p", "latency_s": 0}
    assert verdict(pjm_score.KIND, recorded, **given).measured == pytest.approx(1)


def test_a_poor_response_fails_and_says_all_three_scores() -> None:
    found = regulation(np.zeros(360))
    assert (found.outcome, found.limit, found.source) == ("FAIL", 0.75, "PJM Manual 12, performance score")
    assert found.margin < 0
    assert "correlation" in found.text
    assert "precision 0.00" in found.text


def test_the_worst_hour_decides() -> None:
    both = np.concatenate([SIGNAL, SIGNAL])
    recorded = Memory(agc__p=("kW", 10, both), bat__p=("kW", 10, np.concatenate([SIGNAL, 0 * SIGNAL])))
    found = verdict(pjm_score.KIND, recorded, signal="bat.p", reference="agc.p", latency_s=0)
    assert (found.outcome, found.when_ns) == ("FAIL", 3600 * 10**9)


@pytest.mark.parametrize(("to_s", "outcome"), [(1190, "INCONCLUSIVE"), (1200, "FAIL")])
def test_what_a_step_has_after_the_end_of_the_window_is_not_scored(to_s: float, outcome: str) -> None:
    recorded = Memory(agc__p=("kW", 300, SIGNAL[::30]), bat__p=("kW", 300, np.zeros(12)))
    assert verdict(pjm_score.KIND, recorded, signal="bat.p", reference="agc.p", to_s=to_s).outcome == outcome


@pytest.mark.parametrize(
    ("recorded", "why"),
    [
        (Memory(a__p=("kW", 10, [1.0] * 100), b__p=("kW", 10, [1.0] * 100)), "20 minutes"),
        (Memory(a__p=("kW", 10, [0.0] * 360), b__p=("kW", 10, [1.0] * 360)), "always 0"),
        (Memory(a__p=("pu", 10, [1.0] * 360), b__p=("kW", 10, [1.0] * 360)), "one unit"),
        (Memory(a__p=("kW", 600, [1.0] * 360), b__p=("kW", 10, [1.0] * 360)), "steps of 5 minutes"),
    ],
)
def test_what_cannot_be_scored_is_inconclusive(recorded: Memory, why: str) -> None:
    found = verdict(pjm_score.KIND, recorded, signal="b.p", reference="a.p")
    assert (found.outcome, why in found.text) == ("INCONCLUSIVE", True)
