"""What sources are asked for: for money beside the grid, and to hold an island."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from derloop.contract import FloatArray
from federates.control.microgrid.settings import EngineRules, MicrogridSettings

BoolArray = NDArray[np.bool_]
REACH = 0.8
"""Of what a source can give: so much it is asked for, the rest is for what nobody foresaw."""


LOSSES = 0.9
"""So that a store with losses does not go below its reserve."""
UNKNOWN_KWH = 1e12
"""Size of a store that is empty, and so does not say how large it is."""


class Rated(NamedTuple):
    """What is known of m sources before the run, each (m,)."""

    kva: FloatArray
    hz_per_kw: FloatArray
    v_set_pu: FloatArray
    is_store: BoolArray


class Sources(NamedTuple):
    """What m sources told last: stores first, then engines; each (m,). Powers are positive when injected."""

    p_kw: FloatArray
    q_kvar: FloatArray
    f_hz: FloatArray
    v_pu: FloatArray
    least_kw: FloatArray
    most_kw: FloatArray
    trip_cause: FloatArray
    forms: FloatArray
    soc_pu: FloatArray
    """1 for engines."""
    stored_kwh: FloatArray
    """Of stores; of engines what their heat stores hold."""
    heat_pu: FloatArray
    """Level of the heat store; 1 for inverters."""
    p_heat_kw: FloatArray
    """Power that heat asks for; 0 for inverters."""

    @property
    def carried_kva(self) -> float:
        """What all of them carry together."""
        return float(np.hypot(self.p_kw.sum(), self.q_kvar.sum()))

    def able_kw(self, rated: Rated) -> FloatArray:
        """Return what each (m,) can give beside its reactive power."""
        room_kw = np.sqrt(np.maximum(rated.kva**2 - self.q_kvar**2, 0.0))
        found: FloatArray = np.minimum(self.most_kw, room_kw)
        return found


class Offer(NamedTuple):
    """What there is to decide by, beside the grid."""

    price: float
    """Of a kWh; not a number where none is told."""
    reserve_pu: float
    """State of charge that is kept."""
    most_kw: float
    """What all sources together may give."""
    step_h: float


def stores_beside_grid(settings: MicrogridSettings, rated: Rated, sources: Sources, offer: Offer) -> FloatArray:
    """Return P_0 (m,) of stores, and 0 for engines.

    Towards the reserve, or its top, a store goes no faster than comes there within the step, so that it rests there;
    what it gives until now, since it told its state of charge, is taken into account.
    """
    money, soc_pu = settings.economics, sources.soc_pu
    known = rated.is_store & (soc_pu > 0.0)  # an engine's heat store may be empty, and says nothing here
    kwh = np.where(known, sources.stored_kwh / np.maximum(soc_pu, 1e-9), UNKNOWN_KWH)
    will_be_pu = soc_pu - sources.p_kw * offer.step_h / kwh
    to_reserve_kw = LOSSES * (will_be_pu - offer.reserve_pu) * kwh / offer.step_h
    power_kw = money.power_pu * rated.kva
    to_top_kw = np.minimum((will_be_pu - settings.top_soc_pu) * kwh / offer.step_h, 0.0)
    cheap = offer.price <= money.charge_below
    wanted_kw = np.where(cheap, np.maximum(to_top_kw, -power_kw), np.minimum(np.maximum(to_reserve_kw, -power_kw), 0.0))
    dear = (offer.price >= money.discharge_above) & (to_reserve_kw > 0.0)
    wanted_kw = np.where(dear, np.minimum(to_reserve_kw, power_kw), wanted_kw)
    within_kw = np.where(rated.is_store, np.clip(wanted_kw, sources.least_kw, sources.most_kw), 0.0)
    return _capped(within_kw, offer.most_kw)


def _capped(p_kw: FloatArray, most_kw: float) -> FloatArray:
    """Return powers (m,) whose positive ones together are no more than `most_kw`."""
    giving = np.maximum(p_kw, 0.0)
    total, most_kw = float(giving.sum()), max(most_kw, 0.0)
    return p_kw if total <= most_kw else np.where(p_kw > 0.0, giving * (most_kw / total), p_kw)


def engines_beside_grid(
    settings: MicrogridSettings, rated: Rated, sources: Sources, offer: Offer, ran: BoolArray
) -> tuple[BoolArray, FloatArray]:
    """Return which sources run as engines (m,), and their P_0 (m,). ran: at the last instant (m,)."""
    rules = settings.engine
    level_pu = np.where(ran, rules.heat_above_pu, rules.heat_below_pu)
    for_heat = (rules.heat_below_pu > 0.0) & (sources.heat_pu < level_pu)
    for_money = np.full(ran.shape, offer.price >= settings.economics.run_above)
    most_kw = rules.power_pu * rated.kva
    runs = (for_heat | for_money) & ~rated.is_store
    p_kw = np.where(for_money, most_kw, np.minimum(sources.p_heat_kw, most_kw))
    return runs, _capped(np.where(runs, p_kw, 0.0), offer.most_kw)


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
    reach_kw = sources.p_kw + REACH * (sources.able_kw(rated) - sources.p_kw)
    able_kw = np.maximum(np.minimum(rules.power_pu * rated.kva, reach_kw), 0.0)
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
    high_kw = REACH * sources.able_kw(rated)
    low_kw = np.minimum(np.maximum(sources.least_kw, -REACH * rated.kva), high_kw)
    return np.clip(sources.p_kw + moved_kw, low_kw, high_kw)
