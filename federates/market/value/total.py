"""What a stack comes to in a run, and sums that must be equal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import fsum, isclose

from derloop.errors import DerloopError, Problem, ScenarioError
from federates.market.billing import ROUNDING, Unreconciled
from federates.market.settlement import DEMAND_RESPONSE, REGULATION
from federates.market.value.part import Worth
from federates.market.value.series import Runs
from federates.market.value.services import DemandResponse, Regulation
from federates.market.value.stack import Stack
from federates.market.value.supply import Energy, Losses
from federates.market.value.twice import held_twice, paid_twice, refuse_double_counting
from federates.market.value.use import BillSavings

SERVICES = (DemandResponse, Regulation)


@dataclass(frozen=True, slots=True)
class Total:
    """A stack that adds up. Raises Unreconciled where it does not."""

    name: str
    currency: str
    parts: tuple[tuple[str, str, Worth], ...]
    """Name, kind, and worth of each."""
    amount: float
    reconciled: tuple[str, ...]
    """What was found equal."""


def add_up(stack: Stack, runs: Runs, source: str) -> Total:
    """Return the stack of a run. Raises ScenarioError for what is missing, or held twice; Unreconciled."""
    refuse_double_counting(stack, source)
    problems, worths = list[Problem](), list[Worth]()
    for i, part in enumerate(stack.parts):
        try:
            worths.append(part.worth(runs, stack.currency))
        except Unreconciled:
            raise
        except DerloopError as error:
            problems.append(Problem(f"/parts/{i}", str(error)))
    if problems := problems or [*held_twice(stack, runs), *paid_twice(stack, runs)]:
        raise ScenarioError(problems, source)
    named = tuple((stack.called(i), p.kind, w) for i, (p, w) in enumerate(zip(stack.parts, worths, strict=True)))
    amount = fsum(worth.amount for worth in worths)
    return Total(stack.name, stack.currency, named, amount, tuple(_reconciled(stack, runs, worths, amount)))


def _reconciled(stack: Stack, runs: Runs, worths: Sequence[Worth], amount: float) -> Iterator[str]:
    """Yield each sum that was found right; raise Unreconciled for the first that is not."""
    yield _equal("total", amount, "sum of parts", sum(worth.amount for worth in worths))
    for i, (part, worth) in enumerate(zip(stack.parts, worths, strict=True)):
        if isinstance(part, BillSavings):
            groups = fsum(x.value for x in worth.inputs if x.name.startswith("of which "))
            yield _equal(stack.called(i), worth.amount, "its groups of lines", groups)
    yield from _with_services(stack, runs, worths)
    yield from _energy_at_head(stack, runs, worths)


def _with_services(stack: Stack, runs: Runs, worths: Sequence[Worth]) -> Iterator[str]:
    """Compare bills without services, and the services that they pay, with the bills that have both."""
    for part, worth in zip(stack.parts, worths, strict=True):
        if isinstance(part, BillSavings) and not part.services:
            billing, pairs = runs.run.billing(part.tariff), [*zip(stack.parts, worths, strict=True)]
            paid = {p.kind: w.amount for p, w in pairs if isinstance(p, SERVICES) and p.is_on(part.tariff, billing)}
            if len(paid) == sum(billing.paid_for(service) > 0.0 for service in (DEMAND_RESPONSE, REGULATION)) > 0:
                whole = part.model_copy(update={"services": True}).worth(runs, stack.currency).amount
                what = " and ".join((part.name or part.kind, *paid))
                yield _equal(what, fsum((worth.amount, *paid.values())), "bills with services", whole)


def _energy_at_head(stack: Stack, runs: Runs, worths: Sequence[Worth]) -> Iterator[str]:
    """Compare energy and the losses that were taken off it with the energy that has both, where prices are equal."""
    pairs = [*zip(stack.parts, worths, strict=True)]
    for energy, worth in pairs:
        for losses, lost in pairs:
            if isinstance(energy, Energy) and isinstance(losses, Losses) and _is_rest(losses, energy):
                whole = energy.model_copy(update={"less": None}).worth(runs, stack.currency)
                what = f"{energy.name or energy.kind} and {losses.name or losses.kind}"
                yield _equal(what, worth.amount + lost.amount, f"price x avoided {energy.reads}", whole.amount)


def _is_rest(losses: Losses, energy: Energy) -> bool:
    """Return whether losses are what an energy part leaves out, at its price and in its time."""
    return (losses.reads, losses.price_per_kwh, losses.windows) == (energy.less, energy.price_per_kwh, energy.windows)


def _equal(what: str, one: float, other_what: str, other: float) -> str:
    if not isclose(one, other, rel_tol=ROUNDING, abs_tol=ROUNDING):
        raise Unreconciled(f"{what}, {one:.9g}, and {other_what}, {other:.9g}, are not equal")
    return f"{what} = {other_what}"
