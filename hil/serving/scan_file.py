"""Scan files: everything that was read of one unit, as `derloop bench scan --registers` writes it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from derloop.kind import Settings
from derloop.validation import read_model
from hil.serving.quirks import MOST_MS

Word = Annotated[int, Field(ge=0, le=65_535)]
Span = tuple[Word, Annotated[int, Field(ge=1, le=65_536)]]


class Run(Settings):
    """Registers that stand one after the other."""

    address: Word
    words: str = Field(description="Hexadecimal, high byte first.")

    @field_validator("words")
    @classmethod
    def _are_words(cls, words: str) -> str:
        if len(bytes.fromhex(words)) % 2:
            raise ValueError("words are of two bytes each")
        return words

    @property
    def registers(self) -> list[int]:
        data = bytes.fromhex(self.words)
        return [int.from_bytes(data[at : at + 2]) for at in range(0, len(data), 2)]


class SunSpecModels(Settings):
    """What a SunSpec device has."""

    base: Word
    models: tuple[int, ...]


class MeasuredLatency(Settings):
    """How long answers took, ms."""

    median: float = Field(ge=0, le=MOST_MS)
    p95: float = Field(ge=0, le=MOST_MS)


class Behaviour(Settings):
    """How a device answered."""

    latency_ms: MeasuredLatency | None = None
    interval_s: float = Field(
        default=0.0, ge=0, le=86_400, description="Least time between two requests that it takes."
    )
    connections: int | None = Field(default=None, ge=0, description="1: one at a time; 2: two or more.")
    functions: tuple[int, ...] = Field(default=(), description="That it answered.")
    untried: tuple[int, ...] = Field(default=(), description="Functions that nobody knows of.")


class ScanFile(Settings):
    """What was found of one unit."""

    derloop_scan: Literal[1] = Field(description="Version of this format.")
    device: str
    endpoint: str
    unit: int
    scanned: str = Field(description="When, ISO 8601.")
    registers: tuple[Run, ...] = Field(default=(), description="Holding registers.")
    input_registers: tuple[Run, ...] = Field(
        default=(), description="Input registers. Without any, who reads these is answered as of holding registers."
    )
    refused: tuple[Span, ...] = Field(
        default=(), description="First holding registers and counts of readings that it refused."
    )
    sunspec: SunSpecModels | None = None
    behaviour: Behaviour | None = None

    @model_validator(mode="after")
    def _has_registers(self) -> Self:
        if not self.registers and not self.input_registers:
            raise ValueError("registers and input_registers are both empty: nothing was read of it")
        return self


def read_scan(path: Path) -> ScanFile:
    """Return a scan file; raise ScenarioError with everything that is wrong in it."""
    return read_model(ScanFile, path)
