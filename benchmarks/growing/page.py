"""The tables of the page, written from the kept figures between the page's marks: what it says is what was measured."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from growing.figures import Figures, points
from growing.model import Model, Residual, fitted, residuals
from growing.points import Measured
from growing.prediction import Study, predicted
from growing.sweeps import NODES_OF_EACH

PAGE = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "laptop-to-cluster.md"
PART = re.compile(r"(<!-- figures: (?P<name>\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
STUDIES = [
    Study(1_000, 1_000, 1_000, hosts, cores) for hosts, cores in ((1, 1), (1, 8), (1, 64), (4, 64), (10, 100))
] + [Study(1_000, 10_000, 1_000, hosts, cores) for hosts, cores in ((1, 1), (1, 64), (10, 100))]


def write(figures: Figures, page: Path = PAGE) -> Path:
    """Put the tables in the place of those that the page has."""
    page.write_text(renewed(page.read_text(encoding="utf-8"), figures), encoding="utf-8")
    return page


def renewed(text: str, figures: Figures) -> str:
    """Return the page with the tables of these figures."""
    model = fitted(figures)
    return PART.sub(lambda part: f"{part[1]}\n{PARTS[part['name']](figures, model)}\n\n{part[3]}", text)


def _machine(figures: Figures, _: Model) -> str:
    facts = {sweep: held["facts"] for sweep, held in figures.items()}
    days = sorted({fact["date"][:10] for fact in facts.values()})
    loads = [fact["load_average"][0] for fact in facts.values()]
    machine = next(iter(facts.values()))["machine"]
    processor = re.sub(r"\s*\(R\)|\s*CPU|\s*@.*", "", machine["processor"])
    load = f"{min(loads):.1f}" if len(loads) == 1 else f"{min(loads):.1f} to {max(loads):.1f}"
    return f"Measured on {', '.join(days)}: {machine['cpus']} cores ({processor}), load average before {load}."


def _devices(figures: Figures, _: Model) -> str:
    large = {each.x: each for each in points(figures, "devices", "10 000 nodes")}
    head = ("devices", "1 000 nodes: ms", "feeder", "sky, fleet", "the rest", "us a device", "10 000 nodes: ms", "MB")
    return _table(head, (_devices_row(each, large.get(each.x)) for each in points(figures, "devices", "1 000 nodes")))


def _devices_row(each: Measured, large: Measured | None) -> list[str]:
    cost = each.cost
    rest = cost.cpu_ms - cost.feeder_ms - cost.fleets_ms
    on_large = [_ms(large.cost.cpu_ms), f"{large.cost.memory_mb:.0f}"] if large else ["", ""]
    times = [_ms(ms) for ms in (cost.cpu_ms, cost.feeder_ms, cost.fleets_ms, rest)]
    return [_count(each.x), *times, f"{cost.cpu_ms / each.x * 1e3:.2f}", *on_large]


def _arrays(figures: Figures, _: Model) -> str:
    curve = points(figures, "arrays")
    sizes = ["elements", *(_count(each.x) for each in curve)]
    return _table(sizes, [["ns an element", *(f"{each.cost.cpu_ms / each.x * 1e6:.1f}" for each in curve)]])


def _nodes(figures: Figures, _: Model) -> str:
    rows = [
        [
            f"{each.line}" if each.line == "made up" else f"IEEE {str(each.point.feeder).removeprefix('ieee')}",
            _count(each.cost.nodes),
            f"{each.cost.iterations:.2f}",
            *(_ms(ms) for ms in (each.cost.cpu_ms, each.cost.feeder_ms)),
            f"{each.cost.feeder_ms / each.cost.nodes / each.cost.iterations * 1e3:.2f}",
        ]
        for each in points(figures, "nodes")
        if each.point
    ]
    return _table(("feeder", "nodes", "iterations", "ms", "of it, feeder", "us a node and iteration"), rows)


def _federates(figures: Figures, _: Model) -> str:
    lines = {
        "star, no middleware": ("star, local", True),
        "star, HELICS, one process": ("star, together", True),
        "star, a thread each": ("star, threads", False),
        "star, a process each": ("star, apart", False),
        "chain, a process each": ("chain, apart", False),
        "1 000 DER in fleets, no middleware": ("fleets, local", True),
        "1 000 DER in fleets, HELICS": ("fleets, together", True),
    }
    counts = sorted({each.x for each in points(figures, "federates")})
    rows = []
    for what, (line, is_alone) in lines.items():
        found = {each.x: each.cost for each in points(figures, "federates", line)}
        cells = [_ms(found[x].cpu_ms if is_alone else found[x].least_ms) if x in found else "" for x in counts]
        rows += [[what, *cells]] if found else []
    return _table(("ms a step, federates", *(_count(x) for x in counts)), rows)


def _hosts(figures: Figures, _: Model) -> str:
    counts = sorted({each.x for each in points(figures, "hosts")})
    rows = []
    for line in dict.fromkeys(each.line for each in points(figures, "hosts")):
        found = {each.x: each.cost for each in points(figures, "hosts", line)}
        rows.append([line, *(f"{_ms(found[x].least_ms)} ({_ms(found[x].median_ms)})" for x in counts)])
    return _table(("one-way delay, hosts", *(_count(x) for x in counts)), rows)


def _cores(figures: Figures, _: Model) -> str:
    ms = {(*each.line.split(", "), each.x): each.cost.least_ms for each in points(figures, "cores")}
    crews, rows = [*dict.fromkeys(how for _, how, _ in ms)], []
    for nodes, feeders in dict.fromkeys((nodes, feeders) for nodes, _, feeders in ms):
        alone, *others = (ms[nodes, how, feeders] for how in crews)
        rows.append([nodes, _count(feeders), _ms(alone), *(f"{_ms(each)} ({alone / each:.2f})" for each in others)])
    return _table(("each of", "feeders", *crews), rows)


def _beside(figures: Figures, model: Model) -> str:
    side = {(each.line, each.x): each.cost.cpu_ms for each in points(figures, "beside")}
    lines = dict.fromkeys(line for line, _ in side)
    said = (f"{_ms(side[line, 1])} ms alone and {_ms(side[line, 2])} beside another ({line})" for line in lines)
    return f"A step takes {', '.join(said)}: the factor s is {model.crowded:.2f}."


def _coefficients(_: Figures, model: Model) -> str:
    memory, starting = model.memory_mb, model.starting_s
    rows = [
        ["a", "a step of a feeder with a sky and one fleet, whatever their size", f"{model.step_ms:.2f} ms"],
        ["b", "for each node and iteration", f"{model.node_us:.3f} us"],
        ["c", "for each device", f"{model.device_us:.3f} us"],
        ["c'", "for each device beyond 10 000 in a process", f"{model.device_more_us:.3f} us"],
        ["f", "for each fleet beyond the first", f"{model.fleet_ms:.3f} ms"],
        ["p", "for each process, where all share two cores", f"{model.process_ms:.3f} ms"],
        ["p'", "of it, what the process that gives turns spends itself", f"{model.hub_ms:.3f} ms"],
        ["q", "for each crossing between processes", f"{model.crossing_ms:.2f} ms"],
        ["m", "for each host, where all share two cores", f"{model.host_ms:.2f} ms"],
        ["e", "for each crossing between hosts, beside the delay", f"{model.network_ms:.2f} ms"],
        ["s", "cores of one machine that work at once: times", f"{model.crowded:.2f}"],
        [
            "",
            "memory: of a process; for a feeder beyond the first; for 1 000 nodes; for 1 000 devices",
            _four(memory, "MB"),
        ],
        [
            "",
            "start: of a process; for a feeder beyond the first; for 1 000 nodes; for 1 000 devices",
            _four(starting, "s"),
        ],
    ]
    return _table(("", "what", "value"), rows)


def _four(values: Sequence[float], unit: str) -> str:
    process, feeder, node, device = values
    return f"{process:.3g}; {feeder:.2g}; {node * 1e3:.2g}; {device * 1e3:.2g} {unit}"


def _residuals(figures: Figures, model: Model) -> str:
    found = [*residuals(figures, model)]
    apart = sorted(abs(each.relative) for each in found)
    said = f"Half of the {len(found)} points are within {apart[len(apart) // 2]:.0%}, nine in ten within "
    return f"{_table(('point', 'measured ms', 'model ms', 'apart'), map(_residual, found))}\n\n{said}{_ninth(apart)}."


def _residual(each: Residual) -> list[str]:
    return [each.what, _ms(each.measured), _ms(each.modelled), f"{each.relative:+.0%}"]


def _ninth(ordered: Sequence[float]) -> str:
    return f"{ordered[min(len(ordered) - 1, round(len(ordered) * 0.9))]:.0%}"


def _prediction(_: Figures, model: Model) -> str:
    head = ("nodes a feeder", "hosts x cores", "work ms", "exchange ms", "a step ms", "at most", "a day s", "GB a host")
    made = _table((*head, "start s"), (_predicted(model, study) for study in STUDIES))
    processes = 3 * STUDIES[0].feeders
    exchange_ms, memory_gb = model.hub_ms * processes, model.memory_mb[0] * processes / 1e3
    placed = f"With a process for each of the {_count(processes)} federates, as it is without `workers`"
    return f"{made}\n\n{placed}, the exchange alone takes {_ms(exchange_ms)} ms, and the processes {memory_gb:.0f} GB."


def _many(figures: Figures, model: Model) -> str:
    rows = []
    for each in points(figures, "many"):
        assert each.point
        point = each.point
        study = Study(point.feeders, NODES_OF_EACH, point.devices, hosts=1, cores=1)
        what = f"{point.feeders} feeders" if point.feeders > 1 else "one feeder"
        rows.append(_residual(Residual("feeder", what, each.cost.cpu_ms, predicted(model, study).step_ms)))
    return _table(("of 1 000 nodes and 1 000 devices", "measured ms", "model ms", "apart"), rows)


def _predicted(model: Model, study: Study) -> list[str]:
    found = predicted(model, study)
    times = [_ms(ms) for ms in (found.work_ms, found.exchange_ms, found.step_ms, found.most_ms)]
    more = [f"{found.day_s:.0f}", f"{found.memory_gb:.0f}", f"{found.starting_s:.0f}"]
    return [_count(study.nodes), f"{study.hosts} x {study.cores}", *times, *more]


def _ms(ms: float) -> str:
    return f"{ms:.0f}" if ms >= 99.5 else f"{ms:.3g}"


def _count(x: float) -> str:
    return f"{x:,.0f}".replace(",", " ")


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    head = [*head]
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


PARTS: dict[str, Callable[[Figures, Model], str]] = {
    "machine": _machine,
    "devices": _devices,
    "arrays": _arrays,
    "nodes": _nodes,
    "federates": _federates,
    "hosts": _hosts,
    "cores": _cores,
    "beside": _beside,
    "coefficients": _coefficients,
    "residuals": _residuals,
    "many": _many,
    "prediction": _prediction,
}
