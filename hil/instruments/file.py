"""What a bench file says of instruments: where they are, what they understand, and within which limits they work."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from derloop.kind import Settings
from hil.modbus.endpoint import Endpoint, Unit

Phase = Literal[1, 2, 3]


class TcpSocket(Settings):
    """SCPI over a plain TCP socket."""

    transport: Literal["tcp"] = "tcp"
    host: str = Field(default="127.0.0.1", min_length=1, description="Host name or address.")
    port: int = Field(default=5025, ge=1, le=65535)

    @property
    def resource(self) -> str:
        """The VISA resource name."""
        return f"TCPIP::{self.host}::{self.port}::SOCKET"


class SerialPort(Settings):
    """SCPI over a serial line, 8 data bits, no parity, 1 stop bit."""

    transport: Literal["serial"]
    path: Path = Field(description="The serial port: /dev/ttyUSB0.")
    baud: int = Field(default=9600, ge=300, le=1_000_000)

    @property
    def resource(self) -> str:
        """The VISA resource name."""
        return f"ASRL{self.path}::INSTR"


class ModbusAt(Settings):
    """Modbus: what the instrument understands is then a register map."""

    transport: Literal["modbus"]
    endpoint: Endpoint
    unit: Unit = 1


class Range(Settings):
    """Between what a source may be set, and how fast."""

    low: float
    high: float
    rate_per_s: float | None = Field(default=None, gt=0, description="Most change for each second.")

    @model_validator(mode="after")
    def _rises(self) -> Self:
        if self.low > self.high:
            raise ValueError(f"low, {self.low:g}, is above high, {self.high:g}")
        return self


class InstrumentSettings(Settings):
    """What every instrument has."""

    description: str = Field(default="", max_length=1000)
    at: Annotated[TcpSocket | SerialPort | ModbusAt, Field(discriminator="transport")]
    commands: str = Field(
        description="SCPI: a shipped command map (scpi-99-ac-source ...), or the file of one. Modbus: the file of a "
        "register map whose points are named as quantities: v_ln_v_1, output, p_w_1 ...; or sunspec, for a meter of "
        "models 201 to 204, 211 to 214."
    )
    identity: str = Field(
        default="",
        max_length=200,
        description="What its answer to *IDN? must contain; over Modbus, what it says of its manufacturer, model, "
        "version and serial number.",
    )
    deadline_s: float = Field(default=2.0, gt=0, le=60, description="For each command and its answer.")
    phases: tuple[Phase, ...] = Field(default=(1, 2, 3), min_length=1, max_length=3)


class AcSourceSettings(InstrumentSettings):
    """A source that gives a device the voltage of the grid."""

    kind: Literal["ac-source"] = "ac-source"
    v_ln_v: Range = Field(description="Voltages that may be set, line to neutral, V.")
    f_hz: Range = Field(default=Range(low=55.0, high=65.0), description="Frequencies that may be set, Hz.")


class DcSourceSettings(InstrumentSettings):
    """A source on the device's DC side: a photovoltaic array, a battery."""

    kind: Literal["dc-source"]
    phases: tuple[Phase, ...] = (1,)
    v_dc_v: Range = Field(description="Voltages that may be set, V.")
    i_dc_a: Range = Field(description="Currents that may be set, A.")


class MeterSettings(InstrumentSettings):
    """A power meter at the device's terminals."""

    kind: Literal["meter"]


InstrumentEntry = Annotated[AcSourceSettings | DcSourceSettings | MeterSettings, Field(discriminator="kind")]
