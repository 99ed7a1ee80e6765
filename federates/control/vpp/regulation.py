"""Frequency regulation: members follow a signal, up and down around what they would do otherwise.

Headroom of `capacity_kw` is held back from later services in both directions, in proportion to what each device has,
and deployed by the signal `r` of -1 to 1:

    deployed = r capacity        response = sum p - base - what reserve deployed

with the base point `base` that other services ask for, as far as it is not cut (`constraints`). A signal takes and
gives the same energy over time, but what losses take of it is missing in the stores. So the base point of members at
rest leans towards `centre_soc_pu`:

    base = -lean capacity clip((centre - soc) / 0.5, -1, 1)      soc: of all members, weighted by what they hold

Told are `signal_kw` of now, and `response_kw`, measured at the last instant: it belongs to the signal of then. Of these
two PJM's scores for correlation, delay and precision are made (check `pjm-score`), which search for the delay.
`lacking_kw` is the part of the capacity that members did not have.
"""

from __future__ import annotations

from typing import ClassVar, Literal, NamedTuple

import numpy as np
from pydantic import Field

from derloop.contract import FloatArray, Port, Values
from derloop.kind import PlaceError
from derloop.memory import remembers
from federates.control.vpp.dispatch import Dispatch, share
from federates.control.vpp.forecast import Forecast, ForecastColumn
from federates.control.vpp.service import Decides, Now, ServiceSettings, Stand


class RegulationSignal(ServiceSettings):
    """Follow a regulation signal."""

    decides: ClassVar[tuple[Decides, ...]] = ("headroom",)
    kind: Literal["frequency-regulation"] = Field(description="Which service.", examples=["frequency-regulation"])
    capacity_kw: float = Field(gt=0.0, le=1e9, description="What is offered, up and down, kW.", examples=[500.0])
    signal: ForecastColumn = Field(
        description="The signal over the run, -1 to 1; positive: inject more.",
        examples=[{"file": "profiles/regulation_signal.csv", "column": "reg_d_pu"}],
    )
    centre_soc_pu: float | None = Field(
        default=0.5, ge=0.0, le=1.0, description="Where states of charge are led; null: nowhere.", examples=[0.5]
    )
    lean_pu: float = Field(default=0.1, ge=0.0, le=1.0, description="How strongly, pu of the capacity.", examples=[0.1])


class _State(NamedTuple):
    signal_kw: float = 0.0
    response_kw: float = 0.0
    lacking_kw: float = 0.0


@remembers("_told", "_held_kw", "_deployed_kw")
class Regulator:
    """The service. State: what it deployed, of all members together."""

    def __init__(self, settings: RegulationSignal, stand: Stand) -> None:
        self._settings = settings
        self._signal = Forecast(settings.signal, (*stand.path, "signal"), stand)
        _check_signal(self._signal, stand)
        self._told = _State()
        self._held_kw = self._deployed_kw = 0.0
        self.inputs: dict[str, Port] = {}
        self.outputs = {name: Port("kW", (stand.context.name,)) for name in _State._fields}

    def advance(self) -> None:
        self._held_kw = self._deployed_kw

    def serve(self, now: Now, dispatch: Dispatch) -> Dispatch:
        capacity_kw, signal = self._settings.capacity_kw, self._signal.now(now.time_ns)
        led = self._led(now, dispatch)
        up_kw = share(capacity_kw, np.maximum(led.high_kw - led.p_kw, 0.0))
        down_kw = share(min(capacity_kw, led.room_kw), np.maximum(led.p_kw - led.low_kw, 0.0))
        deployed_kw = signal * (up_kw if signal > 0.0 else down_kw)
        has_kw = min(float(up_kw.sum()), float(down_kw.sum()))
        others_kw = now.deployed_kw - self._held_kw
        response_kw = float(now.members.p_kw.sum()) - now.base_kw - others_kw
        self._deployed_kw = float(deployed_kw.sum())
        self._told = _State(signal * capacity_kw, response_kw, capacity_kw - has_kw)
        return led.kept(up_kw, down_kw, deployed_kw)

    def told(self) -> Values:
        return {name: np.array([value]) for name, value in self._told._asdict().items()}

    def _led(self, now: Now, dispatch: Dispatch) -> Dispatch:
        """Return the dispatch with a base point that leans towards the wanted state of charge, of members at rest."""
        centre = self._settings.centre_soc_pu
        stores = now.members.soc_pu >= 0.0
        if centre is None or dispatch.total_kw != 0.0 or not stores.any():
            return dispatch
        soc_pu = _mean_soc_pu(now, stores)
        lean_kw = self._settings.lean_pu * self._settings.capacity_kw
        return dispatch.toward(-lean_kw * float(np.clip((centre - soc_pu) / 0.5, -1.0, 1.0)), stores)


def _mean_soc_pu(now: Now, stores: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> float:
    held: FloatArray = np.where(stores, now.members.discharging_kwh + now.members.charging_kwh, 0.0)
    weights = held if held.sum() > 0.0 else stores.astype(float)
    return float((weights * now.members.soc_pu).sum() / weights.sum())


def _check_signal(signal: Forecast, stand: Stand) -> None:
    least, most = signal.range
    if least < -1.0 or most > 1.0:
        what = f"a regulation signal is between -1 and 1, and this one goes from {least:g} to {most:g}"
        raise PlaceError([((*stand.path, "signal"), what)])
