"""What is estimated of a power interface's loop, against the loop itself, stepped."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hil.phil.lag import Lag
from hil.phil.stability import IMPEDANCE, MOST_GAIN, Answer, Estimate, Loop, estimate, per_unit, steepest


def swing(loop: Loop, answer: Answer, steps: int = 400) -> float:
    """Step the loop from a change of voltage of 1 and return the largest voltage among the last steps."""
    v = [1.0] * (loop.delay_steps + 1)
    f_p = f_q = 0.0
    for _ in range(steps):
        p, q = answer.p_per_v * v[-1 - loop.delay_steps], answer.q_per_v * v[-1 - loop.delay_steps]
        f_p = loop.memory * f_p + (1 - loop.memory) * p
        f_q = loop.memory * f_q + (1 - loop.memory) * q
        v.append(loop.source_pu.real * f_p + loop.source_pu.imag * f_q)
        if abs(v[-1]) > 1e12:
            break
    return max(map(abs, v[-20:]))


def test_a_resistor_that_draws_its_rating_from_a_source_of_a_quarter_loses_half_of_a_change_each_step() -> None:
    found = estimate(Loop(0.25 + 0.1j), IMPEDANCE)
    assert found.gain == pytest.approx(-0.5)
    assert found.radius == pytest.approx(0.5)
    assert found.gain_margin == pytest.approx(2.0)
    assert found.impedance_ratio == pytest.approx(math.hypot(0.25, 0.1))
    assert found.is_stable


def test_the_limit_of_a_loop_without_filter_and_delay_is_a_gain_of_one() -> None:
    assert estimate(Loop(0.499 + 0j), IMPEDANCE).is_stable
    assert not estimate(Loop(0.501 + 0j), IMPEDANCE).is_stable


def test_a_filter_widens_the_limit_and_a_delay_narrows_it() -> None:
    # z - a + (1 - a) |g| = 0 is at its limit for |g| = (1 + a) / (1 - a); a = 0.5: 3
    assert estimate(Loop(0.5 + 0j, memory=0.5), IMPEDANCE).gain_margin == pytest.approx(3.0)
    # z^2 - 0.5 z + 0.5 |g| = 0 is at its limit where the product of its roots is 1: |g| = 2
    assert estimate(Loop(0.5 + 0j, memory=0.5, delay_steps=1), IMPEDANCE).gain_margin == pytest.approx(2.0)


@pytest.mark.parametrize("memory", [0.0, 0.3, 0.8])
@pytest.mark.parametrize("delay_steps", [0, 1, 3])
@pytest.mark.parametrize("answer", [IMPEDANCE, Answer(0.0, -7.3), Answer(-1.0, -3.0)])
def test_the_loop_settles_just_within_the_margin_and_grows_just_beyond(
    memory: float, delay_steps: int, answer: Answer
) -> None:
    loop = Loop(0.1 + 0.1j, memory, delay_steps)
    margin = estimate(loop, answer).gain_margin
    within, beyond = (Loop(loop.source_pu * margin * f, memory, delay_steps) for f in (0.95, 1.05))
    assert swing(within, answer) < 0.9
    assert swing(beyond, answer) > 1.0
    assert estimate(within, answer).is_stable
    assert not estimate(beyond, answer).is_stable


@given(
    st.floats(0.0, 2.0),
    st.floats(0.0, 2.0),
    st.floats(0.0, 0.95),
    st.integers(0, 4),
    st.floats(-8, 2),
    st.floats(-8, 2),
)
def test_estimate_and_loop_agree(r: float, x: float, memory: float, delay_steps: int, p: float, q: float) -> None:
    loop, answer = Loop(complex(r, x), memory, delay_steps), Answer(p, q)
    found = estimate(loop, answer)
    if found.radius < 0.97:
        assert swing(loop, answer, 2000) < 1e-3
    elif found.radius > 1.03:
        assert swing(loop, answer, 2000) > 1e3


def test_a_curve_answers_as_its_steepest_part_does() -> None:
    assert steepest((0.92, 0.98, 1.02, 1.08), (0.44, 0.0, 0.0, -0.44)) == pytest.approx(-0.44 / 0.06)
    assert steepest((1.06, 1.10), (1.0, 0.2)) == pytest.approx(-20.0)
    assert steepest((0.9, 1.1), (0.0, 0.0)) == 0.0
    assert steepest((1.0, 1.0), (0.4, -0.4)) == -math.inf
    assert not estimate(Loop(0.01 + 0.01j), Answer(0.0, -math.inf)).is_stable


def test_a_device_that_does_not_answer_has_every_margin() -> None:
    assert estimate(Loop(5.0 + 5.0j), Answer(0.0)) == Estimate(0.0, 0.0, MOST_GAIN, abs(5.0 + 5.0j))


def test_an_impedance_is_per_unit_of_what_the_device_stands_for() -> None:
    # 10 kVA at 240 V on one phase: 5.76 ohm; three times that on three phases is the same
    assert per_unit(0.576 + 0j, 240.0, 10e3, 1) == pytest.approx(0.1)
    assert per_unit(0.576 + 0j, 240.0, 30e3, 3) == pytest.approx(0.1)


def test_the_estimate_says_what_it_means() -> None:
    assert estimate(Loop(1.0 + 0j), IMPEDANCE).text == (
        "the loop does not settle: gain -2, largest root 2, gain margin 0.5, |Zs/Zd| 1"
    )


def test_a_lag_is_exact_for_inputs_that_hold() -> None:
    lag = Lag(2.0)
    assert lag.follow(np.array([1.0, 0.0]), 1.0).tolist() == [1.0, 0.0]
    after = lag.follow(np.array([0.0, 1.0]), 3.0)
    assert after == pytest.approx([math.exp(-1.5), 1 - math.exp(-1.5)])
    halves = Lag(2.0)
    halves.follow(np.array([1.0, 0.0]), 1.0)
    for _ in range(2):
        found = halves.follow(np.array([0.0, 1.0]), 1.5)
    assert found == pytest.approx(after)


def test_a_lag_without_time_constant_follows_at_once() -> None:
    lag = Lag(0.0)
    lag.follow(np.array([1.0]), 1.0)
    assert lag.follow(np.array([5.0]), 1.0).tolist() == [5.0]
