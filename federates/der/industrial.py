"""Industrial loads that can be curtailed, for some time, at some speed, and then make up for what they lost.

Powers are positive when drawn. Without curtailment a plant draws `b(t) = rated_kva pf share(t)`. An event asks for a
share of the curtailable part, 0 to 1, by the settings or by the input `curtail_pu`. The plant follows after
`notice_s`, with ramps, for at most `longest_s`; then it rests for `rest_s`, as it does after every event:

    target = asked curtailable_pu b            (0 before the notice is over, while tired and while resting)
    cut   += clip(target - cut, -ramp h, ramp h),  0 <= cut <= curtailable_pu b

What it owes, `dE/dt = rebound_pu cut - made_up`, it makes up for when no cut is asked for or under way, with
`made_up = min(E / h, rebound_power_pu rated, rated - b)`; then

    p = b - cut + made_up

so over a run `sum p h = sum b h - sum cut h + sum made_up h` and `E = rebound_pu sum cut h - sum made_up h`.
(Model: P. Palensky and D. Dietrich, "Demand Side Management", IEEE Trans. Ind. Inform. 7, 2011, on shedding with
recovery; the numbers are the plant's.)
"""

from __future__ import annotations

import numpy as np
from pydantic import Field

from derloop.contract import Balance, FloatArray, Interface, Port, Values
from derloop.kind import Context, Kind, PlaceError, Settings, Terminal
from derloop.memory import remembers
from federates.der import Stepped
from federates.der.course import Allowed, Course, read_course
from federates.der.instants import Instants
from federates.der.placement import At, Size, Spot
from federates.der.plain import place_drawing, tan_phi
from federates.spells import refuse_unseen

NS_PER_H = 3.6e12
POWER = Balance("power", enters=("baseline_kw", "made_up_kw"), leaves=("cut_kw", "p_kw"))


class CurtailmentEvent(Settings):
    """A time in which plants are asked to draw less."""

    begins_s: float = Field(ge=0.0, le=1e10, description="Begin, s since the scenario's start.", examples=[57600.0])
    lasts_s: float = Field(gt=0.0, le=1e7, description="How long, s.", examples=[7200.0])
    share_pu: float = Field(
        default=1.0, gt=0.0, le=1.0, description="Share of the curtailable part that is asked for.", examples=[1.0]
    )


class IndustrialSettings(Stepped):
    """A group of plants."""

    at: At[Spot] = Field(
        description="Where the plants stand: a list of places, or a spread.",
        examples=[[{"bus": "671", "rated_kva": 500.0}]],
    )
    rated_kva: Size | None = Field(
        default=None,
        description="Rated apparent power of each plant, kVA: a number, or [min, max] to draw from.",
        examples=[500.0],
    )
    pf: float = Field(default=0.9, gt=0.0, le=1.0, description="Power factor, lagging.", examples=[0.9])
    share: Course = Field(
        default=0.8,
        description="What a plant draws if it is not curtailed, pu of rated power: a number or a profile.",
        examples=[0.8, {"file": "profiles/load_shapes_summer.csv", "column": "commercial_pu"}],
    )
    curtailable_pu: float = Field(
        default=0.3, gt=0.0, le=1.0, description="Part of the load that can be curtailed, pu of it.", examples=[0.3]
    )
    events: tuple[CurtailmentEvent, ...] = Field(
        default=(),
        max_length=10_000,
        description="Curtailment that is known before the run; the largest share counts where events overlap.",
        examples=[[{"begins_s": 57600, "lasts_s": 7200}]],
    )
    responds: bool = Field(
        default=False, description="Whether the group takes a share to curtail, curtail_pu.", examples=[True]
    )
    notice_s: float = Field(
        default=600.0, ge=0.0, le=86400.0, description="From being asked to the begin of a cut, s.", examples=[600.0]
    )
    ramp_pu_per_min: float = Field(
        default=0.05,
        gt=0.0,
        le=100.0,
        description="Fastest change of a cut, pu of rated power a minute.",
        examples=[0.05],
    )
    longest_s: float = Field(default=14400.0, gt=0.0, le=1e7, description="Longest cut, s.", examples=[14400.0])
    rest_s: float = Field(default=3600.0, ge=0.0, le=1e7, description="Between two cuts, s.", examples=[3600.0])
    rebound_pu: float = Field(
        default=0.5, ge=0.0, le=1.0, description="Share of the energy cut that is made up for.", examples=[0.5]
    )
    rebound_power_pu: float = Field(
        default=0.1, gt=0.0, le=1.0, description="Most power of making up, pu of rated power.", examples=[0.1]
    )

    @property
    def takes(self) -> tuple[str, ...]:
        """Inputs that a control may drive."""
        return ("curtail_pu",) if self.responds else ()

    def planned_pu(self, now_ns: int) -> float:
        """Return the share that the events ask for at this time."""
        now_s = now_ns / 1e9
        return max((e.share_pu for e in self.events if e.begins_s <= now_s < e.begins_s + e.lasts_s), default=0.0)


def _refuse_unfollowed(settings: IndustrialSettings, step_ns: int) -> None:
    """Raise PlaceError for events that are over at the first instant at which their notice is: nothing would be cut."""
    problems: list[tuple[tuple[str | int, ...], str]] = []
    for index, first, end in _asked(settings.events, step_ns):
        asked_s = (end - 1 - first) * step_ns / 1e9
        if asked_s < settings.notice_s:
            what = f"is asked for from {first * step_ns / 1e9:g} s on, last {asked_s:g} s later"
            what = f"{what}, within its notice_s of {settings.notice_s:g} s: nothing would be cut"
            problems.append((("events", index), what))
    if problems:
        raise PlaceError(problems)


def _asked(events: tuple[CurtailmentEvent, ...], step_ns: int) -> list[tuple[int, int, int]]:
    """Return at which steps something is asked for, the first and the one after the last, and by which event first.

    Events with no step between them are one.
    """
    steps = [[-(-round(s * 1e9) // step_ns) for s in (e.begins_s, e.begins_s + e.lasts_s)] for e in events]
    found: list[tuple[int, int, int]] = []
    for index, (first, end) in sorted(enumerate(steps), key=lambda event: event[1]):
        if found and first <= found[-1][2]:
            earlier, since, before = found.pop()
            found.append((earlier, since, max(before, end)))
        else:
            found.append((index, first, end))
    return found


@remembers("_asked_pu", "_cut_kw", "_made_up_kw", "_cut_s", "_rest_s", "_asked_s", "_owed_kwh", "_was_cut_kw")
class IndustrialGroup:
    """n plants. State: the cut and what is made up since the last instant, energy owed, and three clocks."""

    def __init__(self, settings: IndustrialSettings, context: Context) -> None:
        plants = context.terminals.get(context.name) or terminals(settings, context)
        n = len(plants)
        self._settings = settings
        self._interface = _interface(settings, context, tuple(plant.label for plant in plants))
        step_ns = self._interface.step_ns
        refuse_unseen(settings.events, ("events",), step_ns, context.name)
        if not settings.responds:
            _refuse_unfollowed(settings, step_ns)
        self._share = read_course(settings.share, ("share",), Allowed(0.0, 1.0, "pu"), context, step_ns)
        self._step_h = step_ns / NS_PER_H
        self._rated_kw = settings.pf * np.array([plant.rated_kva for plant in plants])
        self._ramp_kw = self._rated_kw * settings.ramp_pu_per_min * self._step_h * 60.0
        self._cut_kw = self._was_cut_kw = self._made_up_kw = np.zeros(n)
        self._asked_pu, self._owed_kwh = np.zeros(n), np.zeros(n)
        self._asked_s, self._cut_s, self._rest_s = np.zeros(n), np.zeros(n), np.zeros(n)
        self._instants = Instants()

    @property
    def interface(self) -> Interface:
        return self._interface

    def start(self) -> Values:
        return self._outputs(self._rated_kw * self._share.at(0))

    def step(self, now_ns: int, inputs: Values) -> Values:
        self._pass(self._instants.passed_ns(now_ns) / 1e9)
        base_kw = self._rated_kw * self._share.at(now_ns)
        self._asked_pu = np.full(base_kw.shape, self._settings.planned_pu(now_ns))
        if self._settings.responds:
            self._asked_pu = np.maximum(self._asked_pu, np.clip(inputs["curtail_pu"], 0.0, 1.0))
        self._cut_kw = self._cut(base_kw)
        self._made_up_kw = self._made_up(base_kw)
        return self._outputs(base_kw)

    def stop(self) -> None:
        pass

    def _pass(self, passed_s: float) -> None:
        """Let what holds since the last instant run on: energy owed and clocks."""
        if passed_s == 0.0:
            return
        s = self._settings
        ended = (self._cut_s > 0.0) & (self._cut_kw == 0.0)
        self._cut_s = np.where(self._cut_kw > 0.0, self._cut_s + passed_s, 0.0)
        self._rest_s = np.maximum(self._rest_s - passed_s, 0.0)
        self._rest_s = np.where(self._is_tired, s.rest_s, self._rest_s)
        self._rest_s = np.where(ended, max(s.rest_s - passed_s, 0.0), self._rest_s)  # it rests since the last instant
        self._asked_s = np.where(self._asked_pu > 0.0, self._asked_s + passed_s, 0.0)
        owed_kw = s.rebound_pu * self._cut_kw - self._made_up_kw
        self._owed_kwh = np.maximum(self._owed_kwh + owed_kw * passed_s / 3600.0, 0.0)
        self._was_cut_kw = self._cut_kw

    @property
    def _is_tired(self) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        return self._cut_s >= self._settings.longest_s

    def _cut(self, base_kw: FloatArray) -> FloatArray:
        s = self._settings
        follows = (self._asked_pu > 0.0) & (self._asked_s >= s.notice_s) & (self._rest_s == 0.0) & ~self._is_tired
        most_kw = s.curtailable_pu * base_kw
        change = np.where(follows, self._asked_pu * most_kw, 0.0) - self._was_cut_kw
        return np.clip(self._was_cut_kw + np.clip(change, -self._ramp_kw, self._ramp_kw), 0.0, most_kw)

    def _made_up(self, base_kw: FloatArray) -> FloatArray:
        most_kw = np.minimum(self._settings.rebound_power_pu * self._rated_kw, self._rated_kw - base_kw)
        rests = (self._cut_kw == 0.0) & (self._asked_pu == 0.0)
        return np.where(rests, np.minimum(self._owed_kwh / self._step_h, most_kw), 0.0)

    def _outputs(self, base_kw: FloatArray) -> Values:
        p_kw = base_kw - self._cut_kw + self._made_up_kw
        parts = {"baseline_kw": base_kw, "cut_kw": self._cut_kw, "made_up_kw": self._made_up_kw}
        return {"p_kw": p_kw, "q_kvar": p_kw * tan_phi(self._settings.pf), **parts, "owed_kwh": self._owed_kwh}


def _interface(settings: IndustrialSettings, context: Context, labels: tuple[str, ...]) -> Interface:
    units = {"p_kw": "kW", "q_kvar": "kvar", "baseline_kw": "kW", "cut_kw": "kW", "made_up_kw": "kW", "owed_kwh": "kWh"}
    inputs = {"curtail_pu": Port("pu", labels)} if settings.responds else {}
    outputs = {name: Port(unit, labels) for name, unit in units.items()}
    return Interface(settings.step_ns(context), inputs, outputs, balances=(POWER,))


def terminals(settings: IndustrialSettings, context: Context) -> tuple[Terminal, ...]:
    """Return where the plants meet the feeder."""
    return place_drawing(settings.at, settings.rated_kva, context)


KIND = Kind(
    "industrial",
    "Plants that can be curtailed for some time",
    IndustrialSettings,
    IndustrialGroup,
    terminals,
    draws=True,
)
