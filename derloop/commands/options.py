"""What commands share: how their help looks, and options that several have."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


def application() -> typer.Typer:
    """Return what a command of a module of its own is put on; its help looks like all others'."""
    return typer.Typer(
        rich_markup_mode=None, add_completion=False, context_settings={"help_option_names": ["-h", "--help"]}
    )


class Engine(StrEnum):
    helics = "helics"
    mosaik = "mosaik"
    local = "local"


class Placement(StrEnum):
    together = "together"
    threads = "threads"
    apart = "apart"
    hosts = "hosts"


ScenarioPath = Annotated[Path, typer.Argument(metavar="SCENARIO", help="A scenario's JSON file.", show_default=False)]
RunPath = Annotated[Path, typer.Argument(metavar="RUN", help="The folder that a run has left.", show_default=False)]
Sets = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="PATH=VALUE", help="Change a setting: --set federates.battery.energy_kwh=13.5"),
]
Bench = Annotated[
    Path | None, typer.Option("--bench", metavar="FILE", help="The bench file: what equipment there is, and where.")
]
Arm = Annotated[
    list[str] | None,
    typer.Option("--arm", metavar="NAME", help="Equipment that may be written to; without it, it is only read."),
]
TrustFeeder = Annotated[
    bool,
    typer.Option("--trust-feeder", help="Give the feeder file to OpenDSS unchecked. It can run programs, write files."),
]
TrustControl = Annotated[
    bool,
    typer.Option("--trust-control", help="Run the scenario's own controls: code beside it, processes that answer."),
]
Hosts = Annotated[
    Path | None, typer.Option("--hosts", metavar="FILE", help="The hosts file: which other machines take part.")
]
Listen = Annotated[
    str | None, typer.Option("--listen", metavar="ADDRESS", help="This machine's address for them; else the file's.")
]
CheckpointEvery = Annotated[
    float | None,
    typer.Option(
        "--checkpoint-every",
        metavar="SECONDS",
        min=1e-3,
        help="Keep the run's state so often, simulated time: see resume, fork.",
    ),
]
CheckpointKeep = Annotated[
    int | None,
    typer.Option("--checkpoint-keep", metavar="N", min=1, help="Let the last N of these stay; without it, all."),
]
Workers = Annotated[
    int | None,
    typer.Option("--workers", metavar="N", min=1, help="At most N threads, or processes on each machine."),
]
EngineOf = Annotated[Engine | None, typer.Option("--engine", help="What moves the federates; the run's without it.")]
PlacementOf = Annotated[
    Placement | None,
    typer.Option("--placement", help="HELICS: in one thread, one for each, or a process; the run's without it."),
]
Out = Annotated[Path | None, typer.Option("--out", metavar="DIR", help="Folder of the run; a new one below runs/.")]
Report = Annotated[bool, typer.Option(help="Write report.html.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print the verdicts alone.")]
