"""Verdicts: what must hold in a run, judged on what was recorded.

One module for each kind of check, which names itself as `KIND`; they come in through the entry-point group
`derloop.checks`, as a check of anybody else does. `balance` is built in and judged in every run. `window` and
`elements` read what is to be judged, `bounds` and `event` are what several checks judge by, `composition` has the
checks of checks, `junit` writes verdicts for continuous integration.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from derloop.calendar import Calendar
from derloop.checks.window import NS, Windowed
from derloop.errors import DerloopError, PluginError, said
from derloop.kind import Settings
from derloop.verdict import OUTCOMES, CheckEntry, CheckKind, Composition, Doubt, Recorded, Verdict

SHOWN = 3
"""How many reasons for one doubt a verdict names."""


def judge_all(
    checks: Iterable[CheckEntry], recorded: Recorded, cut_short: str = "", doubts: Sequence[Doubt] = ()
) -> tuple[Verdict, ...]:
    """Return a verdict for each check, in this order.

    A check that raises a DerloopError is INCONCLUSIVE, with the error's text; so is one that raises anything else, or
    gives no verdict: those of the others, and the run's results, must not be lost with it. `cut_short` says why the run
    ended before its time, if it did: what had not failed for good until then is INCONCLUSIVE. So is what rests on
    signals that are in doubt within its window, unless it had failed for good before. Of a check of checks this is
    asked of each in it.
    """
    return tuple(_cut(_told(check, recorded, cut_short, doubts), cut_short) for check in checks)


def _told(check: CheckEntry, recorded: Recorded, cut_short: str, doubts: Sequence[Doubt]) -> Verdict:
    try:
        return _judged(check, recorded, cut_short, doubts)
    except DerloopError as error:
        why = str(error)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - a check's own; whose it is, is said
        why = f"could not be judged: {said(error)}"
    return Verdict(check.name, check.kind.name, "INCONCLUSIVE", why)


def _judged(check: CheckEntry, recorded: Recorded, cut_short: str, doubts: Sequence[Doubt]) -> Verdict:
    if isinstance(check.kind, Composition):
        return _named(check, check.kind.combine(judge_all(check.parts, recorded, cut_short, doubts)))
    for_good = check.kind.fails_for_good(check.settings)
    found = _named(check, check.kind.judge(check.settings, recorded))
    found = replace(found, text=found.text + _window(check.settings, recorded.calendar))
    verdict = _cut(found, cut_short, for_good)
    if not doubts or verdict.outcome == "INCONCLUSIVE":
        return verdict
    federates = _federates(check.kind, check.settings, recorded)
    touching = [d for d in doubts if federates.intersection(d.federates) and _is_within(check.settings, d)]
    return _doubted(verdict, touching, for_good)


def _federates(kind: CheckKind, settings: Settings, recorded: Recorded) -> set[str]:
    """Return whose signals are judged: a pattern need not have the point between federate and port."""
    found = (signal for _, pattern in kind.signals(settings) for signal in recorded.select(pattern))
    return {signal.name.partition(".")[0] for signal in found}


def _is_within(settings: Settings, doubt: Doubt) -> bool:
    """Return whether any of the doubtful time is judged."""
    if not isinstance(settings, Windowed):
        return True
    ends = settings.to_s is None or doubt.since_ns < settings.to_s * NS
    return ends and (doubt.until_ns is None or doubt.until_ns > settings.from_s * NS)


def _doubted(verdict: Verdict, doubts: Sequence[Doubt], fails_for_good: bool) -> Verdict:
    if not doubts:
        return verdict
    since_ns = min(doubt.since_ns for doubt in doubts)
    has_failed = verdict.outcome == "FAIL" and fails_for_good
    if has_failed and verdict.when_ns is not None and verdict.when_ns < since_ns:
        return verdict
    more = f"; and {len(doubts) - SHOWN} more" if len(doubts) > SHOWN else ""
    why = "; ".join(doubt.why for doubt in doubts[:SHOWN]) + more
    return replace(verdict, outcome="INCONCLUSIVE", text=f"{why}. With that: {verdict.text}")


def cut(verdicts: Iterable[Verdict], cut_short: str) -> tuple[Verdict, ...]:
    """Return the verdicts with those that passed as INCONCLUSIVE where `cut_short` says why the run ended early."""
    return tuple(_cut(verdict, cut_short) for verdict in verdicts)


def _window(settings: Settings, calendar: Calendar) -> str:
    """Return which part of the run was judged, for the end of a verdict's text; empty for the whole run."""
    if not isinstance(settings, Windowed):
        return ""
    lasts_s = calendar.lasts.total_seconds()
    is_to_end = settings.to_s is None or 0 < lasts_s <= settings.to_s
    begins = f" from {calendar.at(settings.from_s * NS)}" if settings.from_s else ""
    ends = "" if is_to_end else f" until {calendar.at((settings.to_s or 0.0) * NS)}"
    return f"; judged{begins}{ends}" if begins or ends else ""


def _named(check: CheckEntry, verdict: object) -> Verdict:
    """Return what a check has given, with the scenario's name. Raises: PluginError where it is no verdict."""
    if not isinstance(verdict, Verdict):
        raise PluginError(f"the check {check.kind.name!r} gives {type(verdict).__name__}, not a Verdict")
    if verdict.outcome not in OUTCOMES:
        possible = ", ".join(OUTCOMES)
        raise PluginError(f"the check {check.kind.name!r} gives the outcome {verdict.outcome!r}; there are: {possible}")
    return replace(verdict, check=check.name)


def _cut(verdict: Verdict, cut_short: str, fails_for_good: bool = True) -> Verdict:
    is_known = verdict.outcome == "INCONCLUSIVE" or (verdict.outcome == "FAIL" and fails_for_good)
    if not cut_short or is_known:
        return verdict
    return replace(verdict, outcome="INCONCLUSIVE", text=f"{cut_short}; until then: {verdict.text}")
