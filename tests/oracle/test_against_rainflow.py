"""The battery's count of cycles against the package `rainflow`, which implements ASTM E1049-85 independently."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from federates.der.battery.ageing import by_depth
from federates.der.battery.rainflow import Rainflow

rainflow = pytest.importorskip("rainflow")


def expected(history: list[float]) -> float:
    cycles = [(span, mean, count) for span, mean, count, *_ in rainflow.extract_cycles(history) if span > 0.0]
    return sum(count * float(by_depth(np.array([span]), np.array([mean]))[0]) for span, mean, count in cycles)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.integers(0, 100), min_size=3, max_size=120))
def test_count_after_each_value_is_that_of_the_history_so_far(percent: list[int]) -> None:
    history = [value / 100.0 for value in percent]
    flow = Rainflow(np.array(history[:1]), by_depth)
    for k, value in enumerate(history[1:], 2):
        flow.take(np.array([value]))
        if k > 2 and len(set(history[:k])) > 1:
            assert float(flow.counted()[0]) == pytest.approx(expected(history[:k]), rel=1e-9, abs=1e-15)


def test_many_long_histories_are_counted_at_once() -> None:
    walks = np.random.default_rng(5).uniform(0.0, 1.0, (2000, 20))
    flow = Rainflow(walks[0], by_depth)
    for now in walks[1:]:
        flow.take(now)
    assert flow.counted() == pytest.approx([expected(list(walk)) for walk in walks.T], rel=1e-9)
