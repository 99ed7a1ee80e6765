"""Customers: whose devices are whose, and what each customer draws and injects.

A customer is what is at one bus (`by: bus`), what has one label (`by: label`: the loads' labels), all that is named
(`by: all`), or what `named` lists by patterns of fleet.label. Each device of the named fleets belongs to one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Annotated, Literal, NamedTuple, Self

import numpy as np
from pydantic import Field, model_validator

from derloop.contract import FloatArray, Port, Values
from derloop.errors import did_you_mean, some_of
from derloop.kind import Context, Delivering, PlaceError, Settings, Terminal
from derloop.texts import LABEL, Shape
from federates.fleets import Problems, named
from federates.market.filled import Filled
from federates.market.schedule import IntArray

CustomerName = Annotated[str, Field(max_length=64), LABEL]
Pattern = Annotated[
    str, Field(max_length=128), Shape(r"^[^.\s]+\.[^\s]+$", "fleet.label, or a pattern of that: homes.634*")
]
Fleets = tuple[str, ...]


class CustomerSettings(Settings):
    """Who is billed."""

    loads: Filled[str] = Field(
        max_length=1000,
        description="Fleets that are there without DER, too: loads, heat pumps ... The bill without DER is theirs.",
        examples=[["homes"]],
    )
    ders: Fleets = Field(
        default=(),
        max_length=1000,
        description="Fleets whose bill is compared with that without them.",
        examples=[["batteries", "rooftops"]],
    )
    by: Literal["bus", "label", "all"] = Field(
        default="bus",
        description="What makes a customer: all at one bus, all with one label, or all together.",
        examples=["label"],
    )
    named: dict[CustomerName, tuple[Pattern, ...]] = Field(
        default={},
        max_length=10_000,
        description="Or: each customer's devices, as patterns of fleet.label.",
        examples=[{"school": ["homes.634*", "rooftops.roof_1"]}],
    )

    @model_validator(mode="after")
    def _counts_each_fleet_once(self) -> Self:
        if len({*self.loads, *self.ders}) < len(self.loads) + len(self.ders):
            raise ValueError("a fleet is named twice in loads and ders")
        return self

    @property
    def fleets(self) -> Fleets:
        return (*self.loads, *self.ders)


class _Device(NamedTuple):
    fleet: str
    terminal: Terminal

    @property
    def name(self) -> str:
        return f"{self.fleet}.{self.terminal.label}"


class Customers:
    """n customers, and to which of them each device belongs."""

    def __init__(self, settings: CustomerSettings, context: Context) -> None:
        _check_fleets(settings, context)
        devices = [_Device(fleet, t) for fleet in settings.fleets for t in context.terminals[fleet]]
        owners = _owners(settings, devices, context)
        self.labels = tuple(dict.fromkeys(owners))
        index = {label: i for i, label in enumerate(self.labels)}
        whose = np.array([index[owner] for owner in owners], dtype=np.int64)
        signs = np.array([1.0 if device.terminal.draws else -1.0 for device in devices])
        counts = [len(context.terminals[fleet]) for fleet in settings.fleets]
        edges = np.cumsum(counts)[:-1]
        parts = zip(settings.fleets, np.split(whose, edges), np.split(signs, edges), strict=True)
        self._fleets: dict[str, tuple[IntArray, FloatArray]] = {fleet: (of, sign) for fleet, of, sign in parts}
        self._settings = settings
        self._meters = {fleet: meter(fleet, context) for fleet in settings.fleets}
        self.ports = {self._meters[fleet]: Port("kW", context.labels[fleet]) for fleet in settings.fleets}

    @property
    def fleets(self) -> Fleets:
        return self._settings.fleets

    def rated_kva(self, fleet: str, context: Context) -> FloatArray:
        """Return the sum of the ratings of each customer's devices in a fleet (n,)."""
        ratings = [terminal.rated_kva for terminal in context.terminals[fleet]]
        return np.bincount(self._fleets[fleet][0], ratings, len(self.labels)).astype(np.float64)

    def load_kw(self, inputs: Values) -> FloatArray:
        """Return what each customer's loads draw (n,)."""
        return self._drawn_kw(self._settings.loads, inputs)

    def der_kw(self, inputs: Values) -> FloatArray:
        """Return what each customer's DERs inject (n,)."""
        return 0.0 - self._drawn_kw(self._settings.ders, inputs)  # no negative zero

    def _drawn_kw(self, fleets: Fleets, inputs: Values) -> FloatArray:
        total = np.zeros(len(self.labels))
        for fleet in fleets:
            whose, signs = self._fleets[fleet]
            total = total + np.bincount(whose, signs * inputs[self._meters[fleet]], minlength=total.size)
        return total


def meter(fleet: str, context: Context) -> str:
    """Return the output that a fleet is metered by: what its feeder delivers, or what it says where none tells that."""
    feeder = context.meets.get(fleet, "")
    place = context.feeders.get(feeder)
    follows = not any(terminal.forms for terminal in context.terminals[fleet])
    if follows and isinstance(place, Delivering) and (delivered := place.delivered_port(fleet)):
        return f"{feeder}.{delivered}"
    return f"{fleet}.p_kw"


def _check_fleets(settings: CustomerSettings, context: Context) -> None:
    places: Mapping[str, Fleets] = {"loads": settings.loads, "ders": settings.ders}
    problems = [p for key, fleets in places.items() for p in named(fleets, ("customers", key), context)]
    if problems:
        raise PlaceError(problems)


def _owners(settings: CustomerSettings, devices: Sequence[_Device], context: Context) -> list[str]:
    """Return the customer of each device; raises PlaceError where one has none, or more than one."""
    if settings.named:
        return _listed(settings.named, devices)
    if settings.by == "all":
        return [context.name] * len(devices)
    if settings.by == "bus":
        return [device.terminal.bus for device in devices]
    if lost := [*_strangers(settings, devices)]:
        raise PlaceError(lost)
    return [device.terminal.label for device in devices]


def _strangers(settings: CustomerSettings, devices: Sequence[_Device]) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Yield the fleets with a DER whose label no load has."""
    labels = sorted({device.terminal.label for device in devices if device.fleet in settings.loads})
    for i, fleet in enumerate(settings.ders):
        lost = [d for d in devices if d.fleet == fleet and d.terminal.label not in labels]
        if lost:
            label = lost[0].terminal.label
            yield (
                ("customers", "ders", i),
                f"no load is called {label!r}, as {lost[0].name} is" + did_you_mean(label, labels),
            )


def _listed(customers: Mapping[str, Sequence[str]], devices: Sequence[_Device]) -> list[str]:
    owners = [[c for c, patterns in customers.items() if _any_fits(d.name, patterns)] for d in devices]
    strays: dict[str, list[str]] = {}
    for device, found in zip(devices, owners, strict=True):
        if len(found) != 1:
            strays.setdefault(" and ".join(map(repr, found)) or "no customer", []).append(device.name)
    problems: Problems = [(("customers", "named"), _belonging(names, whose)) for whose, names in strays.items()]
    for customer, patterns in customers.items():
        for i, pattern in enumerate(patterns):
            if not any(fnmatchcase(device.name, pattern) for device in devices):
                what = f"no device is called {pattern!r}" + did_you_mean(pattern, [d.name for d in devices])
                problems.append((("customers", "named", customer, i), what))
    if problems:
        raise PlaceError(problems)
    return [found[0] for found in owners]


def _belonging(names: Sequence[str], whose: str) -> str:
    """Return to whom these devices belong: the first ones by name, and how many more there are."""
    if len(names) == 1:
        return f"{names[0]} belongs to {whose}"
    return f"{some_of(names)} belong to {whose}; each device has one"


def _any_fits(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)
