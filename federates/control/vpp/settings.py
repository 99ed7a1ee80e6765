"""A virtual power plant: sets the powers of its members, so that together they do services.

Members are fleets of devices that take `p_set_kw`: batteries, cars, engines, whether models, emulated or real. Powers
of members are positive when injected; what a feeder or a site draws is positive when drawn.

At each step, from what was heard of members last, with the least `low` and the most `high` that each device (n) says it
can do, and what it must do anyway (`clip(0, low, high)`, a car that has to be ready charges):

    p = clip(0, low, high)
    for each service, in order:    p, low, high, least, most  =  what the service makes of them
    p_set = p + deployed

A service moves the sum of `p`, within `least <= sum p <= most`; what it has now, later ones may add to, and not undo.
It can hold headroom back: `high` and `low` come nearer to each other for later services, and what is deployed of the
headroom is added in the end. So each service takes of the capability that those before it left. Services that decide on
the same are refused before the run. The sum is shared among devices in proportion to what is left of each, or those
that can go on the longest go first.

Peak shaving, with the load that would be drawn if members rested, `load = measured + sum p`:

    need = max of load over hold_s - (limit - margin) + I        room = recharge_below - load

Arbitrage follows the cheapest plan of a linear program; a schedule is followed with an integral term; regulation
deploys `r capacity` of headroom for a signal `r`; reserve and demand response answer calls; sites are kept under limits
of their own; voltages are kept within limits by what the feeder's solver says that they answer (`sensitivity`), and
supported by reactive power of those who take it first, active power for what remains:

    v = v_measured + S_p (p - p_measured) + S_q (q - q_measured)         v_low <= v <= v_high
    -q_absorbed_max <= q <= q_injected_max                               q^2 <= rated^2 - p^2

Silence. What was heard of a device is used for `silent_after_s`, and what was said before the run began, when nothing
was measured yet, not at all. After that the device is asked to rest, and counts as part of the load, whatever it does.
If what a service reads is older than that, the service asks for nothing; if what `constraints` read of the feeder is,
all members rest. Members that hear nothing of the plant do what the network's `lease` says, or hold their last setpoint
where there is none.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Discriminator, Field, Tag, model_validator

from federates.control.vpp.arbitrage import Arbitrage
from federates.control.vpp.called import Called
from federates.control.vpp.calls import Call
from federates.control.vpp.contradictions import compatible, unkept
from federates.control.vpp.grid import FeederLimits
from federates.control.vpp.members import Members, Pattern, Preferences
from federates.control.vpp.peak_shaving import PeakShaving
from federates.control.vpp.regulation import RegulationSignal
from federates.control.vpp.reserve import Reserve
from federates.control.vpp.schedule import Schedule
from federates.control.vpp.sites import SitePeakShaving
from federates.control.vpp.voltage_support import VoltageSupport
from federates.der import Stepped

AnyService = Annotated[
    PeakShaving | SitePeakShaving | Arbitrage | Schedule | RegulationSignal | Reserve | Called | VoltageSupport,
    Field(discriminator="kind"),
]
Services = Annotated[tuple[AnyService, ...], AfterValidator(compatible)]


def _written(value: Any) -> str:
    return "fitting" if isinstance(value, dict | Members) else "listed"


Membership = Annotated[
    Annotated[Annotated[tuple[Pattern, ...], Field(min_length=1)], Tag("listed")] | Annotated[Members, Tag("fitting")],
    Discriminator(_written),
]


LEAST_SILENT_S, SILENT_STEPS = 300.0, 3
"""From which age on nobody uses what was heard, where the settings do not say: the longer of it and so many steps."""


class VppSettings(Stepped):
    """A virtual power plant."""

    services: Services = Field(
        description="What it does, the most important first.",
        examples=[[{"kind": "peak-shaving", "limit_kw": 3000.0, "reads": "grid.head_kw"}]],
    )
    members: Membership = Field(
        description="The fleets that it commands: patterns of names, or of names, kinds and buses.",
        examples=[["batteries", "inverters"], {"kinds": ["battery", "ev"], "buses": ["67*"]}],
    )
    constraints: FeederLimits | None = Field(
        default=None,
        description="Limits of the feeder: what services ask for is cut, down to rest, where it would break them.",
        examples=[{"v_low_pu": 0.95, "v_high_pu": 1.05}],
    )
    preferences: tuple[Preferences, ...] = Field(
        default=(),
        max_length=1000,
        description="What was agreed with owners; the first that fits a fleet holds.",
        examples=[[{"members": ["homes_*"], "reserve_soc_pu": 0.3}]],
    )
    shares: Literal["proportional", "longest-first"] = Field(
        default="proportional",
        description="How a power is shared: in proportion to what each can do, or first by those that can go on the "
        "longest: those without a store, then by what each stores.",
        examples=["longest-first"],
    )
    efficiency_pu: float = Field(
        default=0.95,
        gt=0.0,
        le=1.0,
        description="What plans take for the efficiency of charging, and of discharging.",
        examples=[0.95],
    )
    silent_after_s: float | None = Field(
        default=None,
        gt=0.0,
        le=86400.0,
        description="Age from which on what was heard is not used, s, where a network tells ages. Without it, 300 s, "
        "or three steps of the plant where these are longer.",
        examples=[300.0],
    )

    @model_validator(mode="after")
    def _keeps_voltages_to_the_end(self) -> Self:
        kept = None if self.constraints is None else self.constraints.feeder
        if what := unkept(self.services, kept):
            raise ValueError(what)
        return self

    def silent_s(self, step_ns: int) -> float:
        """Return the age from which on what was heard is not used, s."""
        return self.silent_after_s or max(LEAST_SILENT_S, SILENT_STEPS * step_ns / 1e9)

    @property
    def events(self) -> tuple[Call, ...]:
        """When members are called for demand response."""
        return next((service.calls for service in self.services if isinstance(service, Called)), ())

    @property
    def regulated_kw(self) -> float | None:
        """What is offered for frequency regulation; None if nothing is."""
        return next((s.capacity_kw for s in self.services if isinstance(s, RegulationSignal)), None)
