"""Frequency regulation: power against the frequency, or after a regulation signal.

With the most power `P`, the offered share `c`, and the base `b` that brings the state of charge back,

    droop:    p = -c P clip(dead(f - f0) / (R f0), -1, 1)     and b where f is in the dead band
    signal:   p = b + c P s            with -1 <= s <= 1, positive: inject
    b = clip((E - E_target) / 1 h, -r P, r P)

`R` is the droop: the deviation, pu of nominal frequency, at which all that is offered is given; dead() takes the dead
band off. (Droop and dead band as of frequency containment reserves: Commission Regulation (EU) 2017/1485, article 154;
restoring the state of charge inside the dead band: ENTSO-E, "FCR of limited energy reservoirs".)
"""

from __future__ import annotations

from typing import Literal, Self

import numpy as np
from pydantic import Field, model_validator

from derloop.contract import FloatArray
from derloop.kind import Context, Settings
from federates.der.course import Allowed, Course, read_course

SIGNAL = Allowed(-1.0, 1.0, "pu")


class Regulation(Settings):
    """Frequency regulation."""

    droop_pu: float = Field(
        default=0.01,
        gt=0.0,
        le=0.2,
        description="Deviation of the frequency at which all that is offered is given, pu.",
        examples=[0.01],
    )
    deadband_hz: float = Field(
        default=0.02, ge=0.0, le=1.0, description="Deviation of the frequency up to which nothing is done, Hz.",
        examples=[0.02],
    )  # fmt: skip
    nominal_hz: Literal[50, 60] = Field(default=60, description="Nominal frequency, Hz.", examples=[60])
    signal: Course | None = Field(
        default=None,
        description="A regulation signal to follow in place of the frequency, -1 to 1, positive: inject.",
        examples=[{"file": "profiles/regulation.csv", "column": "signal_pu"}],
    )
    offered_pu: float = Field(
        default=1.0, gt=0.0, le=1.0, description="Share of the power that is offered.", examples=[0.8]
    )
    target_soc_pu: float = Field(
        default=0.5, ge=0.0, le=1.0, description="State of charge to which it returns, pu.", examples=[0.5]
    )
    restore_pu: float = Field(
        default=0.0,
        ge=0.0,
        le=1.0,
        description="Most power with which it returns there, pu of its power.",
        examples=[0.1],
    )

    @model_validator(mode="after")
    def _keeps_what_it_offers(self) -> Self:
        total = self.offered_pu + self.restore_pu
        if self.signal is not None and total > 1.0:
            raise ValueError(f"offered_pu and restore_pu are {total:g} of the power; at most 1 with a signal")
        return self

    @property
    def needs_frequency(self) -> bool:
        return self.signal is None


class Regulator:
    """Regulation by n batteries."""

    def __init__(self, settings: Regulation, context: Context, step_ns: int) -> None:
        self.settings = settings
        path = ("regulation", "signal")
        self._signal = None if settings.signal is None else read_course(settings.signal, path, SIGNAL, context, step_ns)

    def power_kw(self, now_ns: int, f_hz: FloatArray, power_kw: FloatArray, above_kwh: FloatArray) -> FloatArray:
        """Return the power (n,) that is asked for.

        f_hz: (n,) or one for all, not looked at with a signal. power_kw: (n,), the most. above_kwh: (n,), what is
        stored above the target.
        """
        s = self.settings
        restore = np.clip(above_kwh, -s.restore_pu * power_kw, s.restore_pu * power_kw)
        offered = s.offered_pu * power_kw
        if self._signal is not None:
            return restore + offered * self._signal.at(now_ns)
        off_hz = f_hz - s.nominal_hz
        beyond = off_hz - np.clip(off_hz, -s.deadband_hz, s.deadband_hz)
        asked = -offered * np.clip(beyond / (s.droop_pu * s.nominal_hz), -1.0, 1.0)
        return np.where(beyond == 0.0, restore, asked)
