"""What a scenario says about real time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal

from pydantic import Field

from derloop.contract import Interface
from derloop.errors import Problem
from derloop.kind import Settings
from derloop.pacing import Overrun, Pacing

LONGEST_S = 86400.0


class PacingSettings(Settings):
    """How the run is held to the wall clock."""

    mode: Literal["auto", "real-time", "off"] = Field(
        default="auto",
        description="auto: held to the wall clock where a federate lives in wall-clock time (equipment, or an emulator "
        "on its own clock), else as fast as it goes. real-time: held to it in any case. off: as fast as it goes; "
        "refused with such a federate.",
    )
    speed: float = Field(
        default=1.0,
        ge=1e-6,
        le=1e6,
        description="Scenario seconds in a wall-clock second; 1 where a federate lives in wall-clock time.",
    )
    overrun: Overrun = Field(
        default="warn",
        description="Where a step ends too late. warn: counted, and the run catches up. skip: also, a federate that "
        "lives in wall-clock time is not stepped in an instant that it missed wholly; its last values hold. "
        "abort: the run ends and names who took how long.",
    )
    late_s: float | None = Field(
        default=None,
        gt=0,
        le=LONGEST_S,
        description="How long after its due time a step may end, wall-clock seconds; "
        "without it, until the federate's next step is due.",
    )
    max_age_s: float | None = Field(
        default=None,
        gt=0,
        le=LONGEST_S,
        description="A check that rests on older measurements is INCONCLUSIVE, wall-clock seconds; "
        "without it, age is recorded and not judged.",
    )

    def pacing(self, interfaces: Mapping[str, Interface]) -> Pacing | None:
        """Return how a run of these federates is paced, None where it is not."""
        if self.mode == "off" or (self.mode == "auto" and not _paced(interfaces)):
            return None
        return Pacing(self.speed, self.overrun, self.late_s, self.max_age_s)

    def problems(self, interfaces: Mapping[str, Interface]) -> Iterator[Problem]:
        """Yield why these federates cannot be paced so."""
        if paced := _paced(interfaces):
            lives = f"{', '.join(map(repr, paced))} live{'s' * (len(paced) == 1)} in wall-clock time"
            if self.mode == "off":
                yield Problem("/pacing/mode", f"'off', but {lives}; possible are 'auto' and 'real-time'")
            if self.speed != 1.0:
                yield Problem(
                    "/pacing/speed", f"{self.speed:.15g}, but {lives}, of which a second is one: it must be 1"
                )


def _paced(interfaces: Mapping[str, Interface]) -> list[str]:
    return [name for name, interface in interfaces.items() if interface.paced]
