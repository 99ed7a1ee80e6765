"""What `derloop bench` prints."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from textwrap import wrap

from rich.console import Console
from rich.table import Table
from rich.text import Text

from hil.bench.file import Bench
from hil.bench.findings import Finding
from hil.bench.reading import Held
from hil.bench.scan import Found
from hil.bench.wording import lines_of
from hil.sunspec.wording import value_text

LABEL = 10


def console() -> Console:
    """Return a console as wide as the terminal; where there is none, wide enough not to fold."""
    width = None if sys.stdout.isatty() else max(120, shutil.get_terminal_size().columns)
    return Console(width=width, highlight=False)


def show_findings(bench: Bench, findings: Sequence[Finding]) -> None:
    """Print each device with what it is and what is wrong with it, and a sum at the end."""
    out = console()
    for finding in findings:
        state, style = ("ok", "bold green") if finding.is_fine else ("PROBLEM", "bold red")
        out.print(Text.assemble((f"{finding.name}  ", "bold"), (state, style), f"  {finding.where}"))
        for label, text in lines_of(finding):
            _print_folded(out, label, text, "bold red" if label == "PROBLEM" else "dim")
    fine = sum(finding.is_fine for finding in findings)
    out.print(f"bench {bench.file.name!r}: {fine} of {len(findings)} devices are what the file says")


def _print_folded(out: Console, label: str, text: str, style: str) -> None:
    for line in wrap(text, max(out.width - LABEL - 3, 20)) or [""]:
        out.print(Text.assemble("  ", (f"{label:<{LABEL}}", style), line))
        label = ""


def show_points(held: Sequence[Held]) -> None:
    """Print points, values and what may be done to them, as a table."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("point", "register", "access", "value"):
        table.add_column(heading, overflow="fold")
    for each in held:
        access = "read, write" if each.point.writable else "read"
        cells = (each.point.name, str(each.point.address), access, value_text(each.point, each.value))
        table.add_row(*map(Text, cells))
    console().print(table)


def show_found(found: Found) -> None:
    """Print what one unit of a scan is."""
    words = {"sunspec": ("SunSpec", "bold green"), "modbus": ("Modbus", "bold yellow"), "nothing": ("nothing", "dim")}
    what = str(found.identity) if found.device else found.why
    console().print(Text.assemble(f"{found.address!s:<28} ", words[found.answers], f"  {what}"))
