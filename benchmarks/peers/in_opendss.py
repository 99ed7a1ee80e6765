"""The rooftops as OpenDSS itself has them: PV systems that follow a load shape."""

from __future__ import annotations

from collections.abc import Iterator

from peers.rooftops import FEEDER, Q_PU, Rooftops

from derloop.contract import FloatArray


def commands(case: Rooftops, p_pu: FloatArray, shape: str) -> Iterator[str]:
    """Yield what makes the circuit. p_pu (steps,): AC power, pu of the rating; `shape`: daily, or yearly."""
    yield f'Redirect "{FEEDER}"'
    yield "BatchEdit RegControl..* enabled=no"
    multipliers = " ".join(f"{p!r}" for p in p_pu.tolist())
    yield f"New LoadShape.light npts={len(p_pu)} sinterval={case.step_s:g} mult=({multipliers})"
    for p in case.places():
        q_most_kvar = Q_PU[0] * p.kva
        yield (
            f"New PVSystem.{p.name} bus1={p.node} phases=1 kV={p.kv!r} kVA={p.kva!r} pmpp={p.kva!r} irradiance=1 "
            f"{shape}=light kvarMax={q_most_kvar!r} kvarMaxAbs={q_most_kvar!r} %cutin=0 %cutout=0 "
            "vminpu=0.3 vmaxpu=2 WattPriority=no"
        )
    yield "CalcVoltageBases"
