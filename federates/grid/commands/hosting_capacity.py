"""`derloop hosting-capacity`: how much generation a feeder takes."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from federates.grid.hosting import Capacity, Question

app = typer.Typer(
    rich_markup_mode=None,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


class Regulators(StrEnum):
    active = "active"
    locked = "locked"


@app.command(
    epilog="Example: derloop hosting-capacity scenarios/feeders/ieee13/ieee13.dss --sweeps 20",
)
def hosting_capacity(
    feeder: Annotated[
        Path, typer.Argument(metavar="FEEDER|SCENARIO", help="A .dss file, or a scenario with one.", show_default=False)
    ],
    sweeps: Annotated[int, typer.Option(min=1, max=100_000, help="How many orders of places are tried.")] = 100,
    seed: Annotated[int, typer.Option(min=0, help="Of the places.")] = 1,
    unit_kw: Annotated[float, typer.Option(min=0.01, max=1e6, help="Size of each unit.")] = 10.0,
    step_kw: Annotated[float, typer.Option(min=0.01, max=1e6, help="Added between two power flows.")] = 50.0,
    most_kw: Annotated[float, typer.Option(min=0.01, max=1e9, help="Where a sweep ends at the latest.")] = 20_000.0,
    load_pu: Annotated[float, typer.Option(min=0.0, max=10.0, help="Share of the file's loads that is drawn.")] = 0.3,
    pf: Annotated[float, typer.Option(min=0.1, max=1.0, help="Power factor of the units, absorbing.")] = 1.0,
    v_high_pu: Annotated[float, typer.Option(min=0.9, max=2.0, help="Highest voltage.")] = 1.05,
    loading_pu: Annotated[float, typer.Option(min=0.01, max=100.0, help="Highest loading.")] = 1.0,
    regulators: Annotated[
        Regulators | None, typer.Option(help="Without it, as in the scenario; active for a feeder.", show_default=False)
    ] = None,
    jobs: Annotated[int, typer.Option(min=1, max=256, help="Processes.")] = 1,
    out: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write all sweeps as JSON.")] = None,
    trust_feeder: Annotated[bool, typer.Option("--trust-feeder", help="Give the file to OpenDSS unchecked.")] = False,
) -> None:
    """Find how much generation a feeder takes.

    Adds it at random places of loads until a voltage or a loading passes its limit, many times.

    Exit status: 0 found, 2 the file or an option is wrong.
    """
    from federates.grid.commands.asked import question_of, told_of
    from federates.grid.hosting import Question, hosting_capacity

    _refuse(out, {"--step-kw": step_kw, "--most-kw": most_kw}, unit_kw)
    place = question_of(feeder, trust_feeder, regulators.value if regulators else None)
    question = Question(
        place.feeder,
        seed,
        unit_kw,
        step_kw,
        most_kw,
        load_pu,
        pf,
        v_high_pu,
        loading_pu,
        place.regulators,
        place.ratings_a,
    )
    with told_of(feeder):
        found = hosting_capacity(question, sweeps, min(jobs, sweeps))
    if out:
        out.write_text(json.dumps(_said(question, found), indent=1) + "\n", encoding="utf-8")
    typer.echo(_table(question, found))


def _refuse(out: Path | None, amounts_kw: dict[str, float], unit_kw: float) -> None:
    if out and not out.absolute().parent.is_dir():
        raise typer.BadParameter(f"there is no folder '{out.parent}'", param_hint="--json")
    for option, kw in amounts_kw.items():
        if kw < unit_kw:
            raise typer.BadParameter(f"{kw:g} is less than one unit of {unit_kw:g} kW", param_hint=option)


def _said(question: Question, found: list[Capacity]) -> dict[str, object]:
    from federates.grid.hosting import quantiles_kw

    asked = {**asdict(question), "feeder": question.feeder.name, "ratings_a": dict(question.ratings_a)}
    return {"asked": asked, **quantiles_kw(found), "sweeps": [asdict(capacity) for capacity in found]}


def _table(question: Question, found: list[Capacity]) -> str:
    from federates.grid.hosting import quantiles_kw

    kw = quantiles_kw(found)
    asked = f"units of {question.unit_kw:g} kW, loads at {question.load_pu:g}"
    lines = [f"{question.feeder.name}: {_sweeps(len(found))}, {asked}"]
    names = {"least_kw": "least", "q05_kw": "5 % of sweeps below", "median_kw": "median", "most_kw": "most"}
    lines += [f"  {text:<22}{kw[name]:>12,.1f} kW" for name, text in names.items()]
    limits = Counter((capacity.limit, capacity.where) for capacity in found)
    lines += [f"  {_ended(limit, where):<40}{_sweeps(n, 6)}" for (limit, where), n in limits.most_common(8)]
    if before := found[0].passed_before:
        lines += [f"  {before} nodes and elements pass a limit without any generation, and were not asked"]
    if found[0].off_base:
        lines += [f"  buses judged by another base than that of their windings: {found[0].off_base}, see VoltageBases"]
    return "\n".join(lines)


def _sweeps(count: int, width: int = 0) -> str:
    return f"{count:>{width}} sweep{'s' * (count != 1)}"


def _ended(limit: str, where: str) -> str:
    if limit == "none":
        return "no limit was passed"
    return "no solution" if limit == "solution" else f"{limit} at {where}"
