"""What the registers of n devices show of what they measure (models 701 and 713)."""

from __future__ import annotations

import numpy as np

from hil.emulator.registers import Registers
from hil.inverter.measurements import MEASURED, Measurements
from hil.sunspec.points import BoolArray, FloatArray
from hil.sunspec.table import PointTable

_DERIVED = ("701.VA", "701.A", "701.St", "701.ConnSt")


class Measured:
    """Shows measurements; VA, A, St, ConnSt and LLV are derived from them."""

    def __init__(self, registers: Registers) -> None:
        self._registers = registers
        types = PointTable.of_image(registers.maps, ["701.ACType"]).decode(registers.images)
        self._three_phase: BoolArray = types[:, 0] == 2
        self._table = PointTable.of_image(registers.maps, (*MEASURED, *_DERIVED))

    def show(self, measured: Measurements) -> None:
        """Raises SunSpecValueError if a value does not fit its register."""
        parts = [f(measured, self._three_phase) for f in (_measured_values, _derived_values)]
        self._table.encode(np.hstack(parts), self._registers.images)


def _measured_values(measured: Measurements, three_phase: BoolArray) -> FloatArray:
    """Return the values of `MEASURED` (n, p), with line-to-line voltages of balanced phases if not given."""
    values = measured.table()
    column = MEASURED.index("701.LLV")
    balanced = np.where(three_phase, np.sqrt(3.0) * measured.v_ln_v, np.nan)
    values[:, column] = np.where(np.isnan(measured.v_ll_v), balanced, measured.v_ll_v)
    return values


def _derived_values(measured: Measurements, three_phase: BoolArray) -> FloatArray:
    apparent = np.hypot(measured.p_w, measured.q_var)
    volts = np.where(measured.v_ln_v > 0, measured.v_ln_v, np.nan) * np.where(three_phase, 3.0, 1.0)
    on, connected = np.isin(measured.state, (2, 3, 4, 5)), np.isin(measured.state, (3, 4))
    return np.stack([apparent, apparent / volts, on.astype(np.float64), connected.astype(np.float64)], axis=1)
