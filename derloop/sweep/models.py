"""What stands in a sweep file, as frozen models."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import Field, StringConstraints, field_validator, model_validator

from derloop.document import MAX_SHOWN
from derloop.kind import Settings
from derloop.texts import SHORT_NAME

Path_ = Annotated[str, StringConstraints(min_length=1, max_length=400)]
MOST_TRIALS = 100_000
Design = Literal["grid", "list", "latin-hypercube"]


class Parameter(Settings):
    """What differs from run to run: values that are listed, or a range."""

    path: Path_ | Annotated[tuple[Path_, ...], Field(min_length=1, max_length=100)] = Field(
        description="The setting, as in --set: dotted or a JSON pointer. Of several, all get the same value.",
        examples=["federates.batteries.energy_kwh"],
    )
    name: str = Field("", max_length=80, description="Its column in the table. Without it, the (first) path.")
    values: tuple[Any, ...] | None = Field(
        None, min_length=1, max_length=MOST_TRIALS, description="Its values, each as JSON.", examples=[[5, 10, 13.5]]
    )
    low: float | None = Field(None, ge=-1e12, le=1e12, description="Least value of a range.", examples=[5])
    high: float | None = Field(None, ge=-1e12, le=1e12, description="Greatest value of a range.", examples=[20])
    scale: Literal["linear", "log"] = Field("linear", description="How a range is divided.")
    whole: bool = Field(False, description="A range of whole numbers.")
    count: int | None = Field(
        None,
        ge=2,
        le=MOST_TRIALS,
        description="How many values of a range are taken, its ends among them; not for a Latin hypercube. "
        "Without it, each of its whole numbers.",
    )

    @field_validator("path", mode="before")
    @classmethod
    def _has_a_path(cls, path: Any) -> Any:
        if isinstance(path, list | tuple) and not path:
            raise ValueError("is empty: a parameter needs the path of the setting that differs")
        return tuple(path) if isinstance(path, list) else path  # what comes through here is no JSON any more

    @model_validator(mode="after")
    def _values_or_a_range(self) -> Self:
        has_range = self.low is not None and self.high is not None
        if (self.values is None) != has_range or (self.low is None) != (self.high is None):
            raise ValueError("needs either values, or low and high")
        if self.low is not None and self.high is not None:
            self._check_range(self.low, self.high)
        elif self.count is not None or self.whole or self.scale != "linear":
            raise ValueError("count, scale and whole are of a range; this parameter has values")
        return self

    def _check_range(self, low: float, high: float) -> None:
        if not low < high:
            raise ValueError(f"low {low:g} is not below high {high:g}")
        if self.scale == "log" and low <= 0.0:
            raise ValueError(f"low {low:g} has no place on a logarithmic scale")
        if self.whole and not (low.is_integer() and high.is_integer()):
            raise ValueError("low and high must be whole numbers, as whole is true")

    @property
    def paths(self) -> tuple[str, ...]:
        return (self.path,) if isinstance(self.path, str) else self.path

    @property
    def heading(self) -> str:
        return self.name or self.paths[0].strip("/")


class SweepFile(Settings):
    """A sweep: one scenario, and what differs from run to run."""

    schema_: str | None = Field(None, alias="$schema", description="The JSON Schema, for completion in editors.")
    name: Annotated[str, SHORT_NAME] = Field(
        description="Short name, used for the sweep's folder.", examples=["battery_size"]
    )
    description: str = Field("", max_length=4000)
    scenario: str = Field(
        min_length=1, max_length=1000, description="The scenario's file, seen from here.", examples=["quickstart.json"]
    )
    set_: dict[Path_, Any] = Field(
        default_factory=dict, alias="set", description="What every run changes: paths as in --set, and their values."
    )
    vary: tuple[Parameter, ...] = Field((), max_length=100, description="What differs from run to run.")
    seeds: tuple[Annotated[int, Field(ge=0, lt=2**63)], ...] = Field(
        (), max_length=MOST_TRIALS, description="Every combination is run with each of these seeds.", examples=[[1, 2]]
    )
    design: Design = Field(
        "grid",
        description="grid: every value of one parameter with every value of the others. list: the first values of all "
        "parameters together, then the second ... latin-hypercube: `samples` combinations that cover each "
        "parameter's range evenly.",
    )
    samples: int | None = Field(None, ge=1, le=MOST_TRIALS, description="Of a Latin hypercube.", examples=[40])
    seed: int = Field(1, ge=0, lt=2**63, description="Of a Latin hypercube; not of the runs.")

    @model_validator(mode="after")
    def _says_what_differs(self) -> Self:
        if not self.vary and not self.seeds:
            raise ValueError("vary has no parameter, and there are no seeds: every run would be the same")
        headings = [parameter.heading for parameter in self.vary] + ["seed"] * bool(self.seeds)
        if twice := sorted({heading for heading in headings if headings.count(heading) > 1}):
            raise ValueError(f"vary has {', '.join(twice)} more than once")
        return self

    @model_validator(mode="after")
    def _has_no_run_twice(self) -> Self:
        if twice := _repeated(self.seeds):
            raise ValueError(f"seeds has {twice} more than once: that is the same run again")
        for parameter in self.vary if self.design == "grid" else ():
            if twice := _repeated(parameter.values or ()):
                raise ValueError(f"vary has {twice} more than once in {parameter.heading}: that is the same run again")
        return self

    @model_validator(mode="after")
    def _fits_its_design(self) -> Self:
        if (self.design == "latin-hypercube") != (self.samples is not None):
            raise ValueError("samples belongs to the design latin-hypercube, which needs it")
        if self.design == "latin-hypercube" and not self.vary:
            raise ValueError("vary has no parameter, and a Latin hypercube needs one")
        for parameter in self.vary:
            self._check_fit(parameter)
        return self

    def _check_fit(self, parameter: Parameter) -> None:
        if self.design == "latin-hypercube" and parameter.count is not None:
            raise ValueError(f"vary: {parameter.heading} has a count; a Latin hypercube has `samples` of each")
        is_listed = parameter.values is not None or parameter.count is not None or parameter.whole
        if self.design != "latin-hypercube" and not is_listed:
            raise ValueError(
                f"vary: {parameter.heading} needs a count of values, or whole, in the design {self.design}"
            )


def _repeated(values: Sequence[Any]) -> str:
    """Return the values that stand more than once, as JSON; empty where there are none. 1 and 1.0 are one value."""
    seen: set[Any] = set()
    twice: dict[str, None] = {}
    for value in values:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        known = value if is_number else json.dumps(value, sort_keys=True)
        if known in seen:
            twice[json.dumps(value)[:MAX_SHOWN]] = None
        seen.add(known)
    return ", ".join(twice)
