"""Kind `opendss`: a distribution feeder, solved by OpenDSS at each instant.

Every device that meets the feeder is wired to it by name: the feeder's input `pv.p_kw` takes output `p_kw` of federate
`pv`, its output `pv.v_pu` feeds input `v_pu`. Devices inject (positive: into the feeder); federates that drive loads of
the feeder file give the powers that these draw (positive: drawn) at nominal voltage, and the load keeps its own voltage
model.

What is `operated` others may switch: lines that are switches, tap changers, banks. Relays (`protection`) open switches
on `faults`, between two steps and in effect at the next, by the curves of IEEE C37.112 or IEC 60255-151. What no source
feeds is dead, phase by phase: voltages are 0, loads are `unserved_kw`, and tap changers and banks that look at it rest.
Currents, loading, losses and hours outside of limits are told by element where they are asked for (`monitored`,
`accounts`).
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from derloop.kind import Context, Names
from federates.grid.accounts import AccountSettings
from federates.grid.apparatus import Pattern
from federates.grid.island import IslandSettings
from federates.grid.switchgear import SwitchgearSettings


class OpenDssSettings(SwitchgearSettings):
    """A feeder."""

    feeder: Annotated[str, Names(is_run=True)] = Field(
        min_length=1,
        max_length=500,
        description="The .dss file, relative to the scenario.",
        examples=["feeders/ieee13/ieee13.dss"],
    )
    regulators: Literal["active", "locked"] = Field(
        "active", description="locked: every control of the feeder file rests, taps stay where the file has them."
    )
    tolerance: float = Field(
        3e-10,
        ge=1e-10,
        le=1e-3,
        description="By how much the last iteration of a solution may move voltages, pu, as OpenDSS has it. Energy "
        "balances close about as far as this; they are judged to three times it, or to 1e-9.",
    )
    max_iterations: int = Field(100, ge=5, le=10_000, description="Iterations of one solution.")
    sane_v_pu: tuple[float, float] = Field(
        (0.3, 2.0),
        description="A solution with an energised node outside this band ends the run, for OpenDSS calls some "
        "collapsed states converged.",
    )
    island: IslandSettings | None = Field(
        None,
        description="A switch behind which grid-forming units hold what is cut off from the head.",
        examples=[{"switch": "head", "opens_at_s": 3600}],
    )
    monitored: tuple[Pattern, ...] = Field(
        (),
        max_length=10_000,
        description="Globs of lines (`sw_*`) and transformers (`transformer.*`) whose currents and loading are told.",
        examples=[["sw_*", "transformer.xfm_1"]],
    )
    ratings_a: dict[Pattern, Annotated[float, Field(gt=0.0, le=1e6)]] = Field(
        {},
        max_length=10_000,
        description="Ratings of what is monitored, A, by globs. Without it, normamps of lines and kVA of transformers.",
        examples=[{"sw_*": 600.0}],
    )
    accounts: AccountSettings | None = Field(
        None, description="Counts losses and violations by element.", examples=[{"v_low_pu": 0.95}]
    )
    powers: Literal["everywhere", "head"] = Field(
        "everywhere",
        description="Where powers are told. everywhere: also losses, what others draw and what devices give in the "
        "solution, from the solved currents of every element, by which energy balances are proven; on thousands of "
        "elements that costs about as much as a solution. head: only what the feeder draws.",
    )
    step_s: float | None = Field(None, ge=0.001, le=86400, description="Its own step; the scenario's without it.")

    def step_ns(self, context: Context) -> int:
        """Its own step, or the scenario's."""
        return round(self.step_s * 1e9) if self.step_s else context.step_ns

    @model_validator(mode="after")
    def _is_a_band(self) -> OpenDssSettings:
        low, high = self.sane_v_pu
        if not 0.0 <= low < high:
            raise ValueError(f"sane_v_pu must be a band from 0 or more to more than that, not {low:g} to {high:g}")
        return self

    @model_validator(mode="after")
    def _accounts_have_powers(self) -> OpenDssSettings:
        if self.accounts and self.powers == "head":
            raise ValueError('accounts need the losses of every element: powers must be "everywhere"')
        return self
