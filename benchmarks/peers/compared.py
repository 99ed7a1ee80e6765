"""How derloop compares with another: rounds in turns, their tables, and the figures that are kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import median

import numpy as np
from kept import facts, kept
from peers.rooftops import Found
from rich.console import Console
from rich.table import Table


@dataclass(frozen=True, slots=True)
class Nearness:
    """What one does in a converged step, and how far its voltages are from the equilibrium."""

    passes: float
    """Solutions of the feeder, or loops of a control, for a step."""
    most_pu: float
    """The largest distance, at any node and step that counts."""
    median_pu: float
    """The median over the steps of the largest at any node."""

    @staticmethod
    def of(found: Found, exact: Found) -> Nearness:
        apart = exact.apart_pu(found)
        return Nearness(found.passes, float(apart.max()), float(np.median(apart)))

    def cells(self) -> list[str]:
        return [f"{self.passes:.2f}", f"{self.most_pu:.1e}", f"{self.median_pu:.1e}"]


@dataclass(frozen=True, slots=True)
class Comparison:
    """The same work by derloop and by another, in turns: mean wall times of a step, s, one for each round."""

    work: str
    other: str
    own_step_s: tuple[float, ...]
    other_step_s: tuple[float, ...]
    aim: float
    """How many times as fast as the other derloop is to be, at least."""
    v_apart_pu: float
    """The largest difference between voltages of both, at any node and step that counts."""
    nearness: tuple[Nearness, Nearness] | None = None
    """The other's and derloop's, where the work converges."""

    @staticmethod
    def of(
        work: str, other: str, aim: float, own: Sequence[Found], theirs: Sequence[Found], exact: Found | None = None
    ) -> Comparison:
        """Compare what was found in each round; `exact` is the equilibrium, where the work converges to one."""
        return Comparison(
            work,
            other,
            tuple(each.step_s for each in own),
            tuple(each.step_s for each in theirs),
            aim,
            float(own[-1].apart_pu(theirs[-1]).max()),
            (Nearness.of(theirs[-1], exact), Nearness.of(own[-1], exact)) if exact else None,
        )

    @property
    def times(self) -> list[float]:
        """How many times as fast derloop was in each round."""
        return [theirs / own for own, theirs in zip(self.own_step_s, self.other_step_s, strict=True)]

    def cells(self) -> list[str]:
        """Return a row of the table."""
        own_ms, theirs_ms = (f"{1e3 * median(each):.3f}" for each in (self.own_step_s, self.other_step_s))
        reached = f"{median(self.times):.3g}", f"{min(self.times):.3g}..{max(self.times):.3g}"
        return [self.work, self.other, theirs_ms, own_ms, *reached, f"{self.aim:.3g}", f"{self.v_apart_pu:.0e}"]


def conclude(title: str, name: str, comparisons: Sequence[Comparison], load: tuple[float, float, float]) -> None:
    """Print the tables, and keep the figures as `results/<name>-<date>.json`. `load`: before all began."""
    console = Console(width=140)
    console.print(_times_table(title, comparisons))
    if any(comparison.nearness for comparison in comparisons):
        console.print(_nearness_table(comparisons))
    found = [{**asdict(each), "times": each.times} for each in comparisons]
    console.print(f"kept as {kept(facts(load_before=load, comparisons=found), f'{name}-')}", soft_wrap=True)


def _times_table(title: str, comparisons: Sequence[Comparison]) -> Table:
    table = _table(title, "its ms/step", "derloop ms/step", "times as fast", "(least..most)", "aim", "V apart")
    for comparison in comparisons:
        table.add_row(*comparison.cells())
    return table


def _nearness_table(comparisons: Sequence[Comparison]) -> Table:
    columns = [f"{whose} {what}" for whose in ("its", "derloop's") for what in ("passes", "most", "median")]
    table = _table("Passes a step, and how far voltages are from the equilibrium, pu", *columns)
    for comparison in comparisons:
        if comparison.nearness:
            cells = [cell for nearness in comparison.nearness for cell in nearness.cells()]
            table.add_row(comparison.work, comparison.other, *cells)
    return table


def _table(title: str, *figures: str) -> Table:
    table = Table("work", "other", title=title)
    for column in figures:
        table.add_column(column, justify="right")
    return table
