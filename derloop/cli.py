"""The commands. Nothing heavy is imported before a command needs it."""

from __future__ import annotations

import errno
import io
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, Self

import typer
from typer.core import TyperGroup

if TYPE_CHECKING:
    from derloop.options import Progress, Say
    from derloop.result import Result
    from derloop.results.compare import Tolerances
    from derloop.results.store import RunFolder


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

WRONG, FAILED = 2, 3
OUT_OF = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM)


class Engine(StrEnum):
    helics = "helics"
    mosaik = "mosaik"
    local = "local"


class Placement(StrEnum):
    together = "together"
    apart = "apart"


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


CheckpointEvery = Annotated[
    float | None,
    typer.Option(metavar="SECONDS", min=1e-3, help="Keep the run's state so often, simulated time: see resume, fork."),
]
Report = Annotated[bool, typer.Option(help="Write report.html.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print the verdicts alone.")]


@app.command(epilog="Example: derloop run scenarios/quickstart.json --set seed=7 --engine local")
def run(
    scenario: ScenarioPath,
    set_: Sets = None,
    engine: Annotated[Engine | None, typer.Option(help="What moves the federates; the scenario's without it.")] = None,
    placement: Annotated[Placement | None, typer.Option(help="HELICS: in one process, or one for each.")] = None,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Folder of the run; a new one below runs/.")] = None,
    trust_feeder: TrustFeeder = False,
    trust_control: TrustControl = False,
    bench: Bench = None,
    arm: Arm = None,
    hosts: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The hosts file: which other machines take part.")
    ] = None,
    listen: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="This machine's address for them; else the file's.")
    ] = None,
    checkpoint_every: CheckpointEvery = None,
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
        engine and engine.value,
        placement and placement.value,
        out,
        trust_feeder,
        report,
        bench,
        arm or (),
        trust_control,
        hosts,
        listen,
        checkpoint_every,
    )
    _conduct(quiet, lambda show, say: run_scenario(scenario, set_ or [], options, show, say))


def _conduct(quiet: bool, go: Callable[[Progress, Say], Result]) -> NoReturn:
    """Run with a bar, heed Ctrl-C, show what came of it, and exit."""
    from derloop.console import Bar, show_result

    with _Interruption() as interruption:
        with Bar(quiet or not sys.stderr.isatty()) as bar:
            result = go(interruption.heard_by(bar.show), bar.say)
        show_result(result, quiet)
    _leave(result)


@app.command(epilog="Example: derloop resume runs/quickstart-20250715-120000")
def resume(
    run: RunPath,
    engine: Annotated[Engine | None, typer.Option(help="What moves the federates; the run's without it.")] = None,
    trust_feeder: TrustFeeder = False,
    trust_control: TrustControl = False,
    checkpoint_every: CheckpointEvery = None,
    report: Report = True,
    quiet: Quiet = False,
) -> None:
    """Go on with a run that was stopped.

    From its last checkpoint, in its own folder. Its results are to the bit what they would have been without the stop.

    Exit status: as of `run`.
    """
    from derloop.options import Options
    from derloop.resuming import resume as go_on

    options = Options(
        engine and engine.value,
        trust_feeder=trust_feeder,
        report=report,
        trust_control=trust_control,
        checkpoint_every_s=checkpoint_every,
    )
    _conduct(quiet, lambda show, say: go_on(_existing(run), options, show, say))


@app.command(epilog="Example: derloop fork runs/day --at 61200 --set federates.vpp=null --out runs/day-without")
def fork(
    run: RunPath,
    at_s: Annotated[
        float | None, typer.Option("--at", metavar="SECONDS", help="The checkpoint; else the last.")
    ] = None,
    set_: Sets = None,
    engine: Annotated[Engine | None, typer.Option(help="What moves the federates; the run's without it.")] = None,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Folder of the run; a new one below runs/.")] = None,
    trust_feeder: TrustFeeder = False,
    trust_control: TrustControl = False,
    checkpoint_every: CheckpointEvery = None,
    report: Report = True,
    quiet: Quiet = False,
) -> None:
    """Go on from an instant of a run with other settings.

    The new run has what the old one recorded until then, and goes on from its state.

    Exit status: as of `run`.
    """
    from derloop.options import Options
    from derloop.resuming import fork as branch

    options = Options(
        engine and engine.value,
        out=out,
        trust_feeder=trust_feeder,
        report=report,
        trust_control=trust_control,
        checkpoint_every_s=checkpoint_every,
    )
    _conduct(quiet, lambda show, say: branch(_existing(run), at_s, set_ or [], options, show, say))


class _Interruption:
    """Ctrl-C, SIGTERM or a closed terminal, as one wish to end.

    While federates are at work it is heard only where the run looks up, about every 50 ms: then nothing is torn in the
    middle, and a second Ctrl-C does not keep equipment from being let go of, nor results from being written.
    """

    def __init__(self) -> None:
        self._is_moving, self._is_wished = False, False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        signals = [signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])]
        for sign in (signal.SIGINT, *(s for s in signals if signal.getsignal(s) == signal.SIG_DFL)):
            self._before[sign] = signal.signal(sign, self._wish)
        return self

    def __exit__(self, *_: object) -> None:
        for sign, handler in self._before.items():
            signal.signal(sign, handler)

    def _wish(self, *_: object) -> None:
        self._is_wished = True
        if not self._is_moving:
            raise KeyboardInterrupt

    def heard_by(self, show: Progress) -> Progress:
        """Return `show` as what raises KeyboardInterrupt once the run is wished to end."""

        def listen(now_ns: int | None, until_ns: int) -> None:
            self._is_moving = True
            if self._is_wished:
                raise KeyboardInterrupt
            show(now_ns, until_ns)

        return listen


def _leave(result: Result) -> NoReturn:
    """Exit; where a federate could not be ended, without waiting for it."""
    if result.is_stuck:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(result.status)
    raise typer.Exit(result.status)


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
    typer.echo(f"{folder} is ready: derloop run {folder / 'scenario.json'}")


@app.command(epilog="Example: derloop report runs/quickstart-20250715-120000")
def report(run: RunPath) -> None:
    """Write the page of a run anew.

    Also of a run that was killed. Says what is in it.
    """
    from derloop.console import show_folder
    from derloop.report.page import write_report
    from derloop.results.store import RunFolder, finish

    folder = _existing(run)
    finish(folder)
    write_report(RunFolder(folder), folder / "report.html")
    show_folder(RunFolder(folder))


@app.command(
    epilog="Examples: derloop compare runs/a runs/b --abs 1e-6, derloop compare runs/m runs/e runs/b --signals"
)
def compare(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN RUN...", help="Folders of runs.", show_default=False)],
    absolute: Annotated[float, typer.Option("--abs", help="Allowed absolute difference.", min=0.0)] = 0.0,
    relative: Annotated[float, typer.Option("--rel", help="Allowed relative difference.", min=0.0)] = 0.0,
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
    worst, where and when; the rest is left out. Exit status: 0 equal within the tolerances, 1 different.
    """
    from derloop.results.compare import Tolerance, Tolerances
    from derloop.results.store import RunFolder

    allowed = Tolerances({"*": Tolerance(absolute, relative)})
    by_signal = signals or page is not None
    folders = [RunFolder(_existing(run)) for run in _several(runs, by_signal)]
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


@app.command(epilog="Example: derloop doctor")
def doctor() -> None:
    """Try out what runs need here.

    Says what is installed, and runs the starter scenario under each engine, in processes and over Modbus on loopback.
    """
    from derloop.doctor import examine

    well = examine(typer.echo)
    raise typer.Exit(0 if well else 3)


def _existing(run: Path) -> Path:
    from derloop.errors import DerloopError

    if not (run / "run.json").is_file() and not (run / "series").is_dir():
        raise DerloopError(f"{run} is no folder of a run: it has neither run.json nor series")
    return run


@contextmanager
def _user_errors() -> Iterator[None]:
    """Print what the user must mend, without a traceback, and exit with 2; 3 where a device or the machine failed."""
    from derloop.errors import DerloopError, Unreachable

    try:
        yield
    except DerloopError as error:
        _say(str(error))
        raise typer.Exit(FAILED if isinstance(error, Unreachable) else WRONG) from error
    except BrokenPipeError:
        raise
    except OSError as error:
        _say(f"{error.filename or ''}: {error.strerror or error}".removeprefix(": "))
        raise typer.Exit(FAILED if error.errno in OUT_OF else WRONG) from error


def _say(text: str) -> None:
    """Print to stderr; what would steer the terminal is shown, not done."""
    typer.echo("derloop: " + "".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in text), err=True)


def main() -> None:
    """Entry point of `derloop`."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(130)
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # what is left is to leave, with the status that is known


if __name__ == "__main__":
    main()
