"""`derloop sweep`: many runs of one scenario, and one table."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from derloop.commands.options import Engine, TrustControl, TrustFeeder, application

if TYPE_CHECKING:
    from derloop.sweep.models import SweepFile
    from derloop.sweep.plan import Plan

app = application()


@app.command(
    epilog="Examples: derloop sweep sweep.json --jobs 4, "
    "derloop sweep scenario.json --vary federates.batteries.energy_kwh=5,10 --seeds 1..10",
)
def sweep(
    file: Annotated[
        Path | None, typer.Argument(metavar="SWEEP|SCENARIO", help="A sweep file, or a scenario.", show_default=False)
    ] = None,
    vary: Annotated[
        list[str] | None,
        typer.Option(metavar="PATH=VALUES", help="What differs: V1,V2,... or LOW..HIGH or LOW..HIGH:COUNT."),
    ] = None,
    seeds: Annotated[str, typer.Option(metavar="SEEDS", help="Run all with each seed: 1..10 or 1,2,3.")] = "",
    together: Annotated[bool, typer.Option("--list", help="First values together, then second ...; no grid.")] = False,
    sample: Annotated[
        int | None, typer.Option(metavar="N", min=1, max=100_000, help="A Latin hypercube of N combinations.")
    ] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="PATH=VALUE", help="Change a setting of every run.")
    ] = None,
    jobs: Annotated[int, typer.Option("--jobs", "-j", min=1, max=1024, help="Runs at a time.")] = 1,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="The sweep's folder; sweeps/NAME without it.")] = None,
    engine: Annotated[Engine | None, typer.Option(help="What moves the federates; the scenario's without it.")] = None,
    report: Annotated[bool, typer.Option("--report", help="Write report.html of every run.")] = False,
    trust_feeder: TrustFeeder = False,
    trust_control: TrustControl = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print how many ended how alone.")] = False,
    schema: Annotated[bool, typer.Option("--schema", help="Print the JSON Schema of sweep files.")] = False,
) -> None:
    """Run a scenario many times, over parameters or seeds.

    Each run has a process and a folder of its own. Given again, it does only what is missing, or has changed.

    Exit status: 0 all checks of all runs passed, 1 a check failed, 2 the sweep is wrong, 3 a run did not complete or is
    inconclusive, 130 interrupted.
    """
    from derloop.kind import Permissions
    from derloop.sweep.plan import plan

    if schema or file is None:
        _print_schema(schema)
        return
    said = _said(file, vary or [], seeds, together, sample)
    also = [*(set_ or []), *([f'engine="{engine.value}"'] if engine else [])]
    planned = plan(file, said, also, Permissions(trust_feeder=trust_feeder, trust_control=trust_control))
    options = ["--report" if report else "--no-report"]
    options += ["--trust-feeder"] * trust_feeder + ["--trust-control"] * trust_control
    _conduct(planned, out or Path("sweeps") / planned.name, jobs, options, quiet)


def _conduct(planned: Plan, folder: Path, jobs: int, options: list[str], quiet: bool) -> NoReturn:
    """Run what is planned with a bar, show what came of it, and exit."""
    from derloop.sweep.outcomes import INCONCLUSIVE, status_of
    from derloop.sweep.processes import ended_by_signals
    from derloop.sweep.progress import Bar
    from derloop.sweep.sweeping import sweep as run_sweep
    from derloop.sweep.swept import NotWritten
    from derloop.sweep.wording import counted, lines, places

    try:
        with ended_by_signals(), Bar(quiet or not sys.stderr.isatty()) as bar:
            swept = run_sweep(planned, folder, jobs, options, bar.show)
    except NotWritten as error:
        _show(lines(error.swept), counted(error.swept.rows), quiet)
        typer.echo(f"derloop: {error}; the runs are kept, and the same command writes it", err=True)
        raise typer.Exit(INCONCLUSIVE) from error
    _show([*lines(swept), *places(swept)], counted(swept.rows), quiet)
    raise typer.Exit(130 if swept.is_interrupted else status_of(swept.rows))


def _show(lines: Iterable[str], counted: str, quiet: bool) -> None:
    for line in [counted] if quiet else lines:
        typer.echo(line)


def _print_schema(is_asked: bool) -> None:
    from derloop.sweep.models import SweepFile

    if not is_asked:
        raise typer.BadParameter("a sweep file or a scenario is needed", param_hint="SWEEP|SCENARIO")
    typer.echo(json.dumps(SweepFile.model_json_schema(by_alias=True), indent=1))


def _said(file: Path, varied: list[str], seeds: str, together: bool, samples: int | None) -> SweepFile:
    """Return the sweep that a file describes, or that options ask for of a scenario."""
    from derloop import document
    from derloop.sweep.asked import asked
    from derloop.sweep.plan import sweep_of

    if together and samples:
        raise typer.BadParameter("values are either taken together or sampled", param_hint="--list, --sample")
    read = document.read(file)
    if read.keys() & {"scenario", "vary", "seeds"} and "federates" not in read:
        if varied or seeds:
            what = f"{file} is a sweep file, which has parameters and seeds of its own; these are for a scenario"
            raise typer.BadParameter(what, param_hint="--vary, --seeds")
        if together or samples:
            raise typer.BadParameter("a sweep file has a design of its own", param_hint="--list, --sample")
        return sweep_of(file)
    if varied or seeds:
        return asked(file, varied, seeds, together, samples)
    if "federates" in read and "scenario" not in read:
        raise typer.BadParameter("a scenario is swept over --vary or --seeds; neither was given", param_hint=str(file))
    return sweep_of(file)
