"""Arbitrage: members charge while energy is cheap and discharge while it is dear.

By a rule, `rule-based`: they charge below one price and discharge above another, with all that they have. Or by a plan,
`rolling-horizon`: the cheapest one for the prices to come (`plan.py`), made anew at each `replan_s`, of which the
interval of now is followed. Prices to come are those of the file with errors (`forecast.py`); day-ahead prices and
time-of-use tariffs are known, `sigma_pu` 0. The price of now is what `reads` says, or the file's.

A plan is one of stores alone, and moves these: what an engine gives costs something else than what was bought before.
By a rule engines give, too. Energy that is left at the end of a plan is worth what replacing it costs: the mean of the
plan's prices, unless `worth_per_kwh` says otherwise. The plan leaves what other services keep, and keeps the feeder
under a limit, `keeps_under`, where a forecast of its load is given.
"""

from __future__ import annotations

from typing import ClassVar, Literal, NamedTuple, Self

import numpy as np
from pydantic import Field, model_validator

from derloop.contract import FloatArray, Port, Values
from derloop.kind import Settings
from derloop.memory import remembers
from derloop.texts import Currency
from federates.control.vpp.dispatch import Dispatch
from federates.control.vpp.forecast import Forecast, ForecastColumn, Horizon, HorizonSettings, store_of
from federates.control.vpp.plan import Limit, Market, cheapest
from federates.control.vpp.reading import Reading, Signal
from federates.control.vpp.service import Decides, Now, ServiceSettings, Stand


class PlannedLimit(Settings):
    """A limit of what the feeder draws, that a plan keeps to."""

    limit_kw: float = Field(gt=0.0, le=1e9, description="What the feeder may draw, kW.", examples=[2800.0])
    forecast: ForecastColumn = Field(
        description="What the feeder draws without the members, as expected, kW.",
        examples=[{"file": "profiles/load_shapes_summer.csv", "column": "residential_pu", "scale": 3500}],
    )


class Arbitrage(ServiceSettings):
    """Charge while energy is cheap, discharge while it is dear."""

    decides: ClassVar[tuple[Decides, ...]] = ("power", "recharge")
    kind: Literal["arbitrage"] = Field(description="Which service.", examples=["arbitrage"])
    method: Literal["rule-based", "rolling-horizon"] = Field(
        default="rolling-horizon", description="By thresholds, or by a plan.", examples=["rule-based"]
    )
    price: ForecastColumn = Field(
        description="Price over the run, for each kWh.",
        examples=[{"file": "profiles/prices_july.csv", "column": "per_kwh", "sigma_pu": 0.1}],
    )
    reads: Signal | None = Field(
        default=None,
        description="The price that holds, as federate.port; without it, the file's.",
        examples=["retail.price_per_kwh"],
    )
    currency: Currency = Field(default="USD", description="Of the prices.", examples=["EUR"])
    charge_below: float | None = Field(
        default=None, ge=-1e4, le=1e4, description="Rule: charge below this price.", examples=[0.12]
    )
    discharge_above: float | None = Field(
        default=None, ge=-1e4, le=1e4, description="Rule: discharge above this price.", examples=[0.3]
    )
    horizon: HorizonSettings = Field(
        default=HorizonSettings(), description="How far plans look.", examples=[{"ahead_h": 24, "interval_s": 900}]
    )
    wear_per_kwh: float = Field(
        default=0.0, ge=0.0, le=1e4, description="What discharging a kWh costs besides.", examples=[0.05]
    )
    worth_per_kwh: float | None = Field(
        default=None, ge=-1e4, le=1e4, description="What a kWh is worth that a plan leaves.", examples=[0.15]
    )
    keeps_under: PlannedLimit | None = Field(
        default=None,
        description="A limit of what the feeder draws that plans keep to.",
        examples=[{"limit_kw": 2800, "forecast": {"file": "profiles/site.csv", "column": "load_kw"}}],
    )

    @model_validator(mode="after")
    def _has_its_thresholds(self) -> Self:
        given = [self.charge_below is not None, self.discharge_above is not None]
        if any(given) != all(given) or all(given) != (self.method == "rule-based"):
            raise ValueError("charge_below and discharge_above are what method 'rule-based' needs, and no other")
        if self.charge_below is not None and self.charge_below > (self.discharge_above or 0.0):
            raise ValueError("charge_below is more than discharge_above: between them it would do both")
        return self

    @model_validator(mode="after")
    def _always_has_a_plan(self) -> Self:
        horizon = self.horizon
        if self.method == "rolling-horizon" and horizon.replan_s > horizon.ahead_h * 3600.0:
            what = f"replan_s {horizon.replan_s:g} is longer than ahead_h {horizon.ahead_h:g}"
            raise ValueError(f"horizon: {what}: between two plans there would be none")
        return self


class _State(NamedTuple):
    """The plan that is followed: from when on, until when each interval lasts, and its powers."""

    made_ns: int | None = None
    ends_ns: tuple[int, ...] = ()
    p_kw: tuple[float, ...] = ()
    asked_kw: float = 0.0


@remembers("_held", "_price_now", "_latest")
class Arbitrageur:
    """The service. State: the plan."""

    def __init__(self, settings: Arbitrage, stand: Stand) -> None:
        self._settings, self._stand = settings, stand
        self._horizon = _horizon(settings, stand)
        self._price = Forecast(settings.price, (*stand.path, "price"), stand)
        limit, path = settings.keeps_under, (*stand.path, "keeps_under", "forecast")
        self._load = None if limit is None else Forecast(limit.forecast, path, stand)
        unit = f"{settings.currency}/kWh"
        self._reading = None if settings.reads is None else Reading(settings.reads, unit)
        self._held = self._latest = _State()
        self._price_now = 0.0
        self.inputs = {} if self._reading is None else self._reading.inputs
        labels = (stand.context.name,)
        self.outputs = {"price_per_kwh": Port(unit, labels), "planned_kw": Port("kW", labels)}

    def advance(self) -> None:
        self._held = self._latest

    def serve(self, now: Now, dispatch: Dispatch) -> Dispatch:
        self._price_now = self._price.now(now.time_ns)  # of the file, where none is heard
        if self._reading is not None and not now.is_deaf:
            self._price_now = self._reading.value(now.inputs)
        planned_kw = self._ruled_kw() if self._horizon is None else self._planned_kw(now, dispatch)
        members = now.members
        planned_kw = min(max(planned_kw, -members.charge_kw), members.discharge_kw)
        self._latest = self._latest._replace(asked_kw=planned_kw)
        if planned_kw == 0.0:
            return dispatch
        able = None if self._horizon is None else members.soc_pu >= 0.0
        return dispatch.toward(planned_kw, able, now.hours).settled()

    def told(self) -> Values:
        return {"price_per_kwh": np.array([self._price_now]), "planned_kw": np.array([self._latest.asked_kw])}

    def _ruled_kw(self) -> float:
        """Return what the rule asks for: all that can be, or nothing."""
        s = self._settings
        if s.charge_below is not None and self._price_now < s.charge_below:
            return -np.inf
        return np.inf if s.discharge_above is not None and self._price_now > s.discharge_above else 0.0

    def _planned_kw(self, now: Now, dispatch: Dispatch) -> float:
        assert self._horizon is not None
        state = self._held
        if self._horizon.is_due(now.time_ns, state.made_ns):
            state = self._planned(now, dispatch, self._horizon)
        self._latest = state
        at = int(np.searchsorted(state.ends_ns, now.time_ns, side="right"))
        return state.p_kw[at] if at < len(state.p_kw) else 0.0

    def _planned(self, now: Now, dispatch: Dispatch, horizon: Horizon) -> _State:
        middles, hours = horizon.intervals(now.time_ns)
        price = self._price.over(middles, now.time_ns)
        price[0] = self._price_now if self._reading is not None else price[0]
        store = store_of(now, self._stand.efficiency_pu, dispatch)
        s = self._settings
        worth = float(price.mean()) if s.worth_per_kwh is None else s.worth_per_kwh
        p_kw = cheapest(store, hours, Market(price, s.wear_per_kwh, worth), self._limit(middles, now.time_ns))
        ends_ns = now.time_ns + np.cumsum(np.round(hours * 3.6e12)).astype(np.int64)
        return _State(now.time_ns, tuple(ends_ns.tolist()), tuple(p_kw.tolist()))

    def _limit(self, middles: np.ndarray[tuple[int], np.dtype[np.int64]], now_ns: int) -> Limit | None:
        limit = self._settings.keeps_under
        if limit is None or self._load is None:
            return None
        load_kw: FloatArray = self._load.over(middles, now_ns)
        return Limit(load_kw, limit.limit_kw)


def _horizon(settings: Arbitrage, stand: Stand) -> Horizon | None:
    if settings.method == "rule-based":
        return None
    return Horizon(settings.price, settings.horizon, (*stand.path, "price"), stand)
