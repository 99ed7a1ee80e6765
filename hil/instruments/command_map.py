"""Which SCPI command sets or reads what: data, since instruments of one sort differ in words alone.

Source: SCPI-1999 (syntax, the error queue of SYSTem:ERRor?, INSTrument/SOURce/MEASure/OUTPut subsystems), IEEE 488.2
(*IDN?, *CLS).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from derloop.errors import Problem, ScenarioError, did_you_mean
from derloop.kind import Settings
from derloop.validation import read_model

_PLACE = re.compile(r"\{([a-z]+)\}")
_PLACES = {"value", "phase"}


def _is_template(text: str) -> str:
    """Return a command; raise ValueError where it has other places than {value} and {phase}, or more than one line."""
    if unknown := set(_PLACE.findall(text)) - _PLACES:
        raise ValueError(f"has a place {{{unknown.pop()}}}; there are {{value}} and {{phase}}")
    if not text.isascii() or not text.isprintable():
        raise ValueError("must be one line of printable ASCII")
    return text


Command = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_is_template)]
Quantity = Literal["v_ln_v", "f_hz", "output", "v_dc_v", "i_dc_a", "p_dc_w", "voc_v", "isc_a", "vmp_v", "imp_a"]
"""What a source can be set to. `output` is 0 or 1."""
Measured = Literal["p_w", "q_var", "v_ln_v", "i_a", "f_hz", "v_dc_v", "i_dc_a", "p_dc_w"]
"""What an instrument can measure."""


class Setting(Settings):
    """One thing that can be set."""

    command: Command = Field(description="With {value}, and {phase} (1, 2, 3) where each phase is set by itself.")
    query: Command = Field(description="Asks what is set, to verify it.")
    decimals: int = Field(default=3, ge=0, le=9, description="With how many decimals the value is sent.")
    words: Mapping[Literal["0", "1"], str] = Field(
        default_factory=dict, description="What stands for 0 and 1 in place of digits: ON, OFF."
    )
    tolerance: float = Field(default=1e-3, ge=0, description="How far what is set may be from what was asked.")

    @model_validator(mode="after")
    def _can_be_verified(self) -> Self:
        if "{value}" not in self.command:
            raise ValueError("command has no {value}: it would set the same whatever is asked for")
        if "{value}" in self.query:
            raise ValueError("query has a {value}, and asks for it")
        if self.each_phase != ("{phase}" in self.query):
            raise ValueError("command and query must both have {phase}, or none of them")
        if len(self.words) == 1:
            raise ValueError(f"words have nothing for {'1' if '0' in self.words else '0'}")
        return self

    @property
    def each_phase(self) -> bool:
        return "{phase}" in self.command

    def said(self, value: float, phase: int) -> str:
        """Return the command that sets `value`."""
        word = self.words.get("1" if value else "0") if self.words else f"{value:.{self.decimals}f}"
        return filled(self.command, str(word), phase)

    def heard(self, text: str) -> float:
        """Return the value in an answer to `query`; raise ValueError where there is none."""
        for digit, word in self.words.items():
            if text.strip().upper() in (word.upper(), digit):
                return float(digit)
        return float(text)


class Reading(Settings):
    """One thing that is measured."""

    query: Command = Field(description="Asks for it, with {phase} where each phase is asked by itself.")
    factor: float = Field(default=1.0, description="value = factor * answer: -1 turns the sign of a power.")

    @property
    def each_phase(self) -> bool:
        return "{phase}" in self.query


class CommandMap(Settings):
    """What an instrument understands."""

    schema_: str | None = Field(default=None, alias="$schema")
    name: str = Field(min_length=1, max_length=80)
    description: str = Field(default="", max_length=2000)
    begin: tuple[Command, ...] = Field(default=("*CLS",), description="Sent once, after the connection is made.")
    identify: Command = "*IDN?"
    error: Command = Field(default="SYST:ERR?", description="Asks for the oldest error; 0 means that there is none.")
    settings: Mapping[Quantity, Setting] = Field(default_factory=dict)
    readings: Mapping[Measured, Reading] = Field(default_factory=dict)


def filled(command: str, value: str = "", phase: int = 1) -> str:
    """Return a command with its places filled."""
    return command.replace("{value}", value).replace("{phase}", str(phase))


def read_command_map(name: str, folder: Path) -> CommandMap:
    """Return a map in a file that starts at `folder`, or a shipped one by its name ("scpi-99-ac-source").

    Raises ScenarioError with everything that is wrong in it, or where there is none.
    """
    own, shipped = folder / name, _shipped()
    try:
        is_own = own.is_file()
    except OSError as failure:  # longer than the name of a file can be, or in a folder that is not for us
        raise ScenarioError([Problem("", f"cannot be read: {failure.strerror}")], name) from failure
    if is_own:
        return read_model(CommandMap, own)
    if name not in shipped:
        what = (
            f"there is no such file beside the bench file, and no such map is shipped{did_you_mean(name, [*shipped])}"
        )
        raise ScenarioError([Problem("", what)], name)
    return read_model(CommandMap, shipped[name])


def _shipped() -> dict[str, Path]:
    maps = Path(str(files("hil.instruments") / "maps"))
    return {path.stem: path for path in sorted(maps.glob("*.json"))}
