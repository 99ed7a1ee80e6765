"""What each federate is built with: the scenario's times, its own seed, and the feeder at which its devices stand."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from derloop.errors import PluginError, Problem, ScenarioError, did_you_mean
from derloop.kind import Context, Permissions, Place, Terminal
from derloop.scenario.consequences import stated
from derloop.scenario.kinds import kind_problems
from derloop.scenario.models import FederateEntry, Scenario
from derloop.scenario.once_asked import OnceAsked


def all_contexts(scenario: Scenario, permissions: Permissions, problems: list[Problem]) -> dict[str, Context]:
    """Return the context of every federate: first the feeders, then where devices meet them, then who they are.

    What is wrong is added to `problems`.
    """
    base = _bases(scenario, permissions)
    feeders = _feeders(scenario, base, problems)
    meets = _meets(scenario, feeders, problems)
    terminals: dict[str, tuple[Terminal, ...]] = {}
    for name in _meeting(scenario, meets):
        found = _terminals(scenario.federates[name], _at_feeder(base[name], feeders, meets), problems)
        terminals |= {} if found is None else {name: found}
    labels = {name: tuple(t.label for t in found) for name, found in terminals.items()}
    known = _Known(feeders, meets, terminals, labels)
    return {name: _whole(each, known) for name, each in base.items()}


def own_contexts(scenario: Scenario, permissions: Permissions, own: Collection[str]) -> dict[str, Context]:
    """Return those of some federates alone, of a scenario in which nothing is wrong.

    Feeders are read, and devices are looked for at them, once any of these asks.
    """
    base = _bases(scenario, permissions)

    def place(name: str) -> Place:
        try:
            return _place(scenario.federates[name], base[name])
        except (Exception, SystemExit) as error:
            raise ScenarioError(kind_problems(name, error), str(scenario.path)) from error

    feeders = OnceAsked(_places(scenario), place)
    meets = _meets(scenario, feeders, [])

    def found(name: str) -> tuple[Terminal, ...]:
        problems: list[Problem] = []
        terminals = _terminals(scenario.federates[name], _at_feeder(base[name], feeders, meets), problems)
        if terminals is None:
            raise ScenarioError(problems, str(scenario.path))
        return terminals

    terminals = OnceAsked(_meeting(scenario, meets), found)
    labels = OnceAsked(terminals, lambda name: tuple(t.label for t in terminals[name]))
    known = _Known(feeders, meets, terminals, labels)
    return {name: _whole(base[name], known) for name in own}


def _bases(scenario: Scenario, permissions: Permissions) -> dict[str, Context]:
    """Return the contexts as far as they follow from the scenario's text."""
    settings = {name: entry.settings for name, entry in scenario.federates.items()}
    kinds = {name: entry.kind.name for name, entry in scenario.federates.items()}
    contexts = {name: _context(scenario, name, permissions) for name in scenario.federates}
    return {name: replace(context, settings=settings, kinds=kinds) for name, context in contexts.items()}


def _meeting(scenario: Scenario, meets: Mapping[str, str]) -> list[str]:
    """Return the federates of which it can be said where their devices stand, or that there is nowhere."""
    may_have = _may_have_feeder(scenario)
    entries = scenario.federates.items()
    return [name for name, entry in entries if entry.kind.meets_feeder and (name in meets or not may_have)]


def _at_feeder(context: Context, feeders: Mapping[str, Place], meets: Mapping[str, str]) -> Context:
    return replace(context, feeder=feeders.get(meets.get(context.name, "")))


class _Known(NamedTuple):
    """What is known of feeders, and of devices at them: see `Context`."""

    feeders: Mapping[str, Place]
    meets: Mapping[str, str]
    terminals: Mapping[str, tuple[Terminal, ...]]
    labels: Mapping[str, tuple[str, ...]]


def _whole(context: Context, known: _Known) -> Context:
    """Return a context with all that is known."""
    name, feeders, meets, terminals = context.name, known.feeders, known.meets, known.terminals
    context = replace(context, **known._asdict())
    if name in feeders:
        at_it = OnceAsked([fleet for fleet in terminals if meets.get(fleet) == name], terminals.__getitem__)
        return replace(context, feeder=feeders[name], terminals=at_it)
    if name in meets:
        return replace(context, feeder=feeders.get(meets[name]))
    return replace(context, feeder=next(iter(feeders.values())) if len(feeders) == 1 else None)


def _meets(scenario: Scenario, feeders: Mapping[str, Place], problems: list[Problem]) -> dict[str, str]:
    """Return the feeder's name for each federate whose devices stand at one."""
    known = _places(scenario)
    found: dict[str, str] = {}
    for name, entry in scenario.federates.items():
        if not entry.kind.meets_feeder:
            continue
        feeder = entry.feeder or (known[0] if len(known) == 1 else "")
        if feeder in feeders:
            found[name] = feeder
        elif what := _unmet(entry.feeder, known, stated(scenario) - set(scenario.federates)):
            problems.append(Problem(f"/federates/{name}/feeder", what))
    return found


def _unmet(feeder: str, known: Sequence[str], unread: Collection[str]) -> str:
    """Return why devices that name `feeder` meet none; empty where that only follows from what is wrong elsewhere."""
    if feeder and feeder not in known and feeder not in unread:
        return f"no feeder is called {feeder!r}" + did_you_mean(feeder, known)
    return "" if feeder or len(known) < 2 else f"is missing: there are several feeders, {', '.join(known)}"


def _may_have_feeder(scenario: Scenario) -> bool:
    """Return whether a federate is a feeder, or cannot be read and so may be one."""
    return any(entry.kind.place for entry in scenario.federates.values()) or bool(
        stated(scenario) - set(scenario.federates)
    )


def _context(scenario: Scenario, name: str, permissions: Permissions) -> Context:
    return Context(
        name=name,
        folder=scenario.folder,
        start=scenario.start,
        step_ns=scenario.step_ns,
        until_ns=scenario.until_ns,
        seed=_seed(scenario.file.seed, name),
        permissions=permissions,
    )


def _seed(seed: int, name: str) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed}/{name}".encode()).digest()[:8], "big")


def _places(scenario: Scenario) -> list[str]:
    """Return the names of the feeders."""
    return [name for name, entry in scenario.federates.items() if entry.kind.place]


def _place(entry: FederateEntry, context: Context) -> Place:
    assert entry.kind.place
    return entry.kind.place(entry.settings, context)


def _feeders(scenario: Scenario, contexts: Mapping[str, Context], problems: list[Problem]) -> dict[str, Place]:
    feeders: dict[str, Place] = {}
    for name in _places(scenario):
        try:
            feeders[name] = _place(scenario.federates[name], contexts[name])
        except (Exception, SystemExit) as error:  # noqa: BLE001 - a kind's own; whose it is, is said
            problems += kind_problems(name, error)
    return feeders


def _terminals(entry: FederateEntry, context: Context, problems: list[Problem]) -> tuple[Terminal, ...] | None:
    assert entry.kind.terminals
    if context.feeder is None:
        what = f"kind {entry.kind.name!r} meets a feeder, and the scenario has no federate that is one"
        problems.append(Problem(f"/federates/{entry.name}/kind", what))
        return None
    try:
        found = entry.kind.terminals(entry.settings, context)
        if not all(isinstance(terminal, Terminal) for terminal in found):
            raise PluginError(f"the kind {entry.kind.name!r} gives terminals that are no Terminal")
        return found
    except (Exception, SystemExit) as error:  # noqa: BLE001 - a kind's own; whose it is, is said
        problems += kind_problems(entry.name, error)
        return None
