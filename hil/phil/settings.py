"""What a bench file says of a device that really draws and feeds power."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, StringConstraints, model_validator

from derloop.kind import Settings
from hil.instruments.file import Phase, Range

Reason = Annotated[str, StringConstraints(strip_whitespace=True, min_length=8)]


class Answers(Settings):
    """How the device's power answers its voltage, in pu of its rating for 1 pu of voltage, positive when injected."""

    p_per_v: float | None = Field(
        default=None,
        description="-2: a resistor that draws the rating; 0: constant power. Without it, -2, or the steepest part of "
        "the volt-watt curve that the scenario asks for where that is steeper.",
    )
    q_per_v: float | None = Field(
        default=None, description="Without it, the steepest part of the volt-var curve that the scenario asks for."
    )


class DcSupply(Settings):
    """What stands on the device's DC side: a voltage with a limit of current, or a photovoltaic curve."""

    source: str = Field(description="An instrument of the bench, of kind dc-source.")
    v_dc_v: float | None = Field(default=None, gt=0)
    i_dc_a: float | None = Field(default=None, gt=0)
    voc_v: float | None = Field(default=None, gt=0, description="Open-circuit voltage.")
    isc_a: float | None = Field(default=None, gt=0, description="Short-circuit current.")
    vmp_v: float | None = Field(default=None, gt=0, description="Voltage of most power.")
    imp_a: float | None = Field(default=None, gt=0, description="Current of most power.")

    @model_validator(mode="after")
    def _is_one_of_two(self) -> Self:
        plain, curve = (self.v_dc_v, self.i_dc_a), (self.voc_v, self.isc_a, self.vmp_v, self.imp_a)
        is_plain = None not in plain and not any(curve)
        is_curve = None not in curve and not any(plain)
        if is_plain or is_curve:
            return self
        raise ValueError("give v_dc_v and i_dc_a, or voc_v, isc_a, vmp_v and imp_a")


class PowerSettings(Settings):
    """Between which instruments a device stands, and how it stands for the scenario's."""

    ac_source: str = Field(description="An instrument of the bench, of kind ac-source.")
    phases: tuple[Phase, ...] = Field(
        default=(1,), min_length=1, max_length=3, description="Phases of the AC source that the device is connected to."
    )
    nominal_v: float = Field(gt=0, description="The device's voltage at 1 pu, line to neutral, V.")
    f_hz: float = Field(default=60.0, gt=0, description="Frequency where the scenario has none, Hz.")
    scale: float = Field(
        default=1.0, gt=0, description="The scenario's device is this many times as large: powers are multiplied by it."
    )
    meter: str | None = Field(
        default=None, description="An instrument of kind meter. Without it, the device's own measurements count."
    )
    filter_s: float = Field(default=0.0, ge=0, description="Time constant of the low-pass on measured powers.")
    v_pu: Range = Field(
        default=Range(low=0.85, high=1.15), description="Voltages that may be given to the device; else the run ends."
    )
    settle_s: float = Field(default=1.0, ge=0, le=600, description="From switching on until the device is spoken to.")
    dc: DcSupply | None = None
    answers: Answers = Answers()
    delay_steps: int = Field(default=0, ge=0, le=1000, description="Steps by which the device's answer is late.")
    least_margin: float = Field(default=2.0, ge=1, description="Least gain margin with which it is energised.")
    unstable_because: Reason | None = Field(
        default=None, description="Energise even so; why is said before the run, and recorded."
    )

    @property
    def instruments(self) -> frozenset[str]:
        """The names of the instruments between which the device stands."""
        return frozenset(filter(None, (self.ac_source, self.meter, self.dc.source if self.dc else None)))
