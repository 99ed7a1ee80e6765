"""Voltage support: members inject or draw more where a voltage would leave its band, by active power.

What earlier services ask for is moved as little as it takes, at the places that have the most effect (`grid.py`), and
within what those services allow: the sum of all powers keeps its bounds. `support_kw` is how much was moved, all
devices together.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from derloop.contract import Port, Values
from federates.control.vpp.dispatch import Dispatch
from federates.control.vpp.grid import FeederLimits, Room, asked_of
from federates.control.vpp.service import Decides, Now, ServiceSettings, Stand


class VoltageSupport(ServiceSettings, FeederLimits):
    """Keep voltages, and loadings if asked to, within limits by active power."""

    decides: ClassVar[tuple[Decides, ...]] = ("voltage",)
    kind: Literal["voltage-support"] = Field(description="Which service.", examples=["voltage-support"])


class VoltageSupporter:
    """The service. It remembers nothing but what it tells."""

    def __init__(self, settings: VoltageSupport, stand: Stand) -> None:
        self._grid = asked_of(settings, stand.fleets, stand.context, stand.path)
        self._support_kw = 0.0
        self.inputs = self._grid.inputs
        self.outputs = {"support_kw": Port("kW", (stand.context.name,))}

    def advance(self) -> None:
        """Nothing is remembered."""

    def serve(self, now: Now, dispatch: Dispatch) -> Dispatch:
        self._support_kw = 0.0
        if now.is_deaf:
            return dispatch
        room = Room(dispatch.low_kw, dispatch.high_kw)
        moved_kw = self._grid.kept(dispatch.p_kw, room, now.inputs, now.members) - dispatch.p_kw
        self._support_kw = float(np.abs(moved_kw).sum())
        supported = dispatch.moved(moved_kw)
        return supported.toward(supported.total_kw)

    def told(self) -> Values:
        return {"support_kw": np.array([self._support_kw])}
