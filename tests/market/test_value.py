"""Value stacks: each part against a number computed by hand, what is refused, sums that must be equal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
from billing import FLAT, MIDNIGHT, schedule, tariff

from derloop.errors import DerloopError, ScenarioError
from derloop.validation import typed_model
from federates.market.billing import Billing, Metered, Unreconciled, make_billing
from federates.market.enrolment import Enrolled, EnrolledDemandResponse, EnrolledRegulation
from federates.market.regulated import regulated
from federates.market.settlement import Settlement
from federates.market.tariff import Tariff
from federates.market.value.part import Worth
from federates.market.value.series import WHOLE, Runs, Series
from federates.market.value.stack import Stack
from federates.market.value.total import Total, add_up
from federates.market.value.twice import refuse_double_counting
from federates.market.value.use import BillSavings
from federates.spells import Spell

HOUR_NS = 3600 * 10**9


@dataclass
class Told:
    """A run of four hours, told by a test: values for each hour."""

    values: dict[str, tuple[str, list[float]]]
    bills: dict[str, Billing] = field(default_factory=dict)
    scores: dict[int, float] = field(default_factory=dict)
    duration_h: float = 4.0
    paid: dict[str, Any] = field(default_factory=dict)
    """What its tariff says of services."""

    def series(self, name: str, unit: str) -> Series:
        if name not in self.values:
            raise DerloopError(f"no signal {name!r}")
        assert self.values[name][0] == unit
        values = np.array(self.values[name][1])
        return Series(name, unit, HOUR_NS, np.arange(values.size) * HOUR_NS, values)

    def has(self, name: str) -> bool:
        return name in self.values

    def tariff(self, name: str) -> Tariff:
        return self.bills[name].tariff if name in self.bills else tariff(**FLAT, **self.paid)

    def billing(self, meter: str) -> Billing:
        return self.bills[meter]

    def performance(self, signal: str, response: str) -> Mapping[int, float]:
        assert (signal, response) == ("vpp.signal_kw", "vpp.response_kw")
        return self.scores


def told(**ports: list[float]) -> dict[str, tuple[str, list[float]]]:
    """Return ports of kW, `grid_head_kw` for grid.head_kw."""
    return {name.replace("_", ".", 1): ("kW", values) for name, values in ports.items()}


BASE = Told(
    told(grid_head_kw=[100, 100, 300, 200], grid_losses_kw=[4, 4, 20, 10])
    | {"mg.unserved_kwh": ("kWh", [0, 50, 100, 100])}
)
RUN = Told(
    told(
        grid_head_kw=[150, 120, 210, 190],
        grid_losses_kw=[6, 5, 11, 9],
        chp_used_kw=[90, 90, 90, 90],
        chp_fuel_kw=[150, 150, 150, 50],
        fleet_p_max_kw=[80, 60, 70, 90],
        vpp_signal_kw=[40, -20, 0, 40],
    )
    | {
        "market.price_per_kwh": ("USD/kWh", [0.05, 0.1, 0.4, 0.2]),
        "dr.reduced_kwh": ("kWh", [0, 3, 7, 7]),
        "mg.unserved_kwh": ("kWh", [0, 10, 10, 10]),
    },
    scores={0: 0.9, 1: 0.8, 2: 0.3},
)


def stack(*parts: dict[str, Any], **other: Any) -> Stack:
    resources = {"fleet": {"power_kw": 100}}
    document = {"name": "tested", "currency": "USD", "resources": resources, "parts": [*parts], **other}
    return typed_model(Stack, document, "stack")


def total(*parts: dict[str, Any], run: Told = RUN, base: Told | None = BASE) -> Total:
    return add_up(stack(*parts), Runs(run, base), "stack")


def refused(*parts: dict[str, Any], run: Told = RUN, base: Told | None = BASE) -> dict[str, str]:
    with pytest.raises(ScenarioError) as error:
        total(*parts, run=run, base=base)
    return {problem.pointer: problem.what for problem in error.value.problems}


ENERGY = {"kind": "energy", "price_per_kwh": "market.price_per_kwh"}
LOSSES = {"kind": "losses", "price_per_kwh": "market.price_per_kwh"}
CAPACITY = {"kind": "capacity", "resource": "fleet", "kw": 70, "per_kw_h": 0.1}
RESERVE = {"kind": "reserve", "resource": "fleet", "kw": 40, "per_kw_h": 0.01}
REGULATION = {
    "kind": "regulation",
    "resource": "fleet",
    "kw": 40,
    "signal": "vpp.signal_kw",
    "price": {"capability_per_kw_h": 0.02, "mileage_per_kw": 0.001, "least_score_pu": 0.4},
}
PEAK = {"kind": "avoided-peak", "asset": "transmission", "per_kw": 4}
DEFERRAL = {"kind": "deferral", "asset": "substation", "rating_kw": 250, "cost": 876_000, "discount_pu": 0.05}
HEAT = {
    "kind": "heat",
    "heat": "chp.used_kw",
    "fuel": ["chp.fuel_kw"],
    "boiler_efficiency_pu": 0.9,
    "fuel_per_kwh": 0.05,
}
RESILIENCE = {"kind": "resilience", "unserved_kwh": "mg.unserved_kwh", "value_per_kwh": 20}
REDUCED = {"kind": "demand-response", "reduced_kwh": "dr.reduced_kwh", "per_kwh": 0.5}
EMISSIONS = {"kind": "emissions", "kg_per_kwh": 0.5, "per_kg": 0.1}

BY_HAND: list[tuple[str, dict[str, Any], float]] = [
    # avoided -50, -20, 90, 10 kWh at 0.05, 0.1, 0.4, 0.2
    ("energy", ENERGY, -2.5 - 2.0 + 36.0 + 2.0),
    # avoided -2, -1, 9, 1 kWh
    ("losses", LOSSES, -0.1 - 0.1 + 3.6 + 0.2),
    ("energy without losses", {**ENERGY, "less": "grid.losses_kw"}, 33.5 - 3.6),
    ("energy at one price, two hours", {**ENERGY, "price_per_kwh": 0.1, "windows": [{"from_s": 7200}]}, 10.0),
    ("capacity", CAPACITY, 70 * 4 * 0.1),
    # no more than the least that was there: 60 kW
    ("capacity that is there", {**CAPACITY, "available": "fleet.p_max_kw"}, 60 * 4 * 0.1),
    (
        "energy from half past to half past",
        {**ENERGY, "price_per_kwh": 0.1, "windows": [{"from_s": 1800, "to_s": 5400}]},
        0.1 * (-50 - 20) / 2,
    ),
    (
        "energy in parts of an hour, of which one is in both windows",
        {**ENERGY, "price_per_kwh": 0.1, "windows": [{"from_s": 1200, "to_s": 2400}, {"from_s": 600, "to_s": 1800}]},
        0.1 * -50 / 2,
    ),
    (
        "capacity in hours that windows share, or that one has within another",
        {**CAPACITY, "windows": [{"to_s": 7200}, {"from_s": 1800, "to_s": 3600}, {"from_s": 3600, "to_s": 10800}]},
        70 * 3 * 0.1,
    ),
    (
        "energy in a window that is within another one",
        {**ENERGY, "price_per_kwh": 0.1, "windows": [{"to_s": 10800}, {"to_s": 1800}, {"from_s": 7200, "to_s": 14400}]},
        0.1 * (-50 - 20 + 90 + 10),
    ),
    ("capacity in two hours", {**CAPACITY, "windows": [{"from_s": 3600, "to_s": 10800}]}, 70 * 2 * 0.1),
    ("avoided peak", PEAK, (300 - 210) * 4),
    # a year: 876000 (1 - 1.02/1.05) = 25028.57; four hours of 8760
    ("deferral", DEFERRAL, 876_000 * (1 - 1.02 / 1.05) * 4 / 8760),
    ("no deferral of what is needed all the same", {**DEFERRAL, "rating_kw": 200}, 0.0),
    ("no deferral of what is not needed anyway", {**DEFERRAL, "rating_kw": 400}, 0.0),
    ("reserve", RESERVE, 40 * 4 * 0.01),
    # 40 kW x 4 h x 0.9 x 0.02 + (60 + 20 + 40) kW x 0.9 x 0.001
    ("regulation", {**REGULATION, "score_pu": 0.9}, 2.88 + 0.108),
    # hours 0 and 1 with 0.9 and 0.8, hour 2 below the least, hour 3 not scored: 40 x 1.7 x 0.02 + 60 x 0.8 x 0.001
    ("regulation by the hour", {**REGULATION, "response": "vpp.response_kw"}, 1.36 + 0.048),
    ("demand response", REDUCED, 3.5),
    # (360 / 0.9 - 500) x 0.05
    ("heat", HEAT, -5.0),
    ("resilience", RESILIENCE, (100 - 10) * 20),
    # 50 and 100 kWh are lacking at the end of the first and the second hour, 10 and 10 kWh with it
    ("resilience in the second hour", {**RESILIENCE, "windows": [{"from_s": 3600, "to_s": 7200}]}, (50 - 0) * 20),
    ("resilience in the third hour", {**RESILIENCE, "windows": [{"from_s": 7200, "to_s": 10800}]}, 0.0),
    # 3 kWh by the end of the first hour, 7 kWh by that of the second
    ("demand response in the first hour", {**REDUCED, "windows": [{"to_s": 3600}]}, 1.5),
    ("demand response in the second hour", {**REDUCED, "windows": [{"from_s": 3600, "to_s": 7200}]}, 2.0),
    ("resilience against a number", {**RESILIENCE, "without_kwh": 60}, (60 - 10) * 20),
    # 30 kWh x 0.5 x 0.1
    ("emissions", EMISSIONS, 1.5),
    # less 500 kWh of fuel x 0.2 x 0.1, none of which burns in the other run
    ("emissions of fuel", {**EMISSIONS, "fuel": ["chp.fuel_kw"], "fuel_kg_per_kwh": 0.2}, 1.5 - 10.0),
]


@pytest.mark.parametrize(("part", "amount"), [row[1:] for row in BY_HAND], ids=[row[0] for row in BY_HAND])
def test_each_part_is_what_is_computed_by_hand(part: dict[str, Any], amount: float) -> None:
    found = total(part)
    assert found.amount == pytest.approx(amount, abs=1e-12)
    ((_, _, worth),) = found.parts
    assert worth.formula
    assert worth.inputs


def bills(load_kw: list[float], der_kw: list[float], currency: str = "USD") -> Billing:
    of = tariff(
        periods=[{"name": "energy", "price_per_kwh": 0.2}],
        demand=[{"name": "any time", "per_kw": 3}],
        fixed={"per_day": 24},
        export={"kind": "net-billing", "price_per_kwh": 0.05},
        currency=currency,
    )
    metered = Metered(("a",), HOUR_NS, np.array(load_kw)[:, None], np.array(der_kw)[:, None])
    return make_billing(of, schedule(of, 4), metered)


def billed(load_kw: list[float], der_kw: list[float], currency: str = "USD") -> Told:
    return replace(RUN, bills={"retail": bills(load_kw, der_kw, currency)})


def test_savings_on_bills_are_the_difference_of_bills() -> None:
    # loads 2, 2, 4, 2 kW; 1 kW of DER, 6 in the last hour.
    # Energy 10 to 5 kWh: 1; demand 4 to 3 kW: 3; export 4 kWh: 0.2
    found = total({"kind": "bill", "tariff": "retail"}, run=billed([2, 2, 4, 2], [1, 1, 1, 6]))
    inputs = {entry.name: entry.value for entry in found.parts[0][2].inputs}
    assert found.amount == pytest.approx(1.0 + 3.0 + 0.2)
    assert inputs["of which energy"] == pytest.approx(1.0)
    assert inputs["of which demand"] == pytest.approx(3.0)
    assert inputs["of which fixed"] == pytest.approx(0.0)
    assert inputs["of which export"] == pytest.approx(0.2)


def test_savings_on_bills_can_be_against_the_other_run() -> None:
    # the other run pays 2 + 12 + 4, this one 1 + 9 + 4 - 0.2
    part = {"kind": "bill", "tariff": "retail", "against": "other-run"}
    found = total(part, run=billed([2, 2, 4, 2], [1, 1, 1, 6]), base=billed([2, 2, 4, 2], [0, 0, 0, 0]))
    assert found.amount == pytest.approx(4.2)


def test_bills_in_another_currency_are_refused() -> None:
    found = refused({"kind": "bill", "tariff": "retail"}, run=billed([1] * 4, [0] * 4, "EUR"))
    assert "is in EUR, the stack in USD" in found["/parts/0"]


def test_services_can_be_paid_by_a_tariff_of_the_run() -> None:
    # 7 kWh x 0.5; 40 kW x 4 h x 0.02 x 0.5
    paying = replace(RUN, paid={"demand_response": {"per_kwh": 0.5}, "regulation": {"capability_per_kw_h": 0.02}})
    reduced = {"kind": "demand-response", "reduced_kwh": "dr.reduced_kwh", "tariff": "market"}
    regulated = {**{k: v for k, v in REGULATION.items() if k != "price"}, "tariff": "market", "score_pu": 0.5}
    assert total(reduced, regulated, run=paying).amount == pytest.approx(3.5 + 1.6)
    assert refused(reduced)["/parts/0"] == "the tariff does not say what demand response is paid"


PAYING = {
    "demand_response": {"per_kwh": 0.5},
    "regulation": {"capability_per_kw_h": 0.02, "mileage_per_kw": 0.001, "least_score_pu": 0.4},
}


def paid_on_bills() -> Told:
    """Return a run on whose bills one customer is paid for services.

    It draws 4 kW for four hours at 0.2, 3.2 in all. In the last hour is an event, with a baseline of 6 kWh. It holds
    40 kW for regulation, with scores of 0.9, 0.8, 0.3 and 0, of which the last two are too low.
    """
    of, start = tariff(**FLAT, **PAYING), MIDNIGHT.replace(hour=4)
    signal = RUN.series("vpp.signal_kw", "kW")
    inside, scores = signal.within(WHOLE), np.array([0.9, 0.8, 0.3, 0.0])
    hours = regulated(signal.time_ns, signal.values, HOUR_NS, inside, lambda _: scores)
    history = (((6.0,) * 24,) * 10,)
    events = (Spell(begins_s=10800, lasts_s=3600),)
    response = EnrolledDemandResponse(events=events, takes_part=(True,), history_kw=history, most_adjustment_pu=0.0)
    regulation = EnrolledRegulation(plant="vpp", capability_kw=40.0, share_pu=(1.0,))
    settled = Settlement(Enrolled(demand_response=response, regulation=regulation), start, hours)
    metered = Metered(("home",), HOUR_NS, np.full((4, 1), 4.0), np.zeros((4, 1)))
    billing = make_billing(of, schedule(of, 4, start), metered, settled)
    return replace(RUN, bills={"retail": billing})


BILL = {"kind": "bill", "tariff": "retail", "against": "other-run"}
ON_BILLS = {"kind": "demand-response", "customers": "retail"}
REGULATED = {
    **{key: value for key, value in REGULATION.items() if key != "price"},
    "tariff": "retail",
    "response": "vpp.response_kw",
}


def test_services_on_bills_are_worth_as_much_as_in_parts_of_their_own() -> None:
    # an event of 2 kWh x 0.5; 40 kW x (0.9 + 0.8) x 0.02; a signal of 40, -20, 0, 40 kW moves 0, 60, 20, 40 kW
    run = paid_on_bills()
    services = 2 * 0.5 + 40 * 1.7 * 0.02 + 60 * 0.8 * 0.001
    base = replace(BASE, bills={"retail": bills([4] * 4, [0] * 4)})
    saved = bills([4] * 4, [0] * 4).total.sum() - 3.2  # another tariff, without services
    whole = total(BILL, run=run, base=base)
    apart = total({**BILL, "services": False}, ON_BILLS, REGULATED, run=run, base=base)
    assert whole.amount == apart.amount == pytest.approx(services + saved)
    assert [worth.amount for _, _, worth in apart.parts[1:]] == pytest.approx([1.0, 1.36 + 0.048])
    assert "bill and demand-response and regulation = bills with services" in apart.reconciled


@pytest.mark.parametrize("part", [ON_BILLS, REGULATED], ids=lambda part: str(part["kind"]))
def test_services_that_bills_pay_are_refused_beside_them(part: dict[str, Any]) -> None:
    found = refused({**BILL, "against": "loads-alone"}, part, run=paid_on_bills())
    assert f"{str(part['kind']).replace('-', ' ')} is paid on the bills by 'retail'" in found["/parts/1"]
    assert "it would count twice; possible is services: false there" in found["/parts/1"]


def test_what_customers_are_paid_has_its_price_from_their_tariff() -> None:
    with pytest.raises(ScenarioError, match="customers are paid by their tariff for the whole run"):
        stack({**ON_BILLS, "per_kwh": 1.0})


# --- nothing twice -----------------------------------------------------------------------------------


def test_energy_at_retail_and_at_wholesale_is_refused() -> None:
    found = refused({"kind": "bill", "tariff": "retail"}, ENERGY)
    assert "retail prices recover it: beside 'bill' it would count twice" in found["/parts/1"]


@pytest.mark.parametrize("part", [LOSSES, PEAK, DEFERRAL], ids=lambda part: str(part["kind"]))
def test_what_retail_prices_recover_is_refused_beside_bills(part: dict[str, Any]) -> None:
    assert "retail prices recover it" in refused(part, {"kind": "bill", "tariff": "retail"})["/parts/0"]


def test_losses_beside_energy_that_has_them_are_refused() -> None:
    found = refused(ENERGY, LOSSES)
    assert "the losses of grid would count twice" in found["/parts/1"]
    assert "possible is an energy part with less: 'grid.losses_kw'" in found["/parts/1"]


@pytest.mark.parametrize(
    "other",
    [{**DEFERRAL, "asset": "transmission"}, {**CAPACITY, "asset": "transmission"}],
    ids=["deferral", "capacity"],
)
def test_the_capacity_of_an_asset_counts_once(other: dict[str, Any]) -> None:
    assert "the capacity of 'transmission' would count twice" in refused(PEAK, other)["/parts/1"]


def test_emissions_that_are_in_the_price_of_energy_are_refused() -> None:
    found = refused({**ENERGY, "carbon_in_price": True}, EMISSIONS)
    assert "emissions would count twice" in found["/parts/1"]


def test_the_same_power_as_capacity_and_as_regulation_is_refused() -> None:
    # 70 + 40 of 100 kW, in the hour that both have
    one = {**CAPACITY, "windows": [{"from_s": 0, "to_s": 7200}]}
    other = {**REGULATION, "score_pu": 0.9, "windows": [{"from_s": 3600, "to_s": 14400}]}
    found = refused(one, other)
    assert found["/parts/1"].startswith("'fleet' has 100 kW, but at 3600 s 'capacity' 70 kW and 'regulation' 40 kW")


def test_power_may_be_held_for_one_after_the_other_or_in_parts() -> None:
    after = {**RESERVE, "windows": [{"from_s": 7200}]}
    assert total({**CAPACITY, "windows": [{"to_s": 7200}]}, after).amount == pytest.approx(14.0 + 0.8)
    assert total({**CAPACITY, "kw": 60}, RESERVE).amount == pytest.approx(24.0 + 1.6)


def test_each_resource_holds_its_own_power() -> None:
    vans = {**CAPACITY, "name": "vans", "resource": "vans", "asset": "feeder"}
    resources = {"fleet": {"power_kw": 100}, "vans": {"power_kw": 80}}
    found = add_up(stack(CAPACITY, vans, resources=resources), Runs(RUN, BASE), "stack")
    assert found.amount == pytest.approx(2 * 70 * 4 * 0.1)


def test_power_that_varies_is_held_once_at_each_instant() -> None:
    # p_max 80, 60, 70, 90 kW beside 40 kW: 130 at 10800 s
    found = refused({**RESERVE, "name": "spare", "kw": "fleet.p_max_kw"}, RESERVE)
    assert "at 10800 s 'spare' 90 kW and 'reserve' 40 kW" in found["/parts/1"]


@pytest.mark.parametrize("part", [HEAT, RESILIENCE, EMISSIONS, ENERGY], ids=lambda part: str(part["kind"]))
def test_the_same_part_twice_is_refused(part: dict[str, Any]) -> None:
    assert "would count twice" in refused(part, {**part, "name": "again"})["/parts/1"]


@pytest.mark.parametrize(
    ("part", "key", "element"),
    [(ENERGY, "reads", "grid.head_kw:634"), (RESILIENCE, "unserved_kwh", "mg.unserved_kwh:634")],
    ids=["energy", "resilience"],
)
def test_a_series_and_an_element_of_it_are_refused(part: dict[str, Any], key: str, element: str) -> None:
    whole, of_it = {**part, "name": "whole"}, {**part, "name": "element", key: element}
    for one, other in ((whole, of_it), (of_it, whole)):
        assert "would count twice" in refused(one, other)["/parts/1"]


def test_two_elements_of_a_series_are_two() -> None:
    of = [("heat.used_kw", f"boiler.fuel_kw:{place}") for place in ("634", "634a")]
    parts = [{**HEAT, "name": fuel, "heat": f"{heat}:{fuel[-3:]}", "fuel": [fuel]} for heat, fuel in of]
    refuse_double_counting(stack(*parts), "stack")


@pytest.mark.parametrize("part", [HEAT, EMISSIONS], ids=lambda part: str(part["kind"]))
@pytest.mark.parametrize("again", ["chp.fuel_kw", "chp.fuel_kw:634"])
def test_fuel_that_one_part_names_twice_is_refused(part: dict[str, Any], again: str) -> None:
    assert "would count twice" in refused({**part, "fuel": ["chp.fuel_kw", again]})["/parts/0"]


def test_all_double_counting_is_told_before_a_run_is_read() -> None:
    with pytest.raises(ScenarioError) as error:
        refuse_double_counting(stack(ENERGY, LOSSES, {**RESERVE, "resource": "flet"}, RESERVE), "stack")
    assert [p.pointer for p in error.value.problems] == ["/parts/3/name", "/parts/1", "/parts/2/resource"]
    assert "did you mean 'fleet'?" in error.value.problems[2].what


# --- what is missing ---------------------------------------------------------------------------------


def test_parts_that_need_the_other_run_say_so() -> None:
    found = refused(PEAK, RESILIENCE, RESERVE, base=None)
    assert found.keys() == {"/parts/0", "/parts/1"}
    assert "--without BASE_RUN" in found["/parts/0"]


def test_runs_with_other_instants_are_not_taken_from_each_other() -> None:
    class Late(Told):
        def series(self, name: str, unit: str) -> Series:
            found = super().series(name, unit)
            return replace(found, time_ns=found.time_ns + HOUR_NS // 2)

    assert "have different instants: the runs cannot be compared" in refused(ENERGY, base=Late(BASE.values))["/parts/0"]


def test_bills_of_the_other_run_in_another_currency_are_refused() -> None:
    part = {"kind": "bill", "tariff": "retail", "against": "other-run"}
    found = refused(part, run=billed([2.0] * 4, [0.0] * 4), base=billed([2.0] * 4, [0.0] * 4, "EUR"))
    assert "is in EUR, the stack in USD" in found["/parts/0"]


def test_a_series_that_is_not_there_is_named() -> None:
    assert "no signal 'mg.unservd_kwh'" in refused({**RESILIENCE, "unserved_kwh": "mg.unservd_kwh"})["/parts/0"]


def test_settings_that_do_not_fit_are_refused_with_a_pointer() -> None:
    with pytest.raises(ScenarioError) as error:
        stack({"kind": "enrgy"}, REGULATION, {**RESERVE, "windows": [{"from_s": 7200, "to_s": 3600}]})
    pointers = [p.pointer for p in error.value.problems]
    assert pointers == ["/parts/0/kind", "/parts/1", "/parts/2/windows/0/from_s"]


# --- sums --------------------------------------------------------------------------------------------


def test_energy_and_losses_come_to_the_energy_at_the_head() -> None:
    found = total({**ENERGY, "less": "grid.losses_kw"}, LOSSES)
    assert found.amount == pytest.approx(33.5)
    assert found.reconciled == ("total = sum of parts", "energy and losses = price x avoided grid.head_kw")


def test_a_sum_that_is_not_right_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    right = BillSavings.worth

    def wrong(self: BillSavings, runs: Runs, currency: str) -> Worth:
        found = right(self, runs, currency)
        return found._replace(amount=found.amount + 0.01)

    monkeypatch.setattr(BillSavings, "worth", wrong)
    with pytest.raises(Unreconciled, match=r"bill, 4\.21, and its groups of lines, 4\.2, are not equal"):
        total({"kind": "bill", "tariff": "retail"}, run=billed([2, 2, 4, 2], [1, 1, 1, 6]))


def test_bills_that_are_not_what_the_run_told_fail() -> None:
    made = bills([2, 2, 4, 2], [1, 1, 1, 6])
    made.reconcile(made.total, made.total_without)
    with pytest.raises(Unreconciled, match="bills and what the run told of them do not add up"):
        made.reconcile(made.total + 0.001, made.total_without)
