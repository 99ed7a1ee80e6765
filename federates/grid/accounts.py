"""Accounts by element: what each line loses, how long each node is outside of a band, and each line overloaded.

What is found at an instant holds until the next. All are counted from the first step on. What an instant tells is what
had passed until then; the sums of a run have its last step, too. Neutrals have no band, and are not dead.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from derloop.contract import FloatArray, Port
from derloop.kind import Settings
from derloop.memory import remembers
from federates.grid import inventory
from federates.grid.solver import Solver


class AccountSettings(Settings):
    """Losses and violations by element."""

    v_low_pu: float = Field(0.95, gt=0.0, lt=2.0, description="Voltages below are violations, pu.")
    v_high_pu: float = Field(1.05, gt=0.0, lt=2.0, description="Voltages above are violations, pu.")
    loading_pu: float = Field(1.0, gt=0.0, le=10.0, description="Loadings above are violations, pu of the rating.")

    @model_validator(mode="after")
    def _is_a_band(self) -> AccountSettings:
        if self.v_low_pu >= self.v_high_pu:
            raise ValueError(f"v_low_pu {self.v_low_pu:g} must be less than v_high_pu {self.v_high_pu:g}")
        return self


class _Count(NamedTuple):
    lost_kwh: FloatArray
    """(delivering,)"""
    outside_h: FloatArray
    """(nodes,), as is the next."""
    dead_h: FloatArray
    overloaded_h: FloatArray
    """(monitored,)"""


class _Rate(NamedTuple):
    """What is counted per hour, as `_Count`."""

    losses_kw: FloatArray
    outside: FloatArray
    dead: FloatArray
    overloaded: FloatArray


@remembers("_rate", "_now_ns", "_held", "_rate_held", "_latest")
class Accounts:
    """State: what was counted until the last instant, and what has held since."""

    def __init__(self, settings: AccountSettings, solver: Solver, monitored: tuple[str, ...]) -> None:
        self._settings, self._solver, self._monitored = settings, solver, monitored
        self._are_phases = inventory.are_phases(solver.nodes)
        self._elements = tuple(solver.elements.names[i] for i in solver.elements.delivery)
        sizes = len(self._elements), len(solver.nodes), len(solver.nodes), len(monitored)
        self._held = self._latest = _Count(*(np.zeros(n) for n in sizes))
        self._rate = self._rate_held = _Rate(*(np.zeros(n) for n in sizes))
        self._now_ns: int | None = None

    @property
    def outputs(self) -> dict[str, Port]:
        overloaded = {"overloaded_h": Port("h", self._monitored)} if self._monitored else {}
        return {
            "element_losses_kw": Port("kW", self._elements),
            "element_lost_kwh": Port("kWh", self._elements),
            "outside_h": Port("h", self._solver.nodes),
            "dead_h": Port("h", self._solver.nodes),
            **overloaded,
        }

    def take(self, now_ns: int, drawn: NDArray[np.complex128], v_pu: FloatArray, loading_pu: FloatArray) -> None:
        """Count what has held since the last instant, and take what holds from this one on."""
        if now_ns != self._now_ns:
            passed_h = 0.0 if self._now_ns is None else (now_ns - self._now_ns) / 3.6e12
            self._now_ns, self._held, self._rate_held = now_ns, self._latest, self._rate
            self._latest = _Count(*(n + rate * passed_h for n, rate in zip(self._held, self._rate_held, strict=True)))
        s, dead = self._settings, (v_pu == 0.0) & self._are_phases
        outside = ((v_pu < s.v_low_pu) | (v_pu > s.v_high_pu)) & ~dead & self._are_phases
        losses_kw = drawn[self._solver.elements.delivery].real
        overloaded = loading_pu > s.loading_pu
        self._rate = _Rate(losses_kw.copy(), outside.astype(float), dead.astype(float), overloaded.astype(float))

    def outcome(self) -> dict[str, FloatArray]:
        """Return the outputs of this instant."""
        count = self._latest
        overloaded = {"overloaded_h": count.overloaded_h} if self._monitored else {}
        return {
            "element_losses_kw": self._rate.losses_kw,
            "element_lost_kwh": count.lost_kwh,
            "outside_h": count.outside_h,
            "dead_h": count.dead_h,
            **overloaded,
        }

    def statistics(self, step_h: float) -> dict[str, float]:
        """Return the sums over all elements: energy lost, kWh, and hours of nodes and elements.

        step_h: how long holds what was found last.
        """
        count = _Count(*(n + rate * step_h for n, rate in zip(self._latest, self._rate, strict=True)))
        return {
            "lost_kwh": float(count.lost_kwh.sum()),
            "outside_node_h": float(count.outside_h.sum()),
            "dead_node_h": float(count.dead_h.sum()),
            "overloaded_h": float(count.overloaded_h.sum()),
        }
