"""`derloop export`: a run over many machines, for those who start processes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from derloop.commands.options import Arm, Bench, ScenarioPath, Sets, TrustControl, TrustFeeder

if TYPE_CHECKING:
    from derloop.hosts.exporting import Job
    from derloop.options import Options

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
def helics_runner(
    scenario: ScenarioPath,
    hosts: Hosts,
    set_: Sets = None,
    trust_feeder: TrustFeeder = False,
    trust_control: TrustControl = False,
    bench: Bench = None,
    arm: Arm = None,
) -> None:
    """Write a file for `helics run --path FILE`."""
    from derloop.hosts import exporting
    from derloop.options import Options

    options = Options(trust_feeder=trust_feeder, trust_control=trust_control, bench=bench, arm=arm or ())
    typer.echo(exporting.helics_runner(_job(scenario, hosts, set_, options)), nl=False)


@app.command(epilog="Example: derloop export compose study.json --hosts hosts.json --image lab/derloop > compose.yaml")
def compose(
    scenario: ScenarioPath,
    hosts: Hosts,
    image: Annotated[str, typer.Option(help="An image in which derloop is installed.", show_default=False)],
    set_: Sets = None,
    trust_feeder: TrustFeeder = False,
    trust_control: TrustControl = False,
) -> None:
    """Write a file for `docker compose up`: a container for each host."""
    from derloop.hosts import exporting
    from derloop.options import Options

    options = Options(trust_feeder=trust_feeder, trust_control=trust_control)
    typer.echo(exporting.compose(_job(scenario, hosts, set_, options), image), nl=False)


@app.command(epilog="Example: derloop export slurm study.json --hosts hosts.json > study.sh && sbatch study.sh")
def slurm(
    scenario: ScenarioPath,
    hosts: Hosts,
    set_: Sets = None,
    trust_feeder: TrustFeeder = False,
    trust_control: TrustControl = False,
    bench: Bench = None,
    arm: Arm = None,
) -> None:
    """Write a script for `sbatch`: a node for each host, and one for the run."""
    from derloop.hosts import exporting
    from derloop.options import Options

    options = Options(trust_feeder=trust_feeder, trust_control=trust_control, bench=bench, arm=arm or ())
    typer.echo(exporting.slurm(_job(scenario, hosts, set_, options)), nl=False)


def _job(scenario: Path, hosts: Path, overrides: list[str] | None, options: Options) -> Job:
    from derloop.hosts.exporting import job
    from derloop.hosts.plan import plan
    from derloop.scenario.assembly import assemble
    from derloop.scenario.loading import load

    sets, permissions = overrides or [], options.permissions
    loaded = load(scenario, [*sets, 'placement="hosts"'], permissions)
    planned = plan(loaded, assemble(loaded, permissions), hosts, None, permissions.trust_feeder)
    names = sorted({*planned.placed.values()})
    return job(loaded.name, scenario, hosts, planned.file, names, sets, permissions)
