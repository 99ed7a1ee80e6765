"""`derloop frames`: what went over the wires of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    help="Look at the frames of a run, export them, replay them.",
    no_args_is_help=True,
    rich_markup_mode=None,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

FAILED = 3
"""Exit status: the run that was done again failed."""

RunPath = Annotated[
    Path, typer.Argument(metavar="RUN", help="The folder that a run has left, or one journal.", show_default=False)
]


@app.command(
    name="list", epilog="Example: derloop frames list runs/x --device 'inv-*' --from 900 --to 960 --point 701.W"
)
def list_(
    run: RunPath,
    device: Annotated[list[str] | None, typer.Option("--device", metavar="NAME", help="Devices, or patterns.")] = None,
    point: Annotated[list[str] | None, typer.Option("--point", metavar="NAME", help="Points, or patterns.")] = None,
    from_s: Annotated[float | None, typer.Option("--from", metavar="S", help="First instant, scenario time.")] = None,
    to_s: Annotated[float | None, typer.Option("--to", metavar="S", help="Last instant, scenario time.")] = None,
    writes: Annotated[bool, typer.Option("--writes", help="What was written alone.")] = False,
    troubles: Annotated[bool, typer.Option("--troubles", help="Refusals, silence and discarded bytes alone.")] = False,
) -> None:
    """Print what was asked and answered, and how long it took.

    Points are named where the device's SunSpec map is among what was read.
    """
    from hil.frames.listing import Chosen
    from hil.frames.shown import show

    show(run, Chosen(device or ("*",), point or (), from_s, to_s, writes, troubles))


@app.command(epilog="Example: derloop frames export runs/x --pcap x.pcapng && tshark -r x.pcapng -Y modbus")
def export(
    run: RunPath,
    pcap: Annotated[Path, typer.Option("--pcap", metavar="FILE", help="Where to write.", show_default=False)],
) -> None:
    """Write all frames as a capture (pcapng) for Wireshark and tshark.

    They dissect it without any setting. Each packet's comment says device, place, and the scenario's instant.
    """
    from hil.frames.shown import export_to

    export_to(run, pcap)


@app.command(epilog="Example: derloop frames replay runs/yesterday")
def replay(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder that a run has left.", show_default=False)],
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="PATH=VALUE", help="Change a setting of the scenario, beside what the run did."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder of the new run; else one below runs/.")
    ] = None,
    trust_feeder: Annotated[
        bool, typer.Option("--trust-feeder", help="Give its feeder file to OpenDSS unchecked, as the run did.")
    ] = False,
    trust_control: Annotated[
        bool, typer.Option("--trust-control", help="Run its own controls, as the run did.")
    ] = False,
) -> None:
    """Do a run again, with its devices answering as they did.

    Says where what is asked of them parts from what was asked then, and which results are not the same to the bit.
    Emulated fleets answer in lock-step; equipment in the time that it took. For devices that outside clients ask, see
    `replays` in the files of derloop emulate.

    Exit status: 0 all is the same, 1 something parts, 3 the run failed.
    """
    from hil.commands.replaying import replay_run
    from hil.frames.shown import show_replayed

    again = replay_run(run, set_ or [], out, trust_feeder=trust_feeder, trust_control=trust_control)
    show_replayed(again.divergences, again.parted, again.compared)
    typer.echo(f"results: {again.result.folder.path}")
    if again.result.outcome != "completed":
        typer.echo(f"{again.result.outcome}: {again.result.failure}")
        raise typer.Exit(FAILED)
    raise typer.Exit(0 if again.same else 1)
