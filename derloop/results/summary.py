"""What a person wants to know of a run: peaks, energy, losses, voltages, in a few lines."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from derloop.contract import FloatArray
from derloop.results.signals import Signal, TimeArray, delivered, phases
from derloop.results.store import RunFolder

RANGE_A_PU = (0.95, 1.05)
"""ANSI C84.1-2020, range A, service voltage."""
DEAD_PU = 0.01
"""Below this a node is taken to have no supply: its voltage is none to judge."""
HOUR_NS = 3.6e12
LEAST_KWH = 1e-6
"""What goes the other way is told from here on: less is rounding."""
UNITS = {"kwh": "kWh", "kvarh": "kvarh", "kw": "kW", "kvar": "kvar", "kva": "kVA", "pu": "pu", "h": "h", "s": "s"}
"""By what the name of a statistic ends with."""
INDICES = ("saidi", "saifi", "caidi", "maifi", "asai")
"""Of reliability, as IEEE 1366 writes them: in capitals."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the summary."""

    label: str
    value: float
    unit: str
    text: str


def summarise(run: RunFolder) -> list[Figure]:
    """Return the figures that the run's signals allow."""
    names = {signal.name: signal for signal in run.signals()}
    figures: list[Figure] = []
    heads = [signal for signal in names.values() if signal.port == "head_kw"]
    for head in heads:
        of = f"{head.federate}: " if len(heads) > 1 else ""
        figures += [replace(figure, label=of + figure.label) for figure in _feeder(run, head, names, len(heads) == 1)]
    for signal in names.values():
        if signal.port == "system_kw":
            figures += _bus(run, signal, names)
        elif signal.port == "p_kw":
            label = f"energy of {signal.federate} ({len(signal.labels)})"
            figures += _device_energy(run, label, delivered(names.values(), signal))
            figures += _undelivered(run, signal.federate, names)
        elif signal.port == "passes":
            figures += _passes(run, signal)
    return figures


def counted(run: RunFolder, statistics: Mapping[str, Mapping[str, float]]) -> list[Figure]:
    """Return what federates counted: "microgrid: unserved", 1849.3 kWh, of `unserved_kwh`.

    Where the name tells no unit, it is that of the federate's output of this name: "retail: bill", 412.2 USD.
    """
    units = {signal.name: signal.unit for signal in run.signals()}
    return [
        _count(name, what, value, units.get(f"{name}.{what}", "1"))
        for name, said in statistics.items()
        for what, value in said.items()
    ]


def _count(name: str, what: str, value: float, signal_unit: str) -> Figure:
    words = what.split("_")
    named = UNITS.get(words[-1], "") if len(words) > 1 else ""
    label = " ".join(word.upper() if word in INDICES else word for word in (words[:-1] if named else words))
    unit = named or ("" if signal_unit == "1" else signal_unit)
    return Figure(f"{name}: {label}", value, unit, f"{value:,.6g} {unit}".rstrip())


def _feeder(run: RunFolder, head: Signal, names: dict[str, Signal], is_only: bool) -> Iterator[Figure]:
    time_ns, kw = run.read(head.name)
    if not kw.size:
        return
    if is_only:
        yield from _peaks_before(run, names)
    yield from _through_head(run, head, time_ns, kw)
    drawn_kwh, fed_back_kwh = _each_way_kwh(kw, head)
    losses = f"{head.federate}.losses_kw"
    if losses in names:
        lost_kwh = _energy_kwh(run.read(losses)[1], names[losses])
        is_of_drawn = drawn_kwh > 0 and fed_back_kwh <= LEAST_KWH  # else they are also of what is fed back
        share = f" ({100 * lost_kwh / drawn_kwh:.1f} % of what is drawn)" if is_of_drawn else ""
        yield Figure("losses in the feeder", lost_kwh, "kWh", f"{_kwh(lost_kwh)}{share}")
    if f"{head.federate}.v_pu" in names:
        yield from _voltages(run, names[f"{head.federate}.v_pu"])


def _bus(run: RunFolder, system: Signal, names: dict[str, Signal]) -> Iterator[Figure]:
    """Yield what several feeders draw together of the bus that they hang on, and its voltage."""
    time_ns, kw = run.read(system.name)
    if not kw.size:
        return
    found = [*_through_head(run, system, time_ns, kw), *_extremes(run, names[f"{system.federate}.v_pu"])]
    yield from (replace(figure, label=f"{system.federate}: {figure.label}") for figure in found)


def _extremes(run: RunFolder, signal: Signal) -> list[Figure]:
    v_pu = run.read(signal.name)[1]
    found = (("lowest voltage", float(v_pu.min())), ("highest voltage", float(v_pu.max())))
    return [Figure(label, value, "pu", f"{value:.4f} pu") for label, value in found]


def _peaks_before(run: RunFolder, names: dict[str, Signal]) -> Iterator[Figure]:
    for name, signal in names.items():
        if signal.port == "baseline_kw" and signal.is_of_all:  # others are of customers, not of the feeder
            before_ns, before = (each[1:] for each in run.read(name))  # nothing was measured at the first instant
            if not before.size:
                continue
            at = int(before.argmax())
            clock = run.calendar.at(before_ns[at].item())
            told = f"{before[at, 0]:,.1f} kW as {signal.federate} told at {clock}, of what was measured before"
            text = f"{told} (the feeder without what it commands)"
            yield Figure("peak before", float(before[at, 0]), "kW", text)


def _through_head(run: RunFolder, signal: Signal, time_ns: TimeArray, kw: FloatArray) -> Iterator[Figure]:
    """Yield the energy drawn from the bulk system, and fed back where any is; the peak of each where it is not 0."""
    drawn_kwh, fed_back_kwh = _each_way_kwh(kw, signal)
    if drawn_kwh > LEAST_KWH:
        yield _peak(run, "peak", time_ns, kw)
    yield Figure("energy drawn from the bulk system", drawn_kwh, "kWh", _kwh(drawn_kwh))
    if fed_back_kwh > LEAST_KWH:
        yield _peak(run, "peak fed back", time_ns, -kw)
        yield Figure("energy fed back to the bulk system", fed_back_kwh, "kWh", _kwh(fed_back_kwh))


def _peak(run: RunFolder, label: str, time_ns: TimeArray, kw: FloatArray) -> Figure:
    at = int(kw.argmax())
    return Figure(label, float(kw[at, 0]), "kW", f"{kw[at, 0]:,.1f} kW at {run.calendar.at(time_ns[at].item())}")


def _voltages(run: RunFolder, signal: Signal) -> Iterator[Figure]:
    low, high, outside, total, dead = np.inf, -np.inf, 0, 0, 0
    for _, nodes_pu in run.batches(signal.name):
        every_pu = nodes_pu[:, phases(signal.labels)]
        v_pu = every_pu[every_pu >= DEAD_PU]
        low, high = min(low, float(v_pu.min(initial=np.inf))), max(high, float(v_pu.max(initial=-np.inf)))
        outside += int(((v_pu < RANGE_A_PU[0]) | (v_pu > RANGE_A_PU[1])).sum())
        total, dead = total + v_pu.size, dead + every_pu.size - v_pu.size
    if dead:
        yield Figure("nodes without supply", float(dead), "1", f"{dead:,} of {total + dead:,} node-instants")
    if not total:
        return
    share = 100 * outside / total
    yield Figure("lowest voltage", low, "pu", f"{low:.4f} pu")
    yield Figure("highest voltage", high, "pu", f"{high:.4f} pu")
    text = f"{outside:,} of {total:,} node-instants ({share:.2f} %) outside {RANGE_A_PU[0]}..{RANGE_A_PU[1]} pu"
    yield Figure("voltages outside ANSI C84.1 range A", float(outside), "1", text)


def _device_energy(run: RunFolder, label: str, fed: Signal, least_kwh: float = 0.0) -> Iterator[Figure]:
    """Yield what devices drew or gave: of `fed`, what their feeder delivered, which of what is dead is nothing.

    least_kwh: nothing is told where less went either way.
    """
    # By instant first: a whole day of many devices does not fit into memory, and pieces differ from run to run.
    sums = [(np.maximum(kw, 0.0).sum(axis=1), np.maximum(-kw, 0.0).sum(axis=1)) for _, kw in run.batches(fed.name)]
    if not sums:
        return
    out, back = (_energy_kwh(np.concatenate(each), fed) for each in zip(*sums, strict=True))
    text = _kwh(out) + (f", {_kwh(back)} the other way" if back > LEAST_KWH else "")
    if max(out, back) >= least_kwh:
        yield Figure(label, out, "kWh", text)


def _undelivered(run: RunFolder, fleet: str, names: dict[str, Signal]) -> Iterator[Figure]:
    """Yield what a fleet would have drawn or given beside that where nothing was energised, if anything."""
    for signal in names.values():
        if signal.port == f"{fleet}.undelivered_kw":
            yield from _device_energy(run, f"energy of {fleet} in a dead feeder", signal, LEAST_KWH)


def _passes(run: RunFolder, signal: Signal) -> Iterator[Figure]:
    _, passes = run.read(signal.name)
    if passes.size:
        text = f"{passes.mean():.2f} on average, {passes.max():.0f} at most"
        yield Figure(
            f"passes of the converged loop of {signal.federate.removeprefix('loop@')}", float(passes.mean()), "1", text
        )


def _energy_kwh(kw: FloatArray, signal: Signal) -> float:
    """Return the energy of powers that hold from each instant to the next."""
    return float(kw.sum()) * signal.step_ns / HOUR_NS


def _each_way_kwh(kw: FloatArray, signal: Signal) -> tuple[float, float]:
    """Return the energy of a power in its own direction, and what goes the other way; both positive."""
    return _energy_kwh(np.maximum(kw, 0.0), signal), _energy_kwh(np.maximum(-kw, 0.0), signal)


def _kwh(energy: float) -> str:
    """Return an energy as text: one decimal; of less than 1 kWh, as of a run of seconds, three digits."""
    if LEAST_KWH < energy < 1:
        return f"{np.format_float_positional(energy, 3, unique=False, fractional=False, trim='-')} kWh"
    return f"{energy:,.1f} kWh"
