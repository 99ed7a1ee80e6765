"""The signals that checks ask for: whether somebody gives them, and whether a check could judge what is given."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import NamedTuple

from derloop import document
from derloop.contract import Interface
from derloop.errors import Problem, did_you_mean, said
from derloop.scenario.models import Scenario
from derloop.verdict import CheckEntry, CheckKind


def check_problems(
    scenario: Scenario,
    interfaces: Mapping[str, Interface],
    unknown: Collection[str] = (),
    possible: Collection[str] = (),
) -> list[Problem]:
    """Refuse a check of a signal that nobody gives, or that it could not judge: it could never fail.

    unknown: federates of which it is not known what they give; a check that may mean them is not judged.
    possible: signals of which it is not known whether they are recorded; nor is a check that may mean these.
    """
    given = {
        f"{name}.{port}": _Given(f"{name}.{port}", spec.unit, spec.labels, interface.step_ns)
        for name, interface in interfaces.items()
        for port, spec in interface.outputs.items()
    }
    problems = []
    for path, pattern, check in _signals(scenario.checks, ("checks",)):
        if any(fnmatchcase(name, pattern.split(".")[0]) for name in unknown):
            continue
        if any(fnmatchcase(name, pattern) for name in possible):
            continue
        found = [signal for name, signal in given.items() if fnmatchcase(name, pattern)]
        what = _unfit(check, pattern, found) if found else _no_signal(pattern, [*given], [*interfaces, *unknown])
        if what:
            problems.append(Problem(document.pointer(path), what))
    return problems


class _Given(NamedTuple):
    """A signal as it will be recorded."""

    name: str
    unit: str
    labels: tuple[str, ...]
    step_ns: int


def _unfit(check: CheckEntry, pattern: str, found: Sequence[_Given]) -> str:
    """Return why these signals, that fit a pattern, could never be judged together by a check; empty if they could."""
    units = sorted({signal.unit for signal in found})
    if len(units) > 1:
        return f"the signals that fit {pattern!r} have several units: {', '.join(units)}"
    assert isinstance(check.kind, CheckKind)
    try:
        return next((what for signal in found if (what := check.kind.misfit(check.settings, signal))), "")
    except (Exception, SystemExit) as error:  # noqa: BLE001 - a kind's own; whose it is, is said
        return f"the check {check.kind.name!r} cannot say whether {pattern!r} fits: {said(error)}"


def _signals(
    checks: Sequence[CheckEntry], at: tuple[str | int, ...]
) -> Iterator[tuple[tuple[str | int, ...], str, CheckEntry]]:
    """Yield every signal that checks need, those within others too, with the path of the setting that names it."""
    for index, check in enumerate(checks):
        if isinstance(check.kind, CheckKind):
            yield from (((*at, index, *path), pattern, check) for path, pattern in check.kind.signals(check.settings))
        yield from _signals(check.parts, (*at, index, "of"))


def _no_signal(pattern: str, ports: Sequence[str], federates: Sequence[str]) -> str:
    federate, dot, _ = pattern.partition(".")
    if dot and federate not in federates and not set("*?[") & set(federate):
        return f"no signal {pattern!r}: no federate {federate!r}" + did_you_mean(federate, federates)
    return f"no signal {pattern!r}" + did_you_mean(pattern, ports)
