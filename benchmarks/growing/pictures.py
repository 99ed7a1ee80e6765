"""The curves as pictures for the page: SVG that reads on light and on dark ground. Needs matplotlib."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from growing.figures import Figures, points
from growing.model import fitted, residuals
from growing.points import Measured
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "_static"
GREY = "#808488"
BLUE, ORANGE, GREEN, PURPLE, RED = "#3b8fd6", "#d9822b", "#2fa36b", "#a869c9", "#d9534f"
STYLE = {
    **{"svg.fonttype": "none", "svg.hashsalt": "derloop", "font.size": 9.5, "font.family": "sans-serif"},
    **dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), GREY),
    **{"grid.color": GREY, "grid.alpha": 0.25, "axes.grid": True, "legend.frameon": False, "legend.fontsize": 8.5},
    **{"figure.facecolor": "none", "axes.facecolor": "none", "savefig.facecolor": "none"},
    **{"axes.spines.top": False, "axes.spines.right": False, "lines.markersize": 4, "lines.linewidth": 1.6},
}
Line = tuple[str, Sequence[float], Sequence[float], str, str]
"""What it is, x, y, colour, style."""


def draw(figures: Figures) -> list[Path]:
    """Write every picture; return where they are."""
    with mpl.rc_context(STYLE):
        drawn = {
            "devices": _devices(figures),
            "nodes": _nodes(figures),
            "federates": _federates(figures),
            "hosts": _hosts(figures),
            "model": _model(figures),
        }
        return [_written(name, figure) for name, figure in drawn.items()]


def _written(name: str, figure: Figure) -> Path:
    path = FOLDER / f"growth-{name}.svg"
    figure.savefig(path, format="svg", metadata={"Date": None}, bbox_inches="tight", pad_inches=0.08)
    return path


def _devices(figures: Figures) -> Figure:
    small, large = (points(figures, "devices", f"{nodes} nodes") for nodes in ("1 000", "10 000"))
    figure, (times, memory) = _two("devices", "ms a step", "MB")
    times.set_title("one core", loc="left")
    _lines(times, _whole("feeder of 10 000 nodes", large, RED), _whole("feeder of 1 000 nodes", small, BLUE))
    _lines(times, *_parts(small), linear=(small[-1].x, small[-1].cost.cpu_ms))
    memory.set_title("memory of the process", loc="left")
    _lines(memory, _memory("10 000 nodes", large, RED), _memory("1 000 nodes", small, BLUE))
    return figure


def _nodes(figures: Figures) -> Figure:
    made, ieee = points(figures, "nodes", "made up"), points(figures, "nodes", "IEEE")
    figure, (times, memory) = _two("nodes", "ms a step", "MB")
    times.set_title("one core, 100 devices", loc="left")
    _lines(times, _whole("made-up feeders", made, BLUE), _whole("IEEE 13, 34, 123, 9500", ieee, ORANGE))
    _lines(times, *_parts(made), linear=(made[-1].x, made[-1].cost.cpu_ms))
    memory.set_title("memory of the process", loc="left")
    _lines(memory, _memory("made-up feeders", made, BLUE), _memory("IEEE", ieee, ORANGE))
    return figure


def _federates(figures: Figures) -> Figure:
    figure, (relays, fleets) = _two("federates", "ms a step", "ms a step")
    relays.set_title("relays in a star, nothing computed", loc="left")
    apart, chain = points(figures, "federates", "star, apart"), points(figures, "federates", "chain, apart")
    together = points(figures, "federates", "star, together")
    _lines(relays, _wall("a process each (2 cores)", apart, RED), _wall("in a chain", chain, PURPLE, "o:"))
    threads = points(figures, "federates", "star, threads")
    _lines(relays, _wall("a thread each", threads, ORANGE), _whole("HELICS, one process", together, BLUE))
    local = _whole("no middleware", points(figures, "federates", "star, local"), GREEN)
    _lines(relays, local, linear=(together[-1].x, together[-1].cost.cpu_ms))
    fleets.set_title("1 000 devices, in more and more fleets", loc="left")
    split = points(figures, "federates", "fleets, together")
    _lines(fleets, _whole("HELICS, one process", split, BLUE))
    local = _whole("no middleware", points(figures, "federates", "fleets, local"), GREEN)
    _lines(fleets, local, linear=(split[-1].x, split[-1].cost.cpu_ms))
    for axis in (relays.xaxis, fleets.xaxis, fleets.yaxis):
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    return figure


def _hosts(figures: Figures) -> Figure:
    figure = Figure(figsize=(5.2, 3.2), layout="constrained")
    axes = figure.subplots()
    axes.set_title("a star with an arm on each host", loc="left")
    for line, colour in (("5 ms", ORANGE), ("0 ms", BLUE)):
        curve = points(figures, "hosts", line)
        x, y = [each.x for each in curve], [each.cost.least_ms for each in curve]
        axes.plot(x, y, "o-", color=colour, label=f"{line} one way")
    if points(figures, "hosts", "5 ms"):
        axes.plot([1, 4], [10, 10], "--", color=GREY, label="two crossings of 5 ms")
    axes.set(xlabel="hosts", ylabel="ms a step", xticks=[1, 2, 3, 4], ylim=(0, None))
    _explained(axes)
    return figure


def _model(figures: Figures) -> Figure:
    figure = Figure(figsize=(5.2, 3.8), layout="constrained")
    axes = figure.subplots()
    found = [*residuals(figures, fitted(figures))]
    for part, what, colour in (("feeder", "a feeder in one process", BLUE), ("exchange", "processes and hosts", RED)):
        some = [(each.measured, each.modelled) for each in found if each.part == part]
        axes.plot(*zip(*some, strict=True), "o", color=colour, label=what, alpha=0.8)
    ends = np.array([min(e.measured for e in found), max(e.measured for e in found)])
    axes.plot(ends, ends, "-", color=GREY, linewidth=1)
    axes.fill_between(ends, ends / 1.2, ends * 1.2, color=GREY, alpha=0.15, linewidth=0, label="within 20 %")
    axes.set(xscale="log", yscale="log", xlabel="measured, ms a step", ylabel="model, ms a step")
    _numbered(axes)
    _explained(axes)
    return figure


def _two(quantity: str, left: str, right: str) -> tuple[Figure, Any]:
    """Return a picture of two log-log plots along the same quantity."""
    figure = Figure(figsize=(8.6, 4.2), layout="constrained")
    both = figure.subplots(1, 2)
    for axes, unit in zip(both, (left, right), strict=True):
        axes.set(xscale="log", yscale="linear" if unit == "MB" else "log", xlabel=quantity, ylabel=unit)
        _numbered(axes)
    return figure, both


def _numbered(axes: Any) -> None:
    """Write numbers instead of powers of ten; none between those of logarithmic axes."""
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.10g}".replace(",", " ")))
        axis.set_minor_formatter(NullFormatter())


def _lines(axes: Any, *lines: Line, linear: tuple[float, float] | None = None) -> None:
    """Draw lines, and the one of slope 1 through a point."""
    for what, x, y, colour, style in lines:
        axes.plot(x, y, style, color=colour, label=what)
    if linear:
        (low_x, high_x), (low_y, high_y) = axes.get_xlim(), axes.get_ylim()
        x = np.array([low_x, linear[0]])
        axes.plot(x, x * linear[1] / linear[0], "--", color=GREY, linewidth=1, label="in proportion")
        axes.set(xlim=(low_x, high_x), ylim=(low_y, high_y))
    if axes.get_yscale() == "linear":
        axes.set_ylim(0, None)
    _explained(axes)


def _explained(axes: Any) -> None:
    """Put the legend below, where no line is."""
    axes.legend(loc="upper left", bbox_to_anchor=(0.0, -0.19), borderaxespad=0.0, ncols=2)


def _whole(what: str, curve: Sequence[Measured], colour: str) -> Line:
    return what, _x(curve), [each.cost.cpu_ms for each in curve], colour, "o-"


def _wall(what: str, curve: Sequence[Measured], colour: str, style: str = "o-") -> Line:
    return what, _x(curve), [each.cost.least_ms for each in curve], colour, style


def _memory(what: str, curve: Sequence[Measured], colour: str) -> Line:
    return what, _x(curve), [each.cost.memory_mb for each in curve], colour, "o-"


def _parts(curve: Sequence[Measured]) -> Iterator[Line]:
    """Yield what of the curve the feeder's step takes, the fleet's and the sky's, and the rest."""
    x, cost = _x(curve), [each.cost for each in curve]
    rest = [c.cpu_ms - c.feeder_ms - c.fleets_ms for c in cost]
    yield "of it, feeder", x, [c.feeder_ms for c in cost], ORANGE, ":"
    yield "of it, sky and fleet", x, [c.fleets_ms for c in cost], GREEN, ":"
    yield "of it, moving and recording", x, rest, PURPLE, ":"


def _x(curve: Sequence[Measured]) -> list[float]:
    return [each.x for each in curve]
