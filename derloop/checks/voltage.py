"""Check `voltage`: service voltages stay within a range of ANSI C84.1."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Literal

from pydantic import Field, StringConstraints, computed_field

from derloop.checks.elements import left_out, without
from derloop.checks.stays_within import Band, Sustained, judge_band, of_all
from derloop.checks.window import in_unit, read_signals, require_unit
from derloop.verdict import CheckKind, Recorded, SignalInfo, Verdict

EVERYWHERE = "*.v_pu"


@dataclass(frozen=True, slots=True)
class Range:
    """Limits of service voltage, pu of nominal."""

    low: float
    high: float
    source: str


RANGES = {
    "ansi-c84.1-a": Range(0.95, 1.05, "ANSI C84.1-2020, table 1, range A, service voltage, 114 to 126 V at 120 V"),
    "ansi-c84.1-b": Range(0.917, 1.058, "ANSI C84.1-2020, table 1, range B, service voltage, 110 to 127 V at 120 V"),
}


class Voltage(Sustained):
    """Service voltages stay within a range of ANSI C84.1."""

    range: Literal["ansi-c84.1-a", "ansi-c84.1-b"] = Field(
        "ansi-c84.1-a",
        description="ansi-c84.1-a: 0.95 to 1.05 pu. ansi-c84.1-b: 0.917 to 1.058 pu. Service voltage, 120 V base.",
    )
    signal: str | None = Field(
        None,
        min_length=1,
        max_length=200,
        description="Glob of federate.port, in pu; without it, the voltages of all nodes of the feeder.",
        examples=["grid.pv.v_pu"],
    )
    ignore: tuple[Annotated[str, StringConstraints(min_length=1, max_length=200)], ...] = Field(
        (),
        max_length=1000,
        description="Globs of nodes or buses that are not judged, such as a regulator's own bus.",
        examples=[["rg60", "sourcebus.*"]],
    )

    @computed_field  # type: ignore[prop-decorator]
    @property
    def min_pu(self) -> float:
        return RANGES[self.range].low

    @computed_field  # type: ignore[prop-decorator]
    @property
    def max_pu(self) -> float:
        return RANGES[self.range].high


def judge(settings: Voltage, recorded: Recorded) -> Verdict:
    """Return whether the voltages stay within the range. Raises: NothingToJudge."""
    signals = _feeder(recorded) if settings.signal is None else recorded.select(settings.signal)
    found = read_signals(recorded, signals, settings.signal or EVERYWHERE, settings)
    require_unit(found, "pu")
    limits = RANGES[settings.range]
    band = Band(limits.low, limits.high, "pu")
    judged = without(found, settings.ignore, _node_and_bus)
    verdict = judge_band(KIND.name, judged, band, settings, limits.source)
    return replace(verdict, text=verdict.text + left_out(found, judged))


def _feeder(recorded: Recorded) -> tuple[SignalInfo, ...]:
    """Return the node voltages of the feeder, which is who also has a head; all voltages where nobody has."""
    everyone = recorded.select(EVERYWHERE)
    heads = {signal.name.removesuffix("head_kw") for signal in recorded.select("*.head_kw")}
    return tuple(s for s in everyone if s.name.removesuffix("v_pu") in heads) or everyone


def _node_and_bus(label: str) -> tuple[str, str]:
    """Return the node `label` ("671.2") and its bus ("671")."""
    return label, label.partition(".")[0]


KIND = CheckKind(
    name="voltage",
    summary="Voltages of the feeder's nodes stay within a range of ANSI C84.1.",
    settings=Voltage,
    judge=judge,
    misfit=in_unit("pu"),
    signals=lambda settings: ((("signal",), settings.signal or EVERYWHERE),),
    fails_for_good=of_all,
)
