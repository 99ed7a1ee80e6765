"""What stands in a scenario for a microgrid's control."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from derloop.kind import Settings
from derloop.texts import SIGNAL, Currency
from federates.der import Stepped
from federates.spells import Spell, check_in_turn

LONGEST_S = 1e7
LEAST_SILENT_S, SILENT_STEPS = 900.0, 3
"""From which age on nobody acts on what was heard, where settings do not say: the longer of it and so many steps."""


class LoadGroup(Settings):
    """A fleet of loads, which is taken off and comes back as one."""

    fleet: str = Field(min_length=1, description="Name of the fleet.", examples=["hospital"])
    priority: int = Field(
        ge=1, le=1000, description="1 is taken off last and comes back first; groups may be equal.", examples=[1]
    )
    critical: bool = Field(default=False, description="Counted apart, as what must be served.", examples=[True])
    customers: float = Field(
        default=1.0, gt=0.0, le=1e7, description="Customers that each load of the fleet stands for.", examples=[25]
    )
    shed_below_soc_pu: float | None = Field(
        default=None,
        ge=0.0,
        le=1.0,
        description="In an island it is taken off while less than this is stored. Without it, for want of power only.",
        examples=[0.5],
    )


class StormWarning(Spell):
    """A time in which more is kept for an outage: a storm is on its way."""

    reserve_soc_pu: float = Field(ge=0.0, le=1.0, description="State of charge to be kept, pu.", examples=[0.95])


class Economics(Settings):
    """What is done for money while the grid is there."""

    reads: Annotated[str, SIGNAL] | None = Field(
        default=None,
        description="Where the price of a kWh is told, as federate.port.",
        examples=["retail.price_per_kwh"],
    )
    currency: Currency = Field(default="USD", description="Of the price.", examples=["EUR"])
    charge_below: float = Field(
        default=0.0, ge=0.0, le=1e4, description="Stores are charged up to this price.", examples=[0.12]
    )
    discharge_above: float = Field(
        default=1e4, ge=0.0, le=1e4, description="Stores are discharged from this price on.", examples=[0.3]
    )
    run_above: float = Field(default=1e4, ge=0.0, le=1e4, description="Engines run from this price on.", examples=[0.2])
    power_pu: float = Field(
        default=0.5, gt=0.0, le=1.0, description="With what power stores do so, pu of the rating.", examples=[0.5]
    )
    exports: bool = Field(default=False, description="Whether power may go out at the switch for it.", examples=[True])

    @model_validator(mode="after")
    def _buys_cheaper_than_it_sells(self) -> Self:
        if self.charge_below >= self.discharge_above:
            what = f"charge_below {self.charge_below:g} must be less than discharge_above {self.discharge_above:g}"
            raise ValueError(what)
        return self


class EngineRules(Settings):
    """When engines run."""

    heat_below_pu: float = Field(
        default=0.0, ge=0.0, le=1.0, description="Beside the grid they run from this level of the heat store down, "
        "pu; 0: not for heat.", examples=[0.3],
    )  # fmt: skip
    heat_above_pu: float = Field(default=0.9, gt=0.0, le=1.0, description="... and up to this one, pu.", examples=[0.9])
    soc_below_pu: float = Field(
        default=0.6, ge=0.0, le=1.0, description="In an island they run from this state of charge down.", examples=[0.6]
    )
    soc_above_pu: float = Field(default=0.9, gt=0.0, le=1.0, description="... and up to this one.", examples=[0.9])
    power_pu: float = Field(
        default=0.9, gt=0.0, le=1.0, description="P_0 of an engine that runs, pu of the rating.", examples=[0.8]
    )

    @model_validator(mode="after")
    def _are_bands(self) -> Self:
        if self.heat_below_pu >= self.heat_above_pu or self.soc_below_pu >= self.soc_above_pu:
            raise ValueError("heat_below_pu and soc_below_pu must be less than heat_above_pu and soc_above_pu")
        return self


class SheddingRules(Settings):
    """When loads are taken off in an island, and come back."""

    below_hz: float | None = Field(
        default=None, gt=40.0, lt=60.0, description="Below this frequency the next group is taken off. Without it, "
        "0.7 Hz below nominal.", examples=[59.3],
    )  # fmt: skip
    most_pu: float = Field(
        default=0.9, gt=0.0, le=1.0, description="Most that sources give, pu of what they can, before a group "
        "goes, and with one that comes back.", examples=[0.9],
    )  # fmt: skip
    pf: float = Field(
        default=0.85, gt=0.0, le=1.0, description="Power factor of a group that comes back, taken for it.",
        examples=[0.85],
    )  # fmt: skip
    band_soc_pu: float = Field(
        default=0.1,
        ge=0.0,
        le=1.0,
        description="A group comes back this far above its shed_below_soc_pu.",
        examples=[0.1],
    )
    every_s: float = Field(
        default=300.0, ge=0.0, le=LONGEST_S, description="Between two groups that come back, s.", examples=[300.0]
    )
    rest_s: float = Field(
        default=900.0,
        ge=0.0,
        le=LONGEST_S,
        description="From taking a group off until one comes back, s.",
        examples=[900],
    )
    cold_load_pu: float = Field(
        default=0.5, ge=0.0, le=10.0, description="What a group may draw more than its demand when it comes back, pu.",
        examples=[0.5],
    )  # fmt: skip


class BlackStart(Settings):
    """How a dead island is started."""

    after_s: float = Field(
        default=60.0, ge=0.0, le=LONGEST_S, description="From the collapse until sources are told to run, s.",
        examples=[60.0],
    )  # fmt: skip
    within_s: float = Field(
        default=600.0, gt=0.0, le=LONGEST_S, description="Without voltage after this time it begins anew, s.",
        examples=[600],
    )  # fmt: skip
    least_soc_pu: float = Field(
        default=0.05, ge=0.0, le=1.0, description="Stores with less are not told to run.", examples=[0.1]
    )


class Reconnection(Settings):
    """When and how an island goes back to the grid."""

    after_s: float = Field(
        default=300.0,
        ge=0.0,
        le=LONGEST_S,
        description="For how long the grid must have been there, s.",
        examples=[300],
    )
    slip_hz: float = Field(
        default=0.02,
        gt=0.0,
        le=0.3,
        description="By how much the island is made faster than the grid.",
        examples=[0.02],
    )
    rated_kva: float | None = Field(
        default=None, gt=0.0, le=1e9, description="Aggregate rating, by which the limits go. Without it, that of the "
        "sources.", examples=[1000.0],
    )  # fmt: skip


class MicrogridSettings(Stepped):
    """A microgrid's control."""

    feeder: str = Field(
        default="grid",
        description="Name of the feeder, which says with `island` where the switch is.",
        examples=["grid"],
    )
    storage: tuple[str, ...] = Field(
        default=(), max_length=20, description="Fleets of grid-forming inverters with a store.", examples=[["battery"]]
    )
    engines: tuple[str, ...] = Field(
        default=(), max_length=20, description="Fleets of grid-forming engines.", examples=[["chp"]]
    )
    loads: tuple[LoadGroup, ...] = Field(
        min_length=1, max_length=200, description="Who is served.", examples=[[{"fleet": "hospital", "priority": 1}]]
    )
    capacitors: tuple[str, ...] = Field(
        default=(),
        max_length=100,
        description="The banks of one step that the feeder's operated.capacitors lists, in its order: out where the "
        "island is dead, or too light for them.",
        examples=[["675"]],
    )
    planned: tuple[Spell, ...] = Field(
        default=(), max_length=1000, description="When it is an island by intention.",
        examples=[[{"begins_s": 36000, "lasts_s": 7200}]],
    )  # fmt: skip
    prepare_s: float = Field(
        default=600.0, ge=0.0, le=86400.0, description="Before that the power at the switch is led to zero, s.",
        examples=[600.0],
    )  # fmt: skip
    zero_pu: float = Field(
        default=0.02, gt=0.0, le=1.0, description="The switch opens by intention where it carries less, pu of the "
        "sources' rating.", examples=[0.02],
    )  # fmt: skip
    reserve_soc_pu: float = Field(
        default=0.5, ge=0.0, le=1.0, description="State of charge that is kept for an outage.", examples=[0.5]
    )
    top_soc_pu: float = Field(
        default=0.95, gt=0.0, le=1.0, description="State of charge up to which stores are charged.", examples=[0.95]
    )
    warnings: tuple[StormWarning, ...] = Field(
        default=(), max_length=1000, description="When more is kept.",
        examples=[[{"begins_s": 0, "lasts_s": 21600, "reserve_soc_pu": 0.95}]],
    )  # fmt: skip
    economics: Economics = Field(
        default=Economics(), description="What is done for money.", examples=[{"reads": "retail.price_per_kwh"}]
    )
    engine: EngineRules = Field(
        default=EngineRules(),
        description="When engines run beside the grid, and in an island.",
        examples=[{"power_pu": 0.8}],
    )
    shedding: SheddingRules = Field(
        default=SheddingRules(), description="When loads are taken off.", examples=[{"below_hz": 59.4}]
    )
    black_start: BlackStart = Field(
        default=BlackStart(), description="How it is started when it is dead.", examples=[{"after_s": 120}]
    )
    reconnection: Reconnection = Field(
        default=Reconnection(), description="How it goes back to the grid.", examples=[{"after_s": 300}]
    )
    surplus_hz: float = Field(
        default=0.3, ge=0.0, le=2.0, description="By how much an island with full stores is made faster, so that "
        "generation with frequency droop holds back, Hz.", examples=[0.3],
    )  # fmt: skip
    silent_after_s: float | None = Field(
        default=None, gt=0.0, le=LONGEST_S, description="What was heard longer ago is not acted on, s. Without it, "
        "900 s, or three steps of the control where these are longer.", examples=[900],
    )  # fmt: skip
    active: bool = Field(
        default=True, description="false: it counts only, and controls nothing: to compare with.", examples=[False]
    )

    def silent_s(self, step_ns: int) -> float:
        """Return the age from which on what was heard is not acted on, s."""
        return self.silent_after_s or max(LEAST_SILENT_S, SILENT_STEPS * step_ns / 1e9)

    @property
    def formers(self) -> tuple[str, ...]:
        return (*self.storage, *self.engines)

    @model_validator(mode="after")
    def _has_a_source(self) -> Self:
        if not self.formers:
            raise ValueError("nothing could hold the island: it needs a grid-forming source, in storage or engines")
        return self

    @model_validator(mode="after")
    def _keeps_what_it_can(self) -> Self:
        worst = max([self.reserve_soc_pu, *(w.reserve_soc_pu for w in self.warnings)])
        if worst > self.top_soc_pu:
            raise ValueError(f"a reserve of {worst:g} is more than top_soc_pu {self.top_soc_pu:g}")
        return self

    @model_validator(mode="after")
    def _has_priorities_that_agree(self) -> Self:
        if problems := [*contradictions(self.loads)]:
            raise ValueError("; ".join(problems))
        return self

    @model_validator(mode="after")
    def _is_planned_in_order(self) -> Self:
        check_in_turn(self.planned, "planned islands")
        return self


def contradictions(loads: tuple[LoadGroup, ...]) -> list[str]:
    """Return where the priorities of groups contradict each other."""
    problems = []
    for i, one in enumerate(loads):
        for other in loads[i + 1 :]:
            first, second = sorted((one, other), key=lambda group: group.priority)
            if one.fleet == other.fleet:
                problems.append(f"{one.fleet!r} has two priorities, {one.priority} and {other.priority}")
            elif second.critical and not first.critical and second.priority > first.priority:
                problems.append(f"{second.fleet!r} is critical, and would be taken off before {first.fleet!r}")
            elif second.priority > first.priority and _later(first, second):
                what = f"{first.fleet!r} is taken off at {first.shed_below_soc_pu:g} stored, before {second.fleet!r}"
                problems.append(f"{what}, which has less priority")
    return problems


def _later(first: LoadGroup, second: LoadGroup) -> bool:
    """Return whether the group of less priority stays on at a state of charge at which the other goes."""
    if first.shed_below_soc_pu is None:
        return False
    return second.shed_below_soc_pu is None or second.shed_below_soc_pu < first.shed_below_soc_pu
