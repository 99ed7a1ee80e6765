"""Feeders of thousands of nodes, made up: a substation, regulators and a random tree of lines with loads."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

IDEAL = "r1=1e-6 x1=1e-6 r0=1e-6 x0=1e-6 c1=0 c0=0 length=1"
"""A switch as some feeder files have it, ohm: 1e5 times less than the lines around it."""


def large_feeder(path: Path, buses: int, with_switches: bool = False, load_kw: float = 10_000.0) -> Path:
    """Write a feeder of three nodes a bus, with a load at each third bus; return its path."""
    path.write_text("\n".join(_lines(buses, with_switches, load_kw)), encoding="utf-8")
    return path


def _lines(buses: int, with_switches: bool, load_kw: float) -> Iterator[str]:
    chance = np.random.default_rng(1)
    yield "New Circuit.large basekv=115 pu=1.02 bus1=source mvasc3=20000 mvasc1=21000"
    yield "New Transformer.sub phases=3 xhl=8 buses=(source b0) conns=(delta wye) kvs=(115 12.47) kvas=(20000 20000)"
    for phase in (1, 2, 3):
        yield (
            f"New Transformer.reg{phase} phases=1 xhl=0.01 %loadloss=0.00001 buses=(b0.{phase} n0.{phase}) "
            "kvs=(7.2 7.2) kvas=(20000 20000)"
        )
        yield f"New RegControl.reg{phase} transformer=reg{phase} winding=2 vreg=122 band=2 ptratio=60"
    yield "New Linecode.main nphases=3 r1=0.19 x1=0.39 r0=0.45 x0=1.2 c1=10 c0=4 units=km"
    for bus in range(1, buses):
        parent, km = chance.integers(max(0, bus - 30), bus), chance.uniform(8.0, 32.0) / buses
        kind = IDEAL if with_switches and bus % 50 == 0 else f"linecode=main length={km:.5f} units=km"
        yield f"New Line.l{bus} bus1=n{parent} bus2=n{bus} {kind}"
        if bus % 3 == 0:
            kw = chance.uniform(0.2, 1.8) * load_kw * 3 / buses
            yield f"New Load.d{bus} bus1=n{bus}.{1 + bus // 3 % 3} phases=1 kv=7.2 kw={kw:.4f} pf=0.95 vminpu=0.7"
    yield "Set voltagebases=[115 12.47]"
    yield "CalcVoltageBases"
