"""What a stack would count twice.

Nothing is counted twice:

- what two parts claim is refused: the same energy, losses, emissions, heat, unserved energy, reduction or bills, also
  where one is of a series and the other of an element of it, and the capacity of one asset, whether as capacity, as
  avoided peak, or as deferral. Energy that is measured at the feeder's head has the losses in it, unless `less` takes
  them off;
- what bills pay for demand response or regulation does not stand beside a part for it, unless the part `bill` is
  without `services`;
- savings on bills do not stand beside savings of whoever supplies the energy (energy, losses, avoided peak, deferral),
  since retail prices recover those costs;
- power is held once: at no time do capacity, reserve and regulation together hold more of a resource than its
  `power_kw`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from derloop.errors import Problem, ScenarioError, did_you_mean
from federates.market.billing import ROUNDING
from federates.market.settlement import DEMAND_RESPONSE, REGULATION
from federates.market.value.part import Committing, Part
from federates.market.value.series import NS_PER_S, Runs, Series
from federates.market.value.services import DemandResponse, Regulation
from federates.market.value.stack import Stack
from federates.market.value.supply import AvoidedPeak, Deferral, Energy, Losses
from federates.market.value.use import BillSavings

SUPPLY = (Energy, Losses, AvoidedPeak, Deferral)
"""What retail prices recover."""


def refuse_double_counting(stack: Stack, source: str) -> None:
    """Raise ScenarioError with all that a stack would count twice, as far as it shows before a run is read."""
    problems = [*_names_twice(stack), *_claimed_twice(stack), *_recovered_by_retail(stack), *_without_resource(stack)]
    if problems:
        raise ScenarioError(problems, source)


def _names_twice(stack: Stack) -> Iterator[Problem]:
    names = [stack.called(i) for i in range(len(stack.parts))]
    for i, name in enumerate(names):
        if name in names[:i]:
            yield Problem(f"/parts/{i}/name", f"two parts are called {name!r}; another name tells them apart")


def _claimed_twice(stack: Stack) -> Iterator[Problem]:
    first: dict[str, int] = {}
    for i, part in enumerate(stack.parts):
        for claim in part.claims:
            if (before := next((first[other] for other in first if _overlap(claim, other)), None)) is not None:
                hint = _hint(stack.parts[i], stack.parts[before])
                yield Problem(f"/parts/{i}", f"{claim} would count twice: {stack.called(before)!r} has it{hint}")
            first.setdefault(claim, i)


def _overlap(claim: str, other: str) -> bool:
    """Return whether two claims are the same, or one is of a series of which the other has an element."""
    return claim == other or claim.startswith(f"{other}:") or other.startswith(f"{claim}:")


def _hint(*parts: Part) -> str:
    """Return what would be possible, where that is not plain."""
    energy = next((part for part in parts if isinstance(part, Energy)), None)
    losses = next((part for part in parts if isinstance(part, Losses)), None)
    if energy and losses:
        return f", as {energy.reads} has losses in it; possible is an energy part with less: {losses.reads!r}"
    return ""


def _recovered_by_retail(stack: Stack) -> Iterator[Problem]:
    bill = next((i for i, part in enumerate(stack.parts) if isinstance(part, BillSavings)), None)
    for i, part in enumerate(stack.parts if bill is not None else ()):
        if isinstance(part, SUPPLY):
            what = f"{part.kind} is what whoever supplies saves, and retail prices recover it"
            yield Problem(f"/parts/{i}", f"{what}: beside {stack.called(bill or 0)!r} it would count twice")


def _without_resource(stack: Stack) -> Iterator[Problem]:
    for i, part in enumerate(stack.parts):
        if isinstance(part, Committing) and part.resource not in stack.resources:
            what = f"no resource is called {part.resource!r}" + did_you_mean(part.resource, [*stack.resources])
            yield Problem(f"/parts/{i}/resource", what)


def paid_twice(stack: Stack, runs: Runs) -> Iterator[Problem]:
    """Yield a problem for each service that is a part, and is paid on the bills of another."""
    bills = [part for part in stack.parts if isinstance(part, BillSavings) and part.services]
    for i, part in enumerate(stack.parts):
        for bill in bills if isinstance(part, DemandResponse | Regulation) else []:
            service = DEMAND_RESPONSE if isinstance(part, DemandResponse) else REGULATION
            if runs.run.billing(bill.tariff).paid_for(service):
                what = f"{service} is paid on the bills by {bill.tariff!r}, and {bill.name or bill.kind!r} has them"
                yield Problem(f"/parts/{i}", f"{what}: it would count twice; possible is services: false there")


def held_twice(stack: Stack, runs: Runs) -> Iterator[Problem]:
    """Yield a problem for each resource of which more is held at a time than it has."""
    for name, resource in stack.resources.items():
        holding = [i for i, part in enumerate(stack.parts) if isinstance(part, Committing) and part.resource == name]
        time_s, held_kw = _together(stack, holding, runs)
        total_kw = held_kw.sum(axis=0) if holding else np.zeros(1)
        at = int(total_kw.argmax())
        if total_kw[at] > resource.power_kw * (1.0 + ROUNDING):
            whose = " and ".join(
                f"{stack.called(i)!r} {kw[at]:g} kW" for i, kw in zip(holding, held_kw, strict=True) if kw[at] > 0.0
            )
            what = f"{name!r} has {resource.power_kw:g} kW, but at {time_s[at]:g} s {whose} are held of it"
            yield Problem(f"/parts/{holding[-1]}", f"{what}: the same power would be paid twice")


def _together(stack: Stack, holding: Sequence[int], runs: Runs) -> tuple[Any, Any]:
    """Return instants (k,), s, at which what is held changes, and what each part holds then (parts, k), kW."""
    parts = [part for i in holding if isinstance(part := stack.parts[i], Committing)]
    held = [part.held_kw(runs) for part in parts]
    times = [w.from_s for part in parts for w in part.windows]
    times += [t for h in held if isinstance(h, Series) for t in h.time_ns / NS_PER_S]
    time_s = np.unique([t for t in times if t < runs.run.duration_h * 3600.0] or [0.0])
    rows = []
    for part, power in zip(parts, held, strict=True):
        inside = np.any([(time_s >= w.from_s) & (time_s < w.to_s) for w in part.windows], axis=0)
        kw = power.at((time_s * NS_PER_S).astype(np.int64)) if isinstance(power, Series) else power
        rows.append(np.where(inside, kw, 0.0))
    return time_s, np.array(rows).reshape(len(parts), time_s.size)
