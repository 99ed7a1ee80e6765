"""Where a device is to be reached, as bench files and emulator files say it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from derloop.kind import Settings
from hil.modbus.framing import MBAP, RTU, Framing

Port = Annotated[int, Field(ge=0, le=65535)]
Unit = Annotated[int, Field(ge=0, le=255)]


class Tcp(Settings):
    """Modbus TCP."""

    transport: Literal["tcp"] = "tcp"
    host: str = Field(default="127.0.0.1", description="Host name or address.")
    port: Port = Field(default=502, description="0, for an emulator: one that is free.")

    @property
    def framing(self) -> Framing:
        return MBAP

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


class RtuOverTcp(Settings):
    """The bytes of a serial line over TCP, as serial device servers carry them."""

    transport: Literal["rtu-over-tcp"] = "rtu-over-tcp"
    host: str = Field(default="127.0.0.1", description="Host name or address.")
    port: Port = Field(description="0, for an emulator: one that is free.")

    @property
    def framing(self) -> Framing:
        return RTU

    def __str__(self) -> str:
        return f"rtu:{self.host}:{self.port}"


class Tls(Settings):
    """Modbus/TCP Security: TLS 1.2 or newer, both sides with certificates (MB-TCP-Security-v21)."""

    transport: Literal["tls"] = "tls"
    host: str = Field(default="127.0.0.1", description="Host name or address.")
    port: Port = Field(default=802, description="0, for an emulator: one that is free.")
    certificate: Path = Field(description="PEM file with our certificate, and its chain.")
    key: Path = Field(description="PEM file with our private key.")
    authority: Path = Field(description="PEM file with the authorities that sign the other side's certificate.")
    server_name: str | None = Field(
        default=None, description="Name in the server's certificate, where it is not the host's."
    )

    @property
    def framing(self) -> Framing:
        return MBAP

    def __str__(self) -> str:
        return f"tls:{self.host}:{self.port}"


class Serial(Settings):
    """A serial line with RTU frames, 8 data bits."""

    transport: Literal["serial"] = "serial"
    path: Path = Field(description="The serial port: /dev/ttyUSB0. For an emulator: where its link is made.")
    baud: int = Field(default=9600, ge=300, le=1_000_000, description="Bits a second.")
    parity: Literal["none", "even", "odd"] = "none"
    stop_bits: Literal[1, 2] = 1

    @property
    def framing(self) -> Framing:
        return RTU

    @property
    def bits(self) -> str:
        """How it is set up, in words."""
        return f"{self.baud} baud, parity {self.parity}, {self.stop_bits} stop bits"

    @property
    def byte_s(self) -> float:
        """How long one byte takes on the wire: start, 8 data, parity and stop bits."""
        return (9 + (self.parity != "none") + self.stop_bits) / self.baud

    @property
    def silence_s(self) -> float:
        """How long the line is silent before a frame: 3.5 characters, above 19200 baud 1.75 ms (section 2.5.1.1)."""
        return 3.5 * self.byte_s if self.baud <= 19200 else 1.75e-3

    def __str__(self) -> str:
        return f"{self.path}"


Endpoint = Annotated[Tcp | RtuOverTcp | Tls | Serial, Field(discriminator="transport")]


def located(endpoint: Endpoint, folder: Path) -> Endpoint:
    """Return an endpoint whose relative paths start at `folder`."""
    given = {name: getattr(endpoint, name) for name in type(endpoint).model_fields}
    paths = {name: folder / value for name, value in given.items() if isinstance(value, Path)}
    return endpoint.model_copy(update=paths)


@dataclass(frozen=True, slots=True)
class Address:
    """Where a device is reached, and its unit number there."""

    endpoint: Endpoint
    unit: int = 1

    def __str__(self) -> str:
        return f"{self.endpoint} unit {self.unit}"


class Timing(Settings):
    """How long to wait for a device, and how often to ask it."""

    deadline_s: float = Field(
        default=2.0, gt=0, le=600, description="For a whole exchange: connecting, every attempt, every byte."
    )
    attempts: int = Field(default=2, ge=1, le=20, description="Within the deadline.")
    interval_s: float = Field(
        default=0.0,
        ge=0,
        le=60,
        description="Least time between two requests on the connection: SMA inverters want a second.",
    )
    busy_pause_s: float = Field(
        default=0.05,
        ge=0,
        le=60,
        description="How long to leave a device alone that says 'busy', or refuses the connection.",
    )
    settle_s: float = Field(
        default=0.0,
        ge=0,
        le=60,
        description="Serial lines: how long the line must be silent after an answer that did not come, so that a late "
        "one cannot pass for the next; longer than the device is ever late. 0: as long as each attempt is given, with "
        "such silences between them.",
    )

    @property
    def quiet_s(self) -> float:
        """`settle_s`, or what stands for it: with it, attempts and the silences between them fill the deadline."""
        return self.settle_s or self.deadline_s / (2 * self.attempts - 1)
