"""Register maps: what a device that is not SunSpec keeps where, and what of it means what. JSON, written by users."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from derloop.kind import Settings
from derloop.texts import Shape
from hil.modbus.pdu import READ_LIMIT, WRITE_LIMIT

JSON_SCHEMA = "https://json-schema.org/draft/2020-12/schema"
MOST_POINTS = 5000

PointName = Annotated[
    str,
    StringConstraints(max_length=60),
    Shape(r"^[A-Za-z][A-Za-z0-9_]*$", "letters, digits and _, beginning with a letter"),
]
PatternText = Annotated[str, Shape(r"^0x[0-9A-Fa-f]{1,16}$", "hexadecimal: 0x8000")]
Text = Annotated[str, StringConstraints(min_length=1, max_length=64)]
PointType = Literal[
    "int16", "uint16", "int32", "uint32", "int64", "uint64", "float32", "float64",
    "enum16", "enum32", "bitfield16", "bitfield32", "bitfield64", "string",
]  # fmt: skip
WordOrder = Literal["high-first", "low-first"]
Numbering = Literal["from-0", "from-1", "traditional"]
StateName = Literal["off", "sleeping", "starting", "running", "throttled", "stopping", "fault", "standby"]


class PointEntry(Settings):
    """One value of the device."""

    address: int = Field(ge=0, le=465_536, description="Its first register, in the map's way of numbering.")
    type: PointType
    registers: Literal["holding", "input"] | None = Field(
        default=None, description="Holding registers (function 3; the default) or input registers (function 4)."
    )
    length: int | None = Field(default=None, ge=1, le=READ_LIMIT, description="Registers of a string.")
    access: Literal["r", "w", "rw"] = "r"
    scale: float = Field(default=1.0, description="What one step of the register is in the point's unit.")
    offset: float = Field(default=0.0, description="The value of a register that holds 0, in the point's unit.")
    unit: str = Field(default="", max_length=20)
    low: float | None = Field(default=None, description="Least value that may be written, in the point's unit.")
    high: float | None = Field(default=None, description="Greatest value that may be written.")
    absent: PatternText | None = Field(default=None, description='The registers that say "no value": 0x8000 ...')
    symbols: Mapping[Text, int] = Field(default={}, description="Names of an enumeration's values, or of bits.")
    word_order: WordOrder | None = Field(default=None, description="Where it differs from the map's.")
    byte_order: WordOrder | None = Field(default=None, description="Where it differs from the map's.")
    write_with: Literal[6, 16] | None = Field(default=None, description="Where it differs from the map's.")
    description: str = Field(default="", max_length=400)


class Reads(Settings):
    """What one read may ask for."""

    at_most: int = Field(default=READ_LIMIT, ge=1, le=READ_LIMIT, description="Registers.")
    over_gaps: bool = Field(
        default=False, description="Whether registers between points, which the map does not name, can be read."
    )


class Writes(Settings):
    """What one write may carry."""

    at_most: int = Field(default=WRITE_LIMIT, ge=1, le=WRITE_LIMIT, description="Registers.")


class Reading(Settings):
    """Where a quantity is read."""

    points: tuple[PointName, ...] = Field(min_length=1, max_length=3, description="Their mean is taken: of phases.")
    factor: float = Field(default=1.0, description="-1 where the device counts what is drawn as positive.")
    offset: float = 0.0


class StateReading(Settings):
    """Where the operating state is read."""

    point: PointName
    codes: Mapping[Text, StateName] = Field(
        min_length=1, description="What each number, or symbol, of the point means. Others mean nothing."
    )


class Measured(Settings):
    """What is measured. Powers are positive when injected."""

    p_w: Reading | None = None
    q_var: Reading | None = None
    v_ln_v: Reading | None = Field(default=None, description="Line to neutral.")
    v_ll_v: Reading | None = Field(default=None, description="Line to line.")
    f_hz: Reading | None = None
    state: StateReading | None = None
    alarms: Reading | None = Field(default=None, description="A bit field.")
    soc_pct: Reading | None = None


class RatingEntry(Settings):
    """A rating: a point, or a number that holds for every device of the kind."""

    point: PointName | None = None
    factor: float = 1.0
    value: float | None = Field(default=None, ge=0)

    @model_validator(mode="after")
    def _is_one_of_two(self) -> Self:
        if (self.point is None) == (self.value is None):
            raise ValueError("give either point or value")
        return self


class Nameplate(Settings):
    """What the device is rated for."""

    p_max_w: RatingEntry | None = None
    s_max_va: RatingEntry | None = None
    q_max_injected_var: RatingEntry | None = None
    q_max_absorbed_var: RatingEntry | None = None
    p_max_charge_w: RatingEntry | None = None
    p_max_discharge_w: RatingEntry | None = None
    v_nominal_v: RatingEntry | None = None
    energy_wh: RatingEntry | None = None


Assignments = Mapping[PointName, float | Text]


class Command(Settings):
    """How the device is told one setpoint. Values are written first, what is in `on` last."""

    point: PointName
    factor: float = Field(default=1.0, description="What 1 W, 1 var, or a limit of 1 (all of the power) is there.")
    modes: Assignments = Field(default={}, description="What other points hold, to say how the value is meant.")
    on: Assignments = Field(default={}, description="What makes the device obey. Empty: it always does.")
    off: Assignments = Field(default={}, description="What ends it. Empty: nothing does.")
    watchdog: PointName | None = Field(
        default=None,
        description="Takes the seconds after which the device lets go, unless it is told again.",
    )


class CommandMeanings(Settings):
    """What the device can be told. Powers are positive when injected."""

    limit_fraction: Command | None = Field(default=None, description="Most active power, a fraction of the rated one.")
    p_w: Command | None = Field(default=None, description="An active power; below 0 to charge.")
    q_var: Command | None = None


class HeartbeatEntry(Settings):
    """A register that a controller must keep changing."""

    point: PointName
    seconds: PointName | None = Field(default=None, description="The point that says for how long the device waits.")
    rolls_at: int = Field(default=65_535, ge=1, description="After this number comes 0.")


class IdentityPart(Settings):
    """A part of what the device is called: a point that holds it, or the words."""

    point: PointName | None = None
    text: Text | None = None

    @model_validator(mode="after")
    def _is_one_of_two(self) -> Self:
        if (self.point is None) == (self.text is None):
            raise ValueError("give either point or text")
        return self


class IdentityEntry(Settings):
    """Who answers."""

    manufacturer: IdentityPart | None = None
    model: IdentityPart | None = None
    version: IdentityPart | None = None
    serial: IdentityPart | None = None
    expect: Assignments = Field(default={}, description="What points must hold; a device that differs is another one.")


class RegisterFile(Settings):
    """A register map."""

    schema_: str | None = Field(default=None, alias="$schema", description="The JSON Schema, for editors.")
    name: str = Field(min_length=1, max_length=60)
    description: str = Field(default="", max_length=4000)
    source: str = Field(default="", max_length=400, description="Where the map is documented.")
    numbering: Numbering = Field(
        default="from-0",
        description="from-0: as on the wire. from-1: one more. traditional: 40001 is the first holding register, "
        "30001 the first input register.",
    )
    word_order: WordOrder = "high-first"
    byte_order: WordOrder = "high-first"
    write_with: Literal[6, 16] = Field(default=16, description="The function that writes; 6 writes one register.")
    reads: Reads = Reads()
    writes: Writes = Writes()
    points: Mapping[PointName, PointEntry] = Field(min_length=1, max_length=MOST_POINTS)
    identity: IdentityEntry = IdentityEntry()
    measured: Measured = Measured()
    nameplate: Nameplate = Nameplate()
    commands: CommandMeanings = CommandMeanings()
    heartbeat: HeartbeatEntry | None = None


def register_file_schema() -> dict[str, Any]:
    """Return the JSON Schema of register maps."""
    return {"$schema": JSON_SCHEMA, **RegisterFile.model_json_schema(by_alias=True), "title": "derloop register map"}
