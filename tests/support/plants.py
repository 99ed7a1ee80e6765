"""A virtual power plant with ideal batteries, run by itself: what it hears and asks for, step by step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from derloop.contract import FloatArray
from derloop.kind import Context
from federates.control.vpp import Vpp, VppSettings

S = 10**9
HOUR = 3600 * S


def written(folder: Path, name: str, step_s: float, values: Sequence[float]) -> dict[str, Any]:
    """Write a profile that holds `values` over one step each; return the setting that names it.

    Each step has a row at its beginning and one at its end, so that nothing is interpolated between steps.
    """
    rows = [f"{t},{v}" for i, v in enumerate(values) for t in (i * step_s, (i + 1) * step_s - 1e-3)]
    (folder / name).write_text("\n".join(["time_s,value", *rows, f"{len(values) * step_s},{values[-1]}"]), "utf-8")
    return {"file": name, "column": "value", "longest_gap_s": 86400.0}


def context(
    labels: Mapping[str, int], folder: Path = Path(), steps: int = 24, step_s: float = 3600.0, **other: Any
) -> Context:
    """Return where a plant called `vpp` stands, from midnight on, with fleets of so many devices."""
    named = {name: tuple(f"{name}_{i}" for i in range(count)) for name, count in labels.items()}
    start, step_ns = datetime(2025, 7, 15, tzinfo=UTC), round(step_s * S)
    return Context("vpp", folder, start, step_ns, steps * step_ns, 7, labels=named, **other)


def plant(services: Sequence[Mapping[str, Any]], where: Context, **settings: Any) -> Vpp:
    """Return a plant with all fleets of its context, that is silent after 300 s, unless settings say otherwise."""
    asked = {"services": list(services), "members": ["*"], "silent_after_s": 300.0, **settings}
    return Vpp(VppSettings.model_validate(asked), where)


class Batteries:
    """n batteries in one fleet `b`, that do what they are asked within what they can."""

    def __init__(
        self,
        power_kw: Sequence[float],
        energy_kwh: Sequence[float],
        soc: float | Sequence[float] = 0.5,
        efficiency: float = 1.0,
        step_h: float = 1.0,
    ) -> None:
        self.power_kw, self.energy_kwh = np.asarray(power_kw, float), np.asarray(energy_kwh, float)
        self.stored_kwh = np.asarray(soc, float) * self.energy_kwh
        self.efficiency, self.step_h = efficiency, step_h
        self.p_kw = np.zeros(self.power_kw.size)
        self._told = self._now()

    @property
    def most_kw(self) -> FloatArray:
        return np.minimum(self.power_kw, self.stored_kwh * self.efficiency / self.step_h)

    @property
    def least_kw(self) -> FloatArray:
        return -np.minimum(self.power_kw, (self.energy_kwh - self.stored_kwh) / self.efficiency / self.step_h)

    def told(self, age_s: float | FloatArray = 0.0) -> dict[str, FloatArray]:
        """Return what they told at the last instant: what was stored then, and the power that holds since."""
        ages = np.broadcast_to(np.asarray(age_s, float), self.p_kw.shape)
        values = {**self._told, "p_kw": self.p_kw, "age_s": ages}
        return {f"b.{port}": value.copy() for port, value in values.items()}

    def _now(self) -> dict[str, FloatArray]:
        values = {"p_max_kw": self.most_kw, "p_min_kw": self.least_kw}
        return values | {"soc_pu": self.stored_kwh / self.energy_kwh, "stored_kwh": self.stored_kwh}

    def hold(self, asked_kw: FloatArray) -> None:
        """Do what is asked for one step."""
        self._told = self._now()
        self.p_kw = np.clip(asked_kw, self.least_kw, self.most_kw)
        inside = np.where(self.p_kw > 0.0, self.p_kw / self.efficiency, self.p_kw * self.efficiency)
        self.stored_kwh = self.stored_kwh - inside * self.step_h


def run(
    control: Vpp, batteries: Batteries, load_kw: Sequence[float], **others: Sequence[float]
) -> dict[str, FloatArray]:
    """Return by name what a plant told at each step, and `p_kw` (steps, n), for a feeder that draws `load_kw` besides.

    others: what it reads of others, `federate__port`. The first step is at rest, before which nothing was measured.
    """
    head_kw, told = load_kw[0], []
    step_ns = control.interface.step_ns
    for k, load in enumerate(load_kw):
        seen = {"grid.head_kw": head_kw, "grid.age_s": 0.0}
        seen |= {name.replace("__", "."): values[k] for name, values in others.items()}
        inputs = {port: np.array([value]) for port, value in seen.items()} | batteries.told()
        outputs = control.step(k * step_ns, inputs)
        batteries.hold(outputs["b.p_set_kw"])
        head_kw = load - float(batteries.p_kw.sum())
        told.append(
            {**{port: v.copy() for port, v in outputs.items()}, "p_kw": batteries.p_kw, "head_kw": np.array([head_kw])}
        )
    return {port: np.array([row[port] for row in told]) for port in told[0]}
