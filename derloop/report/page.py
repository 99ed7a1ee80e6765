"""The page about one run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

from derloop.calendar import Calendar
from derloop.contract import FloatArray
from derloop.errors import NOT_STOPPED
from derloop.report.every_signal import EverySignal, every_signal
from derloop.report.figures import Charted, Figure, SignalOfRun, figures
from derloop.report.judged import followed_figures, is_still, judged_figures
from derloop.report.limits import limits_of
from derloop.report.pace import kept_time, pace_figures
from derloop.report.services import price_figures, service_figures
from derloop.report.sheet import rendered, write_whole
from derloop.report.traces import TimeArray, Times
from derloop.verdict import in_short, overall, unasked

SIGNS = {"PASS": "✓", "FAIL": "✕", "INCONCLUSIVE": "?", "FAILED": "!", "INTERRUPTED": "!", "NOT JUDGED": "–"}


class Run(Protocol):
    """What the page needs of a run's folder."""

    @property
    def path(self) -> Path: ...
    @property
    def run(self) -> dict[str, Any]: ...
    @property
    def verdicts(self) -> list[Any]: ...
    def signals(self) -> tuple[Any, ...]: ...
    def read(self, name: str, /) -> tuple[TimeArray, FloatArray]: ...


def write_report(run: Run, path: Path) -> None:
    """Write the page about `run` to `path`; it appears whole. Works for a run that failed or was killed, too."""
    write_whole(page(run), path)


def page(run: Run) -> str:
    """Return the page as text."""
    facts, verdicts = run.run, [v for v in run.verdicts if isinstance(v, dict)]
    calendar = Calendar.of(facts)
    charted = _charted(run, facts, verdicts, calendar)
    drawn, every = _drawn(charted, facts), every_signal(charted)
    return rendered(
        "template.html.j2",
        _data(calendar, charted.times, drawn, every),
        name=facts.get("name") or run.path.name,
        run=facts,
        folder=run.path.name,
        badge=badge(facts, verdicts),
        signs=SIGNS,
        verdicts=in_short(verdicts),
        unasked=unasked(v.get("kind") for v in verdicts),
        failure=_failure(facts),
        hunting=_hunting(facts),
        unsafe=[text for text in _texts(facts, "complaints") if NOT_STOPPED in text],
        notes=[text for text in _texts(facts, "cautions", "complaints") if NOT_STOPPED not in text],
        kept_time=kept_time(facts),
        figures=drawn,
        every=every,
        thinned=charted.times.thinned,
        calendar=calendar,
    )


def _drawn(run: Charted, facts: Mapping[str, Any]) -> list[Figure]:
    """Return every chart: first what the run is about, its head and what its checks judge; last what stands still."""
    general, services = figures(run), service_figures(run)
    heads = [figure for figure in general if figure.id.startswith(("head-", "bus-"))]
    judged = [*followed_figures(run, facts), *judged_figures(run)]
    moving = [figure for figure in judged if not is_still(figure)]
    still = [figure for figure in judged if is_still(figure)]
    rest = [figure for figure in general if figure not in heads]
    return [*heads, *services, *moving, *rest, *price_figures(run), *still, *pace_figures(run)]


def badge(facts: Mapping[str, Any], verdicts: list[dict[str, Any]]) -> str:
    """Return the run's outcome in a word: how it ended, else what its verdicts come to."""
    if facts.get("outcome") == "interrupted":
        return "INTERRUPTED"
    if facts.get("outcome") != "completed":
        return "FAILED"
    if _hunting(facts):
        return "INCONCLUSIVE"
    return overall((v.get("kind"), v.get("outcome")) for v in verdicts) or "NOT JUDGED"


def _charted(run: Run, facts: Mapping[str, Any], verdicts: list[Any], calendar: Calendar) -> Charted:
    federates = facts.get("federates")
    known = {k: v for k, v in federates.items() if isinstance(v, Mapping)} if isinstance(federates, Mapping) else {}
    signals: tuple[SignalOfRun, ...] = run.signals()
    return Charted(signals, run.read, known, limits_of(facts, verdicts), Times(), calendar)


def _failure(facts: Mapping[str, Any]) -> dict[str, Any] | None:
    """What made the run fail; something can be said of every run that did not end well."""
    failure = facts.get("failure")
    if isinstance(failure, Mapping):
        return dict(failure)
    if facts.get("outcome") == "interrupted":
        return {"why": "The run was interrupted. What was recorded until then is below."}
    if facts.get("outcome") != "completed":
        return {"why": "The run left no word of how it ended: it was probably killed. What it had recorded is below."}
    return None


def _hunting(facts: Mapping[str, Any]) -> list[Any]:
    """Return who hunted, each with a text."""
    found = facts.get("hunting")
    return [h["text"] for h in found if isinstance(h, Mapping) and "text" in h] if isinstance(found, list) else []


def _texts(facts: Mapping[str, Any], *keys: str) -> list[str]:
    """Return what was said before the run and after it, as text."""
    found = [facts.get(key) for key in keys]
    return [str(text) for said in found if isinstance(said, list | tuple) for text in said]


def _data(calendar: Calendar, times: Times, drawn: list[Figure], every: EverySignal) -> dict[str, object]:
    return {
        "start_ms": calendar.epoch_ms,
        "elapsed": calendar.start is None,
        "figures": [asdict(figure) for figure in drawn],
        "signals": every.sketches,
        "times": times.axes,
    }
