"""A control of the user's as a federate: asked once for each instant, whatever the ways to ask it."""

from __future__ import annotations

from typing import Protocol

from derloop.contract import FloatArray, Interface, Values
from derloop.kind import Context, PlaceError
from federates.control.own.ports import OwnPorts, Ports, Site, resolved

Measured = dict[str, FloatArray]


class Control(Protocol):
    """What answers: a class of the user's, or a process."""

    def begin(self, site: Site) -> None:
        """Open what is needed, before the first instant."""
        ...

    def answer(self, now_s: float, measured: Measured) -> object:
        """Return setpoints by name. Raises: DerloopError."""
        ...

    def end(self) -> None:
        """Close everything. Also called after a failure."""
        ...


class Listening:
    """A federate that asks a control.

    At its first instant, before which nothing was measured, it sets what is `initial`. An instant that is stepped
    again has the answer that it had, as what was measured before it is the same.
    """

    def __init__(self, control: Control, ports: Ports, site: Site, interface: Interface) -> None:
        self.interface = interface
        self._control, self._ports, self._site = control, ports, site
        self._first_ns: int | None = None
        self._now_ns: int | None = None
        self._latest = ports.at_first()

    def start(self) -> Values:
        self._control.begin(self._site)
        return self._latest

    def step(self, now_ns: int, inputs: Values) -> Values:
        if self._first_ns is None or now_ns == self._first_ns:
            self._first_ns = now_ns
        elif now_ns != self._now_ns:
            self._now_ns = now_ns
            measured = {name: inputs[name].copy() for name in self._ports.reads}
            self._latest = self._ports.taken(self._control.answer(now_ns / 1e9, measured), self._latest)
        return self._latest

    def stop(self) -> None:
        self._control.end()


def listening(control: Control, settings: OwnPorts, context: Context, waits: bool) -> Listening:
    """Return the federate that asks `control`; `waits`: on a process outside, which cannot be asked twice.

    Raises: PlaceError for what the settings name and nobody has.
    """
    ports, step_ns = resolved(settings, context), settings.step_ns(context)
    interface = Interface(step_ns, ports.reads, ports.writes, repeatable=not waits, blocking=waits)
    return Listening(control, ports, ports.site(context, step_ns), interface)


def require_trust(context: Context, setting: str, what: str) -> None:
    """Raise PlaceError unless whoever starts the run lets the scenario's own controls run."""
    if not context.permissions.trust_control:
        said = f"{what}, which a scenario cannot let run by itself; --trust-control allows it"
        raise PlaceError([((setting,), said)])
