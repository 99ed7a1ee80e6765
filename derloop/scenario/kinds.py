"""What kinds, which may be somebody else's, say is wrong, and what they give that is none of what it must be."""

from __future__ import annotations

from collections import Counter
from inspect import getattr_static
from math import isfinite

from derloop import document
from derloop.contract import ARRIVALS, Balance, Federate, Interface, Port
from derloop.errors import PluginError, Problem, ScenarioError, said
from derloop.kind import EquipmentMissing, PlaceError

FEDERATE = ("interface", "start", "step", "stop")
"""What every federate has."""


def kind_problems(name: str, error: BaseException) -> list[Problem]:
    """Return what the kind of federate `name` said is wrong; another error than it may raise is named as one.

    An exit is one too: it would end the command as if all were well. What is wrong with a feeder, or with devices,
    that it asked for keeps their names.
    """
    if isinstance(error, ScenarioError):
        return [*error.problems]
    if isinstance(error, PlaceError):
        lacks = isinstance(error, EquipmentMissing)
        return [Problem(document.pointer(("federates", name, *path)), what, lacks) for path, what in error.problems]
    is_said = isinstance(error, PluginError) or type(error) is ValueError
    return [Problem(f"/federates/{name}", str(error) if is_said else said(error))]


def check_federate(federate: Federate, kind: str) -> None:
    """Raise PluginError for what a kind builds that is no federate."""
    if missing := [name for name in FEDERATE if not hasattr(federate, name) and not _has_static(federate, name)]:
        lacking = f"a {type(federate).__name__} without {', '.join(missing)}"
        raise PluginError(f"the kind {kind!r} builds {lacking}; a federate has {', '.join(FEDERATE)}")
    check_interface(federate.interface, kind)


def _has_static(federate: object, name: str) -> bool:
    """Return whether it has what raises when it is asked for: that error is told then."""
    return getattr_static(federate, name, None) is not None


def check_interface(interface: object, kind: str) -> None:
    """Raise PluginError for what a kind gives as an interface that is none."""
    if not isinstance(interface, Interface):
        raise PluginError(f"the kind {kind!r} has {type(interface).__name__} for an interface, not an Interface")
    if type(interface.step_ns) is not int or interface.step_ns <= 0:
        raise PluginError(
            f"the kind {kind!r} has a step_ns of {interface.step_ns!r}; it must be a whole number above 0"
        )
    for name, seconds in (("start_s", interface.start_s), ("stop_s", interface.stop_s)):
        if not _is_finite(seconds) or seconds < 0:
            raise PluginError(f"the kind {kind!r} has a {name} of {seconds!r}; it must be a number, 0 or more")
    balances: tuple[object, ...] = interface.balances
    if odd := [balance for balance in balances if not isinstance(balance, Balance)]:
        raise PluginError(f"the kind {kind!r} has {type(odd[0]).__name__} among its balances, not a Balance")
    for name, port in [*interface.inputs.items(), *interface.outputs.items()]:
        if what := _port_fault(name, port):
            raise PluginError(f"the kind {kind!r} has {what}")
    if (age := interface.outputs.get("age_s")) and age.unit != "s":
        raise PluginError(f"the kind {kind!r} has its output 'age_s' in {age.unit!r}; it is told in 's'")


def _port_fault(name: object, port: object) -> str:
    """Return what a kind has where it should have a port; empty where that is sound."""
    if not isinstance(port, Port):
        return f"{type(port).__name__} for its port {name!r}, not a Port"
    if not isinstance(name, str) or not name:
        return f"a port called {name!r}; its name must be a text"
    if not isinstance(port.unit, str):
        return f"{port.unit!r} for the unit of its port {name!r}; it must be a text"
    if type(port.labels) is not tuple or not all(isinstance(label, str) for label in port.labels):
        return f"{document.shown(port.labels)} for the labels of its port {name!r}; they must be a tuple of texts"
    label, count = Counter(port.labels).most_common(1)[0] if port.labels else ("", 0)
    if count > 1:
        return f"the label {label!r} {count} times at its port {name!r}; each element has its own"
    if port.arrival not in ARRIVALS:
        return f"the arrival {port.arrival!r} at its port {name!r}; there are: {', '.join(ARRIVALS)}"
    if port.otherwise is not None and not _is_finite(port.otherwise):
        return f"{port.otherwise!r} for what its port {name!r} is without a wire; it must be a finite number"
    return ""


def _is_finite(value: object) -> bool:
    return isinstance(value, int | float) and isfinite(value)
