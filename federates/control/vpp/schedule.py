"""Following a schedule: the sum of what the members inject is what was promised for each time.

    p = s(t) + I        I(t) = I(t-) + gain (s(t-) - measured(t-) + deployed(t-))

with the schedule `s` from a profile, positive when injected, and what was measured of the last step, less what another
service deployed then: `I` makes up for members that do other than asked. It is 0 while all of the capability is in use.
"""

from __future__ import annotations

from typing import ClassVar, Literal, NamedTuple

import numpy as np
from pydantic import Field

from derloop.contract import Port, Values
from derloop.memory import remembers
from federates.control.vpp.dispatch import Dispatch
from federates.control.vpp.forecast import Forecast, ForecastColumn
from federates.control.vpp.service import Decides, Now, ServiceSettings, Stand


class Schedule(ServiceSettings):
    """Inject what a schedule says, all members together."""

    decides: ClassVar[tuple[Decides, ...]] = ("power", "recharge")
    kind: Literal["schedule"] = Field(description="Which service.", examples=["schedule"])
    power: ForecastColumn = Field(
        description="What to inject over the run, kW; negative: to draw.",
        examples=[{"file": "profiles/plant_schedule.csv", "column": "p_kw"}],
    )
    gain: float = Field(
        default=0.2,
        ge=0.0,
        le=1.0,
        description="Share of what lacked in the last step that is added to what is asked.",
        examples=[0.2],
    )


class _State(NamedTuple):
    integral_kw: float = 0.0
    wanted_kw: float | None = None
    """By the schedule, for the last step."""


@remembers("_held", "_latest")
class Follower:
    """The service. State: what is added to the schedule."""

    def __init__(self, settings: Schedule, stand: Stand) -> None:
        self._gain = settings.gain
        self._schedule = Forecast(settings.power, (*stand.path, "power"), stand)
        self._held = self._latest = _State()
        self.inputs: dict[str, Port] = {}
        self.outputs = {"schedule_kw": Port("kW", (stand.context.name,))}

    def advance(self) -> None:
        self._held = self._latest

    def serve(self, now: Now, dispatch: Dispatch) -> Dispatch:
        wanted_kw, integral_kw = self._schedule.now(now.time_ns), self._integral_kw(now)
        served = dispatch.toward(wanted_kw + integral_kw, hours=now.hours)
        is_full = abs(served.total_kw - wanted_kw - integral_kw) > 1e-9 * (1.0 + abs(wanted_kw))
        self._latest = _State(0.0 if is_full else integral_kw, wanted_kw)
        return served.bounded(served.total_kw, served.total_kw)

    def told(self) -> Values:
        wanted_kw = self._latest.wanted_kw
        return {"schedule_kw": np.array([self._schedule.now(0) if wanted_kw is None else wanted_kw])}

    def _integral_kw(self, now: Now) -> float:
        held = self._held
        if held.wanted_kw is None:
            return 0.0
        lacked_kw = held.wanted_kw - float(now.members.p_kw.sum()) + now.deployed_kw
        return held.integral_kw + self._gain * lacked_kw
