"""What a microgrid's control refuses before a run."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from derloop.errors import some_of
from derloop.kind import Context, PlaceError
from federates.control.microgrid.settings import MicrogridSettings
from federates.control.microgrid.synchronism import limits
from federates.fleets import Path, Problems, named, unknown, untaken
from federates.spells import missed

SET = ("p_set_kw", "v_set_pu", "run")


@runtime_checkable
class Parted(Protocol):
    """What a feeder that can be parted knows."""

    def behind(self, switch: str) -> frozenset[str]:
        """Return the buses that a switch cuts off from the head, when it is open."""
        ...


def refuse(settings: MicrogridSettings, context: Context) -> None:
    """Raise PlaceError with everything that is wrong."""
    problems = [*_feeder(settings, context), *_formers(settings, context), *_loads(settings, context)]
    problems += [*_shedding(settings, context), *_reconnection(settings, context)]
    step_ns = settings.step_ns(context)
    problems += missed(settings.planned, ("planned",), step_ns, context.name)
    problems += missed(settings.warnings, ("warnings",), step_ns, context.name)
    if problems:
        raise PlaceError(problems)


def _feeder(settings: MicrogridSettings, context: Context) -> Problems:
    island = getattr(context.settings.get(settings.feeder), "island", None)
    if island is None:
        return [(("feeder",), f"{settings.feeder!r} has no island: it says at which switch the microgrid begins")]
    if not island.is_told:
        what = "its island opens by itself, at opens_at_s: leave that out, so that the control says when"
        return [(("feeder",), f"{settings.feeder!r}: {what}")]
    return []


def _formers(settings: MicrogridSettings, context: Context) -> Problems:
    problems: Problems = []
    for role in ("storage", "engines"):
        fleets = getattr(settings, role)
        problems += named(fleets, (role,), context)
        for i, fleet in enumerate(fleets):
            if fleet in context.labels and (what := _not_forming(fleet, role, context)):
                problems.append(((role, i), what))
            problems += _outside(fleet, (role, i), settings, context)
    return problems


def _not_forming(fleet: str, role: str, context: Context) -> str:
    """Return why a fleet is no source of this role; empty if it is."""
    terminals = context.terminals.get(fleet, ())
    if not all(terminal.forms for terminal in terminals):
        return f"{fleet!r} does not form a grid: it could not hold the island"
    has_store = hasattr(context.settings.get(fleet), "soc_initial_pu")
    if has_store != (role == "storage"):
        return f"{fleet!r} belongs into {'storage' if has_store else 'engines'}"
    if what := next((what for port in SET if (what := untaken(fleet, port, context))), ""):
        return f"{what}: it needs supervised"
    return ""


def _shedding(settings: MicrogridSettings, context: Context) -> Problems:
    """Return that loads would be shed at nominal frequency, if they would."""
    below_hz, nominal_hz = settings.shedding.below_hz, f_nominal_hz(settings, context)
    if below_hz is None or below_hz < nominal_hz:
        return []
    return [(("shedding", "below_hz"), f"{below_hz:g} Hz is not below the island's nominal {nominal_hz:g} Hz")]


def _reconnection(settings: MicrogridSettings, context: Context) -> Problems:
    """Return that the island would never be connected again, as it is led too far from the grid's frequency."""
    rules = settings.reconnection
    units = [unit for name in settings.formers for unit in context.terminals.get(name, ())]
    rated_kva = rules.rated_kva or sum(unit.rated_kva for unit in units)
    most_hz = limits(rated_kva).hz
    if rules.slip_hz < most_hz:
        return []
    what = f"{rules.slip_hz:g} Hz is not less than the {most_hz:g} Hz within which {rated_kva:g} kVA may be connected"
    return [(("reconnection", "slip_hz"), what)]


def f_nominal_hz(settings: MicrogridSettings, context: Context) -> float:
    """Return the nominal frequency of the island: that of its sources."""
    return float(getattr(context.settings.get(settings.formers[0]), "f_nominal_hz", 60))


def _loads(settings: MicrogridSettings, context: Context) -> Problems:
    problems: Problems = []
    for i, group in enumerate(settings.loads):
        path: Path = ("loads", i, "fleet")
        if what := unknown(group.fleet, context):
            problems.append((path, what))
            continue
        if not all(terminal.draws for terminal in context.terminals.get(group.fleet, ())):
            problems.append((path, f"{group.fleet!r} is no load"))
            continue
        if not group.critical and (what := untaken(group.fleet, "connected", context)):
            problems.append((path, f"{what}: it needs sheddable, or is critical"))
        problems += _outside(group.fleet, path, settings, context)
    return problems


def _outside(fleet: str, path: Path, settings: MicrogridSettings, context: Context) -> Problems:
    """Return what is wrong with a fleet of which some stand outside of the island."""
    island = getattr(context.settings.get(settings.feeder), "island", None)
    feeder = context.feeders.get(settings.feeder)
    if island is None or not isinstance(feeder, Parted):
        return []
    if context.meets.get(fleet) != settings.feeder:
        return [(path, f"{fleet!r} is at another feeder than {settings.feeder!r}")]
    inside = feeder.behind(island.switch)
    met = context.terminals.get(fleet, ()) if inside else ()
    out = [f"{terminal.label!r} at bus {terminal.bus}" for terminal in met if terminal.bus not in inside]
    return [(path, f"outside of the island, which begins at {island.switch!r}: {some_of(out, 3)}")] if out else []
