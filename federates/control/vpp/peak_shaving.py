"""Peak shaving of a feeder, or of anything that is measured: keep what it draws under a limit.

At each step, from what was measured at the last instant, with the measured power positive when drawn:

    load = measured + sum p               what it would draw if the members rested
    high = the highest load of the last hold_s
    need = high - (limit - margin) + I    to be injected, where high is above limit - margin
    room = recharge_below - high          to be drawn, where that is positive

The hold keeps a load that comes and goes with the clouds from passing the limit each time that it comes back.
While charging the measured power stays at `recharge_below`, which is less than the limit, or below it: recharging makes
no new peak unless the load alone rises by their difference within one step. `I` makes up for members that do other than
asked:

    I(t) = max(0, I(t-) + gain (measured - (limit - margin)))

from the second step of shaving on. While all of the capability is in use it does not grow, and it is 0 when shaving
begins. Later services must not take back what was needed, nor draw more than the limit leaves, also not by headroom
that they deploy.

With a `forecast` of the load in place of a limit, the limit is the lowest level that stored energy can hold over the
horizon (`plan.py`), planned anew at each `replan_s`, with no energy or power that is held for earlier services, nor
energy below `reserve_soc_pu`, and recharging up to 80 % of it. The limit of a run never falls: a peak that was, was.
What counts is then the forecast for now, made a step ago, and how far it was off: `high = forecast + max(load -
forecast)`, over the last `hold_s`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, NamedTuple, Self

import numpy as np
from pydantic import Field, model_validator

from derloop.contract import Port, Values
from derloop.memory import remembers
from federates.control.vpp.dispatch import Dispatch
from federates.control.vpp.forecast import ForecastColumn, Horizon, HorizonSettings, store_of
from federates.control.vpp.plan import Store
from federates.control.vpp.reading import Reading, Signal
from federates.control.vpp.service import Decides, Now, ServiceSettings, Stand


class PeakShaving(ServiceSettings):
    """Keep what the feeder draws under a limit."""

    kind: Literal["peak-shaving"] = Field(description="Which service.", examples=["peak-shaving"])
    limit_kw: float | None = Field(
        default=None,
        gt=0.0,
        le=1e9,
        description="What the feeder may draw from the bulk system, kW. Without it, the lowest that stored energy can "
        "hold by the forecast.",
        examples=[3000.0],
    )
    reads: Signal = Field(
        default="grid.head_kw",
        description="Measurement of what the feeder draws, as federate.port.",
        examples=["grid.head_kw"],
    )
    margin_kw: float | None = Field(
        default=None, ge=0.0, description="How far below the limit to aim, kW. Without it, 1 % of it.", examples=[20.0]
    )
    recharges: bool = Field(
        default=True,
        description="Members recharge between peaks. False where another service decides on that.",
        examples=[False],
    )
    recharge_below_kw: float | None = Field(
        default=None,
        description="Members recharge while the feeder draws less than this, and up to it, kW. "
        "Without it, 80 % of the limit.",
        examples=[2200.0],
    )
    reserve_soc_pu: float = Field(
        default=0.0, ge=0.0, le=1.0, description="State of charge below which nobody discharges.", examples=[0.2]
    )
    recharge_to_soc_pu: float = Field(
        default=1.0, ge=0.0, le=1.0, description="State of charge from which on nobody charges.", examples=[0.9]
    )
    gain: float = Field(
        default=0.2,
        ge=0.0,
        le=1.0,
        description="Share of an excess over the aim that is added to what is asked, in each step.",
        examples=[0.2],
    )
    hold_s: float = Field(
        default=600.0,
        ge=0.0,
        le=86400.0,
        description="How long a load counts after it was measured, s: the highest one decides, as it may come back.",
        examples=[600.0],
    )
    forecast: ForecastColumn | None = Field(
        default=None,
        description="What is drawn without the members, as expected, kW: to plan the limit.",
        examples=[{"file": "profiles/site.csv", "column": "load_kw", "sigma_pu": 0.05}],
    )
    horizon: HorizonSettings = Field(
        default=HorizonSettings(), description="How far a plan of the limit looks.", examples=[{"ahead_h": 12}]
    )

    @property
    def decides(self) -> tuple[Decides, ...]:  # type: ignore[override]
        return ("power", "recharge") if self.recharges else ("power",)

    def aim_kw(self, limit_kw: float) -> float:
        """Return what the feeder is made to draw at a peak, kW."""
        return limit_kw - (0.01 * limit_kw if self.margin_kw is None else self.margin_kw)

    def recharge_kw(self, limit_kw: float) -> float:
        """Return what the feeder is made to draw at most while members recharge, kW."""
        return 0.8 * limit_kw if self.recharge_below_kw is None else self.recharge_below_kw

    @model_validator(mode="after")
    def _has_a_limit_or_a_forecast(self) -> Self:
        if (self.limit_kw is None) == (self.forecast is None):
            raise ValueError("needs one of limit_kw and forecast, by which a limit is planned, and not both")
        if self.limit_kw is None and self.recharge_below_kw is not None:
            raise ValueError("recharge_below_kw is for a limit_kw that is given: a planned one has its own 80 %")
        return self

    @model_validator(mode="after")
    def _recharges_below_its_aim(self) -> Self:
        limit_kw = self.limit_kw
        if limit_kw is not None and self.recharges and self.recharge_kw(limit_kw) > self.aim_kw(limit_kw):
            what = f"{self.recharge_kw(limit_kw):g} is above limit_kw less margin_kw, {self.aim_kw(limit_kw):g}"
            raise ValueError(f"recharging would make a new peak: recharge_below_kw {what}")
        return self

    @model_validator(mode="after")
    def _leaves_something(self) -> Self:
        if self.limit_kw is not None and self.margin_kw is not None and self.margin_kw >= self.limit_kw:
            raise ValueError(f"margin_kw {self.margin_kw:g} must be less than limit_kw {self.limit_kw:g}")
        if self.recharges and self.reserve_soc_pu >= self.recharge_to_soc_pu:
            what = f"{self.reserve_soc_pu:g} must be less than recharge_to_soc_pu {self.recharge_to_soc_pu:g}"
            raise ValueError(f"reserve_soc_pu {what}: nobody would be charged so far that it may discharge")
        if not self.recharges and self.recharge_below_kw is not None:
            raise ValueError("recharge_below_kw says up to what members recharge, and recharges is false")
        return self


class _State(NamedTuple):
    """What one step leaves to the next."""

    off_kw: tuple[float, ...] = ()
    """Loads as measured, less their forecasts, no further back than they are held; -inf where nothing was heard."""
    baseline_kw: float = 0.0
    integral_kw: float | None = None
    """None while no shaving is needed."""
    limit_kw: float = 0.0
    planned_ns: int | None = None


@remembers("_held", "_latest")
class PeakShaver:
    """The service. State: the loads of late, what is added to the need, and the limit."""

    def __init__(self, settings: PeakShaving, stand: Stand) -> None:
        self._settings, self._stand = settings, stand
        self._reading = Reading(settings.reads, "kW")
        self._holds = 1 + int(settings.hold_s * 1e9) // stand.step_ns
        forecast, path = settings.forecast, (*stand.path, "forecast")
        self._horizon = None if forecast is None else Horizon(forecast, settings.horizon, path, stand)
        self._held = self._latest = _State(limit_kw=settings.limit_kw or 0.0)
        self.inputs = self._reading.inputs
        of = stand.context.name if settings.reads.endswith(".head_kw") else settings.reads
        self.outputs = {name: Port("kW", (of,)) for name in ("limit_kw", "baseline_kw")}

    def advance(self) -> None:
        self._held = self._latest

    def serve(self, now: Now, dispatch: Dispatch) -> Dispatch:
        if now.is_deaf:
            off_kw = (*self._held.off_kw, -np.inf)[-self._holds :]
            self._latest = self._held._replace(off_kw=off_kw, integral_kw=None)
            return dispatch
        measured_kw = self._reading.value(now.inputs)
        baseline_kw = measured_kw + float(now.members.p_kw.sum())
        off_kw = (*self._held.off_kw, baseline_kw - self._expected_kw(now.time_ns - self._stand.step_ns))
        off_kw = off_kw[-self._holds :]
        limit_kw, planned_ns = self._limit(now, dispatch)
        aim_kw, load_kw = self._settings.aim_kw(limit_kw), self._expected_kw(now.time_ns) + max(off_kw)
        soc_pu = now.members.soc_pu
        able = (soc_pu < 0.0) | (soc_pu > self._settings.reserve_soc_pu)
        kept = self._kept(now, dispatch)
        most_kw = kept.toward(np.inf, able, now.hours).total_kw
        integral_kw = self._integral_kw(load_kw, measured_kw, most_kw, aim_kw)
        self._latest = _State(off_kw, baseline_kw, integral_kw, limit_kw, planned_ns)
        if integral_kw is not None:
            served = kept.toward(load_kw - aim_kw + integral_kw, able, now.hours).settled()
        else:
            served = self._recharged(load_kw, limit_kw, now, kept).bounded(least_kw=load_kw - aim_kw)
        served = served.floored(min(load_kw - aim_kw, served.total_kw))
        return replace(served, low_kw=dispatch.low_kw, high_kw=dispatch.high_kw)

    def told(self) -> Values:
        return {"limit_kw": np.array([self._latest.limit_kw]), "baseline_kw": np.array([self._latest.baseline_kw])}

    def _expected_kw(self, at_ns: int) -> float:
        """Return what was expected a step before for an instant; 0 without a forecast."""
        if self._horizon is None:
            return 0.0
        made_ns = max(at_ns - self._stand.step_ns, 0)
        return float(self._horizon.forecast.over(np.array([at_ns]), made_ns)[0])

    def _recharged(self, load_kw: float, limit_kw: float, now: Now, dispatch: Dispatch) -> Dispatch:
        room_kw = self._settings.recharge_kw(limit_kw) - load_kw
        if not self._settings.recharges or room_kw <= 0.0:
            return dispatch
        able = now.members.soc_pu < self._settings.recharge_to_soc_pu
        return dispatch.toward(min(-room_kw, dispatch.total_kw), able, now.hours)

    def _kept(self, now: Now, dispatch: Dispatch) -> Dispatch:
        """Return it with no more room than brings stores to the reserve, or to the top, by the next step."""
        s, stand = self._settings, self._stand
        least_kw, most_kw = now.members.reach_kw(
            s.reserve_soc_pu, s.recharge_to_soc_pu, stand.fleets.held_h, stand.efficiency_pu
        )
        low_kw, high_kw = dispatch.low_kw, dispatch.high_kw
        if s.recharge_to_soc_pu < 1.0:  # else devices know by themselves
            low_kw = np.maximum(low_kw, np.minimum(dispatch.p_kw, least_kw))
        if s.reserve_soc_pu > 0.0:
            high_kw = np.minimum(high_kw, np.maximum(dispatch.p_kw, most_kw))
        return replace(dispatch, low_kw=low_kw, high_kw=high_kw)

    def _integral_kw(self, load_kw: float, measured_kw: float, most_kw: float, aim_kw: float) -> float | None:
        """Return what is added to the need, None if there is no need."""
        held_kw = self._held.integral_kw
        if load_kw <= aim_kw:
            return None
        if held_kw is None:
            return 0.0
        moved_kw = held_kw + self._settings.gain * (measured_kw - aim_kw)
        is_full = load_kw - aim_kw + held_kw >= most_kw
        return max(min(moved_kw, held_kw) if is_full else moved_kw, 0.0)

    def _limit(self, now: Now, dispatch: Dispatch) -> tuple[float, int | None]:
        """Return the limit that holds now, and when it was planned."""
        held = self._held
        if self._horizon is None:
            return self._settings.limit_kw or 0.0, None
        if not self._horizon.is_due(now.time_ns, held.planned_ns):
            return held.limit_kw, held.planned_ns
        planned_kw = self._horizon.lowest_peak_kw(now.time_ns, self._store(now, dispatch), self._settings.recharge_kw)
        return max(held.limit_kw, planned_kw), now.time_ns

    def _store(self, now: Now, dispatch: Dispatch) -> Store:
        """Return all members as one store, of which others hold nothing, within this service's own window."""
        s = self._settings
        store = store_of(now, self._stand.efficiency_pu, dispatch)
        above_kwh, room_kwh = now.members.within_kwh(s.reserve_soc_pu, s.recharge_to_soc_pu)
        stored_kwh = min(store.stored_kwh, above_kwh)
        engines_kw = np.maximum(now.members.rated_kw - dispatch.kept_kw, 0.0)[now.members.soc_pu < 0.0]
        store = replace(store, discharge_kw=store.discharge_kw + float(engines_kw.sum()))
        charge_kw = store.charge_kw if s.recharges else 0.0
        most_kwh = stored_kwh + min(store.most_kwh - store.stored_kwh, room_kwh)
        return replace(store, charge_kw=charge_kw, stored_kwh=stored_kwh, most_kwh=most_kwh)
