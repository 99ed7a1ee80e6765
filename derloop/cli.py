"""The commands. Nothing heavy is imported before a command needs it."""

from __future__ import annotations

import errno
import io
import json
import shlex
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from derloop.commands.conducting import SIGNALS, conduct
from derloop.commands.leaving import hold_streams, tell_exits
from derloop.commands.options import (
    Arm,
    Bench,
    CheckpointEvery,
    CheckpointKeep,
    Engine,
    Hosts,
    Listen,
    Out,
    Placement,
    Quiet,
    Report,
    RunPath,
    ScenarioPath,
    Sets,
    TrustControl,
    TrustFeeder,
    Workers,
)


class Commands(TyperGroup):
    """The commands of this file, and those that other packages bring along."""

    def list_commands(self, ctx: Any) -> list[str]:
        from derloop import plugins

        return [*super().list_commands(ctx), *plugins.names(plugins.COMMANDS)]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        from derloop import plugins
        from derloop.errors import PluginError

        own = super().get_command(ctx, cmd_name)
        if own is not None or cmd_name not in plugins.names(plugins.COMMANDS):
            return own
        try:
            found = plugins.command(cmd_name)
        except PluginError as error:
            found = _broken(error)
        command = typer.main.get_command(found)
        command.name = cmd_name
        return command

    def invoke(self, ctx: Any) -> Any:
        with _user_errors():
            return super().invoke(ctx)


def _broken(error: Exception) -> typer.Typer:
    """Return what stands in the place of a command that does not load: it must not hide the others."""
    broken = typer.Typer(add_completion=False)

    @broken.command(help=f"BROKEN: {error}", context_settings={"ignore_unknown_options": True})
    def fail(words: Annotated[list[str] | None, typer.Argument(hidden=True)] = None) -> NoReturn:
        del words
        raise error

    return broken


app = typer.Typer(
    name="derloop",
    cls=Commands,
    help="Distributed energy resources in the loop: run and check co-simulation\nscenarios.",
    epilog="Example: derloop new my-study && derloop run my-study/scenario.json",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

WRONG, FAILED, INTERRUPTED = 2, 3, 130
OUT_OF = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM)


def _say_version(is_asked: bool) -> None:
    if is_asked:
        from importlib.metadata import version

        typer.echo(f"derloop {version('derloop')}")
        raise typer.Exit


@app.callback()
def _derloop(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_say_version, is_eager=True, help="Say which derloop this is, and end."),
    ] = False,
) -> None:
    del version


@app.command(epilog="Example: derloop run scenarios/quickstart.json --set seed=7 --engine local")
def run(
    scenario: ScenarioPath,
    set_: Sets = None,
    engine: Annotated[Engine | None, typer.Option(help="What moves the federates; the scenario's without it.")] = None,
    placement: Annotated[
        Placement | None, typer.Option(help="HELICS: in one thread, one for each, or a process.")
    ] = None,
    workers: Workers = None,
    out: Out = None,
    trust_feeder: TrustFeeder = False,
    trust_control: TrustControl = False,
    bench: Bench = None,
    arm: Arm = None,
    hosts: Hosts = None,
    listen: Listen = None,
    checkpoint_every: CheckpointEvery = None,
    checkpoint_keep: CheckpointKeep = None,
    report: Report = True,
    quiet: Quiet = False,
) -> None:
    """Run a scenario, judge it, leave its results.

    They are in a folder, with report.html to look at.

    Exit status: 0 all checks passed, 1 a check failed, 2 the scenario or command is wrong, 3 inconclusive or the run
    failed, 130 interrupted.
    """
    from derloop.options import Options
    from derloop.running import run as run_scenario

    options = Options(
        engine,
        placement,
        out,
        trust_feeder=trust_feeder,
        report=report,
        bench=bench,
        arm=arm or (),
        trust_control=trust_control,
        hosts=hosts,
        listen=listen,
        checkpoint_every_s=checkpoint_every,
        checkpoint_keep=checkpoint_keep,
        workers=workers,
    )
    conduct(quiet, lambda show, say: run_scenario(scenario, set_ or [], options, show, say))


@app.command(epilog="Example: derloop check scenarios/quickstart.json")
def check(
    scenario: ScenarioPath,
    set_: Sets = None,
    trust_feeder: TrustFeeder = False,
    trust_control: TrustControl = False,
    bench: Bench = None,
    arm: Arm = None,
) -> None:
    """Check a scenario without running it.

    Says every problem at once, each with its JSON pointer: settings, ranges, files, places in the feeder, wiring.
    """
    from derloop.console import show_federation
    from derloop.options import Options
    from derloop.scenario.assembly import assemble
    from derloop.scenario.loading import load

    options = Options(trust_feeder=trust_feeder, trust_control=trust_control, bench=bench, arm=arm or ())
    permissions = options.permissions
    loaded = load(scenario, set_ or [], permissions)
    show_federation(loaded, assemble(loaded, permissions))


@app.command(epilog="Example: derloop schema > scenario.schema.json")
def schema() -> None:
    """Print the JSON Schema of scenarios.

    It has the settings of every kind that is installed; editors complete and check with it.
    """
    from derloop.scenario.schema import scenario_schema

    typer.echo(json.dumps(scenario_schema(), indent=1))


@app.command(epilog="Examples: derloop kinds, derloop kinds battery")
def kinds(
    name: Annotated[str | None, typer.Argument(metavar="[KIND]", help="Show its settings.", show_default=False)] = None,
) -> None:
    """List what can stand in a scenario.

    With KIND, its settings: their types, ranges, defaults and units.
    """
    from derloop.console import show_kind, show_kinds

    show_kind(name) if name else show_kinds()


@app.command(epilog="Example: derloop new my-study && derloop run my-study/scenario.json")
def new(folder: Annotated[Path, typer.Argument(metavar="DIR", help="A folder that does not exist yet.")]) -> None:
    """Write a starter project.

    It has a scenario with its feeder, profiles and schema; `pytest DIR` runs it as a test.
    """
    from derloop.starter import write_starter

    write_starter(folder)
    typer.echo(f"{folder} is ready: derloop run {shlex.quote(str(folder / 'scenario.json'))}")


@app.command(epilog="Example: derloop report runs/quickstart-20250715-120000")
def report(run: RunPath) -> None:
    """Write the page of a run anew.

    Also of a run that was killed. Says what is in it.
    """
    from derloop.console import show_folder
    from derloop.report.page import write_report
    from derloop.results.store import RunFolder, existing, finish

    folder = existing(run)
    finish(folder)
    write_report(RunFolder(folder), folder / "report.html")
    show_folder(RunFolder(folder))


@app.command(epilog="Example: derloop doctor")
def doctor() -> None:
    """Try out what runs need here.

    Says what is installed, and runs the starter scenario under each engine, in processes and over Modbus on loopback.
    """
    from derloop.doctor import examine

    well = examine(typer.echo)
    raise typer.Exit(0 if well else 3)


@contextmanager
def _user_errors() -> Iterator[None]:
    """Print what the user must mend, without a traceback, and exit with 2; 3 where a device or the machine failed."""
    from derloop.errors import DerloopError, Unreachable

    try:
        yield
    except DerloopError as error:
        _say(str(error))
        is_of_machine = isinstance(error.__cause__, OSError) and error.__cause__.errno in OUT_OF
        raise typer.Exit(FAILED if is_of_machine or isinstance(error, Unreachable) else WRONG) from error
    except MemoryError as error:
        _say("there is not enough memory")
        raise typer.Exit(FAILED) from error
    except BrokenPipeError:
        raise
    except OSError as error:
        _say(f"{error.filename or ''}: {error.strerror or error}".removeprefix(": "))
        raise typer.Exit(FAILED if error.errno in OUT_OF else WRONG) from error


def _say(text: str) -> None:
    """Print to stderr; what would steer the terminal is shown, not done."""
    from derloop.errors import visible

    try:
        typer.echo(f"derloop: {visible(text)}", err=True)
    except OSError:  # the status must not depend on whether it can be told
        from derloop.commands.leaving import be_unheard

        be_unheard(sys.stderr)


def main() -> None:
    """Entry point of `derloop`."""
    hold_streams()
    tell_exits()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except SystemExit as ended:
        from derloop.commands.leaving import UNHEARD, be_unheard, is_unheard

        if is_unheard(ended):
            be_unheard(sys.stdout)
            sys.exit(UNHEARD)
        raise
    except Exception as error:  # noqa: BLE001 - a defect; Python's own status is that of a failed check
        sys.excepthook(type(error), error, error.__traceback__)
        sys.exit(INTERRUPTED if isinstance(error.__cause__, KeyboardInterrupt) else FAILED)
    finally:
        for sign in SIGNALS:
            signal.signal(sign, signal.SIG_IGN)  # what is left is to leave, with the status that is known


if __name__ == "__main__":
    main()
