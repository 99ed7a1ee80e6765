"""`derloop value`: what a run was worth, part by part."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from federates.market.commands.failing import loudly

if TYPE_CHECKING:
    from federates.market.commands.history import RunHistory

app = typer.Typer(rich_markup_mode=None, add_completion=False, context_settings={"help_option_names": ["-h", "--help"]})


@app.command(epilog="Example: derloop value runs/with stack.json --without runs/base --page value.html")
def value(
    run: Annotated[
        Path | None, typer.Argument(metavar="RUN", help="The folder that a run has left.", show_default=False)
    ] = None,
    stack: Annotated[
        Path | None, typer.Argument(metavar="VALUE", help="What is valued, a JSON file.", show_default=False)
    ] = None,
    without: Annotated[
        Path | None, typer.Option("--without", metavar="RUN", help="The same run without what is valued.")
    ] = None,
    page: Annotated[Path | None, typer.Option("--page", metavar="FILE", help="Write it as a page, too.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    schema: Annotated[bool, typer.Option("--schema", help="Print the JSON Schema of VALUE files.")] = False,
) -> None:
    """Add up what a run was worth, part by part.

    Bills, energy, losses, capacity, upgrades, services, heat, resilience, emissions: each with its formula and what
    went into it. What would count twice is refused, and sums that must be equal are compared.
    """
    from federates.market.value.stack import value_schema

    if schema:
        typer.echo(json.dumps(value_schema(), indent=1))
        return
    if run is None or stack is None:
        raise typer.BadParameter("both are needed", param_hint="RUN VALUE")
    _add_up(run, stack, without, page, as_json)


def _add_up(run: Path, stack: Path, without: Path | None, page: Path | None, as_json: bool) -> None:
    from derloop.validation import read_model
    from federates.market.commands.stack_shown import show_total, total_json, write_page
    from federates.market.value.series import Runs
    from federates.market.value.stack import Stack
    from federates.market.value.total import add_up
    from federates.market.value.twice import refuse_double_counting

    wanted = read_model(Stack, stack)
    refuse_double_counting(wanted, str(stack))
    history, base = _histories(run, without)
    with loudly():
        total = add_up(wanted, Runs(history, base), str(stack))
    if as_json:
        typer.echo(total_json(total))
    else:
        show_total(total)
    if page is not None:
        write_page(total, page)


def _histories(run: Path, without: Path | None) -> tuple[RunHistory, RunHistory | None]:
    """Return both runs; raises DerloopError where they are not of one time."""
    from derloop.errors import DerloopError
    from derloop.results.store import RunFolder
    from federates.market.commands.history import RunHistory
    from federates.market.commands.recorded import ended

    history = RunHistory(ended(RunFolder(run)))
    base = None if without is None else RunHistory(ended(RunFolder(without)))
    if base and (base.start, base.duration_h) != (history.start, history.duration_h):
        raise DerloopError(f"{run} and {without} do not have the same start and duration: nothing can be compared")
    return history, base
