"""`derloop compare`: where runs part."""

from __future__ import annotations

from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from derloop.commands.options import application

if TYPE_CHECKING:
    from derloop.results.compare import Tolerances
    from derloop.results.store import RunFolder

app = application()


def _finite(value: float) -> float:
    if not isfinite(value):
        raise typer.BadParameter(f"{value:g} is no finite number: everything would be equal")
    return value


@app.command(
    epilog="Examples: derloop compare runs/a runs/b --abs 1e-6, derloop compare runs/m runs/e runs/b --signals"
)
def compare(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN RUN...", help="Folders of runs.", show_default=False)],
    absolute: Annotated[
        float, typer.Option("--abs", help="Allowed absolute difference.", min=0.0, callback=_finite)
    ] = 0.0,
    relative: Annotated[
        float, typer.Option("--rel", help="Allowed relative difference.", min=0.0, callback=_finite)
    ] = 0.0,
    common: Annotated[bool, typer.Option("--common", help="Leave out signals that only one run has.")] = False,
    signals: Annotated[
        bool, typer.Option("--signals", help="Signal by signal: how far each run is from the first, and where.")
    ] = False,
    page: Annotated[
        Path | None, typer.Option("--page", metavar="FILE", help="Write that as a page with charts, too.")
    ] = None,
) -> None:
    """Say where runs part.

    Of two: the first instant, signal and element. With --signals, of two or more, for every signal that all have: the
    worst, where and when; the rest is left out. Exit status: 0 equal within the tolerances, 1 different, or instants
    that only some have.
    """
    from derloop.results.compare import Tolerance, Tolerances
    from derloop.results.store import RunFolder, existing

    allowed = Tolerances({"*": Tolerance(absolute, relative)})
    by_signal = signals or page is not None
    folders = [RunFolder(existing(run)) for run in _several(runs, by_signal)]
    if len(starts := {str(folder.start): None for folder in folders}) > 1:
        typer.echo(f"they start at {' and at '.join(starts)}: compared is the same time since the start")
    same = _compare_signals(folders, allowed, page) if by_signal else _compare_two(folders, allowed, common)
    raise typer.Exit(0 if same else 1)


def _several(runs: list[Path], by_signal: bool) -> list[Path]:
    if len(runs) < 2 or (len(runs) > 2 and not by_signal):
        raise typer.BadParameter(f"{len(runs)} given; two are compared, more with --signals", param_hint="RUN")
    return runs


def _compare_two(runs: list[RunFolder], allowed: Tolerances, common: bool) -> bool:
    from derloop.results.compare import compare

    found = compare(runs[0], runs[1], allowed, common=common)
    typer.echo(str(found))
    return found.same


def _compare_signals(runs: list[RunFolder], allowed: Tolerances, page: Path | None) -> bool:
    from derloop.report.parted import lines, write_page
    from derloop.results.parting import partings

    found = partings(runs, allowed)
    for line in lines(runs, found):
        typer.echo(line)
    if page is not None:
        write_page(runs, found, page)
        typer.echo(f"{page}: the same, with charts")
    return found.same
