"""Who is paid for services on the bill: customers that take part in demand response, or whose devices regulate.

In a scenario they are named beside `customers`; a run keeps what their bills need in `market/NAME.services.json`.
"""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Annotated

import numpy as np
from pydantic import Field, field_validator

from derloop.contract import FloatArray
from derloop.errors import did_you_mean
from derloop.kind import Context, PlaceError, Settings
from federates.control.eligible import untimely, without_days
from federates.control.metering import NS_PER_S, Calendar, History
from federates.der.clock import Clock
from federates.fleets import Path, Problems
from federates.market.customers import CustomerName, Customers
from federates.market.filled import Filled
from federates.market.tariff import Tariff
from federates.spells import Spell

LEAST_SCORED_S = 1200.0
"""Shorter runs have no hour that can be scored."""
LONGEST_STEP_S = 300.0
"""Longer steps cannot be scored."""
FederateName = Annotated[str, Field(min_length=1, max_length=100)]


# --- what a scenario says ----------------------------------------------------------------------------


class DemandResponseEnrolment(Settings):
    """Customers that are paid for what they draw less in events."""

    programme: FederateName = Field(
        description="The federate that has the events: of kind demand-response, or a vpp with that service.",
        examples=["programme"],
    )
    customers: Filled[str] = Field(
        default=("*",), max_length=10_000, description="Patterns of those who take part.", examples=[["634*"]]
    )
    history: dict[CustomerName, History] = Field(
        default={},
        description="What customers drew, net, on days before the run, by their names.",
        examples=[{"634a": {"file": "profiles/meters.csv", "columns": ["634a_1_kw"]}}],
    )
    most_adjustment_pu: float = Field(
        default=0.2, ge=0.0, lt=1.0, description="Most adjustment of the baseline on the day, pu.", examples=[0.2]
    )


class RegulationEnrolment(Settings):
    """Customers that share what a plant is paid for regulation, by the ratings of their devices."""

    plant: FederateName = Field(description="The vpp that regulates.", examples=["vpp"])
    fleets: Filled[FederateName] = Field(
        max_length=1000,
        description="Fleets of `customers` by whose ratings it is shared.",
        examples=[["batteries"]],
    )

    @field_validator("fleets")
    @classmethod
    def _counts_each_fleet_once(cls, fleets: tuple[str, ...]) -> tuple[str, ...]:
        if len({*fleets}) < len(fleets):
            raise ValueError("a fleet is named twice: its customers would have a part of others' share")
        return fleets


# --- what a run keeps --------------------------------------------------------------------------------


class EnrolledDemandResponse(Settings):
    """Events, and what baselines need besides what is metered; of n customers."""

    events: tuple[Spell, ...]
    takes_part: tuple[bool, ...]
    """(n,)"""
    history_kw: tuple[tuple[tuple[float, ...], ...], ...]
    """(n, days, intervals of a day), of each customer as many days as are known."""
    most_adjustment_pu: float


class EnrolledRegulation(Settings):
    """Whose regulation it is."""

    plant: str
    capability_kw: float
    share_pu: tuple[float, ...]
    """(n,), 1 in all."""


class Enrolled(Settings):
    """What the bills of a run need to pay services."""

    demand_response: EnrolledDemandResponse | None = None
    regulation: EnrolledRegulation | None = None


# --- from the one to the other -----------------------------------------------------------------------


def enrolled(
    response: DemandResponseEnrolment | None,
    regulation: RegulationEnrolment | None,
    tariff: Tariff,
    customers: Customers,
    context: Context,
) -> Enrolled:
    """Return who takes part in what; raises PlaceError with all that is missing for it."""
    problems: Problems = []
    if response is not None:
        problems += _unpayable("demand_response", tariff.demand_response, tariff)
        problems += _unanswered(response, tariff, customers.labels, context)
    if regulation is not None:
        problems += _unpayable("regulation", tariff.regulation, tariff)
        problems += _unregulated(regulation, customers, context)
    if problems:
        raise PlaceError(problems)
    return Enrolled(
        demand_response=None if response is None else _answering(response, tariff, customers.labels, context),
        regulation=None if regulation is None else _regulating(regulation, customers, context),
    )


def _unpayable(service: str, price: object, tariff: Tariff) -> Problems:
    what = f"tariff {tariff.name!r} does not say what it is paid: its {service} is missing"
    return [] if price is not None else [((service,), what)]


def _unknown(name: str, path: Path, context: Context) -> Problems:
    if name in context.settings:
        return []
    return [(path, f"no federate is called {name!r}" + did_you_mean(name, [*context.settings]))]


# --- demand response ---------------------------------------------------------------------------------


def _unanswered(
    response: DemandResponseEnrolment, tariff: Tariff, customers: Sequence[str], context: Context
) -> Problems:
    """Return what is missing for a baseline of each customer."""
    path: Path = ("demand_response",)
    problems = _unknown(response.programme, (*path, "programme"), context)
    for i, pattern in enumerate(response.customers):
        if not any(fnmatchcase(customer, pattern) for customer in customers):
            what = f"no customer is called {pattern!r}" + did_you_mean(pattern, customers)
            problems.append(((*path, "customers", i), what))
    for name in response.history.keys() - {*customers}:
        problems.append(((*path, "history", name), f"no customer is called {name!r}" + did_you_mean(name, customers)))
    return problems or _without_baseline(response, tariff, customers, context)


def _without_baseline(
    response: DemandResponseEnrolment, tariff: Tariff, customers: Sequence[str], context: Context
) -> Problems:
    path: Path = ("demand_response", "programme")
    if not _told_events(response.programme, context):
        return [(path, f"{response.programme!r} has no events: it is no programme of demand response")]
    events, calendar = _events(response.programme, context), Calendar(context.start, tariff.interval_s)
    if Clock.of(context.start, context.until_ns).changes_ns:
        return [(path, "the clock is changed during the run, and a baseline needs days of 24 h")]
    wrong = [f"event {i}: {what}" for i, e in enumerate(events) for _, what in untimely((), e, calendar)]
    taking = [c for c, takes in zip(customers, _takes_part(response, customers), strict=True) if takes]
    known = {c: len(response.history[c].columns) if c in response.history else 0 for c in taking}
    wrong = wrong or [f"event {place[-1]}: {what}" for place, what in without_days(known, events, calendar)]
    return [(path, what) for what in wrong]


def _events(programme: str, context: Context) -> tuple[Spell, ...]:
    """Return the events of a federate that begin within the run."""
    return tuple(e for e in _told_events(programme, context) if e.begins_s * NS_PER_S < context.until_ns)


def _told_events(programme: str, context: Context) -> tuple[Spell, ...]:
    """Return all events of a federate: its settings tell them with `events`."""
    return tuple(e for e in getattr(context.settings[programme], "events", ()) if isinstance(e, Spell))


def _takes_part(response: DemandResponseEnrolment, customers: Sequence[str]) -> tuple[bool, ...]:
    return tuple(any(fnmatchcase(customer, pattern) for pattern in response.customers) for customer in customers)


def _answering(
    response: DemandResponseEnrolment, tariff: Tariff, customers: Sequence[str], context: Context
) -> EnrolledDemandResponse:
    calendar = Calendar(context.start, tariff.interval_s)
    paths = [("demand_response", "history", customer) for customer in customers]
    days = [calendar.read(response.history.get(path[-1]), path, context) for path in paths]
    return EnrolledDemandResponse(
        events=tuple(Spell(begins_s=e.begins_s, lasts_s=e.lasts_s) for e in _events(response.programme, context)),
        takes_part=_takes_part(response, customers),
        history_kw=tuple(tuple(tuple(day.tolist()) for day in each) for each in days),
        most_adjustment_pu=response.most_adjustment_pu,
    )


# --- regulation --------------------------------------------------------------------------------------


def _unregulated(regulation: RegulationEnrolment, customers: Customers, context: Context) -> Problems:
    """Return what is missing for a score, and for sharing what it is paid."""
    plant, path = regulation.plant, ("regulation", "plant")
    problems: Problems = [
        (("regulation", "fleets", i), f"{fleet!r} belongs to no customer" + did_you_mean(fleet, customers.fleets))
        for i, fleet in enumerate(regulation.fleets)
        if fleet not in customers.fleets
    ]
    if unknown := _unknown(plant, path, context):
        return problems + unknown
    if _capability_kw(plant, context) is None:
        problems.append((path, f"{plant!r} has no service frequency-regulation: nothing can be scored"))
    step_s = getattr(context.settings[plant], "step_s", None) or context.step_ns / NS_PER_S
    if step_s > LONGEST_STEP_S:
        what = f"{plant!r} has steps of {step_s:g} s; a score needs steps of {LONGEST_STEP_S:g} s at most"
        problems.append((path, what))
    if context.until_ns < LEAST_SCORED_S * NS_PER_S:
        problems.append((path, f"a score needs {LEAST_SCORED_S:g} s; the run has {context.until_ns / NS_PER_S:g} s"))
    return problems


def _capability_kw(plant: str, context: Context) -> float | None:
    """Return what a plant offers for regulation: its settings tell it with `regulated_kw`."""
    told: float | None = getattr(context.settings[plant], "regulated_kw", None)
    return told


def _regulating(regulation: RegulationEnrolment, customers: Customers, context: Context) -> EnrolledRegulation:
    rated_kva: FloatArray = np.sum([customers.rated_kva(fleet, context) for fleet in regulation.fleets], axis=0)
    return EnrolledRegulation(
        plant=regulation.plant,
        capability_kw=_capability_kw(regulation.plant, context) or 0.0,
        share_pu=tuple((rated_kva / rated_kva.sum()).tolist()),
    )
