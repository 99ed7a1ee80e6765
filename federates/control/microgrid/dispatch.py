"""What sources are asked for: for money beside the grid, and to hold an island."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from derloop.contract import FloatArray
from federates.control.microgrid.settings import Economics, EngineRules, MicrogridSettings

BoolArray = NDArray[np.bool_]
REACH = 0.8
"""Of what an engine can give more at once: so much it is asked for, the rest is for what nobody foresaw."""


class Sources(NamedTuple):
    """What m sources told last: stores first, then engines; each (m,). Powers are positive when injected."""

    p_kw: FloatArray
    f_hz: FloatArray
    v_pu: FloatArray
    least_kw: FloatArray
    most_kw: FloatArray
    trip_cause: FloatArray
    forms: FloatArray
    soc_pu: FloatArray
    """1 for engines."""
    heat_pu: FloatArray
    """Level of the heat store; 1 for inverters."""
    p_heat_kw: FloatArray
    """Power that heat asks for; 0 for inverters."""


class Rated(NamedTuple):
    """What is known of m sources before the run, each (m,)."""

    kva: FloatArray
    hz_per_kw: FloatArray
    v_set_pu: FloatArray
    is_store: BoolArray


def beside_grid(
    settings: MicrogridSettings, rated: Rated, sources: Sources, price: float, reserve_pu: float, most_kw: float
) -> FloatArray:
    """Return P_0 (m,) of stores, and 0 for engines.

    reserve_pu: what is kept. most_kw: what all sources together may give without export.
    """
    money, top_pu = settings.economics, settings.top_soc_pu
    charges = (sources.soc_pu < reserve_pu) | ((price <= money.charge_below) & (sources.soc_pu < top_pu))
    discharges = (price >= money.discharge_above) & (sources.soc_pu > reserve_pu)
    wanted_kw = np.where(charges, -1.0, np.where(discharges, 1.0, 0.0)) * money.power_pu * rated.kva
    within_kw = np.where(rated.is_store, np.clip(wanted_kw, sources.least_kw, sources.most_kw), 0.0)
    return within_kw if money.exports else _capped(within_kw, most_kw)


def _capped(p_kw: FloatArray, most_kw: float) -> FloatArray:
    """Return powers (m,) whose positive ones together are no more than `most_kw`."""
    giving = np.maximum(p_kw, 0.0)
    total = float(giving.sum())
    return p_kw if total <= most_kw else np.where(p_kw > 0.0, giving * (max(most_kw, 0.0) / total), p_kw)


def engines_beside_grid(
    money: Economics, rules: EngineRules, rated: Rated, sources: Sources, price: float, ran: BoolArray
) -> tuple[BoolArray, FloatArray]:
    """Return which sources run as engines (m,), and their P_0 (m,). ran: at the last instant (m,)."""
    level_pu = np.where(ran, rules.heat_above_pu, rules.heat_below_pu)
    for_heat = (rules.heat_below_pu > 0.0) & (sources.heat_pu < level_pu)
    for_money = np.full(ran.shape, price >= money.run_above)
    p_kw = np.where(for_money, rules.power_pu * rated.kva, np.minimum(sources.p_heat_kw, rated.kva))
    return (for_heat | for_money) & ~rated.is_store, p_kw


def engines_in_island(rules: EngineRules, rated: Rated, soc_pu: float, weak: bool, ran: BoolArray) -> BoolArray:
    """Return which sources run as engines (m,): by what is stored, or where stores alone are weak."""
    if not rated.is_store.any():
        return ~rated.is_store
    level_pu = np.where(ran, rules.soc_above_pu, rules.soc_below_pu)
    return ~rated.is_store & ((soc_pu < level_pu) | weak)


def island(
    rules: EngineRules, rated: Rated, sources: Sources, runs: BoolArray, off_hz: float, moved_kw: float
) -> FloatArray:
    """Return P_0 (m,) with which an island has `off_hz` from nominal, if it draws `moved_kw` more than it did.

    Engines that are in service give their share of rating, as far as they can by now, and stores can take what is too
    much; stores make up the difference, in proportion to their ratings.
    """
    total_kw = float(sources.p_kw.sum()) + moved_kw
    stores, engines = runs & rated.is_store, runs & ~rated.is_store & (sources.forms >= 0.5)
    takes_kw = -float(np.maximum(sources.least_kw, -rated.kva)[stores].sum())
    able_kw = np.minimum(rules.power_pu * rated.kva, sources.p_kw + REACH * (sources.most_kw - sources.p_kw))
    engines_kw = np.where(engines, able_kw, 0.0)
    most_kw = max(total_kw + max(takes_kw, 0.0), 0.0)
    engines_kw = engines_kw * min(1.0, most_kw / max(float(engines_kw.sum()), 1e-9))
    rest_kw = total_kw - float(engines_kw.sum())
    makers = stores if stores.any() else engines
    share = np.where(makers, rated.kva, 0.0) / max(float(rated.kva[makers].sum()), 1e-9)
    p_set_kw: FloatArray = engines_kw + share * rest_kw + np.where(runs, off_hz / rated.hz_per_kw, 0.0)
    return p_set_kw


def to_zero(rated: Rated, sources: Sources, switch_kw: float, runs: BoolArray) -> FloatArray:
    """Return P_0 (m,) with which nothing crosses the switch, if what the island draws stays."""
    able = np.where(runs & rated.is_store, rated.kva, 0.0)
    able = able if able.any() else np.where(runs, rated.kva, 0.0)
    moved_kw = switch_kw * able / max(float(able.sum()), 1e-9)
    low_kw, high_kw = np.maximum(sources.least_kw, -rated.kva), np.minimum(sources.most_kw, rated.kva)
    return np.clip(sources.p_kw + moved_kw, np.minimum(low_kw, high_kw), high_kw)
