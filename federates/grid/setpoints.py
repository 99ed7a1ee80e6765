"""What groups of elements are given in OpenDSS: powers as arrays, sources one by one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from derloop.contract import FloatArray
from federates.grid.batches import batch_of, numbers_of

AVOID_FULL_RECALC = 2
"""DSS C-API `SetterFlags_AvoidFullRecalc`: spares the rebuild of Y."""


class Setpoints:
    """P and Q of devices that were added, or of loads of the feeder file, written in two calls."""

    def __init__(self, dss: Any, element_class: str, names: Sequence[str]) -> None:
        """element_class: "Generator", what is given is injected then, or "Load": it is drawn. names: of that class."""
        api = dss._api_util
        self._lib, ffi = api.lib_unpatched, api.ffi
        self._set = self._lib.BatchOperation_Set
        self._batch, self._count = batch_of(dss, element_class, names), len(names)
        dss.Circuit.SetActiveElement(f"{element_class}.{names[0]}")
        properties = [name.lower() for name in dss.Element.AllPropertyNames()]
        self._indices = properties.index("kw") + 1, properties.index("kvar") + 1
        self.values = np.zeros((2, len(names)))
        """P and Q of each element, kW and kvar, in the element's own sign."""
        self.p_kw, self.q_kvar = self._rows = tuple(self.values)
        self._given = [b"", b""]
        self._pointers = tuple(ffi.from_buffer("double[]", values) for values in self._rows)

    def write(self) -> None:
        """Give the powers to the elements, unless they have them already.

        OpenDSS works on every element that is given a value, also the same one: a third of what a solution takes. It
        keeps the power factor of a generator whose P is given, so that Q, unless there is none, must follow again.
        """
        is_moved = False
        for at, values in enumerate(self._rows):
            given = values.tobytes()
            if given != self._given[at] or (is_moved and values.any()):
                is_moved = True
                self._lib.Batch_Float64Array(
                    self._batch, self._count, self._indices[at], self._set, self._pointers[at], AVOID_FULL_RECALC
                )
                self._given[at] = given


class Sources:
    """Magnitude and angle behind the reactance of voltage sources.

    They are given one by one, by the calls that are theirs, each time that they are written: a batch builds Y anew for
    a source, whatever the flag says, on a thousand nodes ten times what a solution takes.
    """

    def __init__(self, dss: Any, names: Sequence[str]) -> None:
        api = dss._api_util
        self._lib, self._ctx = api.lib_unpatched, api.ctx
        self._numbers = numbers_of(dss, "Vsource", names)
        self.v_pu: FloatArray = np.zeros(len(names))
        self.angle_deg: FloatArray = np.zeros(len(names))

    def write(self) -> None:
        for number, v_pu, angle_deg in zip(self._numbers, self.v_pu.tolist(), self.angle_deg.tolist(), strict=True):
            self._lib.ctx_Vsources_Set_idx(self._ctx, number)
            self._lib.ctx_Vsources_Set_pu(self._ctx, v_pu)
            self._lib.ctx_Vsources_Set_AngleDeg(self._ctx, angle_deg)
