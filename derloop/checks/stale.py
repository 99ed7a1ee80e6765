"""What no verdict can rest on in a paced run: measurements too old, instants that were skipped or too late."""

from __future__ import annotations

from collections.abc import Iterator

from derloop.checks.spells import doubted, spells
from derloop.federation import Federation
from derloop.results.store import RunFolder
from derloop.results.turns import Ages, Turns, ages, turns
from derloop.verdict import Doubt


def stale(federation: Federation, run: RunFolder) -> list[Doubt]:
    """Return a doubt for each spell in which a federate that lives in wall-clock time was not in time.

    Only such a federate gives other values when it is late; a model gives what it gives at any pace. With `max_age_s`
    an instant that was skipped is judged by its age alone.
    """
    return [
        doubt
        for of in turns(federation, run)
        for name in of.unit.members
        if federation.interfaces[name].paced
        for doubt in _of_one(federation, run, of, name)
    ]


def _of_one(federation: Federation, run: RunFolder, of: Turns, name: str) -> Iterator[Doubt]:
    pacing = federation.pacing
    assert pacing
    for spell in spells(of.is_missed):
        most = short_s(of.end_s[spell].max())
        what = f"ended up to {most} after its instant was due, {of.allowed_s:g} s are allowed"
        yield doubted(federation, name, of.time_ns[spell], what, run.calendar)
    if pacing.max_age_s is None:
        for spell in spells(of.is_skipped):
            what = f"missed and skipped {spell.stop - spell.start} of its instants"
            yield doubted(federation, name, of.time_ns[spell], what, run.calendar)
        return
    found = ages(federation, run, of, name)
    for spell in spells(found.age_s.max(axis=1, initial=0.0) > pacing.max_age_s):
        what = f"measurements {_oldest(found, spell)} old, max_age_s is {pacing.max_age_s:g}"
        yield doubted(federation, name, found.time_ns[spell], what, run.calendar)


def _oldest(found: Ages, spell: slice) -> str:
    aged = found.age_s[spell].max(axis=0)
    return f"up to {short_s(aged.max())} (at {found.labels[int(aged.argmax())]!r})"


def short_s(seconds: float) -> str:
    return f"{seconds:.3g} s"
