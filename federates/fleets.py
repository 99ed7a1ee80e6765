"""Fleets that a control names in its settings: whether they are there, and take what is sent to them."""

from __future__ import annotations

from collections.abc import Sequence

from derloop.errors import did_you_mean
from derloop.kind import Context

Path = tuple[str | int, ...]
"""Leads to a setting."""
Problems = list[tuple[Path, str]]


def named(fleets: Sequence[str], path: Path, context: Context) -> Problems:
    """Return what is wrong with a list of fleets' names that stands at `path` of the settings."""
    found = [((*path, i), what) for i, fleet in enumerate(fleets) if (what := unknown(fleet, context))]
    return [*found, (path, "a fleet is named twice")] if len(set(fleets)) < len(fleets) else found


def unknown(fleet: str, context: Context) -> str:
    """Return what is wrong with the name of a fleet, empty if nothing is."""
    return "" if fleet in context.labels else f"no fleet is called {fleet!r}" + did_you_mean(fleet, [*context.labels])


def untaken(fleet: str, port: str, context: Context) -> str:
    """Return why `port`, sent to `fleet`, would go nowhere; empty if it would not, or if the fleet does not tell.

    The settings of a kind tell with `takes`: the inputs that its federate has, as it is set, for others to drive.
    """
    takes: tuple[str, ...] | None = getattr(context.settings.get(fleet), "takes", None)
    if takes is None or port in takes:
        return ""
    mode = getattr(context.settings.get(fleet), "mode", None)
    set_ = f"as it is set, with mode {mode!r}" if isinstance(mode, str) else "as it is set"
    return f"{fleet!r} does not take {port}, {set_}; it takes " + (", ".join(takes) or "nothing")


def mistuned(fleets: Sequence[str], f_nominal_hz: float, path: Path, context: Context) -> Problems:
    """Return which fleets of a list that stands at `path` are to see a frequency about another than their nominal one.

    Settings tell that with `smart`, or with `regulation`, where these look at the frequency.
    """
    found = ((i, fleet, hz) for i, fleet in enumerate(fleets) for hz in _nominal_hz(fleet, context))
    what = f"for nominal, and would see one about {f_nominal_hz:g} Hz"
    return [((*path, i), f"{fleet!r} takes {hz:g} Hz {what}") for i, fleet, hz in found if hz != f_nominal_hz]


def _nominal_hz(fleet: str, context: Context) -> set[float]:
    """Return the nominal frequencies by which a fleet judges the one that it sees."""
    names = {"smart": "f_nominal_hz", "regulation": "nominal_hz"}
    parts = {name: getattr(context.settings.get(fleet), name, None) for name in names}
    return {float(getattr(p, names[n])) for n, p in parts.items() if getattr(p, "needs_frequency", False)}
