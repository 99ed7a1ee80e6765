"""Piecewise linear curves of n devices: level beyond the first and the last point."""

from __future__ import annotations

import numpy as np

from derloop.contract import FloatArray


class Curve:
    """y(x) through points (k, 1), one curve for all, or (k, n), one for each; the x do not fall.

    As a sum of clipped pieces, `y = y1 + sum m_j (min(max(x, x_j), x_j+1) - x_j)`, which needs no search. Two points at
    one x are taken as one: the piece between them has no slope. All pieces are computed at once, as rows.
    """

    def __init__(self, x_points: FloatArray, y_points: FloatArray) -> None:
        x, y = np.broadcast_arrays(np.asarray(x_points, np.float64), np.asarray(y_points, np.float64))
        width, height = np.diff(x, axis=0), np.diff(y, axis=0)
        slope = np.divide(height, width, out=np.zeros_like(width), where=width > 0.0)
        pieces = np.flatnonzero((slope != 0.0).any(axis=1))
        pieces = pieces if pieces.size else np.zeros(1, np.intp)
        self._numbers = y[:1], x[pieces], x[pieces + 1], slope[pieces]
        self._write_out(x.shape[1])

    def _write_out(self, n: int) -> None:
        """Write every number out for each of n devices: numpy takes twice as long with one that stands for all."""
        first, *numbers = (np.array(np.broadcast_to(rows, (len(rows), n))) for rows in self._numbers)
        self._first, (self._left, self._right, self._slope) = first[0], numbers
        self._room = np.empty(self._left.shape)
        self._row, *self._more_rows = self._room

    def __call__(self, x: FloatArray) -> FloatArray:
        """Return y (n,) at x (n,): a new array."""
        if x.shape != self._first.shape:
            self._write_out(x.size)
        room = self._room
        np.maximum(x, self._left, out=room)
        np.minimum(room, self._right, out=room)
        np.subtract(room, self._left, room)
        np.multiply(room, self._slope, room)
        y: FloatArray = np.add(self._first, self._row)
        for row in self._more_rows:
            np.add(y, row, y)
        return y
