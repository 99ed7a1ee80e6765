"""The kind `tariff`: prices, customers, bills as outputs."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from billing import FLAT, MIDNIGHT

from derloop.kind import Context, PlaceError, Terminal
from federates.market.retail import Retail, RetailSettings

HOUR_NS = 3600 * 10**9
BASE = {"name": "tested", "source": "a test", "currency": "USD", "interval_s": 3600}
HOMES = (Terminal("a", "671", (1,), 5.0, draws=True), Terminal("b", "675", (1,), 5.0, draws=True))
ROOFS = (Terminal("b", "675", (1,), 5.0), Terminal("a", "671", (1,), 5.0), Terminal("a2", "671", (2,), 5.0))
BILLED = {"loads": ["homes"], "ders": ["roofs"]}


@pytest.fixture
def context(tmp_path: Path) -> Context:
    write(tmp_path, **FLAT)
    fleets = {"homes": HOMES, "roofs": ROOFS}
    labels = {name: tuple(t.label for t in terminals) for name, terminals in fleets.items()}
    return Context("retail", tmp_path, MIDNIGHT, HOUR_NS, 24 * HOUR_NS, 1, terminals=fleets, labels=labels)


def write(folder: Path, **parts: Any) -> None:
    (folder / "tariff.json").write_text(json.dumps(BASE | parts))


def retail(context: Context, customers: Any = BILLED, **other: Any) -> Retail:
    return Retail(RetailSettings.model_validate({"tariff": "tariff.json", "customers": customers, **other}), context)


def inputs(homes: list[float], roofs: list[float]) -> dict[str, np.ndarray]:
    return {"homes.p_kw": np.array(homes), "roofs.p_kw": np.array(roofs)}


def refused(context: Context, **settings: Any) -> list[tuple[tuple[str | int, ...], str]]:
    with pytest.raises(PlaceError) as error:
        retail(context, **settings)
    return error.value.problems


def test_customers_are_what_is_at_a_bus(context: Context) -> None:
    made = retail(context)
    told = made.step(0, inputs([2.0, 3.0], [1.0, 0.5, 0.25]))
    assert made.interface.outputs["bill"].labels == ("671", "675")
    assert told["load_kw"].tolist() == [2.0, 3.0]
    assert told["der_kw"].tolist() == [0.75, 1.0]  # 671: 0.5 + 0.25


def test_customers_can_be_listed(context: Context) -> None:
    named = {"school": ["homes.a", "roofs.b"], "other": ["homes.b", "roofs.a*"]}
    told = retail(context, {**BILLED, "named": named}).step(0, inputs([2.0, 3.0], [1.0, 0.5, 0.25]))
    assert told["der_kw"].tolist() == [1.0, 0.75]


def test_all_together_can_be_one_customer(context: Context) -> None:
    made = retail(context, {**BILLED, "by": "all"})
    assert made.interface.outputs["bill"].labels == ("retail",)
    assert made.step(0, inputs([2.0, 3.0], [1.0, 0.5, 0.25]))["der_kw"].tolist() == [1.75]


def test_bills_are_told_with_der_and_without(context: Context) -> None:
    # two hours, 2 kW at 0.2; bus 671 has 0.5 kW of its own: 2 x 1.5 x 0.2 and 2 x 2 x 0.2
    made = retail(context)
    made.start()
    for hour in range(2):
        told = made.step(hour * HOUR_NS, inputs([2.0, 2.0], [0.0, 0.5, 0.0]))
    assert told["bill"] == pytest.approx([0.6, 0.8])
    assert told["bill_without"] == pytest.approx([0.8, 0.8])
    assert made.statistics()["bill"] == pytest.approx(1.4)


def test_a_step_again_for_the_same_instant_counts_once(context: Context) -> None:
    once, again = retail(context), retail(context)
    for hour in range(30 - 6):
        p = inputs([2.0, 1.0], [hour * 0.2, 1.0, 0.0])
        again.step(hour * HOUR_NS, inputs([9.0, 9.0], [0.0, 0.0, 7.0]))
        one, other = once.step(hour * HOUR_NS, p), again.step(hour * HOUR_NS, p)
    assert all(np.array_equal(one[port], other[port]) for port in one)


def test_prices_follow_the_market_from_row_to_row(context: Context) -> None:
    (context.folder / "prices.csv").write_text("time_s,usd\n0,0.1\n7200,0.3\n86400,0.3\n")
    write(context.folder, real_time={"file": "prices.csv", "column": "usd", "factor": 2, "adder_per_kwh": 0.01})
    made = retail(context, None)
    told = [float(made.step(hour * HOUR_NS, {})["price_per_kwh"][0]) for hour in range(3)]
    assert told == pytest.approx([0.21, 0.21, 0.61])


def test_with_net_metering_an_injected_kwh_saves_one_that_is_drawn(context: Context) -> None:
    write(context.folder, **FLAT, export={"kind": "net-metering"})
    assert retail(context, None).start()["export_price_per_kwh"].tolist() == [0.2]


def test_fleets_that_two_tariffs_bill_are_a_caution_of_the_second(context: Context) -> None:
    customers = {"prices": None, "first": BILLED, "second": {"loads": ["homes"], "by": "all"}}
    told = {
        name: RetailSettings.model_validate({"tariff": "tariff.json", "customers": billed})
        for name, billed in customers.items()
    }
    context = replace(context, settings=told)
    what = "both bills are whole, and owed only where both tariffs hold at once"
    made = {name: Retail(told[name], replace(context, name=name)) for name in ("prices", "first", "second")}
    assert {name: each.cautions for name, each in made.items()} == {
        "prices": (),
        "first": (),
        "second": (f"second: 'first' bills homes too; {what}",),
    }


def test_a_run_keeps_its_tariff(context: Context, tmp_path: Path) -> None:
    made = retail(context)
    made.keep_in(tmp_path)
    assert json.loads((tmp_path / "market" / "retail.json").read_text())["periods"][0]["price_per_kwh"] == 0.2


def test_a_tariff_that_is_wrong_is_refused_with_its_own_pointer(context: Context) -> None:
    write(context.folder, periods=[{"name": "day", "price_per_kwh": 0.3, "hours": [{"from_h": 6, "to_h": 24}]}])
    ((path, what),) = refused(context)
    assert path == ("tariff",)
    assert what.startswith("tariff.json/periods: no period has 0 to 6 h")


def test_a_tariff_outside_the_scenario_is_refused(context: Context) -> None:
    ((path, what),) = refused(context, tariff="../tariff.json")
    assert path == ("tariff",)
    assert "outside the scenario's folder" in what


def test_an_unknown_fleet_is_refused(context: Context) -> None:
    ((path, what),) = refused(context, customers={"loads": ["homes"], "ders": ["rofs"]})
    assert path == ("customers", "ders", 0)
    assert "did you mean 'roofs'?" in what


def test_a_der_at_nobodys_is_refused(context: Context) -> None:
    ((path, what),) = refused(context, customers={**BILLED, "by": "label"})
    assert path == ("customers", "ders", 0)
    assert "no load is called 'a2', as roofs.a2 is" in what
    named = {"a": ["homes.a", "roofs.*"], "b": ["homes.*"]}
    assert (("customers", "named"), "homes.a belongs to 'a' and 'b'") in refused(
        context, customers={**BILLED, "named": named}
    )


def test_customers_that_are_listed_have_each_device_once(context: Context) -> None:
    named = {"a": ["homes.*", "roofs.a"], "b": ["roofs.c*"]}
    problems = refused(context, customers={**BILLED, "named": named})
    assert (("customers", "named"), "roofs.b, roofs.a2 belong to no customer; each device has one") in problems
    assert any(at == ("customers", "named", "b", 0) and "no device is called 'roofs.c*'" in why for at, why in problems)
    with pytest.raises(ValueError, match="a fleet is named twice in loads and ders"):
        retail(context, {"loads": ["homes"], "ders": ["homes", "roofs"]})


def test_many_devices_of_no_customer_are_one_problem_that_names_the_first(context: Context) -> None:
    roofs = tuple(Terminal(f"r{i}", "671", (1,), 5.0) for i in range(7))
    fleets = {"homes": HOMES, "roofs": roofs}
    context = replace(context, terminals=fleets, labels={k: tuple(t.label for t in v) for k, v in fleets.items()})
    ((path, what),) = refused(context, customers={**BILLED, "named": {"a": ["homes.*"]}})
    assert path == ("customers", "named")
    first = "roofs.r0, roofs.r1, roofs.r2, roofs.r3, roofs.r4"
    assert what == f"{first} and 2 more belong to no customer; each device has one"


def test_steps_that_do_not_make_intervals_are_refused(context: Context) -> None:
    ((path, what),) = refused(replace(context, step_ns=7 * 60 * 10**9))
    assert path == ("tariff",)
    assert "a step of 420 s does not divide the metering interval of 3600 s" in what
    late = datetime.fromisoformat("2025-07-15T00:30:00-07:00")
    ((_, what),) = refused(replace(context, start=late))
    assert "the run starts at 00:30:00, within a metering interval" in what
