"""Linear programs, solved by HiGHS: the same answer on every machine that has the same version of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from derloop.contract import FloatArray
from derloop.errors import DerloopError


@dataclass(slots=True)
class LinearProgram:
    """Minimise cost @ x with low <= x <= high and row_low <= A x <= row_high."""

    cost: FloatArray
    low: FloatArray
    high: FloatArray
    rows: list[tuple[FloatArray, FloatArray, FloatArray]] = field(default_factory=list)
    """Columns, factors, and the two bounds of each row."""
    whole: tuple[int, ...] = ()
    """Columns that must be whole numbers."""

    def row(self, columns: list[int], factors: list[float], low: float, high: float) -> None:
        """Add a row."""
        self.rows.append((np.array(columns), np.array(factors, float), np.array([low, high])))

    def solved(self) -> FloatArray:
        """Return the best x; raises DerloopError where there is none."""
        import highspy

        solver = highspy.Highs()  # type: ignore[no-untyped-call]
        for option, value in (("output_flag", False), ("threads", 1), ("random_seed", 0), ("parallel", "off")):
            solver.setOptionValue(option, value)
        solver.passModel(self._model(highspy))
        solver.run()
        status = solver.getModelStatus()
        if status != highspy.HighsModelStatus.kOptimal:
            raise DerloopError(f"a plan was not found: HiGHS says {solver.modelStatusToString(status)}")
        return np.array(solver.getSolution().col_value)

    def _model(self, highspy: Any) -> Any:
        lp = highspy.HighsLp()
        lp.num_col_, lp.num_row_ = self.cost.size, len(self.rows)
        lp.col_cost_, lp.col_lower_, lp.col_upper_ = self.cost, self.low, self.high
        lp.row_lower_ = np.array([bounds[0] for _, _, bounds in self.rows])
        lp.row_upper_ = np.array([bounds[1] for _, _, bounds in self.rows])
        matrix = lp.a_matrix_
        matrix.format_ = highspy.MatrixFormat.kRowwise
        matrix.start_ = np.cumsum([0, *(len(columns) for columns, _, _ in self.rows)])
        matrix.index_ = np.concatenate([columns for columns, _, _ in self.rows])
        matrix.value_ = np.concatenate([factors for _, factors, _ in self.rows])
        if self.whole:
            kinds = highspy.HighsVarType
            lp.integrality_ = [kinds.kInteger if i in self.whole else kinds.kContinuous for i in range(self.cost.size)]
        return lp
