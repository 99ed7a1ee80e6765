"""Where stands what the controls of a feeder move: tap changers and capacitor banks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from derloop.contract import FloatArray
from federates.grid import circuit


class Positions:
    """Those of one engine."""

    def __init__(self, dss: Any) -> None:
        api = dss._api_util
        self._dss, self._lib, self._ctx = dss, api.lib_unpatched, api.ctx

    def taps(self) -> FloatArray:
        """Return the tap number of each regulator."""
        taps = np.zeros(self._lib.ctx_RegControls_Get_Count(self._ctx))
        for index in range(len(taps)):
            self._lib.ctx_RegControls_Set_idx(self._ctx, index + 1)
            taps[index] = self._lib.ctx_RegControls_Get_TapNumber(self._ctx)
        return taps

    def set_taps(self, taps: FloatArray) -> None:
        for index, tap in enumerate(taps):
            self._dss.RegControls.Idx(index + 1)
            self._dss.RegControls.TapNumber(int(tap))

    def banks(self) -> list[list[int]]:
        """Return how each capacitor bank stands (`circuit.bank`); nothing where no control could switch one."""
        if not self._lib.ctx_CapControls_Get_Count(self._ctx):
            return []
        capacitors = self._dss.Capacitors
        states = []
        for _ in range(capacitors.First() and capacitors.Count()):
            states.append(circuit.bank(self._dss))
            capacitors.Next()
        return states

    def set_banks(self, states: Sequence[list[int]]) -> None:
        self._dss.Capacitors.First()
        for state in states:
            circuit.set_bank(self._dss, state)
            self._dss.Capacitors.Next()
