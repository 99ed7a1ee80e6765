"""What a control of the user's reads and writes: ports that its settings name by pattern, with units and elements."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from fnmatch import fnmatchcase
from numbers import Real
from typing import Annotated, Any

import numpy as np
from pydantic import Field, StringConstraints

from derloop.contract import FloatArray, Port
from derloop.errors import DerloopError, did_you_mean
from derloop.kind import Context, Names, PlaceError
from derloop.texts import Shape
from federates.der import Stepped
from federates.fleets import Problems, named

PLAIN, DATES = "biuf", "mM"
"""Sorts of numpy's types: numbers as they are; and times, of which some call themselves numbers."""

Pattern = Annotated[
    str,
    StringConstraints(max_length=200),
    Shape(r"^[^\s.]+(\.[^\s.]+)*$", "the name of a port, or a pattern: p_kw, v_*"),
]


class OwnPorts(Stepped):
    """What a control of the user's reads and writes."""

    members: tuple[str, ...] = Field(
        default=(),
        max_length=2000,
        description="Fleets of which `reads` and `writes` may name a port by itself: soc_pu, p_set_kw.",
        examples=[["batteries"]],
    )
    reads: tuple[Pattern, ...] = Field(
        min_length=1,
        max_length=1000,
        description="What is measured: outputs by federate.port, patterns allowed, or a port of each member. "
        "Seen is the last value before an instant. `age_s` is how old what was heard of a federate is, for each of its "
        "devices: 0 where nothing between them delays it.",
        examples=[["grid.head_kw", "soc_pu", "age_s"]],
    )
    writes: tuple[Pattern, ...] = Field(
        min_length=1,
        max_length=1000,
        description="What is set: inputs by federate.port, patterns allowed, or a port of each member.",
        examples=[["p_set_kw"], ["grid.switch_set"]],
    )
    initial: dict[Pattern, float] = Field(
        default_factory=dict,
        description="What is set before the control was asked for the first time, by pattern as in `writes`; 0 else.",
        examples=[{"grid.switch_set": 1}],
    )
    parameters: Annotated[dict[str, Any], Names()] = Field(
        default_factory=dict, description="Given to the control as it stands.", examples=[{"limit_kw": 2800}]
    )


@dataclass(frozen=True, slots=True)
class Site:
    """What a control of the user's may know of where it stands."""

    reads: tuple[str, ...]
    writes: tuple[str, ...]
    labels: Mapping[str, tuple[str, ...]]
    """Of each port that it reads or writes."""
    units: Mapping[str, str]
    step_s: float
    start: datetime
    """Instant 0, with its time zone."""
    seed: int
    """For whatever is random in it: the same in every run."""


@dataclass(frozen=True, slots=True)
class Ports:
    """Inputs and outputs of the control, called as the ports at their other ends."""

    reads: Mapping[str, Port]
    writes: Mapping[str, Port]
    initial: Mapping[str, float]

    def site(self, context: Context, step_ns: int) -> Site:
        both = {**self.reads, **self.writes}
        labels = {name: port.labels for name, port in both.items()}
        units = {name: port.unit for name, port in both.items()}
        return Site(tuple(self.reads), tuple(self.writes), labels, units, step_ns / 1e9, context.start, context.seed)

    def at_first(self) -> dict[str, FloatArray]:
        """Return what is set before the control was asked."""
        return {name: np.full(port.size, self.initial[name]) for name, port in self.writes.items()}

    def taken(self, answer: object, held: Mapping[str, FloatArray]) -> dict[str, FloatArray]:
        """Return what a control answers as arrays of the right size; what it leaves out stays as it was `held`.

        Raises: DerloopError, with what is wrong and at which element.
        """
        if not isinstance(answer, Mapping):
            raise DerloopError(f"it answers with a {type(answer).__name__}, not with its setpoints by name")
        for name in answer:
            if name not in self.writes:
                raise DerloopError(
                    f"it sets {name!r}, which it does not write" + did_you_mean(str(name), [*self.writes])
                )
        return {**held, **{name: _array(name, answer[name], self.writes[name]) for name in answer}}


def _array(name: str, value: object, port: Port) -> FloatArray:
    """Return `value`, one number for all or one for each, as an array (n,). Raises: DerloopError."""
    try:
        given = np.asanyarray(value)
        is_number = given.dtype.kind in PLAIN or all(isinstance(each, Real | Decimal) for each in given.flat)
        if not is_number or given.dtype.kind in DATES:
            raise ValueError("text, dates and complex numbers, also where they can be read as a number")
        array = np.ma.filled(given.astype(np.float64), np.nan)  # what is masked is not there
    except (TypeError, ValueError, OverflowError) as error:
        raise DerloopError(f"it sets {name!r} to a {type(value).__name__} that is no array of numbers") from error
    if array.shape not in ((), (port.size,)):
        raise DerloopError(f"it sets {name!r} with shape {array.shape}, not one number or ({port.size},)")
    full = np.array(np.broadcast_to(array, (port.size,)))
    bad = [port.labels[i] for i in np.flatnonzero(~np.isfinite(full))]
    if bad:
        raise DerloopError(f"it sets {name!r} to what is not finite at {', '.join(map(repr, bad[:3]))}")
    return full


def resolved(settings: OwnPorts, context: Context) -> Ports:
    """Return the ports that the settings name. Raises: PlaceError, with everything that fits nothing."""
    problems: Problems = named(settings.members, ("members",), context)
    outputs = {f"{n}.{p}": port for n, i in context.interfaces.items() for p, port in i.outputs.items()}
    inputs = {f"{n}.{p}": port for n, i in context.interfaces.items() for p, port in i.inputs.items()}
    reads = dict(_found("reads", settings.reads, settings.members, _ages(context) | outputs, problems))
    writes = dict(_found("writes", settings.writes, settings.members, inputs, problems))
    initial = dict.fromkeys(writes, 0.0)
    for pattern, value in settings.initial.items():
        initial |= dict.fromkeys(_fitting(pattern, settings.members, writes), value)
        if not _fitting(pattern, settings.members, writes):
            near = _near(pattern, settings.members, writes)
            problems.append((("initial", pattern), f"{pattern!r} fits nothing that is written{near}"))
    if problems:
        raise PlaceError(problems)
    return Ports(
        {name: Port(port.unit, port.labels, "before", port.otherwise) for name, port in reads.items()},
        {name: Port(port.unit, port.labels) for name, port in writes.items()},
        initial,
    )


def _ages(context: Context) -> dict[str, Port]:
    """Return inputs that only what stands between federates gives, such as a network: how old is what was heard."""
    names = {name: context.labels.get(name) or (name,) for name in context.interfaces}
    return {f"{name}.age_s": Port("s", labels, "before", otherwise=0.0) for name, labels in names.items()}


def _found(
    setting: str, patterns: tuple[str, ...], members: tuple[str, ...], ports: Mapping[str, Port], problems: Problems
) -> Iterator[tuple[str, Port]]:
    """Yield what the patterns of a setting name, and add a problem for each that names nothing."""
    for index, pattern in enumerate(patterns):
        fitting = _fitting(pattern, members, ports)
        if not fitting:
            what = "output" if setting == "reads" else "input"
            problems.append(((setting, index), f"no {what} {pattern!r}" + _near(pattern, members, ports)))
        yield from ((name, ports[name]) for name in fitting)


def _fitting(pattern: str, members: tuple[str, ...], ports: Mapping[str, Port]) -> list[str]:
    patterns = [pattern] if "." in pattern else [f"{member}.{pattern}" for member in members]
    return [name for name in ports if any(fnmatchcase(name, p) for p in patterns)]


def _near(pattern: str, members: tuple[str, ...], ports: Mapping[str, Port]) -> str:
    if "." in pattern:
        return did_you_mean(pattern, [*ports])
    if elsewhere := [name for name in ports if fnmatchcase(name.partition(".")[2], pattern)]:
        return f" of members, which are {', '.join(members) or 'none'}" + did_you_mean(elsewhere[0], elsewhere)
    return did_you_mean(pattern, sorted({name.partition(".")[2] for name in ports}))
