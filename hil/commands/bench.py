"""`derloop bench`: what the lab has, looked at and, where it is armed, written to."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    help="Look at the equipment of a bench, and find what is there.",
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

MISSING = 3
"""Exit status: equipment does not answer, or is not what the file says."""

BenchPath = Annotated[Path, typer.Argument(metavar="BENCH", help="A bench file.", show_default=False)]
Names = Annotated[
    list[str] | None, typer.Argument(metavar="[NAME]...", help="Devices, or patterns of them; without, all.")
]


@app.command(epilog="Example: derloop bench schema > bench.schema.json")
def schema() -> None:
    """Print the JSON Schema of bench files."""
    from hil.bench.file import bench_schema

    typer.echo(json.dumps(bench_schema(), indent=1))


@app.command(epilog="Example: derloop bench check hil/benches/loopback.json")
def check(bench: BenchPath, names: Names = None) -> None:
    """Ask every device who it is, and whether it is what the file says.

    Nothing is written. Exit status: 0 all is well, 2 the file is wrong, 3 something is missing or another one.
    """
    from hil.bench.file import read_bench
    from hil.bench.findings import find
    from hil.bench.tables import show_findings

    read = read_bench(bench)
    findings = find(read, read.chosen(names or ["*"]))
    show_findings(read, findings)
    raise typer.Exit(0 if all(finding.is_fine for finding in findings) else MISSING)


@app.command(epilog="Examples: derloop bench read lab.json inv-1, derloop bench read lab.json inv-1 701.W '704.*'")
def read(
    bench: BenchPath,
    name: Annotated[str, typer.Argument(help="A device of the bench.", show_default=False)],
    points: Annotated[
        list[str] | None,
        typer.Argument(metavar="[POINT]...", help="Points, or patterns of them; without, what is measured."),
    ] = None,
) -> None:
    """Print what a device holds at some points, with units. Nothing is written."""
    from hil.bench.file import read_bench
    from hil.bench.reading import read_points
    from hil.bench.tables import show_points

    show_points(read_points(read_bench(bench), name, points or []))
