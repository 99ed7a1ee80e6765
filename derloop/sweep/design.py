"""Which combinations of values a sweep tries: a grid, a list, or a Latin hypercube.

A Latin hypercube of n samples divides each parameter's range into n parts of equal size (equal on its scale), and has
one sample in each part of each parameter:

    u_ij = (pi_j(i) + r_ij) / n        pi_j a permutation of 0 .. n-1, r_ij uniform in [0, 1)

M. D. McKay, R. J. Beckman, W. J. Conover, "A comparison of three methods for selecting values of input variables in the
analysis of output from a computer code", Technometrics 21 (1979) 239-245.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from math import prod
from typing import Any

import numpy as np

from derloop.contract import FloatArray
from derloop.sweep.models import MOST_TRIALS, Parameter, SweepFile

Combination = tuple[Any, ...]
"""One value, as JSON has it, for each parameter."""


def combinations(sweep: SweepFile) -> list[Combination]:
    """Return the values of `sweep.vary` for each run, and behind them its seed where there are seeds.

    Raises ValueError where a list's parameters are not equally long, or there are too many runs.
    """
    found = _sampled(sweep) if sweep.samples else _listed(sweep)
    if not sweep.seeds:
        return found
    _check_count(len(found) * len(sweep.seeds))
    return [(*values, seed) for values in found for seed in sweep.seeds]


def _listed(sweep: SweepFile) -> list[Combination]:
    if not sweep.vary:
        return [()]
    columns = [values_of(parameter) for parameter in sweep.vary]
    if sweep.design == "list":
        return list(_together(sweep.vary, columns))
    _check_count(prod(map(len, columns)))
    return list(product(*columns))


def _together(parameters: Sequence[Parameter], columns: Sequence[Sequence[Any]]) -> Iterator[Combination]:
    if len({len(column) for column in columns}) > 1:
        lengths = ", ".join(f"{p.heading} {len(column)}" for p, column in zip(parameters, columns, strict=True))
        raise ValueError(f"the values of a list belong together, and there are not as many of each: {lengths}")
    return zip(*columns, strict=True)


def _check_count(count: int) -> None:
    if count > MOST_TRIALS:
        raise ValueError(f"that is {count:,} runs, more than {MOST_TRIALS:,}")


def values_of(parameter: Parameter) -> list[Any]:
    """Return the values of a parameter that lists them, or takes a count of a range."""
    if parameter.values is not None:
        return list(parameter.values)
    low, high = parameter.low or 0.0, parameter.high or 0.0
    if parameter.count is None:
        _check_count(int(high - low) + 1)
        return list(range(int(low), int(high) + 1))
    return list(dict.fromkeys(_placed(parameter, np.linspace(0.0, 1.0, parameter.count))))


def _sampled(sweep: SweepFile) -> list[Combination]:
    at = latin_hypercube(sweep.samples or 0, len(sweep.vary), sweep.seed)
    return list(zip(*(_placed(p, column) for p, column in zip(sweep.vary, at.T, strict=True)), strict=True))


def latin_hypercube(samples: int, dimensions: int, seed: int) -> FloatArray:
    """Return samples (samples, dimensions) in [0, 1), one in each of `samples` equal parts of each dimension."""
    drawn = np.random.default_rng(seed)
    order = np.array([drawn.permutation(samples) for _ in range(dimensions)]).reshape(dimensions, samples)
    found: FloatArray = (order.T + drawn.random((samples, dimensions))) / samples
    return found


def _placed(parameter: Parameter, at: FloatArray) -> list[Any]:
    """Return the values at these places (n,) of a parameter's range: 0 its least, 1 its greatest."""
    if parameter.values is not None:
        return [parameter.values[int(index)] for index in np.minimum(at, 1.0 - 1e-12) * len(parameter.values)]
    low, high = parameter.low or 0.0, parameter.high or 0.0
    is_of_each = parameter.whole and parameter.count is None
    end = high + 1.0 if is_of_each else high
    spread = low + at * (end - low) if parameter.scale == "linear" else low * (end / low) ** at
    if is_of_each:
        return [int(value) for value in np.minimum(np.floor(spread), high)]
    if parameter.whole:
        return [round(value) for value in spread]
    return [float(f"{value:.12g}") for value in spread]
