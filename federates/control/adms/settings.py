"""Distribution management: watches a feeder, sets taps and banks, keeps its peak down, and restores it after a fault.

It hears what the feeder measured at the last instant, and what devices and loads gave or drew; it has the feeder's file
in an engine of its own, in which it tries what it might do.

Monitoring. A voltage outside of the limits `v_pu`, or a loading above `loading_pu`, raises an alarm; it ends when the
value is `v_back_pu`, or `loading_back_pu`, inside again. What has no voltage is an outage.

Volt-var optimisation. Every `every_s`, and after switching, taps `t`, steps of banks `c` and the reactive powers `q` of
fleets of inverters are sought with

    min over t, c, q  of  P_head   or of   losses
    subject to            v_low + margin <= v <= v_high - margin,   loading <= 1

by descent in steps of one, of one in all tap changers, and of one in each of two, with a power flow for each setting.
Where limits cannot be kept, the sum by which they are passed is least. With `objective` energy it is conservation
voltage reduction: loads draw less at less voltage, as their models have it.

Peak. While the head draws more than `limit_kw`, one measure after the other is taken: taps and banks are sought for the
least power with `v_low_pu` as the lower limit of voltages, then `members` are asked as in demand response. Each stays
until the head has drawn less than `release_kw` for `hold_s`.

Restoration. When a relay has locked out, and `after_s` later, the fault is where it was seen to go in and not out
(indicators); every switch around that section opens, and once they are told to be open the best setting of the others
is told: the one that serves the most load with the fewest operations, keeps the network a tree, and keeps voltages and
loadings in their limits.

Hears nothing. The feeder dates what it tells (`measured_at_s`); where nothing may change in it, a network between them
says how old that is. Where it is older than `stale_after_s`, or than the run, nothing is decided: switches, taps, banks
and inverters stay as they were told, members are asked for nothing, and the date of the commands (`commanded_at_s`)
stands still, so that tap changers and banks go back to local control when the feeder's `local_after_s` is over. That
also happens when commands do not arrive.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from derloop.kind import Settings
from federates.control.demand_response import Asked
from federates.der import Stepped

Glob = Annotated[str, StringConstraints(min_length=1, max_length=200)]
Band = tuple[float, float]
Objective = Literal["energy", "losses"]


def _check_rises(v_pu: Band) -> None:
    low, high = v_pu
    if not 0.0 < low < high:
        raise ValueError(f"v_pu: {low:g} must be above 0 and less than {high:g}")


class MonitoringSettings(Settings):
    """Limits, and how far inside of them an alarm ends."""

    v_pu: Band = Field(default=(0.95, 1.05), description="Voltages outside raise an alarm, pu.")
    v_back_pu: float = Field(default=0.005, ge=0.0, le=0.1, description="So far inside, the alarm ends, pu.")
    loading_pu: float = Field(default=1.0, gt=0.0, le=10.0, description="Loadings above raise an alarm, pu.")
    loading_back_pu: float = Field(default=0.05, ge=0.0, le=1.0, description="So far below, the alarm ends, pu.")
    ignore: tuple[Glob, ...] = Field(
        default=(), max_length=1000, description="Globs of nodes that are not watched.", examples=[["rg*"]]
    )

    @model_validator(mode="after")
    def _is_a_band(self) -> Self:
        _check_rises(self.v_pu)
        if self.v_back_pu >= self.v_pu[1] - self.v_pu[0]:
            raise ValueError(f"v_back_pu {self.v_back_pu:g} is all of v_pu: no alarm would end within the limits")
        if self.loading_back_pu >= self.loading_pu:
            what = f"loading_back_pu {self.loading_back_pu:g} must be less than loading_pu {self.loading_pu:g}"
            raise ValueError(f"{what}: no alarm would end")
        return self


class VoltVarSettings(Settings):
    """What taps, banks and inverters are set for."""

    objective: Objective = Field(
        default="energy",
        description="energy: the least that the head draws (conservation voltage reduction). losses: the least losses.",
    )
    v_pu: Band = Field(default=(0.95, 1.05), description="Every node stays within, pu.", examples=[[0.95, 1.05]])
    margin_pu: float = Field(
        default=0.003, ge=0.0, le=0.05, description="So far inside the band is aimed at, pu.", examples=[0.005]
    )
    every_s: float = Field(default=900.0, gt=0.0, le=86400.0, description="From one search to the next, s.")
    taps: tuple[int, int] = Field(default=(-16, 16), description="Lowest and highest tap that is tried.")
    inverters: tuple[str, ...] = Field(
        default=(),
        max_length=100,
        description="Fleets whose reactive power is set, each as one (`q_commanded` of kind pv).",
        examples=[["rooftops"]],
    )
    q_most_pu: float = Field(
        default=0.44,
        gt=0.0,
        le=1.0,
        description="Most reactive power of inverters, injected or absorbed, pu of rated kVA.",
    )
    q_step_pu: float = Field(default=0.11, ge=0.01, le=1.0, description="One step of it, pu of rated kVA.")
    least_gain_pu: float = Field(
        default=0.001, ge=0.0, le=0.5, description="Settings stay where less than this share would be gained."
    )
    most_solutions: int = Field(default=2000, ge=10, le=1_000_000, description="Power flows of one search.")
    ignore: tuple[Glob, ...] = Field(
        default=(), max_length=1000, description="Globs of nodes that need not stay within.", examples=[["890"]]
    )

    @model_validator(mode="after")
    def _is_a_band(self) -> Self:
        _check_rises(self.v_pu)
        if self.v_pu[0] + self.margin_pu >= self.v_pu[1] - self.margin_pu:
            raise ValueError(f"margin_pu {self.margin_pu:g} leaves nothing of v_pu")
        if self.taps[0] > self.taps[1]:
            raise ValueError(f"taps: {self.taps[0]} must not be greater than {self.taps[1]}")
        return self

    @model_validator(mode="after")
    def _can_step(self) -> Self:
        if self.inverters and self.most_q_steps == 0:
            what = f"q_step_pu {self.q_step_pu:g} is more than q_most_pu {self.q_most_pu:g}"
            raise ValueError(f"{what}: inverters would never be asked for any")
        return self

    @property
    def most_q_steps(self) -> int:
        """How many steps of reactive power are within `q_most_pu`."""
        return int(self.q_most_pu / self.q_step_pu + 1e-9)


class PeakSettings(Settings):
    """What is done while the head draws more than a limit: first less voltage, then members are asked."""

    limit_kw: float = Field(gt=0.0, le=1e9, description="What the head may draw, kW.", examples=[3400.0])
    release_kw: float | None = Field(
        default=None, gt=0.0, description="Below this, for hold_s, one measure less, kW. Without it, 90 % of the limit."
    )
    hold_s: float = Field(default=1800.0, ge=0.0, le=86400.0, description="How long a measure stays at least, s.")
    v_low_pu: float | None = Field(
        default=None, gt=0.5, lt=1.0, description="Lower limit of voltages meanwhile, pu.", examples=[0.917]
    )
    members: dict[str, Asked] = Field(
        default={},
        max_length=1000,
        description="What fleets are asked for when less voltage is not enough.",
        examples=[{"plants": {"curtail_pu": 0.5}}],
    )

    @model_validator(mode="after")
    def _does_something(self) -> Self:
        if self.v_low_pu is None and not self.members:
            raise ValueError("needs v_low_pu, members or both")
        if self.below_kw > self.limit_kw:
            raise ValueError(f"release_kw {self.below_kw:g} must not be above limit_kw {self.limit_kw:g}")
        return self

    @property
    def below_kw(self) -> float:
        return 0.9 * self.limit_kw if self.release_kw is None else self.release_kw


class RestorationSettings(Settings):
    """How a fault is isolated, and the rest of the feeder restored."""

    after_s: float = Field(
        default=60.0, ge=0.0, le=86400.0, description="From a lock-out to the first switching, s.", examples=[60.0]
    )
    v_pu: Band = Field(
        default=(0.917, 1.058), description="What voltages must keep afterwards, pu (ANSI C84.1, range B)."
    )
    loading_pu: float = Field(default=1.0, gt=0.0, le=10.0, description="What loadings must keep afterwards, pu.")
    most_operations: int = Field(
        default=4, ge=1, le=8, description="Most switches that are moved to restore what is healthy."
    )
    most_solutions: int = Field(default=200, ge=1, le=100_000, description="Power flows of one search.")

    @model_validator(mode="after")
    def _is_a_band(self) -> Self:
        _check_rises(self.v_pu)
        return self


class AdmsSettings(Stepped):
    """A distribution management system."""

    feeder: str | None = Field(
        default=None,
        max_length=100,
        description="The feeder that is managed, by its federate's name. Without it, the scenario's only one.",
        examples=["grid"],
    )
    monitoring: MonitoringSettings = Field(
        default=MonitoringSettings(), description="Limits and alarms.", examples=[{"v_pu": [0.95, 1.05]}]
    )
    volt_var: VoltVarSettings | None = Field(
        default=None,
        description="Sets the tap changers and banks that are operated, and inverters.",
        examples=[{"objective": "energy"}],
    )
    peak: PeakSettings | None = Field(
        default=None, description="Keeps the head below a limit.", examples=[{"limit_kw": 3400, "v_low_pu": 0.92}]
    )
    restoration: RestorationSettings | None = Field(
        default=None, description="Isolates faults and restores the rest.", examples=[{"after_s": 60}]
    )
    stale_after_s: float | None = Field(
        default=None,
        gt=0.0,
        le=86400.0,
        description="Telemetry that is older is not acted on, s: everything stays as it was told last. Without it, "
        "three steps, its own or the feeder's, whichever are longer.",
        examples=[300.0],
    )

    @model_validator(mode="after")
    def _lowers_voltage_with_something(self) -> Self:
        if self.peak and self.peak.v_low_pu is not None and self.volt_var is None:
            raise ValueError("peak: v_low_pu needs volt_var, which sets the voltage")
        return self

    @model_validator(mode="after")
    def _lowers_voltage(self) -> Self:
        if not (self.peak and self.peak.v_low_pu is not None and self.volt_var):
            return self
        low_pu = self.volt_var.v_pu[0]
        if self.volt_var.objective == "energy" and self.peak.v_low_pu >= low_pu:
            what = f"v_low_pu {self.peak.v_low_pu:g} is not below volt_var's {low_pu:g}"
            raise ValueError(f"peak: {what}, down to which energy is saved at all times: it lowers no voltage")
        return self
