"""What the commands print."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Self

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from derloop import plugins
from derloop.kind import Settings

if TYPE_CHECKING:
    from derloop.federation import Federation, Unit
    from derloop.results.store import RunFolder
    from derloop.running import Result
    from derloop.scenario.models import Scenario
    from derloop.verdict import Verdict

STYLES = {"PASS": "bold green", "FAIL": "bold red", "INCONCLUSIVE": "bold yellow"}


def console() -> Console:
    """Return a console as wide as the terminal; where there is none, wide enough not to fold."""
    width = None if sys.stdout.isatty() else max(120, shutil.get_terminal_size().columns)
    return Console(width=width, highlight=False, soft_wrap=True)


class Bar:
    """How far a run is, on stderr."""

    def __init__(self, hidden: bool) -> None:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[clock]}"),
            TimeRemainingColumn(),
        )
        self._progress = Progress(*columns, console=Console(stderr=True), transient=True, disable=hidden)
        self._task = self._progress.add_task("starting", total=None, clock="")

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

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
    for complaint in result.complaints:
        out.print(f"[yellow]note[/] {escape(complaint)}")
    if not quiet:
        for figure in result.summary:
            out.print(f"  {escape(figure.label):<44} {escape(figure.text)}")
    _show_verdicts(out, result.verdicts)
    if not quiet:
        page = result.folder.path / "report.html"
        out.print(
            f"results {escape(str(result.folder.path))}" + (f"\nreport  {escape(str(page))}" if page.exists() else "")
        )


def _show_verdicts(out: Console, verdicts: tuple[Verdict, ...]) -> None:
    for verdict in verdicts:
        style = STYLES[verdict.outcome]
        out.print(f"[{style}]{verdict.outcome:<12}[/] {escape(verdict.check)}: {escape(verdict.text)}")


def show_folder(run: RunFolder) -> None:
    """Print what a run's folder holds."""
    out = console()
    said = run.run
    out.print(f"{escape(str(said.get('name', run.path.name)))}: {escape(str(said.get('outcome', 'unknown')))}")
    for signal in run.signals():
        out.print(f"  {escape(signal.name):<44} {len(signal.labels):>6} x {escape(signal.unit)}")
    out.print(f"report  {escape(str(run.path / 'report.html'))}")


def show_federation(scenario: Scenario, federation: Federation) -> None:
    """Print who takes part, in the order of an instant, and how they are wired."""
    out = console()
    out.print(
        f"{escape(scenario.name)}: {len(federation.federates)} federates, {len(federation.wires)} wires, no problem"
    )
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("order", "federate", "kind", "via", "step", "reads"):
        table.add_column(heading)
    for unit in federation.units:
        for row in _rows(scenario, federation, unit):
            table.add_row(*row)
    out.print(table)


def _rows(scenario: Scenario, federation: Federation, unit: Unit) -> Iterator[tuple[str, ...]]:
    for member in unit.members:
        entry = scenario.federates[member]
        wires = [w for w in federation.wires if w.target.federate == member]
        reads = ", ".join(f"{w.source}{'' if w.coupling == 'direct' else f' ({w.coupling})'}" for w in wires)
        rank = f"{unit.rank + 1}{' loop' if unit.is_loop else ''}"
        yield rank, member, entry.kind.name, entry.via, f"{unit.step_ns / 1e9:g} s", escape(reads)


def show_kinds() -> None:
    """Print every kind of federate and check that is installed."""
    out = console()
    for title, group, load in (
        ("federates", plugins.KINDS, plugins.kind),
        ("checks", plugins.CHECKS, plugins.check_kind),
    ):
        out.print(f"[bold]{title}[/]")
        for name in plugins.names(group):
            out.print(f"  {name:<16} {escape(load(name).summary)}")
    out.print("[bold]realisations[/] (via)\n  " + ", ".join(("model", *plugins.names(plugins.REALISATIONS))))


def show_kind(name: str) -> None:
    """Print the settings of one kind, with units, defaults and ranges."""
    found: Any = plugins.check_kind(name) if name in plugins.names(plugins.CHECKS) else plugins.kind(name)
    out = console()
    out.print(f"[bold]{name}[/]: {escape(found.summary)}")
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("setting", "type", "default", "range", "what"):
        table.add_column(heading, overflow="fold")
    for row in settings_rows(found.settings):
        table.add_row(*map(escape, row))
    out.print(table)


def settings_rows(settings: type[Settings]) -> Iterator[tuple[str, str, str, str, str]]:
    """Yield (setting, type, default, range, description) for each setting."""
    schema = settings.model_json_schema(by_alias=True)
    required = schema.get("required", [])
    for name, spec in schema.get("properties", {}).items():
        default = "required" if name in required else _plain(spec.get("default"))
        yield name, _type_of(spec), default, _range_of(spec), spec.get("description", "")


def _plain(value: object) -> str:
    return "none" if value is None else str(value)


def _type_of(spec: dict[str, Any]) -> str:
    if "enum" in spec:
        return " | ".join(map(str, spec["enum"]))
    if "const" in spec:
        return str(spec["const"])
    if "anyOf" in spec:
        return " | ".join(t for branch in spec["anyOf"] if (t := _type_of(branch)) != "null")
    if "oneOf" in spec:
        return " | ".join(_type_of(branch) for branch in spec["oneOf"])
    if "$ref" in spec:
        return str(spec["$ref"]).rsplit("/", 1)[-1]
    return str(spec.get("type", "object"))


def _range_of(spec: dict[str, Any]) -> str:
    for branch in (spec, *spec.get("anyOf", ())):
        words = {"minimum": ">= ", "exclusiveMinimum": "> ", "maximum": "<= ", "exclusiveMaximum": "< "}
        if found := [f"{sign}{branch[key]:g}" for key, sign in words.items() if key in branch]:
            return ", ".join(found)
    return ""
