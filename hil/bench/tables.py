"""What `derloop bench` prints."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from textwrap import wrap

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from derloop.errors import visible
from hil.bench.answers import Answered
from hil.bench.file import Bench
from hil.bench.findings import Finding
from hil.bench.logbook import Logbook
from hil.bench.reading import Held
from hil.bench.rescue import Left
from hil.bench.scan import Found
from hil.bench.watching import Seen
from hil.bench.wording import lines_of
from hil.bench.writing import Written
from hil.inverter.dialect import Quantity
from hil.sunspec.wording import value_text

LABEL = 10
ENDS = Text("Ctrl-C ends it.", "dim")
"""The last line of what changes in its place is short: where the terminal shows ^C, no line more must begin."""
STATES = dict(enumerate(("off", "sleeping", "starting", "running", "throttled", "stopping", "FAULT", "standby")))
"""701 InvSt."""
MEASURED: tuple[tuple[str, tuple[Quantity, str]], ...] = (
    ("state", ("state", "{:.0f}")),
    ("P, W", ("p_w", "{:,.0f}")),
    ("Q, var", ("q_var", "{:,.0f}")),
    ("V", ("v_ln_v", "{:.1f}")),
    ("Hz", ("f_hz", "{:.3f}")),
    ("charge", ("soc_pct", "{:.1f} %")),
    ("alarms", ("alarms", "{:.0f}")),
)
"""Headings of `watch`, and what stands below them."""


def console() -> Console:
    """Return a console as wide as the terminal; where there is none, wide enough not to fold."""
    width = None if sys.stdout.isatty() else max(120, shutil.get_terminal_size().columns)
    return Console(width=width, highlight=False)


def show_findings(bench: Bench, findings: Sequence[Finding]) -> None:
    """Print each device with what it is and what is wrong with it, and a sum at the end."""
    out = console()
    for finding in findings:
        out.print(_headed(finding))
        for label, text in lines_of(finding):
            _print_folded(out, label, text, "bold red" if label == "PROBLEM" else "dim")
    fine = sum(finding.is_fine for finding in findings)
    out.print(f"bench {bench.file.name!r}: {fine} of {len(findings)} devices are what the file says")


def show_answers(bench: Bench, answers: Sequence[Answered]) -> None:
    """Print each instrument with who it is or what is wrong with it, and a sum at the end, where there are any."""
    out = console()
    for each in answers:
        out.print(_headed(each))
        label, text, style = ("is", each.identity, "dim") if each.is_fine else ("PROBLEM", each.problem, "bold red")
        _print_folded(out, label, text, style)
    if answers:
        fine = sum(each.is_fine for each in answers)
        out.print(f"bench {bench.file.name!r}: {fine} of {len(answers)} instruments are what the file says")


def _headed(found: Finding | Answered) -> Text:
    state, style = ("ok", "bold green") if found.is_fine else ("PROBLEM", "bold red")
    return Text.assemble((f"{found.name}  ", "bold"), (state, style), f"  {found.where}")


def _print_folded(out: Console, label: str, text: str, style: str) -> None:
    wide = max(out.width - LABEL - 3, 20)
    for line in wrap(visible(text), wide, break_long_words=False, break_on_hyphens=False) or [""]:
        out.print(Text.assemble("  ", (f"{label:<{LABEL}}", style), line))
        label = ""


def show_points(held: Sequence[Held]) -> None:
    """Print points, values and what may be done to them, as a table."""
    rows = [
        (
            each.point.name,
            str(each.point.address),
            "read, write" if each.point.writable else "read",
            value_text(each.point, each.value),
        )
        for each in held
    ]
    _print_table(("point", "register", "access", "value"), rows)


def show_found(found: Found) -> None:
    """Print what one unit of a scan is."""
    words = {"sunspec": ("SunSpec", "bold green"), "modbus": ("Modbus", "bold yellow"), "nothing": ("nothing", "dim")}
    what = str(found.identity) if found.device else found.why
    console().print(Text.assemble(f"{found.address!s:<28} ", words[found.answers], f"  {what}"))


def show_written(written: Sequence[Written]) -> None:
    """Print what points held before, and what they hold now."""
    _print_table(
        ("point", "was", "is"),
        [(w.point.name, value_text(w.point, w.was), _written_text(w)) for w in written],
    )


def _written_text(written: Written) -> str:
    text = value_text(written.point, written.value)
    return f"{text}, the nearest step to {written.asked}" if written.is_rounded else text


def show_left(left: Sequence[Left]) -> None:
    """Print how devices have been left; what is not safe, so that nobody overlooks it."""
    out = console()
    for each in left:
        state, style = ("safe", "bold green") if each.is_safe else ("NOT SAFE", "bold red")
        out.print(Text.assemble((f"{each.device}  ", "bold"), (state, style), f"  {each.what}"))


@contextmanager
def showing(logbook: Logbook) -> Iterator[Logbook]:
    """Keep a logbook. Print at the end where it is, and what of it could not be kept; of what has failed, too."""
    try:
        with logbook:
            yield logbook
    finally:
        _show_logbook(logbook)


def _show_logbook(logbook: Logbook) -> None:
    if logbook.is_kept:
        console().print(Text(f"frames: {logbook.path}"), soft_wrap=True)
    if logbook.failure:
        err = Console(file=sys.stderr, highlight=False, soft_wrap=True)
        err.print(Text(f"INCOMPLETE {logbook.failure}", "bold red"))


@contextmanager
def watching(bench: Bench) -> Iterator[Callable[[list[Seen]], None]]:
    """Give what shows readings: a table that changes in its place on a terminal, one after the other elsewhere."""
    out = console()
    if not out.is_terminal:
        yield lambda seen: out.print(_watched(bench, seen))
        return
    with Live(console=out, auto_refresh=False) as live:
        yield lambda seen: live.update(Group(_watched(bench, seen), ENDS), refresh=True)


def _watched(bench: Bench, seen: Sequence[Seen]) -> Group:
    """Return in whole lines why some devices do not answer, and what all measure as a table.

    That comes first, as a terminal cuts off what is too long for it.
    """
    table = Table(box=None, pad_edge=False, header_style="bold", title=f"bench {bench.file.name}", title_justify="left")
    for heading in ("device", *(heading for heading, _ in MEASURED), "age"):
        table.add_column(heading, justify="left" if heading == "device" else "right")
    for each in seen:
        cells = [_quantity(each, cell) for _, cell in MEASURED]
        age = "never" if each.read_ns is None else f"{each.age_s:.1f} s"
        table.add_row(each.device, *cells, age, style="dim" if each.problem else "")
    return Group(*(Text(f"{each.device}: {each.problem}", "bold red") for each in seen if each.problem), table)


def _quantity(seen: Seen, cell: tuple[Quantity, str]) -> str:
    quantity, form = cell
    if quantity not in seen.values:
        return "-"
    value = seen.values[quantity]
    return STATES.get(int(value), f"{value:g}") if quantity == "state" else form.format(value)


def _print_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in headings:
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    console().print(table)
