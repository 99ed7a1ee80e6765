"""In which state a microgrid is, and what its control tells everybody there."""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from derloop.contract import FloatArray
from federates.control.microgrid import dispatch
from federates.control.microgrid.hearing import Seen
from federates.control.microgrid.settings import MicrogridSettings
from federates.control.microgrid.shedding import Priorities, Served, Strength
from federates.control.microgrid.synchronism import limits, passes

BoolArray = NDArray[np.bool_]
LIGHT_PU = 0.2
"""Of their rating: sources of an island that take more reactive power have too many capacitors there."""
V_BAND_PU = 0.1
"""How far v_0 is led from that of the settings."""
FULL_BAND_PU = 0.05
"""Over which the frequency rises as stores fill to top_soc_pu."""


class Mode(IntEnum):
    """In which state a microgrid is: the output `mode`."""

    CONNECTED = 0
    PREPARING = 1
    ISLANDED = 2
    DEAD = 3
    SYNCHRONISING = 4


class State(NamedTuple):
    """What one step leaves to the next."""

    mode: Mode
    since_s: float
    """When the mode began."""
    grid_since_s: float
    """Since when the grid is there; infinite while it is not."""
    served: Served
    runs: BoolArray
    """Which sources (m,) are told to run."""
    v_set_pu: FloatArray
    closed: bool
    sync: bool
    banks_in: bool = True
    """Whether capacitors are in."""
    failed_s: float = -np.inf
    """When it last collapsed: what was planned before is off."""


class Groups(NamedTuple):
    """Loads and their groups."""

    of_load: NDArray[np.intp]
    """The group (n,) of each load."""
    can_go: Sequence[bool]
    """Which groups (g,) can be taken off."""


class Orders(NamedTuple):
    """What is told at an instant."""

    state: State
    p_set_kw: FloatArray


class Judgement:
    """What is decided at an instant, from what was heard and from the state that the last one left."""

    def __init__(
        self, settings: MicrogridSettings, rated: dispatch.Rated, groups: Groups, f_nominal_hz: float, step_s: float
    ) -> None:
        self._settings, self._rated = settings, rated
        self._group_of, self._can_go = groups.of_load, np.array(groups.can_go)
        self._f_nominal_hz, self._step_s = f_nominal_hz, step_s
        self._priorities = Priorities(settings.loads, groups.can_go, settings.shedding, f_nominal_hz)
        self._most = limits(settings.reconnection.rated_kva or float(rated.kva.sum()))

    @property
    def first(self) -> State:
        """The state before anything was heard."""
        runs, v_set_pu = self._rated.is_store, self._rated.v_set_pu
        return State(Mode.CONNECTED, 0.0, 0.0, self._priorities.all_on, runs, v_set_pu, closed=True, sync=False)

    def orders(self, held: State, seen: Seen, now_s: float, silent: bool) -> Orders:
        """Return what is told now."""
        grid_since_s = min(held.grid_since_s, now_s) if seen.grid_live else np.inf
        held = held._replace(grid_since_s=grid_since_s)
        if not self._settings.active:
            return self._passive(held, seen)
        if silent:
            return self._deaf(held, now_s)
        state = self._entered(held, seen, now_s)
        act = {
            Mode.CONNECTED: self._connected,
            Mode.PREPARING: self._preparing,
            Mode.ISLANDED: self._islanded,
            Mode.DEAD: self._dead,
            Mode.SYNCHRONISING: self._synchronising,
        }[state.mode]
        return act(state, seen, now_s)

    def _entered(self, held: State, seen: Seen, now_s: float) -> State:
        """Return the state with the mode that follows from what was heard."""
        mode = self._mode(held, seen, now_s)
        return held if mode is held.mode else held._replace(mode=mode, since_s=now_s)

    def _mode(self, held: State, seen: Seen, now_s: float) -> Mode:
        planned = self._planned(held, now_s, 0.0)
        if seen.closed and seen.grid_live:
            return Mode.PREPARING if self._planned(held, now_s, self._settings.prepare_s) else Mode.CONNECTED
        if not seen.island_live:
            starting = held.mode is Mode.ISLANDED and held.runs.any() and self._waits(held, now_s)
            return Mode.ISLANDED if starting else Mode.DEAD
        if held.mode is Mode.DEAD:
            return Mode.ISLANDED
        if seen.grid_live and not planned and now_s - held.grid_since_s >= self._settings.reconnection.after_s:
            return Mode.SYNCHRONISING
        return Mode.ISLANDED

    def _waits(self, held: State, now_s: float) -> bool:
        """Return whether sources that were told to start may still come."""
        nobody = not held.served.on[self._can_go].any()
        return nobody and now_s - held.since_s < self._settings.black_start.within_s

    def _planned(self, held: State, now_s: float, ahead_s: float) -> bool:
        """Return whether it is, or is in less than `ahead_s`, an island by intention; not once that has failed."""
        windows = [w for w in self._settings.planned if w.begins_s - ahead_s <= now_s < w.ends_s]
        return any(window.begins_s > held.failed_s for window in windows)

    def _connected(self, state: State, seen: Seen, now_s: float) -> Orders:
        s, rated, sources = self._settings, self._rated, seen.sources
        warned = [w.reserve_soc_pu for w in s.warnings if w.holds(now_s)]
        drawn_kw = np.inf if s.economics.exports else max(seen.switch_kw + float(sources.p_kw.sum()), 0.0)
        offer = dispatch.Offer(seen.price, max([s.reserve_soc_pu, *warned]), drawn_kw, self._step_s / 3600.0)
        engines, engine_kw = dispatch.engines_beside_grid(s, rated, sources, offer, state.runs)
        left = offer._replace(most_kw=drawn_kw - float(engine_kw.sum()))
        p_kw = dispatch.stores_beside_grid(s, rated, sources, left)
        runs = self._cleared(rated.is_store | engines, state, sources)
        strong = Strength(1.0, self._f_nominal_hz, 0.0, np.inf, np.inf, 0.0, np.inf)
        served = self._priorities.restored(state.served, self._demand_kw(seen), strong, now_s)
        v_pu = np.where(sources.v_pu > 0.0, sources.v_pu, seen.grid_pu)
        v_set_pu = self._led(v_pu)
        state = state._replace(closed=True, sync=False, served=served, runs=runs, v_set_pu=v_set_pu, banks_in=True)
        return Orders(state, p_kw + engine_kw)

    def _preparing(self, state: State, seen: Seen, now_s: float) -> Orders:
        """Lead the power at the switch to zero, and open it when it is there; for want of power, shed."""
        s, rated, sources = self._settings, self._rated, seen.sources
        begun = self._planned(state, now_s, 0.0)
        p_kw = dispatch.to_zero(rated, sources, seen.switch_kw, state.runs)
        is_zero = abs(seen.switch_kw) <= s.zero_pu * float(rated.kva.sum())
        served = state.served
        lacks = seen.switch_kw - float(p_kw.sum() - sources.p_kw.sum()) > 1e-6
        if begun and not is_zero and lacks:
            weak = Strength(1.0, 0.0, 0.0, np.inf, np.inf, 0.0, np.inf)
            served = self._priorities.rationed(served, weak, now_s)
        runs = self._cleared(np.ones_like(state.runs), state, sources)
        v_pu = np.where(sources.v_pu > 0.0, sources.v_pu, seen.grid_pu)
        state = state._replace(closed=not (begun and is_zero), served=served, runs=runs, v_set_pu=self._led(v_pu))
        return Orders(state, p_kw)

    def _islanded(self, state: State, seen: Seen, now_s: float, off_hz: float | None = None) -> Orders:
        s, rated, sources = self._settings, self._rated, seen.sources
        strength = self._strength(seen, state.runs)
        served = state.served
        if seen.island_live:
            served = self._priorities.rationed(served, strength, now_s)
            served = self._priorities.restored(served, self._demand_kw(seen), strength, now_s)
        wanted = not served.on.all() and strength.soc_pu < s.engine.soc_above_pu
        weak = self._leans_on_engines(sources, state.runs) or wanted
        engines = dispatch.engines_in_island(s.engine, rated, self.stored_pu(seen.sources), weak, state.runs)
        runs = self._cleared(rated.is_store | engines, state, sources) & ~self._empty(state, sources)
        full_pu = (self.stored_pu(seen.sources) - s.top_soc_pu + FULL_BAND_PU) / FULL_BAND_PU
        raised_hz = s.surplus_hz * float(np.clip(full_pu, 0.0, 1.0)) if rated.is_store.any() else 0.0
        moved_kw = float(self._demand_kw(seen) @ (served.on.astype(float) - state.served.on))
        off_hz = raised_hz if off_hz is None else off_hz
        p_kw = dispatch.island(s.engine, rated, sources, runs, off_hz, moved_kw)
        light = float(sources.q_kvar.sum()) < -LIGHT_PU * float(rated.kva[state.runs].sum())
        banks_in = state.banks_in and not light
        state = state._replace(closed=False, sync=False, served=served, runs=runs, banks_in=banks_in)
        return Orders(state, p_kw)

    def _dead(self, state: State, seen: Seen, now_s: float) -> Orders:
        """Take everything off; then start, or go back to the grid where that is there."""
        s, nobody = self._settings, np.zeros(self._rated.kva.shape)
        none_on = np.zeros(len(s.loads), np.bool_)
        served = self._priorities.only(none_on, state.served, now_s)
        state = state._replace(served=served, closed=False, sync=False, banks_in=False, failed_s=now_s)
        state = state._replace(v_set_pu=self._rated.v_set_pu)
        if seen.grid_live and now_s - state.grid_since_s >= s.reconnection.after_s:
            return Orders(state._replace(closed=True, runs=nobody > 0.0), nobody)
        if now_s - state.since_s < s.black_start.after_s or state.runs.any():
            return Orders(state._replace(runs=nobody > 0.0), nobody)
        able = ~self._rated.is_store | (seen.sources.soc_pu > s.black_start.least_soc_pu)
        mode = Mode.ISLANDED if able.any() else Mode.DEAD
        served = served._replace(last_off_s=-np.inf, last_on_s=now_s)
        return Orders(state._replace(mode=mode, since_s=now_s, runs=able, served=served), nobody)

    def _synchronising(self, state: State, seen: Seen, now_s: float) -> Orders:
        """Lead frequency and voltage to the grid's, a little faster, and close when they may be connected."""
        slip_hz = self._settings.reconnection.slip_hz
        orders = self._islanded(state, seen, now_s, seen.grid_hz + slip_hz - self._f_nominal_hz)
        may = passes(seen.difference, self._most, self._step_s)
        v_set_pu = self._led(state.v_set_pu - seen.difference.v_pu)
        return orders._replace(state=orders.state._replace(closed=may, sync=may, v_set_pu=v_set_pu))

    def _passive(self, held: State, seen: Seen) -> Orders:
        """Tell everybody to go on: what a microgrid without control does."""
        v_pu = np.where(seen.closed & (seen.sources.v_pu > 0.0), seen.sources.v_pu, self._rated.v_set_pu)
        state = held._replace(closed=True, runs=self._rated.is_store, v_set_pu=v_pu)
        return Orders(state, np.zeros(self._rated.kva.shape))

    def _deaf(self, held: State, now_s: float) -> Orders:
        """Rest beside the grid; in an island leave sources to their droop, and keep what is critical alone."""
        state = held
        if held.mode in (Mode.ISLANDED, Mode.SYNCHRONISING, Mode.DEAD) or not held.closed:
            kept = np.array([group.critical for group in self._settings.loads])
            mode = Mode.DEAD if held.mode is Mode.DEAD else Mode.ISLANDED
            served = self._priorities.only(kept, held.served, now_s)
            state = held._replace(mode=mode, sync=False, served=served)
        return Orders(state, np.zeros(self._rated.kva.shape))

    # --- what they share ---------------------------------------------------------------------------

    def _strength(self, seen: Seen, runs: BoolArray) -> Strength:
        """Return how the island stands, with who is in service of those that were told to run (m,)."""
        sources, rated = seen.sources, self._rated
        serves = runs & (sources.forms >= 0.5) & (sources.trip_cause == 0.0)
        can_kw = float(sources.able_kw(rated)[serves].sum())
        could_kw = can_kw + float(rated.kva[~serves & ~rated.is_store].sum())
        stored_pu, f_hz, given_kw = self.stored_pu(sources), float(sources.f_hz.max()), float(sources.p_kw.sum())
        rated_kva = float(rated.kva[serves].sum())
        return Strength(stored_pu, f_hz, given_kw, can_kw, could_kw, sources.carried_kva, rated_kva)

    def _leans_on_engines(self, sources: dispatch.Sources, runs: BoolArray) -> bool:
        """Return whether stores that run (m,) could not carry, with room to spare, what all sources carry now."""
        stores_kva = float(self._rated.kva[runs & self._rated.is_store].sum())
        return sources.carried_kva > self._settings.shedding.most_pu * stores_kva

    def stored_pu(self, sources: dispatch.Sources) -> float:
        """Return the state of charge of all stores, by their ratings; 1 where there is none."""
        weight = np.where(self._rated.is_store, self._rated.kva, 0.0)
        return float(weight @ sources.soc_pu) / float(weight.sum()) if weight.any() else 1.0

    def _demand_kw(self, seen: Seen) -> FloatArray:
        """Return what the groups (g,) ask for."""
        return np.bincount(self._group_of, seen.demand_kw, len(self._settings.loads)).astype(np.float64)

    def _cleared(self, runs: BoolArray, state: State, sources: dispatch.Sources) -> BoolArray:
        """Return who runs, of these (m,): one that has tripped is told to rest for a step."""
        return np.asarray(runs & ((sources.trip_cause == 0.0) | ~state.runs))

    def _empty(self, state: State, sources: dispatch.Sources) -> BoolArray:
        """Return which stores (m,) rest, and have too little to come back to an island."""
        least_pu = self._settings.black_start.least_soc_pu
        return np.asarray(self._rated.is_store & (sources.soc_pu <= least_pu) & ~state.runs)

    def _led(self, v_pu: FloatArray) -> FloatArray:
        own = self._rated.v_set_pu
        return np.clip(v_pu, np.minimum(own, 1.0) - V_BAND_PU, np.maximum(own, 1.0) + V_BAND_PU)
