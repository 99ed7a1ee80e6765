"""Inverters and a feeder that converge with each other, without a scenario around them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from derloop.contract import FloatArray, Interface, Port, Values
from derloop.coupling import Convergence
from derloop.engines.stepping import Loop, Member, Progress
from derloop.federation import Federation
from derloop.kind import Context, Terminal
from derloop.wires import Ref, Wire
from federates.der.inverter import Inverters, Smart
from federates.grid.opendss import Feeder, OpenDssFeeder, OpenDssSettings

S = 10**9
Q_MAX = 0.44
GENTLE = ((0.92, 0.98, 1.02, 1.08), (0.44, 0.0, 0.0, -0.44))
STEEP = ((0.97, 0.99, 1.00, 1.02), (0.44, 0.0, 0.0, -0.44))
VOLT_WATT = {"v1_pu": 1.05, "v2_pu": 1.10, "p2_pu": 0.0}
FUNCTIONS = {
    "volt-var, gentle": (GENTLE, False),
    "volt-var, steep": (STEEP, False),
    "volt-watt": (None, True),
    "both": (GENTLE, True),
}


def smart_of(curve: Any, volt_watt: bool) -> Smart:
    found: dict[str, Any] = {}
    if curve is not None:
        found["volt_var"] = {"v_pu": curve[0], "q_pu": curve[1], "response_s": 1}
    if volt_watt:
        found["volt_watt"] = {**VOLT_WATT, "response_s": 0.5}
    return Smart.model_validate(found)


class Fixed:
    """Inverters with the same power at hand at all times; with `day`, from none at 0 h over all at 12 h to none."""

    def __init__(self, smart: Smart, terminals: tuple[Terminal, ...], share: float, day: bool = False) -> None:
        rated_kva = np.array([t.rated_kva for t in terminals])
        self.inverters = Inverters(smart, rated_kva)
        self.p_kw, labels = share * rated_kva, tuple(t.label for t in terminals)
        outputs = {"p_kw": Port("kW", labels), "q_kvar": Port("kvar", labels)}
        self._day = day
        self.interface = Interface(S, self.inverters.ports(labels), outputs)

    def start(self) -> Values:
        return {"p_kw": 0.0 * self.p_kw, "q_kvar": 0.0 * self.p_kw}

    def step(self, now_ns: int, inputs: Values) -> Values:
        p_kw = self.p_kw * (max(0.0, float(np.sin(np.pi * now_ns / (86400 * S)))) if self._day else 1.0)
        p, q = self.inverters.step(now_ns, self.inverters.seen(inputs), p_kw, (0.0 * p_kw, p_kw))
        return {"p_kw": p, "q_kvar": q}

    def stop(self) -> None:
        pass


def settings_of(file: Path) -> OpenDssSettings:
    return OpenDssSettings(feeder=file.name, regulators="locked", tolerance=1e-10)


def feeder_at(file: Path) -> tuple[Context, Feeder]:
    context = Context("grid", file.parent, datetime(2026, 1, 1, tzinfo=UTC), S, S, 1)
    return context, Feeder(settings_of(file), context)


def places(feeder: Feeder, count: int, kva: float) -> tuple[Terminal, ...]:
    """Seeded single-phase places, and every fifth with three phases."""
    rng = np.random.default_rng(7)
    loaded = sorted({load.bus for load in feeder.loads.values()})
    found = []
    for k in range(count):
        three = [b for b in loaded if len(feeder.buses[b].phases) == 3]
        bus = str(rng.choice(three if k % 5 == 0 else loaded))
        phases = feeder.buses[bus].phases
        chosen = phases if k % 5 == 0 else (int(rng.choice(phases)),)
        found.append(Terminal(f"pv_{k}", bus, chosen, kva * (3.0 if k % 5 == 0 else 1.0)))
    return tuple(found)


def pair(file: Path, fleet: Fixed, terminals: tuple[Terminal, ...]) -> Federation:
    """Return the feeder "grid" and the fleet "pv" as a converged loop."""
    context, feeder = feeder_at(file)
    context = Context("grid", context.folder, context.start, S, S, 1, terminals={"pv": terminals}, feeder=feeder)
    grid = OpenDssFeeder(settings_of(file), context, feeder)
    wires = [Wire(Ref("grid", "pv.v_pu"), Ref("pv", "v_pu"), "converged")]
    wires += [Wire(Ref("pv", port), Ref("grid", f"pv.{port}"), "direct") for port in ("p_kw", "q_kvar")]
    return Federation({"grid": grid, "pv": fleet}, wires, Convergence())


class Instant(NamedTuple):
    """What both came to at one instant."""

    p_kw: FloatArray
    q_kvar: FloatArray
    v_pu: FloatArray
    """Of every node of the feeder."""
    passes: int
    """Solutions of the feeder."""


def converged(federation: Federation, step_s: int = 600) -> Iterator[Instant]:
    """Yield one instant after another, from a cold start."""
    (unit,) = federation.units
    progress = Progress()
    members = {m: Member(m, federation.federates[m], federation.interfaces[m], progress) for m in unit.members}
    loop = Loop(federation, unit, members)
    loop.start()
    k = 0
    while True:
        values = loop.step(k * step_s * S, {m: {} for m in unit.members})
        k += 1
        pv = values["pv"]
        v_pu, passes = values["grid"]["v_pu"].copy(), int(loop.found["passes"][0])
        yield Instant(pv["p_kw"].copy(), pv["q_kvar"].copy(), v_pu, passes)


def damped(federation: Federation, step_s: int = 600, by: float = 0.4, most: int = 100) -> Iterator[int]:
    """Yield the solutions that a damped fixed point takes to the same tolerance; `most` where it finds none."""
    grid, fleet = federation.federates["grid"], federation.federates["pv"]
    fleet.start()
    guess, now_ns = grid.start()["pv.v_pu"].copy(), 0
    while True:
        solutions, change = 0, np.full(1, np.inf)
        while np.abs(change).max() > federation.convergence.tolerance and solutions < most:
            powers = fleet.step(now_ns, {"v_pu": guess})
            change = grid.step(now_ns, {f"pv.{port}": value for port, value in powers.items()})["pv.v_pu"] - guess
            guess, solutions = guess + by * change, solutions + 1
        yield solutions
        now_ns += step_s * S


def write_tree(file: Path, buses: int, seed: int = 1, mw: float = 6.0) -> None:
    """Write a random radial feeder of 12.47 kV: a trunk of 6 miles, laterals of one to three phases, loads."""
    rng = np.random.default_rng(seed)
    trunk_end = buses * 3 // 20
    phases: list[tuple[int, ...]] = [(1, 2, 3)]
    lines = ["Clear", "New Circuit.tree bus1=b0 basekv=12.47 pu=1.03 r1=0.1 x1=0.8 r0=0.1 x0=0.8"]
    for k in range(1, buses):
        near = int(rng.integers(max(0, k - buses // 4), k))
        parent = k - 1 if k < trunk_end else near if rng.random() < 0.7 else int(rng.integers(trunk_end))
        is_branch = k >= trunk_end and len(phases[parent]) == 3 and rng.random() < 0.8
        phases.append((int(rng.choice(phases[parent])),) if is_branch else phases[parent])
        miles = 6.0 / trunk_end if k < trunk_end else rng.uniform(0.02, 0.08)
        z = "r1=0.3 x1=0.6 r0=0.6 x0=1.8" if len(phases[k]) == 3 else "r1=1.1 x1=0.9 r0=1.1 x0=0.9"
        n = ".".join(map(str, phases[k]))
        ends = f"bus1=b{parent}.{n} bus2=b{k}.{n} phases={len(phases[k])}"
        lines.append(f"New Line.l{k} {ends} length={miles:.4f} units=mi {z} c1=3 c0=3")
    loaded = range(trunk_end, buses)
    shares = rng.uniform(0.3, 1.7, len(loaded))
    for k, kw in zip(loaded, 1000 * mw * shares / shares.sum(), strict=True):
        n, kv = ".".join(map(str, phases[k])), 12.47 if len(phases[k]) == 3 else 7.2
        bus = f"bus1=b{k}.{n} phases={len(phases[k])} kV={kv}"
        lines.append(f"New Load.d{k} {bus} kW={kw:.3f} kvar={0.3 * kw:.3f} model=1 vminpu=0.7 vmaxpu=1.3")
    file.write_text("\n".join([*lines, "Set voltagebases=[12.47]", "CalcVoltageBases", ""]), encoding="ascii")
