"""Generators of the feeder file that hold a voltage (OpenDSS model 3): each iteration moves the vars that they give.

Where they stand after a solution is therefore state of a run. OpenDSS tells them as a product that is rounded twice
(`0.001 n Q`, of n phases), from which a quarter of all Q cannot be found again. So after each solution they are given
what they tell, in every run, whether its state is kept or not: their last digits move by that.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from derloop.contract import FloatArray
from derloop.memory import remembers

CONSTANT_VOLTAGE = 3
"""OpenDSS generator model: constant P, and magnitude of voltage."""


@remembers("_kvar")
class Holding:
    """The generators in service that hold a voltage: a few, and none in most feeders. State: what each was given."""

    def __init__(self, dss: Any) -> None:
        api = dss._api_util
        self._lib, self._ctx = api.lib_unpatched, api.ctx
        found = list(_holding(dss))
        self._numbers = [number for number, _, _ in found]
        self.element_names = [name for _, name, _ in found]
        self.most_kvar = np.array([kvar for _, _, kvar in found])
        """That limit of each (k,) which is farther from none."""
        self._kvar = np.zeros(len(found))

    def __len__(self) -> int:
        return len(self._numbers)

    def settle(self) -> None:
        """Let each give what it tells that it gives, kvar."""
        if self._numbers:
            self._kvar = np.array([self._told_kvar(number) for number in self._numbers])
            self.have(self._kvar)

    def settle_again(self) -> None:
        """Let each give what it was given when it settled last."""
        self.have(self._kvar)

    def have(self, kvar: FloatArray) -> None:
        """Let each give this (k,), kvar, from the next iteration on; neither limits nor matrix follow by themselves."""
        for number, each in zip(self._numbers, kvar.tolist(), strict=True):
            self._lib.ctx_Generators_Set_idx(self._ctx, number)
            self._lib.ctx_Generators_Set_kvar(self._ctx, each)

    def _told_kvar(self, number: int) -> float:
        self._lib.ctx_Generators_Set_idx(self._ctx, number)
        return float(self._lib.ctx_Generators_Get_kvar(self._ctx))


def _holding(dss: Any) -> Iterator[tuple[int, str, float]]:
    """Yield number, full name and farther limit, kvar, of each that is in service."""
    generators = dss.Generators
    for _ in range(generators.First() and generators.Count()):
        if generators.Model() == CONSTANT_VOLTAGE:
            name = f"generator.{generators.Name()}"
            dss.Circuit.SetActiveElement(name)
            limits = (float(dss.Properties.Value(of)) for of in ("maxkvar", "minkvar"))
            yield int(generators.Idx()), name, max(limits, key=abs)
        if not generators.Next():
            break
