"""What the site of each battery draws, net, from the ports of others.

    net = sum of what `draws` say - sum of what `injects` say        (positive when the site draws)

A port has one element for each battery, in the same order; or any number where there is one battery, whose site has
them all. A meter at the connection point counts the battery too: with `includes_battery` its own power of the last
instant is added to what was measured then.
"""

from __future__ import annotations

from typing import Annotated, Self

import numpy as np
from pydantic import Field, StringConstraints, model_validator

from derloop.contract import Arrival, FloatArray, Port, Values
from derloop.kind import Context, PlaceError, Settings
from derloop.texts import PORT

PortName = Annotated[str, StringConstraints(max_length=120), PORT]


class BatterySite(Settings):
    """Where the power of each site is measured."""

    draws: tuple[PortName, ...] = Field(
        default=(),
        description="Ports of powers that are positive when drawn, as federate.port, kW.",
        examples=[["homes.p_kw"], ["grid.head_kw"]],
    )
    injects: tuple[PortName, ...] = Field(
        default=(),
        description="Ports of powers that are positive when injected, as federate.port, kW.",
        examples=[["rooftops.p_kw"]],
    )
    includes_battery: bool = Field(
        default=False,
        description="The battery's own power is part of what is measured, as at a meter where the site is connected. "
        "It is then measured at the last instant.",
        examples=[True],
    )

    @model_validator(mode="after")
    def _measures_each_once(self) -> Self:
        ports = (*self.draws, *self.injects)
        if not ports:
            raise ValueError("a site needs a port in draws or injects")
        if len(set(ports)) < len(ports):
            raise ValueError("a port is named twice in draws and injects")
        return self


class Meter:
    """The net power of n sites."""

    def __init__(self, settings: BatterySite, labels: tuple[str, ...], context: Context) -> None:
        self._settings = settings
        self._n = len(labels)
        arrival: Arrival = "before" if settings.includes_battery else "now"
        self.ports = {
            port: Port("kW", context.labels.get(port.partition(".")[0], (port,)), arrival)
            for port in (*settings.draws, *settings.injects)
        }
        self._check(context)

    def net_kw(self, inputs: Values, battery_kw: FloatArray) -> FloatArray:
        """Return what the sites draw (n,) without the batteries. battery_kw: what these injected when it was measured.

        Before the first instant nothing was measured.
        """
        net = np.zeros(self._n)
        for port in self._settings.draws:
            net = net + self._each(inputs[port])
        for port in self._settings.injects:
            net = net - self._each(inputs[port])
        return net + battery_kw if self._settings.includes_battery else net

    def _each(self, values: FloatArray) -> FloatArray:
        return values if values.size == self._n else np.array([values.sum()])

    def _check(self, context: Context) -> None:
        problems: list[tuple[tuple[str | int, ...], str]] = []
        for where in ("draws", "injects"):
            for i, name in enumerate(getattr(self._settings, where)):
                size = self.ports[name].size
                if name.partition(".")[0] == context.name:
                    problems.append((("site", where, i), f"{name!r} is the batteries' own"))
                elif self._n > 1 and size != self._n:
                    what = f"{name!r} has {size} elements, and there are {self._n} batteries"
                    problems.append((("site", where, i), f"{what}: one for each, or one battery for all"))
        if problems:
            raise PlaceError(problems)
