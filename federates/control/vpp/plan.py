"""Plans over a horizon: what all members together should do, as one store, by a linear program.

For k intervals of `h` hours, with charging `c`, discharging `d`, both at the terminals, and stored energy `E`,

    E(i+1) = E(i) + eta c(i) h(i) - d(i) h(i) / eta        0 <= E <= E_most
    minimise  sum price(i) (c(i) - d(i)) h(i) + wear d(i) h(i) - worth E(k) eta  +  penalty excess
    load(i) + c(i) - d(i) <= limit + excess                where a limit is given

Charging and discharging at once wastes energy and so is never best, unless a price is negative: in such intervals a
whole number u(i) decides, c <= C u and d <= D (1 - u).

Many members as one store is exact where all can go on equally long, and then stays so when those that can go on the
longest go first (`dispatch.py`). Otherwise it promises a little too much; `benchmarks/vpp.py` prints how much.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from derloop.contract import FloatArray
from federates.control.vpp.linear_program import LinearProgram

PENALTY = 1e4
"""Of each kW above a limit: more than any price."""

LEAST = 1e-6
"""Of each kWh that is moved: of plans that are equally good, one is taken that moves least."""


@dataclass(frozen=True, slots=True)
class Store:
    """All members as one. Energy is what is inside; powers are at the terminals, neither below 0."""

    charge_kw: float
    discharge_kw: float
    stored_kwh: float
    """Above what must stay."""
    most_kwh: float
    efficiency_pu: float = 1.0
    """Of charging, and again of discharging."""


@dataclass(frozen=True, slots=True)
class Market:
    """What energy costs, and what it is worth in the end."""

    price: FloatArray
    """For each kWh, in each interval (k,)."""
    wear: float = 0.0
    """Of each kWh that is discharged."""
    worth: float = 0.0
    """Of each kWh that is left at the end, before the losses of taking it out."""


@dataclass(frozen=True, slots=True)
class Limit:
    """What else is drawn, and how much may be drawn in all, kW."""

    load_kw: FloatArray
    """(k,)"""
    limit_kw: float


def cheapest(store: Store, hours: FloatArray, market: Market, limit: Limit | None = None) -> FloatArray:
    """Return the powers (k,) of the cheapest plan for intervals of `hours` (k,), kW, positive when injected."""
    k = hours.size
    lp = _program(store, hours, extra=1 + k)
    lp.cost[:k] = (market.price + LEAST) * hours
    lp.cost[k : 2 * k] = (market.wear + LEAST - market.price) * hours
    lp.cost[3 * k - 1] = -market.worth * store.efficiency_pu
    lp.cost[3 * k] = PENALTY
    if limit is not None:
        for i in range(k):
            lp.row([i, k + i, 3 * k], [1.0, -1.0, -1.0], -np.inf, limit.limit_kw - float(limit.load_kw[i]))
    _decide(lp, store, np.flatnonzero(market.price < 0.0), k)
    x = lp.solved()
    return x[k : 2 * k] - x[:k]


def lowest_peak(
    store: Store, hours: FloatArray, load_kw: FloatArray, charge_kw: FloatArray | float = np.inf
) -> tuple[float, FloatArray]:
    """Return the lowest level that `load_kw` (k,) less what is injected can be kept under, and the plan (k,).

    charge_kw: what may be charged in each interval (k,), besides what the store can.
    """
    k = hours.size
    lp = _program(store, hours, extra=1)
    lp.high[:k] = np.minimum(lp.high[:k], charge_kw)
    lp.cost[3 * k] = 1.0
    lp.cost[: 2 * k] = LEAST * np.concatenate([hours, hours])
    lp.low[3 * k] = -np.inf
    for i in range(k):
        lp.row([i, k + i, 3 * k], [1.0, -1.0, -1.0], -np.inf, -float(load_kw[i]))
    x = lp.solved()
    return float(x[3 * k]), x[k : 2 * k] - x[:k]


def _program(store: Store, hours: FloatArray, extra: int) -> LinearProgram:
    """Return the store's program: columns are k of charging, of discharging, of energy after, and `extra` from 0 on."""
    k = hours.size
    high = np.concatenate([np.repeat([store.charge_kw, store.discharge_kw, store.most_kwh], k), np.full(extra, np.inf)])
    high[2 * k : 3 * k] = max(store.most_kwh, store.stored_kwh)
    lp = LinearProgram(np.zeros(3 * k + extra), np.zeros(3 * k + extra), high)
    for i in range(k):
        gain, loss = float(hours[i]) * store.efficiency_pu, float(hours[i]) / store.efficiency_pu
        before, start_kwh = ([2 * k + i - 1], 0.0) if i else ([], store.stored_kwh)
        lp.row([2 * k + i, *before, i, k + i], [1.0, *(-1.0 for _ in before), -gain, loss], start_kwh, start_kwh)
    return lp


def _decide(lp: LinearProgram, store: Store, intervals: np.ndarray[tuple[int], np.dtype[np.intp]], k: int) -> None:
    """Let whole numbers decide between charging and discharging in some intervals; their columns are the last k.

    There is one for each interval, bound to 0 where it decides nothing.
    """
    first = 3 * k + 1
    lp.high[first:] = 0.0
    for i in map(int, intervals):
        lp.high[first + i] = 1.0
        lp.row([i, first + i], [1.0, -store.charge_kw], -np.inf, 0.0)
        lp.row([k + i, first + i], [1.0, store.discharge_kw], -np.inf, store.discharge_kw)
    lp.whole = tuple(first + int(i) for i in intervals)
