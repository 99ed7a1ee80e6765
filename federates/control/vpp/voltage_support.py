"""Voltage support: members inject or draw more where a voltage would leave its band, by reactive power if they can.

First the reactive powers of those who take `q_set_pu` are moved from 0, no further than it takes, most where that has
the most effect (`grid.py`), within what their ratings leave beside the active power that is asked of them
(`reactive.py`):

    |Q| <= q_max          Q^2 + P^2 <= S^2

Active power is moved only for what is still outside, within what earlier services allow: the sum of all powers keeps
its bounds. Whoever was moved, later services may move further, and not back. `support_kvar` and `support_kw` are how
much was moved, all devices together. A battery tells what active power it can do beside the reactive power that it
gives, so at `q_max` of 0.44 pu services have 0.9 pu of it left.

If what it reads of the feeder is too old, it asks for no reactive power and moves nothing.
"""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from derloop.contract import FloatArray, Port, Values
from derloop.memory import remembers
from federates.control.vpp.dispatch import Dispatch
from federates.control.vpp.grid import FeederLimits, Room, asked_of
from federates.control.vpp.members import Pattern
from federates.control.vpp.reactive import Reactive, takers
from federates.control.vpp.service import Decides, Now, ServiceSettings, Stand


class VoltageSupport(ServiceSettings, FeederLimits):
    """Keep voltages, and loadings if asked to, within limits by reactive power, and by active power for the rest."""

    decides: ClassVar[tuple[Decides, ...]] = ("voltage",)
    kind: Literal["voltage-support"] = Field(description="Which service.", examples=["voltage-support"])
    reactive: tuple[Pattern, ...] | None = Field(
        default=None,
        max_length=1000,
        description="Patterns of fleets whose reactive power is set, members or not (`q_commanded`). Without it, the "
        "members that take it.",
        examples=[["batteries", "rooftops"]],
    )


@remembers("_told")
class VoltageSupporter:
    """The service. It remembers nothing but what it tells."""

    def __init__(self, settings: VoltageSupport, stand: Stand) -> None:
        names = takers(settings.reactive, stand.fleets, stand.context, (*stand.path, "reactive"))
        self._grid = asked_of(settings, stand.fleets, stand.context, stand.path, names)
        self._reactive = Reactive(names, stand.fleets, stand.context) if names else None
        labels = (stand.context.name,)
        self.inputs, self.outputs = dict(self._grid.inputs), {"support_kw": Port("kW", labels)}
        if self._reactive:
            self.inputs |= self._reactive.inputs
            self.outputs |= {"support_kvar": Port("kvar", labels), **self._reactive.outputs}
        self._silent_after_s = stand.fleets.silent_after_s
        self._told: dict[str, FloatArray] = {name: np.zeros(port.size) for name, port in self.outputs.items()}

    def advance(self) -> None:
        """Nothing is remembered."""

    def serve(self, now: Now, dispatch: Dispatch) -> Dispatch:
        self._told = {name: np.zeros(port.size) for name, port in self.outputs.items()}
        if self._grid.age_s(now.inputs) > min(self._silent_after_s, now.time_ns / 1e9):
            return dispatch
        values = self._grid.expected(dispatch.setpoints_kw, now.inputs, now.members)
        room = Room(dispatch.low_kw, dispatch.high_kw)
        if self._reactive:
            values, room = self._by_reactive_power(now, dispatch, values, room, self._reactive)
        moved_kw = self._grid.kept(dispatch.p_kw, values, room) - dispatch.p_kw
        self._told["support_kw"] = np.array([np.abs(moved_kw).sum()])
        supported = dispatch.moved(moved_kw)
        supported = supported.toward(supported.total_kw)
        low_kw = np.where(moved_kw > 0.0, supported.p_kw, supported.low_kw)
        return replace(supported, low_kw=low_kw, high_kw=np.where(moved_kw < 0.0, supported.p_kw, supported.high_kw))

    def _by_reactive_power(
        self, now: Now, dispatch: Dispatch, values: FloatArray, room: Room, reactive: Reactive
    ) -> tuple[FloatArray, Room]:
        """Move reactive powers; return the values with them, and what room they leave to active powers."""
        without = self._grid.without(values, reactive.measured_kvar(now.inputs))
        q_kvar, values = self._grid.supported(without, reactive.room(now.inputs, dispatch.setpoints_kw))
        self._told |= {"support_kvar": np.array([np.abs(q_kvar).sum()]), **reactive.parted(q_kvar)}
        return values, reactive.beside(q_kvar, room)

    def told(self) -> Values:
        return self._told
