"""The grid side of n inverters: the functions of IEEE 1547-2018 in their order of priority, and what can be carried.

    permit service off > trip > ride-through with momentary cessation > volt-watt > frequency droop
    > active-power limit > reactive function                              (IEEE 1547-2018, 4.7)

All powers are positive when injected. Each function has its file in `federates.der.smart`, with its equations,
numbers, ranges and sources. A second call for the same instant starts from the state at the last instant.

A large fleet is stepped in blocks: the arrays of a block stay in the processor's cache from one function to the next.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from derloop.contract import FloatArray, Port, Values
from federates.der.smart.block import Block
from federates.der.smart.capability import leg, within_circle
from federates.der.smart.held import BoolArray, Response
from federates.der.smart.points import Points
from federates.der.smart.priority import Band
from federates.der.smart.settings import Smart
from federates.der.smart.terminals import Seen
from federates.der.smart.volt_var import PRESETS, VoltVar

__all__ = ["PRESETS", "Inverters", "Response", "Seen", "Smart", "VoltVar", "leg", "within_circle"]

BLOCK: Final = 12_500
"""About as many devices are in one block."""


class Inverters:
    """n inverters. Powers positive when injected."""

    def __init__(
        self,
        smart: Smart,
        rated_kva: FloatArray,
        rated_kw: FloatArray | None = None,
        *,
        seed: int = 0,
        q_full_above_p_pu: float = 0.0,
    ) -> None:
        """rated_kva (n,), rated_kw (n,): the same without it. `seed` is for random delays.

        q_full_above_p_pu: below this active power, pu of rated kVA, the reactive capability falls in proportion.
        """
        self.rated_kva, self._smart = rated_kva, smart
        rated_kw = rated_kva if rated_kw is None else rated_kw
        self._slices = _slices(rated_kva.size)
        self._blocks = [Block(smart, rated_kva[s], rated_kw[s], seed, s.start, q_full_above_p_pu) for s in self._slices]
        self._f_nominal_hz = np.array([float(smart.f_nominal_hz)])
        self._q_told = b""
        self._looks_further = smart.needs_extremes or smart.needs_frequency

    @property
    def smart(self) -> Smart:
        """The settings, for whoever shows them in equipment."""
        return self._smart

    @property
    def volt_var(self) -> VoltVar | None:
        """The curve of the settings, for whoever writes it into equipment."""
        return self._smart.curve

    # --- what it sees --------------------------------------------------------------------------------

    def ports(self, labels: tuple[str, ...]) -> dict[str, Port]:
        """Return the inputs that the functions need: `v_pu`; `v_low_pu`, `v_high_pu`, `f_hz` if one looks there."""
        found = {"v_pu": Port("pu", labels, "coupled")}
        if self._smart.needs_extremes:
            found |= {name: Port("pu", labels, "coupled") for name in ("v_low_pu", "v_high_pu")}
        if self._smart.needs_frequency:
            found["f_hz"] = Port("Hz", labels)
        return found

    def seen(self, inputs: Values) -> Seen:
        """Return what the inputs (see `ports`) say."""
        v_pu = inputs["v_pu"]
        if not self._looks_further:
            return Seen(v_pu, v_pu, v_pu, self._f_nominal_hz)
        low_pu, high_pu = inputs.get("v_low_pu", v_pu), inputs.get("v_high_pu", v_pu)
        return Seen(v_pu, low_pu, high_pu, inputs.get("f_hz", self._f_nominal_hz))

    # --- settings while running ----------------------------------------------------------------------

    def adjust(self, function: str, on: ArrayLike = True, **changes: ArrayLike) -> None:
        """Use these numbers of `function` from the next step on, as written from outside.

        `function` and numbers are named as in `Smart`; a number is one for all or (n,); `on` (n,) or one says where
        the function is on. Of the reactive functions a device has one: the last that was switched on.
        Raises ValueError, and changes nothing, for a name that is not, and for a number outside the standard's range.
        """
        where = self._everywhere(on)
        arrays = {name: np.asarray(value, dtype=np.float64) for name, value in changes.items()}
        for name, value in arrays.items():
            if value.shape not in ((), (1,), self.rated_kva.shape):
                raise ValueError(f"{function}.{name} has shape {value.shape}, not one number or {self.rated_kva.shape}")
        parts = [{name: _part(value, s, self.rated_kva.size) for name, value in arrays.items()} for s in self._slices]
        for block, part in zip(self._blocks, parts, strict=True):
            block.checked(function, part)
        for block, part, s in zip(self._blocks, parts, self._slices, strict=True):
            block.adjust(function, part, where[s])
        self._q_told = b""

    def tell_q(self, q_pu: FloatArray) -> None:
        """Have this constant reactive power (n,), pu of rated kVA, from the next step on; cut at the rating.

        Done at once where it is what was told last and nothing else was set since then.
        """
        told = q_pu.tobytes()
        if told != self._q_told:
            self.adjust("constant_q", q_pu=np.clip(q_pu, -1.0, 1.0))
            self._q_told = told

    def check(self, function: str, **numbers: float) -> None:
        """Raise ValueError for numbers of one device that `adjust` would not take."""
        self._blocks[0].checked(function, numbers)

    def has(self, function: str) -> bool:
        """Whether `function` is on in the settings."""
        return getattr(self._smart, function) is not None

    def numbers(self, function: str) -> Points:
        """Return every number (n,) of `function` as it is set, or its default where it is not."""
        found = [block.checked(function, {}) for block in self._blocks]
        sizes = [block.rated_kva.size for block in self._blocks]
        return {
            name: np.concatenate([np.broadcast_to(p[name], n) for p, n in zip(found, sizes, strict=True)])
            for name in found[0]
        }

    def set_volt_var(self, on: FloatArray, v_pu: FloatArray, q_kvar: FloatArray, response_s: ArrayLike) -> None:
        """Follow these curves from now on, as written from outside: points (n, k), a device with `on` (n,) 0 has none.

        response_s: one for all or (n,). The lag goes on from where it is. The last point of a shorter curve stands
        repeated to the end of its row.
        """
        responses_s = np.broadcast_to(np.asarray(response_s, dtype=np.float64), self.rated_kva.shape)
        for block, s in zip(self._blocks, self._slices, strict=True):
            block.set_volt_var(on[s], v_pu[s], q_kvar[s], responses_s[s])
        self._q_told = b""

    def set_maxima(self, s_pu: FloatArray, q_injected_pu: FloatArray, q_absorbed_pu: FloatArray) -> None:
        """Carry no more apparent power, and inject and absorb no more reactive power, from the next step on.

        Each (n,), as a part from 0 to 1 of what the devices are made for.
        """
        for block, s in zip(self._blocks, self._slices, strict=True):
            block.set_maxima(s_pu[s], q_injected_pu[s], q_absorbed_pu[s])

    def set_permit_service(self, permitted: ArrayLike) -> None:
        """Permit service, or not, from the next step on: (n,) or one for all."""
        where = self._everywhere(permitted)
        for block, s in zip(self._blocks, self._slices, strict=True):
            block.set_permit_service(where[s])

    def _everywhere(self, value: ArrayLike) -> BoolArray:
        return np.broadcast_to(np.asarray(value, dtype=np.bool_), self.rated_kva.shape).copy()

    # --- behaviour -----------------------------------------------------------------------------------

    def step(
        self, now_ns: int, seen: Seen, wanted_kw: FloatArray, band_kw: Band | None, limit_kw: FloatArray | None = None
    ) -> tuple[FloatArray, FloatArray]:
        """Return P, kW, and Q, kvar, (n,) at `now_ns`. P may be `wanted_kw` itself.

        wanted_kw: what the source would do. band_kw: the least and the most that it can do; None: a source that only
        injects, from nothing to `wanted_kw`. limit_kw: a limit of active power from outside, if there is one.
        """
        if len(self._blocks) == 1:
            return self._blocks[0].step(now_ns, seen, wanted_kw, band_kw, limit_kw)
        p_kw, q_kvar = np.empty(self.rated_kva.shape), np.empty(self.rated_kva.shape)
        for block, s in zip(self._blocks, self._slices, strict=True):
            limit, band = None if limit_kw is None else limit_kw[s], band_kw and (band_kw[0][s], band_kw[1][s])
            p_kw[s], q_kvar[s] = block.step(now_ns, seen.part(s), wanted_kw[s], band, limit)
        return p_kw, q_kvar

    @staticmethod
    def where_alive(v_pu: FloatArray, *powers: FloatArray) -> tuple[FloatArray, ...]:
        """Return powers (n,) that are 0 where there is no voltage: a store neither gives nor takes anything there."""
        is_dead = v_pu <= 0.0
        return tuple(np.where(is_dead, 0.0, power) for power in powers) if is_dead.any() else powers

    def q_kvar(
        self, now_ns: int, v_pu: FloatArray, share: FloatArray | float = 1.0, p_kw: FloatArray | None = None
    ) -> FloatArray:
        """Return the reactive power (n,) that the functions ask for, within `share` of the capability."""
        shares = np.broadcast_to(np.asarray(share, dtype=np.float64), v_pu.shape)
        return self._joined(lambda b, s: b.q_kvar(now_ns, v_pu[s], shares[s], None if p_kw is None else p_kw[s]))

    def within_rating(self, p_kw: FloatArray, q_kvar: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return both powers (n,) as the rating can carry them; with constant power factor Q follows P."""
        p, q = np.empty(p_kw.shape), np.empty(p_kw.shape)
        for block, s in zip(self._blocks, self._slices, strict=True):
            p[s], q[s] = block.within_rating(p_kw[s], q_kvar[s])
        return p, q

    def left_by_pf_kw(self, p_kw: FloatArray) -> FloatArray:
        """Return what a constant power factor leaves of an injection (n,) within the rating: often `p_kw` itself."""
        if len(self._blocks) == 1:
            return self._blocks[0].left_by_pf_kw(p_kw)
        return self._joined(lambda b, s: b.left_by_pf_kw(p_kw[s]))

    @property
    def p_most_kw(self) -> FloatArray:
        """Most active power (n,) that the power factor leaves, injected or drawn."""
        return self._joined(lambda b, _: b.p_most_kw)

    @property
    def p_sure_kw(self) -> FloatArray:
        """Most active power (n,), injected or drawn, beside any reactive power that the functions may ask for."""
        return self._joined(lambda b, _: b.p_sure_kw)

    def p_room_kw(self, q_kvar: FloatArray) -> FloatArray:
        """Return the most active power (n,) beside `q_kvar`, injected or drawn; 0 out of service."""
        return self._joined(lambda b, s: b.p_room_kw(q_kvar[s]))

    def below_caps_kw(self, p_kw: FloatArray) -> FloatArray:
        """Return powers (n,) as far as the active-power limit and volt-watt leave them at this instant."""
        return self._joined(lambda b, s: b.below_caps_kw(p_kw[s]))

    @property
    def in_service(self) -> BoolArray:
        """Who is in service (n,)."""
        return np.concatenate([b.in_service for b in self._blocks])

    @property
    def may_trip(self) -> BoolArray:
        """Where (n,) the time that the standard obliges to ride through is over. The model stays connected."""
        return np.concatenate([b.may_trip for b in self._blocks])

    def _joined(self, of: Callable[[Block, slice], FloatArray]) -> FloatArray:
        if len(self._blocks) == 1:
            return of(self._blocks[0], self._slices[0])
        return np.concatenate([of(b, s) for b, s in zip(self._blocks, self._slices, strict=True)])


def _slices(n: int) -> list[slice]:
    """Return slices of n devices, about BLOCK in each."""
    edges = np.linspace(0, n, max(1, round(n / BLOCK)) + 1).astype(int).tolist()
    return [slice(first, last) for first, last in pairwise(edges)]


def _part(value: NDArray[np.float64], s: slice, n: int) -> NDArray[np.float64]:
    return value[s] if value.shape == (n,) and n > 1 else value
