"""The functions in their order of priority, for a block of inverters: few enough that its arrays stay in the cache."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
from numpy.typing import ArrayLike

from derloop.contract import FloatArray
from derloop.errors import did_you_mean
from federates.der.smart.abnormal import KINDS as ABNORMAL
from federates.der.smart.abnormal import NOBODY, AbnormalConditions
from federates.der.smart.capability import (
    clipped,
    in_proportion,
    leg,
    replaced,
    surely_carried_kw,
    within_circle,
)
from federates.der.smart.few import Index
from federates.der.smart.held import BoolArray, Clock, is_any
from federates.der.smart.points import Points
from federates.der.smart.priority import KINDS as ACTIVE_POWER
from federates.der.smart.priority import ActivePower, Band
from federates.der.smart.reactive_power import ReactivePower
from federates.der.smart.settings import IN_HZ, REACTIVE, Smart
from federates.der.smart.terminals import Seen

FUNCTIONS: Final = (*REACTIVE, *ACTIVE_POWER, *ABNORMAL)


class Block:
    """n inverters. Powers positive when injected. See `Inverters`, which has blocks of these, for what is public."""

    def __init__(
        self,
        smart: Smart,
        rated_kva: FloatArray,
        rated_kw: FloatArray,
        seed: int,
        first: int,
        q_full_above_p_pu: float,
    ) -> None:
        """`first`: the number of the first device among all, for random delays."""
        self.rated_kva, self._rated_kw = rated_kva, rated_kw
        self._smart = smart
        self._q_full_kw = q_full_above_p_pu * rated_kva if q_full_above_p_pu > 0.0 else None
        self._q_most, self._q_least = smart.q_injected_max_pu * rated_kva, -smart.q_absorbed_max_pu * rated_kva
        self._carried_kva = rated_kva
        self._surely_carried_kw = surely_carried_kw(rated_kva, np.maximum(self._q_most, -self._q_least))
        self._clock = Clock()
        self._reactive = ReactivePower(smart, self._rated_kw, rated_kva, self._clock)
        self._active = ActivePower(smart, self._rated_kw, self._clock)
        self._abnormal = AbnormalConditions(smart, rated_kva, (seed, first), self._clock)

    # --- settings while running ----------------------------------------------------------------------

    def checked(self, function: str, changes: Mapping[str, ArrayLike]) -> Points:
        """Return the numbers of `function` with `changes`. Raises ValueError for what `adjust` would not take."""
        if function not in FUNCTIONS:
            raise ValueError(f"no function {function!r}{did_you_mean(function, FUNCTIONS)}")
        if function in IN_HZ and not self._smart.needs_frequency:
            raise ValueError(f"{function} needs the input f_hz: switch on one of {', '.join(IN_HZ)} in the settings")
        return self._where(function).checked(function, changes)

    def adjust(self, function: str, changes: Mapping[str, ArrayLike], on: BoolArray) -> None:
        """Use these numbers of `function` from the next step on, where `on` (n,)."""
        self._where(function).adjust(function, changes, on)

    def _where(self, function: str) -> ReactivePower | ActivePower | AbnormalConditions:
        if function in REACTIVE:
            return self._reactive
        return self._active if function in ACTIVE_POWER else self._abnormal

    def set_volt_var(self, on: FloatArray, v_pu: FloatArray, q_kvar: FloatArray, response_s: FloatArray) -> None:
        self._reactive.set_volt_var(on > 0.0, v_pu, q_kvar, response_s)

    def set_permit_service(self, permitted: BoolArray) -> None:
        self._abnormal.set_permit_service(permitted)

    def set_maxima(self, s_pu: FloatArray, q_injected_pu: FloatArray, q_absorbed_pu: FloatArray) -> None:
        """See `Inverters.set_maxima`."""
        smart, rated_kva = self._smart, self.rated_kva
        self._carried_kva = s_pu * rated_kva
        self._q_most = np.minimum(q_injected_pu * smart.q_injected_max_pu * rated_kva, self._carried_kva)
        self._q_least = -np.minimum(q_absorbed_pu * smart.q_absorbed_max_pu * rated_kva, self._carried_kva)
        self._surely_carried_kw = surely_carried_kw(self._carried_kva, np.maximum(self._q_most, -self._q_least))
        self._reactive.carry(self._carried_kva)

    # --- behaviour -----------------------------------------------------------------------------------

    def step(
        self, now_ns: int, seen: Seen, wanted_kw: FloatArray, band_kw: Band | None, limit_kw: FloatArray | None = None
    ) -> tuple[FloatArray, FloatArray]:
        """Return P, kW, and Q, kvar, (n,) at `now_ns`; see `Inverters.step`."""
        self._clock.move(now_ns)
        aside = self._abnormal.update(seen)
        p_kw = self._active.wanted_kw(seen.v_pu, seen.f_hz, wanted_kw, band_kw, limit_kw, aside.entering)
        rest = _at_rest(seen.v_pu, aside.out)
        if rest.size:
            self._active.reset(rest)
        if aside.out.size:
            p_kw = replaced(p_kw, aside.out, 0.0)
        size_kw = p_kw if band_kw is None else np.abs(p_kw)
        q_kvar = self._capable_kvar(seen.v_pu, p_kw, self._capability_kvar(size_kw), rest)
        if self._reactive.binds_p or is_any(size_kw > self._surely_carried_kw):
            p_kw, q_kvar = self.within_rating(p_kw, q_kvar)
        if self._smart.current_max_pu is not None:
            carried = self._smart.current_max_pu * seen.v_pu * self.rated_kva
            p_kw, q_kvar = within_circle(p_kw, q_kvar, carried, "reactive")
        if aside.silent.size:
            p_kw, q_kvar = replaced(p_kw, aside.silent, 0.0), replaced(q_kvar, aside.silent, 0.0)
        self._active.note(replaced(p_kw, rest, np.nan) if rest.size else p_kw)
        return p_kw, q_kvar

    def q_kvar(self, now_ns: int, v_pu: FloatArray, share: FloatArray, p_kw: FloatArray | None = None) -> FloatArray:
        """Return the reactive power (n,) that the functions ask for, within `share` of the capability."""
        self._clock.move(now_ns)
        capability = self._q_least * share, self._q_most * share
        return self._capable_kvar(v_pu, self._rated_kw if p_kw is None else p_kw, capability, NOBODY.out)

    def _capability_kvar(self, size_kw: FloatArray) -> Band:
        """Return the least and the most reactive power (n,) beside an active power of this size (n,)."""
        if self._q_full_kw is None or not is_any(size_kw < self._q_full_kw):
            return self._q_least, self._q_most
        share = size_kw / self._q_full_kw
        np.minimum(share, 1.0, out=share)
        return self._q_least * share, self._q_most * share

    def _capable_kvar(self, v_pu: FloatArray, p_kw: FloatArray, capability_kvar: Band, out: Index) -> FloatArray:
        if not self._reactive.is_on:
            self._reactive.rest(v_pu, out)
            return np.zeros(self.rated_kva.shape)
        least, most = capability_kvar
        within = np.maximum(self._reactive.wanted_kvar(v_pu, p_kw, out), least)
        return np.minimum(within, most, out=within)

    def within_rating(self, p_kw: FloatArray, q_kvar: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return both powers (n,) as the rating can carry them; with constant power factor Q follows P."""
        pf, watt_var = self._reactive.mask("constant_pf"), self._reactive.mask("watt_var")
        p, q = self._within_circle(p_kw, q_kvar) if pf is None or not pf.all() else (p_kw, q_kvar)
        if pf is not None:
            at_pf = self._at_constant_pf(p_kw)
            p, q = np.where(pf, at_pf[0], p), np.where(pf, at_pf[1], q)
        if watt_var is not None:
            on_curve = self._within_circle(*self._reactive.on_watt_var(p_kw, q_kvar))
            p, q = np.where(watt_var, on_curve[0], p), np.where(watt_var, on_curve[1], q)
        return p, q

    def _at_constant_pf(self, p_kw: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return P and Q (n,): lowered in proportion where they do not fit.

        Q is cut at the capability; P then has the room that this leaves.
        """
        p, q = in_proportion(*self._reactive.at_constant_pf(p_kw), self._carried_kva)
        least, most = self._capability_kvar(np.abs(p))
        capable = np.maximum(np.minimum(q, most), least)
        beyond = (q > self._q_most) | (q < self._q_least)
        p = np.where(beyond, clipped(p_kw, leg(self._carried_kva, capable)), p)
        return p, capable

    def _within_circle(self, p_kw: FloatArray, q_kvar: FloatArray) -> tuple[FloatArray, FloatArray]:
        return within_circle(p_kw, q_kvar, self._carried_kva, self._smart.priority, self._smart.category)

    def left_by_pf_kw(self, p_kw: FloatArray) -> FloatArray:
        """See `Inverters.left_by_pf_kw`."""
        return p_kw if self._reactive.mask("constant_pf") is None else np.minimum(p_kw, self.p_most_kw)

    @property
    def p_most_kw(self) -> FloatArray:
        """Most active power (n,) that the power factor leaves, injected or drawn."""
        return self._reactive.p_most_kw

    def p_room_kw(self, q_kvar: FloatArray) -> FloatArray:
        """Return the most active power (n,) beside `q_kvar`, injected or drawn; 0 out of service."""
        room, first = self.p_most_kw, self._q_goes_first
        if first is not None:
            room = np.where(first, leg(self._carried_kva, q_kvar), room)
        return room * self._abnormal.in_service

    def below_caps_kw(self, p_kw: FloatArray) -> FloatArray:
        """See `ActivePower.below_caps_kw`."""
        return self._active.below_caps_kw(p_kw)

    @property
    def _q_goes_first(self) -> BoolArray | None:
        """Which devices (n,) have a reactive function that takes room from active power; None where none has."""
        return None if self._smart.priority == "active" else self._reactive.takes_room

    @property
    def p_sure_kw(self) -> FloatArray:
        """Most active power (n,), injected or drawn, beside any reactive power that the functions may ask for."""
        most, first = self.p_most_kw, self._q_goes_first
        return most if first is None else np.where(first, np.minimum(most, self._surely_carried_kw), most)

    @property
    def in_service(self) -> BoolArray:
        """See `AbnormalConditions.in_service`."""
        return self._abnormal.in_service

    @property
    def may_trip(self) -> BoolArray:
        """See `AbnormalConditions.may_trip`."""
        return self._abnormal.may_trip


def _at_rest(v_pu: FloatArray, out: Index) -> Index:
    """Return who (by index) is out of service or without voltage: from there their functions begin anew."""
    return out if v_pu[v_pu.argmin()] > 0.0 else np.union1d(out, np.flatnonzero(v_pu <= 0.0))
