"""Which host runs which unit, as a scenario or a hosts file says it by the names of federates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase

from derloop.document import pointer
from derloop.errors import Problem, did_you_mean
from derloop.federation import Unit

Wishes = Mapping[str, Sequence[str]]
"""For each host the federates that belong there, by name or pattern: "bay_*"."""


def hosts_of(
    units: Sequence[Unit], wishes: Wishes, below: tuple[str, ...] = ()
) -> tuple[dict[str, str], list[Problem]]:
    """Return the host of each unit that has one, by the unit's name, and what is wrong.

    `wishes` stand at /hosts, each host's list `below` its name.

    A unit none of whose federates is named runs where the run was started. The federates of a converged loop are one
    unit, and go with those of them that are named.
    """
    federates = [member for unit in units for member in unit.members]
    problems = [
        Problem(pointer(("hosts", host, *below, i)), f"no federate {pattern!r}" + did_you_mean(pattern, federates))
        for host, patterns in wishes.items()
        for i, pattern in enumerate(patterns)
        if not any(fnmatchcase(name, pattern) for name in federates)
    ]
    found: dict[str, str] = {}
    for unit in units:
        wanted = {host: name for host, patterns in wishes.items() for name in _matching(unit.members, patterns)}
        if len(wanted) > 1:
            what = " and ".join(f"{name!r} on {host!r}" for host, name in wanted.items())
            one = "they are one converged loop and run on one host" if len(unit.members) > 1 else "it runs on one host"
            problems.append(Problem("/hosts", f"{what}: {one}"))
        elif wanted:
            found[unit.name] = next(iter(wanted))
    return found, problems


def _matching(members: Sequence[str], patterns: Sequence[str]) -> list[str]:
    return [name for name in members if any(fnmatchcase(name, pattern) for pattern in patterns)]
