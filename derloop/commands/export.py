"""`derloop export`: a run over many machines, for those who start processes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from derloop.commands.options import ScenarioPath, Sets

if TYPE_CHECKING:
    from derloop.hosts.exporting import Job

app = typer.Typer(
    rich_markup_mode=None,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    no_args_is_help=True,
    help="Write a run over many machines for others to start.\n\n"
    "The file starts one `derloop run` and a `derloop join` for each host.",
)
Hosts = Annotated[Path, typer.Option(metavar="FILE", help="The hosts file.", show_default=False)]


@app.command(
    "helics-runner", epilog="Example: derloop export helics-runner study.json --hosts hosts.json > runner.json"
)
def helics_runner(scenario: ScenarioPath, hosts: Hosts, set_: Sets = None) -> None:
    """Write a file for `helics run --path FILE`."""
    from derloop.hosts import exporting

    typer.echo(exporting.helics_runner(_job(scenario, hosts, set_)), nl=False)


@app.command(epilog="Example: derloop export compose study.json --hosts hosts.json --image lab/derloop > compose.yaml")
def compose(
    scenario: ScenarioPath,
    hosts: Hosts,
    image: Annotated[str, typer.Option(help="An image in which derloop is installed.", show_default=False)],
    set_: Sets = None,
) -> None:
    """Write a file for `docker compose up`: a container for each host."""
    from derloop.hosts import exporting

    typer.echo(exporting.compose(_job(scenario, hosts, set_), image), nl=False)


@app.command(epilog="Example: derloop export slurm study.json --hosts hosts.json > study.sh && sbatch study.sh")
def slurm(scenario: ScenarioPath, hosts: Hosts, set_: Sets = None) -> None:
    """Write a script for `sbatch`: a node for each host, and one for the run."""
    from derloop.hosts import exporting

    typer.echo(exporting.slurm(_job(scenario, hosts, set_)), nl=False)


def _job(scenario: Path, hosts: Path, overrides: list[str] | None) -> Job:
    from derloop.hosts.exporting import job
    from derloop.hosts.gathering import plan
    from derloop.scenario.assembly import assemble
    from derloop.scenario.loading import load

    loaded = load(scenario, [*(overrides or []), 'placement="hosts"'])
    planned = plan(loaded, assemble(loaded), hosts, None)
    return job(loaded.name, scenario, hosts, planned.file, sorted({*planned.placed.values()}), overrides or [])
