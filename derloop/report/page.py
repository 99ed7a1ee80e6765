"""One HTML file that holds everything: text, data, style and scripts. It asks the network for nothing.

Whatever a scenario says is text here: jinja2 escapes it in HTML, `_data` in JSON, `traces.label` in charts; and a
content security policy lets no script run but the two that are put in, known by their hashes.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from importlib.resources import files
from pathlib import Path
from typing import Any, Protocol

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from derloop.contract import FloatArray
from derloop.report import wording
from derloop.report.every_signal import EverySignal, every_signal
from derloop.report.figures import Charted, Figure, SignalOfRun, check_limits, figures
from derloop.report.traces import TimeArray, Times
from derloop.report.wording import Calendar
from derloop.verdict import in_short

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
    text = page(run)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.write_text(text, encoding="utf-8", errors="replace", newline="\n")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def page(run: Run) -> str:
    """Return the page as text."""
    facts, verdicts = run.run, [v for v in run.verdicts if isinstance(v, dict)]
    calendar = Calendar(_start(facts))
    charted = _charted(run, facts, verdicts, calendar)
    drawn, every = figures(charted), every_signal(charted)
    plotly, script = _script("plotly.package_data", "plotly.min.js"), _script("derloop.report", "page.js")
    text: str = _template().render(
        name=facts.get("name") or run.path.name,
        run=facts,
        folder=run.path.name,
        badge=badge(facts, verdicts),
        signs=SIGNS,
        verdicts=in_short(verdicts),
        failure=_failure(facts),
        figures=drawn,
        every=every,
        thinned=charted.times.thinned,
        calendar=calendar,
        data=_data(calendar, charted.times, drawn, every),
        plotly=plotly,
        script=script,
        hashes=" ".join(_hash(code) for code in (plotly, script)),
        style=Markup(_text("derloop.report", "page.css")),  # noqa: S704 - our own file
    )
    return text


def badge(facts: Mapping[str, Any], verdicts: list[dict[str, Any]]) -> str:
    """Return the run's outcome in a word: how it ended, else the worst verdict."""
    if facts.get("outcome") == "interrupted":
        return "INTERRUPTED"
    if facts.get("outcome") != "completed":
        return "FAILED"
    outcomes = {v.get("outcome") for v in verdicts}
    return next((o for o in ("FAIL", "INCONCLUSIVE", "PASS") if o in outcomes), "NOT JUDGED")


def _charted(run: Run, facts: Mapping[str, Any], verdicts: list[Any], calendar: Calendar) -> Charted:
    federates = facts.get("federates")
    known = {k: v for k, v in federates.items() if isinstance(v, Mapping)} if isinstance(federates, Mapping) else {}
    signals: tuple[SignalOfRun, ...] = run.signals()
    return Charted(signals, run.read, known, check_limits(facts, verdicts), Times(), calendar)


def _start(facts: Mapping[str, Any]) -> datetime | None:
    try:
        return datetime.fromisoformat(str(facts.get("start")))
    except ValueError:
        return None


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


def _data(calendar: Calendar, times: Times, drawn: list[Figure], every: EverySignal) -> Markup:
    data = {
        "start_ms": calendar.epoch_ms,
        "elapsed": calendar.start is None,
        "figures": [asdict(figure) for figure in drawn],
        "signals": every.sketches,
        "times": times.axes,
    }
    text = json.dumps(data, allow_nan=False, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))  # noqa: S704


def _text(package: str, name: str) -> str:
    return files(package).joinpath(name).read_text(encoding="utf-8").replace("\r\n", "\n")


def _script(package: str, name: str) -> Markup:
    text = _text(package, name)
    if "</script" in text.lower() or "<!--" in text:
        text = text.replace("</", "<\\/").replace("<!--", "<\\!--")
    return Markup(text)  # noqa: S704 - the code of an installed package


def _hash(code: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()}'"


def _template() -> Any:
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {
        "beyond": wording.beyond,
        "number": wording.number,
        "duration": wording.duration,
        "plain": wording.plain,
        "flat": wording.flat,
    }
    return environment.from_string(_text("derloop.report", "template.html.j2"))
