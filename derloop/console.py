"""What the commands print."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING, Self

from rich import markup
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from derloop import plugins
from derloop.errors import NOT_STOPPED, PluginError, did_you_mean, visible
from derloop.kind import Kind
from derloop.settings_table import Row, settings_rows
from derloop.verdict import AnyCheck, in_short, unasked

if TYPE_CHECKING:
    from derloop.federation import Federation, Unit
    from derloop.result import Result
    from derloop.results.store import RunFolder
    from derloop.results.summary import Figure
    from derloop.scenario.models import Scenario
    from derloop.verdict import Verdict
    from derloop.wires import Wire

STYLES = {"PASS": "bold green", "FAIL": "bold red", "INCONCLUSIVE": "bold yellow"}


def console() -> Console:
    """Return a console as wide as the terminal; where there is none, wide enough not to fold."""
    width = None if sys.stdout.isatty() else max(120, shutil.get_terminal_size().columns)
    return Console(width=width, highlight=False, soft_wrap=True)


class _OnStderr(Console):
    """A console on stderr, whose reader may go: Rich would then let stdout go nowhere, too, and end the command."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


class Bar:
    """How far a run is, on stderr."""

    def __init__(self, hidden: bool) -> None:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[clock]}"),
            TimeRemainingColumn(),
        )
        self._progress = Progress(
            *columns, console=_OnStderr(stderr=True, soft_wrap=True), transient=True, disable=hidden
        )
        self._task = self._progress.add_task("starting", total=None, clock="")

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def say(self, caution: str) -> None:
        """Print what must be known before the run begins, above the bar; also where there is none."""
        out = self._progress.console
        _print_folded(out, "CAUTION  ", caution, STYLES["INCONCLUSIVE"])

    def show(self, now_ns: int | None, until_ns: int) -> None:
        if now_ns is not None:
            clock = f"{_clock(now_ns)} of {_clock(until_ns)}"
            self._progress.update(self._task, description="running", completed=now_ns, total=until_ns, clock=clock)


def _clock(ns: int) -> str:
    seconds = ns // 1_000_000_000
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"


def show_result(result: Result, quiet: bool) -> None:
    """Print what a run was like: the failure first, then figures, verdicts, and where to look."""
    out = console()
    if result.failure:
        out.print(f"[bold red]{result.outcome.upper()}[/] {escape(result.failure)}")
    for hunting in result.hunting:
        _print_folded(out, "HUNTING  ", hunting.said(result.folder.calendar), "bold yellow")
    left = [text for text in (result.failure, *result.complaints) if NOT_STOPPED in text]
    for complaint in (text for text in result.complaints if text not in left):
        out.print(f"[yellow]note[/] {escape(complaint)}")
    if not quiet:
        _show_figures(out, result.summary)
    _show_verdicts(out, result.verdicts)
    if not quiet:
        folder = _near(result.folder.path)
        page = folder / "report.html"
        out.print(Text(f"results  {folder}"))
        if page.exists():
            out.print(Text(f"report   {page}"))
    for text in left:  # last, where nobody overlooks it: somebody may have to go and see to equipment
        _print_folded(out, "NOT LEFT AS IT SHOULD BE  ", text, "bold white on red")


def escape(text: str) -> str:
    """Return `text` so that it is shown as it stands, and neither styles what is printed nor steers the terminal."""
    return markup.escape(visible(text))


def _near(path: Path) -> Path:
    """Return the path as it is written from here, where it is below."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


def _show_figures(out: Console, figures: Sequence[Figure]) -> None:
    width = max((len(figure.label) for figure in figures), default=0)
    for figure in figures:
        _print_folded(out, f"  {figure.label:<{width}}  ", figure.text)


def _show_verdicts(out: Console, verdicts: tuple[Verdict, ...]) -> None:
    shown = in_short(asdict(verdict) for verdict in verdicts)
    width = max((len(verdict["outcome"]) for verdict in shown), default=0)
    for verdict in shown:
        text = f"{verdict['check']}: {verdict['text']}"
        _print_folded(out, f"{verdict['outcome']:<{width}}  ", text, STYLES[verdict["outcome"]])
    if said := unasked(verdict.kind for verdict in verdicts):
        _print_folded(out, "NOT JUDGED  ", said, STYLES["INCONCLUSIVE"])


def _print_folded(out: Console, first: str, text: str, style: str = "") -> None:
    """Print `text` behind `first`; where a terminal ends it goes on below its own beginning."""
    for line in _folded(text, out, len(first)):
        out.print(Text.assemble((first, style), line))
        first, style = " " * len(first), ""


def show_folder(run: RunFolder) -> None:
    """Print what a run's folder holds."""
    out = console()
    said = run.run
    outcome = said.get("outcome", "running")
    how = "it left no word of how it ended" if outcome == "running" else str(outcome)  # its series are closed
    out.print(f"{escape(str(said.get('name', run.path.name)))}: {escape(how)}")
    for signal in run.signals():
        out.print(f"  {escape(signal.name):<44} {len(signal.labels):>6} x {escape(signal.unit)}")
    out.print(Text(f"report   {run.path / 'report.html'}"))


def show_federation(scenario: Scenario, federation: Federation) -> None:
    """Print who takes part, in the order of an instant, and from whom each reads; and what nobody judges or hears."""
    from derloop.checks.ahead import cautions

    out = console()
    out.print(f"{escape(scenario.name)}: {_counted(federation)}; no problem")
    heading = ("order", "federate", "kind", "via", "step", "reads from")
    _print_rows(out, [heading, *(row for unit in federation.units for row in _rows(scenario, federation, unit))])
    for caution in cautions(scenario, federation):
        _print_folded(out, "CAUTION  ", caution, STYLES["INCONCLUSIVE"])


def _counted(federation: Federation) -> str:
    counts = {"federate": len(federation.federates), "wire": len(federation.wires)}
    return ", ".join(f"{count} {word}{'' if count == 1 else 's'}" for word, count in counts.items())


def _rows(scenario: Scenario, federation: Federation, unit: Unit) -> Iterator[tuple[str, ...]]:
    for member in unit.members:
        entry = scenario.federates[member]
        read = {w.source.federate + _coupled(w): None for w in federation.wires if w.target.federate == member}
        rank = f"{unit.rank + 1}{' loop' if unit.is_loop else ''}"
        yield rank, member, entry.kind.name, entry.via, f"{unit.step_ns / 1e9:g} s", ", ".join(read)


def _coupled(wire: Wire) -> str:
    return "" if wire.coupling == "direct" else f" ({wire.coupling})"


def _print_rows(out: Console, rows: list[tuple[str, ...]]) -> None:
    """Print columns as wide as they need; the last one is folded where a terminal ends, not in a pipe."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)][:-1]
    for number, row in enumerate(rows):
        first = "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=False)) + "  "
        style = "bold" if number == 0 else ""
        for line in _folded(row[-1], out, len(first)):
            out.print(Text((first + line).rstrip(), style=style))
            first = " " * len(first)


def _folded(text: str, out: Console, indent: int) -> list[str]:
    if not out.is_terminal:
        return [visible(text)]
    return wrap(visible(text), max(out.width - indent, 20)) or [""]


def show_kinds() -> None:
    """Print every kind of federate and check that is installed."""
    out = console()
    groups = (("federates", plugins.KINDS, plugins.kind), ("checks", plugins.CHECKS, plugins.check_kind))
    width = 2 + max(len(name) for _, group, _ in groups for name in plugins.names(group))
    for title, group, load in groups:
        out.print(f"[bold]{title}[/]")
        for name in plugins.names(group):
            _print_folded(out, f"  {name:<{width}}", _summary(load, name))
    out.print("[bold]realisations[/] (via)")
    out.print(f"  {', '.join(('model', *plugins.names(plugins.REALISATIONS)))}")
    out.print("Settings of one: derloop kinds KIND")


def _summary(load: Callable[[str], Kind | AnyCheck], name: str) -> str:
    """Return what a kind says of itself; one that does not load must not hide the others."""
    try:
        return load(name).summary.rstrip(".")
    except PluginError as error:
        return f"BROKEN: {error}"


def show_kind(name: str) -> None:
    """Print the settings of one kind, with units, defaults and ranges."""
    found = _found(name)
    out = console()
    out.print(f"[bold]{name}[/]: {escape(found.summary)}")
    for setting, kind, default, limits, what in (*_via_rows(found), *settings_rows(found.settings)):
        given = default if default == "required" else f"default {default}"
        facts = "; ".join(filter(None, (kind, limits, given)))
        out.print(f"\n  [bold]{escape(setting)}[/]  {escape(facts)}")
        if what:
            _print_folded(out, " " * 6, what)


def _via_rows(found: Kind | AnyCheck) -> Iterator[Row]:
    if isinstance(found, Kind) and found.is_der:
        ways = " | ".join(("model", *plugins.names(plugins.REALISATIONS)))
        yield "via", ways, "model", "", "How the devices are realised."


def _found(name: str) -> Kind | AnyCheck:
    kinds, checks = plugins.names(plugins.KINDS), plugins.names(plugins.CHECKS)
    if name in checks:
        return plugins.check_kind(name)
    if name not in kinds:
        raise PluginError(f"no kind {name!r} is installed" + did_you_mean(name, [*kinds, *checks]))
    return plugins.kind(name)
