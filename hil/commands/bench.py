"""`derloop bench`: what the lab has, looked at and, where it is armed, written to."""

from __future__ import annotations

import json
from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    help="Look at the equipment of a bench, or for it.",
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

MISSING = 3
"""Exit status: equipment does not answer, or is not what the file says."""


class Parity(StrEnum):
    none = "none"
    even = "even"
    odd = "odd"


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
    """Ask every device, and the instruments around it, who it is, and whether it is what the file says.

    Without names, every instrument. Nothing is written. Exit status: 0 all is well, 2 the file is wrong, 3 something is
    missing or another one, or is a run's now and was not asked.
    """
    from hil.bench.answers import around, ask
    from hil.bench.file import read_bench
    from hil.bench.findings import find
    from hil.bench.tables import show_answers, show_findings

    read = read_bench(bench)
    chosen = read.chosen(names or ["*"])
    findings = find(read, chosen)
    show_findings(read, findings)
    answers = ask(read, around(read, chosen) if names else read.file.instruments)
    show_answers(read, answers)
    are_fine = all(finding.is_fine for finding in findings) and all(answer.is_fine for answer in answers)
    raise typer.Exit(0 if are_fine else MISSING)


@app.command(epilog="Example: derloop bench scan 192.168.1.20 /dev/ttyUSB0 --units 1-3 --out lab.json")
def scan(
    places: Annotated[
        list[str],
        typer.Argument(metavar="PLACE...", help="HOST, HOST:PORT, rtu:HOST:PORT, tls:HOST, or a serial port's path."),
    ],
    units: Annotated[str, typer.Option(metavar="NUMBERS", help="Unit numbers to ask: 1-10,20.")] = "1",
    ports: Annotated[str, typer.Option(metavar="NUMBERS", help="TCP ports of hosts that name none.")] = "502",
    baud: Annotated[int, typer.Option(help="Of serial ports.", min=300, max=1_000_000)] = 9600,
    parity: Annotated[Parity, typer.Option(help="Of serial ports.")] = Parity.none,
    certificate: Annotated[Path | None, typer.Option(metavar="PEM", help="TLS: our certificate.")] = None,
    key: Annotated[Path | None, typer.Option(metavar="PEM", help="TLS: our private key.")] = None,
    authority: Annotated[Path | None, typer.Option(metavar="PEM", help="TLS: who signs their certificates.")] = None,
    server_name: Annotated[
        str | None, typer.Option(metavar="NAME", help="TLS: in their certificates, where it is not the host's.")
    ] = None,
    deadline: Annotated[
        float, typer.Option(metavar="SECONDS", help="How long a unit may take to answer.", min=0.001, max=600)
    ] = 1.0,
    pause: Annotated[float, typer.Option(metavar="SECONDS", help="Between two requests.", min=0, max=60)] = 0.05,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Write a draft of a bench file.")] = None,
    registers: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write all registers of each device, for an emulator of it.")
    ] = None,
    span: Annotated[
        list[str] | None,
        typer.Option(metavar="FROM-TO", help="With --registers: what is read of devices that are not SunSpec."),
    ] = None,
) -> None:
    """Find what answers at the places that are named. Nothing is written, and nothing else is looked at.

    One unit is asked after the other. Exit status: 0 something answers, 3 nothing does.
    """
    from hil.bench.draft import named, refuse_written, write_files
    from hil.bench.places import PORTS, REGISTERS, UNITS, Papers, endpoints, numbers
    from hil.bench.scan import scan as look
    from hil.bench.scan import spans_of
    from hil.bench.tables import show_found
    from hil.modbus.endpoint import Timing

    refuse_written(out)
    papers = Papers(certificate, key, authority, server_name)
    asked = endpoints(places, numbers(ports, PORTS, "--ports"), baud, parity.value, papers)
    spans = spans_of([numbers(each, REGISTERS, "--span") for each in span or ()]) if registers else None
    timing = Timing(deadline_s=deadline, attempts=1, interval_s=pause)
    devices = named(look(asked, numbers(units, UNITS, "--units"), timing, show_found, spans))
    for path in write_files(devices, out, registers):
        typer.echo(f"wrote {path}")
    raise typer.Exit(0 if devices else MISSING)


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


@app.command(epilog="Example: derloop bench write lab.json inv-1 702.WMax=4000 --arm inv-1")
def write(
    bench: BenchPath,
    name: Annotated[str, typer.Argument(help="A device of the bench.", show_default=False)],
    values: Annotated[
        list[str], typer.Argument(metavar="POINT=VALUE...", help="Numbers, or names of them.", show_default=False)
    ],
    arm: Annotated[
        list[str] | None, typer.Option("--arm", metavar="NAME", help="The device, named again: it may be written to.")
    ] = None,
) -> None:
    """Write points of a device, within its limits, and read them back.

    What is written stays; what was there before is printed. Where a guard refuses, nothing is written. The frames are
    kept.
    """
    from hil.bench.file import read_bench
    from hil.bench.logbook import Logbook
    from hil.bench.tables import show_written, showing
    from hil.bench.writing import assignments, write_points

    read, asked = read_bench(bench), assignments(values)
    with showing(Logbook(read, "write")) as logbook:
        show_written(write_points(read, name, asked, arm or [], logbook))


@app.command(epilog="Example: derloop bench watch lab.json 'inv-*' --every 0.5")
def watch(
    bench: BenchPath,
    names: Names = None,
    every: Annotated[float, typer.Option(metavar="SECONDS", help="How often to read.", min=0.05)] = 1.0,
    rounds: Annotated[int | None, typer.Option(metavar="NUMBER", help="End after so many readings.", min=1)] = None,
) -> None:
    """Show what devices measure, and how old that is, until Ctrl-C. Nothing is written."""
    from hil.bench.file import read_bench
    from hil.bench.tables import watching
    from hil.bench.watching import watch as look

    read = read_bench(bench)
    with suppress(KeyboardInterrupt), watching(read) as show:
        look(read, read.chosen(names or ["*"]), every, show, rounds)


@app.command(epilog="Example: derloop bench safe lab.json")
def safe(bench: BenchPath, names: Names = None) -> None:
    """Leave devices as a killed run found them; where none has left a record, in their safe states.

    Sources that give them power are switched off then, AC before DC. This writes to devices that nobody armed; the
    frames are kept. Exit status: 0 every device is verified to be safe, 3 one is not.
    """
    from hil.bench.file import read_bench
    from hil.bench.logbook import Logbook
    from hil.bench.rescue import leave_safe
    from hil.bench.tables import show_left, showing
    from hil.safety.unrestored import restoring

    read = read_bench(bench)
    chosen = read.chosen(names or ["*"])
    try:
        with showing(Logbook(read, "safe")) as logbook:
            left = leave_safe(read, chosen, logbook)
            show_left(left)
    except KeyboardInterrupt:
        typer.echo(f"INTERRUPTED: no device is known to be safe; {restoring(read.path)}", err=True)
        raise
    raise typer.Exit(0 if all(each.is_safe for each in left) else MISSING)
