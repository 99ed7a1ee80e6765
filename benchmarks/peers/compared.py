"""How derloop compares with another: rounds in turns, their table, and the figures that are kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median

from kept import facts, kept
from rich.console import Console
from rich.table import Table


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
    remarks: Mapping[str, float]

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
    """Print the table, and keep the figures as `results/<name>-<date>.json`. `load`: before all began."""
    table, console = Table(title=title), Console(width=140)
    for column in ("work", "other"):
        table.add_column(column)
    for column in ("its ms/step", "derloop ms/step", "times as fast", "(least..most)", "aim", "V apart"):
        table.add_column(column, justify="right")
    for comparison in comparisons:
        table.add_row(*comparison.cells())
    console.print(table)
    for comparison in comparisons:
        if comparison.remarks:
            said = ", ".join(f"{what} {figure:.3g}" for what, figure in comparison.remarks.items())
            console.print(f"{comparison.other}: {said}")
    found = [{**asdict(each), "times": each.times} for each in comparisons]
    console.print(f"kept as {kept(facts(load_before=load, comparisons=found), f'{name}-')}")
