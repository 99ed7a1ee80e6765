"""Texts of a setting that look like something: a name, a port. Whoever wrote another is told in words what it takes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core.core_schema import CoreSchema, no_info_after_validator_function


@dataclass(frozen=True, slots=True)
class Shape:
    """Marks, in the type of a setting, what its texts look like. The JSON Schema has it as a pattern."""

    pattern: str
    """A regular expression, from `^` to `$`."""
    words: str
    """What a text that fits is, as it goes on after "must be"."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return no_info_after_validator_function(self._fitting, handler(source))

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {**handler(core), "pattern": self.pattern}

    def _fitting(self, text: str) -> str:
        if not re.fullmatch(self.pattern, text):
            raise ValueError(f"must be {self.words}")
        return text


NAME = Shape(r"^[a-z][a-z0-9_]*$", "lower-case letters, digits and _, beginning with a letter")
SHORT_NAME = Shape(r"^[a-z][a-z0-9_]{0,39}$", f"{NAME.words}, at most 40")
LABEL = Shape(r"^[A-Za-z0-9_][A-Za-z0-9_.\-]*$", "letters, digits, _, . and -, beginning with neither . nor -")
SIGNAL = Shape(r"^[^.\s]+\.[^\s]+$", "federate.port: grid.head_kw")
PORT = Shape(r"^[a-z][a-z0-9_]*\.[a-z][a-z0-9_.]*$", "federate.port, in lower case: grid.head_kw")
Currency = Annotated[str, Shape(r"^[A-Z]{3}$", "three capital letters, as in ISO 4217: USD")]
