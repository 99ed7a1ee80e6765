"""What only follows from something else that is wrong in a scenario: nobody has to mend it, so nobody is told of it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from fnmatch import fnmatchcase

from pydantic import BaseModel

from derloop import plugins
from derloop.errors import PluginError, Problem
from derloop.kind import Context
from derloop.scenario.carrying import knowing
from derloop.scenario.models import Scenario


def stated(scenario: Scenario) -> set[str]:
    """Return the names of the federates in the scenario, also of those that could not be read."""
    return set(scenario.document.get("federates") or ())


def blamed(problems: Sequence[Problem]) -> set[str]:
    """Return the federates of which something is wrong."""
    return {p.pointer.split("/")[2] for p in problems if p.pointer.startswith("/federates/")}


def lost(scenario: Scenario, contexts: Mapping[str, Context], broken: Collection[str]) -> set[str]:
    """Return the federates that cannot be built: `broken`, the feeder, what meets none, and who names one of them.

    The feeder has inputs for all that meets it; without one of them it would be another.
    """
    found = set(broken)
    for name, entry in scenario.federates.items():
        if entry.kind.terminals and name not in contexts[name].terminals:
            found.add(name)
    kinds = _kinds(scenario)
    named = {name: frozenset(_texts(entry.settings)) for name, entry in scenario.federates.items()}
    chooses = {name for name, entry in scenario.federates.items() if not entry.kind.terminals}
    while more := {n for n, t in named.items() if n not in found and _means(t, n in chooses, found, kinds)}:
        found |= more
    return found | {name for name, entry in scenario.federates.items() if entry.kind.place} | {*knowing(scenario)}


def _kinds(scenario: Scenario) -> dict[str, str]:
    """Return the kind of every federate, as it is stated."""
    document = scenario.document.get("federates") or {}
    return {n: str(f.get("kind")) if isinstance(f, Mapping) else "" for n, f in document.items()}


def _means(texts: Collection[str], chooses: bool, names: Collection[str], kinds: Mapping[str, str]) -> bool:
    """Return whether one of the texts is the name of one of the federates `names`.

    chooses: it is a control, which may also mean others by their kinds or a glob.
    """
    heads = {text.split(".")[0] for text in texts}
    if not chooses:
        return not heads.isdisjoint(names)
    there = {*names, *(kinds.get(name, "") for name in names)} - {""}
    return any(fnmatchcase(one, head) for head in heads for one in there)


def _texts(value: object) -> Iterator[str]:
    """Yield every text in settings, and every key that is not the name of a setting."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, BaseModel):
        for field in type(value).model_fields:
            yield from _texts(getattr(value, field))
    elif isinstance(value, Mapping):
        yield from (key for key in value if isinstance(key, str))
        for inner in value.values():
            yield from _texts(inner)
    elif isinstance(value, list | tuple | frozenset | set):
        for inner in value:
            yield from _texts(inner)


def told_once(problems: Sequence[Problem], scenario: Scenario) -> list[Problem]:
    """Return the problems without those that follow from what is wrong with the feeder.

    Who looks at the feeder's own settings tells what is wrong there at a place of its own; who looks for a feeder that
    could not be read finds none.
    """
    feeders = {name for name, entry in scenario.federates.items() if entry.kind.place}
    wrong = {(_within(p), p.what) for p in problems if _federate(p) in feeders}
    unread = stated(scenario) - set(scenario.federates)
    kinds = _kinds(scenario)
    without = not feeders and any(_is_feeder(kinds[name]) for name in unread)
    return [
        p
        for p in problems
        if not _federate(p) or _federate(p) in feeders | unread or not _follows(p, wrong, without, scenario)
    ]


def _is_feeder(kind: str) -> bool:
    with suppress(PluginError):
        return bool(plugins.kind(kind).place)
    return False


def _follows(problem: Problem, wrong: Collection[tuple[str, str]], without: bool, scenario: Scenario) -> bool:
    entry = scenario.federates[_federate(problem)]
    needs_feeder = without and not _within(problem) and not entry.kind.terminals
    return needs_feeder or (_within(problem), problem.what) in wrong


def _federate(problem: Problem) -> str:
    """Return the federate that a problem is about; empty if it is about none."""
    return problem.pointer.split("/")[2] if problem.pointer.startswith("/federates/") else ""


def _within(problem: Problem) -> str:
    """Return where in its federate a problem is."""
    return "/".join(problem.pointer.split("/")[3:])
